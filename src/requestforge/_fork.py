"""What a fork must not catch halfway, and objects that start anew in the child process."""

# Its lock is held in a fork, too. Hooks before a fork run last come, first served: `importing` has
# to be had before that lock, which the import of requests takes while it holds `importing`.
import logging  # noqa: F401
import os
import threading
import weakref
from typing import Protocol


class _Forked(Protocol):
    def after_fork(self) -> None: ...


importing = threading.RLock()
"""Held while a module is loaded late: a child forked meanwhile would wait for it for ever."""

_objects: "weakref.WeakSet[_Forked]" = weakref.WeakSet()


def renew_after_fork(item: _Forked) -> None:
    """Call `item.after_fork()` in every later child process, as long as `item` lives."""
    _objects.add(item)


def _renew_all() -> None:
    failures: list[Exception] = []
    for item in list(_objects):
        # One that fails must not leave the others with the locks of the parent.
        try:
            item.after_fork()
        except Exception as error:  # noqa: BLE001 - raised below
            failures.append(error)
    if failures:
        raise ExceptionGroup("Objects of the parent could not be renewed.", failures)


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(
        before=importing.acquire,
        after_in_parent=importing.release,
        after_in_child=importing.release,
    )
    os.register_at_fork(after_in_child=_renew_all)
