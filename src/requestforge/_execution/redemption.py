"""Refresh tokens: which one a fetch may redeem, and what a refused one leads to."""

from dataclasses import replace

from requestforge._execution.cache import TokenCache
from requestforge._execution.failures import (
    is_grant_dead,
    is_grant_unknown,
    is_transient,
    without_tokens,
)
from requestforge._execution.fetching import Fetched, fetch
from requestforge._execution.records import Record
from requestforge._execution.reports import Reports
from requestforge._execution.steps import Step
from requestforge._references import secret_values
from requestforge.exceptions import AuthenticationException, TokenRefreshException
from requestforge.tokens import TokenData, monotonic_end, stamped


class Superseded(Exception):
    """A refused refresh token is not the step's any more: another has come in its place."""


def renewed(
    step: Step,
    context: dict[str, TokenData] | None,
    record: Record,
    cache: TokenCache,
    reports: Reports,
) -> Fetched:
    """Fetch the step, by the refresh token of the record where there is one.

    One that the server refuses is dropped from the storage, and the step's own grant follows.

    Args:
        step: the step, whose flight, and lock between processes, is held.
        context: the tokens of earlier steps by name.
        record: what was read since.
        cache: where it was read.
        reports: hears of refused refresh tokens.

    Raises:
        Superseded: the refresh token was refused, and the storage has another one now.
        TokenRefreshException: it was refused, and so was all else that needs no user.
        Exception: whatever the step raised.
    """
    old = _redeemable(step, record)
    if old is None:
        _check_readable(step, record)
        return fetch(step, context)
    try:
        return fetch(step, context, old)
    except Exception as error:
        # Of a step that has tried its own grant as well, the error may be that grant's.
        has_told = isinstance(error, TokenRefreshException)
        is_dead = has_told if step.refresh_is_final else is_grant_dead(error)
        if not (is_dead or (is_grant_unknown(error) and not step.refresh_is_final)):
            raise
        refusal = error
    if is_dead:
        record = _drop(step, record, cache)
    given = [old, *(context or {}).values()]
    shown = without_tokens(refusal, given, secret_values(step.values))
    reports.refresh_failed(step.name, shown)
    if step.refresh_is_final or isinstance(refusal, TokenRefreshException):
        raise refusal
    _check_readable(step, record)
    return _by_own_grant(step, context)


def _redeemable(step: Step, record: Record) -> TokenData | None:
    """The token whose refresh token is to be redeemed, if there is one."""
    token = record.token
    if not (step.redeems and record.redeemable) or token is None or not token.refresh_token:
        return None
    return token


def _check_readable(step: Step, record: Record) -> None:
    """Refuse to redeem what the step was given once, while the storage may hold its successor."""
    if step.fetch_redeems and (record.unread or not record.redeemable):
        raise AuthenticationException(
            f"The refresh token of step {step.name!r} was not redeemed: the storage, which may "
            "hold a newer one, cannot be read, or is changed all the time. Try again later.",
            service_name=step.name,
        )


def _drop(step: Step, record: Record, cache: TokenCache) -> Record:
    """Take the refresh token out of the storage, if it is the one that was refused; what is there.

    Raises:
        Superseded: another one is, or the step was invalidated.
    """
    current = cache.read([step.entry])[step.name]
    if current.unread:
        return current
    refused, token = record.token, current.token
    if current.epoch != record.epoch or token is None or refused is None:
        raise Superseded
    if (token.generation, token.refresh_token) != (refused.generation, refused.refresh_token):
        raise Superseded
    bare = stamped(replace(token, refresh_token=None), current.own_generation, monotonic_end(token))
    cache.write(step.entry, bare, current)
    return current


def _by_own_grant(step: Step, context: dict[str, TokenData] | None) -> Fetched:
    """A token by what is left after a refresh token was refused.

    Raises:
        TokenRefreshException: that was refused, too.
        Exception: whatever else the step raised.
    """
    try:
        return fetch(step, context)
    except TokenRefreshException:  # it says so
        raise
    except Exception as error:
        if is_transient(error):
            raise
        failure = error
    raise TokenRefreshException(
        f"The refresh token of {step.name!r} was refused, and no grant that needs no user is left.",
        failure,
        service_name=step.name,
    ) from failure
