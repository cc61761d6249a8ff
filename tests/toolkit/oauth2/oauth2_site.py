"""A FakeAuth with one provider, and the requests that clients send to it."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import requests
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from pytest_requestforge import Clock, FakeAuth
from pytest_requestforge.fake_auth.oauth2 import OAuth2Provider

APP = ("app", "app-secret")
OTHER = ("other", "other-secret")
KEY = ECKey.generate_key("P-256", auto_kid=True)

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode()[:-1]
REDIRECT = "https://app.example.com/callback"

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

SETTINGS: Mapping[str, Any] = {
    "clients": {
        APP[0]: APP[1],
        OTHER[0]: OTHER[1],
        "spa": None,
        "robot": KEY.as_dict(private=False),
    },
    "users": {"alice": "alices-password", "bob": "bobs-password"},
}

Auth = tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Site:
    """One provider and its clients.

    Attributes:
        auth: the server.
        idp: the provider.
        clock: of the test.
    """

    auth: FakeAuth
    idp: OAuth2Provider
    clock: Clock

    def post(
        self, part: str, fields: Mapping[str, object], client: Auth = APP
    ) -> requests.Response:
        """The answer to a form that a client sends to that endpoint."""
        return requests.post(f"{self.idp.issuer}/{part}", data=fields, auth=client, timeout=5)

    def token(self, grant_type: str, client: Auth = APP, **fields: object) -> requests.Response:
        """The answer of the token endpoint."""
        return self.post("token", {"grant_type": grant_type, **fields}, client)

    def sign_in(self, scope: str = "openid read", **fields: object) -> dict[str, Any]:
        """The tokens of Alice, by the password grant."""
        answer = self.token(
            "password", username="alice", password="alices-password", scope=scope, **fields
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refresh(
        self, refresh_token: str, client: Auth = APP, **fields: object
    ) -> requests.Response:
        """The answer to a refresh token."""
        return self.token("refresh_token", client, refresh_token=refresh_token, **fields)

    def authorization_url(self, **changed: object) -> str:
        """Where the client sends Alice; None leaves a parameter out."""
        fields = {
            "response_type": "code",
            "client_id": APP[0],
            "redirect_uri": REDIRECT,
            "scope": "openid read",
            "state": "s-1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changed,
        }
        kept = {name: value for name, value in fields.items() if value is not None}
        return f"{self.idp.parts['authorize'].url}?{urlencode(kept, doseq=True)}"

    def code(self, **changed: str | None) -> str:
        """A code for Alice."""
        return query(self.idp.authorize(self.authorization_url(**changed), sub="alice"))["code"]

    def redeem(self, code: str, client: Auth = APP, **changed: str | None) -> requests.Response:
        """The answer to a code; None leaves a field out."""
        fields = {"code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER, **changed}
        return self.token("authorization_code", client, **fields)

    def device(self, client: Auth = APP, **fields: object) -> dict[str, Any]:
        """The codes of a device."""
        return self.post("device_authorization", fields, client).json()

    def poll(self, device_code: str, client: Auth = APP) -> requests.Response:
        """The answer to a device that asks for its tokens."""
        return self.token(DEVICE_GRANT, client, device_code=device_code)

    def get(self, url: str, token: str) -> requests.Response:
        """The answer of a resource to that token."""
        return requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=5)

    def introspect(self, token: str, client: Auth = APP) -> dict[str, Any]:
        """What the provider says of a token."""
        return self.post("introspect", {"token": token}, client).json()

    def assertion(self, key: ECKey = KEY, **changed: object) -> str:
        """A JWT in which the client "robot" says who it is; None leaves a claim out."""
        now = int(self.clock.now().timestamp())
        claims = {
            "iss": "robot",
            "sub": "robot",
            "aud": f"{self.idp.issuer}/token",
            "exp": now + 60,
            "jti": f"j{len(self.auth.journal)}",
            **changed,
        }
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"alg": "ES256"}, kept, key, algorithms=["ES256"])

    @property
    def reason(self) -> str:
        """Why the last request got its answer, as the journal has it."""
        return self.auth.journal[-1].reason


def query(url: str) -> dict[str, str]:
    """The query of a URL; each parameter is there once."""
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}


def claims_of(site: Site, token: str, algorithm: str = "ES256") -> dict[str, Any]:
    """What a token says, its signature verified with the key set that the provider publishes."""
    keys = KeySet.import_key_set(requests.get(f"{site.idp.issuer}/jwks", timeout=5).json())
    return dict(jwt.decode(token, keys, algorithms=[algorithm]).claims)
