"""Many requests, several at a time."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from operator import itemgetter

from requestforge._portable import describe, without_secrets
from requestforge.exceptions import HttpClientException
from requestforge.models import HttpRequest, HttpResponse

Item = tuple[int, HttpResponse | HttpClientException]
Progress = Callable[[int, int | None], object]


def send_many(
    send: Callable[[HttpRequest], HttpResponse],
    requests: Iterable[HttpRequest],
    max_workers: int,
    *,
    fail_fast: bool,
    ordered: bool,
    on_progress: Progress | None,
) -> Generator[Item, None, None]:
    """What becomes of each request, by its place; arguments and errors of `request_many`."""
    given: object = max_workers
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        msg = f"max_workers must be a whole number, 1 or more, not {given!r}."
        raise ValueError(msg)
    many = _Many(send, requests, max_workers, on_progress)
    return many.items(fail_fast=fail_fast, ordered=ordered)


class _Many:
    """Requests under way, at most one for each worker, and what became of others."""

    def __init__(
        self,
        send: Callable[[HttpRequest], HttpResponse],
        requests: Iterable[HttpRequest],
        max_workers: int,
        on_progress: Progress | None,
    ) -> None:
        self._send = send
        self._requests = requests
        self._max_workers = max_workers
        self._on_progress = on_progress
        self._total = len(requests) if isinstance(requests, Sized) else None
        self._count = 0
        self._under_way: dict[Future[HttpResponse], int] = {}
        self._done: dict[int, HttpResponse | HttpClientException] = {}
        self._broken: Exception | None = None
        self._process = os.getpid()

    def items(self, *, fail_fast: bool, ordered: bool) -> Generator[Item, None, None]:
        """Send, and give what becomes of each request."""
        pool = ThreadPoolExecutor(self._max_workers, thread_name_prefix="requestforge-many")
        waiting = enumerate(self._requests)
        following = 0
        try:
            self._fill(pool, waiting)
            while self._under_way:
                finished = self._collect()
                if fail_fast:
                    self._raise_first(finished)
                # Before those that are done are given back: workers do not wait for the caller.
                self._fill(pool, waiting)
                if not ordered:
                    yield from ((place, self._done.pop(place)) for place in finished)
                while following in self._done:
                    yield following, self._done.pop(following)
                    following += 1
                self._fill(pool, waiting)
        finally:
            # Without a wait for what is under way; what has not begun never does.
            pool.shutdown(wait=False, cancel_futures=True)
        if self._broken is not None:
            raise self._broken

    def _fill(self, pool: ThreadPoolExecutor, waiting: Iterator[tuple[int, HttpRequest]]) -> None:
        """Give every worker something to do, unless too much is done that nobody has taken."""
        limit = min(self._max_workers, 2 * self._max_workers - len(self._done))
        while len(self._under_way) < limit and self._broken is None:
            try:
                place, request = next(waiting)
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001 - the caller's iterator may raise anything
                # What is under way comes first.
                self._broken = error
                return
            self._under_way[pool.submit(self._send, request)] = place

    def _collect(self) -> list[int]:
        """Wait until something is done; the places of what is, in order."""
        if os.getpid() != self._process:
            raise HttpClientException(
                "These requests were begun in another process, whose workers are not in this one: "
                "call request_many in the process that reads its items."
            )
        futures = wait(self._under_way, return_when=FIRST_COMPLETED).done
        finished = sorted(
            ((self._under_way.pop(future), future) for future in futures), key=itemgetter(0)
        )
        for place, future in finished:
            self._done[place] = _outcome(future)
            self._count += 1
            if self._on_progress is not None:
                self._on_progress(self._count, self._total)
        return [place for place, _ in finished]

    def _raise_first(self, finished: list[int]) -> None:
        for place in finished:
            outcome = self._done[place]
            if isinstance(outcome, HttpClientException):
                raise outcome


def _outcome(future: Future[HttpResponse]) -> HttpResponse | HttpClientException:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, HttpClientException):
        return error
    if not isinstance(error, Exception):
        raise error
    failure = HttpClientException(f"The request failed: {describe(error)}.", without_secrets(error))
    failure.__cause__ = failure.original_exception
    return failure
