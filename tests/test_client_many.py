"""HttpClient.request_many: many requests, several at a time."""
# ruff: noqa: ANN401 - values that are none of what the types say

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from client_server import Reply, Seen, Server
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfig
from requestforge.exceptions import (
    ConnectionException,
    HttpClientException,
    RequestBuildException,
)
from requestforge.models import HttpRequest, HttpResponse

pytestmark = pytest.mark.compat

_LIMIT = 10.0


@pytest.fixture
def api() -> Iterator[Server]:
    """A server."""
    with Server() as server:
        yield server


@pytest.fixture
def client(api: Server) -> Iterator[HttpClient]:
    """A client of that server."""
    with HttpClient(HttpClientConfig(base_url=api.url)) as client:
        yield client


def gets(count: int) -> list[HttpRequest]:
    """GETs of /0, /1 and so on."""
    return [HttpRequest("GET", f"/{number}") for number in range(count)]


def paths(api: Server) -> list[str]:
    """What was asked for, in order."""
    return [seen.path for seen in api.seen]


def test_every_request_is_given_back_by_its_place(api: Server, client: HttpClient) -> None:
    """Each request gives one item: its place, and its own answer."""
    items = dict(client.request_many(gets(12)))
    answers = {place: item.url for place, item in items.items() if isinstance(item, HttpResponse)}
    assert answers == {place: f"{api.url}/{place}" for place in range(12)}


def test_nothing_is_sent_before_the_first_item_is_asked_for(
    api: Server, client: HttpClient
) -> None:
    """Calling it sends nothing, and reads nothing of the requests."""
    requests = iter(gets(2))
    many = client.request_many(requests)
    assert (api.seen, next(requests).url) == ([], "/0")
    assert [place for place, _ in many] == [0]


def test_the_first_done_comes_first(api: Server, client: HttpClient) -> None:
    """Without `ordered`, a slow request does not hold up those after it."""
    later = threading.Event()
    api.rules["/0"] = lambda _: Reply() if later.wait(_LIMIT) else Reply(500)
    many = client.request_many(gets(4), max_workers=2)
    first = [next(many)[0] for _ in range(3)]
    later.set()
    assert (sorted(first), [place for place, _ in many]) == ([1, 2, 3], [0])


def test_ordered_items_come_in_the_order_of_the_requests(api: Server, client: HttpClient) -> None:
    """With `ordered`, what is done early waits for its turn."""
    second = threading.Event()

    def first(_: Seen) -> Reply:
        return Reply(200 if second.wait(_LIMIT) else 500)

    def after_it(_: Seen) -> Reply:
        second.set()
        return Reply()

    api.rules |= {"/0": first, "/1": after_it}
    items = list(client.request_many(gets(7), max_workers=2, ordered=True))
    assert [place for place, _ in items] == list(range(7))
    assert all(isinstance(item, HttpResponse) and item.status_code == 200 for _, item in items)


@pytest.mark.parametrize("ordered", [False, True], ids=["as-done", "ordered"])
def test_no_more_than_a_few_requests_are_taken_ahead(client: HttpClient, ordered: bool) -> None:
    """Of an endless iterator only as many requests are taken as the caller's pace allows."""
    taken = []

    def endless() -> Iterator[HttpRequest]:
        while True:
            taken.append(1)
            yield HttpRequest("GET", "/")

    many = client.request_many(endless(), max_workers=3, ordered=ordered)
    for _ in range(10):
        next(many)
    many.close()
    assert len(taken) <= 10 + 2 * 3


def test_a_slow_head_bounds_what_is_taken_ahead(api: Server, client: HttpClient) -> None:
    """With `ordered`, answers that wait for the first one are few."""
    go, enough = threading.Event(), threading.Event()

    def slow(_: Seen) -> Reply:
        enough.wait(_LIMIT)
        go.wait(0.2)
        return Reply()

    def counted(_: Seen) -> Reply:
        if len(api.seen) >= 4:
            enough.set()
        return Reply()

    api.rules = {"/0": slow} | {f"/{number}": counted for number in range(1, 50)}
    many = client.request_many(gets(50), max_workers=2, ordered=True)
    assert next(many)[0] == 0
    assert len(api.seen) <= 2 * 2 + 2
    assert [place for place, _ in many] == list(range(1, 50))


def test_failures_are_items(api: Server, client: HttpClient) -> None:
    """A failed request gives its exception; statuses are answers."""

    def broken(_: Seen) -> Reply:
        raise ConnectionError

    api.rules |= {"/0": broken, "/1": Reply(500)}
    items = dict(client.request_many(gets(3)))
    assert isinstance(items[0], ConnectionException)
    assert isinstance(items[1], HttpResponse)
    assert items[1].status_code == 500


def test_other_errors_are_wrapped(client: HttpClient) -> None:
    """What is no failure of a request is an HttpClientException that is caused by its error."""
    strange: Any = StrangeText("/")
    items = dict(client.request_many([HttpRequest("GET", strange), HttpRequest("GET", "/")]))
    assert type(items[0]) is HttpClientException
    assert type(items[0].__cause__) is LookupError
    assert isinstance(items[1], HttpResponse)


class StrangeText(str):
    """A URL that cannot be looked at."""

    __slots__ = ()

    def isascii(self) -> bool:
        raise LookupError


def test_what_is_no_request_is_refused(client: HttpClient) -> None:
    """RequestBuildException, which says what it is."""
    requests: Any = ["/no-request", None]
    items = [item for _, item in client.request_many(requests, ordered=True)]
    assert [type(item) for item in items] == [RequestBuildException] * 2
    assert "not a str" in str(items[0])


def test_fail_fast_raises_the_first_failure_and_begins_nothing_more(
    api: Server, client: HttpClient
) -> None:
    """With `fail_fast`, the failure leaves the iterator, and the rest is never sent."""

    def broken(_: Seen) -> Reply:
        raise ConnectionError

    api.rules["/3"] = broken
    given = []
    with pytest.raises(ConnectionException):
        given.extend(client.request_many(gets(100), max_workers=1, fail_fast=True))
    assert [place for place, _ in given] == [0, 1, 2]
    assert paths(api) == ["/0", "/1", "/2", "/3"]


def test_closing_starts_nothing_more_and_waits_for_nothing(api: Server, client: HttpClient) -> None:
    """After `close` what is under way goes on by itself, and the rest is never sent."""
    go = threading.Event()

    def slow(_: Seen) -> Reply:
        return Reply(200 if go.wait(_LIMIT) else 500)

    api.rules |= {"/1": slow, "/2": slow}
    many = client.request_many(gets(100), max_workers=2)
    assert next(many)[0] == 0
    many.close()
    assert set(paths(api)) <= {"/0", "/1", "/2"}
    go.set()


def test_an_iterator_that_fails_is_told_after_what_it_gave(client: HttpClient) -> None:
    """Requests that came before the failure are sent, and the failure is raised after them."""

    def broken() -> Iterator[HttpRequest]:
        yield from gets(3)
        msg = "no more"
        raise LookupError(msg)

    given = []
    with pytest.raises(LookupError, match="no more"):
        given.extend(client.request_many(broken()))
    assert sorted(place for place, _ in given) == [0, 1, 2]


def test_progress_is_told_after_each_one(client: HttpClient) -> None:
    """`on_progress` hears how many are done, and how many there are if that is known."""
    told: list[tuple[int, int | None]] = []
    list(client.request_many(gets(3), on_progress=lambda *progress: told.append(progress)))
    list(client.request_many(iter(gets(2)), on_progress=lambda *progress: told.append(progress)))
    assert told == [(1, 3), (2, 3), (3, 3), (1, None), (2, None)]


def test_what_ends_a_worker_ends_the_caller() -> None:
    """An exception that is no Exception, such as SystemExit, passes through."""

    class Leaving(HttpClient):
        def request(self, request: HttpRequest) -> HttpResponse:
            raise SystemExit(3)

    with Leaving() as client, pytest.raises(SystemExit):
        list(client.request_many(gets(1)))


def test_no_requests_are_no_items(client: HttpClient) -> None:
    """An empty list gives an empty iterator."""
    assert list(client.request_many([])) == []


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, None, "2"])
def test_a_number_of_workers_that_is_none_is_refused_at_the_call(
    client: HttpClient, workers: Any
) -> None:
    """ValueError, with the name and the value, before anything is asked for."""
    with pytest.raises(ValueError, match=r"max_workers .* not "):
        client.request_many([], max_workers=workers)


def test_requests_run_at_the_same_time(api: Server, client: HttpClient) -> None:
    """As many requests are under way as there are workers."""
    together = threading.Barrier(4)

    def meet(_: Seen) -> Reply:
        together.wait(_LIMIT)
        return Reply()

    api.rules |= {f"/{number}": meet for number in range(4)}
    items = dict(client.request_many(gets(4), max_workers=4))
    assert all(isinstance(item, HttpResponse) for item in items.values())


def test_another_process_cannot_go_on_with_it(client: HttpClient) -> None:
    """In a forked child the next item is an HttpClientException, since no worker came along."""
    many = client.request_many(gets(50), max_workers=1)
    next(many)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        try:
            list(many)
        except HttpClientException as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as told:
        assert "in another process" in told.read()
    os.waitpid(child, 0)
    assert len(list(many)) == 49
