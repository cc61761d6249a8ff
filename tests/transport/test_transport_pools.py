"""Connections: used again, shared by threads, left behind by forks."""

import os
import ssl
import subprocess
import sys
import threading
from typing import Any

import pytest
import requests
from asking import SOON, Asker, Sock, ends_at_deadline, forked
from urllib3 import exceptions as urllib3_errors
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

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

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_recording_tools_connections_are_kept(
        self, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, bundle: str, scheme: str
    ) -> None:
        """A tool that puts its own class of connections into urllib3 sees the exchange."""
        seen = []
        pool = HTTPConnectionPool if scheme == "http" else HTTPSConnectionPool
        kind: Any = pool.ConnectionCls

        class Recorder:
            def __init__(self, **arguments: object) -> None:
                self.real = kind(**arguments)

            def __getattr__(self, name: str) -> object:
                if name == "request":
                    seen.append(name)
                return getattr(self.real, name)

        monkeypatch.setattr(pool, "ConnectionCls", Recorder)
        with Loopback(reply(body=b"real"), None if scheme == "http" else tls) as server:
            asker = Asker(server.url, verify_ssl=bundle)
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
