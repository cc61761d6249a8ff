"""The bulkhead: so many calls at once, and no more."""

import math
import threading
from collections import deque
from contextlib import suppress

from requestforge._fork import renew_after_fork
from requestforge._numbers import finite, whole
from requestforge.exceptions import CapacityException
from requestforge.instrumentation import real_monotonic


class Bulkhead:
    """So many places for calls; who finds all of them taken waits in a queue for the next.

    Args:
        max_concurrent: places, 1 or more.
        max_wait: the longest wait for one, in seconds; None: as long as it takes.

    Raises:
        ValueError: a number is too small, or no number.
    """

    def __init__(self, max_concurrent: int, max_wait: float | None = None) -> None:
        self._places = whole("max_concurrent", max_concurrent, 1)
        self._max_wait = math.inf if max_wait is None else finite("max_wait", max_wait)
        self._start()
        renew_after_fork(self)

    def enter(self, max_wait_now: float | None = None) -> float:
        """Take a place; the seconds that it took to get one, in real time.

        Args:
            max_wait_now: the longest wait of this caller in seconds; None: that of the bulkhead.

        Raises:
            CapacityException: none became free in time.
        """
        longest = min(self._max_wait, math.inf if max_wait_now is None else max(0.0, max_wait_now))
        turn = _Turn()
        try:
            with self._lock:
                if self._free > 0:
                    self._free -= 1
                    turn.has_place = True
                    return 0.0
                self._queue.append(turn)
            began = real_monotonic()
            turn.came.acquire(timeout=min(longest, threading.TIMEOUT_MAX))
            self._leave_queue(turn)
            if turn.has_place:
                return real_monotonic() - began
        except BaseException:
            # A signal, such as Ctrl-C, must not cost the others a place.
            self._leave_queue(turn)
            if turn.has_place:
                self.leave()
            raise
        raise CapacityException(
            f"No place for another request became free within {longest:g} s (max_concurrent is "
            f"{self._places}): nothing was sent. Send fewer at once, or raise max_concurrent "
            "or max_wait."
        )

    def leave(self) -> None:
        """Free a place, for who has waited longest."""
        with self._lock:
            if self._queue:
                turn = self._queue.popleft()
                turn.has_place = True
                turn.came.release()
            elif self._free < self._places:  # in a child process, calls of the parent have none
                self._free += 1

    def after_fork(self) -> None:
        """Start anew: those who have the places, or wait for them, are not in this process."""
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[_Turn] = deque()
        self._free = self._places

    def _leave_queue(self, turn: "_Turn") -> None:
        with self._lock, suppress(ValueError):  # it has been called up
            self._queue.remove(turn)


class _Turn:
    """What a caller waits for: `came` is held until a place is handed over to it."""

    __slots__ = ("came", "has_place")

    def __init__(self) -> None:
        self.has_place = False
        self.came = threading.Lock()
        self.came.acquire()
