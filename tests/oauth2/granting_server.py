"""A provider for the fetchers of the standard grants, and what it has seen."""

from collections.abc import Callable
from typing import Any

from joserfc.jwk import ECKey

from doubles import Clock
from pytest_requestforge import FakeAuth
from requestforge.oauth2 import ClientSecretBasic

SECRET = "canary-secr3t: +%&"
PASSWORD = "canary-passw0rd"
CLIENT = ClientSecretBasic(SECRET)
KEY = ECKey.generate_key("P-256", {"kid": "k1"})
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


class Server:
    """A FakeAuth with a provider that knows clients with a secret, with a key, and with neither.

    Args:
        auth: where it stands.
    """

    def __init__(self, auth: FakeAuth) -> None:
        public = KEY.as_dict(private=False)
        self.auth = auth
        self.idp = auth.oauth2(
            clients={"app": SECRET, "public": None, "keyed": public},
            users={"alice": PASSWORD},
            issuers={"https://issuer.example": public},
            scopes={"read", "write"},
        )
        self.url = self.idp.url
        self.device_url = self.idp.parts["device_authorization"].url

    @property
    def last(self) -> dict[str, Any]:
        """The fields of the last request, masked."""
        return dict(self.auth.journal[-1].body)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the last request by name in lower case, masked."""
        return {name.lower(): value for name, value in self.auth.journal[-1].headers.items()}

    @property
    def seen(self) -> list[tuple[object, int]]:
        """The grant and the status of each request for a token."""
        return [
            (each.body["grant_type"], each.status)
            for each in self.auth.journal
            if "grant_type" in each.body
        ]


class CallingClock(Clock):
    """A clock that calls back before its n-th sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[int, Callable[[], object]] = {}

    def sleep(self, seconds: float) -> None:
        call = self.at.get(len(self.slept) + 1)
        if call is not None:
            call()
        super().sleep(seconds)
