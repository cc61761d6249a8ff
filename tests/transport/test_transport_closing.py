"""Closing: no connection of a client stays open, whatever has happened before."""

import gc
import threading
from collections.abc import Callable, Iterator

import pytest
import requests

from client_server import Reply, Seen, Server
from requestforge._transport.adapter import TransportAdapter
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfig
from requestforge.exceptions import HttpClientException
from requestforge.models import HttpRequest

pytestmark = pytest.mark.compat


@pytest.fixture
def released() -> threading.Event:
    """Once it is set, the server does not wait any more."""
    return threading.Event()


@pytest.fixture
def server(released: threading.Event) -> Iterator[Server]:
    """Answers any request, but for some paths."""

    def breaks_off(_: Seen) -> Reply:
        raise ConnectionError

    def late(_: Seen) -> Reply:
        released.wait(10)
        return Reply()

    with Server() as running:
        running.rules["/breaks-off"] = breaks_off
        running.rules["/late"] = late
        running.rules["/nowhere"] = Reply(302, {"Location": "ftp://x"})
        running.rules["/wrong"] = Reply(400)
        yield running
        released.set()


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    """What is open stays open until somebody closes it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def client_of(server: Server, **settings: int) -> HttpClient:
    """A client that raises what it can, and soon."""
    return HttpClient(
        HttpClientConfig(server.url, raise_for_status=True, default_timeout=0.3, **settings)
    )


@pytest.mark.parametrize("path", ["/breaks-off", "/late", "/nowhere", "/wrong"])
def test_nothing_is_open_after_an_error(
    server: Server, released: threading.Event, path: str
) -> None:
    """While somebody keeps the error, and with it all that it was raised in."""
    with client_of(server) as client:
        client.get("/")
        with pytest.raises(HttpClientException) as kept:
            client.get(path)
        client.get("/")
    released.set()
    assert kept.value is not None
    assert server.wait_until_closed()


def test_nothing_is_open_after_many_requests_at_once(server: Server) -> None:
    """Also where some of them fail, and there are more threads than places in the pool."""
    numbers = iter(range(10_000))

    def answer(_: Seen) -> Reply:
        number = next(numbers)
        if number % 20 == 3:
            raise ConnectionError
        return Reply(200, {"Connection": "close"} if number % 20 == 7 else {})

    server.rules["/mixed"] = answer
    client = client_of(server, pool_connection=2, pool_maxsize=6)
    failures: list[HttpClientException] = []

    def ask() -> None:
        for number in range(20):
            try:
                if number % 5:
                    client.get("/mixed", timeout=10)
                else:
                    with client.stream("GET", "/mixed", timeout=10) as answer:
                        answer.read()
            except HttpClientException as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    client.close()
    assert failures
    assert server.wait_until_closed()


def test_nothing_is_open_while_results_are_kept(server: Server) -> None:
    """The errors of `request_many` hold on to no connection."""
    with client_of(server) as client:
        asked = [HttpRequest("GET", path) for path in ("/", "/breaks-off", "/")]
        results = list(client.request_many(asked, max_workers=1))
    assert len(results) == 3
    assert server.wait_until_closed()


def test_hosts_that_had_to_make_room_are_closed(server: Server) -> None:
    """A pool that was let go for another is closed, though an error keeps it."""
    with Server() as other, client_of(server, pool_connection=1) as client:
        client.get("/")
        with pytest.raises(HttpClientException) as kept:
            client.get("/breaks-off")
        client.get("/")
        client.get(f"{other.url}/")
        client.close()
        assert kept.value is not None
        assert server.wait_until_closed()
        assert other.wait_until_closed()


def test_a_connection_that_is_lent_is_closed_when_it_comes_back(server: Server) -> None:
    """A body can be read to its end after `close`; its connection is not kept."""
    server.rules["/body"] = Reply(body=b"bit by bit")
    client = client_of(server)
    with client.stream("GET", "/body") as answer:
        client.close()
        assert answer.read().content == b"bit by bit"
    assert server.wait_until_closed()


def test_a_pool_that_was_got_before_closing_serves_still(server: Server) -> None:
    """Whoever was about to send does, and the connection is closed after it."""
    adapter = TransportAdapter(pool_maxsize=1)
    with requests.Session() as session:
        request = session.prepare_request(requests.Request("GET", f"{server.url}/"))
    pool = adapter.get_connection_with_tls_context(request, verify=True)
    assert pool.urlopen("GET", "/").status == 200
    adapter.close()
    assert server.wait_until_closed()
    assert pool.urlopen("GET", "/").status == 200
    assert server.wait_until_closed()
    pool.close()
    adapter.close()


def test_connections_to_proxies_are_closed(server: Server) -> None:
    """Those, too, that an error by way of the proxy keeps."""
    with HttpClient(HttpClientConfig(proxies={"http": server.url})) as client:
        assert client.get("http://api.example/").status_code == 200
        with pytest.raises(HttpClientException) as kept:
            client.get("http://api.example/", headers={"Content-Length": "5"})
        assert client.get("http://api.example/").status_code == 200
    assert kept.value is not None
    assert server.wait_until_closed()


@pytest.mark.parametrize("blocks", [False, True], ids=["opens more", "waits"])
def test_a_closed_pool_keeps_its_places(server: Server, blocks: bool) -> None:
    """A pool that lends no more than it has is not the smaller for having been closed."""
    adapter = TransportAdapter(pool_maxsize=1, pool_block=blocks)
    with requests.Session() as session:
        request = session.prepare_request(requests.Request("GET", f"{server.url}/"))
    pool = adapter.get_connection_with_tls_context(request, verify=True)
    lent = pool.urlopen("GET", "/", preload_content=False)
    adapter.close()
    lent.read()
    assert server.wait_until_closed()
    assert pool.urlopen("GET", "/", pool_timeout=1).status == 200
    assert server.wait_until_closed()


def test_other_kinds_of_pools_are_closed(server: Server) -> None:
    """What makes pools in the place of urllib3's classes is left alone, and its pools closed."""
    closed = []

    class Pool:
        def urlopen(self, **_: object) -> None:
            raise requests.ConnectionError

        def close(self) -> None:
            closed.append(self)

    def make(*_: object, **__: object) -> Pool:
        return Pool()

    client = client_of(server)
    manager: object = vars(client.adapter)["poolmanager"]
    kinds: dict[str, Callable[..., Pool]] = {"http": make}
    vars(manager)["pool_classes_by_scheme"] = kinds
    with pytest.raises(HttpClientException):
        client.get("/")
    client.close()
    assert len(closed) == 1
