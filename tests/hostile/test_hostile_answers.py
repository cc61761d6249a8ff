"""HttpClient: broken lines and answers end in errors of the library, and spoil nothing else."""

import pickle
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from misbehaving import (
    LATE,
    NOTICED,
    Hostile,
    body,
    broken_gzip,
    hang_up,
    reset,
    says,
)

from canary import assert_clean
from loopback import takes_over
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.events import RequestFailed
from requestforge.exceptions import (
    ConnectionException,
    HttpClientException,
    MaxRetryConnectionException,
    MaxRetryException,
    MaxRetryTimeoutException,
    SSLException,
    TimeoutException,
)
from requestforge.instrumentation import observe
from requestforge.models import HttpRequest
from requestforge.retry import SimpleRetryStrategy

pytestmark = pytest.mark.compat

CANARY = "canary-hostile-5d1e"


@dataclass(frozen=True)
class Trouble:
    """What a server does in the place of an answer, and what that is to a caller.

    Attributes:
        script: takes the connection over when the request has arrived.
        kind: the class of the error.
        after_retries: its class once the retries are used up.
    """

    script: Callable[[socket.socket], object]
    kind: type[HttpClientException] = ConnectionException
    after_retries: type[HttpClientException] = MaxRetryConnectionException


def stall(start: bytes = b"") -> Callable[[socket.socket], None]:
    """A script that sends no more than this, and waits for the peer to go."""

    def stalling(sock: socket.socket) -> None:
        sock.sendall(start)
        while sock.recv(65536):
            pass

    return stalling


CHUNKED = {"Transfer_Encoding": "chunked"}
TROUBLES = {
    "reset": Trouble(reset),
    "closed without an answer": Trouble(hang_up),
    "closed within the status": Trouble(says(b"HTTP/1.")),
    "closed within the headers": Trouble(says(b"HTTP/1.1 200 OK\r\nX-A: b\r\n")),
    "closed within a header": Trouble(says(b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Le")),
    "reset within the body": Trouble(
        lambda sock: (body(b"abc", Content_Length="9")(sock), reset(sock))
    ),
    "truncated": Trouble(body(CANARY.encode(), Content_Length="99999")),
    "truncated chunk": Trouble(body(b"ff\r\nabc", **CHUNKED)),
    "chunks without an end": Trouble(body(b"3\r\nabc\r\n", **CHUNKED)),
    "chunk size is no number": Trouble(body(CANARY.encode() + b"\r\nabc\r\n", **CHUNKED)),
    "chunk size is negative": Trouble(body(b"-5\r\nabc\r\n0\r\n\r\n", **CHUNKED)),
    "garbage": Trouble(says(b"\x00\xffHTP " + CANARY.encode() + b"\r\n\r\n")),
    "another protocol": Trouble(says(b"SSH-2.0-OpenSSH_9.9 " + CANARY.encode() + b"\r\n")),
    "endless header line": Trouble(says(b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70_000 + b"\r\n\r\n")),
    "too many headers": Trouble(says(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n")),
    "two lengths": Trouble(
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde")
    ),
    "stall before the header": Trouble(stall(), TimeoutException, MaxRetryTimeoutException),
    "stall within the header": Trouble(
        stall(b"HTTP/1.1 200 OK\r\nX-"), TimeoutException, MaxRetryTimeoutException
    ),
    "stall within the body": Trouble(
        stall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
        TimeoutException,
        MaxRetryTimeoutException,
    ),
    "no gzip": Trouble(broken_gzip(checksum=False), HttpClientException, MaxRetryException),
    "gzip with a wrong checksum": Trouble(
        broken_gzip(checksum=True), HttpClientException, MaxRetryException
    ),
}
every_trouble = pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)


@contextmanager
def client_of(url: str, bundle: str, retries: int | None = None) -> Iterator[HttpClient]:
    """A client with a secret token, whose calls take no longer than they may."""
    builder = HttpClientConfigBuilder().with_base_url(url).with_verify_ssl(bundle)
    builder.with_bearer_token(CANARY)
    if retries is not None:
        builder.with_retry_strategy(SimpleRetryStrategy(retries, delay=0))
    started = time.monotonic()
    with HttpClient(builder.build()) as client:
        yield client
    assert time.monotonic() - started < LATE


def failure_of(
    client: HttpClient,
    method: str = "GET",
    kind: type[HttpClientException] = ConnectionException,
) -> HttpClientException:
    """The error that a request with secrets all over ends in, after a look for them.

    Where it is to be a TimeoutException, the request does not wait for long.
    """
    request = HttpRequest(
        method,
        f"/trouble?token={CANARY}",
        headers={"X-Api-Key": CANARY},
        json_data={"password": CANARY} if method == "POST" else None,
        timeout=NOTICED if kind is TimeoutException else LATE,
    )
    with pytest.raises(HttpClientException) as caught:
        client.request(request)
    assert_clean(caught.value)
    return caught.value


def assert_usable(client: HttpClient, server: Hostile) -> None:
    """The client goes on with the same server, over one new connection at most."""
    opened = server.connections
    for _ in range(3):
        assert client.get("/good").content == b"good"
    assert server.connections <= opened + 1


@every_trouble
def test_trouble_is_an_error_of_its_class(
    trouble: Trouble, tls: ssl.SSLContext | None, bundle: str
) -> None:
    """Each has its class, shows no secret, keeps all through a pickle, and spoils no request."""
    events: list[object] = []
    with (
        Hostile(takes_over(trouble.script), tls) as server,
        client_of(server.url, bundle) as client,
    ):
        with observe(events.append):
            error = failure_of(client, kind=trouble.kind)
        assert type(error) is trouble.kind
        assert error.original_exception is error.__cause__
        assert error.context["request"].url == "/trouble?token=***"
        assert "sent" not in error.context
        loaded = pickle.loads(pickle.dumps(error))
        assert (type(loaded), str(loaded)) == (type(error), str(error))
        assert loaded.context == error.context
        assert [e.error for e in events if isinstance(e, RequestFailed)] == [str(error)]
        assert_usable(client, server)


@every_trouble
def test_trouble_is_retried_where_that_is_safe(
    trouble: Trouble, tls: ssl.SSLContext | None, bundle: str
) -> None:
    """A GET is sent until the retries are used up, and a POST that was sent is not sent again."""
    server = Hostile(takes_over(trouble.script), tls)
    with server, client_of(server.url, bundle, retries=1) as client:
        error = failure_of(client, kind=trouble.kind)
        assert type(error) is trouble.after_retries
        assert isinstance(error, MaxRetryException)
        assert (error.attempts, len(error.history)) == (2, 2)
        assert {type(failure) for failure in error.history} == {trouble.kind}
        assert error.original_exception is error.__cause__ is error.history[-1]
        assert server.asked == ["GET /trouble"] * 2

        assert type(failure_of(client, "POST", trouble.kind)) is trouble.kind
        assert server.asked[2:] == ["POST /trouble"]
        assert_usable(client, server)


def test_a_refused_connection_was_not_sent(tls: ssl.SSLContext | None, bundle: str) -> None:
    """Nobody listening is a ConnectionException that says so, and is retried even for POST."""
    with Hostile(b"", tls) as server:
        url = server.url
    with client_of(url, bundle, retries=1) as client:
        error = failure_of(client, "POST")
    assert isinstance(error, MaxRetryConnectionException)
    failures = [error for error in error.history if isinstance(error, ConnectionException)]
    assert [failure.context["sent"] for failure in failures] == [False, False]


class TestHandshake:
    """What happens before the request can be sent."""

    def test_a_reset_after_accept(self, tls: ssl.SSLContext | None, bundle: str) -> None:
        """A connection that is reset as soon as it is there is a ConnectionException."""

        def refuse(sock: socket.socket) -> None:
            if tls is not None:
                sock.recv(1)  # Python would leak a socket that is reset before its handshake.
            reset(sock)

        with Hostile(b"", tls) as server, client_of(server.url, bundle) as client:
            server.greeting = refuse
            assert type(failure_of(client)) is ConnectionException
            assert type(failure_of(client, "POST")) is ConnectionException
            server.greeting = None
            assert server.requests == []
            assert_usable(client, server)

    @pytest.mark.parametrize(
        "greeting",
        [
            pytest.param(stall(), id="silence"),
            pytest.param(stall(b"\x16\x03\x03\x00"), id="silence after its first bytes"),
        ],
    )
    def test_a_handshake_that_stalls_is_a_timeout(
        self, server_tls: ssl.SSLContext, bundle: str, greeting: Callable[[socket.socket], None]
    ) -> None:
        """A server that accepts and then does not shake hands is a TimeoutException."""
        with Hostile(b"", server_tls) as server, client_of(server.url, bundle) as client:
            server.greeting = greeting
            assert type(failure_of(client, kind=TimeoutException)) is TimeoutException
            server.greeting = None
            assert_usable(client, server)

    @pytest.mark.parametrize(
        "greeting",
        [
            pytest.param(says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), id="no TLS"),
            pytest.param(says(b"\x15\x03\x03\x00\x02\x02\x28"), id="alert"),
        ],
    )
    def test_a_handshake_that_fails_is_an_ssl_exception(
        self, server_tls: ssl.SSLContext, bundle: str, greeting: Callable[[socket.socket], None]
    ) -> None:
        """What is no TLS, or refuses it, is an SSLException, which is not retried by default."""
        with Hostile(b"", server_tls) as server, client_of(server.url, bundle, retries=2) as client:
            server.greeting = greeting
            assert type(failure_of(client)) is SSLException
            assert server.connections == 1
            server.greeting = None
            assert_usable(client, server)

    def test_a_stranger_gets_no_request(self, server_tls: ssl.SSLContext) -> None:
        """A certificate that nobody vouches for is refused before anything is sent."""
        with Hostile(b"", server_tls) as server:
            config = HttpClientConfigBuilder().with_base_url(server.url).with_bearer_token(CANARY)
            with HttpClient(config.with_retry(3).build()) as client:
                assert type(failure_of(client, "POST")) is SSLException
            assert (server.requests, server.connections) == ([], 1)
