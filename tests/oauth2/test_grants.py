"""The standard grants, each with a provider that enforces what they promise."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from granting_server import ACCESS_TOKEN, CLIENT, KEY, PASSWORD, CallingClock, Server

from loopback import Loopback, json_reply
from requestforge import InMemoryTokenStorage, TokenFetchPipeline
from requestforge.exceptions import AuthenticationException, DependencyException
from requestforge.oauth2 import (
    ClientCredentialsFetcher,
    JwtBearerFetcher,
    PasswordFetcher,
    RefreshTokenFetcher,
    TokenExchangeFetcher,
)
from requestforge.tokens import TokenData

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


def password(server: Server, **options: Any) -> PasswordFetcher:  # noqa: ANN401
    """A step that logs alice in."""
    given = {"username": "alice", "password": PASSWORD, "client_auth": CLIENT, **options}
    return PasswordFetcher("user", server.url, "app", **given)


def test_client_credentials(server: Server, clock: CallingClock) -> None:
    """A client's token for itself, with the lifetime and the scope that the server granted."""
    step = ClientCredentialsFetcher(
        "app", server.url, "app", client_auth=CLIENT, scope="read write"
    )
    token = step.fetch()
    assert (token.token_type, token.scope, token.refresh_token) == ("Bearer", "read write", None)
    assert token.expires_at == clock.now() + timedelta(hours=1)
    assert token.issued_at == clock.now()
    assert server.seen == [("client_credentials", 200)]
    assert server.headers["accept"] == "application/json"


def test_a_password(server: Server) -> None:
    """A user's token; the password is not sent again while there is a refresh token."""
    step = password(server)
    token = step.refresh(step.fetch())
    assert token.refresh_token is not None
    assert server.seen == [("password", 200), ("refresh_token", 200)]


def test_a_refresh_token(server: Server) -> None:
    """A step lives on the refresh token that it was given, and on its successors."""
    seed = password(server).fetch().refresh_token or ""
    step = RefreshTokenFetcher("user", server.url, "app", refresh_token=seed, client_auth=CLIENT)
    tokens = [step.fetch(), step.fetch()]
    tokens.append(step.refresh(tokens[-1]))
    assert len({token.refresh_token for token in (*tokens, TokenData("", refresh_token=seed))}) == 4
    assert server.seen[1:] == [("refresh_token", 200)] * 3


def test_an_assertion_that_is_signed_here(server: Server) -> None:
    """Key, issuer and subject: each fetch signs an assertion of its own (RFC 7523)."""
    pem = KEY.as_pem(private=True).decode()
    step = JwtBearerFetcher(
        *("bob", server.url, "public"), key=pem, issuer="https://issuer.example", subject="bob"
    )
    assert step.fetch().access_token != step.fetch().access_token
    assert server.seen == [(JWT_BEARER, 200)] * 2


def test_an_assertion_that_was_made_elsewhere(server: Server) -> None:
    """A text is sent as it is; a callable is given the tokens of earlier steps."""
    contexts: list[object] = []

    def made(context: dict[str, TokenData] | None) -> str:
        contexts.append(context)
        return "not.a.jwt"

    earlier = {"app": TokenData("earlier")}
    for assertion in ("not.a.jwt", made):
        step = JwtBearerFetcher("bob", server.url, "public", assertion=assertion)
        with pytest.raises(AuthenticationException, match="invalid_grant"):
            step.fetch(earlier)
    assert contexts == [earlier]


@pytest.mark.parametrize("made", ["", None, 7], ids=["empty", "None", "a number"])
def test_an_assertion_that_is_no_text(server: Server, made: Any) -> None:  # noqa: ANN401
    """What a callable gives has to be one; nothing is sent."""
    step = JwtBearerFetcher("bob", server.url, "public", assertion=lambda _: made)
    with pytest.raises(AuthenticationException, match="assertion is no text") as caught:
        step.fetch()
    assert caught.value.service_name == "bob"
    assert server.seen == []


@pytest.mark.parametrize("with_actor", [False, True], ids=["subject", "subject and actor"])
def test_a_token_exchange(server: Server, with_actor: bool) -> None:
    """The token of an earlier step is exchanged, in the name of its user (RFC 8693)."""
    app = ClientCredentialsFetcher("app", server.url, "app", client_auth=CLIENT)
    exchange = TokenExchangeFetcher(
        *("api", server.url, "app"),
        subject_step="user",
        subject_token_type=ACCESS_TOKEN,
        actor_step="app" if with_actor else None,
        requested_token_type=ACCESS_TOKEN,
        audience="https://api.example.com",
        client_auth=CLIENT,
    )
    pipeline = TokenFetchPipeline([app, password(server), exchange], InMemoryTokenStorage())
    token = pipeline.execute()
    assert exchange.depends_on == (["user", "app"] if with_actor else ["user"])
    assert token.extra == {"issued_token_type": ACCESS_TOKEN}
    assert server.seen[-1] == (EXCHANGE, 200)
    assert server.last["subject_token"] != server.last.get("actor_token")
    assert ("actor_token_type" in server.last) == with_actor


def test_an_exchange_needs_its_subject(server: Server) -> None:
    """Without the token of that step nothing is sent."""
    exchange = TokenExchangeFetcher(
        *("api", server.url, "app"), subject_step="user", subject_token_type=ACCESS_TOKEN
    )
    with pytest.raises(DependencyException):
        exchange.fetch()
    assert server.seen == []


def test_a_pipeline_redeems_the_refresh_token_of_a_password(
    server: Server, clock: CallingClock
) -> None:
    """An expired token is replaced by the refresh grant, with the same client authentication."""
    pipeline = TokenFetchPipeline([password(server)], InMemoryTokenStorage())
    for _ in range(3):
        pipeline.execute()
        clock.advance(hours=1)
    assert server.seen == [("password", 200)] + [("refresh_token", 200)] * 2


def test_a_revoked_family_is_replaced_by_the_own_grant(server: Server, clock: CallingClock) -> None:
    """A refresh token that the provider has withdrawn leads to the password, in the same call."""
    pipeline = TokenFetchPipeline([password(server)], InMemoryTokenStorage())
    pipeline.execute()
    server.idp.revoke_all()
    clock.advance(hours=1)
    pipeline.execute()
    assert server.seen == [("password", 200), ("refresh_token", 400), ("password", 200)]


STEPS: dict[str, Callable[..., Any]] = {
    "client credentials": lambda url, **o: ClientCredentialsFetcher("s", url, "app", **o),
    "password": lambda url, **o: PasswordFetcher(
        "s", url, "app", username="alice", password=PASSWORD, **o
    ),
    "refresh token": lambda url, **o: RefreshTokenFetcher(
        "s", url, "app", refresh_token="canary-seed", **o
    ),
    "assertion": lambda url, **o: JwtBearerFetcher("s", url, "app", assertion="canary.a.b", **o),
    "exchange": lambda url, **o: TokenExchangeFetcher(
        "s", url, "app", subject_step="user", subject_token_type=ACCESS_TOKEN, **o
    ),
}


@pytest.mark.parametrize("make", STEPS.values(), ids=STEPS.keys())
def test_every_grant_sends_what_all_have_in_common(make: Callable[..., Any]) -> None:
    """Scope, audience, resource and further parameters, several of one name one by one."""
    options = {
        "scope": ["read", "write"],
        "audience": ["a1", "a2"],
        "resource": ("https://r1.example/", "https://r2.example/"),
        "extra_params": {"tenant": "t1", "audience": "instead"},
    }
    with Loopback(json_reply({"access_token": "t"})) as loopback:
        make(f"{loopback.url}/token", **options).fetch({"user": TokenData("subject")})
    [received] = loopback.requests
    assert received.form["scope"] == "read write"
    assert (received.form["tenant"], received.form["audience"]) == ("t1", "instead")
    assert b"resource=https%3A%2F%2Fr1.example%2F&resource=https%3A%2F%2Fr2" in received.body
    assert received.headers["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize("make", STEPS.values(), ids=STEPS.keys())
def test_every_grant_redeems_a_refresh_token(make: Callable[..., Any]) -> None:
    """What the token is for is sent again, the grant's own fields are not.

    The scope stays what was granted, but for a refresh token that was given: that has more.
    """
    options = {"scope": "read", "resource": "https://r.example", "extra_params": {"x": "1"}}
    with Loopback(json_reply({"access_token": "t"})) as loopback:
        step = make(f"{loopback.url}/token", **options)
        token = step.refresh(TokenData("old", refresh_token="canary-r1"))
    assert token.refresh_token == "canary-r1"
    form = loopback.requests[0].form
    wants_scope = isinstance(step, RefreshTokenFetcher)
    assert form.pop("scope", None) == ("read" if wants_scope else None)
    assert form == {
        "grant_type": "refresh_token",
        "refresh_token": "canary-r1",
        "client_id": "app",
        "resource": "https://r.example",
        "x": "1",
    }
