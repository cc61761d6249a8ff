"""Whether a failed attempt is made again, and when: decisions only, nothing waits here."""

import math
import random
from collections.abc import Callable, Collection
from typing import Literal

from requestforge.exceptions import (
    AuthenticationException,
    ConnectionException,
    HttpStatusException,
    SSLException,
    TimeoutException,
)
from requestforge.interfaces import (
    RETRYABLE_STATUS_CODES,
    AuthRetryStrategyInterface,
    RetryStrategyInterface,
)
from requestforge.models import HttpResponse, RequestContext

__all__ = [
    "ConditionalAuthRetryStrategy",
    "ExponentialAuthRetryStrategy",
    "ExponentialBackoffRetryStrategy",
    "NoAuthRetryStrategy",
    "NoRetryStrategy",
    "SimpleAuthRetryStrategy",
    "SimpleRetryStrategy",
]

Jitter = bool | Literal["equal", "decorrelated"]
"""How delays are spread: see ExponentialBackoffRetryStrategy."""

_UNAUTHORIZED = frozenset({401})
_ENOUGH_STEPS = 64


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
        self.max_retry_after: float = _seconds("max_retry_after", max_retry_after)

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
        self._max_retries = _count("max_retries", max_retries)
        self._delay = _seconds("delay", delay)
        self._kinds = _kinds(retryable_exceptions)
        self.retry_non_idempotent = retry_non_idempotent
        self.max_retry_after: float = _seconds("max_retry_after", max_retry_after)

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
        self._max_retries = _count("max_retries", max_retries)
        self._backoff = _Backoff(base_delay, max_delay, multiplier, jitter)
        self._kinds = _kinds(retryable_exceptions)
        self._statuses = _codes(retryable_status_codes, RETRYABLE_STATUS_CODES)
        self.retry_non_idempotent = retry_non_idempotent
        self.max_retry_after: float = _seconds("max_retry_after", max_retry_after)

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


class NoAuthRetryStrategy(AuthRetryStrategyInterface):
    """A refused credential is not renewed.

    Args:
        auth_error_codes: statuses that refuse a credential, an empty collection for none; None:
            401.
    """

    def __init__(self, auth_error_codes: Collection[int] | None = None) -> None:
        self._codes = _codes(auth_error_codes, _UNAUTHORIZED)

    @property
    def max_retries(self) -> int:
        """0."""
        return 0

    def should_retry(self, response: HttpResponse, attempt: int) -> bool:  # noqa: ARG002
        """False."""
        return False

    def get_delay(self, attempt: int) -> float:  # noqa: ARG002 - names of the interface
        """0.0."""
        return 0.0

    def is_auth_error(self, response: HttpResponse) -> bool:
        """Whether the answer refuses the credential."""
        return response.status_code in self._codes


class SimpleAuthRetryStrategy(AuthRetryStrategyInterface):
    """Replays a refused request with a renewed credential, after a fixed delay.

    Args:
        max_retries: how often, at most.
        delay: seconds before each replay.
        auth_error_codes: statuses that refuse a credential, an empty collection for none; None:
            401.

    Raises:
        ValueError: a number is negative, or no number.
    """

    def __init__(
        self,
        max_retries: int = 1,
        delay: float = 0.0,
        auth_error_codes: Collection[int] | None = None,
    ) -> None:
        self._max_retries = _count("max_retries", max_retries)
        self._delay = _seconds("delay", delay)
        self._codes = _codes(auth_error_codes, _UNAUTHORIZED)

    @property
    def max_retries(self) -> int:
        """How many replays a request may have."""
        return self._max_retries

    def should_retry(self, response: HttpResponse, attempt: int) -> bool:
        """Whether to replay; `attempt` counts the replays made so far."""
        return attempt < self._max_retries and self.is_auth_error(response)

    def get_delay(self, attempt: int) -> float:  # noqa: ARG002 - names of the interface
        """Seconds to wait before the replay."""
        return self._delay

    def is_auth_error(self, response: HttpResponse) -> bool:
        """Whether the answer refuses the credential."""
        return response.status_code in self._codes


class ExponentialAuthRetryStrategy(SimpleAuthRetryStrategy):
    """Replays a refused request with a renewed credential, after delays that grow.

    Args:
        max_retries: how often, at most.
        base_delay: seconds; 0 for no delay at all.
        max_delay: seconds; no delay is longer.
        multiplier: of the delay from one replay to the next.
        jitter: as for ExponentialBackoffRetryStrategy.
        auth_error_codes: statuses that refuse a credential, an empty collection for none; None:
            401.

    Raises:
        ValueError: a number is negative, or no number, or `jitter` is unknown.
    """

    def __init__(  # noqa: PLR0917 - a published signature
        self,
        max_retries: int = 2,
        base_delay: float = 0.5,
        max_delay: float = 5.0,
        multiplier: float = 2.0,
        jitter: Jitter = True,
        auth_error_codes: Collection[int] | None = None,
    ) -> None:
        super().__init__(max_retries, auth_error_codes=auth_error_codes)
        self._backoff = _Backoff(base_delay, max_delay, multiplier, jitter)

    def get_delay(self, attempt: int) -> float:
        """Seconds to wait before the replay."""
        return self._backoff.delay(attempt)


class ConditionalAuthRetryStrategy(SimpleAuthRetryStrategy):
    """Leaves it to callables which answers refuse the credential, and which are worth a replay.

    Args:
        max_retries: how often, at most.
        delay: seconds before each replay.
        should_retry_func: given the answer, whether to replay; None: if it refuses the credential.
        is_auth_error_func: given the answer, whether it refuses the credential; None: by its
            status.
        auth_error_codes: statuses that refuse a credential, an empty collection for none; None:
            401.

    Raises:
        ValueError: a number is negative, or no number.
    """

    def __init__(
        self,
        max_retries: int = 1,
        delay: float = 0.0,
        should_retry_func: Callable[[HttpResponse], bool] | None = None,
        is_auth_error_func: Callable[[HttpResponse], bool] | None = None,
        auth_error_codes: Collection[int] | None = None,
    ) -> None:
        super().__init__(max_retries, delay, auth_error_codes)
        self._is_auth_error = is_auth_error_func or super().is_auth_error
        self._should_retry = should_retry_func or self._is_auth_error

    def should_retry(self, response: HttpResponse, attempt: int) -> bool:
        """Whether to replay; `attempt` counts the replays made so far."""
        return attempt < self._max_retries and bool(self._should_retry(response))

    def is_auth_error(self, response: HttpResponse) -> bool:
        """Whether the answer refuses the credential."""
        return bool(self._is_auth_error(response))


class _Backoff:
    """Delays that grow by a factor up to a limit, spread by jitter."""

    def __init__(
        self, base_delay: float, max_delay: float, multiplier: float, jitter: Jitter
    ) -> None:
        self._base = _seconds("base_delay", base_delay)
        self.longest = _seconds("max_delay", max_delay)
        self._multiplier = _seconds("multiplier", multiplier)
        if jitter not in (True, False, "equal", "decorrelated"):
            msg = f"jitter must be True, False, 'equal' or 'decorrelated', not {jitter!r}."
            raise ValueError(msg)
        self._jitter = jitter

    def delay(self, attempt: int) -> float:
        """Seconds before the retry that follows that many earlier ones."""
        if self._jitter == "decorrelated":
            return self._decorrelated(attempt)
        delay = self._ceiling(attempt)
        if self._jitter == "equal":
            return random.uniform(delay / 2, delay)  # noqa: S311 - spreads callers, no secret
        return random.uniform(0.0, delay) if self._jitter else delay  # noqa: S311

    def _ceiling(self, attempt: int) -> float:
        try:
            return min(self.longest, self._base * self._multiplier**attempt)
        except OverflowError:
            return self.longest if self._base else 0.0

    def _decorrelated(self, attempt: int) -> float:
        # Drawn anew from the first delay on, since a strategy remembers no request; after that
        # many draws the beginning does not show any more.
        delay = self._base
        for _ in range(min(attempt + 1, _ENOUGH_STEPS)):
            delay = min(self.longest, random.uniform(self._base, 3 * delay))  # noqa: S311
        return delay


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        msg = f"{name} must be a whole number, 0 or more, not {value!r}."
        raise ValueError(msg)
    return value


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        msg = f"{name} must be a finite number, 0 or more, not {value!r}."
        raise ValueError(msg)
    return float(value)


def _kinds(
    kinds: Collection[type[BaseException]] | None,
) -> tuple[type[BaseException], ...] | None:
    if kinds is None:
        return None
    given: object = kinds
    return (given,) if isinstance(given, type) else tuple(kinds)


def _codes(codes: Collection[int] | None, default: frozenset[int]) -> frozenset[int]:
    return default if codes is None else frozenset(codes)
