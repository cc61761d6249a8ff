"""Connections: used again, shared by threads, left behind by forks."""

# ruff: noqa: ANN401 - whatever requests takes

import gc
import io
import os
import pickle
import ssl
import subprocess
import sys
import threading
import weakref
from typing import Any

import pytest
import requests
from asking import SOON, Asker, Sock, ends_at_deadline, forked
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse
from urllib3 import exceptions as urllib3_errors
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from loopback import Loopback, Received, in_turn, reply, takes_over
from requestforge._transport.adapter import TransportAdapter
from requestforge._transport.attempt import Attempt
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfig


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

    @pytest.mark.compat
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here.")
    @pytest.mark.parametrize("supplied", [False, True], ids=["own session", "supplied session"])
    def test_children_of_a_warmed_client_get_their_own_answers(self, supplied: bool) -> None:
        """Four children and their parent ask at once, over connections that none of them shares."""
        with Loopback(lambda received: reply(body=received.target.encode())) as server:
            config = HttpClientConfig(base_url=server.url, total_timeout=30.0)
            client = HttpClient(config, requests.Session() if supplied else None)

            def strangers(who: str) -> bytes:
                """How many answers were somebody else's."""
                paths = [f"/{who}/{number}" for number in range(200)]
                return b"%d" % sum(client.get(path).text != path for path in paths)

            warm = [threading.Thread(target=strangers, args=("warm",)) for _ in range(4)]
            for thread in warm:
                thread.start()
            for thread in warm:
                thread.join(30)
            children = [forked(lambda who=str(n): strangers(who)) for n in range(4)]  # type: ignore[misc]
            assert strangers("parent") == b"0"
            assert [result() for result in children] == [b"0"] * 4
            client.close()

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

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here.")
    @pytest.mark.parametrize("asked", ["fetcher", "client"])
    def test_a_child_forked_while_requests_is_loaded_can_send(self, asked: str) -> None:
        """The first request of another thread, which imports requests, is no trap for a child."""
        with Loopback(reply()) as server:
            ended = subprocess.run(
                [sys.executable, "-c", FORKED_IMPORT, server.url, asked],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
        assert (ended.returncode, ended.stdout.strip()) == (0, "0"), ended.stderr


class TestAdapter:
    """What `client.adapter` and `client.session` do for others than the client."""

    @staticmethod
    def pool(adapter: TransportAdapter, host: str) -> HTTPConnectionPool:
        """The pool for a host."""
        prepared = requests.Request("GET", f"http://{host}/").prepare()
        found: HTTPConnectionPool = adapter.get_connection_with_tls_context(prepared, verify=True)
        return found

    def test_a_pool_that_had_to_go_is_replaced(self) -> None:
        """With room for two hosts, the first of three gets a new pool when it is asked again."""
        adapter = TransportAdapter(pool_connections=2)
        first = weakref.ref(self.pool(adapter, "a.example"))
        assert self.pool(adapter, "a.example") is first()
        self.pool(adapter, "b.example")
        self.pool(adapter, "c.example")
        gc.collect()
        assert first() is None
        assert self.pool(adapter, "a.example") is self.pool(adapter, "a.example")

    def test_a_pool_that_was_closed_is_replaced(self) -> None:
        """After `close`, the adapter opens another one."""
        adapter = TransportAdapter()
        pools = [self.pool(adapter, "a.example")]
        adapter.close()
        pools.append(self.pool(adapter, "a.example"))
        assert pools[0] is not pools[1]

    def test_many_hosts_are_no_leak(self) -> None:
        """Of pools that had to go, few are remembered."""
        adapter = TransportAdapter(pool_connections=2)
        pools = [weakref.ref(self.pool(adapter, f"h{number}.example")) for number in range(600)]
        gc.collect()
        assert sum(pool() is not None for pool in pools) < 300

    def test_https_and_http_of_one_host_have_pools_of_their_own(self) -> None:
        """So have different certificates."""
        adapter = TransportAdapter()
        plain = requests.Request("GET", "http://a.example/").prepare()
        sealed = requests.Request("GET", "https://a.example/").prepare()
        found = [
            adapter.get_connection_with_tls_context(plain, verify=True),
            adapter.get_connection_with_tls_context(sealed, verify=True),
            adapter.get_connection_with_tls_context(sealed, verify=False),
        ]
        assert len(set(map(id, found))) == 3

    def test_answers_of_others_are_responses_of_requests(self) -> None:
        """What a tool puts in the place of urllib3's answer is handled by requests itself."""

        class Recorded(HTTPResponse):
            pass

        prepared = requests.Request("GET", "http://a.example/").prepare()
        raw = Recorded(body=io.BytesIO(b"recorded"), status=200, preload_content=False)
        response = TransportAdapter().build_response(prepared, raw)
        assert type(response) is requests.Response
        assert response.content == b"recorded"

    def test_a_response_is_as_that_of_requests(self) -> None:
        """All that a Response tells, before and after a pickle, it tells here."""
        answer = reply(
            body="ü".encode(),
            Content_Type="text/plain; charset=utf-8",
            Set_Cookie="a=1; Path=/",
            X_Two="1\r\nX-Two: 2",
        )
        with (
            Loopback(answer) as server,
            HttpClient() as client,
            requests.Session() as stock,
        ):
            pair = [session.get(server.url, timeout=5) for session in (client.session, stock)]
            pair += [pickle.loads(pickle.dumps(response)) for response in pair]
            told = [
                (
                    *(response.status_code, response.reason, response.url, response.encoding),
                    *(response.text, response.ok, response.history, response.is_redirect),
                    *(
                        dict(response.cookies),
                        list(response.headers.items()),
                        len(response.headers),
                    ),
                    *(response.headers.copy(), response.headers["x-two"], str(response)),
                )
                for response in pair
            ]
            assert told[0] == told[1] == told[2] == told[3]
            assert pair[0].elapsed.total_seconds() > 0
            assert pair[0].connection is client.adapter
            assert dict(client.session.cookies) == {"a": "1"}

    def test_headers_of_a_response_can_be_changed(self) -> None:
        """A copy stays as it was."""
        with Loopback(reply(X_One="1")) as server, HttpClient() as client:
            headers = client.session.get(server.url, timeout=5).headers
        copied = headers.copy()
        headers["x-one"] = "2"
        del headers["content-length"]
        assert list(headers.items()) == [("x-one", "2")]
        assert copied["X-One"] == "1"

    def test_a_body_that_stalls_fails_as_with_requests(self) -> None:
        """Outside of a client's exchange the errors are those of requests."""
        with Loopback(b"") as server, HttpClient() as client:
            start = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
            server.answer = takes_over(server.stall(start))
            with pytest.raises(requests.exceptions.ConnectionError):
                client.session.get(server.url, timeout=SOON)

    @pytest.mark.parametrize(
        ("start", "kind"),
        [
            (b"Content-Length: 100\r\n\r\nhalf", requests.exceptions.ChunkedEncodingError),
            (
                b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nhalf",
                requests.exceptions.ContentDecodingError,
            ),
        ],
        ids=["cut off", "not gzip"],
    )
    def test_a_broken_body_fails_as_with_requests(self, start: bytes, kind: type) -> None:
        """So are those of a body that is cut off, or is not what it says."""
        script = takes_over(lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\n" + start))
        with Loopback(script) as server, HttpClient() as client, pytest.raises(kind):
            client.session.get(server.url, timeout=5)

    def test_deadlines_hold_with_an_adapter_of_any_kind(self) -> None:
        """What a supplied session sends with may be no adapter of requests' own."""

        class Canned(BaseAdapter):
            def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> Any:
                made = requests.Response()
                made.status_code, made.raw, made.request = 200, io.BytesIO(b"canned"), request
                return made

            def close(self) -> None:
                pass

        with requests.Session() as session:
            session.mount("http://", Canned())
            client = HttpClient(HttpClientConfig(total_timeout=5.0), session)
            assert client.get("http://a.example/").content == b"canned"


FORKED_IMPORT = """
import os, signal, sys, threading
from requestforge import HttpClient, HttpClientConfigBuilder
from requestforge.fetcher import HttpTokenFetcher

class Asker(HttpTokenFetcher):
    name = "asker"
    def fetch(self, context=None):
        return self._make_request("POST", "/")

class Late:
    def find_spec(self, name, path, target=None):
        if name == "requests":
            started.set()
            forking.wait(10)

started, forking = threading.Event(), threading.Event()
sys.meta_path.insert(0, Late())
os.register_at_fork(before=forking.set)
url, asked = sys.argv[1:]

def ask():
    if asked == "fetcher":
        asker.fetch()
    else:
        HttpClient(HttpClientConfigBuilder().with_base_url(url).build()).get("/")

asker = Asker(url)
first = threading.Thread(target=ask)
first.start()
started.wait(10)
child = os.fork()
if child == 0:
    signal.alarm(10)
    ask()
    os._exit(0)
print(os.waitpid(child, 0)[1])
first.join()
"""
