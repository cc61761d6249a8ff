"""What can be asked about a token, and how it is given up."""

from pytest_requestforge.fake_auth.answers import Answer
from pytest_requestforge.fake_auth.checks import Check
from pytest_requestforge.fake_auth.oauth2.authentication import authenticated, confidential
from pytest_requestforge.fake_auth.oauth2.authority import Authority
from pytest_requestforge.fake_auth.oauth2.records import (
    ACCESS_TOKEN,
    ID_TOKEN,
    REFRESH_TOKEN,
    Minted,
)
from pytest_requestforge.fake_auth.oauth2.wire import NO_STORE, Params, Refused, refuse


def introspect(authority: Authority, check: Check) -> Answer:
    """Whether a token is alive, and what it stands for (RFC 7662)."""
    params = Params(check.incoming.fields or {})
    confidential(authority, check, params)
    token = authority.find(params.need("token"))
    if not isinstance(token, Minted) or token.kind == ID_TOKEN:
        return Answer(200, {"active": False}, NO_STORE, "inactive: unknown token")
    reason = token.refusal(check.now)
    if reason is not None:
        return Answer(200, {"active": False}, NO_STORE, f"inactive: {reason}")
    grant = token.grant
    content = {
        "iss": authority.url(),
        "sub": grant.sub,
        "client_id": grant.client_id,
        **token.claims,
        "active": True,
    }
    if token.kind == ACCESS_TOKEN:
        content["token_type"] = "Bearer"
    if token.kind == REFRESH_TOKEN and token.expires_at is not None:
        content["exp"] = int(token.expires_at.timestamp())
    if grant.scope:
        content["scope"] = " ".join(grant.scope)
    if grant.is_user:
        content["username"] = grant.sub
    return Answer(200, content, NO_STORE, f"active: {token.label}")


def revoke(authority: Authority, check: Check) -> Answer:
    """Give up a token; with a refresh token all that its grant has given (RFC 7009)."""
    params = Params(check.incoming.fields or {})
    client = authenticated(authority, check, params)
    token = authority.find(params.need("token"))
    if not isinstance(token, Minted):
        return Answer(200, b"", NO_STORE, "nothing to revoke: unknown token")
    if token.kind == ID_TOKEN:
        reason = f"{token.label} is an ID token, which is not revoked"
        refuse("unsupported_token_type", reason, said="ID tokens are not revoked")
    if token.grant.client_id != client.id:  # RFC 7009 section 2.1
        reason = f"{token.label} was given to client {token.grant.client_id}, not {client.id}"
        refuse("invalid_grant", reason, said="the token was given to another client")
    token.revoked = True
    if token.kind == REFRESH_TOKEN:
        token.family.revoked = True
    return Answer(200, b"", NO_STORE, f"revoked {token.label}")


def userinfo(authority: Authority, check: Check) -> Answer:
    """Claims about the user who has signed in (OpenID Connect Core section 5.3)."""
    token = _bearer(authority, check)
    claims = {**authority.claims.get(token.grant.sub, {}), "sub": token.grant.sub}
    return Answer(200, claims, NO_STORE, f"accepted {token.label}")


def _bearer(authority: Authority, check: Check) -> Minted:
    """The token of the request: in the header, or in the form of a POST (RFC 6750 section 2)."""
    header = check.incoming.header("Authorization")
    field = None
    if check.incoming.method == "POST":
        field = Params(check.incoming.fields or {}).get("access_token")
    if header is not None and field is not None:
        refuse("invalid_request", "the token is there in more than one way")
    text = field
    if header is not None:
        scheme, _, text = header.partition(" ")
        if scheme.casefold() != "bearer":
            refuse("", "Authorization is not Bearer", status=401)
    if not text:
        refuse("", "Authorization is missing", status=401)
    token = authority.find(text)
    if not isinstance(token, Minted) or token.kind != ACCESS_TOKEN:
        refuse("invalid_token", "the token is unknown", status=401)
    reason = token.refusal(check.now)
    if reason is not None:
        refuse("invalid_token", reason, said="the token is expired or revoked", status=401)
    check.use(token, frozenset({"openid"}), authority.url().__eq__)
    if check.problems:
        raise Refused(check.problems[0])
    return token
