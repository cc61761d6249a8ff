"""An exchange is over when its time is, whatever the server does."""

import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
import requests
from asking import LATE, SOON, Asker, Sock, ends_at_deadline, raw_server, tunnel_to
from freezegun import freeze_time

from loopback import Loopback, in_turn, reply, takes_over
from requestforge._transport.adapter import TransportAdapter
from requestforge._transport.attempt import Attempt
from requestforge.exceptions import HttpClientException, TimeoutException


class TestDeadlines:
    @pytest.mark.parametrize(
        ("start", "drop"),
        [
            pytest.param(b"", b"", id="nothing"),
            pytest.param(b"HTTP/1.1 200 O", b"K", id="status line"),
            pytest.param(b"HTTP/1.1 200 OK\r\n", b"X-Drop: 1\r\n"[:1], id="header"),
            pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n", id="interim answers"),
            pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"x", id="body"),
            pytest.param(b"HTTP/1.0 200 OK\r\n\r\n", b"x", id="body to the end of the connection"),
            pytest.param(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 99999\r\n\r\n",
                b"x",
                id="body of a closed connection",
            ),
            pytest.param(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"1\r\nx\r\n",
                id="chunks",
            ),
            pytest.param(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", b"x", id="redirect"),
        ],
    )
    def test_a_dripping_answer_ends_at_the_timeout(self, start: bytes, drop: bytes) -> None:
        """However slowly the server sends, the exchange is over when its time is."""
        with Loopback(b"") as server:
            server.answer = takes_over(server.drip(start, drop))
            with ends_at_deadline():
                Asker(server.url, timeout=SOON).post()

    @pytest.mark.parametrize("start", [b"", b"\x16\x03\x03\x40\x00\x02"], ids=["stall", "drip"])
    def test_a_tls_handshake_ends_at_the_timeout(self, start: bytes) -> None:
        """The time allowed covers the handshake, of which the server may send a byte at a time."""

        def shake_hands(sock: Sock) -> None:
            sock.settimeout(0.01)
            sock.sendall(start)
            with suppress(ConnectionError):
                while True:
                    with suppress(TimeoutError):
                        if not sock.recv(4096):
                            return
                    sock.sendall(start[-1:])

        with raw_server(shake_hands) as port, ends_at_deadline():
            Asker(f"https://127.0.0.1:{port}", timeout=SOON).post()

    def test_an_answer_over_tls_ends_at_the_timeout(self, tls: ssl.SSLContext, bundle: str) -> None:
        """A body that drips through TLS ends as one in the clear does."""
        with Loopback(b"", tls) as server:
            start = b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"
            server.answer = takes_over(server.drip(start, b"x"))
            with ends_at_deadline():
                Asker(server.url, timeout=SOON, verify_ssl=bundle).post()

    def test_a_request_that_nobody_reads_ends_at_the_timeout(self) -> None:
        """The time allowed covers the sending of the body."""
        reading = threading.Event()
        with raw_server(lambda _: reading.wait(LATE)) as port, ends_at_deadline():
            try:
                Asker(f"http://127.0.0.1:{port}", timeout=SOON).post("x" * 50_000_000)
            finally:
                reading.set()

    def test_all_addresses_of_a_host_share_the_timeout(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Addresses that do not answer are not given the whole time each."""
        with full_listener() as address:
            found = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: [found] * 50)
            with ends_at_deadline():
                Asker("http://auth.localhost", timeout=SOON).post()

    def test_a_proxy_that_does_not_open_its_tunnel_ends_at_the_timeout(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The time allowed covers what a proxy takes to answer a CONNECT."""
        with Loopback(b"") as proxy:
            proxy.answer = takes_over(proxy.drip(b"HTTP/1.1 200 OK\r\n", b"X"))
            monkeypatch.setenv("https_proxy", proxy.url)
            with ends_at_deadline():
                Asker("https://auth.example.com", timeout=SOON).post()

    def test_a_proxy_that_speaks_tls_ends_at_the_timeout(
        self, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, bundle: str
    ) -> None:
        """The time allowed covers TLS within TLS."""
        with Loopback(b"", tls) as origin, Loopback(b"", tls) as proxy:
            origin.answer = takes_over(origin.stall())
            proxy.answer = takes_over(tunnel_to(origin.port))
            monkeypatch.setenv("https_proxy", proxy.url)
            with ends_at_deadline():
                Asker(origin.url, timeout=SOON, verify_ssl=bundle).post()
            assert len(origin.requests) == 1

    def test_frozen_time_does_not_stop_the_deadline(self) -> None:
        """Sockets are waited for in real time, whatever a test does to the clock."""
        with Loopback(b"") as server:
            server.answer = takes_over(server.stall())
            asker = Asker(server.url, timeout=SOON)
            with freeze_time("2030-01-01"), pytest.raises(TimeoutException):
                asker.post()

    def test_the_nearest_deadline_comes_first(self) -> None:
        """A long deadline that waits already does not hold up a short one."""
        with Loopback(b"") as server:
            server.answer = takes_over(server.stall())

            def ask() -> None:
                with suppress(HttpClientException):
                    Asker(server.url, timeout=30).post()

            waiting = threading.Thread(target=ask, daemon=True)
            waiting.start()
            while not server.requests:
                server.stopping.wait(0.001)
            with ends_at_deadline():
                Asker(server.url, timeout=SOON).post()
        waiting.join(LATE)
        assert not waiting.is_alive()

    def test_the_deadline_of_an_answered_request_spares_the_next_one(self) -> None:
        """A connection that is used again is not hung up for the exchange before."""
        answered = threading.Event()

        def slowly(sock: Sock) -> None:
            answered.wait(2 * SOON)
            sock.sendall(reply(body=b"second"))

        with Loopback(in_turn(reply(body=b"first"), slowly)) as server:
            session = requests.Session()
            session.mount("http://", TransportAdapter())
            texts = []
            for seconds in (SOON, 30):
                with Attempt(server.url, seconds) as attempt:
                    texts.append(session.get(server.url, timeout=30).text)
                    assert 0 < (attempt.remaining() or 0) <= seconds
            session.close()
        assert texts == ["first", "second"]
        assert server.connections == 1

    def test_the_deadline_of_an_answered_request_spares_the_next_connection(self) -> None:
        """A connection that the server closed is opened again in the time of the new exchange."""
        with Loopback(reply(Connection="close")) as server:
            asker = Asker(server.url, timeout=SOON)
            for _ in range(3):
                assert asker.post().status_code == 200
                server.stopping.wait(1.5 * SOON)
        assert server.connections == 3

    def test_an_attempt_after_its_deadline_sends_nothing(self) -> None:
        """What is begun in the block when the time is over is not sent."""
        with Loopback(reply()) as server, requests.Session() as session:
            session.mount("http://", TransportAdapter())
            attempt = Attempt(server.url, 0.0)
            with pytest.raises(TimeoutException), attempt:  # noqa: PT012 - the block is the matter
                server.stopping.wait(0.05)
                session.get(server.url, timeout=30)
        assert server.requests == []

    def test_a_block_that_outlives_its_deadline_times_out(self) -> None:
        """Even if nothing in the block failed, there is no answer in time."""
        with pytest.raises(TimeoutException, match=r"within 0\.01 s"), Attempt("http://a", 0.01):
            threading.Event().wait(0.2)

    def test_one_thread_watches_any_number_of_exchanges(self) -> None:
        """There is one watchdog, and it keeps no trace of what was answered in time."""
        with Loopback(reply()) as server:
            asker = Asker(server.url, timeout=30)
            for _ in range(200):
                asker.post()
            asker.close()
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("requestforge-watchdog") == 1

    def test_without_a_watchdog_the_sockets_keep_their_timeouts(self) -> None:
        """Where no thread can be started, as at the exit of the interpreter, requests still end."""
        with Loopback(b"") as server:
            server.answer = takes_over(server.stall())
            ended = subprocess.run(
                [sys.executable, "-c", WITHOUT_THREADS, server.url],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
        assert (ended.returncode, ended.stdout.strip()) == (0, "TimeoutException"), ended.stderr


WITHOUT_THREADS = """
import sys, threading
from requestforge.fetcher import HttpTokenFetcher

class Asker(HttpTokenFetcher):
    name = "asker"
    def fetch(self, context=None):
        return self._make_request("POST", "/")

def refuse(self):
    raise RuntimeError("can't start new thread")

threading.Thread.start = refuse
try:
    Asker(sys.argv[1], timeout=0.2).fetch()
except Exception as error:
    print(type(error).__name__)
"""


@contextmanager
def full_listener() -> Iterator[tuple[str, int]]:
    """The address of a listener that takes no further connection."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address: tuple[str, int] = listener.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)  # noqa: FBT003 - as sockets have it
            with suppress(BlockingIOError):
                filler.connect(address)
        yield address
