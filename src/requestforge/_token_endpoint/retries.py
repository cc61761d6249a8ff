"""Fetches of tokens that are tried again, as a retry strategy says."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from requestforge import instrumentation
from requestforge._deadline import note_cut, time_left
from requestforge._origins import origin_of
from requestforge._token_endpoint.replies import status_error
from requestforge.exceptions import (
    AuthenticationException,
    CircuitOpenException,
    HttpClientException,
    HttpStatusException,
    RequestBuildException,
)
from requestforge.interfaces import RETRYABLE_STATUS_CODES, RetryStrategyInterface
from requestforge.models import HttpRequest, HttpResponse, RequestContext

_REFUSALS = frozenset({400, 401, 403})
_POINTLESS = (AuthenticationException, CircuitOpenException, RequestBuildException)
_LONGEST_RETRY_AFTER = 60.0
_LONGEST_FETCH = 365 * 24 * 3600.0

Strategy = RetryStrategyInterface | Any
"""A RetryStrategyInterface, or an object with the protocol of 1.0.0's strategies."""


def send_with_retries(
    send: Callable[[], HttpResponse], request: HttpRequest, strategy: Strategy | None
) -> tuple[HttpResponse, datetime]:
    """The last answer, whatever its status, and the instant before its request was sent.

    A wait that would pass the deadline of this thread is not begun.

    Args:
        send: sends the request once.
        request: what the strategy is shown.
        strategy: None: there is one attempt.

    Raises:
        HttpClientException: the last attempt got no answer.
    """
    if strategy is None:
        sent_at = instrumentation.now()
        return send(), sent_at
    origin = str(origin_of(request.url) or "")
    context = RequestContext(request, max_retries=strategy.max_retries, origin=origin)
    while True:
        sent_at = instrumentation.now()
        outcome = _outcome(send, strategy, context)
        wait = _wait(outcome, strategy, context)
        if wait is None:
            break
        instrumentation.sleep(wait)
        context.increment_attempt()
    if isinstance(outcome, HttpClientException):
        raise outcome
    return outcome, sent_at


def longest_fetch(timeout: float, request: HttpRequest, strategy: Strategy | None) -> timedelta:
    """How long all attempts, and the waits between them, take at most.

    Args:
        timeout: seconds for one attempt.
        request: what the strategy is shown.
        strategy: None: there is one attempt.
    """
    retries = 0 if strategy is None else strategy.max_retries
    seconds = timeout * (retries + 1)
    if strategy is not None and retries:
        wait = max(_longest_delay(strategy, request, retries), _longest_retry_after(strategy))
        seconds += wait * retries
    return timedelta(seconds=min(seconds, _LONGEST_FETCH))


def _outcome(
    send: Callable[[], HttpResponse], strategy: Strategy, context: RequestContext
) -> HttpResponse | HttpClientException:
    listener = strategy if isinstance(strategy, RetryStrategyInterface) else None
    outcome: HttpResponse | HttpClientException
    if listener is not None:
        try:
            listener.before_attempt(context)
        except HttpClientException as refusal:
            return refusal
    try:
        outcome = send()
    except HttpClientException as error:
        outcome = error
    except BaseException as error:
        if listener is not None:
            listener.after_attempt(context, error)
        raise
    if listener is not None:
        listener.after_attempt(context, outcome)
    return outcome


def _wait(
    outcome: HttpResponse | HttpClientException, strategy: Strategy, context: RequestContext
) -> float | None:
    """Seconds to the next attempt; None: there is none."""
    failure = _retryable(outcome, strategy)
    if failure is None:
        return None
    context.history.append(failure)
    if context.attempt >= strategy.max_retries or not strategy.should_retry(context, failure):
        return None
    asked = failure.retry_after if isinstance(failure, HttpStatusException) else None
    if asked is not None and asked > _longest_retry_after(strategy):
        return None
    wait, left = max(0.0, strategy.get_delay(context), asked or 0.0), time_left()
    if left is not None and wait >= left:
        note_cut()
        return None
    return wait


def _retryable(
    outcome: HttpResponse | HttpClientException, strategy: Strategy
) -> HttpClientException | None:
    if isinstance(outcome, HttpClientException):
        return None if isinstance(outcome, _POINTLESS) else outcome
    status = outcome.status_code
    retryable = (
        strategy.is_retryable_status(status)
        if isinstance(strategy, RetryStrategyInterface)
        else status in RETRYABLE_STATUS_CODES
    )
    return status_error(outcome) if retryable and status not in _REFUSALS else None


def _longest_retry_after(strategy: Strategy) -> float:
    if isinstance(strategy, RetryStrategyInterface):
        return strategy.max_retry_after
    return _LONGEST_RETRY_AFTER


def _longest_delay(strategy: Strategy, request: HttpRequest, retries: int) -> float:
    longest: float | None = getattr(strategy, "longest_delay", None)
    if longest is not None:
        return longest
    ends = (RequestContext(request, attempt, retries) for attempt in (0, retries - 1))
    return max(float(strategy.get_delay(context)) for context in ends)
