"""What a failed fetch means: the error for its callers, and what or who is at fault."""

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime

from requestforge import instrumentation
from requestforge._deadline import time_left
from requestforge._portable import without_secrets
from requestforge._redaction import error_text
from requestforge.exceptions import (
    AuthenticationException,
    ConnectionException,
    DependencyException,
    HttpStatusException,
    TimeoutException,
    TokenRefreshException,
)
from requestforge.interfaces import RETRYABLE_STATUS_CODES
from requestforge.tokens import TokenData

_UNAUTHORIZED = 401
_NOT_THE_TOKEN = ("invalid_client", "invalid_grant")
_MOST_CAUSES = 20
_LONGEST_WAIT = 3650 * 86400.0
"""Seconds, as for Retry-After in an answer."""


def step_failure(step: str, cause: Exception) -> AuthenticationException:
    """A new error that names the failing step, for one caller."""
    if isinstance(cause, DependencyException) and cause.service_name == step:
        return copy(cause)
    kinds = (TokenRefreshException, DependencyException)
    kind = next((kind for kind in kinds if isinstance(cause, kind)), AuthenticationException)
    failure = kind(f"Step {step!r} failed: {error_text(cause)}", cause, service_name=step)
    failure.retry_at = getattr(cause, "retry_at", None)
    return failure


def wait_failure(step: str, limit: float, left: float | None) -> AuthenticationException:
    """The error of a caller that waits no longer for the token of a step.

    Args:
        step: the step's name.
        limit: seconds that it would wait at most.
        left: seconds that it had before a deadline; None: there is none.
    """
    if left is None or left >= limit:
        msg = (
            f"Step {step!r}: waited {limit:g} s for a fetch under way elsewhere. It is slower "
            "than its fetch_timeout says, or stuck; see wait_timeout."
        )
        return AuthenticationException(msg, service_name=step)
    if left <= 0:
        msg = f"Step {step!r} was not fetched: the time allowed for the request is over."
    else:
        msg = (
            f"Step {step!r}: a fetch under way elsewhere did not end within the {left:.3g} s "
            "that were left of the time allowed for the request."
        )
    failure = AuthenticationException(msg, service_name=step)
    failure.__cause__ = TimeoutException(msg)
    return failure


def asked_wait(error: BaseException) -> float | None:
    """Seconds that the server asked to wait before the next try, in an error or one of its causes.

    None if it asked for none.
    """
    for link in _chain(error):
        retry_at, seconds = getattr(link, "retry_at", None), getattr(link, "retry_after", None)
        if isinstance(retry_at, datetime):
            with suppress(ValueError, OverflowError, OSError):  # the first and last day of datetime
                seconds = (retry_at.astimezone(UTC) - instrumentation.now()).total_seconds()
        if isinstance(seconds, int | float) and 0 < seconds < math.inf:
            return min(float(seconds), _LONGEST_WAIT)
    return None


def is_out_of_time(error: Exception) -> bool:
    """Whether a fetch ended in a timeout because the deadline of this thread has passed."""
    left = time_left()
    is_timeout = any(isinstance(link, TimeoutException) for link in _chain(error))
    return is_timeout and left is not None and left <= 0


def without_tokens(
    error: Exception, tokens: Iterable[TokenData | None], values: Iterable[str] = ()
) -> Exception:
    """The error, or a copy of it if it shows one of those tokens and values.

    They are what the fetch was given.
    """
    given = [token for token in tokens if token is not None]
    known = [t.access_token for t in given] + [t.refresh_token for t in given if t.refresh_token]
    clean = without_secrets(error, [*known, *values])
    return clean if isinstance(clean, Exception) else error


def is_refusal(error: Exception) -> bool:
    """Whether the step's server refused a token that the step had sent.

    That is a 401, or the error code `invalid_token` (RFC 6750 section 3.1), unless the answer
    blames the client or the grant itself (RFC 6749 section 5.2).
    """
    causes = list(_chain(error))
    text = " ".join(str(cause) for cause in causes)
    code = error_code(error)
    if code in _NOT_THE_TOKEN or (code is None and any(each in text for each in _NOT_THE_TOKEN)):
        return False
    return "invalid_token" in text or any(_status(cause) == _UNAUTHORIZED for cause in causes)


def error_code(error: BaseException) -> str | None:
    """The error code (RFC 6749 section 5.2) of the answer behind an error; None: it shows none.

    It is told by the errors of this library, and by those of others that have it as `error`, such
    as oauthlib and Authlib.
    """
    return next((code for link in _chain(error) if (code := _code_of(link))), None)


def is_grant_dead(error: Exception) -> bool:
    """Whether the server takes the refresh token no more (`invalid_grant`, RFC 6749 section 5.2).

    Of an error that shows no code the text is searched.
    """
    if any(isinstance(link, TokenRefreshException) for link in _chain(error)):
        return True
    code = error_code(error)
    if code is None:
        return any("invalid_grant" in str(link) for link in _chain(error))
    return code == "invalid_grant"


def is_grant_unknown(error: Exception) -> bool:
    """Whether the server gives this client nothing for refresh tokens, whatever they are."""
    return error_code(error) in {"unsupported_grant_type", "unauthorized_client"}


def is_transient(error: BaseException) -> bool:
    """Whether the same request may well succeed the next time: network, timeout, 408, 429, 5xx."""
    return any(
        isinstance(link, TimeoutException | ConnectionException)
        or _status(link) in RETRYABLE_STATUS_CODES
        for link in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if current is None:
            return
        yield current
        current = current.__cause__ or getattr(current, "original_exception", None)


def _code_of(link: BaseException) -> str | None:
    if not isinstance(link, HttpStatusException):
        own = getattr(link, "error", None)
        return own if isinstance(own, str) and own else None
    code = link.context.get("error")
    if code is None and link.response_body:
        try:
            answer = json.loads(link.response_body)
        except (ValueError, RecursionError):
            return None
        code = answer.get("error") if isinstance(answer, dict) else None
    return code if isinstance(code, str) and code else None


def _status(error: BaseException) -> object:
    """The status of an HttpStatusException, or of another library's error that has a response."""
    own = getattr(error, "status_code", None)
    return getattr(getattr(error, "response", None), "status_code", None) if own is None else own
