"""What is kept of each origin, for no more than so many of them."""

from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")

MOST_ORIGINS = 1000
"""Origins that are remembered; the one that was longest not asked for is forgotten first."""


class ByOrigin(Generic[_T]):
    """A value for each origin; its callers hold a lock.

    Args:
        new: makes the value of an origin that is not remembered.
    """

    def __init__(self, new: Callable[[], _T]) -> None:
        self._new = new
        self._values: dict[str, _T] = {}

    def __getitem__(self, origin: str) -> _T:
        values = self._values
        value = values.pop(origin, None)
        if value is None:
            if len(values) >= MOST_ORIGINS:
                del values[next(iter(values))]
            value = self._new()
        # The last one in the order, since it was asked for last.
        values[origin] = value
        return value
