"""StepValue: where a tenant's values go, and where they do not."""

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
from tenancy import UserStep, text

from canary import assert_clean, overheard
from doubles import CountingStep
from loopback import Loopback, Received, json_reply
from requestforge import (
    BodyTokenFetcher,
    HeaderTokenFetcher,
    InMemoryTokenStorage,
    StepToken,
    StepValue,
    TokenData,
    TokenFetchPipeline,
)
from requestforge.exceptions import AuthenticationException, DependencyException
from requestforge.models import HttpMethod

PASSWORD = "canary-password-of-bob"


@pytest.fixture
def server() -> Any:  # noqa: ANN401
    """A token endpoint that says yes to everything."""
    with Loopback(json_reply({"access_token": "t", "expires_in": 60})) as server:
        yield server


def pipeline_of(*steps: BodyTokenFetcher | HeaderTokenFetcher) -> TokenFetchPipeline:
    """A pipeline of those steps."""
    return TokenFetchPipeline(steps, InMemoryTokenStorage(), "app")


@pytest.mark.parametrize("content_type", ["form", "json"])
def test_values_arrive_in_headers_and_data(server: Loopback, content_type: str) -> None:
    """The server sees the values of the tenant that the token is for."""
    step = BodyTokenFetcher(
        "login",
        server.url,
        "/token",
        request_headers={"X-Realm": StepValue("realm", "realm {}")},
        request_data={"username": StepValue("username"), "password": StepValue("password")},
        content_type=content_type,
    )
    pipeline = pipeline_of(step)
    for user in ("bob", "eve"):
        pipeline.for_tenant(user, username=user, password=f"of {user}", realm="r").execute()
    sent = [each.json if content_type == "json" else each.form for each in server.requests]
    assert sent == [
        {"username": "bob", "password": "of bob"},
        {"username": "eve", "password": "of eve"},
    ]
    assert {each.headers["x-realm"] for each in server.requests} == {"realm r"}


def test_values_arrive_at_any_depth_and_beside_tokens(server: Loopback) -> None:
    """Mappings, lists and tuples are filled, and a token of the same tenant beside a value."""
    app = BodyTokenFetcher("app", server.url, "/app")
    user = BodyTokenFetcher(
        "user",
        server.url,
        "/user",
        request_data={"a": [{"b": (StepValue("username"), StepToken("app", "<{}>"))}]},
        content_type="json",
    )
    pipeline_of(app, user).for_tenant("acme", username="bob").execute()
    assert server.requests[1].json == {"a": [{"b": ["bob", "<t>"]}]}


def test_the_data_of_a_get_take_values(server: Loopback) -> None:
    """They are encoded as a query."""
    step = HeaderTokenFetcher(
        "device",
        server.url,
        "/register",
        method=HttpMethod.GET,
        request_data={"device": StepValue("device")},
    )
    with pytest.raises(AuthenticationException, match="no header 'Authorization'"):
        pipeline_of(step).for_tenant("acme", device="a&b=c").execute()
    assert server.requests[0].query == {"device": "a&b=c"}


def test_overrides_get_the_values_without_a_context(server: Loopback) -> None:
    """A method of 1.0.0's signature fills in values as it does tokens."""

    class Signed(BodyTokenFetcher):
        def _build_request_headers(self, context: dict[str, TokenData] | None) -> dict[str, str]:
            assert context is None
            return super()._build_request_headers(None) | {"X-Signature": "signed"}

    step = Signed("login", server.url, "/t", request_headers={"X-User": StepValue("username")})
    pipeline_of(step).for_tenant("acme", username="bob").execute()
    headers = server.requests[0].headers
    assert (headers["x-user"], headers["x-signature"]) == ("bob", "signed")


def test_a_header_value_that_cannot_be_sent_is_not_sent(server: Loopback) -> None:
    """A control character in a value never reaches a header, nor the error."""
    step = BodyTokenFetcher(
        "login", server.url, "/t", request_headers={"X-User": StepValue("username")}
    )
    view = pipeline_of(step).for_tenant("acme", username="canary-x\r\nX-Admin: yes")
    with pytest.raises(AuthenticationException, match="control character") as caught:
        view.execute()
    assert server.requests == []
    assert_clean(caught.value)


def test_errors_do_not_show_values(server: Loopback) -> None:
    """Not if the server repeats them, in no event and no log line; a URL's part is in urllib3's."""

    def refuse(received: Received) -> bytes:
        told = f"{received.path} {received.form}"
        return json_reply({"error": "invalid_grant", "error_description": told}, 400)

    server.answer = refuse
    step = BodyTokenFetcher(
        "login",
        server.url,
        StepValue("realm", "/realms/{}/token"),
        request_data={"username": StepValue("username"), "pin": StepValue("pin")},
    )
    pipeline = pipeline_of(step)
    values = {"username": "canary-bob", "pin": "canary-1"}
    with overheard() as heard, pytest.raises(AuthenticationException, match="400") as caught:
        pipeline.for_tenant("acme", realm="public", **values).execute()
    heard.assert_clean()
    assert_clean(caught.value)
    view = pipeline.for_tenant("acme", realm="a-private-realm", **values)
    with pytest.raises(AuthenticationException, match="400") as caught:
        view.execute()
    assert "a-private-realm" not in f"{caught.value} {view!r} {step.describe()!r}"


def test_errors_of_steps_of_ones_own_do_not_show_values() -> None:
    """What a fetch raises is masked by what it was given."""
    step = CountingStep("login")

    def fail() -> None:
        raise RuntimeError(
            f"Refused: {StepValue('password').filled()}, {StepValue('pin').filled()}"
        )

    step.during = fail
    view = TokenFetchPipeline([step], InMemoryTokenStorage()).for_tenant(
        "acme", password=PASSWORD, pin="canary-1"
    )
    with overheard() as heard, pytest.raises(AuthenticationException, match="Refused") as caught:
        view.execute()
    heard.assert_clean()
    assert_clean(caught.value)


def test_a_description_names_values_where_they_go() -> None:
    """It holds the references, and a URL with the names in their places."""
    realm, region = StepValue("realm", "/realms/{}"), StepValue("region", "https://{}.example.com")
    facts = BodyTokenFetcher("login", region, realm).describe()
    assert facts["base_url"] == region
    assert facts["endpoint"] == realm
    assert facts["url"] == "https://{region}.example.com/realms/{realm}"
    assert "StepValue(name='realm'" in repr(facts)


def others_thread(call: Callable[[], object]) -> list[object]:
    """What a new thread gets from the call, or raises."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(call())
        except DependencyException as error:
            found.append(type(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    return found


def test_values_stay_within_the_fetch_and_its_thread() -> None:
    """Another thread has them only if the fetch hands its context on, and nobody has them later."""
    user = StepValue("username")
    seen: list[object] = []
    step = CountingStep("login")

    def look() -> None:
        seen.append(user.filled())
        seen.extend(others_thread(user.filled))
        context = copy_context()
        seen.extend(others_thread(lambda: context.run(user.filled)))

    step.during = look
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    pipeline.for_tenant("acme", username="bob").execute()
    assert seen == ["bob", DependencyException, "bob"]
    with pytest.raises(DependencyException, match="A step needs the value 'username'"):
        user.filled()


@pytest.mark.parametrize("failure", [None, RuntimeError()], ids=["ends", "fails"])
def test_a_fetch_within_a_fetch_has_values_of_its_own(failure: Exception | None) -> None:
    """Those of its own tenant, none without a tenant, and the outer ones are back afterwards."""
    user, seen = StepValue("username"), list[object]()
    inner, outer = UserStep("inner"), CountingStep("outer")
    inner.failure = failure
    within = TokenFetchPipeline([inner], InMemoryTokenStorage(), "within")

    def nest() -> None:
        for pipeline in (within.for_tenant("t", username="eve"), within):
            try:
                seen.append(text(pipeline))
            except AuthenticationException as error:
                seen.append(type(error))
            seen.append(user.filled())

    outer.during = nest
    TokenFetchPipeline([outer], InMemoryTokenStorage()).for_tenant("t", username="bob").execute()
    first = "inner-eve-1" if failure is None else AuthenticationException
    assert seen == [first, "bob", DependencyException, "bob"]


def test_a_value_that_the_tenant_lacks_is_told() -> None:
    """A step of one's own is not asked beforehand for the values that it needs."""
    pipeline = TokenFetchPipeline([UserStep("login")], InMemoryTokenStorage())
    with pytest.raises(DependencyException, match="a tenant without it") as caught:
        pipeline.for_tenant("acme", user="bob").execute()
    assert caught.value.service_name == "login"


def test_values_can_be_given_without_a_pipeline(server: Loopback) -> None:
    """For a fetcher alone, as in a test of it."""
    step = BodyTokenFetcher(
        "login", server.url, "/t", request_data={"username": StepValue("username")}
    )
    with StepValue.given(username="bob"):
        step.fetch()
    assert server.requests[0].form == {"username": "bob"}
    with pytest.raises(DependencyException, match="'login' needs the value 'username'"):
        step.fetch()


@pytest.mark.parametrize(
    ("name", "form", "error", "says"),
    [
        ("", "{}", ValueError, "A StepValue needs a name"),
        ("user", "", ValueError, "where the value goes"),
        ("user", "{}{}", ValueError, "once"),
        ("user", "{0}", ValueError, "once"),
        (None, "{}", TypeError, "name of a StepValue"),
        ("user", None, TypeError, "format of a StepValue"),
    ],
    ids=["no name", "no place", "two places", "other braces", "name", "format"],
)
def test_a_reference_is_checked(
    name: object, form: object, error: type[Exception], says: str
) -> None:
    """A format has one place for the value, as that of a StepToken has for its token."""
    with pytest.raises(error, match=says):
        StepValue(name, form)  # type: ignore[arg-type]


def test_a_form_cannot_hold_a_reference_that_was_not_filled() -> None:
    """An override that gives references as they are is told so."""

    class Raw(BodyTokenFetcher):
        def _build_request_data(self, context: dict[str, TokenData] | None) -> dict[str, Any]:
            del context
            return {"username": StepValue("username")}

    with pytest.raises(AuthenticationException, match="StepValue, which a form"):
        Raw("login", "http://127.0.0.1:9", "/t").fetch()
