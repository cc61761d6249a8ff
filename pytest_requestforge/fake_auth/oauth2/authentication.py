"""Who is asking: client authentication, and assertions that others have signed."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn
from urllib.parse import unquote_plus

from pytest_requestforge.fake_auth.checks import Check
from pytest_requestforge.fake_auth.oauth2.authority import Authority
from pytest_requestforge.fake_auth.oauth2.clients import Client
from pytest_requestforge.fake_auth.oauth2.encoding import claims_of, text_of_base64
from pytest_requestforge.fake_auth.oauth2.keys import Key, verified
from pytest_requestforge.fake_auth.oauth2.wire import Params, refuse

BY_JWT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt", "none")


def authenticated(authority: Authority, check: Check, params: Params) -> Client:
    """The client that has sent the request (RFC 6749 section 2.3, RFC 7521 section 4.2).

    Raises:
        Refused: it has not proved who it is, or has tried in two ways at once.
    """
    header = check.incoming.header("Authorization")
    secret, assertion = params.get("client_secret"), params.get("client_assertion")
    if sum(each is not None for each in (header, secret, assertion)) > 1:
        refuse("invalid_request", "the client authenticates in more than one way")
    if assertion is not None:
        return _by_assertion(authority, check, params, assertion)
    name = params.get("client_id")
    if header is None:
        return _by_secret(authority, name, secret)
    basic, secret = _basic(header)
    if name not in (None, basic):
        refuse("invalid_request", "field client_id names another client than the header")
    return _by_secret(authority, basic, secret, is_header=True)


def confidential(authority: Authority, check: Check, params: Params) -> Client:
    """The client, which must have proved who it is.

    Raises:
        Refused: it has not.
    """
    client = authenticated(authority, check, params)
    if client.is_public:
        _refuse_client(f"client {client.id} is public and cannot authenticate")
    return client


@dataclass(frozen=True, slots=True, repr=False)
class Assertion:
    """A JWT in which somebody says who they are, or for whom they ask (RFC 7523 section 3).

    Attributes:
        text: as it came.
        name: of the field that had it.
        refuse: refuses the request for the reason given.
    """

    text: str
    name: str
    refuse: Callable[[str], NoReturn]

    @property
    def issuer(self) -> str:
        """Who is said to have made it."""
        return str(claims_of(self.text).get("iss"))

    def claims(
        self, keys: tuple[Key, ...], audiences: Collection[str], now: datetime
    ) -> dict[str, Any]:
        """What it says, once signature, audience and times are found right.

        Args:
            keys: one of which must have signed it.
            audiences: one of which it must be for.
            now: the time of the server.

        Raises:
            Refused: it is not right.
        """
        claims = verified(self.text, keys)
        if claims is None:
            self.refuse(f"the signature of {self.name} fits no key of its issuer")
        audience = claims.get("aud")
        if not any(each in audiences for each in _listed(audience)):
            self.refuse(f"{self.name} is for another audience")
        if not claims.get("sub"):
            self.refuse(f"{self.name} has no claim sub")
        start, end = claims.get("nbf", 0), claims.get("exp")
        if not isinstance(end, int | float):
            self.refuse(f"{self.name} has no claim exp")
        if not end > now.timestamp():
            self.refuse(f"{self.name} has expired")
        if not isinstance(start, int | float) or start > now.timestamp():
            self.refuse(f"{self.name} is not valid yet")
        return claims


def _listed(audience: object) -> list[str]:
    given = audience if isinstance(audience, list) else [audience]
    return [each for each in given if isinstance(each, str)]


def _refuse_client(reason: str) -> NoReturn:
    refuse("invalid_client", reason, said="client authentication failed", status=401)


def _basic(header: str) -> tuple[str, str]:
    """Id and secret of an `Authorization` of the scheme Basic."""
    scheme, _, encoded = header.partition(" ")
    decoded = text_of_base64(encoded.strip()) if scheme.casefold() == "basic" else None
    if decoded is None or ":" not in decoded:
        _refuse_client("Authorization is not Basic with id and secret")
    name, _, secret = decoded.partition(":")
    return unquote_plus(name), unquote_plus(secret)


def _by_secret(
    authority: Authority, name: str | None, secret: str | None, *, is_header: bool = False
) -> Client:
    if name is None:
        _refuse_client("no client authentication")
    client = authority.clients.get(name)
    if client is None:
        _refuse_client("unknown client")
    if client.is_public:
        # Empty is the same as none (RFC 6749 section 2.3.1).
        if secret:
            _refuse_client(f"client {client.id} is public, and sends a secret")
        return client
    if client.secret is None:
        _refuse_client(f"client {client.id} has a key, so it authenticates by private_key_jwt")
    if secret is None:
        _refuse_client(f"client {client.id} sends no secret")
    if secret != client.secret:
        hint = ""
        if is_header and client.secret != unquote_plus(client.secret):
            hint = "; Basic form-encodes id and secret first (RFC 6749 section 2.3.1)"
        _refuse_client(f"client {client.id} sends a wrong secret{hint}")
    return client


def _by_assertion(authority: Authority, check: Check, params: Params, text: str) -> Client:
    if params.get("client_assertion_type") != BY_JWT:
        _refuse_client("client_assertion_type is not that of a JWT")
    assertion = Assertion(text, "client_assertion", _refuse_client)
    client = authority.clients.get(assertion.issuer)
    if client is None:
        _refuse_client("client_assertion is of an unknown client")
    if params.get("client_id") not in (None, client.id):
        refuse("invalid_request", "field client_id names another client than the assertion")
    asked = check.incoming.url.partition("?")[0]
    own = {authority.url(), f"{authority.url()}/token", asked}
    claims = assertion.claims(client.keys, own, check.now)
    if claims["sub"] != client.id:
        _refuse_client("client_assertion has another sub than iss")
    identifier = (client.id, str(claims.get("jti")))
    if not claims.get("jti"):
        _refuse_client("client_assertion has no claim jti")
    if identifier in authority.spent:
        _refuse_client("client_assertion was used before")
    authority.spent.add(identifier)
    return client
