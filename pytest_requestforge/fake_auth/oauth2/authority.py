"""What all endpoints of one provider share: its clients, users and keys, and what it gives out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256, sha384, sha512
from types import MappingProxyType
from typing import Any

from pytest_requestforge.fake_auth.answers import Answer
from pytest_requestforge.fake_auth.endpoints import Server
from pytest_requestforge.fake_auth.oauth2.clients import Client
from pytest_requestforge.fake_auth.oauth2.encoding import base64url
from pytest_requestforge.fake_auth.oauth2.keys import Key, KeyRing
from pytest_requestforge.fake_auth.oauth2.records import (
    ACCESS_TOKEN,
    ID_TOKEN,
    REFRESH_TOKEN,
    DeviceCode,
    Grant,
    Minted,
)
from pytest_requestforge.fake_auth.oauth2.wire import NO_STORE, Params, refuse
from pytest_requestforge.fake_auth.tokens import Issued

_HASHES = {"256": sha256, "384": sha384, "512": sha512}
_MEDIA_TYPES = {ACCESS_TOKEN: "at+jwt", ID_TOKEN: "JWT"}  # RFC 9068 section 2.1
_SUFFIXES = {ACCESS_TOKEN: "", REFRESH_TOKEN: ".refresh", ID_TOKEN: ".id"}


@dataclass(eq=False, repr=False, kw_only=True)
class Authority:
    """The state of one provider; who changes it holds the lock of the server.

    Attributes:
        name: of the provider; its access tokens go by it.
        server: that it belongs to.
        url: gives the URL that all its endpoints begin with, its issuer identifier.
        clients: by id.
        issuers: keys of others whose assertions are taken, by issuer.
        users: password of each user.
        claims: about each user.
        scopes: that can be granted; None: all.
        keys: that it signs with.
        signs_access_tokens: whether access tokens are JWTs; else they are opaque.
        rotates: whether a refresh token is replaced when it is used.
        lifetime: of access and ID tokens.
        refresh_lifetime: of refresh tokens; None: they live until revoked.
        device_lifetime: of device codes.
        interval: seconds between two polls of a device.
        devices: the device codes by user code.
        minted: all its tokens.
        spent: ids of the client assertions that were used, with their client.
    """

    name: str
    server: Server
    url: Callable[[], str]
    clients: Mapping[str, Client]
    issuers: Mapping[str, tuple[Key, ...]]
    users: Mapping[str, str]
    claims: Mapping[str, Mapping[str, Any]]
    scopes: frozenset[str] | None
    keys: KeyRing
    signs_access_tokens: bool
    rotates: bool
    lifetime: timedelta
    refresh_lifetime: timedelta | None
    device_lifetime: timedelta
    interval: int
    devices: dict[str, DeviceCode] = field(default_factory=dict)
    minted: list[Minted] = field(default_factory=list)
    spent: set[tuple[str, str]] = field(default_factory=set)

    def find(self, text: str) -> Issued | None:
        """What it has given out with that text; None: nothing, though another endpoint may have."""
        found = self.server.book.find(text)
        mine = {self.name + suffix for suffix in (*_SUFFIXES.values(), ".code", ".device")}
        return found if found is not None and found.step in mine else None

    def scope(self, params: Params, *, within: Sequence[str] | None = None) -> tuple[str, ...]:
        """The scope to grant (RFC 6749 section 3.3).

        Args:
            params: what is asked for.
            within: what may be asked for, and is granted where nothing is.

        Raises:
            Refused: it is more than can be granted.
        """
        asked = params.scope()
        if not asked:
            return tuple(within or ())
        if within is not None and not set(asked) <= set(within):
            refuse("invalid_scope", "field scope asks for more than was granted before")
        if self.scopes is not None and not self.scopes.issuperset(asked):
            refuse("invalid_scope", "field scope asks for what this provider does not grant")
        return asked

    def audience(self, params: Params, *, within: Sequence[str] = ()) -> tuple[str, ...]:
        """Whom the token is for; empty: for whom the provider chooses (RFC 8707 section 2).

        Args:
            params: what is asked for.
            within: what may be asked for, and is granted where nothing is; empty: all may.

        Raises:
            Refused: it is more than can be granted.
        """
        asked = params.audience()
        if within and not set(asked) <= set(within):
            refuse("invalid_target", "the token would be for others than was granted before")
        return asked or tuple(within)

    def access_token(self, grant: Grant, now: datetime, parents: Sequence[Issued] = ()) -> Minted:
        """A new access token."""
        end = now + self.lifetime
        return self.mint(ACCESS_TOKEN, grant, self.access_claims(grant, now, end), end, parents)

    def tokens(self, grant: Grant, now: datetime, parents: Sequence[Issued] = ()) -> Answer:
        """What the consent of a user is worth: an access token, a refresh token, an ID token."""
        refresh = self.refresh_token(grant, now, parents)
        access = self.access_token(grant, now, [refresh.family])
        return self.answer(access, refresh, self.id_token(grant, now, access))

    def refresh_token(self, grant: Grant, now: datetime, parents: Sequence[Issued] = ()) -> Minted:
        """A new refresh token."""
        end = None if self.refresh_lifetime is None else now + self.refresh_lifetime
        return self.mint(REFRESH_TOKEN, grant, {}, end, parents)

    def id_token(self, grant: Grant, now: datetime, access: Minted) -> Minted | None:
        """An ID token, where the scope wants one (OpenID Connect Core sections 2, 3.1.3.6)."""
        if not grant.is_user or "openid" not in grant.scope:
            return None
        end = now + self.lifetime
        digest = _HASHES[self.keys.algorithm[-3:]](access.text.encode()).digest()
        claims = {
            **self.claims.get(grant.sub, {}),
            "iss": self.url(),
            "sub": grant.sub,
            "aud": grant.client_id,
            "exp": int(end.timestamp()),
            "iat": int(now.timestamp()),
            "at_hash": base64url(digest[: len(digest) // 2]),
            **_signed_in(grant),
        }
        if grant.nonce is not None:
            claims["nonce"] = grant.nonce
        return self.mint(ID_TOKEN, grant, claims, end, access.parents)

    def access_claims(self, grant: Grant, now: datetime, end: datetime) -> dict[str, Any]:
        """What an access token says of itself (RFC 9068 section 2.2)."""
        audience = grant.audience or (self.url(),)
        claims = {
            "iss": self.url(),
            "sub": grant.sub,
            "aud": audience[0] if len(audience) == 1 else list(audience),
            "exp": int(end.timestamp()),
            "iat": int(now.timestamp()),
            "jti": self.server.book.text(),
            "client_id": grant.client_id,
            **_signed_in(grant),
            **grant.claims,
        }
        if grant.scope:
            claims["scope"] = " ".join(grant.scope)
        return claims

    def mint(
        self,
        kind: str,
        grant: Grant,
        claims: Mapping[str, Any],
        end: datetime | None,
        parents: Sequence[Issued] = (),
        *,
        change: Callable[[str], str] = str,
    ) -> Minted:
        """A new token of that kind; `change` may spoil its text."""
        book, step = self.server.book, self.name + _SUFFIXES[kind]
        is_signed = kind == ID_TOKEN or (kind == ACCESS_TOKEN and self.signs_access_tokens)
        text = self.keys.sign(claims, _MEDIA_TYPES[kind]) if is_signed else book.text()
        token = Minted(
            change(text), step, book.number(step), end, tuple(parents),
            grant=grant, kind=kind, claims=claims, key_id=self.keys.ids[0] if is_signed else None,
            scope=frozenset(str(claims.get("scope", "")).split()),
            audience=_listed(claims.get("aud", ())),
        )  # fmt: skip
        book.record(token)
        self.minted.append(token)
        return token

    def answer(
        self,
        access: Minted,
        refresh: Minted | None = None,
        identity: Minted | None = None,
        *,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> Answer:
        """A successful answer of the token endpoint (RFC 6749 section 5.1)."""
        content: dict[str, Any] = {
            "access_token": access.text,
            "token_type": "Bearer",
            "expires_in": int(self.lifetime.total_seconds()),
            **more,
        }
        for name, token in (("refresh_token", refresh), ("id_token", identity)):
            if token is not None:
                content[name] = token.text
        if access.grant.scope:
            content["scope"] = " ".join(access.grant.scope)
        return Answer(200, content, NO_STORE, f"issued {access.label}", access)

    def rotate_keys(self, *, keep_old: bool) -> None:
        """Sign with a new key; what a withdrawn one has signed is refused from now on."""
        self.keys.rotate(keep_old=keep_old)
        for token in self.minted:
            if token.key_id is not None and token.key_id not in self.keys.ids and not token.flaw:
                token.flaw = "was signed with a key that has been rotated away"


def _signed_in(grant: Grant) -> dict[str, Any]:
    at = grant.signed_in_at
    return {} if at is None else {"auth_time": int(at.timestamp())}


def _listed(audience: str | Sequence[str]) -> tuple[str, ...]:
    return (audience,) if isinstance(audience, str) else tuple(audience)
