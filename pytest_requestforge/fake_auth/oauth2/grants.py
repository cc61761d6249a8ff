"""What the token endpoint takes, and what it gives for it (RFC 6749 section 4 and extensions)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NoReturn

from pytest_requestforge.fake_auth.answers import Answer
from pytest_requestforge.fake_auth.checks import Check
from pytest_requestforge.fake_auth.oauth2.authentication import Assertion, authenticated
from pytest_requestforge.fake_auth.oauth2.authority import Authority
from pytest_requestforge.fake_auth.oauth2.authorization import check_verifier
from pytest_requestforge.fake_auth.oauth2.clients import Client
from pytest_requestforge.fake_auth.oauth2.device import poll
from pytest_requestforge.fake_auth.oauth2.records import (
    REFRESH_TOKEN,
    Code,
    DeviceCode,
    Grant,
    Minted,
)
from pytest_requestforge.fake_auth.oauth2.token_exchange import exchange_token
from pytest_requestforge.fake_auth.oauth2.wire import Params, refuse
from pytest_requestforge.fake_auth.tokens import Issued

_AUTHENTICATION = ("client_id", "client_secret", "client_assertion")


def granted(authority: Authority, check: Check) -> Answer:
    """The tokens that the request is worth.

    Raises:
        Refused: it is worth none.
    """
    params = Params(check.incoming.fields or {})
    grant = GRANTS.get(params.need("grant_type"))
    if grant is None:
        refuse("unsupported_grant_type", "field grant_type has a value that is not known")
    return grant(authority, check, params)


def _client_credentials(authority: Authority, check: Check, params: Params) -> Answer:
    client = authenticated(authority, check, params)
    if client.is_public:  # RFC 6749 section 4.4
        refuse("unauthorized_client", f"client {client.id} is public")
    grant = Grant(
        client_id=client.id,
        sub=client.id,
        scope=authority.scope(params),
        audience=authority.audience(params),
    )
    return authority.answer(authority.access_token(grant, check.now))


def _password(authority: Authority, check: Check, params: Params) -> Answer:
    client = authenticated(authority, check, params)
    username, password = params.need("username"), params.need("password")
    if authority.users.get(username) != password:
        refuse("invalid_grant", "user name or password is wrong")
    grant = Grant(
        client_id=client.id,
        sub=username,
        scope=authority.scope(params),
        audience=authority.audience(params),
        is_user=True,
        signed_in_at=check.now,
    )
    return authority.tokens(grant, check.now)


def _authorization_code(authority: Authority, check: Check, params: Params) -> Answer:
    client = authenticated(authority, check, params)
    code = authority.find(params.need("code"))
    if not isinstance(code, Code):
        refuse("invalid_grant", "field code has an unknown code")
    _refuse_foreign(code, code.grant, client)
    if code.is_used:  # RFC 6749 section 4.1.2
        code.revoked, code.flaw = True, "revoked: it was redeemed twice"
        reason = f"{code.label} was redeemed before, so all that it has given is revoked"
        refuse("invalid_grant", reason, said="the code was redeemed before")
    _refuse_dead(code, check)
    if params.get("redirect_uri") != code.redirect_uri:
        reason = f"field redirect_uri is not the one of {code.label}"
        refuse("invalid_grant", reason, said="field redirect_uri is not the one asked for")
    check_verifier(code, params.get("code_verifier"))
    audience = authority.audience(params, within=code.grant.audience)
    code.is_used = True
    return authority.tokens(replace(code.grant, audience=audience), check.now, [code])


def _refresh_token(authority: Authority, check: Check, params: Params) -> Answer:
    client = authenticated(authority, check, params)
    token = authority.find(params.need("refresh_token"))
    if not isinstance(token, Minted) or token.kind != REFRESH_TOKEN:
        refuse("invalid_grant", "field refresh_token has an unknown token")
    _refuse_foreign(token, token.grant, client)
    if token.is_used:  # RFC 9700 section 4.14.2
        token.family.revoked = True
        token.family.flaw = f"revoked: {token.label} was used again after its rotation"
        reason = f"{token.label} was rotated and is used again, so its family is revoked"
        refuse("invalid_grant", reason, said="the refresh token was used before")
    _refuse_dead(token, check)
    grant = replace(
        token.grant,
        scope=authority.scope(params, within=token.grant.scope),
        audience=authority.audience(params, within=token.grant.audience),
        nonce=None,  # OpenID Connect Core section 12.2
    )
    access = authority.access_token(grant, check.now, [token.family])
    identity = authority.id_token(grant, check.now, access)
    if not authority.rotates:
        return authority.answer(access, identity=identity)
    token.is_used = True
    new = authority.refresh_token(token.grant, check.now, [token.family])
    return authority.answer(access, new, identity)


def _device_code(authority: Authority, check: Check, params: Params) -> Answer:
    client = authenticated(authority, check, params)
    code = authority.find(params.need("device_code"))
    if not isinstance(code, DeviceCode):
        refuse("invalid_grant", "field device_code has an unknown code")
    _refuse_foreign(code, code.grant, client)
    if code.is_used:
        reason = f"{code.label} was redeemed before"
        refuse("invalid_grant", reason, said="the device code was redeemed before")
    poll(code, check.now)
    code.is_used = True
    return authority.tokens(code.grant, check.now, [code])


def _jwt_bearer(authority: Authority, check: Check, params: Params) -> Answer:
    """RFC 7523 section 2.1; the client may stay unnamed, but proves itself if it is."""
    incoming, client = check.incoming, None
    if incoming.header("Authorization") or any(map(params.get, _AUTHENTICATION)):
        client = authenticated(authority, check, params)
    text = params.need("assertion")
    assertion = Assertion(text, "assertion", _refuse_grant)
    issuer, url = assertion.issuer, authority.url()
    known = authority.clients.get(issuer)
    keys = known.keys if known is not None else authority.issuers.get(issuer, ())
    if issuer == url:
        keys = authority.keys.keys
    claims = assertion.claims(keys, {url, f"{url}/token"}, check.now)
    own = authority.find(text)
    if own is not None:
        _refuse_dead(own, check)
    params = params.or_else("scope", claims.get("scope"))
    grant = Grant(
        client_id=client.id if client is not None else str(claims.get("client_id", issuer)),
        sub=str(claims["sub"]),
        scope=authority.scope(params),
        audience=authority.audience(params),
    )
    parents = [] if own is None else [own]
    return authority.answer(authority.access_token(grant, check.now, parents))


def _token_exchange(authority: Authority, check: Check, params: Params) -> Answer:
    return exchange_token(authority, authenticated(authority, check, params), params, check.now)


GRANTS: Mapping[str, Callable[[Authority, Check, Params], Answer]] = {
    "authorization_code": _authorization_code,
    "client_credentials": _client_credentials,
    "password": _password,
    "refresh_token": _refresh_token,
    "urn:ietf:params:oauth:grant-type:device_code": _device_code,
    "urn:ietf:params:oauth:grant-type:jwt-bearer": _jwt_bearer,
    "urn:ietf:params:oauth:grant-type:token-exchange": _token_exchange,
}


def _refuse_foreign(token: Issued, grant: Grant, client: Client) -> None:
    if grant.client_id != client.id:
        reason = f"{token.label} was given to client {grant.client_id}, not {client.id}"
        refuse("invalid_grant", reason, said="it was given to another client")


def _refuse_dead(token: Issued, check: Check) -> None:
    reason = token.refusal(check.now)
    if reason is not None:
        refuse("invalid_grant", reason, said="it is expired or revoked")


def _refuse_grant(reason: str) -> NoReturn:
    refuse("invalid_grant", reason)
