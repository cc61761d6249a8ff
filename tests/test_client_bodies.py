"""HttpClient: bodies and queries that are sent more than once are the same each time."""

import io
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import pytest

from client_server import Reply, Seen, Server
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.exceptions import RequestBuildException
from requestforge.interfaces import RequestHookInterface
from requestforge.models import HttpRequest, RequestContext
from requestforge.retry import SimpleRetryStrategy


class OneShot:
    """An iterable whose every iterator is the same one."""

    def __init__(self, *parts: object) -> None:
        self._parts = iter(parts)

    def __iter__(self) -> Iterator[object]:
        return self._parts


class Unreadable:
    """An iterable that cannot be iterated over."""

    def __iter__(self) -> Iterator[bytes]:
        msg = "no luck"
        raise RuntimeError(msg)


@pytest.fixture
def api() -> Iterator[Server]:
    """A server that refuses each first request."""
    with Server() as server:
        server.rules["/"] = lambda _: Reply(503 if len(server.seen) % 2 else 200)
        yield server


@pytest.fixture
def client(api: Server) -> Iterator[HttpClient]:
    """A client of that server that retries once."""
    builder = HttpClientConfigBuilder().with_base_url(api.url)
    with HttpClient(builder.with_retry_strategy(SimpleRetryStrategy(1, 0)).build()) as client:
        yield client


Make = Callable[[], Any]


@pytest.mark.parametrize(
    ("make", "query"),
    [
        pytest.param(lambda: {"a": iter("12"), "b": "3"}, "a=1&a=2&b=3", id="iterator as value"),
        pytest.param(lambda: [("a", iter("12"))], "a=1&a=2", id="iterator in a pair"),
        pytest.param(lambda: {"a": OneShot("1", "2")}, "a=1&a=2", id="iterable of one iterator"),
        pytest.param(lambda: {"a": io.BytesIO(b"x")}, "a=x", id="file as value"),
        pytest.param(lambda: MappingProxyType({"a": iter("12")}), "a=1&a=2", id="other mapping"),
    ],
)
def test_fields_are_sent_again_in_full(
    api: Server, client: HttpClient, make: Make, query: str
) -> None:
    """Iterators in a query and in form fields are read once and sent as often as it takes."""
    assert client.put("/", params=make(), data=make()).status_code == 200
    assert [(seen.path, seen.body) for seen in api.seen] == [(f"/?{query}", query.encode())] * 2


def test_a_query_is_sent_again_with_any_body(api: Server, client: HttpClient) -> None:
    """An iterator of pairs is a query like any other."""
    assert client.get("/", params=zip("ab", "12", strict=True)).status_code == 200
    assert [seen.path for seen in api.seen] == ["/?a=1&b=2"] * 2


def test_form_fields_may_hold_what_is_no_pair(client: HttpClient) -> None:
    """Fields that are no pairs are refused, not dropped."""
    with pytest.raises(RequestBuildException):
        client.put("/", data=[("a", iter("1")), "no pair of values"])


@pytest.mark.parametrize("make", [lambda: OneShot(b"abc"), lambda: iter([b"abc"])])
def test_a_body_of_one_iterator_is_not_sent_again(
    api: Server, client: HttpClient, make: Make
) -> None:
    """What can be read once only is never sent again as an empty body."""
    assert client.put("/", data=make()).status_code == 503
    assert [seen.body for seen in api.seen] == [b"abc"]


def test_an_iterable_that_fails_is_told(api: Server, client: HttpClient) -> None:
    """An iterable that cannot be iterated over sends nothing that counts."""
    api.rules.clear()
    with pytest.raises(Exception, match="no luck"):
        client.post("/", data=Unreadable())


def test_fields_that_fail_are_the_request_failing(api: Server, client: HttpClient) -> None:
    """An iterator that raises is a RequestBuildException with the request; nothing is sent."""

    def failing() -> Iterator[str]:
        yield "1"
        msg = "password=canary"
        raise RuntimeError(msg)

    with pytest.raises(RequestBuildException, match="RuntimeError") as caught:
        client.get("/", params={"a": failing()})
    assert caught.value.context["request"].url == "/"
    assert "canary" not in str(caught.value)
    assert api.seen == []


def test_an_iterator_that_a_hook_adds_is_not_sent_again_empty(api: Server) -> None:
    """A redirect that asks for the body again is not followed with half of it."""

    class Adding(RequestHookInterface):
        def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
            return HttpRequest("PUT", request.url, data={"a": iter("12")})

    def rule(seen: Seen) -> Reply:  # noqa: ARG001
        return Reply(307, {"Location": "/next"})

    api.rules["/"] = rule
    config = HttpClientConfigBuilder().with_base_url(api.url).with_request_hook(Adding()).build()
    with HttpClient(config) as client, pytest.raises(Exception, match="cannot be read again"):
        client.put("/")
    assert [seen.body for seen in api.seen] == [b"a=1&a=2"]


def test_an_endless_timeout_is_a_long_one(api: Server, client: HttpClient) -> None:
    """A timeout beyond what a socket takes is as good as none."""
    assert client.get("/", timeout=1e300).status_code == 200
    assert len(api.seen) == 2
