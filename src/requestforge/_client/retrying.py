"""Whether a client's failed attempt is made again, after what wait, and how the last one ends."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple, Unpack

from requestforge._client.arriving import Arrived
from requestforge._client.outgoing import Streams
from requestforge._headers import retry_after
from requestforge._portable import describe, without_secrets
from requestforge.exceptions import (
    AuthenticationException,
    CapacityException,
    CircuitOpenException,
    ConnectionException,
    HttpClientException,
    HttpStatusException,
    MaxRetryConnectionException,
    MaxRetryException,
    MaxRetryTimeoutException,
    RequestBuildException,
    TimeoutException,
    status_exception,
)
from requestforge.interfaces import RETRYABLE_STATUS_CODES, RetryStrategyInterface
from requestforge.models import HttpMethod, HttpRequest, HttpResponse, RequestContext

# RFC 9110 section 9.2.2.
_NOT_IDEMPOTENT = frozenset({HttpMethod.POST, HttpMethod.PATCH})
_FINAL = (
    AuthenticationException,
    CapacityException,
    CircuitOpenException,
    RequestBuildException,
)
_LONGEST_RETRY_AFTER = 60.0

_Answer = TypeVar("_Answer")
_Arguments = TypeVarTuple("_Arguments")


class StrategyFailed(Exception):
    """Ends a request whose retry strategy has failed.

    Attributes:
        failure: the error to raise in its place.
    """

    def __init__(self, failure: HttpClientException) -> None:
        super().__init__(failure)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt that failed.

    Attributes:
        request: what was to be sent, as far as the request hooks came.
        failure: the error.
        body: what has to be rewound of it before it is sent once more.
        arrived: the answer that the error stands for, if there was one.
    """

    request: HttpRequest
    failure: HttpClientException
    body: Streams
    arrived: Arrived | None = None


def calls_retryable(strategy: RetryStrategyInterface | None, status: int) -> bool:
    """Whether the strategy counts an answer of this status as a failed attempt."""
    if strategy is None:
        return False
    judge = getattr(strategy, "is_retryable_status", RETRYABLE_STATUS_CODES.__contains__)
    return bool(ask(strategy, judge, status))


def ask(
    strategy: object, question: Callable[[Unpack[_Arguments]], _Answer], *about: *_Arguments
) -> _Answer:
    """What a retry strategy answers to a question; errors of the library pass.

    Raises:
        StrategyFailed: it raised another error.
    """
    try:
        return question(*about)
    except HttpClientException:
        raise
    except Exception as error:  # noqa: BLE001 - a strategy may raise anything
        text = f"The retry strategy {type(strategy).__name__} failed: {describe(error)}."
        failure = HttpClientException(text, without_secrets(error))
    raise StrategyFailed(failure)


def status_failure(response: HttpResponse) -> HttpStatusException:
    """The error that an answer stands for, whatever its status."""
    try:
        response.raise_for_status()
    except HttpStatusException as error:
        return error.with_traceback(None)
    text = f"{response.url} answered with status {response.status_code}."
    failure = status_exception(response.status_code, text)
    failure.response = response
    failure.retry_after = retry_after(response.headers)
    return failure


def wait_before_retry(
    strategy: RetryStrategyInterface | None,
    context: RequestContext,
    failed: Failed,
    keys: frozenset[str],
) -> float | None:
    """Seconds to wait before the next attempt; None: there is none.

    Args:
        strategy: decides.
        context: that of the request.
        failed: the attempt that failed.
        keys: headers, in lower case, with which any request can be repeated.

    Raises:
        StrategyFailed: as `ask`.
    """
    return ask(strategy, _wait, strategy, context, failed, keys)


def _wait(
    strategy: RetryStrategyInterface | None,
    context: RequestContext,
    failed: Failed,
    keys: frozenset[str],
) -> float | None:
    failure = failed.failure
    if strategy is None or isinstance(failure, _FINAL) or context.attempt >= strategy.max_retries:
        return None
    if not _may_repeat(strategy, failed, keys) or not strategy.should_retry(context, failure):
        return None
    asked = getattr(failure, "retry_after", None) or 0.0
    if asked > getattr(strategy, "max_retry_after", _LONGEST_RETRY_AFTER):
        return None
    return max(seconds(strategy.get_delay(context)), asked)


def seconds(delay: object) -> float:
    """The wait that a strategy asks for.

    Raises:
        ValueError: it is no finite number.
    """
    try:
        wait = float(delay)  # type: ignore[arg-type]
    except (TypeError, ValueError, ArithmeticError):
        wait = math.nan
    if not math.isfinite(wait):
        msg = f"get_delay gave a {type(delay).__name__} that is no finite number of seconds"
        raise ValueError(msg) from None
    return wait


def last_failure(
    strategy: RetryStrategyInterface | None, context: RequestContext, failure: HttpClientException
) -> HttpClientException:
    """What is raised in the end: the failure itself, unless it has used all retries up."""
    is_answer = isinstance(failure, (*_FINAL, HttpStatusException))
    if strategy is None or is_answer or not 0 < context.attempt >= strategy.max_retries:
        return failure
    kind: type[MaxRetryException] = MaxRetryException
    if isinstance(failure, TimeoutException):
        kind = MaxRetryTimeoutException
    elif isinstance(failure, ConnectionException):
        kind = MaxRetryConnectionException
    attempts = context.attempt + 1
    text = f"All {attempts} attempts failed. The last one: {failure.message}"
    error = kind(text, attempts, failure)
    error.history = tuple(context.history)
    error.__cause__ = failure
    return error


def _may_repeat(strategy: RetryStrategyInterface, failed: Failed, keys: frozenset[str]) -> bool:
    return (
        failed.request.method not in _NOT_IDEMPOTENT
        or failed.failure.context.get("sent") is False
        or getattr(strategy, "retry_non_idempotent", False)
        or any(
            value and str(name).lower() in keys
            for name, value in (failed.request.headers or {}).items()
        )
    )
