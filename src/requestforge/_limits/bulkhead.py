"""The bulkhead: so many calls at once, and no more."""

import itertools
import math
import threading
import weakref
from contextlib import suppress
from functools import partial

from requestforge._fork import renew_after_fork
from requestforge._numbers import finite, whole
from requestforge.exceptions import CapacityException
from requestforge.instrumentation import real_monotonic


class Bulkhead:
    """So many places for calls; who finds all of them taken waits in a line for the next.

    Args:
        max_concurrent: places, 1 or more.
        max_wait: the longest wait for one, in seconds; None: as long as it takes.

    Raises:
        ValueError: a number is too small, or no number.
    """

    def __init__(self, max_concurrent: int, max_wait: float | None = None) -> None:
        self._line = _Line(whole("max_concurrent", max_concurrent, 1))
        self._max_wait = math.inf if max_wait is None else finite("max_wait", max_wait)

    def enter(self, max_wait_now: float | None = None) -> "Place":
        """Take a place, to be given back by its `leave`.

        Args:
            max_wait_now: the longest wait of this caller in seconds; None: that of the bulkhead.

        Raises:
            CapacityException: none became free in time.
        """
        place = Place(self._line)
        try:
            if self._line.join(place):
                return place
            longest = self._max_wait
            if max_wait_now is not None:
                longest = min(longest, max(0.0, max_wait_now))
            began = real_monotonic()
            self._line.wait(place, longest)
            place.waited = real_monotonic() - began
        except BaseException:
            # A signal, such as Ctrl-C, must not cost the others a place.
            place.leave()
            raise
        return place


class Place:
    """A place, which is free again once it is left, or nobody has this object any more.

    Attributes:
        number: of the place in the line.
        waited: seconds that it took to get it, in real time.
    """

    __slots__ = ("__weakref__", "_line", "number", "waited")

    def __init__(self, line: "_Line") -> None:
        self._line = line
        self.number = next(line.numbers)
        self.waited = 0.0

    def leave(self) -> None:
        """Free the place, for who has waited longest; only the first call does."""
        self._line.leave(self.number)


class _Line:
    """Those who have a place, and behind them those who wait for one, in the order of coming.

    There is no lock: the handler of a signal, or the garbage collector, may call a client at any
    point. Each step is one of a dict, which nothing interrupts, and is complete in itself.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self.numbers = itertools.count()
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start anew: those who have the places, or wait for them, are not in this process."""
        self._all: dict[int, None] = {}
        # Of those who are not done with leaving: a place that gets lost is left by its finaliser.
        self._places: dict[int, weakref.ref[Place]] = {}
        # What those who wait are called up by: held until it is their turn.
        self._calls: dict[int, threading.Lock] = {}

    def join(self, place: Place) -> bool:
        """Stand at the end; whether there is a place there."""
        self._places[place.number] = weakref.ref(place, partial(self.leave, place.number))
        self._all[place.number] = None
        return len(self._all) <= self.places

    def wait(self, place: Place, longest: float) -> None:
        """Wait for a place.

        Raises:
            CapacityException: none became free within `longest` seconds.
        """
        call = threading.Lock()
        call.acquire()
        try:
            self._calls[place.number] = call
            # Who leaves from now on sees the call; who has left before has made room.
            if not self._has_place(place):
                call.acquire(timeout=min(longest, threading.TIMEOUT_MAX))
        finally:
            self._calls.pop(place.number, None)
        if not self._has_place(place):
            raise CapacityException(
                f"No place for another request became free within {longest:g} s (max_concurrent "
                f"is {self.places}): nothing was sent. Send fewer at once, or raise "
                "max_concurrent or max_wait."
            )

    def leave(self, number: int, _dead: object = None) -> None:
        """Leave the line, wherever in it."""
        self._all.pop(number, None)
        if self._calls:
            for each in self._first():
                call = self._calls.get(each)
                if call is not None:
                    with suppress(RuntimeError):  # another one has just called it up, too
                        call.release()
        self._places.pop(number, None)

    def _has_place(self, place: Place) -> bool:
        return place.number in self._first()

    def _first(self) -> list[int]:
        return list(self._all)[: self.places]
