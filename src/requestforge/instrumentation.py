"""The one seam for time and observation: the active clock, and the observers of events."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from requestforge.events import Event

__all__ = [
    "Clock",
    "SystemClock",
    "emit",
    "monotonic",
    "now",
    "observe",
    "sleep",
    "use_clock",
]

Observer = Callable[[Event], object]
"""A callable of one event; it must not block, and what it returns is ignored."""

_log = logging.getLogger("requestforge")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What the library asks for the time, and for a pause."""

    def now(self) -> datetime:
        """The wall clock, as an aware datetime in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes backwards."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        ...


class SystemClock:
    """The clock of this machine.

    The functions of `time` are looked up at each call, so that tools that replace them in tests
    are seen.
    """

    def now(self) -> datetime:
        """The wall clock, as an aware datetime in UTC."""
        # An addition to a constant, since `datetime` itself may be a test tool's stand-in.
        return _EPOCH + timedelta(seconds=time.time())

    def monotonic(self) -> float:
        """Seconds of `time.monotonic`."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block this thread for that many seconds."""
        time.sleep(seconds)


ClockT = TypeVar("ClockT", bound=Clock)
ObserverT = TypeVar("ObserverT", bound=Observer)

_SYSTEM: Clock = SystemClock()
_clock: Clock = _SYSTEM
_clocks: list[Clock] = [_SYSTEM]

observers: list[Observer] = []
"""The active observers; empty (false) when nobody listens, so that no event need be made."""


def now() -> datetime:
    """The wall clock of the active clock, as an aware datetime in UTC."""
    return _clock.now()


def monotonic() -> float:
    """Seconds of the active clock's monotonic time."""
    return time.monotonic() if _clock is _SYSTEM else _clock.monotonic()


def sleep(seconds: float) -> None:
    """Pause this thread for that many seconds of the active clock."""
    _clock.sleep(seconds)


def emit(event: Event) -> None:
    """Hand an event to every active observer; what one raises is logged, and the next is called."""
    for observer in tuple(observers):
        try:
            observer(event)
        except Exception:  # noqa: BLE001 - user code may raise anything
            _log.exception("Observer %r failed on %s.", observer, type(event).__name__)


@contextmanager
def use_clock(clock: ClockT) -> Iterator[ClockT]:
    """Make `clock` the active clock of the whole process within the block.

    Blocks nest; leaving one puts back the clock that was active before it.
    """
    _clocks.append(clock)
    _activate_last()
    try:
        yield clock
    finally:
        _remove_last(_clocks, clock)
        _activate_last()


@contextmanager
def observe(observer: ObserverT) -> Iterator[ObserverT]:
    """Call `observer` with every event of the whole process within the block; blocks nest."""
    observers.append(observer)
    try:
        yield observer
    finally:
        _remove_last(observers, observer)


def wall() -> float:
    """The wall clock of the active clock in seconds since 1970 (UTC)."""
    return time.time() if _clock is _SYSTEM else _clock.now().timestamp()


def reading() -> tuple[float, float, object]:
    """Wall seconds, monotonic seconds, and the source of the latter, each read once.

    Monotonic readings of two sources do not compare.
    """
    clock = _clock
    if clock is _SYSTEM:
        return time.time(), time.monotonic(), time.monotonic
    return clock.now().timestamp(), clock.monotonic(), clock


def before(wall_end: float, monotonic_end: float, source: object) -> bool:
    """Whether both ends, in seconds, lie ahead.

    The monotonic one counts only while `source` is still what `reading()` would name.
    """
    clock = _clock
    if clock is _SYSTEM:
        # The wall clock first: it is the one that decides.
        if time.time() < wall_end:
            monotonic = time.monotonic
            return source is not monotonic or monotonic() < monotonic_end
        return False
    return clock.now().timestamp() < wall_end and (
        source is not clock or clock.monotonic() < monotonic_end
    )


def lasts(wall_end: float, monotonic_end: float, source: object) -> bool:
    """The same, of a time that ends as well once the monotonic clock is another one."""
    clock = _clock
    present = time.monotonic if clock is _SYSTEM else clock
    return source is present and before(wall_end, monotonic_end, source)


def real_monotonic() -> float:
    """Real seconds for waits on threads and sockets, which no clock in a test may stop."""
    if sys.platform == "win32":  # pragma: no cover - it has no clock_gettime
        return time.monotonic()
    # `clock_gettime` is left alone by the tools that freeze `time.monotonic`.
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def _activate_last() -> None:
    global _clock  # noqa: PLW0603 - the one switch that the whole process reads
    _clock = _clocks[-1]


def _remove_last(items: list[Any], item: object) -> None:
    del items[max(place for place, each in enumerate(items) if each is item)]
