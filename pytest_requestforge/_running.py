"""The fake auth servers that run, and who is told of each that starts."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_requestforge._roles import Server

__all__ = ["dismiss", "enlist", "running", "tell", "watching"]


_lock = threading.Lock()
_slots: "dict[Server, int]" = {}
_watchers: "list[Callable[[Server], object]]" = []


def running() -> "tuple[Server, ...]":
    """Those that have been started and not stopped, in the order of their start."""
    with _lock:
        return tuple(_slots)


def enlist(auth: "Server") -> int:
    """Note that it runs; the lowest number from 0 that no other running one has."""
    with _lock:
        taken = set(_slots.values())
        slot = _slots[auth] = next(number for number in count() if number not in taken)
        return slot


def dismiss(auth: "Server") -> None:
    """Note that it runs no longer."""
    with _lock:
        del _slots[auth]


def tell(auth: "Server") -> bool:
    """Tell the innermost watcher that it has started; False: nobody watches."""
    if not _watchers:
        return False
    _watchers[-1](auth)
    return True


@contextmanager
def watching(watcher: "Callable[[Server], object]") -> Iterator[None]:
    """Within the block the watcher is told of each that starts, and judges its requests."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)
