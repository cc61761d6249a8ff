"""Delays that grow from one retry to the next, and how they are spread."""

import random
from typing import Literal

from requestforge._numbers import finite

Jitter = bool | Literal["equal", "decorrelated"]
"""How delays are spread: see ExponentialBackoffRetryStrategy."""

_ENOUGH_STEPS = 64


class Backoff:
    """Delays that grow by a factor up to a limit, spread by jitter.

    Args:
        base_delay: seconds before the first retry.
        max_delay: seconds; no delay is longer.
        multiplier: of the delay from one retry to the next.
        jitter: how a delay is spread.

    Raises:
        ValueError: a number is negative, or no number, or `jitter` is unknown.

    Attributes:
        longest: seconds; no delay is longer.
    """

    def __init__(
        self, base_delay: float, max_delay: float, multiplier: float, jitter: Jitter
    ) -> None:
        self._base = finite("base_delay", base_delay)
        self.longest: float = finite("max_delay", max_delay)
        self._multiplier = finite("multiplier", multiplier)
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
