"""The fields of a configuration that hold several arguments under one name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from requestforge._limits.budget import RetryBudget
from requestforge._limits.bulkhead import Bulkhead
from requestforge._limits.rate import RateLimiter
from requestforge.config._kept import Kept
from requestforge.retry import CircuitBreaker, ExponentialBackoffRetryStrategy

_Made = TypeVar("_Made")

_REQUIRED = object()


@dataclass(frozen=True, slots=True)
class Group:
    """Arguments that belong together.

    Attributes:
        make: takes them, and refuses those that cannot be meant with a ValueError.
        defaults: the arguments, each with its default.
    """

    make: Callable[..., object]
    defaults: Mapping[str, object]


def _environment(*, proxies: object, ca: object) -> None:
    _check_flag("proxies", proxies)
    _check_flag("ca", ca)


def _backoff(**arguments: Any) -> ExponentialBackoffRetryStrategy:  # noqa: ANN401 - values of a file
    _check_flag("retry_non_idempotent", arguments["retry_non_idempotent"])
    return ExponentialBackoffRetryStrategy(**arguments)


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {value!r}.")  # noqa: TRY004 - a value of a file


GROUPS: Mapping[str, Group] = {
    "circuit_breaker": Group(
        CircuitBreaker, {"failure_threshold": 5, "recovery_timeout": 30.0, "half_open_max_calls": 3}
    ),
    "retry_budget": Group(RetryBudget, {"ratio": 0.2, "per_second": 10.0}),
    "rate_limit": Group(RateLimiter, {"per_second": _REQUIRED, "burst": 1, "max_wait": None}),
    "bulkhead": Group(Bulkhead, {"max_concurrent": _REQUIRED, "max_wait": None}),
    "environment": Group(_environment, {"proxies": True, "ca": True}),
}
"""The fields that are such groups, with the arguments of the builder method of the same name."""

_RETRY: Mapping[str, object] = {
    "max_retries": 3,
    "base_delay": 1.0,
    "max_delay": 60.0,
    "retry_non_idempotent": False,
    "max_retry_after": 60.0,
}


def completed(name: str, given: object) -> Mapping[str, Any]:
    """All arguments of the group of this name, the defaults for those that are not given.

    Raises:
        ValueError: an argument is unknown, missing, or cannot be meant.
    """
    filled = with_defaults(name, given, GROUPS[name].defaults)
    _made(name, GROUPS[name].make, filled)
    return filled


def with_defaults(name: str, given: object, defaults: Mapping[str, object]) -> Mapping[str, Any]:
    """A read-only copy of what is given, with the defaults for all that is not.

    Raises:
        ValueError: it is no mapping, or one with a key that is unknown or missing.
    """
    if not isinstance(given, Mapping):
        raise ValueError(  # noqa: TRY004 - a value of a file
            f"{name} must be a mapping of {', '.join(defaults)}, not a {type(given).__name__}."
        )
    unknown = [key for key in given if key not in defaults]
    if unknown:
        raise ValueError(
            f"{name} has the unknown key {unknown[0]!r}: it takes {', '.join(defaults)}."
        )
    filled = {**defaults, **given}
    missing = [key for key, value in filled.items() if value is _REQUIRED]
    if missing:
        raise ValueError(f"{name} lacks {missing[0]!r}, which has no default.")
    return Kept(filled)


def retry_strategy(given: object) -> ExponentialBackoffRetryStrategy:
    """The strategy of the builder's `with_retry`, out of its arguments.

    Raises:
        ValueError: an argument is unknown or cannot be meant.
    """
    return _made("retry", _backoff, with_defaults("retry", given, _RETRY))


def _made(name: str, make: Callable[..., _Made], arguments: Mapping[str, Any]) -> _Made:
    try:
        return make(**arguments)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
