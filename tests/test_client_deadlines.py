"""HttpClient: total_timeout bounds everything that a request does."""
# ruff: noqa: ANN401, ARG001 - scripts of two kinds, and a clock that only has to be there

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from client_server import Reply, Server
from doubles import Clock, CountingProvider, CountingStep
from loopback import Loopback, takes_over
from requestforge._deadline import time_left
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.exceptions import (
    AuthenticationException,
    ConnectionException,
    HttpClientException,
    TimeoutException,
)
from requestforge.instrumentation import real_monotonic, use_clock
from requestforge.interfaces import RequestHookInterface, ResponseHookInterface
from requestforge.models import HttpRequest, HttpResponse, RequestContext
from requestforge.pipelines import PipelineTokenProvider, TokenFetchPipeline
from requestforge.retry import SimpleRetryStrategy
from requestforge.storage import InMemoryTokenStorage
from requestforge.token_manager import TokenManager
from requestforge.tokens import TokenData

pytestmark = pytest.mark.compat

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n"


@pytest.fixture
def api() -> Iterator[Server]:
    """A server."""
    with Server() as server:
        yield server


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock that stands still, so that no wait takes time."""
    with use_clock(Clock()) as clock:
        yield clock


def read_streamed(client: HttpClient, path: str) -> None:
    """GET, and read the body as it comes."""
    with client.stream("GET", path) as answer:
        answer.read()


def drip(head: bytes, drops: bytes) -> Any:
    """A script that sends the head, and then a drop every few milliseconds until hung up on."""

    def script(line: socket.socket) -> None:
        pause = threading.Event()
        line.sendall(head)
        while not pause.wait(0.02):
            line.sendall(drops)

    return takes_over(script)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(drip(_HEAD + b"\r\n", b"x"), id="body-drip"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\n", b"X-Drop: x\r\n"), id="header-drip"),
        pytest.param(drip(b"", b""), id="stall"),
    ],
)
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
def test_a_slow_answer_ends_in_time(script: Any, streams: bool) -> None:
    """Whatever the server drips, TimeoutException comes at the deadline."""
    with Loopback(script) as server:
        config = HttpClientConfigBuilder().with_base_url(server.url).with_total_timeout(0.3).build()
        began = real_monotonic()
        with HttpClient(config) as client, pytest.raises(TimeoutException):
            (read_streamed if streams else HttpClient.get)(client, "/")
        assert 0.3 <= real_monotonic() - began < 5


def test_the_deadline_counts_all_attempts(clock: Clock) -> None:
    """Retries do not begin anew: the request as a whole has the time."""
    with Loopback(drip(_HEAD + b"\r\n", b"x")) as server:
        config = HttpClientConfigBuilder().with_base_url(server.url).with_total_timeout(0.2)
        config.with_retry_strategy(SimpleRetryStrategy(5, 0.0))
        with use_clock(RealMonotonic()), HttpClient(config.build()) as client:
            began = real_monotonic()
            with pytest.raises(TimeoutException):
                client.get("/")
            assert real_monotonic() - began < 5


class RealMonotonic(Clock):
    """A clock whose monotonic time is real, and whose sleep takes none."""

    def monotonic(self) -> float:
        return real_monotonic()


def test_a_wait_past_the_deadline_is_not_begun(api: Server, clock: Clock) -> None:
    """The failure at hand stands: an answer is returned, an error raised as itself."""
    api.rules |= {"/down": Reply(503), "/broken": _broken}
    config = HttpClientConfigBuilder().with_base_url(api.url).with_total_timeout(10.0)
    config.with_retry_strategy(SimpleRetryStrategy(5, 4.0))
    with HttpClient(config.build()) as client:
        assert client.get("/down").status_code == 503
        with pytest.raises(ConnectionException) as raised:
            client.get("/broken")
    assert type(raised.value) is ConnectionException
    assert clock.slept == [4.0, 4.0] * 2
    assert len(api.seen) == 6


def test_a_retry_after_past_the_deadline_is_not_waited_for(api: Server, clock: Clock) -> None:
    """Such an answer stands at once."""
    api.rules["/"] = Reply(429, {"Retry-After": "30"})
    config = HttpClientConfigBuilder().with_base_url(api.url).with_total_timeout(10.0)
    with HttpClient(config.with_retry(3).build()) as client:
        assert client.get("/").status_code == 429
    assert clock.slept == []


def test_a_slow_hook_uses_the_time_up(api: Server, clock: Clock) -> None:
    """When hooks have taken all the time, nothing is sent any more."""

    class Slow(RequestHookInterface):
        def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
            clock.advance(seconds=11)
            return request

    config = HttpClientConfigBuilder().with_base_url(api.url).with_total_timeout(10.0)
    config.with_request_hook(Slow())
    with HttpClient(config.build()) as client, pytest.raises(TimeoutException, match="GET /it"):
        client.get("/it")
    assert api.seen == []


def test_a_slow_token_ends_in_a_timeout(clock: Clock) -> None:
    """A token endpoint that stalls is left at the deadline; the cause names the step."""
    with Loopback(drip(b"", b"")) as auth, Server() as api:
        from requestforge.fetcher import BodyTokenFetcher  # noqa: PLC0415

        step = BodyTokenFetcher("user_token", auth.url, "/token")
        pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
        manager = TokenManager(PipelineTokenProvider(pipeline, "shop"))
        config = HttpClientConfigBuilder().with_base_url(api.url).with_total_timeout(0.3)
        with (
            use_clock(RealMonotonic()),
            HttpClient(config.with_token_auth(manager).build()) as client,
        ):
            began = real_monotonic()
            with pytest.raises(TimeoutException) as raised:
                client.get("/")
            assert real_monotonic() - began < 5
        cause = raised.value.__cause__
        assert isinstance(cause, AuthenticationException)
        assert cause.service_name == "user_token"
        assert api.seen == []


def test_a_failed_token_in_time_is_told_as_itself(api: Server, clock: Clock) -> None:
    """Before the deadline an AuthenticationException stays one."""
    provider = CountingProvider()
    provider.failures.append(AuthenticationException("no", service_name="shop"))
    config = HttpClientConfigBuilder().with_base_url(api.url).with_total_timeout(10.0)
    with (
        HttpClient(config.with_token_auth(TokenManager(provider)).build()) as client,
        pytest.raises(AuthenticationException),
    ):
        client.get("/")


def test_the_context_tells_the_deadline(api: Server, clock: Clock) -> None:
    """`context.deadline` is the monotonic end, None without a total timeout."""
    ends: list[float | None] = []

    class Noting(ResponseHookInterface):
        def after_response(self, response: HttpResponse, context: RequestContext) -> HttpResponse:
            ends.append(context.deadline)
            return response

    for total in (7.0, None):
        config = HttpClientConfigBuilder().with_base_url(api.url).with_response_hook(Noting())
        if total is not None:
            config.with_total_timeout(total)
        with HttpClient(config.build()) as client:
            client.get("/")
    assert ends == [clock.monotonic() + 7.0, None]


def test_the_deadline_of_an_outer_request_holds_for_inner_ones(api: Server, clock: Clock) -> None:
    """A step that asks by a client of its own has no more time than the request that needs it."""
    left: list[float | None] = []
    inner = HttpClient(
        HttpClientConfigBuilder().with_base_url(api.url).with_total_timeout(60).build()
    )

    class Asking(CountingStep):
        def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
            clock.advance(seconds=2)
            left.append(time_left())
            clock.advance(seconds=9)
            inner.get("/inner")
            return super().fetch(context)

    pipeline = TokenFetchPipeline([Asking("user_token")], InMemoryTokenStorage())
    manager = TokenManager(PipelineTokenProvider(pipeline, "shop"))
    config = HttpClientConfigBuilder().with_base_url(api.url).with_total_timeout(10.0)
    with (
        inner,
        HttpClient(config.with_token_auth(manager).build()) as client,
        pytest.raises(TimeoutException),
    ):
        client.get("/")
    assert (left, api.seen, time_left()) == ([8.0], [], None)


def test_connect_and_read_timeouts_have_their_own_fields() -> None:
    """with_timeouts sets each of them; a stalled header ends at the read timeout."""
    with Loopback(drip(b"", b"")) as server:
        config = HttpClientConfigBuilder().with_base_url(server.url).with_timeouts(5.0, 0.1).build()
        with HttpClient(config) as client, pytest.raises(TimeoutException):
            client.get("/")


def test_redirects_share_the_time(api: Server) -> None:
    """A redirect to a slow place ends at the deadline of the whole request."""
    with Loopback(drip(_HEAD + b"\r\n", b"x")) as slow:
        api.rules["/"] = Reply(302, {"Location": slow.url + "/"})
        config = HttpClientConfigBuilder().with_base_url(api.url).with_total_timeout(0.3).build()
        with HttpClient(config) as client, pytest.raises(TimeoutException):
            client.get("/")


def test_a_timeout_is_told_once_with_its_request() -> None:
    """The error has the request, and its history the attempt that ran out of time."""
    with Loopback(drip(b"", b"")) as server:
        config = HttpClientConfigBuilder().with_base_url(server.url).with_total_timeout(0.1).build()
        with HttpClient(config) as client, pytest.raises(HttpClientException) as raised:
            client.get("/", params={"token": "hidden"})
    assert raised.value.context["request"].url == "/"
    assert "hidden" not in repr(raised.value.context)


def _broken(_: object) -> Reply:
    raise ConnectionError
