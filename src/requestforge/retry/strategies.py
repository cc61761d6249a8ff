"""Which requests that failed are made again, and when: decisions only, nothing waits here."""

from collections.abc import Collection

from requestforge._numbers import finite, whole
from requestforge.exceptions import (
    AuthenticationException,
    ConnectionException,
    HttpStatusException,
    SSLException,
    TimeoutException,
)
from requestforge.interfaces import RETRYABLE_STATUS_CODES, RetryStrategyInterface
from requestforge.models import RequestContext
from requestforge.retry.backoff import Backoff, Jitter


class NoRetryStrategy(RetryStrategyInterface):
    """Nothing is retried.

    Args:
        retry_non_idempotent: without effect.
        max_retry_after: without effect.
    """

    def __init__(
        self, *, retry_non_idempotent: bool = False, max_retry_after: float = 60.0
    ) -> None:
        self.retry_non_idempotent = retry_non_idempotent
        self.max_retry_after: float = finite("max_retry_after", max_retry_after)

    @property
    def max_retries(self) -> int:
        """0."""
        return 0

    def should_retry(self, context: RequestContext, exception: Exception) -> bool:  # noqa: ARG002
        """False."""
        return False

    def get_delay(self, context: RequestContext) -> float:  # noqa: ARG002 - names of the interface
        """0.0."""
        return 0.0


class SimpleRetryStrategy(RetryStrategyInterface):
    """Retries after a fixed delay.

    Args:
        max_retries: how often, at most.
        delay: seconds before each retry.
        retryable_exceptions: types of failures to retry, an empty collection for none; None: all
            but an SSLException. Statuses do not depend on it.
        retry_non_idempotent: whether POST and PATCH are retried, too.
        max_retry_after: the longest Retry-After, in seconds, that is waited for.

    Raises:
        ValueError: a number is negative, or no number.
    """

    def __init__(
        self,
        max_retries: int = 3,
        delay: float = 1.0,
        retryable_exceptions: Collection[type[BaseException]] | None = None,
        *,
        retry_non_idempotent: bool = False,
        max_retry_after: float = 60.0,
    ) -> None:
        self._max_retries = whole("max_retries", max_retries)
        self._delay = finite("delay", delay)
        self._kinds = _kinds(retryable_exceptions)
        self.retry_non_idempotent = retry_non_idempotent
        self.max_retry_after: float = finite("max_retry_after", max_retry_after)

    @property
    def max_retries(self) -> int:
        """How many retries a request may have."""
        return self._max_retries

    def should_retry(self, context: RequestContext, exception: Exception) -> bool:
        """Whether the attempt that failed so is made again."""
        if context.attempt >= self._max_retries:
            return False
        if isinstance(exception, AuthenticationException):
            return False
        if isinstance(exception, HttpStatusException):
            return self.is_retryable_status(exception.status_code)
        if self._kinds is None:
            return not isinstance(exception, SSLException)
        return isinstance(exception, self._kinds)

    def get_delay(self, context: RequestContext) -> float:  # noqa: ARG002 - names of the interface
        """Seconds to wait before the next attempt."""
        return self._delay


class ExponentialBackoffRetryStrategy(RetryStrategyInterface):
    """Retries after delays that grow, and are spread so that callers do not retry all at once.

    The delay before retry n, counted from 0, is min(max_delay, base_delay * multiplier ** n),
    spread by jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).

    Args:
        max_retries: how often, at most.
        base_delay: seconds; 0 for no delay at all.
        max_delay: seconds; no delay is longer.
        multiplier: of the delay from one retry to the next.
        jitter: how a delay d is spread. True (full): evenly over [0, d]; False: not at all;
            "equal": over [d / 2, d]; "decorrelated": over [base_delay, 3 times the delay before].
        retryable_exceptions: types of failures to retry, an empty collection for none; None:
            TimeoutException and ConnectionException, but no SSLException.
        retryable_status_codes: statuses to retry, an empty collection for none; None: 408, 429,
            500, 502, 503, 504.
        retry_non_idempotent: whether POST and PATCH are retried, too.
        max_retry_after: the longest Retry-After, in seconds, that is waited for.

    Raises:
        ValueError: a number is negative, or no number, or `jitter` is unknown.
    """

    def __init__(  # noqa: PLR0917 - a published signature
        self,
        max_retries: int = 3,
        base_delay: float = 1.0,
        max_delay: float = 60.0,
        multiplier: float = 2.0,
        jitter: Jitter = True,
        retryable_exceptions: Collection[type[BaseException]] | None = None,
        retryable_status_codes: Collection[int] | None = None,
        *,
        retry_non_idempotent: bool = False,
        max_retry_after: float = 60.0,
    ) -> None:
        self._max_retries = whole("max_retries", max_retries)
        self._backoff = Backoff(base_delay, max_delay, multiplier, jitter)
        self._kinds = _kinds(retryable_exceptions)
        self._statuses = (
            RETRYABLE_STATUS_CODES
            if retryable_status_codes is None
            else frozenset(retryable_status_codes)
        )
        self.retry_non_idempotent = retry_non_idempotent
        self.max_retry_after: float = finite("max_retry_after", max_retry_after)

    @property
    def max_retries(self) -> int:
        """How many retries a request may have."""
        return self._max_retries

    def is_max_retry(self, context: RequestContext) -> bool:
        """Whether the request has had all its retries."""
        return context.attempt >= self._max_retries

    def should_retry(self, context: RequestContext, exception: Exception) -> bool:
        """Whether the attempt that failed so is made again."""
        if self.is_max_retry(context) or isinstance(exception, AuthenticationException):
            return False
        if isinstance(exception, HttpStatusException):
            return self.is_retryable_status(exception.status_code)
        if self._kinds is None:
            return isinstance(exception, TimeoutException | ConnectionException) and not isinstance(
                exception, SSLException
            )
        return isinstance(exception, self._kinds)

    def get_delay(self, context: RequestContext) -> float:
        """Seconds to wait before the next attempt."""
        return self._backoff.delay(context.attempt)

    @property
    def longest_delay(self) -> float:
        """Seconds that no delay exceeds."""
        return self._backoff.longest

    def is_retryable_status(self, code: int) -> bool:
        """Whether an answer of that status counts as a failed attempt."""
        return code in self._statuses


def _kinds(
    kinds: Collection[type[BaseException]] | None,
) -> tuple[type[BaseException], ...] | None:
    if kinds is None:
        return None
    given: object = kinds
    return (given,) if isinstance(given, type) else tuple(kinds)
