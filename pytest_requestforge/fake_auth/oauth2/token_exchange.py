"""Tokens for tokens (RFC 8693)."""

from datetime import datetime
from typing import Any

from pytest_requestforge.fake_auth.answers import Answer
from pytest_requestforge.fake_auth.oauth2.authority import Authority
from pytest_requestforge.fake_auth.oauth2.clients import Client
from pytest_requestforge.fake_auth.oauth2.records import (
    ACCESS_TOKEN,
    JWT,
    Code,
    DeviceCode,
    Grant,
    Minted,
)
from pytest_requestforge.fake_auth.oauth2.wire import Params, refuse
from pytest_requestforge.fake_auth.tokens import Issued


def exchange_token(authority: Authority, client: Client, params: Params, now: datetime) -> Answer:
    """A token in the name of the subject, and on behalf of the actor, if there is one.

    Raises:
        Refused: a token is not good for it, or another kind of token is asked for.
    """
    subject = _presented(authority, params, "subject_token", now)
    actor = None
    if params.get("actor_token") is not None:
        actor = _presented(authority, params, "actor_token", now)
    elif params.get("actor_token_type") is not None:
        refuse("invalid_request", "field actor_token_type is there without actor_token")
    kind = params.get("requested_token_type") or ACCESS_TOKEN
    if kind not in ((ACCESS_TOKEN, JWT) if authority.signs_access_tokens else (ACCESS_TOKEN,)):
        refuse("invalid_request", "field requested_token_type is not supported")
    claims: dict[str, Any] = {}
    if actor is not None:
        claims["act"] = {"sub": _sub(actor)}
        if isinstance(subject, Minted) and "act" in subject.claims:  # RFC 8693 section 4.1
            claims["act"]["act"] = subject.claims["act"]
    grant = Grant(
        client_id=client.id,
        sub=_sub(subject),
        scope=authority.scope(
            params, within=subject.grant.scope if isinstance(subject, Minted) else None
        ),
        audience=authority.audience(params),
        claims=claims,
    )
    parents = [subject] if actor is None else [subject, actor]
    token = authority.access_token(grant, now, parents)
    return authority.answer(token, more={"issued_token_type": kind})


def _presented(authority: Authority, params: Params, name: str, now: datetime) -> Issued:
    """The live token in that field (RFC 8693 section 2.2.2)."""
    text, claimed = params.need(name), params.need(f"{name}_type")
    token = authority.server.book.find(text)
    if token is None or isinstance(token, Code | DeviceCode):
        refuse("invalid_request", f"field {name} has an unknown token")
    reason = token.refusal(now)
    if reason is not None:
        refuse("invalid_request", reason, said=f"field {name} has an expired or revoked token")
    # A token of another endpoint of the same server is an access token.
    kinds = [token.kind if isinstance(token, Minted) else ACCESS_TOKEN]
    if isinstance(token, Minted) and token.key_id is not None:
        kinds.append(JWT)
    if claimed not in kinds:
        reason = f"{token.label} is not of the type in field {name}_type"
        refuse("invalid_request", reason, said=f"field {name} is of another type")
    return token


def _sub(token: Issued) -> str:
    return token.grant.sub if isinstance(token, Minted) else token.step
