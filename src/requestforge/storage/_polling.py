"""Waiting for what another process has, by asking again and again."""

from collections.abc import Callable
from random import uniform
from threading import Event
from typing import TypeVar

from requestforge.instrumentation import real_monotonic

T = TypeVar("T")


def poll(
    attempt: Callable[[], T | None], seconds: float, *, first: float, longest: float
) -> T | None:
    """What the attempt gives at last, or None if it still gives None after so many real seconds.

    Pauses are a fourth of what has been waited by then: so nobody comes later than need be by more
    than that, and a long wait costs little. They are jittered.

    Args:
        attempt: called at least once.
        seconds: how long to go on; real ones, as for every wait on others.
        first: seconds of the shortest pause.
        longest: seconds of the longest pause.
    """
    began = real_monotonic()
    while (gained := attempt()) is None:
        waited = real_monotonic() - began
        if waited >= seconds:
            return None
        pause = min(max(waited / 4, first), longest)
        Event().wait(min(seconds - waited, uniform(pause / 2, pause)))  # noqa: S311 - jitter
    return gained
