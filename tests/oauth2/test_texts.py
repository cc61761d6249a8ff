"""The texts that make a grant: what they may be, and what becomes of empty and odd ones."""

from typing import Any

import pytest
from granting_server import ACCESS_TOKEN, KEY

from loopback import Loopback, json_reply, shown_by
from requestforge import InMemoryTokenStorage, StepToken, StepValue, TokenFetchPipeline
from requestforge.exceptions import AuthenticationException
from requestforge.oauth2 import (
    ClientCredentialsFetcher,
    ClientSecretPost,
    JwtBearerFetcher,
    PasswordFetcher,
    RefreshTokenFetcher,
    TokenExchangeFetcher,
)
from requestforge.tokens import TokenData

URL = "https://auth.example.com/token"
TOKEN = json_reply({"access_token": "t", "scope": "read"})
EXCHANGE = {"subject_step": "user", "subject_token_type": ACCESS_TOKEN}

TEXTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "username": (PasswordFetcher, {"password": "canary"}),
    "password": (PasswordFetcher, {"username": "alice"}),
    "refresh_token": (RefreshTokenFetcher, {}),
    "subject_token_type": (TokenExchangeFetcher, {"subject_step": "user"}),
    "requested_token_type": (TokenExchangeFetcher, EXCHANGE),
}


@pytest.mark.parametrize("argument", TEXTS)
@pytest.mark.parametrize(
    "wrong", ["", b"canary", 7, TokenData("canary")], ids=["empty", "bytes", "a number", "a token"]
)
def test_a_text_is_a_text(argument: str, wrong: Any) -> None:  # noqa: ANN401
    """What is empty, or no text at all, is refused at once and not shown."""
    kind, others = TEXTS[argument]
    with pytest.raises(ValueError if wrong == "" else TypeError, match=argument) as caught:
        kind("s", URL, "app", **{**others, argument: wrong})
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("argument", ["username", "password", "subject_token_type"])
def test_a_text_that_a_grant_needs_is_there(argument: str) -> None:
    """None is refused: a form would go without the field."""
    kind, others = TEXTS[argument]
    with pytest.raises(TypeError, match=argument):
        kind("s", URL, "app", **{**others, argument: None})


@pytest.mark.parametrize("assertion", [b"canary", 7], ids=["bytes", "a number"])
def test_an_assertion_is_a_text(assertion: Any) -> None:  # noqa: ANN401
    """Where it is given and not made."""
    with pytest.raises(TypeError, match="assertion of Step 's'"):
        JwtBearerFetcher("s", URL, "app", assertion=assertion)


@pytest.mark.parametrize("party", ["issuer", "subject"])
def test_the_parties_of_an_assertion_are_texts(party: str) -> None:
    """Nothing else is turned into text."""
    given: dict[str, Any] = {"issuer": "i", "subject": "s", party: 7}
    with pytest.raises(TypeError, match="issuer and subject of Step 's'"):
        JwtBearerFetcher("s", URL, "app", key=KEY, **given)


def test_an_assertion_that_is_not_unicode() -> None:
    """Half a surrogate pair in it is a failure of the step, which does not show it."""
    step = JwtBearerFetcher("s", URL, "app", key=KEY, issuer="i", subject="canary-\udc80")
    with pytest.raises(AuthenticationException, match="not Unicode") as caught:
        step.fetch()
    assert "canary" not in shown_by(caught.value)


def test_an_assertion_may_be_the_token_of_a_step() -> None:
    """The step joins `depends_on`, so that a lazy pipeline gives its token."""
    with Loopback(TOKEN) as loopback:
        first = ClientCredentialsFetcher("first", loopback.url, "app")
        step = JwtBearerFetcher("s", loopback.url, "app", assertion=StepToken("first"))
        TokenFetchPipeline([first, step], InMemoryTokenStorage(), lazy=True).execute()
    assert step.depends_on == ["first"]
    assert loopback.requests[-1].form["assertion"] == "t"


def test_an_assertion_may_be_a_value_of_the_tenant() -> None:
    """A tenant without it is refused."""
    step = JwtBearerFetcher("s", URL, "app", assertion=StepValue("assertion"))
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    with pytest.raises(ValueError, match="assertion"):
        pipeline.for_tenant("acme")


def test_a_further_parameter_replaces_the_assertion() -> None:
    """Nothing is made then."""
    with Loopback(TOKEN) as loopback:
        step = JwtBearerFetcher(
            *("s", loopback.url, "app"),
            assertion=lambda _: pytest.fail("made"),
            extra_params={"assertion": "instead"},
        )
        step.fetch()
    assert loopback.requests[0].form["assertion"] == "instead"


def test_further_parameters_replace_those_of_the_client() -> None:
    """They override the standard ones, whoever these come from."""
    with Loopback(TOKEN) as loopback:
        ClientCredentialsFetcher(
            *("s", loopback.url, "app"),
            client_auth=ClientSecretPost("canary"),
            extra_params={"client_id": "other"},
        ).fetch()
    form = loopback.requests[0].form
    assert (form["client_id"], form["client_secret"]) == ("other", "canary")


@pytest.mark.parametrize("scope", ["", [], ()], ids=["empty", "a list", "a tuple"])
def test_no_scope_is_not_sent(scope: Any) -> None:  # noqa: ANN401
    """A parameter without a value is one that is left out (RFC 6749 section 3.2)."""
    with Loopback(TOKEN) as loopback:
        ClientCredentialsFetcher("s", loopback.url, "app", scope=scope).fetch()
    assert b"scope" not in loopback.requests[0].body


def test_the_scope_of_a_tenant_is_required_too() -> None:
    """What a value of the tenant asks for is compared with what was granted."""
    with Loopback(TOKEN) as loopback:
        step = ClientCredentialsFetcher(
            "s", loopback.url, "app", scope=StepValue("level", "read {}"), require_scopes=True
        )
        pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
        assert pipeline.for_tenant("reader", level="read").execute().scope == "read"
        with pytest.raises(AuthenticationException, match="write"):
            pipeline.for_tenant("writer", level="write").execute()


def test_a_resource_is_not_taken_apart() -> None:
    """It is a URI, of which only the start is checked."""
    with Loopback(TOKEN) as loopback:
        ClientCredentialsFetcher("s", loopback.url, "app", resource="https://[a/").fetch()
    assert loopback.requests[0].form["resource"] == "https://[a/"
