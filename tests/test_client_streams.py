"""HttpClient.stream: an answer whose body is read as it comes."""

import gzip
import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from client_server import Reply, Seen, Server
from doubles import Clock, CountingProvider
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfig, HttpClientConfigBuilder
from requestforge.exceptions import (
    CapacityException,
    ConnectionException,
    HttpClientException,
    NotFoundException,
    ServerErrorException,
)
from requestforge.instrumentation import use_clock
from requestforge.models import HttpResponse, StreamResponse
from requestforge.token_manager import TokenManager

_BODY = bytes(range(256)) * 1000


@pytest.fixture
def api() -> Iterator[Server]:
    """A server whose /body is long."""
    with Server() as server:
        server.rules["/body"] = Reply(body=_BODY, headers={"X-Kind": "bytes"})
        yield server


@pytest.fixture
def client(api: Server) -> Iterator[HttpClient]:
    """A client of that server."""
    with HttpClient(HttpClientConfig(base_url=api.url)) as client:
        yield client


def test_the_answer_is_there_before_its_body(api: Server, client: HttpClient) -> None:
    """Status, headers in any case, URL and request are known within the block."""
    with client.stream("get", "/body", params={"a": "1"}) as answer:
        assert isinstance(answer, StreamResponse)
        assert (answer.status_code, answer.headers["x-kind"]) == (200, "bytes")
        assert answer.url == f"{api.url}/body?a=1"
        assert answer.request.params == {"a": "1"}


def test_the_body_comes_in_pieces(client: HttpClient) -> None:
    """`iter_bytes` gives pieces of at most `chunk_size`, all of the body together."""
    with client.stream("GET", "/body") as answer:
        pieces = list(answer.iter_bytes(1000))
    assert b"".join(pieces) == _BODY
    assert max(map(len, pieces)) <= 1000
    assert len(pieces) >= 256


def test_read_gives_the_whole_answer(client: HttpClient) -> None:
    """`read` gives an HttpResponse, the same one each time, whose body `iter_bytes` gives, too."""
    with client.stream("GET", "/body") as answer:
        whole = answer.read()
        assert isinstance(whole, HttpResponse)
        assert whole.content == _BODY
        assert answer.read() is whole
        assert b"".join(answer.iter_bytes(77)) == _BODY


def test_the_body_is_decoded(api: Server, client: HttpClient) -> None:
    """Content-Encoding is undone on the way."""
    packed = gzip.compress(_BODY)
    api.rules["/packed"] = Reply(body=packed, headers={"Content-Encoding": "gzip"})
    with client.stream("GET", "/packed") as answer:
        assert b"".join(answer.iter_bytes()) == _BODY


def test_a_body_comes_once(client: HttpClient) -> None:
    """What was begun by `iter_bytes` can neither be read nor iterated over again."""
    with client.stream("GET", "/body") as answer:
        next(answer.iter_bytes(10))
        with pytest.raises(HttpClientException, match="once only"):
            answer.read()
        with pytest.raises(HttpClientException, match="once only"):
            answer.iter_bytes()


@pytest.mark.parametrize("size", [0, -1])
def test_a_chunk_size_that_is_none_is_refused(client: HttpClient, size: int) -> None:
    """ValueError that names it."""
    with client.stream("GET", "/body") as answer, pytest.raises(ValueError, match="chunk_size"):
        answer.iter_bytes(size)


def test_after_the_block_nothing_is_read(client: HttpClient) -> None:
    """The body goes with the block; what is left of it is not to be had."""
    with client.stream("GET", "/body") as answer:
        pieces = answer.iter_bytes(10)
        next(pieces)
    with pytest.raises(HttpClientException):
        list(pieces)


def test_the_connection_serves_the_next_request_after_a_whole_body(
    api: Server, client: HttpClient
) -> None:
    """A body that was read to its end gives its connection back."""
    for _ in range(3):
        with client.stream("GET", "/body") as answer:
            answer.read()
    assert client.get("/").status_code == 200
    assert api.connections == 1


def test_a_body_left_early_spoils_nothing(client: HttpClient) -> None:
    """After a block that was left in the middle of a body, other requests get their own answers."""
    with client.stream("GET", "/body") as answer:
        next(answer.iter_bytes(10))
    assert client.get("/").content == b""
    assert client.get("/body").content == _BODY


def test_an_error_has_its_body(api: Server, client: HttpClient) -> None:
    """The body of a 4xx or 5xx is read before the block begins, and is in its exception."""
    api.rules["/missing"] = Reply(404, body={"why": "gone"})
    with client.stream("GET", "/missing") as answer:
        with pytest.raises(NotFoundException) as raised:
            answer.raise_for_status()
        assert raised.value.response_body == '{"why": "gone"}'
        assert answer.read().json() == {"why": "gone"}


def test_a_success_passes_raise_for_status(client: HttpClient) -> None:
    """`raise_for_status` gives the answer itself, whose body is still to be read."""
    with client.stream("GET", "/body") as answer:
        assert answer.raise_for_status() is answer
        assert answer.read().content == _BODY


def test_a_stream_is_retried_until_its_answer(api: Server) -> None:
    """A retryable status is retried as for other requests; the block has the last answer."""
    answers = iter([Reply(503), Reply(503), Reply(body=b"at last")])
    api.rules["/"] = lambda _: next(answers)
    config = HttpClientConfigBuilder().with_base_url(api.url).with_retry(3).build()
    with use_clock(Clock()), HttpClient(config) as client, client.stream("GET", "/") as answer:
        assert answer.read().content == b"at last"


def test_what_is_raised_is_raised_before_the_block(api: Server) -> None:
    """With `raise_for_status` the block is not entered."""
    api.rules["/"] = Reply(500, body=b"broken")
    config = HttpClientConfigBuilder().with_base_url(api.url).with_raise_for_status().build()
    with HttpClient(config) as client, pytest.raises(ServerErrorException) as raised:  # noqa: SIM117
        with client.stream("GET", "/"):
            pytest.fail("the block was entered")
    assert raised.value.response_body == "broken"


def test_a_refused_token_is_replaced_before_the_block(api: Server) -> None:
    """A 401 is replayed with a new token."""
    api.rules["/"] = lambda seen: Reply(
        200 if seen.headers["Authorization"] == "Bearer token-2" else 401, body=b"yours"
    )
    manager = TokenManager(CountingProvider())
    config = HttpClientConfigBuilder().with_base_url(api.url).with_token_auth(manager).build()
    with HttpClient(config) as client, client.stream("GET", "/") as answer:
        assert answer.read().content == b"yours"


def test_redirects_are_followed(api: Server, client: HttpClient) -> None:
    """The answer is the one at the end of the redirects."""
    api.rules["/old"] = Reply(302, headers={"Location": "/body"}, body=b"moved")
    with client.stream("GET", "/old") as answer:
        assert (answer.url, answer.read().content) == (f"{api.url}/body", _BODY)


def test_a_body_is_sent_with_a_stream(api: Server, client: HttpClient) -> None:
    """`stream` takes the fields of HttpRequest, a file as its body included."""
    api.rules["/"] = lambda seen: Reply(body=seen.body)
    with client.stream("POST", "/", data=io.BytesIO(b"up")) as answer:
        assert answer.read().content == b"up"


def test_an_unknown_field_is_refused(client: HttpClient) -> None:
    """TypeError for a keyword that is no field."""
    fields: Any = {"speed": 3}
    with pytest.raises(TypeError, match="speed"), client.stream("GET", "/", **fields):
        pytest.fail("the block was entered")


def test_a_body_that_ends_early_is_told(api: Server, client: HttpClient) -> None:
    """A connection that breaks in the middle of the body raises ConnectionException."""
    api.rules["/cut"] = Reply(body=b"half", headers={"Content-Length": "8", "Connection": "close"})

    def cut(_: Seen) -> Reply:
        return Reply(body=b"half", headers={"Content-Length": "8", "Connection": "close"})

    api.rules["/cut"] = cut
    with client.stream("GET", "/cut") as answer, pytest.raises(ConnectionException):
        answer.read()


def test_an_error_of_the_block_passes(client: HttpClient) -> None:
    """What the caller's block raises leaves it unchanged, and the connection is let go."""
    mine = LookupError("mine")
    with pytest.raises(LookupError) as raised, client.stream("GET", "/body"):
        raise mine
    assert raised.value is mine
    assert client.get("/").status_code == 200


def test_a_stream_keeps_its_place_in_the_bulkhead(api: Server) -> None:
    """A streamed answer counts as under way until its block ends."""
    config = HttpClientConfigBuilder().with_base_url(api.url).with_bulkhead(1, max_wait=0.0).build()
    with HttpClient(config) as client:
        with client.stream("GET", "/body"), pytest.raises(CapacityException):
            client.get("/")
        assert client.get("/").status_code == 200


def test_a_body_longer_than_the_limit_is_refused(api: Server) -> None:
    """`with_max_response_size` holds while the body is read."""
    config = HttpClientConfigBuilder().with_base_url(api.url).with_max_response_size(5000).build()
    with HttpClient(config) as client, client.stream("GET", "/") as answer:
        assert answer.read().content == b""
    with HttpClient(config) as client, pytest.raises(HttpClientException, match="5000"):  # noqa: SIM117
        with client.stream("GET", "/body") as answer:
            answer.read()


def test_threads_stream_side_by_side(client: HttpClient) -> None:
    """Streams of several threads do not mix."""
    together = threading.Barrier(4)
    bodies = []

    def read() -> None:
        together.wait(10)
        with client.stream("GET", "/body") as answer:
            bodies.append(b"".join(answer.iter_bytes(999)))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert bodies == [_BODY] * 4


def test_its_repr_shows_no_body(client: HttpClient) -> None:
    """The repr is that of the answer, without body and secrets."""
    with client.stream("GET", "/body", params={"token": "hidden"}) as answer:
        assert "hidden" not in repr(answer)
        assert "status_code=200" in repr(answer)
