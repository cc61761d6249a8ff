"""What the fetchers of the standard grants take, say of themselves, and make of odd answers."""

import inspect
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from granting_server import ACCESS_TOKEN, CLIENT, KEY, SECRET, CallingClock, Server

from doubles import recorded
from loopback import Loopback, json_reply, reply, shown_by
from requestforge import InMemoryTokenStorage, StepToken, StepValue, TokenFetchPipeline, oauth2
from requestforge.events import ScopeReduced
from requestforge.exceptions import AuthenticationException, InsecureTransportWarning
from requestforge.oauth2 import (
    ClientCredentialsFetcher,
    DeviceCodeFetcher,
    JwtBearerFetcher,
    PasswordFetcher,
    RefreshTokenFetcher,
    TokenExchangeFetcher,
)
from requestforge.retry import SimpleRetryStrategy
from requestforge.tokens import TokenData

URL = "https://auth.example.com/token"

COMMON = {
    "client_auth": None,
    "scope": None,
    "audience": None,
    "resource": None,
    "extra_params": None,
    "require_scopes": False,
    "ttl": None,
    "depends_on": None,
    "timeout": 30.0,
    "verify_ssl": True,
    "retry_strategy": None,
}

OWN = {
    ClientCredentialsFetcher: {},
    PasswordFetcher: {"username": "alice", "password": "canary-pw"},
    RefreshTokenFetcher: {"refresh_token": "canary-seed"},
    JwtBearerFetcher: {"assertion": "canary.a.b"},
    TokenExchangeFetcher: {"subject_step": "user", "subject_token_type": ACCESS_TOKEN},
    DeviceCodeFetcher: {"device_url": "https://auth.example.com/device", "prompt": print},
}
KINDS = pytest.mark.parametrize("kind", OWN, ids=lambda kind: kind.__name__)


def make(kind: Any, url: Any = URL, **options: Any) -> Any:  # noqa: ANN401
    """A step of that kind."""
    return kind("s", url, "app", **OWN[kind], **options)


@KINDS
def test_the_arguments_that_all_have(kind: type) -> None:
    """Name, token URL and client by position, all else by keyword, with those defaults."""
    parameters = inspect.signature(kind).parameters
    assert list(parameters)[:3] == ["name", "token_url", "client_id"]
    by_keyword = {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert len(by_keyword) == len(parameters) - 3
    assert {name: p.default for name, p in by_keyword.items() if name in COMMON} == COMMON
    assert dict.fromkeys(OWN[kind]).keys() <= by_keyword.keys() - COMMON.keys()


@KINDS
def test_a_step_describes_itself(kind: type) -> None:
    """All arguments and the URL; what is secret is masked in the text, and cannot be changed."""
    step = make(
        kind,
        scope=["read"],
        extra_params={"api_secret": "canary-extra"},
        client_auth=CLIENT,
        depends_on=("a",),
    )
    facts = step.describe()
    assert facts.keys() == {*inspect.signature(kind).parameters, "url"}
    assert (facts["url"], facts["scope"], facts["depends_on"]) == (URL, ["read"], ["a"])
    assert facts["extra_params"]["api_secret"] == "canary-extra"
    facts["extra_params"]["api_secret"] = facts["depends_on"].append("b")
    assert step.describe()["extra_params"] == {"api_secret": "canary-extra"}
    assert step.describe()["depends_on"] == ["a"]
    assert "canary" not in f"{facts!r} {step!r}"
    assert repr(step) == f"{kind.__name__}('s', '{URL}')"


def test_a_url_shows_no_userinfo() -> None:
    """Credentials in a URL are masked."""
    step = make(ClientCredentialsFetcher, "https://user:canary-pw@a.example/token?key=canary-k")
    assert "canary" not in f"{step!r} {step.describe()!r}"


@KINDS
def test_a_fetch_takes_its_attempts(kind: type) -> None:
    """`fetch_timeout` is what the lease of a lock is made of."""
    step = make(kind, timeout=10, retry_strategy=SimpleRetryStrategy(2, delay=1))
    waits = 3 * 10 + 2 * 60
    user = 1800 + 10 if kind is DeviceCodeFetcher else 0
    assert step.fetch_timeout == timedelta(seconds=waits + user)


REFUSED: dict[str, tuple[type[Exception], dict[str, Any], str]] = {
    "scope": (TypeError, {"scope": 7}, "scope of Step 's'"),
    "scopes": (TypeError, {"scope": ["read", 7]}, "scope of Step 's'"),
    "audience": (TypeError, {"audience": {"a": 1}, "resource": 7}, "resource of Step 's'"),
    "a relative resource": (ValueError, {"resource": "/api"}, "resource of Step 's'"),
    "a resource with a fragment": (ValueError, {"resource": ["https://a/#b"]}, "RFC 8707"),
    "extra_params": (TypeError, {"extra_params": ["a"]}, "extra_params of Step 's'"),
    "ttl": (ValueError, {"ttl": timedelta(-1)}, "ttl of Step 's'"),
    "timeout": (ValueError, {"timeout": 0}, "timeout of Step 's'"),
    "depends_on": (ValueError, {"depends_on": "app"}, "depends_on of Step 's'"),
}


@pytest.mark.parametrize(("error", "options", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_arguments_that_cannot_be_used(
    error: type[Exception], options: dict[str, Any], text: str
) -> None:
    """The error names the step and the argument."""
    with pytest.raises(error, match=text):
        make(ClientCredentialsFetcher, **options)


@KINDS
@pytest.mark.parametrize("url", ["", "/token", "ftp://a.example", "https://a b/"])
def test_the_token_url_is_checked(kind: type, url: str) -> None:
    """It is an absolute http or https URL."""
    with pytest.raises(ValueError, match="token_url of Step 's'"):
        make(kind, url)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"key": "k"},
        {"key": "k", "issuer": "i"},
        {"assertion": "a", "key": "k", "issuer": "i", "subject": "s"},
        {"assertion": "a", "issuer": "i"},
    ],
    ids=["nothing", "key alone", "no subject", "both", "assertion and issuer"],
)
def test_a_jwt_is_given_or_signed(given: dict[str, Any]) -> None:
    """Either an assertion, or all that one is made of."""
    with pytest.raises(ValueError, match="either an assertion, or key, issuer and subject"):
        JwtBearerFetcher("s", URL, "app", **given)


def test_an_insecure_url_is_warned_of_where_the_step_is_made() -> None:
    """The warning points at this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make(ClientCredentialsFetcher, "http://plain.example/token")
    [warning] = [each for each in caught if each.category is InsecureTransportWarning]
    # The call of `make`, which is in this file.
    assert warning.filename == __file__


@pytest.mark.parametrize("token_type", ["Bearer", "bearer", None], ids=repr)
def test_bearer_tokens_are_taken(token_type: str | None) -> None:
    """In any case, and without a word as well."""
    with Loopback(json_reply({"access_token": "t", "token_type": token_type})) as loopback:
        token = make(ClientCredentialsFetcher, loopback.url).fetch()
    assert token.authorization_header.lower() == "bearer t"


@pytest.mark.parametrize("token_type", ["DPoP", "mac", "N_A", ""], ids=repr)
def test_other_tokens_are_refused(token_type: str) -> None:
    """Whoever sent them as Bearer tokens would be refused, or worse."""
    with Loopback(json_reply({"access_token": "canary-t", "token_type": token_type})) as loopback:
        step = make(ClientCredentialsFetcher, loopback.url)
        with pytest.raises(AuthenticationException, match="another type than Bearer") as caught:
            step.fetch()
    assert caught.value.service_name == "s"
    assert "canary" not in shown_by(caught.value)


@pytest.mark.parametrize(
    ("granted", "missing"),
    [
        pytest.param("read", ("write", "admin"), id="fewer"),
        pytest.param("", ("read", "write", "admin"), id="none"),
        pytest.param("admin write read more", (), id="more"),
        pytest.param(None, (), id="not told"),
    ],
)
def test_a_reduced_scope_is_an_event(granted: str | None, missing: tuple[str, ...]) -> None:
    """What was asked for and not granted is told of; nothing said means all of it."""
    with Loopback(json_reply({"access_token": "t", "scope": granted})) as loopback:
        step = make(ClientCredentialsFetcher, loopback.url, scope="read write admin write")
        step.fetch()
        with recorded() as events:
            step.fetch()
        told = [(e.step, e.missing) for e in events if isinstance(e, ScopeReduced)]
        assert told == ([("s", missing)] if missing else [])
        strict = make(
            ClientCredentialsFetcher, loopback.url, scope="read write admin", require_scopes=True
        )
        if not missing:
            strict.fetch()
            return
        with pytest.raises(AuthenticationException, match=" ".join(missing)) as caught:
            strict.fetch()
    assert caught.value.service_name == "s"


ANSWERS: dict[str, Callable[[], Any]] = {
    "no JSON": lambda: reply(body=b"canary"),
    "no token": lambda: json_reply({"token_type": "Bearer"}),
    "a refused field": lambda: json_reply({"access_token": "canary\n"}),
    "a redirect": lambda: reply(307, Location="https://evil.example/canary"),
    "an error with the request in it": lambda: json_reply({"error": SECRET}, 400),
    "an error in capitals": lambda: json_reply({"error": "INVALID_GRANT"}, 400),
    "no error": lambda: reply(500, b"canary"),
    "a list": lambda: json_reply(["canary"], 400),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_odd_answers(answer: Callable[[], Any]) -> None:
    """Each is an AuthenticationException with the step's name, and nothing of the answer."""
    with Loopback(answer()) as loopback, pytest.raises(AuthenticationException) as caught:
        make(ClientCredentialsFetcher, loopback.url, client_auth=CLIENT).fetch()
    assert caught.value.service_name == "s"
    assert "canary" not in shown_by(caught.value)


def test_an_error_code_is_data(server: Server) -> None:
    """The error of the answer has it, apart from its text."""
    with pytest.raises(AuthenticationException) as caught:
        make(ClientCredentialsFetcher, server.url, client_auth=CLIENT, scope="admin").fetch()
    cause: Any = caught.value.original_exception
    assert cause.context == {"error": "invalid_scope"}


def test_references_stand_for_tokens_and_values(server: Server) -> None:
    """An earlier token, and values of a tenant, in the fields and in the token URL."""
    first = ClientCredentialsFetcher("first", server.url, "app", client_auth=CLIENT)
    second = PasswordFetcher(
        *("second", StepValue("token_url"), "app"),
        username=StepValue("username"),
        password=StepValue("password"),
        client_auth=CLIENT,
        extra_params={"hint": StepToken("first")},
    )
    pipeline = TokenFetchPipeline([first, second], InMemoryTokenStorage())
    view = pipeline.for_tenant("acme", username="alice", password="canary-no", token_url=server.url)
    assert second.depends_on == ["first"]
    with pytest.raises(AuthenticationException, match="invalid_grant") as caught:
        view.execute()
    assert "canary-no" not in shown_by(caught.value)
    assert server.last["username"] == "alice"


@pytest.mark.parametrize("url", ["nowhere", "http://a b/"], ids=["relative", "blank"])
def test_a_tenants_url_is_checked(url: str) -> None:
    """One that is none is a failure of the step."""
    step = make(ClientCredentialsFetcher, StepValue("token_url"))
    view = TokenFetchPipeline([step], InMemoryTokenStorage()).for_tenant("acme", token_url=url)
    with pytest.raises(AuthenticationException) as caught:
        view.execute()
    assert caught.value.service_name == "s"


def test_a_key_is_no_part_of_a_description() -> None:
    """The text of a step that signs shows neither key nor assertion."""
    step = JwtBearerFetcher(
        *("s", URL, "app"), key=KEY.as_dict(private=True), issuer="i", subject="s"
    )
    assert KEY.as_dict(private=True)["d"] not in f"{step.describe()!r} {step!r}"


def test_a_ttl_bounds_the_life(clock: CallingClock) -> None:
    """As for every step, the earlier of ttl and server's lifetime holds."""
    with Loopback(json_reply({"access_token": "t", "expires_in": 3600})) as loopback:
        token = make(ClientCredentialsFetcher, loopback.url, ttl=timedelta(seconds=60)).fetch()
    assert token.expires_at == clock.now() + timedelta(seconds=60)


def test_the_module_exports_what_its_docs_name() -> None:
    """Six fetchers and four ways to authenticate."""
    assert sorted(oauth2.__all__) == oauth2.__all__
    assert len(oauth2.__all__) == 10
    assert all(hasattr(oauth2, name) for name in oauth2.__all__)


def test_a_fetch_without_an_observer_tells_nobody() -> None:
    """A token is a token."""
    with Loopback(json_reply({"access_token": "t", "scope": ""})) as loopback:
        step = make(ClientCredentialsFetcher, loopback.url, scope="read")
        assert step.fetch({"user": TokenData("u")}).access_token == "t"
