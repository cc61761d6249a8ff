"""The pace at which a client asks an origin: a given one, and what the origin's answers ask for."""

import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from requestforge._limits.answers import asked_pause
from requestforge._limits.memory import ByOrigin
from requestforge._numbers import finite, positive, whole
from requestforge.exceptions import CapacityException
from requestforge.instrumentation import monotonic

LONGEST_PAUSE = 60.0
"""Seconds; no answer makes the client pause for longer."""

# Seconds: thirty years, since the inverse of the smallest floats is infinite.
_LONGEST_INTERVAL = 1e9

# Seconds; less is the rounding of floats.
_NO_WAIT = 1e-6


class RateLimiter:
    """Gives each request its instant, so many a second for each origin, in the order of asking.

    It is the generic cell rate algorithm (ITU-T I.371): one instant an origin says all.

    Args:
        per_second: requests that an origin gets each second.
        burst: requests that may go at once after a pause, 1 or more.
        max_wait: the longest wait in seconds; None: as long as it takes.

    Raises:
        ValueError: a number is too small, or no number.
    """

    def __init__(self, per_second: float, burst: int = 1, max_wait: float | None = None) -> None:
        self._per_second = positive("per_second", per_second)
        self._interval = min(1 / self._per_second, _LONGEST_INTERVAL)
        self._saved = (whole("burst", burst, 1) - 1) * self._interval
        self._max_wait = None if max_wait is None else finite("max_wait", max_wait)
        self._paces = ByOrigin(_Pace)

    def reserve(self, origin: str) -> float:
        """Seconds to wait before the request is sent.

        Raises:
            CapacityException: it would be longer than `max_wait`; no instant is reserved then.
        """
        wait = self._paces.change(origin, self._reserved)
        if self._is_too_long(wait):
            raise CapacityException(
                f"The next request to {origin or 'the server'} would have to wait {wait:.3g} s for "
                f"its turn, which is more than the longest wait, {self._max_wait:g} s: nothing was "
                "sent. Ask less often, or raise per_second or max_wait."
            )
        return wait

    def admits(self, origin: str, after: float, within: float | None) -> bool:
        """Whether a request that asks so many seconds from now would get its turn, as of now.

        Args:
            origin: where it goes.
            after: seconds from now.
            within: seconds from now by which it has to be sent; None: no such end.
        """
        wait = max(0.0, self._paces.change(origin, self._looked_at) - after)
        return not self._is_too_long(wait) and (within is None or after + wait < within)

    def cancel(self, origin: str) -> None:
        """Give the latest instant back that was reserved, for a request that is not sent."""
        self._paces.change(origin, self._cancelled)

    def heed(self, origin: str, status_code: int, headers: Mapping[str, str]) -> None:
        """Pause for as long as an answer asks to, but no longer than 60 seconds.

        Args:
            origin: where the answer came from.
            status_code: of the answer.
            headers: a mapping that finds names in any case.
        """
        pause = min(asked_pause(status_code, headers), LONGEST_PAUSE)
        if pause > 0:
            self._paces.change(origin, partial(self._paused, pause))

    def _is_too_long(self, wait: float) -> bool:
        return self._max_wait is not None and wait > self._max_wait

    def _wait(self, pace: "_Pace") -> float:
        wait = max(pace.next_at - self._saved, pace.paused_until) - pace.read_at
        return 0.0 if wait < _NO_WAIT else wait

    def _looked_at(self, pace: "_Pace") -> tuple["_Pace", float]:
        pace = pace.at(monotonic())
        return pace, self._wait(pace)

    def _reserved(self, pace: "_Pace") -> tuple["_Pace", float]:
        pace, wait = self._looked_at(pace)
        if self._is_too_long(wait):
            return pace, wait
        return pace.due(max(pace.next_at, pace.read_at) + self._interval), wait

    def _cancelled(self, pace: "_Pace") -> tuple["_Pace", None]:
        return pace.due(pace.next_at - self._interval), None

    def _paused(self, pause: float, pace: "_Pace") -> tuple["_Pace", None]:
        pace = pace.at(monotonic())
        ends = pace.read_at + pause
        if ends <= pace.paused_until:
            return pace, None
        # What was saved up is lost: who asks to be left in peace wants no burst after it.
        return _Pace(pace.read_at, max(pace.next_at, ends + self._saved), ends), None


class _Pace(NamedTuple):
    """What is known of one origin, in monotonic seconds.

    Attributes:
        read_at: when the clock was read last.
        next_at: when the next request would be due, had no earlier one come before its time.
        paused_until: when the pause ends that the origin has asked for.
    """

    read_at: float = -math.inf
    next_at: float = -math.inf
    paused_until: float = -math.inf

    def at(self, now: float) -> "_Pace":
        """What is known of it by that instant."""
        if now < self.read_at:
            # It is another clock, and what was read from the old one does not compare.
            return _Pace(now)
        return _Pace(now, self.next_at, self.paused_until)

    def due(self, next_at: float) -> "_Pace":
        """The same, but for when the next request would be due."""
        return _Pace(self.read_at, next_at, self.paused_until)
