"""The lock between processes on a step, where its storage has one that works."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

from requestforge._execution.faults import Faults
from requestforge._execution.keys import Entry
from requestforge.interfaces import TokenStorageInterface


@contextmanager
def locked(
    storage: TokenStorageInterface, entry: Entry, lease: timedelta, wait: timedelta, faults: Faults
) -> Iterator[None]:
    """Hold the storage's lock on a step; without one that works, go on.

    Args:
        storage: the storage.
        entry: the step's.
        lease: how long the lock holds if its holder dies.
        wait: how long to wait for it.
        faults: hears of a lock that fails.

    Raises:
        TimeoutError: another process still holds it after `wait`.
    """
    held, stack = True, ExitStack()
    try:
        lock = storage.lock(entry.key, lease, wait)
        if lock is not None:
            held = stack.enter_context(lock)
    except Exception as error:  # noqa: BLE001 - a storage may raise anything
        faults.lock_failed(entry.step, error)
    try:
        if not held:
            raise TimeoutError
        yield
    finally:
        try:
            stack.close()
        except Exception as error:  # noqa: BLE001
            faults.lock_failed(entry.step, error)
