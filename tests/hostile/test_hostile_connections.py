"""HttpClient: connections that are closed under it, and many threads with one revoked token."""

import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from misbehaving import LATE, Hostile, hang_up, reset

from canary import assert_clean
from loopback import Loopback, Received, Script, json_reply, reply
from requestforge import (
    BodyTokenFetcher,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.exceptions import ConnectionException
from requestforge.interfaces import RetryStrategyInterface
from requestforge.models import HttpResponse
from requestforge.retry import SimpleRetryStrategy

pytestmark = pytest.mark.compat

CANARY = "canary-connection-90f2"
MANY = 20

Open = Callable[..., HttpClient]


@pytest.fixture
def server(tls: ssl.SSLContext | None) -> Iterator[Hostile]:
    """A server that keeps connections open."""
    with Hostile(reply(body=b"fine"), tls) as server:
        yield server


@pytest.fixture
def open_client(server: Hostile, bundle: str) -> Iterator[Open]:
    """Makes a client of that server, with a secret token."""
    clients = []

    def open_client(strategy: RetryStrategyInterface | None = None) -> HttpClient:
        builder = HttpClientConfigBuilder().with_base_url(server.url).with_verify_ssl(bundle)
        builder.with_bearer_token(CANARY).with_pool_maxsize(MANY)
        if strategy is not None:
            builder.with_retry_strategy(strategy)
        clients.append(HttpClient(builder.build()))
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


@pytest.mark.parametrize("method", ["get", "post", "delete", "patch"])
def test_a_connection_closed_between_requests_is_replaced(
    server: Hostile, open_client: Open, method: str
) -> None:
    """A request finds its idle connection closed, takes a new one, and arrives once."""
    client = open_client()
    client.get("/good")
    server.hang_up()
    assert getattr(client, method)("/next").content == b"fine"
    assert server.asked == ["GET /good", f"{method.upper()} /next"]
    assert server.connections == 2


class TestClosedUnderTheRequest:
    """The server closes a connection that is used again, when the request has arrived on it."""

    @pytest.fixture(params=[hang_up, reset], ids=["closed", "reset"])
    def server(
        self, tls: ssl.SSLContext | None, request: pytest.FixtureRequest
    ) -> Iterator[Hostile]:
        """A server that does so with the first request but `/good`."""
        scripts: list[Script] = [request.param]

        def answer(_: Received) -> Script:
            return scripts.pop() if scripts else reply(body=b"fine")

        with Hostile(answer, tls) as server:
            yield server

    def test_without_a_strategy_it_is_an_error(self, server: Hostile, open_client: Open) -> None:
        """Nothing is sent twice behind the caller's back, and the next request works."""
        client = open_client()
        client.get("/good")
        with pytest.raises(ConnectionException) as caught:
            client.get("/next")
        assert_clean(caught.value)
        assert server.asked == ["GET /good", "GET /next"]
        assert client.get("/next").content == b"fine"

    def test_a_get_is_retried(self, server: Hostile, open_client: Open) -> None:
        """With a strategy a GET is sent again, over a new connection."""
        client = open_client(SimpleRetryStrategy(1, delay=0))
        client.get("/good")
        assert client.get("/next").content == b"fine"
        assert server.asked == ["GET /good", "GET /next", "GET /next"]
        assert server.connections == 2

    @pytest.mark.parametrize("method", ["POST", "PATCH"])
    def test_what_may_have_been_done_is_not_sent_twice(
        self, server: Hostile, open_client: Open, method: str
    ) -> None:
        """With a strategy, too, a POST that may have been carried out is the caller's to repeat."""
        client = open_client(SimpleRetryStrategy(3, delay=0))
        client.get("/good")
        with pytest.raises(ConnectionException) as caught:
            getattr(client, method.lower())("/next", json_data={"a": 1})
        assert type(caught.value) is ConnectionException
        assert server.asked == ["GET /good", f"{method} /next"]
        assert client.post("/next").content == b"fine"


@pytest.mark.parametrize("method", ["get", "post"])
def test_many_idle_connections_dropped_at_once_are_replaced(
    server: Hostile, open_client: Open, method: str
) -> None:
    """Twenty connections die while they are idle; twenty requests later each arrived once."""
    client = open_client()
    meeting = threading.Barrier(MANY)

    def answer(_: Received) -> bytes:
        meeting.wait(LATE)
        return reply(body=b"fine")

    server.answer = answer
    with ThreadPoolExecutor(MANY) as pool:
        for path in ("/first", "/second"):
            sent = list(pool.map(getattr(client, method), [path] * MANY))
            assert {response.content for response in sent} == {b"fine"}
            server.hang_up()
    assert Counter(server.asked) == {
        f"{method.upper()} /first": MANY,
        f"{method.upper()} /second": MANY,
    }
    assert server.connections == 2 * MANY


def test_one_dead_connection_spares_the_others(server: Hostile, open_client: Open) -> None:
    """A request that breaks its connection leaves those of other threads alone."""
    client = open_client()
    arrived, answered = threading.Event(), threading.Event()

    def answer(received: Received) -> Script:
        if received.path == "/broken":
            return hang_up
        arrived.set()
        answered.wait(LATE)
        return reply(body=b"fine")

    server.answer = answer
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.get, "/slow")
        assert arrived.wait(LATE)
        with pytest.raises(ConnectionException):
            client.get("/broken")
        answered.set()
        assert slow.result(LATE).content == b"fine"


def test_many_threads_with_a_revoked_token_fetch_one(
    server: Hostile, tls: ssl.SSLContext | None, bundle: str
) -> None:
    """64 requests are refused at once: one login by HTTP, and 64 times status 200."""
    threads = 64
    meeting = threading.Barrier(threads)
    logins: list[str] = []

    def log_in(_: Received) -> bytes:
        logins.append(f"canary-token-{len(logins)}")
        return json_reply({"access_token": logins[-1], "expires_in": 3600})

    def api(received: Received) -> bytes:
        if received.headers["authorization"] == f"Bearer {logins[0]}":
            meeting.wait(LATE)
            return reply(401, WWW_Authenticate="Bearer")
        return reply(body=received.target.encode())

    server.answer = api
    with Loopback(log_in, tls) as issuer:
        step = BodyTokenFetcher("login", issuer.url, "/token", verify_ssl=bundle)
        pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
        manager = TokenManager(PipelineTokenProvider(pipeline, "shop"))
        manager.get_token()
        builder = HttpClientConfigBuilder().with_base_url(server.url).with_verify_ssl(bundle)
        builder.with_token_auth(manager).with_pool_maxsize(threads)
        with HttpClient(builder.build()) as client, ThreadPoolExecutor(threads) as pool:
            paths = [f"/{number}" for number in range(threads)]
            answers: list[HttpResponse] = list(pool.map(client.get, paths))
        pipeline.close()
    assert [answer.status_code for answer in answers] == [200] * threads
    assert [answer.text for answer in answers] == paths
    assert len(issuer.requests) == 2
    assert len(server.requests) == 2 * threads
