"""What a provider has given out: tokens, authorization codes and device codes, with their state."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pytest_requestforge.fake_auth.tokens import Issued

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
REFRESH_TOKEN = "urn:ietf:params:oauth:token-type:refresh_token"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a client may do, and in whose name.

    Attributes:
        client_id: of the client.
        sub: whom the tokens speak for.
        scope: what was granted, in the order in which it was asked for.
        audience: whom the tokens are for.
        is_user: whether somebody has signed in.
        signed_in_at: when (aware UTC).
        nonce: that the client wants to see in its ID token.
        claims: further ones of the access token.
    """

    client_id: str
    sub: str
    scope: tuple[str, ...] = ()
    audience: tuple[str, ...] = ()
    is_user: bool = False
    signed_in_at: datetime | None = None
    nonce: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False, repr=False, kw_only=True)
class Minted(Issued):
    """A token of a provider.

    Attributes:
        grant: what it stands for.
        kind: its token type identifier (RFC 8693 section 3).
        claims: that it says of itself.
        key_id: of the key that has signed it; None: it is opaque.
        is_used: whether a refresh token was replaced.
    """

    grant: Grant
    kind: str
    claims: Mapping[str, Any] = field(default_factory=dict)
    key_id: str | None = None
    is_used: bool = False

    def refusal(self, now: datetime) -> str | None:
        """Why the token is not accepted at that instant; None: it is."""
        return f"{self.label} was rotated" if self.is_used else Issued.refusal(self, now)

    @property
    def family(self) -> Issued:
        """What all tokens of the same grant come from: a code, or its first refresh token."""
        return self.parents[0] if self.parents else self


@dataclass(slots=True, eq=False, repr=False, kw_only=True)
class Code(Issued):
    """An authorization code (RFC 6749 section 4.1).

    Attributes:
        grant: what it is worth.
        redirect_uri: that it was sent to.
        challenge: of PKCE (RFC 7636); None: there was none.
        method: of the challenge.
        is_used: whether it was redeemed.
    """

    grant: Grant
    redirect_uri: str
    challenge: str | None
    method: str
    is_used: bool = False


@dataclass(slots=True, eq=False, repr=False, kw_only=True)
class DeviceCode(Issued):
    """A device code (RFC 8628).

    Attributes:
        grant: what it is worth; its `sub` is of no account until it is approved.
        user_code: that the user types.
        state: what the user has decided.
        interval: seconds that the device waits between two polls.
        polled_at: when it asked last.
        is_used: whether it was redeemed.
    """

    grant: Grant
    user_code: str
    interval: int
    state: Literal["pending", "approved", "denied"] = "pending"
    polled_at: datetime | None = None
    is_used: bool = False
