"""The pace at which a client asks an origin: a given one, and what the origin's answers ask for."""

import math
import threading
from collections.abc import Mapping

from requestforge._fork import renew_after_fork
from requestforge._limits.answers import asked_pause
from requestforge._limits.memory import ByOrigin
from requestforge._numbers import finite, positive, whole
from requestforge.exceptions import CapacityException
from requestforge.instrumentation import monotonic

LONGEST_PAUSE = 60.0
"""Seconds; no answer makes the client pause for longer."""

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
        self._interval = 1 / self._per_second
        self._saved = (whole("burst", burst, 1) - 1) * self._interval
        self._max_wait = None if max_wait is None else finite("max_wait", max_wait)
        self._paces = ByOrigin(_Pace)
        self._lock = threading.Lock()
        renew_after_fork(self)

    def reserve(self, origin: str) -> float:
        """Seconds to wait before the request is sent.

        Raises:
            CapacityException: it would be longer than `max_wait`; no instant is reserved then.
        """
        with self._lock:
            pace = self._paces[origin]
            now = pace.read_clock()
            wait = self._wait(pace, now)
            if self._max_wait is None or wait <= self._max_wait:
                pace.next_at = max(pace.next_at, now) + self._interval
                return wait
        raise CapacityException(
            f"The next request to {origin or 'the server'} would have to wait {wait:.3g} s for its "
            f"turn, which is more than the longest wait, {self._max_wait:g} s: nothing was sent. "
            "Ask less often, or raise per_second or max_wait."
        )

    def admits(self, origin: str, after: float, within: float | None) -> bool:
        """Whether a request that asks so many seconds from now would get its turn, as of now.

        Args:
            origin: where it goes.
            after: seconds from now.
            within: seconds from now by which it has to be sent; None: no such end.
        """
        with self._lock:
            pace = self._paces[origin]
            wait = max(0.0, self._wait(pace, pace.read_clock()) - after)
        in_turn = self._max_wait is None or wait <= self._max_wait
        return in_turn and (within is None or after + wait < within)

    def cancel(self, origin: str) -> None:
        """Give the latest instant back that was reserved, for a request that is not sent."""
        with self._lock:
            self._paces[origin].next_at -= self._interval

    def heed(self, origin: str, status_code: int, headers: Mapping[str, str]) -> None:
        """Pause for as long as an answer asks to, but no longer than 60 seconds.

        Args:
            origin: where the answer came from.
            status_code: of the answer.
            headers: a mapping that finds names in any case.
        """
        pause = asked_pause(status_code, headers)
        if pause <= 0:
            return
        with self._lock:
            pace = self._paces[origin]
            pause_ends = pace.read_clock() + min(pause, LONGEST_PAUSE)
            if pause_ends > pace.paused_until:
                pace.paused_until = pause_ends
                # What was saved up is lost: who asks to be left in peace wants no burst after it.
                pace.next_at = max(pace.next_at, pause_ends + self._saved)

    def after_fork(self) -> None:
        """Take a new lock: the old one may be held by a thread that is not in this process."""
        self._lock = threading.Lock()

    def _wait(self, pace: "_Pace", now: float) -> float:
        wait = max(pace.next_at - self._saved, pace.paused_until) - now
        return 0.0 if wait < _NO_WAIT else wait


class _Pace:
    """What is known of one origin, in monotonic seconds.

    Attributes:
        next_at: when the next request would be due, had no earlier one come before its time.
        paused_until: when the pause ends that the origin has asked for.
    """

    __slots__ = ("_read_at", "next_at", "paused_until")

    def __init__(self) -> None:
        self._read_at = self.next_at = self.paused_until = -math.inf

    def read_clock(self) -> float:
        """The instant."""
        now = monotonic()
        if now < self._read_at:
            # It is another clock, and what was read from the old one does not compare.
            self.next_at = self.paused_until = -math.inf
        self._read_at = now
        return now
