"""How long something is left alone, and a memory of that which many keys cannot fill."""

from typing import NamedTuple, TypeVar

from requestforge import instrumentation
from requestforge.instrumentation import before, lasts

T = TypeVar("T")

_MOST_KEPT = 4096
"""Keys that one memory holds: what more of them need is tried once more than need be."""


class Window(NamedTuple):
    """A time that is over as soon as either clock says so.

    `monotonic_end` counts by `source`, and means nothing while the active clock is another one.
    """

    wall_end: float
    monotonic_end: float
    source: object

    @property
    def holds(self) -> bool:
        """Whether the time is not over, as for a token: another clock ends it no sooner."""
        return before(*self)

    @property
    def lasts(self) -> bool:
        """Whether the time is not over, and the clock that it was measured by is the active one."""
        return lasts(*self)


def window(seconds: float) -> Window:
    """The time from now on until so many seconds have passed."""
    wall, monotonic, source = instrumentation.reading()
    return Window(wall + seconds, monotonic + seconds, source)


def remember(memory: dict[str, T], key: str, value: T) -> None:
    """Keep a value as the newest one, and forget the oldest if there are too many."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > _MOST_KEPT:
        del memory[next(iter(memory))]
