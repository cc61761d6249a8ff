"""A token endpoint that plays along with the OAuth 2 providers, and providers that ask it."""

from typing import Any

from loopback import Loopback, Received, json_reply
from requestforge.token_manager import ClientCredentialsTokenProvider, PasswordGrantTokenProvider
from requestforge.tokens import TokenData

OLD = TokenData("old", refresh_token="r0")
REFUSED = json_reply({"error": "invalid_grant"}, 400)


class Endpoint:
    """A token endpoint that numbers its tokens, and refuses the grants it is told to."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.rotates = True
        self.issued = 0

    def __call__(self, received: Received) -> bytes:
        """Refuse, or issue the next token."""
        grant = received.form["grant_type"]
        if grant in self.refused:
            return REFUSED
        self.issued += 1
        fields: dict[str, Any] = {"access_token": f"t{self.issued}", "expires_in": 60}
        if self.rotates:
            fields["refresh_token"] = f"r{self.issued}"
        return json_reply(fields)


def client(server: Loopback, **options: Any) -> ClientCredentialsTokenProvider:  # noqa: ANN401
    """A provider for a client."""
    return ClientCredentialsTokenProvider(
        f"{server.url}/token", "app-id", "app-secret", "billing", **options
    )


def user(server: Loopback, **options: Any) -> PasswordGrantTokenProvider:  # noqa: ANN401
    """A provider for a user."""
    return PasswordGrantTokenProvider(
        *(f"{server.url}/token", "app-id", "app-secret", "bob", "bobs-password", "billing"),
        **options,
    )


def grants(server: Loopback) -> list[str]:
    """The grants that were asked for, with the refresh token where there was one."""
    forms = [received.form for received in server.requests]
    return [form.get("refresh_token", form["grant_type"]) for form in forms]
