"""HttpClient: limits on time and size hold against servers that drip, stall and inflate."""

import gzip
import socket
import ssl
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from misbehaving import GOOD, Hostile, body, bomb, hang_up, reset, says

from canary import assert_clean
from doubles import Clock
from loopback import Loopback, Received, Script, reply, takes_over
from requestforge import (
    BodyTokenFetcher,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.exceptions import (
    CircuitOpenException,
    ConnectionException,
    HttpClientException,
    TimeoutException,
)
from requestforge.instrumentation import use_clock

pytestmark = pytest.mark.compat

CANARY = "canary-limit-a7e3"
SOON = 0.5
"""Seconds: the total time that a request has."""
LATE = 5.0
"""Seconds: what such a request takes at most, on a slow machine, too."""
SIZE = 100_000
"""Bytes: what an answer may have where its size is limited."""


def builder(server: Loopback, bundle: str) -> HttpClientConfigBuilder:
    """The start of the configuration of a client with a secret."""
    made = HttpClientConfigBuilder().with_base_url(server.url).with_verify_ssl(bundle)
    return made.with_bearer_token(CANARY)


@contextmanager
def ends_in_time() -> Iterator[pytest.ExceptionInfo[TimeoutException]]:
    """A block that ends in a TimeoutException when `SOON` has passed."""
    started = time.monotonic()
    with pytest.raises(TimeoutException) as caught:
        yield caught
    assert SOON * 0.9 <= time.monotonic() - started < LATE
    assert type(caught.value) is TimeoutException
    assert_clean(caught.value)


def assert_usable(client: HttpClient) -> None:
    """The client goes on with the same server."""
    for _ in range(3):
        assert client.get("/good").content == b"good"


def drip(start: bytes, drop: bytes) -> Callable[[socket.socket], None]:
    """A script that sends `start`, and then a drop at a time until the peer is gone."""

    def dripping(sock: socket.socket) -> None:
        sock.sendall(start)
        sock.settimeout(0.01)
        while True:
            sock.sendall(drop)
            try:
                if not sock.recv(1):
                    return
            except TimeoutError:
                continue

    return dripping


DRIPS = {
    "before-the-header": drip(b"", b""),
    "status-line": drip(b"HTTP/1.1 200 O", b"K"),
    "header-line": drip(b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x"),
    "header-lines": drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "interim-answers": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"x"),
    "body-without-a-length": drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    "chunk-size": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    "chunks": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "trailers": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    "body-of-a-redirect": drip(
        b"HTTP/1.1 302 Found\r\nLocation: /good\r\nContent-Length: 9999\r\n\r\n", b"x"
    ),
    "body-of-an-error": drip(b"HTTP/1.1 503 Busy\r\nContent-Length: 9999\r\n\r\n", b"x"),
}


class TestTotalTimeout:
    """No part of an exchange takes longer than the whole may."""

    def test_a_drip_ends_in_time(self, tls: ssl.SSLContext | None, bundle: str) -> None:
        """Wherever the server drips or stalls, each request ends, and the client goes on."""

        def ask(name: str) -> None:
            with ends_in_time():
                client.get(f"/{name}?token={CANARY}")

        with Hostile(lambda received: DRIPS[received.path[1:]], tls) as server:
            config = builder(server, bundle).with_total_timeout(SOON).with_retry(3, 0)
            with HttpClient(config.build()) as client, ThreadPoolExecutor(len(DRIPS)) as pool:
                asked = {name: pool.submit(ask, name) for name in DRIPS}
                failures = {name: future.exception(LATE) for name, future in asked.items()}
                assert failures == dict.fromkeys(DRIPS)
                assert_usable(client)
            assert sorted(server.asked[: len(DRIPS)]) == sorted(f"GET /{name}" for name in DRIPS)
            assert set(server.asked[len(DRIPS) :]) == {"GET /good"}

    @pytest.mark.parametrize(
        "greeting",
        [drip(b"", b""), drip(b"\x16\x03\x03\x40\x00", b"\x02")],
        ids=["silence", "drip"],
    )
    def test_a_handshake_ends_in_time(
        self, server_tls: ssl.SSLContext, bundle: str, greeting: Callable[[socket.socket], None]
    ) -> None:
        """The handshake of TLS counts."""
        with Hostile(b"", server_tls, greeting) as server:
            config = builder(server, bundle).with_total_timeout(SOON)
            with HttpClient(config.build()) as client:
                with ends_in_time():
                    client.get("/")
                server.greeting = None
                assert_usable(client)

    def test_all_redirects_share_the_time(self, tls: ssl.SSLContext | None, bundle: str) -> None:
        """Hops that take half of the time each are not followed for ever."""
        with Hostile(b"", tls) as server:

            def slowly(_: Received) -> bytes:
                server.stopping.wait(SOON / 2)
                return reply(302, Location="/on")

            server.answer = slowly
            config = (
                builder(server, bundle).with_total_timeout(SOON).with_redirects(max_redirects=50)
            )
            with HttpClient(config.build()) as client:
                with ends_in_time():
                    client.get("/on")
                assert_usable(client)

    def test_all_attempts_share_the_time(self, tls: ssl.SSLContext | None, bundle: str) -> None:
        """Attempts that take half of the time each are not made for ever."""
        with Hostile(b"", tls) as server:

            def slowly(_: Received) -> bytes:
                server.stopping.wait(SOON * 0.6)
                return reply(503)

            server.answer = slowly
            config = builder(server, bundle).with_total_timeout(SOON).with_retry(9, 0)
            with HttpClient(config.build()) as client:
                started = time.monotonic()
                with pytest.raises(TimeoutException) as caught:
                    client.get("/")
                assert time.monotonic() - started < LATE
                assert_clean(caught.value)
                assert_usable(client)
            assert server.asked.count("GET /") == 2

    def test_a_token_that_takes_too_long_ends_in_time(
        self, tls: ssl.SSLContext | None, bundle: str
    ) -> None:
        """The login counts, and nothing is sent to the API."""
        drips = drip(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", b" ")
        with Loopback(takes_over(drips), tls) as issuer, Hostile(reply(), tls) as server:
            step = BodyTokenFetcher("login", issuer.url, "/token", verify_ssl=bundle)
            pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
            manager = TokenManager(PipelineTokenProvider(pipeline, "shop"))
            config = HttpClientConfigBuilder().with_base_url(server.url).with_verify_ssl(bundle)
            config.with_token_auth(manager).with_total_timeout(SOON)
            with HttpClient(config.build()) as client, ends_in_time():
                client.get("/")
            pipeline.close()
            assert server.requests == []

    @pytest.mark.parametrize("status", [429, 503])
    def test_a_pause_that_would_take_too_long_is_not_begun(
        self, tls: ssl.SSLContext | None, bundle: str, status: int
    ) -> None:
        """A wait that would pass the end leaves the answer as it is."""
        clock = Clock()
        with Hostile(reply(status, Retry_After="30"), tls) as server, use_clock(clock):
            config = builder(server, bundle).with_total_timeout(20).with_retry(3, 0)
            with HttpClient(config.build()) as client:
                assert client.get("/").status_code == status
                assert_usable(client)
            assert server.asked.count("GET /") == 1
        assert clock.slept == []

    def test_a_body_that_nobody_reads_ends_in_time(self) -> None:
        """Sending counts, too, and the error does not stop to look through the body."""
        size = 20_000_000
        with Hostile(b"", None, lambda _: server.stopping.wait(LATE)) as server:
            config = HttpClientConfigBuilder().with_base_url(server.url).with_total_timeout(SOON)
            with HttpClient(config.build()) as client:
                with ends_in_time() as caught:
                    client.post("/", data=bytes(size))
                assert caught.value.context["request"].data == f"<bytes, {size} long>"


BOMBS = {
    "gzip": bomb(64),
    "gzip in gzip": reply(
        body=gzip.compress(gzip.compress(bytes(64 << 20))), Content_Encoding="gzip, gzip"
    ),
    "deflate": reply(body=zlib.compress(bytes(64 << 20)), Content_Encoding="deflate"),
    "plain": reply(body=bytes(SIZE + 1)),
    "gzip by one byte": reply(body=gzip.compress(bytes(SIZE + 1)), Content_Encoding="gzip"),
}


class TestMaxResponseSize:
    """No answer takes more memory than it may."""

    @pytest.fixture(params=[True, False], ids=["in time", "without a deadline"])
    def limited(self, request: pytest.FixtureRequest) -> Callable[[HttpClientConfigBuilder], Any]:
        """Sets the limit, with and without a limit to the time as well."""

        def limit(made: HttpClientConfigBuilder) -> HttpClientConfigBuilder:
            made.with_max_response_size(SIZE)
            return made.with_total_timeout(30) if request.param else made

        return limit

    @pytest.mark.parametrize("answer", BOMBS.values(), ids=BOMBS)
    def test_a_bomb_is_not_unpacked(
        self,
        tls: ssl.SSLContext | None,
        bundle: str,
        limited: Callable[[HttpClientConfigBuilder], HttpClientConfigBuilder],
        answer: bytes,
    ) -> None:
        """More decoded bytes than allowed are an error before they are in memory."""
        with (
            Hostile(answer, tls) as server,
            HttpClient(limited(builder(server, bundle)).build()) as client,
        ):
            client.get("/good")
            tracemalloc.start()
            try:
                with pytest.raises(HttpClientException) as caught:
                    client.get(f"/?token={CANARY}")
                _, most = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert type(caught.value) is HttpClientException
            assert_clean(caught.value)
            assert most < 4_000_000
            assert_usable(client)

    @pytest.mark.parametrize(
        "script",
        [
            pytest.param(body(b"x", Content_Length=str(1 << 40)), id="announced"),
            pytest.param(
                drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 20_000), id="endless, without a length"
            ),
            pytest.param(
                drip(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                    b"4e20\r\n" + b"x" * 20_000 + b"\r\n",
                ),
                id="endless, in chunks",
            ),
        ],
    )
    def test_what_never_ends_is_not_read_on(
        self, tls: ssl.SSLContext | None, bundle: str, script: Callable[[socket.socket], None]
    ) -> None:
        """A body that is announced as too long, or does not end, is given up."""
        with Hostile(takes_over(script), tls) as server:
            config = builder(server, bundle).with_max_response_size(SIZE)
            with HttpClient(config.build()) as client:
                with pytest.raises(HttpClientException) as caught:
                    client.get("/")
                assert_clean(caught.value)
                assert_usable(client)

    def test_the_limit_itself_is_allowed(self, tls: ssl.SSLContext | None, bundle: str) -> None:
        """Exactly as many bytes as allowed are an answer."""
        answer = reply(body=gzip.compress(bytes(SIZE)), Content_Encoding="gzip")
        with Hostile(answer, tls) as server:
            config = builder(server, bundle).with_max_response_size(SIZE)
            with HttpClient(config.build()) as client:
                assert client.get("/").content == bytes(SIZE)


class TestStream:
    """A body that is read bit by bit ends in the same errors as a whole one."""

    @pytest.mark.parametrize(
        ("script", "kind"),
        [
            pytest.param(body(b"abc", Content_Length="9"), ConnectionException, id="truncated"),
            pytest.param(
                says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"),
                ConnectionException,
                id="bad chunk",
            ),
            pytest.param(
                lambda sock: (body(b"abc", Content_Length="9")(sock), reset(sock)),
                ConnectionException,
                id="reset",
            ),
            pytest.param(
                body(b"no gzip", Content_Encoding="gzip", Connection="close"),
                HttpClientException,
                id="no gzip",
            ),
        ],
    )
    def test_what_breaks_while_it_is_read(
        self,
        tls: ssl.SSLContext | None,
        bundle: str,
        script: Callable[[socket.socket], object],
        kind: type[HttpClientException],
    ) -> None:
        """The error comes from the iteration, and the client goes on."""
        with Hostile(takes_over(script), tls) as server:
            config = builder(server, bundle).with_retry(3, 0)
            with HttpClient(config.build()) as client:
                with client.stream("GET", f"/?token={CANARY}") as answer:
                    assert answer.status_code == 200
                    with pytest.raises(HttpClientException) as caught:
                        list(answer.iter_bytes())
                assert type(caught.value) is kind
                assert_clean(caught.value)
                assert_usable(client)
            assert server.asked.count("GET /") == 1

    def test_a_drip_ends_in_time(self, tls: ssl.SSLContext | None, bundle: str) -> None:
        """The total time goes on while the body is read."""
        with Hostile(takes_over(DRIPS["body"]), tls) as server:
            config = builder(server, bundle).with_total_timeout(SOON)
            with HttpClient(config.build()) as client:
                with ends_in_time(), client.stream("GET", "/") as answer:
                    list(answer.iter_bytes(1))
                assert_usable(client)

    def test_a_bomb_is_not_unpacked(self, tls: ssl.SSLContext | None, bundle: str) -> None:
        """What was read until the limit was given; then there is the error."""
        with Hostile(BOMBS["gzip"], tls) as server:
            config = builder(server, bundle).with_max_response_size(SIZE)
            with HttpClient(config.build()) as client:
                got: list[bytes] = []
                with client.stream("GET", "/") as answer:
                    with pytest.raises(HttpClientException) as caught:
                        got.extend(answer.iter_bytes(1000))
                    assert len(b"".join(got)) <= SIZE
                assert type(caught.value) is HttpClientException
                assert_usable(client)

    def test_what_is_left_unread_is_in_nobodys_way(
        self, tls: ssl.SSLContext | None, bundle: str
    ) -> None:
        """A body that the caller leaves halfway is not taken for the next answer."""
        with (
            Hostile(reply(body=b"left" * 100_000), tls) as server,
            HttpClient(builder(server, bundle).build()) as client,
        ):
            for _ in range(3):
                with client.stream("GET", "/") as answer:
                    assert next(iter(answer.iter_bytes(10)))[:4] == b"left"
                assert_usable(client)


@pytest.mark.parametrize("script", [reset, hang_up, body(b"x", Content_Length="9")])
def test_a_server_in_trouble_is_left_alone_for_a_while(
    tls: ssl.SSLContext | None, bundle: str, script: Callable[[socket.socket], object]
) -> None:
    """Broken answers open the circuit: nothing is sent until the recovery, which closes it."""
    scripts: list[Script] = [script] * 3
    clock = Clock()
    with Hostile(lambda _: scripts.pop() if scripts else GOOD, tls) as server, use_clock(clock):
        config = builder(server, bundle).with_circuit_breaker(3, recovery_timeout=30)
        with HttpClient(config.build()) as client:
            for _ in range(3):
                with pytest.raises(ConnectionException):
                    client.get("/")
            with pytest.raises(CircuitOpenException) as caught:
                client.get(f"/?token={CANARY}")
            assert (caught.value.origin, caught.value.retry_after) == (server.url, 30)
            assert_clean(caught.value)
            assert len(server.requests) == 3
            clock.advance(seconds=30)
            for _ in range(3):
                assert client.get("/").content == b"good"
