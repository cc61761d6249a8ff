"""The transport: deadlines, failures, pools, proxies and TLS on real sockets."""

import gzip
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import requests
import responses
import trustme
from freezegun import freeze_time
from loopback import Loopback, Received, in_turn, reply, shown_by, takes_over
from requestforge._transport.adapter import TransportAdapter
from requestforge._transport.attempt import Attempt
from urllib3 import exceptions as urllib3_errors
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from requestforge.exceptions import (
    ConnectionException,
    HttpClientException,
    InsecureTransportWarning,
    RequestBuildException,
    SSLException,
    TimeoutException,
)
from requestforge.fetcher import HttpTokenFetcher
from requestforge.models import HttpResponse
from requestforge.tokens import TokenData

CANARY = "canary-c0ffee"
SOON = 0.4
"""Seconds: the deadline of an exchange that is to miss it."""
LATE = 3.0
"""Seconds: what such an exchange takes at most, on a slow machine, too."""

Sock = socket.socket


class Asker(HttpTokenFetcher):
    """Asks one server, with a secret in each place where requests have one."""

    name = "asker"

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        """Not what these tests are about."""
        raise NotImplementedError

    def get(self, **data: str) -> HttpResponse:
        """GET /, with data in its query."""
        return self._make_request("GET", "/", data={"password": CANARY, **data})

    def post(self, data: str = f"password={CANARY}", **headers: str) -> HttpResponse:
        """POST a form to /."""
        sent = {"Authorization": f"Bearer {CANARY}", **headers}
        return self._make_request("POST", f"/?client_secret={CANARY}", headers=sent, data=data)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of this run's own."""
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    """The path of a CA bundle with the authority in it."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of this machine's environment gets between a test and its server."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def failure_of(call: Callable[[], object]) -> HttpClientException:
    """The library's error that the call ends in."""
    with pytest.raises(HttpClientException) as caught:
        call()
    return caught.value


@contextmanager
def ends_at_deadline() -> Iterator[None]:
    """A block that ends in a TimeoutException when `SOON` has passed."""
    started = time.monotonic()
    with pytest.raises(TimeoutException) as caught:
        yield
    assert SOON * 0.9 <= time.monotonic() - started < LATE
    assert CANARY not in shown_by(caught.value)


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
            waiting = threading.Thread(
                target=lambda: suppressed(Asker(server.url, timeout=30).post), daemon=True
            )
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

    def test_an_attempt_after_its_deadline_sends_nothing(self) -> None:
        """What is begun in the block when the time is over is not sent."""
        with Loopback(reply()) as server, requests.Session() as session:
            session.mount("http://", TransportAdapter())
            with pytest.raises(TimeoutException), Attempt(server.url, 0.0) as attempt:
                while attempt.remaining():
                    server.stopping.wait(0.001)
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


class TestFailures:
    @pytest.mark.parametrize(
        ("script", "kind", "told"),
        [
            pytest.param(lambda _: None, ConnectionException, "closed connection", id="no answer"),
            pytest.param(
                lambda sock: reset(sock), ConnectionException, "Connection reset", id="reset"
            ),
            pytest.param(
                lambda sock: sock.sendall(f"{CANARY}\r\n\r\n".encode()),
                ConnectionException,
                "BadStatusLine",
                id="garbage",
            ),
            pytest.param(
                lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"),
                ConnectionException,
                "HTTPException",
                id="too many headers",
            ),
            pytest.param(
                lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"),
                ConnectionException,
                "2 bytes read, 7 more expected",
                id="truncated body",
            ),
            pytest.param(
                lambda sock: sock.sendall(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                    + f"{CANARY}\r\n".encode()
                ),
                ConnectionException,
                "InvalidChunkLength",
                id="bad chunk",
            ),
        ],
    )
    def test_a_broken_line_is_a_connection_exception(
        self, script: Callable[[Sock], None], kind: type[Exception], told: str
    ) -> None:
        """What breaks off is told by what happened, never by what was sent or received."""
        with Loopback(takes_over(script)) as server:
            error = failure_of(Asker(server.url).post)
        assert type(error) is kind
        assert told in error.message
        assert CANARY not in shown_by(error)

    def test_nobody_listening_is_a_connection_exception(self) -> None:
        """The cause is the error of requests, without the request that it came with."""
        with Loopback(b"") as server:
            url = server.url
        error = failure_of(Asker(url).get)
        assert type(error) is ConnectionException
        assert error.message.startswith(f"The connection to {url} failed: [Errno")
        assert isinstance(error.__cause__, requests.ConnectionError)
        assert error.__cause__ is error.original_exception is error.__context__
        assert error.__cause__.request is None
        assert CANARY not in shown_by(error)

    def test_a_name_that_cannot_be_resolved_is_a_connection_exception(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No address means no connection."""

        def unknown(*_args: object, **_kwargs: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        error = failure_of(Asker("http://auth.localhost").post)
        assert type(error) is ConnectionException
        assert "Name or service not known" in error.message

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b"x" * (1024 * 1024 + 1), id="plain"),
            pytest.param(gzip.compress(b"\0" * 50_000_000), id="gzip bomb"),
        ],
    )
    def test_a_long_answer_is_refused(self, body: bytes) -> None:
        """More than 1 MiB of decoded body is not read."""
        encoding = {"Content_Encoding": "gzip"} if len(body) < 1024 * 1024 else {}
        with Loopback(reply(body=body, **encoding)) as server:
            error = failure_of(Asker(server.url).post)
        assert error.message == "The answer is longer than 1048576 bytes, the most that is read."

    def test_an_answer_of_one_mebibyte_is_read(self) -> None:
        """The limit itself is allowed."""
        with Loopback(reply(body=b"x" * 1024 * 1024)) as server:
            assert len(Asker(server.url).post().content) == 1024 * 1024

    def test_a_wrong_content_encoding_is_told(self) -> None:
        """A body that is not encoded as its header says is a failure, and is not shown."""
        with Loopback(reply(body=CANARY.encode(), Content_Encoding="gzip")) as server:
            error = failure_of(Asker(server.url).post)
        assert type(error) is HttpClientException
        assert "not encoded as its Content-Encoding says" in error.message
        assert CANARY not in shown_by(error)

    def test_an_untrusted_certificate_is_an_ssl_exception(self, tls: ssl.SSLContext) -> None:
        """A certificate that nobody vouches for is refused before anything is sent."""
        with Loopback(reply(), tls) as server:
            error = failure_of(Asker(server.url).post)
        assert type(error) is SSLException
        assert "certificate verify failed" in error.message
        assert server.requests == []
        assert CANARY not in shown_by(error)

    def test_a_server_that_speaks_no_tls_is_an_ssl_exception(self) -> None:
        """An answer in the clear to a handshake is refused."""
        with raw_server(lambda sock: sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
            error = failure_of(Asker(f"https://127.0.0.1:{port}").post)
        assert type(error) is SSLException

    def test_a_missing_ca_bundle_is_told(self) -> None:
        """A setting that cannot be used is no failure of the connection."""
        error = failure_of(Asker("https://127.0.0.1:9", verify_ssl="/nowhere/ca.pem").post)
        assert type(error) is HttpClientException
        assert "/nowhere/ca.pem" in error.message

    @pytest.mark.parametrize(
        ("raised", "kind", "cause"),
        [
            pytest.param(
                UnicodeEncodeError("latin-1", CANARY, 0, 1, "no"),
                RequestBuildException,
                requests.RequestException,
                id="header beyond Latin-1",
            ),
            pytest.param(
                requests.exceptions.InvalidHeader(f"Bad: {CANARY}"),
                RequestBuildException,
                requests.exceptions.InvalidHeader,
                id="malformed header",
            ),
            pytest.param(
                requests.exceptions.InvalidURL(f"http://a?{CANARY}"),
                RequestBuildException,
                requests.exceptions.InvalidURL,
                id="malformed URL",
            ),
            pytest.param(
                urllib3_errors.HTTPError(CANARY),
                HttpClientException,
                requests.RequestException,
                id="error of urllib3",
            ),
            pytest.param(
                requests.ReadTimeout(""), TimeoutException, requests.ReadTimeout, id="no text"
            ),
        ],
    )
    def test_foreign_errors_leave_an_attempt_as_the_librarys(
        self, raised: Exception, kind: type[Exception], cause: type[Exception]
    ) -> None:
        """They are told by their kind; what they hold stays behind."""

        def fail() -> None:
            with Attempt("https://auth.example.com/token"):
                raise raised

        error = failure_of(fail)
        assert type(error) is kind
        assert "https://auth.example.com" in error.message
        assert type(error.__cause__) is cause
        assert CANARY not in shown_by(error)

    def test_errors_of_foreign_adapters_are_told_by_the_class_of_requests(self) -> None:
        """A subclass that nobody knows is copied as the class of requests that it is."""

        class Odd(requests.ConnectTimeout):
            def __init__(self, code: int, reason: str) -> None:
                super().__init__(f"{code} {reason}")

        def fail() -> None:
            with Attempt("no URL"):
                raise Odd(7, "out of order")

        error = failure_of(fail)
        assert type(error) is TimeoutException
        assert error.message == "No answer from the server in time: 7 out of order."
        assert type(error.__cause__) is requests.ConnectTimeout

    @pytest.mark.parametrize("raised", [KeyboardInterrupt(), ValueError("a"), SSLException("b")])
    def test_other_errors_pass_an_attempt_unchanged(self, raised: BaseException) -> None:
        """What is none of the transport's, or the library's already, is left alone."""
        with pytest.raises(type(raised)) as caught, Attempt("http://127.0.0.1", 30):
            raise raised
        assert caught.value is raised
        assert raised.__cause__ is None

    def test_mocks_of_requests_see_the_exchange(self) -> None:
        """Tools that stand in for the adapter's `send` work, and their failures are translated."""
        with responses.RequestsMock() as mock:
            mock.post("https://auth.example.com/", body=b"mocked")
            mock.post("https://auth.example.com/", body=requests.ReadTimeout("slow"))
            asker = Asker("https://auth.example.com")
            assert asker.post().content == b"mocked"
            assert type(failure_of(asker.post)) is TimeoutException


class TestLogs:
    def test_the_log_of_urllib3_shows_no_secret(self, caplog: pytest.LogCaptureFixture) -> None:
        """At DEBUG urllib3 logs the target of each request, here with the secrets masked."""
        with caplog.at_level(logging.DEBUG), Loopback(reply()) as server:
            Asker(server.url).get(page="7")
        targets = [record.getMessage() for record in caplog.records if "GET" in record.getMessage()]
        assert any("password=***&page=7" in target for target in targets)
        assert CANARY not in caplog.text

    def test_headers_that_cannot_be_read_are_not_logged(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What urllib3 quotes of them might be a token."""
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + f": {CANARY}\r\n\r\n".encode()
        with caplog.at_level(logging.DEBUG), Loopback(answer) as server:
            Asker(server.url).get()
        assert "Failed to parse headers" in caplog.text
        assert CANARY not in caplog.text

    def test_other_requests_are_logged_as_ever(self, caplog: pytest.LogCaptureFixture) -> None:
        """The library leaves alone what is not its own."""
        with caplog.at_level(logging.DEBUG), Loopback(reply()) as server:
            requests.get(f"{server.url}/?password=visible", timeout=5)
        assert "password=visible" in caplog.text


class TestSettings:
    def test_netrc_is_not_read(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A login for the host in .netrc is not sent, with or without another credential."""
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login user password pass\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        with Loopback(reply()) as server:
            asker = Asker(server.url)
            asker.get()
            asker.post()
        assert "authorization" not in server.requests[0].headers
        assert server.requests[1].headers["authorization"] == f"Bearer {CANARY}"

    def test_userinfo_is_sent_unless_there_is_a_credential(self) -> None:
        """User and password of the URL go by HTTP Basic, but never replace a header."""
        with Loopback(reply()) as server:
            asker = Asker(server.url.replace("//", "//user:p%40ss@"))
            answer = asker.get()
            asker.post()
        assert server.requests[0].headers["authorization"] == "Basic dXNlcjpwQHNz"
        assert server.requests[1].headers["authorization"] == f"Bearer {CANARY}"
        assert "@" not in answer.url

    def test_cookies_are_not_kept(self) -> None:
        """Nothing of one user's session gets into the next fetch."""
        with Loopback(reply(Set_Cookie="session=1; Path=/")) as server:
            asker = Asker(server.url)
            asker.post()
            asker.post()
        assert all("cookie" not in received.headers for received in server.requests)

    @pytest.mark.parametrize("location", ["/elsewhere", "http://[", "ftp://a", "https://evil.test"])
    def test_redirects_are_answers(self, location: str) -> None:
        """A 3xx is given back with its body; where it leads does not matter."""
        with Loopback(reply(302, b"moved", Location=location)) as server:
            answer = Asker(server.url).post()
        assert (answer.status_code, answer.content) == (302, b"moved")
        assert len(server.requests) == 1

    def test_a_proxy_of_the_environment_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """http goes to the proxy with its full URL, userinfo of the proxy as its credential."""
        with Loopback(reply(body=b"by proxy")) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//user:pass@"))
            asker = Asker("http://auth.localhost:81")
            assert asker.get().content == b"by proxy"
            assert asker.get().content == b"by proxy"
            monkeypatch.setenv("no_proxy", "auth.localhost")
            assert isinstance(failure_of(asker.get), ConnectionException)
        assert proxy.requests[0].target.startswith("http://auth.localhost:81/?")
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"
        assert proxy.connections == 1

    def test_https_goes_through_a_tunnel(
        self, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, bundle: str
    ) -> None:
        """The proxy sees a CONNECT, and no more."""
        with Loopback(reply(body=b"hello"), tls) as origin, Loopback(b"") as proxy:
            proxy.answer = takes_over(tunnel_to(origin.port))
            monkeypatch.setenv("https_proxy", proxy.url)
            asker = Asker(origin.url, verify_ssl=bundle)
            assert asker.post().content == b"hello"
            asker.close()
        assert [received.method for received in proxy.requests] == ["CONNECT"]
        assert CANARY not in repr(proxy.requests)

    def test_a_proxy_that_refuses_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A refused tunnel is a failed connection, and shows no password of the proxy."""
        refusal = reply(407, Connection="close")
        with Loopback(refusal) as proxy:
            monkeypatch.setenv("https_proxy", proxy.url.replace("//", f"//user:{CANARY}@"))
            error = failure_of(Asker("https://auth.example.com").post)
        assert type(error) is ConnectionException
        assert "407" in error.message
        assert CANARY not in shown_by(error)

    def test_a_ca_bundle_is_trusted(self, tls: ssl.SSLContext, bundle: str) -> None:
        """`verify_ssl` may be the path of a bundle."""
        with Loopback(reply(), tls) as server:
            assert Asker(server.url, verify_ssl=bundle).post().is_success

    def test_a_ca_bundle_of_the_environment_is_trusted(
        self, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, bundle: str
    ) -> None:
        """REQUESTS_CA_BUNDLE names the bundle where `verify_ssl` is True."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
        with Loopback(reply(), tls) as server:
            assert Asker(server.url).post().is_success

    def test_unverified_certificates_are_warned_of_once(
        self, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext
    ) -> None:
        """`verify_ssl=False` beats the environment; there is one warning, and it is ours."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
        with Loopback(reply(), tls) as server:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                asker = Asker(server.url, verify_ssl=False)
                assert asker.post().is_success
                assert asker.post().is_success
                Asker(server.url, verify_ssl=False)
        assert [warning.category for warning in caught] == [InsecureTransportWarning]
        assert server.connections == 1

    def test_an_unverified_session_is_warned_of(self, tls: ssl.SSLContext) -> None:
        """The adapter itself warns at the first connection, whoever uses it."""
        with Loopback(reply(), tls) as server, requests.Session() as session:
            session.mount("https://", TransportAdapter())
            with pytest.warns(InsecureTransportWarning, match=str(server.port)):
                assert session.get(server.url, verify=False, timeout=5).ok  # noqa: S501


class TestPools:
    def test_connections_are_used_again_until_closed(self) -> None:
        """One connection serves one thread; `close` releases it, and the next request opens one."""
        with Loopback(reply()) as server:
            asker = Asker(server.url)
            asker.post()
            asker.post()
            assert server.connections == 1
            asker.close()
            asker.close()
            asker.post()
            assert server.connections == 2
            asker.close()

    def test_threads_share_a_fetcher(self) -> None:
        """Each of many threads gets the answer to its own request."""

        def echo(received: Received) -> bytes:
            return reply(body=received.body)

        answers: dict[int, bytes] = {}
        with Loopback(echo) as server:
            asker = Asker(server.url)
            barrier = threading.Barrier(8)

            def ask(number: int) -> None:
                barrier.wait(10)
                answers[number] = asker.post(f"n={number}").content

            threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
            asker.close()
        assert answers == {number: f"n={number}".encode() for number in range(8)}

    @pytest.mark.compat
    def test_a_forked_child_opens_its_own_connections(self) -> None:
        """Parent and child go on with the same fetcher, and no answer reaches the wrong one."""
        with Loopback(lambda received: reply(body=received.body)) as server:
            asker = Asker(server.url, timeout=10)
            asker.post("who=both")
            in_child = forked(lambda: asker.post("who=child").content)
            assert asker.post("who=parent").content == b"who=parent"
            assert in_child() == b"who=child"
            assert server.connections == 2

    @pytest.mark.compat
    def test_a_fork_while_another_thread_waits_leaves_that_thread_alone(self) -> None:
        """The child closes what it inherited without a word to the server."""
        go_on = threading.Event()

        def later(sock: Sock) -> None:
            go_on.wait(10)
            sock.sendall(reply(body=b"late"))

        with Loopback(in_turn(later, reply(body=b"child"))) as server:
            asker = Asker(server.url, timeout=10)
            answers: list[bytes] = []
            waiting = threading.Thread(target=lambda: answers.append(asker.post().content))
            waiting.start()
            while not server.requests:
                server.stopping.wait(0.001)
            assert forked(lambda: asker.post().content)() == b"child"
            go_on.set()
            waiting.join(10)
        assert answers == [b"late"]

    @pytest.mark.compat
    def test_a_forked_child_leaves_closed_pools_alone(self) -> None:
        """A pool that was closed before the fork stays closed, and the adapter opens another."""
        with Loopback(reply(body=b"again")) as server, requests.Session() as session:
            adapter = TransportAdapter()
            session.mount("http://", adapter)
            asked = session.prepare_request(requests.Request("GET", server.url))
            closed = adapter.get_connection_with_tls_context(asked, verify=True)
            closed.close()

            def in_child() -> bytes:
                with pytest.raises(urllib3_errors.ClosedPoolError):
                    closed.urlopen("GET", "/")
                return session.get(server.url, timeout=5).content

            assert forked(in_child)() == b"again"

    def test_the_adapter_works_outside_of_an_attempt(self) -> None:
        """Without a deadline nothing is watched, and the connection is used again."""
        with Loopback(reply(body=b"plain")) as server, requests.Session() as session:
            session.mount("http://", TransportAdapter())
            for _ in range(2):
                assert session.get(server.url, timeout=5).content == b"plain"
                with Attempt(server.url) as attempt:
                    assert session.get(server.url, timeout=5).content == b"plain"
                    assert attempt.remaining() is None
        assert server.connections == 1

    def test_an_adapter_without_timeout_keeps_the_deadline(
        self, tls: ssl.SSLContext, bundle: str
    ) -> None:
        """Where the request itself has no timeout, the attempt's deadline is the only one."""
        with Loopback(b"", tls) as server, requests.Session() as session:
            server.answer = takes_over(server.stall())
            session.mount("https://", TransportAdapter())
            with ends_at_deadline(), Attempt(server.url, SOON):
                session.get(server.url, verify=bundle, timeout=None)

    def test_a_recording_tools_connections_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A tool that puts its own class of connections into urllib3 sees the exchange."""
        seen = []

        class Recorder:
            def __init__(self, **arguments: object) -> None:
                self.real = HTTPConnection(**arguments)  # type: ignore[arg-type]

            def __getattr__(self, name: str) -> object:
                if name == "request":
                    seen.append(name)
                return getattr(self.real, name)

        monkeypatch.setattr(HTTPConnectionPool, "ConnectionCls", Recorder)
        with Loopback(reply(body=b"real")) as server:
            asker = Asker(server.url)
            assert asker.post().content == b"real"
            asker.close()
        assert seen == ["request"]


def suppressed(call: Callable[[], object]) -> None:
    """Call, and forget the library's error."""
    with suppress(HttpClientException):
        call()


def reset(sock: Sock) -> None:
    """Close so that the peer gets a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


@contextmanager
def raw_server(serve: Callable[[Sock], object]) -> Iterator[int]:
    """The port of a server that hands its first connection to `serve`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                sock, _ = listener.accept()
                with sock:
                    serve(sock)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
    thread.join(LATE)


@contextmanager
def full_listener() -> Iterator[tuple[str, int]]:
    """The address of a listener that takes no further connection."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address: tuple[str, int] = listener.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(address)
        yield address


def tunnel_to(port: int) -> Callable[[Sock], None]:
    """A proxy's script: opens the tunnel to a port of this machine and passes all on."""

    def carry(source: Sock, target: Sock) -> None:
        with suppress(OSError, ValueError):
            while data := source.recv(65536):
                target.sendall(data)

    def tunnel(sock: Sock) -> None:
        with socket.create_connection(("127.0.0.1", port)) as origin:
            sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=carry, args=(origin, sock), daemon=True)
            back.start()
            carry(sock, origin)

    return tunnel


def forked(call: Callable[[], bytes]) -> Callable[[], bytes]:
    """Call in a forked child; gives a function that waits for what it returned."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, call())
        finally:
            os._exit(0)
    os.close(writer)

    def result() -> bytes:
        with open(reader, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        return answer

    return result
