"""Which refused requests are sent again with a renewed credential, and when: decisions only."""

from collections.abc import Callable, Collection

from requestforge._numbers import finite, whole
from requestforge.interfaces import AuthRetryStrategyInterface
from requestforge.models import HttpResponse
from requestforge.retry.backoff import Backoff, Jitter

_UNAUTHORIZED = frozenset({401})


class NoAuthRetryStrategy(AuthRetryStrategyInterface):
    """A refused credential is not renewed.

    Args:
        auth_error_codes: statuses that refuse a credential, an empty collection for none; None:
            401.
    """

    def __init__(self, auth_error_codes: Collection[int] | None = None) -> None:
        self._codes = _codes(auth_error_codes)

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
        self._max_retries = whole("max_retries", max_retries)
        self._delay = finite("delay", delay)
        self._codes = _codes(auth_error_codes)

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
        self._backoff = Backoff(base_delay, max_delay, multiplier, jitter)

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


def _codes(codes: Collection[int] | None) -> frozenset[int]:
    return _UNAUTHORIZED if codes is None else frozenset(codes)
