"""Objects that must start anew in a child process after a fork."""

import os
import weakref
from typing import Protocol


class _Forked(Protocol):
    def after_fork(self) -> None: ...


_objects: "weakref.WeakSet[_Forked]" = weakref.WeakSet()


def renew_after_fork(item: _Forked) -> None:
    """Call `item.after_fork()` in every later child process, as long as `item` lives."""
    _objects.add(item)


def _renew_all() -> None:
    for item in list(_objects):
        item.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_renew_all)
