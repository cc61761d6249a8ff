"""This machine's clock, put forward on demand."""

from datetime import datetime, timedelta

from requestforge.instrumentation import SystemClock

_ROOM = timedelta(days=36_500)
"""What is left for expiries behind the latest time."""


class LaterClock(SystemClock):
    """This machine's clock, put forward by what was asked for."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        """The wall clock, ahead of time."""
        return super().now() + self._ahead

    def monotonic(self) -> float:
        """Monotonic seconds, ahead of time."""
        return super().monotonic() + self._ahead.total_seconds()

    def advance(self, duration: timedelta) -> None:
        """Let that much time pass at once.

        Raises:
            ValueError: it is negative, or leads beyond all dates.
        """
        if duration < timedelta(0):
            raise ValueError(f"A clock that runs can only be put forward, not by {duration}.")
        try:
            self.now() + duration + _ROOM
        except OverflowError as error:
            raise ValueError(f"There is no date {duration} from now.") from error
        self._ahead += duration
