"""Retries under a circuit breaker, in one strategy."""

import random
from collections import OrderedDict

from requestforge._numbers import finite, whole
from requestforge.exceptions import (
    ConnectionException,
    HttpStatusException,
    SSLException,
    TimeoutException,
)
from requestforge.interfaces import RetryStrategyInterface
from requestforge.models import HttpResponse, RequestContext
from requestforge.retry.circuit import CircuitBreaker, Permit
from requestforge.retry.circuit_state import CircuitCounts
from requestforge.retry.circuit_state import State as CircuitState
from requestforge.retry.outcomes import is_failure

MOST_UNDER_WAY = 4096
"""Exchanges that are remembered; beyond these the one that began first is taken for lost."""


class CircuitBreakerRetryStrategy(RetryStrategyInterface):
    """Retries, and refuses requests to an origin that has failed several times in a row.

    It retries timeouts, failed connections (but no SSLException) and the statuses 408, 429, 500,
    502, 503 and 504, unless the circuit is open. Retry n, counted from 0, comes after a delay that
    is spread evenly over [0, base_delay * (n + 1)]. A client that uses it raises
    CircuitOpenException while the circuit of an origin is open, see CircuitBreaker.

    Args:
        max_retries: how often, at most.
        failure_threshold: failures in a row that open a circuit, 1 or more.
        recovery_timeout: seconds from there to the first probe, see CircuitBreaker.
        half_open_max_calls: probes at once, and successes of probes that close it, 1 or more.
        base_delay: seconds; the longest delay before the first retry.
        retry_non_idempotent: whether POST and PATCH are retried, too.
        max_retry_after: the longest Retry-After, in seconds, that is waited for.

    Raises:
        ValueError: a number is too small, or no number.
    """

    State = CircuitState

    def __init__(
        self,
        max_retries: int = 3,
        failure_threshold: int = 5,
        recovery_timeout: float = 30.0,
        half_open_max_calls: int = 3,
        base_delay: float = 1.0,
        *,
        retry_non_idempotent: bool = False,
        max_retry_after: float = 60.0,
    ) -> None:
        self._max_retries = whole("max_retries", max_retries)
        self._breaker = CircuitBreaker(failure_threshold, recovery_timeout, half_open_max_calls)
        self._base_delay = finite("base_delay", base_delay)
        self.retry_non_idempotent = retry_non_idempotent
        self.max_retry_after: float = finite("max_retry_after", max_retry_after)
        # By the id of the request whose exchange is under way; the one that began last is the last.
        self._permits: OrderedDict[str, Permit] = OrderedDict()

    @property
    def max_retries(self) -> int:
        """How many retries a request may have."""
        return self._max_retries

    def should_retry(self, context: RequestContext, exception: Exception) -> bool:
        """Whether the attempt that failed so is made again.

        Outside a client, where `context` names no origin, the failure is counted here.
        """
        if context.origin:
            state = self.state_of(context.origin)
        else:
            self._count(exception)
            state = self.state
        if state is CircuitState.OPEN or context.attempt >= self._max_retries:
            return False
        if isinstance(exception, HttpStatusException):
            return self.is_retryable_status(exception.status_code)
        return isinstance(exception, TimeoutException | ConnectionException) and not isinstance(
            exception, SSLException
        )

    def get_delay(self, context: RequestContext) -> float:
        """Seconds to wait before the next attempt."""
        return random.uniform(0.0, self._base_delay * (context.attempt + 1))  # noqa: S311 - spreads callers, no secret

    @property
    def longest_delay(self) -> float:
        """Seconds that no delay exceeds."""
        return self._base_delay * self._max_retries

    def before_attempt(self, context: RequestContext) -> None:
        """Ask the circuit of the origin.

        Raises:
            CircuitOpenException: it is open.
        """
        permits = self._permits
        permits[context.id] = self._breaker.acquire(context.origin)
        if len(permits) > MOST_UNDER_WAY:
            permits.popitem(last=False)

    def after_attempt(self, context: RequestContext, outcome: HttpResponse | BaseException) -> None:
        """Count the outcome of the exchange."""
        permit = self._permits.pop(context.id, None)
        if permit is not None:
            permit.leave(outcome)

    @property
    def state(self) -> CircuitState:
        """The worst state of all origins: open, else half-open, else closed."""
        return self._breaker.state

    def state_of(self, origin: str) -> CircuitState:
        """The state of an origin's circuit; closed if nothing is known of the origin."""
        return self._breaker.state_of(origin)

    def counts(self, origin: str) -> CircuitCounts:
        """What the circuit of an origin has counted."""
        return self._breaker.counts(origin)

    def record_success(self, origin: str | None = None) -> None:
        """Count a success of that origin; None: of all origins, those not yet met included."""
        self._breaker.record_success(origin)

    def record_failure(self, origin: str | None = None) -> None:
        """Count a failure of that origin; None: of all origins, those not yet met included."""
        self._breaker.record_failure(origin)

    def reset(self, origin: str | None = None) -> None:
        """Close the circuit of that origin; None: those of all origins."""
        self._breaker.reset(origin)

    def _count(self, exception: Exception) -> None:
        failed = is_failure(exception)
        if failed is not None:
            (self.record_failure if failed else self.record_success)()
