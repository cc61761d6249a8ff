"""The moment by which this thread's work has to be done, for all that it calls."""

from operator import attrgetter
from threading import local
from types import TracebackType

from requestforge.instrumentation import monotonic


class bounded:  # noqa: N801 - reads as the statement that it is part of
    """A block within which this thread has a deadline; blocks nest, and the earliest one holds.

    A block that is left in another order than that of entering, or in another thread, as happens
    to generators, takes away its own deadline alone.

    Args:
        end: the deadline in monotonic seconds of the active clock; None: no further one.
    """

    __slots__ = ("_all", "_own")

    def __init__(self, end: float | None) -> None:
        self._own = None if end is None else _Deadline(end)
        self._all: list[_Deadline] = []

    def __enter__(self) -> None:
        """Set the deadline."""
        if self._own is not None:
            self._all = _thread.deadlines
            self._all.append(self._own)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take it away."""
        if self._own is not None:
            self._all.remove(self._own)


def time_left() -> float | None:
    """Seconds to the deadline of this thread, 0 or less once it has passed; None: there is none."""
    deadlines = _thread.deadlines
    return _earliest(deadlines).end - monotonic() if deadlines else None


def note_cut() -> None:
    """Note that the deadline cuts work short, whose failure is therefore no one else's."""
    deadlines = _thread.deadlines
    if deadlines:
        _earliest(deadlines).cuts += 1


def cuts() -> int:
    """How often the deadline of this thread has cut work short."""
    deadlines = _thread.deadlines
    return _earliest(deadlines).cuts if deadlines else 0


class _Deadline:
    __slots__ = ("cuts", "end")

    def __init__(self, end: float) -> None:
        self.end = end
        self.cuts = 0


class _Thread(local):
    """The deadlines of the blocks that a thread is in."""

    def __init__(self) -> None:
        self.deadlines: list[_Deadline] = []


_thread = _Thread()
_end_of = attrgetter("end")


def _earliest(deadlines: list[_Deadline]) -> _Deadline:
    return min(deadlines, key=_end_of)
