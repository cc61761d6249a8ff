"""What `client.session` and `client.adapter` are to others than the client."""
# ruff: noqa: ANN401 - whatever requests takes

import gc
import io
import pickle
import threading
import weakref
from typing import Any

import pytest
import requests
from asking import SOON
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPResponse
from urllib3.connectionpool import HTTPConnectionPool

from loopback import Loopback, reply, takes_over
from requestforge._transport.adapter import TransportAdapter
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfig


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

    def test_an_adapter_that_waits_for_its_connection_goes_on_doing_so(self) -> None:
        """Threads of a supplied session whose adapter blocks share its one connection."""
        with Loopback(reply(body=b"shared")) as server, requests.Session() as session:
            session.mount("http://", HTTPAdapter(pool_maxsize=1, pool_block=True))
            client = HttpClient(HttpClientConfig(server.url, total_timeout=20.0), session)
            barrier = threading.Barrier(4)
            answers: list[bytes] = []

            def ask() -> None:
                barrier.wait(10)
                answers.append(client.get("/").content)

            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            assert server.connections == 1
        assert answers == [b"shared"] * 4

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
