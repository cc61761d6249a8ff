"""The moment by which this thread's work has to be done, for all that it calls."""

import weakref
from contextlib import AbstractContextManager, nullcontext
from operator import attrgetter
from threading import Lock, local

from requestforge.instrumentation import monotonic

_NO_BLOCK = nullcontext()


def bounded(end: float | None) -> AbstractContextManager[object, None]:
    """A block within which this thread has a deadline; blocks nest, and the earliest one holds.

    A block that is left in another order than that of entering, or in another thread, as happens
    to generators, takes away its own deadline alone.

    Args:
        end: the deadline in monotonic seconds of the active clock; None: no further one.
    """
    if end is None:
        return _NO_BLOCK
    # The deadline holds while the lock does. A lock is entered and left in one step, which the
    # exception of a signal comes before or after: no deadline stays behind. A class could promise
    # that of no `__exit__` of its own, whose first line such an exception may prevent.
    block = Lock()
    deadlines = _thread.deadlines
    _forget_dead(deadlines)
    deadlines.append(_Deadline(end, weakref.ref(block)))
    return block


def time_left() -> float | None:
    """Seconds to the deadline of this thread, 0 or less once it has passed; None: there is none."""
    deadline = _earliest()
    return None if deadline is None else deadline.end - monotonic()


def note_cut() -> None:
    """Note that the deadline cuts work short, whose failure is therefore no one else's."""
    deadline = _earliest()
    if deadline is not None:
        deadline.cuts += 1


def cuts() -> int:
    """How often the deadline of this thread has cut work short."""
    deadline = _earliest()
    return 0 if deadline is None else deadline.cuts


class _Deadline:
    """A deadline, and the lock that is held within its block, or None once that is gone."""

    __slots__ = ("block", "cuts", "end")

    def __init__(self, end: float, block: "weakref.ref[Lock]") -> None:
        self.end = end
        self.block = block
        self.cuts = 0

    def holds(self) -> bool:
        block = self.block()
        return block is not None and block.locked()


class _Thread(local):
    """The deadlines of the blocks that a thread is in, and of some that it has left."""

    def __init__(self) -> None:
        self.deadlines: list[_Deadline] = []


_thread = _Thread()
_end_of = attrgetter("end")


def _earliest() -> _Deadline | None:
    deadlines = _thread.deadlines
    if not deadlines:
        return None
    earliest = min([each for each in deadlines if each.holds()], key=_end_of, default=None)
    if earliest is None:
        _forget_dead(deadlines)
    return earliest


def _forget_dead(deadlines: list[_Deadline]) -> None:
    # What is not held may be about to be entered, but not without its lock.
    deadlines[:] = [each for each in deadlines if each.block() is not None]
