"""Clients that others have written find a provider as they expect it, over sockets."""

from collections.abc import Iterator
from typing import Any

import google.auth.exceptions
import google.oauth2.credentials
import google.oauth2.service_account
import google.oauth2.sts
import google.oauth2.utils
import httpx
import jwt as pyjwt
import pytest
import requests
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from google.auth.transport.requests import Request
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet, RSAKey
from oauth2_site import ACCESS_TOKEN, APP, DEVICE_GRANT, REDIRECT, SETTINGS
from oauthlib.oauth2 import (
    BackendApplicationClient,
    DeviceClient,
    InvalidGrantError,
    LegacyApplicationClient,
)
from requests_oauthlib import OAuth2Session as RequestsOAuthlib

from pytest_requestforge import FakeAuth
from pytest_requestforge.fake_auth.oauth2 import OAuth2Provider

ALICE = {"username": "alice", "password": "alices-password"}
SERVICE = "service@example.com"
RSA = RSAKey.generate_key(2048)

Metadata = dict[str, Any]
Authlib = OAuth2Session | OAuth2Client


@pytest.fixture(autouse=True)
def _loopback_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Authlib and oauthlib refuse http, even on loopback, unless they are told otherwise."""
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


@pytest.fixture
def idp(rf_fake_auth_server: FakeAuth) -> OAuth2Provider:
    """A provider on a socket."""
    clients = {**SETTINGS["clients"], SERVICE: RSA.as_pem(private=False)}
    return rf_fake_auth_server.oauth2(
        "/oauth2", clients=clients, users=SETTINGS["users"], interval=0
    )


@pytest.fixture
def metadata(idp: OAuth2Provider) -> Metadata:
    """What every client begins with."""
    return dict(httpx.get(f"{idp.issuer}/.well-known/openid-configuration").json())


@pytest.fixture(params=["requests", "httpx"])
def authlib(request: pytest.FixtureRequest, metadata: Metadata) -> Iterator[Authlib]:
    """A client of Authlib on either HTTP library."""
    kind = {"requests": OAuth2Session, "httpx": OAuth2Client}[request.param]
    with kind(
        *APP,
        scope="openid read",
        redirect_uri=REDIRECT,
        token_endpoint=metadata["token_endpoint"],
        code_challenge_method="S256",
    ) as client:
        yield client


class TestAuthlib:
    def test_client_credentials(
        self,
        authlib: Authlib,
        metadata: Metadata,
        idp: OAuth2Provider,
        rf_fake_auth_server: FakeAuth,
    ) -> None:
        """The token that it gets opens a resource."""
        me = rf_fake_auth_server.resource("GET /me", needs=idp, scope="read", json={"id": 1})

        authlib.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")

        assert authlib.get(me.url).json() == {"id": 1}

    def test_password(self, authlib: Authlib, metadata: Metadata) -> None:
        """The user is the one who was named."""
        authlib.fetch_token(metadata["token_endpoint"], **ALICE)

        assert authlib.get(metadata["userinfo_endpoint"]).json() == {"sub": "alice"}

    def test_code_with_pkce(
        self, authlib: Authlib, metadata: Metadata, idp: OAuth2Provider
    ) -> None:
        """It makes the URL and the verifier, and redeems what comes back."""
        verifier = "v" * 64
        url, state = authlib.create_authorization_url(
            metadata["authorization_endpoint"], code_verifier=verifier
        )

        response = idp.authorize(url, sub="bob")
        authlib.fetch_token(
            metadata["token_endpoint"],
            authorization_response=response,
            code_verifier=verifier,
            state=state,
        )

        assert authlib.get(metadata["userinfo_endpoint"]).json() == {"sub": "bob"}

    def test_refresh_with_rotation(self, authlib: Authlib, metadata: Metadata) -> None:
        """It keeps the new refresh token; the old one ends the family."""
        first = dict(authlib.fetch_token(metadata["token_endpoint"], **ALICE))

        second = authlib.refresh_token(metadata["token_endpoint"])
        authlib.refresh_token(metadata["token_endpoint"])

        assert second["refresh_token"] != first["refresh_token"]
        with pytest.raises(OAuthError, match="invalid_grant"):
            authlib.refresh_token(metadata["token_endpoint"], first["refresh_token"])
        assert authlib.get(metadata["userinfo_endpoint"]).status_code == 401

    def test_device_code(self, authlib: Authlib, metadata: Metadata, idp: OAuth2Provider) -> None:
        """It polls until the user has approved."""
        codes = httpx.post(
            metadata["device_authorization_endpoint"], data={"scope": "openid"}, auth=APP
        ).json()
        how = {"grant_type": DEVICE_GRANT, "device_code": codes["device_code"]}

        with pytest.raises(OAuthError, match="authorization_pending"):
            authlib.fetch_token(metadata["token_endpoint"], **how)
        idp.approve(codes["user_code"], sub="alice")
        authlib.fetch_token(metadata["token_endpoint"], **how)

        assert authlib.get(metadata["userinfo_endpoint"]).json() == {"sub": "alice"}

    def test_introspection_and_revocation(self, authlib: Authlib, metadata: Metadata) -> None:
        """What it has given up is not active any more."""
        token = authlib.fetch_token(metadata["token_endpoint"], **ALICE)["access_token"]

        before = authlib.introspect_token(metadata["introspection_endpoint"], token).json()
        authlib.revoke_token(metadata["revocation_endpoint"], token)
        after = authlib.introspect_token(metadata["introspection_endpoint"], token).json()

        assert (before["active"], before["username"], after) == (True, "alice", {"active": False})

    @pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
    def test_secrets(self, metadata: Metadata, method: str) -> None:
        """It proves itself in the header or in the body."""
        url = metadata["token_endpoint"]
        with OAuth2Client(*APP, token_endpoint_auth_method=method) as client:
            assert client.fetch_token(url, grant_type="client_credentials")["access_token"]

    def test_private_key_jwt(self, metadata: Metadata) -> None:
        """It proves itself by its key."""
        url = metadata["token_endpoint"]
        with OAuth2Client(
            SERVICE, RSA.as_dict(private=True), token_endpoint_auth_method=PrivateKeyJWT(url)
        ) as client:
            assert client.fetch_token(url, grant_type="client_credentials")["access_token"]


class TestRequestsOAuthlib:
    def test_client_credentials(self, metadata: Metadata) -> None:
        """Its client of that grant gets a token."""
        with RequestsOAuthlib(client=BackendApplicationClient(APP[0], scope=["read"])) as client:
            token = client.fetch_token(metadata["token_endpoint"], auth=APP)

        assert token["scope"] == ["read"]

    def test_password_and_refresh(self, metadata: Metadata) -> None:
        """Its client of that grant refreshes what it gets, and meets the reuse detection."""
        url = metadata["token_endpoint"]
        client = LegacyApplicationClient(APP[0], scope="openid")
        with RequestsOAuthlib(client=client) as session:
            first = dict(session.fetch_token(url, auth=APP, **ALICE))
            session.refresh_token(url, auth=APP)

            assert session.get(metadata["userinfo_endpoint"]).json() == {"sub": "alice"}
            with pytest.raises(InvalidGrantError):
                session.refresh_token(url, first["refresh_token"], auth=APP)

    def test_code_with_pkce(self, metadata: Metadata, idp: OAuth2Provider) -> None:
        """It makes verifier and challenge itself."""
        with RequestsOAuthlib(
            APP[0], redirect_uri=REDIRECT, scope="openid", pkce="S256"
        ) as session:
            url, _ = session.authorization_url(metadata["authorization_endpoint"])
            session.fetch_token(
                metadata["token_endpoint"],
                authorization_response=idp.authorize(url, sub="bob"),
                client_secret=APP[1],
            )

            assert session.get(metadata["userinfo_endpoint"]).json() == {"sub": "bob"}

    def test_device_code(self, metadata: Metadata, idp: OAuth2Provider) -> None:
        """Its client of that grant redeems an approved code."""
        codes = requests.post(
            metadata["device_authorization_endpoint"],
            {"client_id": "spa", "scope": "openid"},
            timeout=5,
        ).json()
        idp.approve(codes["user_code"], sub="alice")
        with RequestsOAuthlib(client=DeviceClient("spa", scope="openid")) as session:
            session.fetch_token(
                metadata["token_endpoint"],
                device_code=codes["device_code"],
                include_client_id=True,
            )

            assert session.get(metadata["userinfo_endpoint"]).json() == {"sub": "alice"}


class TestGoogleAuth:
    def test_service_account(
        self, metadata: Metadata, idp: OAuth2Provider, rf_fake_auth_server: FakeAuth
    ) -> None:
        """Its service accounts send assertions (RFC 7523), with the scope inside."""
        me = rf_fake_auth_server.resource("GET /me", needs=idp, scope="read", json={"id": 1})
        account = google.oauth2.service_account.Credentials.from_service_account_info(
            {
                "client_email": SERVICE,
                "private_key": RSA.as_pem(private=True).decode(),
                "token_uri": metadata["token_endpoint"],
            },
            scopes=["read"],
            subject="alice",
        ).with_claims({"aud": metadata["token_endpoint"]})  # else that of Google itself
        with google.auth.transport.requests.AuthorizedSession(account) as session:
            assert session.get(me.url).json() == {"id": 1}

    def test_refresh_with_rotation(self, metadata: Metadata, idp: OAuth2Provider) -> None:
        """It refreshes, keeps the new refresh token, and reports the end of the family."""
        url = metadata["token_endpoint"]
        form = {"grant_type": "password", "scope": "openid", **ALICE}
        first = requests.post(url, form, auth=APP, timeout=5).json()["refresh_token"]
        user = google.oauth2.credentials.Credentials(
            None, refresh_token=first, token_uri=url, client_id=APP[0], client_secret=APP[1]
        )

        user.refresh(Request())
        assert user.refresh_token != first
        user.refresh(Request())

        idp.revoke_all()
        with pytest.raises(google.auth.exceptions.RefreshError, match="invalid_grant"):
            user.refresh(Request())

    def test_token_exchange(self, metadata: Metadata, idp: OAuth2Provider) -> None:
        """Its client of RFC 8693 buys a token with a token."""
        authentication = google.oauth2.utils.ClientAuthentication(
            google.oauth2.utils.ClientAuthType.basic, *APP
        )
        client = google.oauth2.sts.Client(metadata["token_endpoint"], authentication)

        answer = client.exchange_token(
            Request(),
            grant_type="urn:ietf:params:oauth:grant-type:token-exchange",
            subject_token=idp.issue(scope="read"),
            subject_token_type=ACCESS_TOKEN,
            audience="https://api.example.com",
            requested_token_type=ACCESS_TOKEN,
        )

        assert answer["issued_token_type"] == ACCESS_TOKEN


class TestValidation:
    def test_pyjwt(self, metadata: Metadata, idp: OAuth2Provider) -> None:
        """Tokens verify by PyJWT with the key set, before and after a rotation."""

        def verified(token: str) -> dict[str, Any]:
            # A new client each time, since one fetches the key set again only after a while.
            key = pyjwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token)
            return dict(
                pyjwt.decode(
                    token, key, algorithms=["ES256"], audience=idp.issuer, issuer=idp.issuer
                )
            )

        old = idp.issue()
        assert verified(old)["sub"] == "alice"
        idp.rotate_keys()
        assert verified(idp.issue())["sub"] == "alice"
        assert verified(old)["sub"] == "alice"
        idp.rotate_keys(keep_old=False)
        with pytest.raises(pyjwt.PyJWKClientError):
            verified(old)

    @pytest.mark.parametrize(
        ("broken", "error"),
        [
            pytest.param({"expired": True}, pyjwt.ExpiredSignatureError, id="expired"),
            pytest.param({"tampered": True}, pyjwt.InvalidSignatureError, id="tampered"),
            pytest.param({"issuer": "https://x.test"}, pyjwt.InvalidIssuerError, id="issuer"),
            pytest.param({"audience": "x"}, pyjwt.InvalidAudienceError, id="audience"),
            pytest.param({"missing": "iss"}, pyjwt.MissingRequiredClaimError, id="missing"),
        ],
    )
    def test_pyjwt_finds_what_is_broken(
        self,
        metadata: Metadata,
        idp: OAuth2Provider,
        broken: dict[str, Any],
        error: type[Exception],
    ) -> None:
        """Each kind of broken token meets the error that a resource server would raise."""
        token = idp.issue(**broken)
        key = pyjwt.PyJWKClient(metadata["jwks_uri"]).get_signing_key_from_jwt(token)

        with pytest.raises(error):
            pyjwt.decode(token, key, algorithms=["ES256"], audience=idp.issuer, issuer=idp.issuer)

    def test_joserfc(self, metadata: Metadata, idp: OAuth2Provider) -> None:
        """Tokens verify by joserfc with the key set, before and after a rotation."""

        def verified(token: str) -> str:
            keys = KeySet.import_key_set(httpx.get(metadata["jwks_uri"]).json())
            decoded = jwt.decode(token, keys, algorithms=["ES256"])
            rules = jwt.JWTClaimsRegistry(
                iss={"essential": True, "value": idp.issuer},
                aud={"essential": True, "value": idp.issuer},
            )
            rules.validate(decoded.claims)
            return str(decoded.claims["sub"])

        old = idp.issue()
        assert verified(old) == "alice"
        idp.rotate_keys()
        assert (verified(old), verified(idp.issue())) == ("alice", "alice")
        with pytest.raises(BadSignatureError):
            verified(idp.issue(tampered=True))
