"""The faults of endpoints: what each does to a client, in process and on a socket."""

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry
from werkzeug.test import Client

from pytest_requestforge import Clock, FakeAuth
from pytest_requestforge.fake_auth import Fault, TokenEndpoint
from pytest_requestforge.fake_auth.faults import KINDS
from requestforge import BodyTokenFetcher, InMemoryTokenStorage, TokenFetchPipeline
from requestforge.exceptions import AuthenticationException

TRANSPORTS = ("inprocess", "loopback")
PATIENCE = 0.2
CANARY = "canary-a-secret-of-the-client"

Outcome = tuple[str, ...]

UNUSED = [
    "2 faults have not struck as called for:",
    "  app_token: fail(503) used 1 of 2 times",
    "  app_token: reset() never used",
]


@pytest.fixture(params=TRANSPORTS)
def auth(request: pytest.FixtureRequest) -> Iterator[FakeAuth]:
    """A server over each transport."""
    with FakeAuth(transport=request.param, seed=7) as auth:
        yield auth


@pytest.fixture
def app(auth: FakeAuth) -> TokenEndpoint:
    """A token endpoint."""
    return auth.token("app_token", "POST /token", expires_in=60)


def post(url: str, **how: Any) -> requests.Response:  # noqa: ANN401
    """The answer to a POST that does not wait for long."""
    return requests.post(url, **{"timeout": PATIENCE, "allow_redirects": False, **how})  # noqa: S113 - there it is


def outcome_of(call: Callable[[], requests.Response]) -> Outcome:
    """What a client meets: the classes of the exception and of what is in it, or the answer."""
    try:
        response = call()
        body = re.sub(r"https?://[\w.:]+", "", response.text)
    except requests.RequestException as error:
        causes = [error.args[0], getattr(error.args[0], "reason", None)]
        return (type(error).__name__, *(type(cause).__name__ for cause in causes))
    return (str(response.status_code), response.headers["Content-Type"], body)


def met(transport: str, kind: str, retry: Retry | None) -> tuple[Outcome, list[Outcome]]:
    """What a client meets when every attempt meets a fault, and the server's journal of it."""
    with (
        requests.Session() as session,
        FakeAuth(transport=transport, seed=7, unused_faults="ignore") as auth,
    ):
        app = auth.token("app_token", "POST /token", expires_in=60)
        getattr(app, kind)(**({"bytes_per_second": 1000} if kind == "drip" else {})).times(9)
        if retry is not None:
            mount(session, retry)
        outcome = outcome_of(
            lambda: session.post(app.url, timeout=PATIENCE, allow_redirects=False, data={"n": 1})
        )
        return outcome, [(str(each.status), each.reason, str(each.fault)) for each in auth.journal]


def mount(session: requests.Session, retry: Retry) -> None:
    """Have the session retry."""
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))


RETRIES = {
    "plain": None,
    "retried": Retry(2, allowed_methods=None, status_forcelist=[503], backoff_factor=0),
    "not retried": Retry(2, backoff_factor=0),
    "raises no status": Retry(
        1, allowed_methods=None, status_forcelist=[503], raise_on_status=False, backoff_factor=0
    ),
}


class TestFidelity:
    @pytest.mark.parametrize("retry", RETRIES.values(), ids=RETRIES)
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_client_meets_the_same_on_both_transports(
        self, kind: str, retry: Retry | None
    ) -> None:
        """The exception and its causes, or the answer, and the journal, whatever is retried."""
        assert met("inprocess", kind, retry) == met("loopback", kind, retry)

    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            ("fail", ("503",)),
            ("reset", ("ConnectionError", "ProtocolError")),
            ("hang", ("ReadTimeout", "ReadTimeoutError")),
            ("slow", ("ReadTimeout", "ReadTimeoutError")),
            ("drip", ("200", "application/json")),
            ("truncate", ("ChunkedEncodingError", "ProtocolError")),
            ("garbage", ("200", "application/json")),
            ("html", ("200", "text/html; charset=utf-8")),
            ("empty", ("200", "application/json", "")),
            ("redirect", ("307", "application/json", "")),
            ("echo_secrets", ("400", "application/json")),
        ],
    )
    def test_each_kind_is_what_its_name_says(self, kind: str, expected: Outcome) -> None:
        """What `requests` makes of it on a socket."""
        assert met("loopback", kind, None)[0][: len(expected)] == expected

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_library_raises_the_same_on_both_transports(self, kind: str) -> None:
        """A step ends in the same token or the same exception, without a secret in it."""
        assert fetched("inprocess", kind) == fetched("loopback", kind)


PATIENCE_OF_STEP = 1.0


def fetched(transport: str, kind: str) -> list[str]:
    """What a step makes of a fault: the classes of the exceptions, outermost first."""
    with FakeAuth(transport=transport, seed=7) as auth:
        app = auth.token("app_token", "POST /token")
        fault: Fault = getattr(app, kind)()
        step = BodyTokenFetcher(
            "app_token",
            auth.url,
            "/token",
            request_data={"client_secret": CANARY},
            timeout=PATIENCE_OF_STEP,
        )
        failure = None
        try:
            step.fetch()
        except AuthenticationException as error:
            failure = error
        if failure is None:
            return ["token"]
        assert CANARY not in f"{failure}{failure!r}{failure.__cause__}{failure.__cause__!r}"
        assert fault.left == 0
        return [type(failure).__name__, type(failure.__cause__).__name__]


class TestSequences:
    def test_faults_strike_in_order_and_then_service_is_normal(
        self, auth: FakeAuth, app: TokenEndpoint
    ) -> None:
        """Each one once, unless `times` says more."""
        app.fail(503, retry_after=2).times(2)
        app.fail(429)
        statuses = [post(app.url).status_code for _ in range(4)]
        assert statuses == [503, 503, 429, 200]
        assert [entry.reason for entry in auth.journal] == [
            "fault: fail(503, retry_after=2)",
            "fault: fail(503, retry_after=2)",
            "fault: fail(429)",
            "issued app_token#1",
        ]
        assert [entry.fault for entry in auth.journal] == ["fail", "fail", "fail", None]

    def test_every_struck_request_counts_as_a_fetch(
        self, auth: FakeAuth, app: TokenEndpoint
    ) -> None:
        """The request has reached the endpoint, whatever became of it."""
        app.reset()
        with pytest.raises(requests.ConnectionError):
            post(app.url)
        assert auth.fetch_counts == {"app_token": 1}
        assert auth.journal[0].status == 0

    def test_a_client_retries_through_them(self, auth: FakeAuth, app: TokenEndpoint) -> None:
        """urllib3's retries lead to the service behind the faults, on either transport."""
        app.reset()
        app.fail(503)
        with requests.Session() as session:
            retry = Retry(3, allowed_methods=None, status_forcelist=[503], backoff_factor=0)
            mount(session, retry)
            assert session.post(app.url, data={"a": 1}).json()["expires_in"] == 60
        assert [entry.status for entry in auth.journal] == [0, 503, 200]

    def test_another_endpoint_is_not_struck(self, auth: FakeAuth, app: TokenEndpoint) -> None:
        """Nor is a request of a method that the endpoint does not have."""
        other = auth.token("other", "POST /other")
        app.fail()
        assert post(other.url).status_code == 200
        assert requests.get(app.url, timeout=5).status_code == 405
        assert post(app.url).status_code == 503

    def test_a_resource_has_faults_too(self, auth: FakeAuth) -> None:
        """An API fails as its token endpoints do."""
        me = auth.resource("GET /me", json={"id": 1})
        me.truncate()
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            requests.get(me.url, timeout=5)
        assert requests.get(me.url, timeout=5).json() == {"id": 1}

    def test_faults_are_shared_by_threads(self, auth: FakeAuth, app: TokenEndpoint) -> None:
        """Of eight requests at once just as many are struck as were called for."""
        app.fail().times(3)
        with ThreadPoolExecutor(8) as pool:
            codes = [pool.submit(post, app.url, timeout=5) for _ in range(8)]
        assert sorted(code.result().status_code for code in codes) == [200] * 5 + [503] * 3
        assert len(auth.journal) == 8

    def test_a_held_request_meets_its_fault_when_it_is_let_go(self, app: TokenEndpoint) -> None:
        """A hold and a fault go together."""
        app.fail(502)
        with app.hold(n=1):
            assert post(app.url).status_code == 502


class TestAnswers:
    def test_fail_has_the_form_of_an_oauth_error(self, app: TokenEndpoint) -> None:
        """Code and description are in the body, Retry-After in whole seconds in the head."""
        app.fail(503, retry_after=timedelta(milliseconds=1500))
        response = post(app.url)
        assert response.json()["error"] == "temporarily_unavailable"
        assert response.headers["Retry-After"] == "2"

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (400, "invalid_request"),
            (401, "invalid_token"),
            (429, "slow_down"),
            (500, "server_error"),
        ],
    )
    def test_the_code_fits_the_status(self, app: TokenEndpoint, status: int, error: str) -> None:
        """Unless it is given."""
        app.fail(status)
        app.fail(status, error="invalid_grant")
        assert post(app.url).json()["error"] == error
        assert post(app.url).json()["error"] == "invalid_grant"

    def test_a_401_has_a_challenge(self, app: TokenEndpoint) -> None:
        """As every 401 of the server."""
        app.fail(401)
        challenge = 'Bearer realm="fake auth", error="invalid_token"'
        assert post(app.url).headers["WWW-Authenticate"] == challenge

    def test_a_slow_answer_is_the_right_one(self, auth: FakeAuth, app: TokenEndpoint) -> None:
        """It comes late, and the connection stays."""
        app.slow(0.01)
        with requests.Session() as session:
            assert session.post(app.url, timeout=5).json()["expires_in"] == 60
            assert session.post(app.url, timeout=5).json()["expires_in"] == 60
        assert auth.journal[0].reason == "issued app_token#1, fault: slow(0.01)"

    def test_a_refused_request_is_slow_as_well(self, auth: FakeAuth) -> None:
        """The fault changes how the answer travels, not what it says."""
        app = auth.token("app_token", "POST /token", body={"client_id": "app"})
        app.drip(bytes_per_second=10_000)
        assert post(app.url).status_code == 400

    def test_a_large_answer_arrives_whole(self, auth: FakeAuth) -> None:
        """However often the client has to read."""
        me = auth.resource("GET /me", json="x" * 100_000)
        me.slow(0.001)
        assert len(requests.get(me.url, timeout=5).json()) == 100_000

    def test_a_dripped_answer_can_be_streamed(self, app: TokenEndpoint) -> None:
        """It arrives byte by byte."""
        app.drip(bytes_per_second=1000)
        with post(app.url, stream=True, timeout=None) as response:
            assert next(response.iter_content(1)) == b"{"
            assert b'"expires_in": 60' in response.content

    def test_a_dripped_head_can_be_all_there_is(self, auth: FakeAuth) -> None:
        """An answer without content is whole at once."""
        me = auth.resource("GET /me", json=None, status=204)
        me.drip()
        assert requests.get(me.url, timeout=5).status_code == 204

    def test_a_redirect_leads_where_it_is_told(self, auth: FakeAuth, app: TokenEndpoint) -> None:
        """By default to the same place, so that a client that follows is served."""
        app.redirect(auth.url + "/login", status=302)
        response = post(app.url)
        assert (response.status_code, response.headers["Location"]) == (302, auth.url + "/login")
        app.redirect()
        assert post(app.url, allow_redirects=True).status_code == 200
        assert auth.journal[0].reason.startswith("fault: redirect('http")

    def test_an_echo_holds_the_secrets_of_the_request(self, auth: FakeAuth) -> None:
        """The client must not show them, and the journal does not."""
        app = auth.token("app_token", "POST /token")
        app.echo_secrets()
        response = post(app.url, data={"client_secret": CANARY}, headers={"X-Key": CANARY})
        assert response.json()["error_description"].count(CANARY) == 2
        assert CANARY not in str(auth.journal[0].body)

    def test_pages_and_empty_answers_have_any_status(
        self, auth: FakeAuth, app: TokenEndpoint
    ) -> None:
        """Such as the error page of a proxy."""
        app.html(502)
        app.empty(204)
        assert [post(app.url).status_code for _ in range(2)] == [502, 204]
        assert [each.reason for each in auth.journal] == ["fault: html(502)", "fault: empty(204)"]

    @pytest.mark.parametrize(
        ("call", "error", "said"),
        [
            (lambda app: app.fail(200), ValueError, "from 400 to 599, not 200"),
            (lambda app: app.fail().times(0), ValueError, "1 or more times, not 0"),
            (lambda app: app.fail(retry_after=-1), ValueError, "negative, but is -1"),
            (
                lambda app: app.fail(retry_after="2"),
                TypeError,
                "is a number .* not str",
            ),
            (lambda app: app.slow(0), ValueError, "seconds is a number above 0, not 0"),
            (lambda app: app.drip(bytes_per_second=-1), ValueError, "above 0, not -1"),
        ],
    )
    def test_nonsense_is_refused(
        self, call: Callable[[TokenEndpoint], object], error: type[Exception], said: str
    ) -> None:
        """With what is right."""
        app = FakeAuth().token("app_token", "POST /token")
        with pytest.raises(error, match=said):
            call(app)

    def test_a_fault_says_how_it_stands(self) -> None:
        """In its repr."""
        app = FakeAuth().token("app_token", "POST /token")
        assert repr(app.drip().times(2)) == "<Fault drip(bytes_per_second=50) never used>"


class TestTime:
    def test_in_process_pauses_pass_by_the_clock_of_the_test(self) -> None:
        """They take no time, and are no sleep of the code under test."""
        with Clock(freeze=False) as clock, FakeAuth() as auth:
            app = auth.token("app_token", "POST /token")
            start = clock.now()
            app.slow(20)
            post(app.url, timeout=30)
            assert clock.now() - start == timedelta(seconds=20)
            app.hang()
            with pytest.raises(requests.ReadTimeout):
                post(app.url, timeout=(3, 30))
            assert clock.now() - start == timedelta(seconds=50)
            assert clock.sleeps == []

    def test_in_process_a_client_without_a_timeout_gives_up_at_once(self) -> None:
        """It would wait for ever."""
        with FakeAuth() as auth:
            app = auth.token("app_token", "POST /token")
            app.hang()
            with pytest.raises(requests.ReadTimeout):
                post(app.url, timeout=None)

    def test_on_a_socket_a_client_that_hangs_is_let_go_when_the_server_stops(self) -> None:
        """Its connection is closed."""
        auth = FakeAuth(transport="loopback")
        auth.start()
        app = auth.token("app_token", "POST /token")
        app.hang()
        with ThreadPoolExecutor(1) as pool:
            hanging = pool.submit(post, app.url, timeout=None)
            while not auth.journal:
                threading.Event().wait(0.01)
            auth.stop()
            with pytest.raises(requests.ConnectionError):
                hanging.result()


class TestUnused:
    def test_outside_pytest_an_unused_fault_fails_the_block(self) -> None:
        """The error says how often each was used."""
        assert failure_of_block("error") == ["AssertionError", *UNUSED]

    def test_a_single_one_is_told_of_alone(self) -> None:
        """In the words for one."""
        auth = FakeAuth()
        auth.token("app_token", "POST /token").hang()
        assert auth.explain_unused_faults().splitlines() == [
            "1 fault has not struck as called for:",
            "  app_token: hang() never used",
        ]
        assert list(auth.unused_faults) == ["app_token"]

    def test_ignored_ones_are_left_alone(self) -> None:
        """Nothing is raised."""
        assert failure_of_block("ignore") == []

    def test_a_warning_may_do(self) -> None:
        """With the same text."""
        assert failure_of_block("warn") == UNUSED

    def test_an_error_of_the_block_comes_first(self) -> None:
        """It is not hidden."""
        assert failure_of_block("error", rest="1 / 0")[0] == "ZeroDivisionError"

    def test_other_severities_are_refused(self) -> None:
        """When the server is made."""
        with pytest.raises(ValueError, match=r"unused_faults must be one of .* not 'fatal'"):
            FakeAuth(unused_faults="fatal")  # type: ignore[arg-type]


class TestChaos:
    def test_it_follows_from_its_seed(self) -> None:
        """The same requests are struck by the same faults, others with another seed."""
        one, again, other = (struck(seed) for seed in (7, 7, 8))
        assert one == again
        assert one != other

    def test_it_strikes_about_as_many_as_told(self) -> None:
        """Of 200 requests at a rate of 0.1 between 5 and 40."""
        faults = struck(7)
        assert 5 < sum(fault is not None for fault in faults) < 40

    def test_without_a_seed_it_follows_from_that_of_the_server(self) -> None:
        """So that `--rf-seed` has it again."""
        assert struck(None) == struck(3)

    def test_no_rate_ends_it_and_no_fault_is_left(self) -> None:
        """Chaos is never unused."""
        with FakeAuth() as auth:
            app = auth.token("app_token", "POST /token")
            auth.chaos(rate=1, kinds=["fail"])
            assert post(app.url).status_code == 503
            auth.chaos(rate=0)
            assert post(app.url).status_code == 200
            assert auth.unused_faults == {}

    def test_a_fault_of_the_endpoint_goes_first(self) -> None:
        """What a test calls for is what happens."""
        with FakeAuth() as auth:
            app = auth.token("app_token", "POST /token")
            auth.chaos(rate=1, kinds=["html"])
            app.fail(502)
            assert [post(app.url).status_code for _ in range(2)] == [502, 200]

    @pytest.mark.parametrize(
        ("how", "said"),
        [
            ({"rate": 2}, "from 0 to 1, not 2"),
            ({"kinds": []}, "at least one kind"),
            ({"kinds": ["boom"]}, "no fault 'boom'; the kinds are fail, reset"),
        ],
    )
    def test_nonsense_is_refused(self, how: dict[str, Any], said: str) -> None:
        """With what is right."""
        with pytest.raises(ValueError, match=said):
            FakeAuth().chaos(**how)

    def test_a_pipeline_with_retries_lives_through_it(self) -> None:
        """Whatever fails is tried again until every step has its token."""
        with Clock(freeze=False), FakeAuth(strict=False) as auth:
            step = BodyTokenFetcher("app_token", "https://auth.example.com", "/token")
            pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
            auth.serve(pipeline)
            auth.chaos(rate=0.5, seed=1)
            tokens = 0
            for _ in range(40):
                try:
                    tokens += bool(pipeline.execute(force_refresh=True))
                except AuthenticationException:
                    continue
            assert 10 < tokens < 30


class TestOtherServers:
    def test_a_wsgi_server_sends_what_it_can(self) -> None:
        """Pauses are kept and answers are broken off, which is all that WSGI knows of."""
        auth = FakeAuth()
        app = auth.token("app_token", "POST /token")
        app.slow(0.01)
        app.truncate()
        app.fail()
        client = Client(auth.app)
        assert json.loads(client.post("/token").data)["token_type"] == "Bearer"
        with pytest.raises(ConnectionAbortedError):
            _ = client.post("/token").data
        assert client.post("/token").status_code == 503


def test_a_client_that_leaves_ends_the_wait_of_the_server() -> None:
    """Its connection is closed at once, and the server goes on."""
    with FakeAuth(transport="loopback") as auth:
        app = auth.token("app_token", "POST /token")
        app.slow(30)
        host, port = auth.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as line:
            line.sendall(b"POST /token HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
            line.shutdown(socket.SHUT_WR)
            assert line.recv(1) == b""
        assert post(app.url).status_code == 200


def struck(seed: int | None) -> list[str | None]:
    """The faults that 200 requests meet, in order."""
    with FakeAuth(seed=3, strict=False) as auth:
        app = auth.token("app_token", "POST /token")
        auth.chaos(rate=0.1, seed=seed)
        for _ in range(200):
            outcome_of(lambda: post(app.url))
        return [entry.fault for entry in auth.journal]


def failure_of_block(severity: str, *, rest: str = "") -> list[str]:
    """What a block prints that leaves faults, in a process without pytest."""
    code = f"""
import requests, warnings
from pytest_requestforge import FakeAuth
try:
    with warnings.catch_warnings(record=True) as caught:
        with FakeAuth(unused_faults={severity!r}) as auth:
            app = auth.token("app_token", "POST /token")
            app.fail().times(2)
            app.reset()
            requests.post(app.url)
            {rest}
except (AssertionError, ZeroDivisionError) as error:
    print(type(error).__name__, error, sep="\\n")
print(*(each.message for each in caught), sep="\\n")
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.rstrip().splitlines()
