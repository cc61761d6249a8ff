"""Whether a failed attempt is made again, and when: decisions only, nothing waits here."""

from requestforge.retry.auth_strategies import (
    ConditionalAuthRetryStrategy,
    ExponentialAuthRetryStrategy,
    NoAuthRetryStrategy,
    SimpleAuthRetryStrategy,
)
from requestforge.retry.circuit import CircuitBreaker
from requestforge.retry.circuit_state import CircuitCounts, State
from requestforge.retry.circuit_strategy import CircuitBreakerRetryStrategy
from requestforge.retry.strategies import (
    ExponentialBackoffRetryStrategy,
    NoRetryStrategy,
    SimpleRetryStrategy,
)

__all__ = [
    "CircuitBreaker",
    "CircuitBreakerRetryStrategy",
    "CircuitCounts",
    "ConditionalAuthRetryStrategy",
    "ExponentialAuthRetryStrategy",
    "ExponentialBackoffRetryStrategy",
    "NoAuthRetryStrategy",
    "NoRetryStrategy",
    "SimpleAuthRetryStrategy",
    "SimpleRetryStrategy",
    "State",
]
