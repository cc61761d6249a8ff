"""What a failed fetch means: the error for its callers, and whether an upstream is at fault."""

from collections.abc import Iterable, Iterator
from copy import copy

from requestforge._deadline import time_left
from requestforge._portable import without_secrets
from requestforge._redaction import error_text
from requestforge.exceptions import (
    AuthenticationException,
    DependencyException,
    TimeoutException,
    TokenRefreshException,
)
from requestforge.tokens import TokenData

_UNAUTHORIZED = 401
_MOST_CAUSES = 20


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


def is_out_of_time(error: Exception) -> bool:
    """Whether a fetch ended in a timeout because the deadline of this thread has passed."""
    left = time_left()
    is_timeout = any(isinstance(link, TimeoutException) for link in _chain(error))
    return is_timeout and left is not None and left <= 0


def without_tokens(error: Exception, tokens: Iterable[TokenData | None]) -> Exception:
    """The error, or a copy of it if it shows one of those tokens, which the fetch was given."""
    given = [token for token in tokens if token is not None]
    known = [t.access_token for t in given] + [t.refresh_token for t in given if t.refresh_token]
    clean = without_secrets(error, known)
    return clean if isinstance(clean, Exception) else error


def is_refusal(error: Exception) -> bool:
    """Whether the step's server refused a token that the step had sent.

    That is a 401, or the error code `invalid_token` (RFC 6750 section 3.1), unless the answer
    blames the client or the grant itself (RFC 6749 section 5.2).
    """
    causes = list(_chain(error))
    text = " ".join(str(cause) for cause in causes)
    if "invalid_client" in text or "invalid_grant" in text:
        return False
    return "invalid_token" in text or any(_status(cause) == _UNAUTHORIZED for cause in causes)


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if current is None:
            return
        yield current
        current = current.__cause__ or getattr(current, "original_exception", None)


def _status(error: BaseException) -> object:
    """The status of an HttpStatusException, or of another library's error that has a response."""
    own = getattr(error, "status_code", None)
    return getattr(getattr(error, "response", None), "status_code", None) if own is None else own
