"""Looking at what a storage holds: a record that cannot be read is noted, and stays."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_noted: ContextVar[set[str] | None] = ContextVar("unreadable keys", default=None)


@contextmanager
def looking() -> Iterator[set[str]]:
    """The keys whose records cannot be read, as reads in this block of this thread meet them.

    Those reads delete nothing and tell observers nothing. An operator whose key ring is not that
    of the servers would delete all tokens otherwise.
    """
    unreadable: set[str] = set()
    token = _noted.set(unreadable)
    try:
        yield unreadable
    finally:
        _noted.reset(token)


def is_looking() -> bool:
    """Whether reads of this thread change nothing."""
    return _noted.get() is not None


def noted(key: str) -> bool:
    """Whether it was noted that the record of that key cannot be read, instead of deleting it."""
    unreadable = _noted.get()
    if unreadable is None:
        return False
    unreadable.add(key)
    return True
