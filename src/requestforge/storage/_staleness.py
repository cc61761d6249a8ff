"""The version of what others may change, for those who do without the newest for a while."""

from datetime import timedelta
from itertools import count

from requestforge.instrumentation import lasts, reading


class Versions:
    """Numbers that stand for what a storage holds, each for a limited time at most.

    Args:
        max_staleness: the longest time that one number stands for what others may have changed.

    Raises:
        TypeError: `max_staleness` is no timedelta.
        ValueError: it is not positive.
    """

    def __init__(self, max_staleness: timedelta) -> None:
        _check(max_staleness)
        self._seconds = max_staleness.total_seconds()
        self._numbers = count()
        self._end: tuple[float, float, object] = (0.0, 0.0, None)
        self.begin()

    def present(self) -> int:
        """The present number; one that was given before means that nothing has changed here."""
        if not lasts(*self._end):
            # The clocks first, and the end last: a thread that is held up in between can make the
            # time shorter for others, never longer.
            wall, monotonic, source = reading()
            self.begin()
            self._end = (wall + self._seconds, monotonic + self._seconds, source)
        return self._number

    def begin(self) -> None:
        """Take another number, now that something has changed."""
        self._number = next(self._numbers)


def _check(max_staleness: object) -> None:
    if not isinstance(max_staleness, timedelta):
        kind = type(max_staleness).__name__
        msg = f"max_staleness must be a timedelta or None, but is of type {kind}."
        raise TypeError(msg)
    if max_staleness <= timedelta(0):
        msg = f"max_staleness must be positive, but is {max_staleness}; None turns it off."
        raise ValueError(msg)
