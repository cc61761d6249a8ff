"""Bodies: bounded in size and time, read bit by bit, and what becomes of their connections."""
# ruff: noqa: ANN401 - whatever requests takes

import gzip
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from asking import LATE, SOON, Sock, ends_at_deadline, failure_of

from loopback import Loopback, in_turn, reply, takes_over
from requestforge._transport.call import Answer, Body, Call
from requestforge._transport.opening import open_sessions
from requestforge._transport.sessions import Sessions
from requestforge.exceptions import ConnectionException, HttpClientException, TimeoutException

MIB = 1024 * 1024
GOOD = reply(body=b"good")


def call_to(url: str, **more: Any) -> Call:
    """A plain GET."""
    fields: dict[str, Any] = {
        "method": "GET",
        "url": url,
        "headers": {},
        **dict.fromkeys(("params", "data", "json_data", "files", "auth")),
        "timeout": (LATE, LATE),
        "verify": True,
        "max_redirects": 5,
        "is_credential": lambda _: False,
        "uses_session_login": True,
        "uses_found_login": False,
        "rewind": lambda: True,
    }
    return Call(**{**fields, **more})


@pytest.fixture(params=["own session", "supplied session"])
def sessions(request: pytest.FixtureRequest) -> Iterator[Sessions]:
    """Sessions that are the library's own, or the caller's."""
    with requests.Session() as session:
        supplied = session if request.param == "supplied session" else None
        made = open_sessions(supplied, pool_connections=2, pool_maxsize=2)
        yield made
        made.close()


@pytest.fixture
def own() -> Iterator[Sessions]:
    """Sessions that are the library's own."""
    made = open_sessions(None, pool_connections=2, pool_maxsize=2)
    yield made
    made.close()


def body_of(answer: Answer) -> Body:
    """The body, which is there."""
    assert answer.body is not None
    assert answer.content == b""
    return answer.body


def chunked(*parts: bytes, **headers: str) -> bytes:
    """An answer whose body comes in chunks."""
    head = reply(Transfer_Encoding="chunked", **headers).replace(b"Content-Length: 0\r\n", b"")
    return head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


@contextmanager
def memory_within(limit: int) -> Iterator[None]:
    """A block that never takes more than these bytes."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


BOMB = gzip.compress(bytes(64 * MIB))


class TestSizes:
    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(reply(body=b"12345678"), id="length"),
            pytest.param(chunked(b"1234", b"5678"), id="chunks"),
            pytest.param(
                reply(body=gzip.compress(b"12345678"), Content_Encoding="gzip"), id="gzip"
            ),
            pytest.param(b"HTTP/1.0 200 OK\r\n\r\n12345678", id="to the end"),
        ],
    )
    def test_a_body_within_the_limit(self, sessions: Sessions, answer: bytes) -> None:
        """What has exactly as many bytes as are allowed is read; with one less, it is not."""
        with Loopback(answer) as server:
            answered = sessions.exchange(call_to(server.url, max_size=8))
            assert answered.content == b"12345678"
            error = failure_of(lambda: sessions.exchange(call_to(server.url, max_size=7)))
        assert type(error) is HttpClientException
        assert "7 bytes" in error.message

    def test_an_announced_length_is_refused_unread(self, own: Sessions) -> None:
        """Nobody waits for a body that is known to be too long."""
        start = b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n"
        with Loopback(b"") as server:
            server.answer = takes_over(server.stall(start))
            call = call_to(server.url, max_size=1000, seconds=LATE)
            assert "1000 bytes" in failure_of(lambda: own.exchange(call)).message

    @pytest.mark.parametrize(
        ("method", "answer"),
        [
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n"),
            ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9999999\r\n\r\n"),
            ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ],
    )
    def test_a_length_without_a_body_is_none(
        self, own: Sessions, method: str, answer: bytes
    ) -> None:
        """Answers that have no body are not too long, whatever length they speak of."""
        with Loopback(answer) as server:
            assert own.exchange(call_to(server.url, method=method, max_size=9)).content == b""

    @pytest.mark.parametrize("streams", [True, False])
    @pytest.mark.parametrize("answer", ["length", "chunks"])
    def test_a_bomb_is_not_unpacked(self, own: Sessions, answer: str, streams: bool) -> None:
        """Of what unpacks to 64 MiB, little more than the limit is ever in memory."""
        packed = BOMB if answer == "chunks" else b""
        body = chunked(packed, Content_Encoding="gzip")
        if answer == "length":
            body = reply(body=BOMB, Content_Encoding="gzip")
        with Loopback(body) as server, memory_within(4 * MIB):
            call = call_to(server.url, max_size=MIB, streams=streams)

            def read() -> None:
                answered = own.exchange(call)
                if answered.body is not None:
                    for _ in answered.body.iter_bytes(65536):
                        pass

            assert str(MIB) in failure_of(read).message

    def test_the_connection_is_dropped(self, own: Sessions) -> None:
        """What was not read of one body is never taken for the answer to the next request."""
        with Loopback(in_turn(reply(body=b"x" * 100_000), GOOD)) as server:
            failure_of(lambda: own.exchange(call_to(server.url, max_size=10)))
            assert own.exchange(call_to(server.url)).content == b"good"
            assert server.connections == 2

    @pytest.mark.parametrize("content", [b"x" * 5, b"x" * 6])
    def test_answers_made_by_hand_are_measured(self, own: Sessions, content: bytes) -> None:
        """A stand-in for the session's `request`, whose answer has no line to read from."""
        made = requests.Response()
        made.status_code, made._content = 200, content  # noqa: SLF001 - as such stand-ins do
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(own.current, "request", lambda **_: made)
            call = call_to("http://127.0.0.1:9/", max_size=5)
            if len(content) > 5:
                assert "5 bytes" in failure_of(lambda: own.exchange(call)).message
            else:
                assert own.exchange(call).content == content


class TestRedirects:
    @pytest.mark.parametrize("more", [{"streams": True}, {"max_size": 100}], ids=repr)
    @pytest.mark.parametrize(
        ("body", "connections"),
        [(b"", 1), (b"x" * 1000, 1), (b"x" * 1_000_000, 2)],
        ids=["none", "short", "long"],
    )
    def test_their_bodies_are_of_no_interest(
        self, own: Sessions, more: dict[str, Any], body: bytes, connections: int
    ) -> None:
        """A short one is read past, a long one costs its connection; neither counts."""
        with Loopback(in_turn(reply(302, body, Location="/next"), GOOD)) as server:
            answer = own.exchange(call_to(server.url, **more))
            content = answer.content or b"".join(body_of(answer).iter_bytes(100))
            assert content == b"good"
            assert server.connections == connections


class TestStreams:
    @pytest.mark.parametrize("encoding", ["identity", "gzip"])
    @pytest.mark.parametrize("size", [1, 7, 100, 65536])
    def test_pieces(self, sessions: Sessions, encoding: str, size: int) -> None:
        """The decoded body comes in pieces of at most the size that was asked for."""
        content = bytes(range(256)) * 2
        packed = gzip.compress(content) if encoding == "gzip" else content
        answer = reply(body=packed, Content_Encoding=encoding)
        with Loopback(answer) as server:
            pieces = list(
                body_of(sessions.exchange(call_to(server.url, streams=True))).iter_bytes(size)
            )
            assert b"".join(pieces) == content
            assert max(map(len, pieces)) <= size
            assert sessions.exchange(call_to(server.url)).content == content
            assert server.connections == 1

    def test_it_is_read_once(self, own: Sessions) -> None:
        """A second look at the body is refused, and so is one after it was closed."""
        with Loopback(GOOD) as server:
            body = body_of(own.exchange(call_to(server.url, streams=True)))
            assert b"".join(body.iter_bytes(10)) == b"good"
            assert "already" in failure_of(lambda: body.iter_bytes(10)).message
            body.close()
            body = body_of(own.exchange(call_to(server.url, streams=True)))
            body.close()
            body.close()
            assert "already" in failure_of(lambda: body.iter_bytes(10)).message

    @pytest.mark.parametrize("read", [0, 1])
    def test_closed_early(self, sessions: Sessions, read: int) -> None:
        """A body of which the rest is given up does not get into the next answer."""
        with Loopback(in_turn(reply(body=b"x" * 1_000_000), GOOD)) as server:
            body = body_of(sessions.exchange(call_to(server.url, streams=True, seconds=LATE)))
            pieces = body.iter_bytes(10)
            for _ in range(read):
                next(pieces)
            body.close()
            assert sessions.exchange(call_to(server.url)).content == b"good"
            assert server.connections == 2

    def test_left_in_the_middle(self, own: Sessions) -> None:
        """A loop over the pieces that is broken off gives the connection up, too."""
        with Loopback(in_turn(reply(body=b"x" * 1_000_000), GOOD)) as server:
            pieces: Any = body_of(own.exchange(call_to(server.url, streams=True))).iter_bytes(10)
            next(pieces)
            pieces.close()
            assert own.exchange(call_to(server.url)).content == b"good"
            assert server.connections == 2

    def test_other_requests_go_on_meanwhile(self, own: Sessions) -> None:
        """Between two pieces the same thread may send whatever it wants."""
        with Loopback(in_turn(reply(body=b"abc"), GOOD, GOOD, GOOD)) as server:
            body = body_of(own.exchange(call_to(server.url, streams=True, seconds=LATE)))
            seen = [
                (piece, own.exchange(call_to(server.url, seconds=LATE)).content)
                for piece in body.iter_bytes(1)
            ]
        assert seen == [(b"a", b"good"), (b"b", b"good"), (b"c", b"good")]

    @pytest.mark.parametrize(
        ("start", "kind"),
        [
            (b"Content-Length: 100\r\n\r\nx", ConnectionException),
            (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", ConnectionException),
            (b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!", HttpClientException),
        ],
        ids=["cut off", "bad chunk", "not gzip"],
    )
    def test_what_breaks_is_told(
        self, own: Sessions, start: bytes, kind: type[HttpClientException]
    ) -> None:
        """A body that breaks while it is read ends in an error of the library."""

        def cut(sock: Sock) -> None:
            sock.sendall(b"HTTP/1.1 200 OK\r\n" + start)

        with Loopback(takes_over(cut)) as server:
            body = body_of(own.exchange(call_to(server.url, streams=True)))
            error = failure_of(lambda: list(body.iter_bytes(100)))
        assert type(error) is kind


class TestDeadlines:
    @pytest.mark.parametrize("streams", [True, False])
    def test_a_body_that_drips(self, sessions: Sessions, streams: bool) -> None:
        """The time for all of the exchange covers the last byte, read bit by bit or not."""
        with Loopback(b"") as server:
            start = b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"
            server.answer = takes_over(server.drip(start, b"x"))
            with ends_at_deadline():
                answer = sessions.exchange(call_to(server.url, streams=streams, seconds=SOON))
                list(body_of(answer).iter_bytes(1))

    def test_a_reader_that_takes_its_time(self, own: Sessions) -> None:
        """The time runs on between two pieces, and the next one is too late."""
        with Loopback(b"") as server:
            start = b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\nx"
            server.answer = takes_over(server.stall(start))
            answer = own.exchange(call_to(server.url, streams=True, seconds=SOON))
            pieces = body_of(answer).iter_bytes(1)
            assert next(pieces) == b"x"
            server.stopping.wait(SOON)
            with pytest.raises(TimeoutException):
                next(pieces)

    def test_a_body_read_in_time_leaves_its_connection_alone(self, own: Sessions) -> None:
        """A deadline that passes later hangs up on nobody."""
        with Loopback(GOOD) as server:
            answer = own.exchange(call_to(server.url, streams=True, seconds=SOON))
            assert b"".join(body_of(answer).iter_bytes(100)) == b"good"
            server.stopping.wait(SOON * 1.5)
            assert own.exchange(call_to(server.url)).content == b"good"
            assert server.connections == 1

    def test_all_redirects_share_the_time(self, own: Sessions) -> None:
        """Each hop may take a while, and all of them together no longer than the deadline."""
        with Loopback(b"") as server:

            def slowly(sock: Sock) -> None:
                server.stopping.wait(SOON / 3)
                sock.sendall(reply(302, Location="/on", Connection="close"))

            server.answer = takes_over(slowly)
            with ends_at_deadline():
                own.exchange(call_to(server.url, seconds=SOON, max_redirects=50))

    @pytest.mark.parametrize("seconds", [0.0, -1.0])
    def test_no_time_at_all(self, own: Sessions, seconds: float) -> None:
        """Where the time is over before it begins, nothing is sent."""
        with Loopback(GOOD) as server:
            error = failure_of(lambda: own.exchange(call_to(server.url, seconds=seconds)))
            assert server.requests == []
        assert isinstance(error, TimeoutException)
        assert error.context["sent"] is False

    def test_timeouts_are_cut_to_what_is_left(self, own: Sessions) -> None:
        """Where no watchdog looks on, the timeouts of the sockets end the wait."""
        seen: list[Any] = []

        def request(**arguments: Any) -> requests.Response:
            seen.append(arguments["timeout"])
            made = requests.Response()
            made.status_code, made._content = 200, b""  # noqa: SLF001 - as stand-ins do
            return made

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(own.current, "request", request)
            own.exchange(call_to("http://127.0.0.1:9/", timeout=(1.0, 60.0), seconds=30.0))
            own.exchange(call_to("http://127.0.0.1:9/", timeout=(1.0, 60.0)))
        (connect, read), uncut = seen
        assert (connect, uncut) == (1.0, (1.0, 60.0))
        assert 20 < read <= 30


class TestLines:
    def test_head_and_short_body_go_together(self, own: Sessions) -> None:
        """One packet, not two: the server may have the whole request in its first look."""
        looks: list[bytes] = []

        def look(sock: Sock) -> None:
            sock.sendall(GOOD)
            looks.append(sock.recv(65536))
            sock.sendall(GOOD)

        with Loopback(takes_over(look)) as server:
            own.exchange(call_to(server.url))
            call = call_to(server.url, method="POST", json_data={"a": 1})
            assert own.exchange(call).content == b"good"
            assert server.connections == 1
        assert looks[0].startswith(b"POST / HTTP/1.1\r\n")
        assert looks[0].endswith(b'\r\n\r\n{"a": 1}')

    def test_a_long_body_follows_its_head(self, own: Sessions) -> None:
        """What is long is not copied for that."""
        with Loopback(lambda received: reply(body=received.body)) as server:
            content = b"y" * 99_999
            assert own.exchange(call_to(server.url, method="POST", data=content)).content == content

    @pytest.mark.compat
    def test_many_threads_leave_no_connection_behind(self) -> None:
        """The pool keeps as many connections as it was told, and closing it closes all."""
        closed = threading.Semaphore(0)

        def serve(sock: Sock) -> None:
            sock.sendall(GOOD)
            while sock.recv(65536):
                sock.sendall(GOOD)
            closed.release()

        made = open_sessions(None, pool_connections=1, pool_maxsize=8)
        with Loopback(takes_over(serve)) as server:
            barrier = threading.Barrier(64)

            def ask() -> None:
                barrier.wait(20)
                for _ in range(3):
                    assert made.exchange(call_to(server.url)).content == b"good"

            threads = [threading.Thread(target=ask) for _ in range(64)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            kept = server.connections
            for _ in range(kept - 8):
                assert closed.acquire(timeout=10)
            made.close()
            for _ in range(8):
                assert closed.acquire(timeout=10)
            assert not closed.acquire(blocking=False)
