"""What is kept of each origin, for no more than so many of them."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from requestforge._fork import renew_after_fork

_T = TypeVar("_T")
_R = TypeVar("_R")

MOST_ORIGINS = 1000
"""Origins that are remembered; the one that was longest not asked for is forgotten first."""


class ByOrigin(Generic[_T]):
    """An immutable value for each origin, which is replaced by one caller at a time.

    Args:
        new: makes the value of an origin that is not remembered.
    """

    def __init__(self, new: Callable[[], _T]) -> None:
        self._new = new
        # The one that was asked for last is the last one.
        self._cells: OrderedDict[str, _Cell[_T]] = OrderedDict()
        self.after_fork()
        renew_after_fork(self)

    def known(self, origin: str) -> _T | None:
        """The value of an origin that is remembered, by a look that takes no lock."""
        cell = self._cells.get(origin)
        return None if cell is None else cell.value

    def change(self, origin: str, change: Callable[[_T], tuple[_T, _R]]) -> _R:
        """Replace the value of an origin.

        Args:
            origin: whose value it is.
            change: gives the new value for the present one, and what this call returns; it is
                called again if something else has replaced the value meanwhile.
        """
        with self._lock:
            cell = self._cell(origin)
            while True:
                before = cell.value
                after, result = change(before)
                # Python runs neither the handler of a signal nor a finaliser between these two.
                if cell.value is before:
                    cell.value = after
                    return result

    def after_fork(self) -> None:
        """Take a new lock: the old one may be held by a thread that is not in this process."""
        # Reentrant, since a signal or the garbage collector may call a client at any point.
        self._lock = threading.RLock()

    def _cell(self, origin: str) -> "_Cell[_T]":
        cells = self._cells
        try:
            cell = cells[origin]
            cells.move_to_end(origin)
        except KeyError:
            cell = cells.setdefault(origin, _Cell(self._new()))
            if len(cells) > MOST_ORIGINS:
                cells.popitem(last=False)
        return cell


class _Cell(Generic[_T]):
    __slots__ = ("value",)

    def __init__(self, value: _T) -> None:
        self.value = value
