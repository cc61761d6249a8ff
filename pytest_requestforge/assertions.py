"""The assertions as functions and as methods of a FakeAuth, and counts that explain themselves."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Protocol
from urllib.parse import urlsplit

from pytest_requestforge._evidence import START, Evidence, Mark, Request
from pytest_requestforge._witness import NONE, Pipeline, Witness, fetch_failure

__all__ = [
    "Assertions",
    "FetchCounts",
    "assert_cache_hits",
    "assert_cache_misses",
    "assert_cascade",
    "assert_fetch_counts",
    "assert_fetch_order",
    "assert_no_fetches",
    "expect_fetches",
]


def assert_fetch_counts(
    witness: Witness, counts: Mapping[str, int] = NONE, /, *, info: str | None = None, **exact: int
) -> None:
    """Each named step was fetched so many times: `assert_fetch_counts(auth, app_token=1)`.

    Raises:
        AssertionError: a count differs.
        TypeError: no step is named.
    """
    __tracebackhide__ = True
    witness.assert_fetch_counts(counts, info=info, **exact)


def assert_no_fetches(witness: Witness, *, info: str | None = None) -> None:
    """No token was fetched.

    Raises:
        AssertionError: one was.
    """
    __tracebackhide__ = True
    witness.assert_no_fetches(info=info)


def assert_fetch_order(witness: Witness, *steps: str, info: str | None = None) -> None:
    """The fetches of these steps came in this order, and there were no more of them.

    Raises:
        AssertionError: there were others, or another order.
        TypeError: no step is named.
    """
    __tracebackhide__ = True
    witness.assert_fetch_order(*steps, info=info)


def assert_cache_hits(
    witness: Witness, counts: Mapping[str, int] = NONE, /, *, info: str | None = None, **exact: int
) -> None:
    """Each named step was served from the cache so many times.

    Raises:
        AssertionError: a count differs.
        TypeError: no step is named.
    """
    __tracebackhide__ = True
    witness.assert_cache_hits(counts, info=info, **exact)


def assert_cache_misses(
    witness: Witness, counts: Mapping[str, int] = NONE, /, *, info: str | None = None, **exact: int
) -> None:
    """The cache had nothing usable for each named step so many times.

    Raises:
        AssertionError: a count differs.
        TypeError: no step is named.
    """
    __tracebackhide__ = True
    witness.assert_cache_misses(counts, info=info, **exact)


def assert_cascade(
    witness: Witness,
    pipeline: Pipeline,
    step: str,
    *,
    clears: Collection[str] = (),
    keeps: Collection[str] = (),
    info: str | None = None,
) -> None:
    """Invalidating the step clears it and `clears`, and keeps `keeps`.

    Executes the pipeline, so that every step is cached, invalidates the step, and executes again:
    what was cleared must then be fetched, what was kept must not.

    Raises:
        AssertionError: a token was kept that should have been cleared, or the reverse.
        ValueError: the pipeline has no such step, or one is named both ways.
    """
    __tracebackhide__ = True
    witness.assert_cascade(pipeline, step, clears=clears, keeps=keeps, info=info)


def expect_fetches(
    witness: Witness, counts: Mapping[str, int] = NONE, /, *, info: str | None = None, **exact: int
) -> AbstractContextManager[None]:
    """Within the block each named step is fetched so many times; without a name: none is.

    Blocks nest, and each counts only what happens within it.

    Raises:
        AssertionError: a count differs; when the block ends.
    """
    return witness.expect_fetches(counts, info=info, **exact)


class JournalEntry(Protocol):
    """What is read of one request in a journal."""

    @property
    def step(self) -> str | None: ...
    @property
    def kind(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def thread(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def issued(self) -> str | None: ...
    @property
    def expires_at(self) -> datetime | None: ...
    @property
    def sent(self) -> Sequence[str]: ...


class Journal(Protocol):
    """The requests in the order of their arrival."""

    def __iter__(self) -> Iterator[JournalEntry]: ...
    def __len__(self) -> int: ...


class FetchCounts(dict[str, int]):
    """How often each step was fetched; pytest shows a timeline where a comparison with it fails."""

    def __init__(self, counts: Mapping[str, int], witness: Witness) -> None:
        super().__init__(counts)
        self._witness = witness

    def explain(self, expected: Mapping[str, int]) -> list[str]:
        """Lines that tell how the counts differ from the expected ones, and what happened."""
        exact = {**dict.fromkeys(self, 0), **expected}
        idle = [step for step, count in expected.items() if count == 0 and step not in self]
        if not idle:
            return fetch_failure(self._witness.evidence(), exact).splitlines()
        left_out = (
            f"fetch_counts leaves out steps without a request, so do not name "
            f"{', '.join(idle)} here; assert_fetch_counts({idle[0]}=0) may"
        )
        return fetch_failure(self._witness.evidence(), exact, info=left_out).splitlines()


class Assertions(Witness):
    """The assertions of a FakeAuth.

    Its journal decides on fetches, whoever sent them; its recorder, which must know the journal,
    decides on cache hits and misses.
    """

    journal: Journal
    recorder: Witness
    seed: int
    transport: str

    @property
    @abstractmethod
    def base_url(self) -> str:
        """Start of the URLs that the timeline shows without it."""

    @property
    def fetch_counts(self) -> FetchCounts:
        """How many requests reached each token endpoint, whatever the answer; none: left out."""
        return FetchCounts(self.evidence().fetched, self)

    def moment(self) -> Mark:
        """Now, for `evidence`."""
        return replace(self.recorder.moment(), requests=len(self.journal))

    def evidence(self, since: Mark = START) -> Evidence:
        """What was seen since that moment."""
        told = self.recorder.evidence(since)
        history = [
            _request(number, entry, self.base_url) for number, entry in enumerate(self.journal, 1)
        ]
        return replace(
            told,
            history=history,
            since=since.requests,
            fetched=Counter(each.step for each in history[since.requests :] if each.step),
            told=told.fetched,
            ends="expires",
            footer=f"seed {self.seed}, transport {self.transport}",
        )


def _request(number: int, entry: JournalEntry, base_url: str) -> Request:
    base = urlsplit(base_url)
    return Request(
        number=number,
        step=entry.step if entry.kind == "token" else None,
        at=entry.at,
        call=f"{entry.method} {entry.url.removeprefix(f'{base.scheme}://{base.netloc}')}",
        # A request that still waits for its answer has no status.
        answer=f"{entry.status} {entry.reason}" if entry.status else entry.reason,
        thread=entry.thread,
        issued=entry.issued,
        ends_at=entry.expires_at,
        sent=entry.sent,
    )
