"""What was sent, what leaked, how long a token lasts, and whether it was fetched once."""

import base64
import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import requests

import pytest_requestforge
from doubles import CountingStep
from pytest_requestforge import Clock, FakeAuth, Recorder
from pytest_requestforge.fake_auth import TokenEndpoint
from requestforge import BodyTokenFetcher, InMemoryTokenStorage, StepToken, TokenFetchPipeline

URL = "https://auth.example.com"
CANARY = "canary-s3cret/of the app"


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock for the library alone."""
    with Clock(freeze=False) as clock:
        yield clock


@pytest.fixture
def auth(clock: Clock) -> Iterator[FakeAuth]:  # noqa: ARG001 - before the server
    """A fake auth server."""
    with FakeAuth(URL, seed=7) as auth:
        yield auth


@pytest.fixture
def app(auth: FakeAuth) -> TokenEndpoint:
    """An endpoint that expects a secret."""
    return auth.token("app", "POST /app", expires_in=3600, body={"client_secret": CANARY})


@pytest.fixture
def pipeline(auth: FakeAuth) -> TokenFetchPipeline:
    """An app token, and a user token that is bought with it."""
    app = BodyTokenFetcher("app", URL, "/app", request_data={"client_secret": CANARY})
    user = BodyTokenFetcher(
        "user", URL, "/user", request_headers={"X-App": StepToken("app")}, ttl=timedelta(minutes=5)
    )
    pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage())
    auth.serve(pipeline)
    return pipeline


def post(endpoint: TokenEndpoint, **headers: str) -> str:
    """The token of one request."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    data = {"client_secret": CANARY}
    answer = requests.post(endpoint.url, data=data, headers=sent, timeout=5)
    return str(answer.json().get("access_token"))


def failure_of(call: object, *args: object, **how: object) -> list[str]:
    """The lines of the AssertionError that a call raises."""
    assert callable(call)
    with pytest.raises(AssertionError) as caught:
        call(*args, **how)
    assert CANARY not in str(caught.value)
    return str(caught.value).splitlines()


class TestHeaderSent:
    def test_a_value_is_given_as_it_was_or_as_a_label(
        self, auth: FakeAuth, pipeline: TokenFetchPipeline
    ) -> None:
        """Names go in any case; one request among several is enough."""
        token = auth.endpoints["user"]
        pipeline.execute()
        requests.post(token.url, headers={"Authorization": f"Bearer {CANARY}"}, timeout=5)
        auth.assert_header_sent("user", "x-app", "app#1")
        auth.assert_header_sent("user", "Authorization", f"Bearer {CANARY}")
        auth.assert_header_sent("user", "User-Agent", requests.utils.default_user_agent())

    def test_a_resource_is_named_by_its_request(self, auth: FakeAuth, app: TokenEndpoint) -> None:
        """As in the journal."""
        me = auth.resource("GET https://api.example.com/me", needs=app)
        token = post(app)
        requests.get(me.url, headers={"Authorization": f"Bearer {token}"}, timeout=5)
        auth.assert_header_sent("GET /me", "Authorization", f"Bearer {token}")
        auth.assert_header_sent("GET /me", "Authorization", "Bearer app#1")

    def test_a_failure_says_what_was_sent(self, auth: FakeAuth, app: TokenEndpoint) -> None:
        """Without secrets, each value once."""
        post(app, X_Tenant="a")
        post(app, X_Tenant="a", X_Key=CANARY)
        text = failure_of(auth.assert_header_sent, "app", "X-Tenant", "b", info="INFO")
        assert text[:2] == [
            "header X-Tenant was not sent to app as expected: it held a, expected b",
            "  INFO",
        ]
        text = failure_of(auth.assert_header_sent, "app", "X-Secret", CANARY)
        assert text[0] == (
            "header X-Secret was not sent to app as expected: 2 requests came without it, "
            "expected ***"
        )
        text = failure_of(auth.assert_header_sent, "app", "X-Key", "another")
        assert "it held ***, expected another" in text[0]

    def test_an_endpoint_without_requests_is_told_of(self, auth: FakeAuth) -> None:
        """Nothing can have been sent."""
        text = failure_of(auth.assert_header_sent, "app", "X-Tenant", "b")
        assert text[0].endswith("to app as expected: no request came, expected b")

    def test_it_is_a_function_as_well(self, auth: FakeAuth, app: TokenEndpoint) -> None:
        """Which takes the server first."""
        post(app, X_Tenant="a")
        pytest_requestforge.assert_header_sent(auth, "app", "X-Tenant", "a")


class TestNoSecrets:
    def test_harmless_texts_pass(self, auth: FakeAuth, app: TokenEndpoint) -> None:
        """Labels and masks are no secrets."""
        post(app)
        auth.assert_no_secrets("app#1", auth.timeline(), auth.journal[0], ValueError("***"))

    @pytest.mark.parametrize(
        ("form", "name"),
        [
            pytest.param("{token}", "app#1", id="token"),
            pytest.param("{secret}", "client_secret of app", id="secret"),
            pytest.param(
                "a=1&client_secret=canary-s3cret%2Fof+the+app", "client_secret of app", id="form"
            ),
            pytest.param("canary-s3cret%2Fof%20the%20app", "client_secret of app", id="URL"),
        ],
    )
    def test_a_secret_is_found_in_any_form(
        self, auth: FakeAuth, app: TokenEndpoint, form: str, name: str
    ) -> None:
        """The failure says what it is, where it is, and what happened before."""
        text = "begin " + form.format(token=post(app), secret=CANARY) + " end"
        lines = failure_of(auth.assert_no_secrets, "harmless", text, info="INFO")
        assert lines[:2] == [f"secrets show up: {name}", "  INFO"]
        assert re.fullmatch(rf"  text 2: .*\[{re.escape(name)}\] end", lines[2])
        assert lines[3].startswith("  timeline (virtual time")

    def test_a_long_text_is_shown_in_part(self, auth: FakeAuth, app: TokenEndpoint) -> None:
        """Just around the secret."""
        lines = failure_of(auth.assert_no_secrets, "x" * 500 + post(app) + "y" * 500)
        assert lines[1] == f"  text 1: ...{'x' * 40}[app#1]{'y' * 40}..."

    def test_an_exception_is_read_with_its_causes_and_notes(
        self, auth: FakeAuth, app: TokenEndpoint
    ) -> None:
        """Whichever of them tells."""
        token = post(app)
        error = ValueError("harmless")
        error.__cause__ = KeyError("cause")
        error.__cause__.__context__ = error
        auth.assert_no_secrets(error)
        error.__cause__.add_note(token)
        assert "app#1" in failure_of(auth.assert_no_secrets, error)[0]

    def test_what_was_accepted_is_a_secret(self, auth: FakeAuth) -> None:
        """Fields and headers whose names say so, at any depth, of the client that sent them."""
        token = auth.token("app", "POST /app")
        basic = base64.b64encode(b"the-app:pass%2Fword").decode()
        requests.post(
            token.url,
            json={"client_id": "shop", "deep": [{"password": "p4ssw0rd"}], "pin": "123"},
            headers={"Authorization": f"Basic {basic}", "X-Api-Key": "k3y-of-the-api"},
            timeout=5,
        )
        named = {
            "p4ssw0rd": "password of client shop",
            "k3y-of-the-api": "X-Api-Key of client shop",
            basic: "Authorization of client shop",
            "pass/word": "password of client the-app",
        }
        for text, name in named.items():
            assert failure_of(auth.assert_no_secrets, text)[0] == f"secrets show up: {name}"
        auth.assert_no_secrets("123")

    def test_what_was_refused_is_none(self, auth: FakeAuth) -> None:
        """A guess is not known to be one; nor is a Basic that is no base64."""
        token = auth.token("app", "POST /app", body={"a": "1"})
        requests.post(token.url, data={"password": "guessed-it"}, timeout=5)
        other = auth.token("other", "POST /other")
        headers = {"Authorization": "Basic n/o/n/e!"}
        requests.post(other.url, data=b"x", headers=headers, timeout=5)
        requests.post(other.url, headers=headers, timeout=5)
        auth.assert_no_secrets("guessed-it")
        assert "Authorization of other" in failure_of(auth.assert_no_secrets, "n/o/n/e!")[0]

    def test_log_records_are_texts(self, auth: FakeAuth, app: TokenEndpoint) -> None:
        """By the message that they hold."""
        record = logging.LogRecord("x", 10, "f", 1, "sent %s", (post(app),), None)
        assert "app#1" in failure_of(auth.assert_no_secrets, record.getMessage())[0]

    def test_nothing_to_look_at_is_an_error(self, auth: FakeAuth) -> None:
        """It could never fail."""
        with pytest.raises(TypeError, match="Give at least one text"):
            auth.assert_no_secrets()

    def test_it_is_a_function_as_well(self, auth: FakeAuth) -> None:
        """Which takes the server first."""
        pytest_requestforge.assert_no_secrets(auth, "harmless")


class TestExpiresIn:
    @pytest.fixture(params=["auth", "recorder"])
    def witness(self, request: pytest.FixtureRequest, auth: FakeAuth) -> Iterator[object]:
        """Each of those who can be asked."""
        with Recorder() as recorder:
            yield {"auth": auth, "recorder": recorder}[request.param]

    def test_it_is_the_end_of_use(
        self, witness: FakeAuth | Recorder, pipeline: TokenFetchPipeline, clock: Clock
    ) -> None:
        """The ttl, or the server's expiry less the margin; from now on."""
        pipeline.execute()
        witness.assert_expires_in("user", 300)
        witness.assert_expires_in("app", 3570)
        clock.advance(10)
        witness.assert_expires_in("user", timedelta(seconds=290.4))
        pytest_requestforge.assert_expires_in(witness, "user", 290)

    def test_a_failure_shows_all_ends(
        self, witness: FakeAuth | Recorder, pipeline: TokenFetchPipeline
    ) -> None:
        """Expected and found."""
        pipeline.execute()
        lines = failure_of(witness.assert_expires_in, "user", 301, info="INFO")
        assert lines[:4] == [
            "user should be used for 301 s more, but its use ends in 300 s",
            "  INFO",
            "  step    expected  use ends in  fetched  cache hits   last token",
            lines[3],
        ]
        assert re.match(r"  app +- +3570 +1 +0   app#1 ", lines[3])

    def test_a_step_without_a_token_has_no_end(
        self, witness: FakeAuth | Recorder, pipeline: TokenFetchPipeline
    ) -> None:
        """Neither before it is fetched nor once it was invalidated."""
        said = "user should be used for 300 s more, but the library has no token of it"
        assert failure_of(witness.assert_expires_in, "user", 300)[0] == said
        pipeline.execute()
        pipeline.invalidate_step("user")
        assert failure_of(witness.assert_expires_in, "user", 300)[0] == said

    def test_a_token_without_an_end_is_told_of(self, witness: FakeAuth | Recorder) -> None:
        """It is used until it is invalidated."""
        TokenFetchPipeline([CountingStep("app")], InMemoryTokenStorage()).execute()
        lines = failure_of(witness.assert_expires_in, "app", 300)
        assert lines[0] == "app should be used for 300 s more, but its use has no end"


class TestSingleFlight:
    def test_what_called_for_a_new_token_is_no_flight(
        self, auth: FakeAuth, pipeline: TokenFetchPipeline, clock: Clock
    ) -> None:
        """Expiry, invalidation, and a forced run are reasons to fetch."""
        pipeline.execute()
        clock.advance(minutes=5)
        pipeline.execute()
        pipeline.invalidate_step("app")
        pipeline.execute()
        pipeline.execute(force_refresh=True)
        auth.assert_fetch_counts(app=3, user=4)
        auth.assert_single_flight()
        pytest_requestforge.assert_single_flight(auth.recorder)

    def test_clients_of_other_makes_are_judged_by_the_journal(
        self, auth: FakeAuth, app: TokenEndpoint, clock: Clock
    ) -> None:
        """A client may replace a token before its end, or when it was refused."""
        me = auth.resource("GET /me", needs=app)
        token = post(app)
        app.revoke()
        requests.get(me.url, headers={"Authorization": f"Bearer {token}"}, timeout=5)
        post(app)
        clock.advance(3580)
        post(app)
        auth.assert_single_flight()
        post(app)
        lines = failure_of(auth.assert_single_flight, info="INFO")
        assert lines[:2] == [
            "tokens were not fetched in single flight: app fetched 4 times, 1 of them needless",
            "  INFO",
        ]
        assert "<-- extra: app#3 had 3600 s to live" in "\n".join(lines)

    def test_tokens_without_end_are_fetched_once(self, auth: FakeAuth) -> None:
        """Nothing calls for another one."""
        endpoint = auth.token("forever", "POST /forever")
        post(endpoint)
        auth.assert_single_flight()
        post(endpoint)
        assert "forever fetched 2 times, 1 of them" in failure_of(auth.assert_single_flight)[0]

    def test_tenants_are_judged_apart(self, auth: FakeAuth) -> None:
        """They differ in what they send."""
        endpoint = auth.token("app", "POST /app", expires_in=60)
        for tenant in ("a", "b"):
            requests.post(endpoint.url, data={"tenant": tenant}, timeout=5)
        auth.assert_single_flight()

    def test_failures_are_no_flights(self, auth: FakeAuth, app: TokenEndpoint) -> None:
        """A fetch that gave no token may be tried again."""
        app.fail()
        app.truncate()
        post(app)
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            post(app)
        post(app)
        auth.assert_single_flight()
        app.slow(0.001)
        post(app)
        assert "app fetched 4 times, 1 of them" in failure_of(auth.assert_single_flight)[0]

    def test_threads_that_share_a_flight_pass(
        self, auth: FakeAuth, pipeline: TokenFetchPipeline
    ) -> None:
        """As the library's do."""
        with ThreadPoolExecutor(8) as pool, auth.endpoints["app"].hold(n=8) as held:
            runs = [pool.submit(pipeline.execute) for _ in range(8)]
            held.wait_for(1)
            held.release()
            assert len({run.result().access_token for run in runs}) == 1
        auth.assert_single_flight()
