"""One definition of a provider, two transports, and the library's own clients."""

import pytest
import requests
from oauth2_site import ACCESS_TOKEN, APP, EXCHANGE_GRANT, SETTINGS, Site
from werkzeug.test import Client

from pytest_requestforge import Clock, FakeAuth
from requestforge import (
    BodyTokenFetcher,
    ClientCredentialsTokenProvider,
    InMemoryTokenStorage,
    PasswordGrantTokenProvider,
    StepToken,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.exceptions import AuthenticationException

TRANSPORTS = ("inprocess", "loopback")


def a_day(auth: FakeAuth, clock: Clock) -> list[tuple[str | None, int, str, tuple[str, ...]]]:
    """What the journal says of many requests."""
    site = Site(auth, auth.oauth2(**SETTINGS), clock)
    me = auth.resource("GET /me", needs=site.idp, scope="read")
    tokens = site.sign_in()
    codes = site.device()
    site.poll(codes["device_code"])
    site.idp.approve(codes["user_code"], sub="bob")
    site.poll(codes["device_code"])
    site.redeem(site.code())
    site.get(me.url, tokens["access_token"])
    fields = {"subject_token": tokens["access_token"], "subject_token_type": ACCESS_TOKEN}
    child = site.token(EXCHANGE_GRANT, **fields).json()["access_token"]
    site.refresh(tokens["refresh_token"])
    site.refresh(tokens["refresh_token"])
    site.get(me.url, child)
    site.idp.fail(503)
    site.token("client_credentials", ("app", "x"))
    site.token("client_credentials", ("app", "x"))
    requests.get(site.authorization_url(), timeout=5)
    return [(entry.step, entry.status, entry.reason, entry.sent) for entry in auth.journal]


def test_the_journal_is_the_same_over_both(rf_clock: Clock) -> None:
    """What arrived, what it got and why does not depend on how it came."""
    journals = []
    for transport in TRANSPORTS:
        with FakeAuth(transport=transport) as auth:
            journals.append(a_day(auth, rf_clock))

    assert journals[0] == journals[1]
    assert len(journals[0]) == 13


def test_any_wsgi_client_may_ask() -> None:
    """The provider is part of the WSGI application."""
    auth = FakeAuth("https://auth.example.com")
    idp = auth.oauth2(**SETTINGS)

    answer = Client(auth.app).post("/oauth2/token", data={"grant_type": "x"})

    assert answer.json["error"] == "unsupported_grant_type"
    assert idp.issuer == "https://auth.example.com/oauth2"


def test_on_loopback_the_issuer_is_known_once_it_runs() -> None:
    """The port is chosen when the server starts."""
    auth = FakeAuth(transport="loopback")
    idp = auth.oauth2(**SETTINGS)
    with pytest.raises(RuntimeError, match="once it is started"):
        _ = idp.issuer

    with auth:
        assert idp.issuer == f"{auth.url}/oauth2"
        metadata = requests.get(f"{idp.issuer}/.well-known/openid-configuration", timeout=5)
        assert metadata.json()["issuer"] == idp.issuer


@pytest.mark.parametrize("transport", TRANSPORTS)
class TestLibrary:
    def test_a_client_manages_its_token(self, transport: str, rf_clock: Clock) -> None:
        """The library's provider of client credentials fetches anew when the token has ended."""
        with FakeAuth(transport=transport) as auth:
            idp = auth.oauth2(**SETTINGS)
            me = auth.resource("GET /me", needs=idp, scope="read")
            manager = TokenManager(
                ClientCredentialsTokenProvider(idp.url, *APP, "billing", scope="read")
            )

            for seconds in (0, 10, 3600):
                rf_clock.advance(seconds)
                header = manager.get_token().authorization_header
                answer = requests.get(me.url, headers={"Authorization": header}, timeout=5)
                assert answer.status_code == 200

            auth.assert_fetch_counts(oauth2=2)

    def test_a_user_is_refreshed_with_rotation(self, transport: str, rf_clock: Clock) -> None:
        """The library's provider of the password grant uses each refresh token once."""
        with FakeAuth(transport=transport) as auth:
            idp = auth.oauth2(**SETTINGS)
            alice = ("alice", SETTINGS["users"]["alice"])
            manager = TokenManager(PasswordGrantTokenProvider(idp.url, *APP, *alice, "billing"))

            for _ in range(4):
                manager.get_token()
                rf_clock.advance(3600)

            grants = [entry.body["grant_type"] for entry in auth.journal]
            assert grants == ["password", "refresh_token", "refresh_token", "refresh_token"]
            assert {entry.status for entry in auth.journal} == {200}

    def test_a_pipeline_buys_on(self, transport: str) -> None:
        """Steps of a pipeline get their tokens from a provider, and a dead parent is noticed."""
        with FakeAuth(transport=transport) as auth:
            idp = auth.oauth2(name="app_token", **SETTINGS)
            auth.token("user_token", "POST /user", requires={"X-App-Token": idp})
            app = BodyTokenFetcher(
                "app_token",
                idp.issuer,
                "/token",
                request_data={
                    "grant_type": "client_credentials",
                    "client_id": APP[0],
                    "client_secret": APP[1],
                },
                content_type="application/x-www-form-urlencoded",
            )
            user = BodyTokenFetcher(
                "user_token",
                auth.url,
                "/user",
                request_headers={"X-App-Token": StepToken("app_token")},
            )
            pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage())

            pipeline.execute()
            auth.assert_fetch_counts(app_token=1, user_token=1)
            idp.revoke_all()
            pipeline.invalidate_step("user_token")
            pipeline.execute()

            auth.assert_fetch_counts(app_token=2, user_token=3)

    def test_an_error_reaches_the_caller(self, transport: str) -> None:
        """A wrong secret ends in the exception of the library, with the provider's code."""
        with FakeAuth(transport=transport) as auth:
            idp = auth.oauth2(**SETTINGS)
            manager = TokenManager(
                ClientCredentialsTokenProvider(idp.url, APP[0], "wrong", "billing")
            )

            with pytest.raises(AuthenticationException, match="invalid_client"):
                manager.get_token()
