"""Failures of the line are errors of the library, and show no secret."""

import gzip
import socket
import ssl
from collections.abc import Callable

import pytest
import requests
import responses
from asking import CANARY, Asker, Sock, failure_of, raw_server
from urllib3 import exceptions as urllib3_errors

from loopback import Loopback, reply, shown_by, takes_over
from requestforge._transport.attempt import Attempt
from requestforge.exceptions import (
    ConnectionException,
    HttpClientException,
    RequestBuildException,
    SSLException,
    TimeoutException,
)


def reset(sock: Sock) -> None:
    """Close so that the peer gets a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


class TestFailures:
    @pytest.mark.parametrize(
        ("script", "kind", "told"),
        [
            pytest.param(lambda _: None, ConnectionException, "closed connection", id="no answer"),
            pytest.param(reset, ConnectionException, "Connection reset", id="reset"),
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
            pytest.param(
                lambda sock: sock.sendall(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nfoo"
                ),
                ConnectionException,
                "malformed: ValueError",
                id="chunk of negative size",
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

    def test_a_value_error_of_the_caller_leaves_an_attempt_as_it_is(self) -> None:
        """Only that of an answer's reader is a failure of the exchange."""
        with (
            pytest.raises(ValueError, match=r"^of the caller$"),
            Attempt("https://auth.example.com/token"),
        ):
            raise ValueError("of the caller")

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
