"""What a definition refuses: values that no server could send, or no clock could reach."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import requests

from pytest_requestforge import Clock, FakeAuth
from pytest_requestforge.fake_auth import TokenEndpoint
from requestforge import BodyTokenFetcher, InMemoryTokenStorage, TokenFetchPipeline

INFINITE = float("inf")
NO_NUMBER = float("nan")


@pytest.mark.parametrize(
    ("define", "said"),
    [
        pytest.param(
            lambda auth: auth.token("app", "POST /app", expires_in=INFINITE),
            "expires_in is a number of seconds that a date can be away, not inf",
            id="infinite lifetime",
        ),
        pytest.param(
            lambda auth: auth.token("app", "POST /app", expires_in=NO_NUMBER),
            "expires_in is a number of seconds that a date can be away, not nan",
            id="lifetime nan",
        ),
        pytest.param(
            lambda auth: auth.token("app", "POST /app", expires_in=1e12),
            "expires_in is a million days at most",
            id="lifetime beyond all dates",
        ),
        pytest.param(
            lambda auth: auth.oauth2(refresh_expires_in=1e20),
            "expires_in is a number of seconds that a date can be away",
            id="lifetime of a provider",
        ),
        pytest.param(
            lambda auth: auth.token("app", "POST /app", in_header="X-App:\r\n"),
            "A header has a name such as X-App-Token, not 'X-App:",
            id="response header",
        ),
        pytest.param(
            lambda auth: auth.token("app", "POST /app", requires={"": "x"}),
            "A header has a name such as X-App-Token, not ''",
            id="request header",
        ),
        pytest.param(
            lambda auth: auth.resource(
                "GET /me", requires={"X App": auth.token("app", "POST /app")}
            ),
            "A header has a name such as X-App-Token, not 'X App'",
            id="header of a token",
        ),
        pytest.param(
            lambda auth: auth.resource("GET /me", status=99),
            r"resource\(\) answers with a status from 200 to 599, not 99",
            id="status",
        ),
        pytest.param(
            lambda auth: auth.resource("GET /me", status="200"),
            r"resource\(\) answers with a status from 200 to 599, not '200'",
            id="status as a text",
        ),
    ],
)
def test_what_cannot_be_served_is_refused(define: Callable[[FakeAuth], object], said: str) -> None:
    """When it is defined, and not at the first request; the error says what is right."""
    with pytest.raises(ValueError, match=said):
        define(FakeAuth())


@pytest.mark.parametrize(
    ("define", "said"),
    [
        pytest.param(
            lambda auth: auth.resource("GET /me", json=NO_NUMBER), "JSON compliant", id="json"
        ),
        pytest.param(
            lambda auth: auth.oauth2(scopes="read write"),
            r"scopes is a list such as \['read', 'write'\], not 'read write'",
            id="scopes",
        ),
    ],
)
def test_what_is_of_another_type_is_refused(
    define: Callable[[FakeAuth], object], said: str
) -> None:
    """A number that JSON does not have, and a text whose letters would be scopes."""
    with pytest.raises(TypeError, match=said):
        define(FakeAuth())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        pytest.param(lambda app: app.slow(NO_NUMBER), "seconds is a finite number", id="slow"),
        pytest.param(
            lambda app: app.drip(bytes_per_second=INFINITE), "is a finite number", id="drip"
        ),
        pytest.param(
            lambda app: app.fail(retry_after=INFINITE), "is a finite number", id="retry_after"
        ),
        pytest.param(lambda app: app.fail(503.0), "from 400 to 599, not 503.0", id="fail"),
        pytest.param(
            lambda app: app.fail(401, error='a"\r\nb'), "error is a code such as", id="error"
        ),
        pytest.param(
            lambda app: app.html(99), r"html\(\) answers with a status from 200 to 599", id="html"
        ),
        pytest.param(
            lambda app: app.empty(700), r"empty\(\) answers with a status from 200", id="empty"
        ),
        pytest.param(
            lambda app: app.redirect(status=200), "a status from 300 to 399", id="redirect"
        ),
        pytest.param(
            lambda app: app.redirect("https://a.test/\r\nX: y"), "leads to a URL", id="lines"
        ),
        pytest.param(lambda app: app.redirect("https://a.test/☃"), "leads to a URL", id="snow"),
        pytest.param(
            lambda app: app.echo_secrets(status=200), "a status from 400 to 599", id="echo"
        ),
        pytest.param(lambda app: app.reset().times(1.5), "1 or more times, not 1.5", id="times"),
    ],
)
def test_a_fault_that_cannot_be_sent_is_refused(
    call: Callable[[TokenEndpoint], object], said: str
) -> None:
    """When it is called for, and not where it strikes."""
    app = FakeAuth().token("app", "POST /app")
    with pytest.raises(ValueError, match=said):
        call(app)


def test_a_pause_can_be_a_timedelta() -> None:
    """Wherever a number of seconds is taken."""
    app = FakeAuth().token("app", "POST /app")
    assert repr(app.slow(timedelta(seconds=2))) == "<Fault slow(2) never used>"


def test_a_ttl_without_an_end_is_served() -> None:
    """The token of a step that is to last for ever ends as late as a date can be."""
    step = BodyTokenFetcher(
        name="app", base_url="https://auth.example.com", endpoint="/app", ttl=timedelta.max
    )
    with Clock(freeze=False), FakeAuth("https://auth.example.com") as auth:
        auth.serve(TokenFetchPipeline([step], InMemoryTokenStorage(), "shop"))
        auth_answer = requests.post("https://auth.example.com/app", timeout=5)
        assert auth_answer.status_code == 200
        assert auth.journal[-1].expires_at == datetime(2030, 1, 1, tzinfo=UTC) + timedelta(10**6)


@pytest.mark.parametrize("by", [{"seconds": 1e20}, {"days": INFINITE}], ids=["far", "infinite"])
def test_a_clock_does_not_advance_beyond_all_dates(by: dict[str, float]) -> None:
    """It says so, and stays where it is."""
    clock = Clock(freeze=False)
    with pytest.raises(ValueError, match="There is no date so far from 2030-01-01 00:00:00"):
        clock.advance(**by)
    assert clock.now() == datetime(2030, 1, 1, tzinfo=UTC)
