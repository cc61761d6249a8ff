"""How requests reach a FakeAuth: in process beside other mocks, and over sockets."""

import http.client
import re
import socket
import subprocess
import sys
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import requests
import responses
from requests.adapters import HTTPAdapter
from responses.matchers import header_matcher
from werkzeug.test import Client

from pytest_requestforge import FakeAuth

TRANSPORTS = ("inprocess", "loopback")


def get(url: str, **parts: object) -> requests.Response:
    """The answer to a GET."""
    return requests.get(url, timeout=5, **parts)


def output_of(code: str) -> list[str]:
    """The words that the code prints in a process of its own."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


class TestLifecycle:
    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_a_server_can_be_started_and_stopped_by_hand(self, transport: str) -> None:
        """`start()` and `stop()` do what entering and leaving do; stopping twice is fine."""
        auth = FakeAuth(transport=transport)
        me = auth.resource("GET /me")

        auth.start()
        assert get(me.url).status_code == 200
        auth.stop()
        auth.stop()

        assert len(auth.journal) == 1

    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_it_works_with_unittest(self, transport: str) -> None:
        """A FakeAuth is entered by `TestCase.enterContext`."""

        class Case(unittest.TestCase):
            def runTest(self) -> None:  # noqa: N802 - the name that unittest calls
                auth = self.enterContext(FakeAuth(transport=transport))
                assert get(auth.resource("GET /me").url).status_code == 200

        assert unittest.TextTestRunner(stream=sys.stderr).run(Case()).wasSuccessful()

    @pytest.mark.parametrize(
        ("strict", "rest", "printed"),
        [
            pytest.param(True, "", "AssertionError True", id="strict"),
            pytest.param(False, "", "none", id="not strict"),
            pytest.param(True, "raise ZeroDivisionError", "ZeroDivisionError False", id="own"),
        ],
    )
    def test_without_pytest_an_unmatched_request_fails_the_block(
        self,
        strict: bool,
        rest: str,
        printed: str,
    ) -> None:
        """The `with` block raises when it ends, unless it has an error of its own."""
        code = f"""
import requests
from pytest_requestforge import FakeAuth
try:
    with FakeAuth(strict={strict}) as auth:
        requests.get(auth.url)
        {rest}
except Exception as error:
    print(type(error).__name__, "1 request matched no endpoint" in str(error))
else:
    print("none")
"""
        assert output_of(code) == printed.split()

    def test_without_pytest_it_fails_a_unittest(self) -> None:
        """`enterContext` leaves the block when the test ends, which then fails."""
        code = """
import io, unittest, requests
from pytest_requestforge import FakeAuth

class Case(unittest.TestCase):
    def runTest(self):
        requests.get(self.enterContext(FakeAuth()).url)

print(len(unittest.TextTestRunner(stream=io.StringIO()).run(Case()).failures))
"""
        assert output_of(code) == ["1"]

    def test_a_server_that_runs_is_not_started_again(self) -> None:
        """Starting twice is an error."""
        with FakeAuth() as auth, pytest.raises(RuntimeError, match="has been started already"):
            auth.start()

    def test_without_responses_only_loopback_is_left(self) -> None:
        """Where `responses` is not installed the error says what to install."""
        code = """
import sys
sys.modules["responses"] = None
from pytest_requestforge import FakeAuth
with FakeAuth(transport="loopback") as auth:
    print(auth.url.partition(":")[0])
try:
    FakeAuth()
except ImportError as error:
    print("pip install 'requestforge[testing]'" in str(error))
"""
        assert output_of(code) == ["http", "True"]

    def test_without_the_extra_the_names_say_what_to_install(self) -> None:
        """Where the server's own needs are not installed, the first import says so."""
        code = """
import sys
sys.modules["werkzeug"] = None
try:
    from pytest_requestforge import FakeAuth
except ImportError as error:
    print("FakeAuth" in str(error), "pip install 'requestforge[testing]'" in str(error))
"""
        assert output_of(code) == ["True", "True"]

    def test_the_name_loads_no_mock(self) -> None:
        """Until a FakeAuth is made, neither `responses` nor `requests` is loaded."""
        code = """
import sys
from pytest_requestforge import FakeAuth
print("responses" in sys.modules, "requests" in sys.modules)
"""
        assert output_of(code) == ["False", "False"]

    def test_the_core_is_a_wsgi_application(self) -> None:
        """`app` answers any WSGI client, by the path alone."""
        auth = FakeAuth("https://auth.example.com")
        auth.resource("GET https://api.example.com/me", json=[1])

        assert Client(auth.app).get("/me").json == [1]
        assert auth.journal[0].url == "http://localhost/me"

    def test_a_named_host_comes_before_other_hosts_with_its_path(self) -> None:
        """A WSGI client that names a host gets the endpoint of that host."""
        auth = FakeAuth()
        auth.resource("GET https://a.test/me", json="a")
        auth.resource("GET https://b.test/me", json="b")

        assert Client(auth.app).get("/me", base_url="https://b.test").json == "b"


class TestInProcess:
    def test_several_hosts_are_answered_at_once(self) -> None:
        """Every host that an endpoint names is served, with http and https told apart."""
        with FakeAuth("https://auth.example.com", strict=False) as auth:
            app = auth.token("app", "POST /token")
            me = auth.resource("GET https://api.example.com/me")

            assert requests.post(app.url, timeout=5).status_code == 200
            assert get(me.url).status_code == 200
            assert get("http://api.example.com/me").status_code == 404

    def test_afterwards_requests_are_as_they_were(self) -> None:
        """Leaving the block puts back what was replaced."""
        code = """
import requests, responses
from requests.adapters import HTTPAdapter
from pytest_requestforge import FakeAuth
before = HTTPAdapter.send
with FakeAuth(strict=False) as one, FakeAuth("https://two.test"):
    requests.get(one.url)
    print(HTTPAdapter.send is before)
print(HTTPAdapter.send is before)
with responses.RequestsMock():
    try:
        requests.get(one.url)
    except requests.ConnectionError as error:
        print("by Responses" in str(error))
"""
        assert output_of(code) == ["False", "True", "True"]

    def test_each_of_several_servers_answers_for_its_hosts(self) -> None:
        """A request goes to the server that knows its host."""
        with FakeAuth("https://one.test") as one, FakeAuth("https://two.test") as two:
            get(one.resource("GET /a").url)
            get(two.resource("GET /b").url)

            assert [entry.path for entry in one.journal] == ["/a"]
            assert [entry.path for entry in two.journal] == ["/b"]

    def test_of_servers_with_one_host_that_with_the_path_answers(self) -> None:
        """Where two know a host, the one with an endpoint answers, and else the last one."""
        with FakeAuth() as one, FakeAuth(strict=False) as two:
            me = one.resource("GET /me")
            assert get(me.url).status_code == 200
            assert get(f"{one.url}/nowhere").status_code == 404

            assert (len(one.journal), len(two.journal)) == (1, 1)

    def test_an_unknown_host_is_unmatched_by_the_last_server(self) -> None:
        """A host that no server knows never reaches the network."""
        with FakeAuth("https://one.test") as one, FakeAuth("https://two.test") as two:
            two.strict = False
            assert get("https://elsewhere.example.com/x").status_code == 404

        assert (one.unmatched, len(two.unmatched)) == ([], 1)

    def test_an_unknown_host_on_loopback_is_reached(self) -> None:
        """A server of the test's own on 127.0.0.1 is reached beside an in-process one."""
        with FakeAuth("https://auth.example.com") as auth, FakeAuth(transport="loopback") as api:
            assert get(api.resource("GET /me").url).status_code == 200

        assert (len(auth.journal), len(api.journal)) == (0, 1)

    def test_a_known_host_on_loopback_is_answered(self) -> None:
        """A host of loopback that an endpoint names is answered in process."""
        with FakeAuth("http://localhost:1") as auth:
            assert get(auth.resource("GET /me").url).status_code == 200

    def test_userinfo_is_no_part_of_the_host(self) -> None:
        """Credentials in a URL do not make it another host, and reach no journal."""
        with FakeAuth("https://auth.example.com") as auth:
            auth.resource("GET /me")
            assert get("https://ada:s3cr3t@auth.example.com/me").status_code == 200

        assert "s3cr3t" not in repr(list(auth.journal))

    @pytest.mark.parametrize(
        "host", ["größe.example", "xn--gre-6ka8i.example", "GRÖSSE.example:8443"]
    )
    def test_an_international_host_is_answered(self, host: str) -> None:
        """A host may be given in its own letters, and is known in either form."""
        with FakeAuth(f"https://{host}") as auth:
            me = auth.resource(f"GET https://{host}/me")
            assert get(f"https://{host}/me").status_code == 200
            assert get(me.url).status_code == 200
            assert auth.url.isascii()

    def test_a_streamed_answer_can_be_read(self) -> None:
        """An answer is read in parts like one of a socket."""
        with FakeAuth() as auth:
            answer = get(auth.resource("GET /me", json={"id": 1}).url, stream=True)

            assert b"".join(answer.iter_content(2)) == b'{"id": 1}'


def started_first(mock: responses.RequestsMock, auth: FakeAuth) -> Iterator[object]:
    """The mock, then the FakeAuth."""
    yield mock
    yield auth


def started_last(mock: responses.RequestsMock, auth: FakeAuth) -> Iterator[object]:
    """The FakeAuth, then the mock."""
    yield auth
    yield mock


@pytest.mark.parametrize("order", [started_first, started_last])
class TestBesideResponses:
    """The test's own mock of `responses`, started before or after the FakeAuth."""

    @pytest.fixture
    def auth(self) -> FakeAuth:
        """A FakeAuth with a resource, not started."""
        auth = FakeAuth("https://auth.example.com", strict=False)
        auth.resource("GET /me", json="fake")
        return auth

    @pytest.fixture
    def mock(
        self, auth: FakeAuth, order: Callable[..., Iterator[object]]
    ) -> Iterator[responses.RequestsMock]:
        """A mock, started together with the FakeAuth."""
        mock = responses.RequestsMock()
        with ExitStack() as stack:
            for each in order(mock, auth):
                stack.enter_context(each)
            yield mock

    def test_each_answers_its_own(self, auth: FakeAuth, mock: responses.RequestsMock) -> None:
        """What the test has mocked goes to its mock, everything else to the FakeAuth."""
        mock.get("https://other.example.com/x", json="mock")

        assert get("https://other.example.com/x").json() == "mock"
        assert get("https://auth.example.com/me").json() == "fake"
        assert [call.request.url for call in mock.calls] == ["https://other.example.com/x"]
        assert [entry.path for entry in auth.journal] == ["/me"]

    def test_a_mock_of_a_served_url_wins(
        self, auth: FakeAuth, mock: responses.RequestsMock
    ) -> None:
        """A URL of the FakeAuth that the test has mocked goes to its mock."""
        mock.get("https://auth.example.com/me", json="mock")

        assert get("https://auth.example.com/me").json() == "mock"
        assert len(auth.journal) == 0

    def test_a_matcher_decides_as_ever(self, auth: FakeAuth, mock: responses.RequestsMock) -> None:
        """What a matcher of the mock refuses goes to the FakeAuth."""
        match = [header_matcher({"X-Mode": "mock"})]
        mock.get("https://auth.example.com/me", json="mock", match=match)

        assert get("https://auth.example.com/me").json() == "fake"
        assert get("https://auth.example.com/me", headers={"X-Mode": "mock"}).json() == "mock"
        assert len(auth.journal) == 1

    def test_what_neither_knows_is_unmatched(
        self, auth: FakeAuth, mock: responses.RequestsMock
    ) -> None:
        """A URL that neither knows gets 404 from the FakeAuth, which tells of it."""
        mock.assert_all_requests_are_fired = False
        mock.get("https://other.example.com/x")

        assert get("https://other.example.com/y").status_code == 404
        assert len(auth.unmatched) == 1

    def test_passing_through_is_for_hosts_that_are_not_served(
        self, auth: FakeAuth, mock: responses.RequestsMock
    ) -> None:
        """`add_passthru` lets unknown hosts through, but not those of the FakeAuth."""
        with FakeAuth(transport="loopback") as api:
            mock.add_passthru("http")
            assert get(api.resource("GET /x", json="real").url).json() == "real"
            assert get("https://auth.example.com/me").json() == "fake"

        assert len(auth.journal) == 1

    @pytest.mark.usefixtures("auth")
    def test_a_callback_may_send_requests(self, mock: responses.RequestsMock) -> None:
        """A request sent while a mock answers another one is answered in its own right."""

        def callback(_: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
            return 200, {}, get("https://auth.example.com/me").text

        mock.add_callback("GET", "https://other.example.com/x", callback)

        assert get("https://other.example.com/x").json() == "fake"

    def test_a_body_that_is_a_file_reaches_whoever_answers(
        self, auth: FakeAuth, mock: responses.RequestsMock, tmp_path: object
    ) -> None:
        """Asking the mock about a request does not use up its body."""
        mock.assert_all_requests_are_fired = False
        mock.post("https://other.example.com/x")
        app = auth.token("app", "POST /app", body={"client_id": "app-id"})
        path = tmp_path / "body"
        path.write_text("client_id=app-id")
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        with path.open("rb") as file:
            assert requests.post(app.url, data=file, headers=form, timeout=5).status_code == 200

    def test_a_request_under_way_at_the_stop_is_answered(
        self, auth: FakeAuth, mock: responses.RequestsMock
    ) -> None:
        """A request that was sent before the FakeAuth stops does not reach the network."""

        def stopping(_: requests.PreparedRequest) -> tuple[bool, str]:
            auth.stop()
            return False, "never"

        mock.assert_all_requests_are_fired = False
        mock.get("https://auth.example.com/me", match=[stopping])

        assert get("https://auth.example.com/me").json() == "fake"

    def test_stopping_in_another_order_leaves_nothing_behind(
        self, order: Callable[..., Iterator[object]]
    ) -> None:
        """Mock and FakeAuth may be stopped in the order in which they were started."""
        send = HTTPAdapter.send
        auth, mock = FakeAuth(), responses.RequestsMock()
        each = list(order(mock, auth))
        for one in each:
            one.start()
        for one in each:
            one.stop()
        with FakeAuth(transport="loopback") as api:
            assert get(api.resource("GET /x").url).status_code == 200
        # What was started last restores, when it stops, what it had found.
        HTTPAdapter.send = send


class TestBesideSeveralMocks:
    def test_the_decorator_works_beside_it(self) -> None:
        """`@responses.activate` on a function that runs while a FakeAuth answers."""

        @responses.activate
        def run() -> tuple[str, str]:
            responses.get("https://other.example.com/x", json="mock")
            return get("https://other.example.com/x").json(), get(me.url).json()

        with FakeAuth() as auth:
            me = auth.resource("GET /me", json="fake")
            assert run() == ("mock", "fake")
            assert run() == ("mock", "fake")

    def test_mocks_before_and_after_are_both_asked(self) -> None:
        """What one mock does not have another may have, with a FakeAuth between them."""
        with (
            responses.RequestsMock() as before,
            FakeAuth() as auth,
            responses.RequestsMock() as after,
        ):
            before.get("https://before.test/", json="before")
            after.get("https://after.test/", json="after")

            assert get("https://before.test/").json() == "before"
            assert get("https://after.test/").json() == "after"
            assert get(auth.resource("GET /me", json="fake").url).json() == "fake"

    def test_a_pattern_passes_through(self) -> None:
        """`add_passthru` may be given a pattern."""
        with (
            FakeAuth("https://auth.example.com"),
            FakeAuth(transport="loopback") as api,
            responses.RequestsMock() as mock,
        ):
            mock.add_passthru(re.compile(r"http://127\."))
            assert get(api.resource("GET /x").url).status_code == 200


class TestOutlivingThreads:
    """A thread that a test has started and not ended."""

    @pytest.fixture
    def pool(self) -> Iterator[ThreadPoolExecutor]:
        """A thread that began under a FakeAuth which has stopped."""
        with ThreadPoolExecutor(1) as pool:
            with FakeAuth() as auth:
                pool.submit(get, auth.resource("GET /").url).result()
            yield pool

    @pytest.fixture
    def outlive(self, pool: ThreadPoolExecutor) -> Callable[[str], object]:
        """Sends a request from that thread."""

        def send(url: str) -> object:
            return pool.submit(get, url).exception() or pool.submit(get, url).result()

        return send

    def test_it_does_not_reach_the_network(self, outlive: Callable[[str], object]) -> None:
        """Its requests fail, and the error says what to do."""
        error = outlive("https://auth.example.com/token?secret=s3cr3t")

        assert isinstance(error, requests.ConnectionError)
        assert "join the threads of a test before it ends" in str(error)
        assert "s3cr3t" not in str(error)

    def test_it_still_reaches_sockets_of_loopback(self, outlive: Callable[[str], object]) -> None:
        """A pool that several tests share goes on to work with servers on 127.0.0.1."""
        with FakeAuth(transport="loopback") as api:
            answer = outlive(api.resource("GET /x").url)

        assert isinstance(answer, requests.Response)

    def test_the_next_server_answers_it(self, outlive: Callable[[str], object]) -> None:
        """A pool that several tests share is answered by the FakeAuth that runs."""
        with FakeAuth() as auth:
            answer = outlive(auth.resource("GET /x").url)

        assert isinstance(answer, requests.Response)

    def test_it_is_not_unmatched_in_a_later_test(self, outlive: Callable[[str], object]) -> None:
        """What no endpoint of the FakeAuth that runs expects fails in the thread alone."""
        with FakeAuth() as auth:
            auth.resource("GET /x")
            errors = [outlive(f"{auth.url}/y"), outlive("https://other.example.com/x")]

        assert all(isinstance(error, requests.ConnectionError) for error in errors)
        assert len(auth.journal) == 0

    def test_a_mock_of_a_later_test_answers_it(self, outlive: Callable[[str], object]) -> None:
        """What a later test has mocked is answered by its mock."""
        with FakeAuth(), responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
            mock.get("https://other.example.com/x")
            answer = outlive("https://other.example.com/x")

        assert isinstance(answer, requests.Response)

    def test_neither_do_threads_that_it_starts(self, pool: ThreadPoolExecutor) -> None:
        """A thread is held back like the one that has started it."""

        def start_another() -> BaseException | None:
            with ThreadPoolExecutor(1) as another:
                return another.submit(get, "https://auth.example.com/x").exception(10)

        assert isinstance(pool.submit(start_another).result(), requests.ConnectionError)
        with FakeAuth() as auth:
            assert isinstance(pool.submit(start_another).result(), requests.ConnectionError)
        assert len(auth.journal) == 0

    def test_once_it_has_ended_all_is_as_it_was(self) -> None:
        """What is replaced on its account is put back when a later FakeAuth stops."""
        code = """
import threading
from concurrent.futures import ThreadPoolExecutor
from requests.adapters import HTTPAdapter
from pytest_requestforge import FakeAuth

def shown():
    return HTTPAdapter.send, threading.Thread.start

before = shown()
with ThreadPoolExecutor(1) as pool:
    with FakeAuth():
        pool.submit(int).result()
    print(shown() == before)
    with FakeAuth():
        pass
    print(shown() == before)
with FakeAuth():
    pass
print(shown() == before)
"""
        assert output_of(code) == ["False", "False", "True"]

    def test_what_others_have_replaced_is_left(self) -> None:
        """A function that someone has put around a replaced one meanwhile stays."""
        code = """
import threading
from concurrent.futures import ThreadPoolExecutor
from pytest_requestforge import FakeAuth

with ThreadPoolExecutor(1) as pool:
    with FakeAuth():
        pool.submit(int).result()
    start = threading.Thread.start
    threading.Thread.start = own = lambda thread: start(thread)
for _ in range(2):
    with FakeAuth():
        pass
    print(threading.Thread.start is own)
"""
        assert output_of(code) == ["True", "True"]

    @pytest.mark.usefixtures("outlive")
    def test_other_threads_are_free(self) -> None:
        """Threads from before the FakeAuth send as they did."""
        with FakeAuth(transport="loopback") as api:
            assert get(api.resource("GET /x").url).status_code == 200
        with pytest.raises(requests.ConnectionError, match="refused"):
            get(f"{api.url}/x")


class TestLoopback:
    def test_the_url_is_known_once_it_is_started(self) -> None:
        """Before the start there is no port; after the stop the last one is remembered."""
        auth = FakeAuth(transport="loopback")
        me = auth.resource("GET /me")
        with pytest.raises(RuntimeError, match="has a URL once it is started"):
            _ = auth.url

        with auth:
            url = auth.url
            assert url.startswith("http://127.0.0.1:")
            assert me.url == f"{url}/me"
        assert auth.url == url

    def test_endpoints_of_other_hosts_are_found_at_their_paths(self) -> None:
        """A URL of another host is served at its path on the socket."""
        with FakeAuth("https://auth.example.com/tenant", transport="loopback") as auth:
            app = auth.token("app", "POST /token")
            me = auth.resource("GET https://api.example.com/user/profile")

            assert app.url == f"{auth.url}/token"
            assert auth.url.endswith("/tenant")
            assert me.url.endswith("/user/profile")
            assert requests.post(app.url, timeout=5).status_code == 200
            assert get(me.url).status_code == 200

    def test_a_connection_is_kept_alive(self) -> None:
        """Requests of a session go over one connection."""
        with FakeAuth(transport="loopback") as auth, requests.Session() as session:
            me = auth.resource("GET /me")
            for _ in range(3):
                session.get(me.url)

            assert len({entry.thread for entry in auth.journal}) == 1

    def test_stopping_closes_port_and_connections(self) -> None:
        """After the stop nothing listens, open connections end, and no thread is left."""
        before = threading.active_count()
        with FakeAuth(transport="loopback") as auth, requests.Session() as session:
            me = auth.resource("GET /me")
            session.get(me.url)
            auth.stop()

            assert threading.active_count() == before
            with pytest.raises(requests.ConnectionError):
                session.get(me.url)

    def test_a_client_may_vanish(self) -> None:
        """A connection that its client resets does not disturb the others."""
        with FakeAuth(transport="loopback") as auth:
            app = auth.token("app", "POST /app")
            host, port = auth.url.removeprefix("http://").split(":")
            with app.hold(n=2) as held, socket.create_connection((host, int(port))) as client:
                client.sendall(b"POST /app HTTP/1.1\r\nHost: x\r\n\r\n")
                held.wait_for(1)
                # Zero seconds of lingering: the connection is reset.
                linger = (1).to_bytes(4, sys.byteorder) + bytes(4)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            assert requests.post(app.url, timeout=5).status_code == 200

    @pytest.mark.parametrize(
        ("request_text", "status"),
        [
            pytest.param("GET /me HTTP/1.1\r\nHost: other.test\r\n\r\n", 200, id="another host"),
            pytest.param("GET /me HTTP/1.0\r\n\r\n", 200, id="HTTP/1.0 without a host"),
            pytest.param("GET http://any.test/me HTTP/1.1\r\n\r\n", 200, id="as for a proxy"),
            pytest.param("GET /me HTTP/1.1\r\nHost: a b\r\n\r\n", 400, id="a broken host"),
            pytest.param("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400, id="no path"),
            pytest.param("GET /me HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400, id="a length"),
            pytest.param(
                "GET /me HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, id="a chunk"
            ),
            pytest.param(
                "GET /me HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                "2;x=y\r\n{}\r\n0\r\nX-Trailer: 1\r\n\r\n",
                200,
                id="chunks",
            ),
            pytest.param("GET /me HTTP/1.1\r\nX-A: 1\r\nX-A: 2\r\n\r\n", 200, id="a header twice"),
        ],
    )
    def test_what_any_client_may_send_is_answered(self, request_text: str, status: int) -> None:
        """Requests of other clients, odd and broken ones included, get an answer."""
        with FakeAuth(transport="loopback") as auth:
            auth.resource("GET /me")
            host, port = auth.url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port)), timeout=5) as client:
                client.sendall(request_text.encode())
                answer = http.client.HTTPResponse(client)
                answer.begin()

                assert answer.status == status

    def test_what_is_no_http_gets_an_error(self) -> None:
        """A line that is no HTTP request is answered with an error, and the connection closed."""
        with FakeAuth(transport="loopback") as auth:
            host, port = auth.url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port)), timeout=5) as client:
                client.sendall(b"nonsense\r\n\r\n")
                answer = b"".join(iter(lambda: client.recv(4096), b""))

        assert b"400" in answer
        assert len(auth.journal) == 0

    def test_a_header_that_comes_twice_is_joined(self) -> None:
        """Values of one header are joined by commas (RFC 9110 section 5.3)."""
        with FakeAuth(transport="loopback") as auth:
            auth.resource("GET /me")
            connection = http.client.HTTPConnection(auth.url.removeprefix("http://"), timeout=5)
            connection.putrequest("GET", "/me")
            connection.putheader("X-A", "1")
            connection.putheader("X-A", "2")
            connection.endheaders()
            assert connection.getresponse().status == 200
            connection.close()

        assert auth.journal[0].headers["X-A"] == "1, 2"


class TestCost:
    """No test waits for a server: nothing polls, and no packet waits for an acknowledgement."""

    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_a_server_starts_and_stops_at_once(self, transport: str) -> None:
        """Starting and stopping takes nothing like the 500 ms that the standard library polls."""

        def run() -> None:
            with FakeAuth(transport=transport):
                pass

        assert best_seconds(run) < 0.01

    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_a_token_request_is_answered_at_once(self, transport: str) -> None:
        """A token request takes nothing like the 40 ms of a delayed acknowledgement."""
        with FakeAuth(transport=transport) as auth, requests.Session() as session:
            app = auth.token("app", "POST /app", body={"client_id": "x"}, expires_in=60)

            assert best_seconds(lambda: session.post(app.url, data={"client_id": "x"})) < 0.01


def best_seconds(run: Callable[[], object], rounds: int = 21) -> float:
    """What the fastest of several runs takes, so that other work on the machine matters little."""

    def seconds() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    return min(seconds() for _ in range(rounds))
