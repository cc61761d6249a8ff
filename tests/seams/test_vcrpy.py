"""vcrpy records what a client sends and gets, and plays it back with no server there."""

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import vcr
from vcr.errors import CannotOverwriteExistingCassetteException

from loopback import Loopback, in_turn, json_reply, reply
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.exceptions import HttpClientException


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    """What the server speaks TLS with; None: it does not."""
    if request.param == "http":
        return None
    context: ssl.SSLContext = request.getfixturevalue("server_tls")
    return context


def work(url: str, bundle: str) -> list[object]:
    """What a client makes of a retry, a redirect and a POST."""
    builder = HttpClientConfigBuilder().with_base_url(url).with_verify_ssl(bundle)
    builder.with_retry(2, 0).with_bearer_token("recorded")
    with HttpClient(builder.build()) as client:
        first = client.get("/users", params={"page": 2})
        second = client.post("/users", json_data={"name": "Ada"})
    return [first.content, dict(first.headers), second.status_code, second.json()]


@pytest.mark.compat
def test_what_was_recorded_is_played_back(
    tls: ssl.SSLContext | None, bundle: str, tmp_path: Path
) -> None:
    """Each attempt and hop is recorded, and the same calls give the same without a server."""
    recorder = vcr.VCR(record_mode="once")
    cassette = str(tmp_path / "cassette.yaml")
    answers = in_turn(
        reply(503), reply(302, Location="/all"), reply(body=b"here"), json_reply({"id": 1}, 201)
    )
    with Loopback(answers, tls) as server, recorder.use_cassette(cassette) as recorded:
        url = server.url
        given = work(url, bundle)
    assert given[0] == b"here"
    assert [request.path for request in recorded.requests] == ["/users", "/users", "/all", "/users"]
    assert len(server.requests) == 4
    with recorder.use_cassette(cassette) as played:
        assert work(url, bundle) == given
    assert played.all_played
    assert len(server.requests) == 4


def test_a_stream_is_recorded(bundle: str, tmp_path: Path) -> None:
    """A body that is read bit by bit plays back the same."""
    cassette = str(tmp_path / "stream.yaml")
    body = b"bit by bit" * 1000

    def read(url: str) -> bytes:
        builder = HttpClientConfigBuilder().with_base_url(url).with_total_timeout(30)
        config = builder.with_verify_ssl(bundle).with_max_response_size(len(body)).build()
        with HttpClient(config) as client, client.stream("GET", "/users") as answer:
            return b"".join(answer.iter_bytes(100))

    with Loopback(reply(body=body)) as server, vcr.use_cassette(cassette):
        url = server.url
        assert read(url) == body
    with vcr.use_cassette(cassette) as played:
        assert read(url) == body
    assert played.all_played


def test_what_was_not_recorded_is_an_error(tmp_path: Path) -> None:
    """A request that is not in the cassette does not reach the network."""
    recorder = vcr.VCR(record_mode="none")
    builder = HttpClientConfigBuilder().with_base_url("https://api.example")
    with (
        recorder.use_cassette(str(tmp_path / "empty.yaml")),
        HttpClient(builder.build()) as client,
        pytest.raises(HttpClientException) as caught,
    ):
        client.get("/users")
    assert isinstance(caught.value.__cause__, CannotOverwriteExistingCassetteException)


FIRST_USE = """
import time
import vcr
from loopback import Loopback, reply, takes_over
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfig
from requestforge.exceptions import TimeoutException

with Loopback(reply()) as server, vcr.use_cassette("first.yaml"):
    with HttpClient(HttpClientConfig(server.url)) as client:
        client.get("/")
with Loopback(b"") as server:
    start = b"HTTP/1.1 200 OK\\r\\nContent-Length: 500\\r\\n\\r\\n"
    server.answer = takes_over(server.drip(start, b"x"))
    with HttpClient(HttpClientConfig(server.url, total_timeout=0.3)) as client:
        started = time.monotonic()
        try:
            client.get("/")
        except TimeoutException:
            print(time.monotonic() - started)
"""


def test_a_first_use_that_is_recorded_leaves_deadlines_alone(tmp_path: Path) -> None:
    """A process whose first request goes into a cassette keeps its total timeouts afterwards."""
    tests = Path(__file__).parent.parent
    ended = subprocess.run(
        [sys.executable, "-c", FIRST_USE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 0, ended.stderr
    assert 0.25 < float(ended.stdout) < 3
