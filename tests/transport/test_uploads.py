"""Bodies of requests: text arrives whole, and nothing of a body becomes another request."""
# ruff: noqa: ANN401 - whatever a caller gives as a body

import array
import codecs
import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from asking import failure_of

from client_server import Reply, Seen, Server
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfig
from requestforge.exceptions import (
    AuthenticationException,
    HttpClientException,
    RequestBuildException,
)
from requestforge.models import HttpMethod, HttpRequest
from requestforge.retry import SimpleRetryStrategy

TEXT = "zwölf Boxkämpfer\n"
LONG = "äöü€" * 400_000
"""More than is kept in memory."""


@pytest.fixture
def server() -> Iterator[Server]:
    """Answers any request."""
    with Server() as running:
        yield running


@pytest.fixture(params=["own session", "supplied session"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[HttpClient]:
    """A client that sends each request up to three times."""
    strategy = SimpleRetryStrategy(2, 0, retry_non_idempotent=True)
    config = HttpClientConfig(server.url, retry_strategy=strategy)
    with requests.Session() as session:
        supplied = session if request.param == "supplied session" else None
        with HttpClient(config, supplied) as made:
            yield made


class NoSeek(io.StringIO):
    """A text that can be read once."""

    def seek(self, *_: Any) -> int:
        raise io.UnsupportedOperation("seek")


class NoTell(io.StringIO):
    """A text that cannot say where it stands."""

    def tell(self) -> int:
        raise ValueError("no position")


class Lying(io.BytesIO):
    """Bytes that give a wrong number of themselves."""

    def __init__(self, content: bytes, said: int) -> None:
        super().__init__(content)
        self.said = said

    def __len__(self) -> int:
        return self.said


class Parts:
    """An iterable that is no file and no sequence."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[Any]:
        return iter(self.parts)


class Indexed:
    """An iterable by way of its indexes alone."""

    def __getitem__(self, index: int) -> bytes:
        return [b"ab", b"cd"][index]


def spooled(text: str) -> Any:
    """A temporary text file that is not on the disk yet."""
    file = tempfile.SpooledTemporaryFile(mode="w+", encoding="latin-1")  # noqa: SIM115
    file.write(text)
    file.seek(0)
    return file


def temporary(text: str) -> Any:
    """A temporary text file, which is wrapped in an object that is no file."""
    file = tempfile.NamedTemporaryFile(mode="w+", encoding="utf-16")  # noqa: SIM115
    file.write(text)
    file.seek(0)
    return file


def of_codecs(text: str) -> Any:
    """A decoder over bytes."""
    return codecs.getreader("latin-1")(io.BytesIO(text.encode("latin-1")))


def past_its_start(text: str) -> Any:
    """A text of which some was read."""
    file = io.StringIO("ü" * 10 + text)
    file.read(10)
    return file


TEXTS = {
    "StringIO": io.StringIO,
    "no seek": NoSeek,
    "past its start": past_its_start,
    "spooled": spooled,
    "temporary": temporary,
    "codecs": of_codecs,
}


class TestText:
    @pytest.mark.parametrize("make", TEXTS.values(), ids=TEXTS)
    def test_arrives_whole(
        self, server: Server, client: HttpClient, make: Callable[[str], Any]
    ) -> None:
        """A file of text is sent in UTF-8 with its length, and the next request is the next."""
        with closing(make(TEXT)) as text:
            assert client.post("/up", data=text).status_code == 200
        assert server.last.body == TEXT.encode()
        assert server.last.headers["Content-Length"] == str(len(TEXT.encode()))
        assert client.get("/next").status_code == 200
        assert [(seen.method, seen.path) for seen in server.seen] == [
            ("POST", "/up"),
            ("GET", "/next"),
        ]
        assert server.connections == 1

    @pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-16"])
    def test_files_are_sent_as_what_they_say(
        self, server: Server, client: HttpClient, tmp_path: Path, encoding: str
    ) -> None:
        """The encoding and the line ends on the disk are not those on the line."""
        path = tmp_path / "text"
        path.write_text("ä\r\nö\r\n", encoding=encoding, newline="")
        with path.open(encoding=encoding) as file:
            client.put("/up", data=file)
        assert server.last.body == "ä\nö\n".encode()

    @pytest.mark.parametrize(
        ("make", "length"),
        [
            (io.StringIO, str(len(LONG.encode()))),
            (NoSeek, None),
            (NoTell, None),
        ],
    )
    def test_long_ones_are_not_kept(
        self, server: Server, client: HttpClient, make: Callable[[str], Any], length: str | None
    ) -> None:
        """Their length is counted first where the file can go back, else they go in chunks."""
        client.post("/up", data=make(LONG))
        assert server.last.body == LONG.encode()
        assert server.last.headers["Content-Length"] == length

    @pytest.mark.parametrize("text", [TEXT, LONG], ids=["short", "long"])
    def test_is_sent_again_whole(self, server: Server, client: HttpClient, text: str) -> None:
        """Each retry, and each redirect that keeps the body, sends all of it."""
        answers = iter([503, 307, 503, 307, 200])

        def answer(_: Seen) -> Reply:
            return Reply(next(answers), {"Location": "/up"})

        server.rules["/up"] = answer
        assert client.post("/up", data=past_its_start(text)).status_code == 200
        assert [seen.body == text.encode() for seen in server.seen] == [True] * 5

    def test_an_empty_one_is_no_body(self, server: Server, client: HttpClient) -> None:
        """Nothing is sent, with a length of nothing."""
        client.post("/up", data=io.StringIO())
        assert (server.last.body, server.last.headers["Content-Length"]) == (b"", "0")

    @pytest.mark.parametrize("before", [0, 2_000_000], ids=["at once", "later"])
    def test_what_cannot_be_read_is_not_the_servers_fault(
        self, server: Server, client: HttpClient, before: int
    ) -> None:
        """A wrong encoding is an error of the request, and nothing is sent again."""
        broken = io.TextIOWrapper(io.BytesIO(b"a" * before + b"\xff"), encoding="ascii")
        error = failure_of(lambda: client.put("/up", data=broken))
        assert type(error) is RequestBuildException
        assert "UnicodeDecodeError" in error.message
        assert client.get("/next").status_code == 200
        assert [seen.path for seen in server.seen] == ["/next"]

    def test_what_cannot_be_encoded_is_an_error(self, server: Server, client: HttpClient) -> None:
        """Half of a surrogate pair has no UTF-8."""
        error = failure_of(lambda: client.put("/up", data=io.StringIO("\ud800")))
        assert type(error) is RequestBuildException
        assert not server.seen


class TestLength:
    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            (lambda: Lying(b"abcdef", 2), {}),
            (lambda: Lying(b"abcdef", 9), {}),
            (lambda: iter([b"ab", b"cdef"]), {"Content-Length": "2"}),
            (lambda: iter([b"ab", b"cdef"]), {"content-length": "0"}),
            (lambda: iter([b"ab"]), {"Content-Length": "3"}),
            (lambda: iter([b"ab"]), {"Content-Length": "-2"}),
            (lambda: iter([b"ab"]), {"Content-Length": "2, 2"}),
            (lambda: iter([b"ab"]), {"Content-Length": "²"}),
            (lambda: None, {"Content-Length": "5"}),
        ],
        ids=[
            *("file, longer", "file, shorter", "parts, longer", "parts, none", "parts, shorter"),
            *("negative", "twice", "another digit", "no body"),
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_wrong_one_is_an_error(
        self,
        server: Server,
        client: HttpClient,
        method: str,
        body: Callable[[], Any],
        headers: dict[str, str],
    ) -> None:
        """No server gets to see more or less than was announced, and nothing is sent again."""
        data = body()
        request = HttpRequest(HttpMethod(method), "/up", data=data, headers=headers)
        error = failure_of(lambda: client.request(request))
        assert type(error) is RequestBuildException
        assert "Content-Length" in error.message
        assert client.get("/next").status_code == 200
        # In either order: the request that broke off has a connection of its own.
        assert "/next" in [seen.path for seen in server.seen]
        assert len(server.seen) <= 2

    def test_nothing_beyond_it_is_written(self, server: Server, client: HttpClient) -> None:
        """The part of a body that would pass it stays behind, and the connection is closed."""
        smuggled = b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"
        with pytest.raises(RequestBuildException):
            client.post("/up", data=iter([b"ab", smuggled]), headers={"Content-Length": "2"})
        client.get("/next")
        assert [seen.path for seen in server.seen if seen.path != "/up"] == ["/next"]
        assert server.connections == 2

    def test_a_right_one_of_the_callers_is_kept(self, server: Server, client: HttpClient) -> None:
        """Parts whose length the caller knows are sent with it, and not in chunks."""
        client.post("/up", data=iter([b"ab", b"", b"cd"]), headers={"Content-Length": "4"})
        assert server.last.body == b"abcd"
        assert "Transfer-Encoding" not in server.last.headers
        client.get("/next")
        assert server.connections == 1

    @pytest.mark.parametrize("body", [b"abcdef", "abcdef", {"a": "b"}, None], ids=repr)
    def test_there_are_no_chunks_beside_it(
        self, server: Server, client: HttpClient, body: Any
    ) -> None:
        """A Transfer-Encoding of the caller does not contradict the length of the body."""
        client.post("/up", data=body, headers={"Transfer-Encoding": "chunked"})
        assert "Transfer-Encoding" not in server.last.headers
        client.get("/next")
        assert [seen.path for seen in server.seen] == ["/up", "/next"]

    @pytest.mark.parametrize("value", ["5", b"5"], ids=["text", "bytes"])
    def test_headers_of_an_auth_object_count_too(self, server: Server, value: Any) -> None:
        """Whatever has put it there, and whatever it has made of the headers."""

        def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
            headers: Any = {**request.headers, "content-length": value}
            request.headers = headers
            return request

        with HttpClient(HttpClientConfig(server.url)) as client:
            error = failure_of(lambda: client.get("/up", auth=sign))
        assert type(error) is RequestBuildException
        assert not server.seen


class TestKinds:
    @pytest.mark.parametrize(
        ("body", "sent"),
        [
            (lambda: Parts(b"ab", "cö", bytearray(b"e")), "abcöe".encode()),
            (lambda: Parts(array.array("H", [1, 2])), array.array("H", [1, 2]).tobytes()),
            (lambda: array.array("I", [1, 2]), array.array("I", [1, 2]).tobytes()),
            (lambda: memoryview(b"abcdef")[::2], b"ace"),
            (lambda: io.BytesIO(b"abcdef"), b"abcdef"),
            (Indexed, b"abcd"),
        ],
        ids=["parts", "parts of numbers", "numbers", "view", "file", "indexed"],
    )
    def test_what_can_be_sent_is(
        self, server: Server, client: HttpClient, body: Callable[[], Any], sent: bytes
    ) -> None:
        """Buffers, files and iterables of bytes or text, whatever the size of their items."""
        client.post("/up", data=body())
        assert server.last.body == sent
        client.get("/next")
        assert server.connections == 1

    def test_a_buffer_of_an_auth_object_is_sent(self, server: Server, client: HttpClient) -> None:
        """It may exchange the body for one of another kind."""

        def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
            changed: Any = bytearray(b"signed")
            request.body = changed
            return request

        client.post("/up", data=b"plain", auth=sign)
        assert server.last.body == b"signed"

    @pytest.mark.parametrize(
        "body",
        [lambda: 5, lambda: 0, lambda: True, object, lambda: Parts(1, 2), lambda: Parts(b"a", 2)],
        ids=["number", "zero", "truth", "object", "numbers", "number in the middle"],
    )
    def test_what_cannot_be_sent_is_an_error(
        self, server: Server, client: HttpClient, body: Callable[[], Any]
    ) -> None:
        """It is the request that is wrong, and it is not sent again."""
        error = failure_of(lambda: client.put("/up", data=body()))
        assert type(error) is RequestBuildException
        client.get("/next")
        assert [seen.path for seen in server.seen] == ["/next"]
        assert server.connections <= 2

    def test_a_file_that_fails_is_an_error(self, server: Server, client: HttpClient) -> None:
        """A disk that gives an error is not taken for the line."""

        class Broken(io.RawIOBase):
            def readable(self) -> bool:
                return True

            def readinto(self, _: Any) -> int:
                raise BrokenPipeError("no disk")

        error = failure_of(lambda: client.put("/up", data=Broken()))
        assert type(error) is RequestBuildException
        assert "no disk" in error.message
        assert not server.seen

    def test_an_iterator_that_fails_is_told(self, server: Server, client: HttpClient) -> None:
        """Its error is that of the exchange."""

        def parts() -> Iterator[bytes]:
            yield b"ab"
            raise LookupError("no more")

        error = failure_of(lambda: client.put("/up", data=parts()))
        assert type(error) is HttpClientException
        assert "no more" in error.message


def test_an_auth_object_has_to_return_the_request(server: Server) -> None:
    """One that forgets to is named as what is at fault."""
    with HttpClient(HttpClientConfig(server.url)) as client:
        error = failure_of(lambda: client.get("/", auth=lambda _: None))
    assert type(error) is AuthenticationException
    assert "auth object" in error.message
    assert "NoneType" in error.message
    assert not server.seen
