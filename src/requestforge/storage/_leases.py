"""A lock between the processes of a host that ends with its lease, or with its holder's process."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from requestforge.instrumentation import real_monotonic
from requestforge.storage._files import guarded, replace_file, try_lock
from requestforge.storage._polling import poll

_TOLD = re.compile(rb"([0-9a-f]{16}) ([0-9]+\.[0-9]{6})")

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.004, 0.025
"""Seconds between two tries for a lock that is held."""


@dataclass(frozen=True, slots=True)
class LeaseFiles:
    """The files of one lock.

    `holder` names who has it and says when the lease ends; it changes only under `guard`, which is
    held for an instant. Next to it stands the holder's own file, which the kernel keeps locked for
    as long as the holder lives. Whoever waits takes over once the lease is past, or the holder's
    own file is not locked any more.
    """

    guard: Path
    holder: Path

    def own(self, owner: str) -> Path:
        """The file that a holder keeps locked."""
        return self.holder.with_name(f"{self.holder.name}-{owner}")


@contextmanager
def leased(files: LeaseFiles, lease: timedelta, wait: timedelta) -> Iterator[bool]:
    """The lock: True once it is held, or False if another still holds it after `wait`.

    Raises:
        OSError: the files cannot be used.
    """
    with ExitStack() as stack:
        held = poll(
            lambda: _take(files, lease.total_seconds()),
            wait.total_seconds(),
            first=_SHORTEST_PAUSE,
            longest=_LONGEST_PAUSE,
        )
        if held is not None:
            stack.push(held)
        yield held is not None


@dataclass(frozen=True, slots=True)
class _Holder:
    """`owner`: a random id; `end`: of the lease, in seconds since this host was started."""

    owner: str
    end: float


def _take(files: LeaseFiles, seconds: float) -> ExitStack | None:
    """What gives the lock back, if it could be had."""
    before = _holder(files)
    if before is not None and not _has_ended(files, before):
        return None
    owner = secrets.token_hex(8)
    with ExitStack() as stack:
        stack.enter_context(_locked(files.own(owner)))
        with guarded(files.guard):
            if _holder(files) != before:  # somebody was faster
                return None
            content = f"{owner} {real_monotonic() + seconds:.6f}"
            replace_file(files.holder, content.encode(), durable=False)
        if before is not None:
            # A holder that was replaced may not live to do this itself.
            _remove(files.own(before.owner))
        return stack.pop_all()


def _holder(files: LeaseFiles) -> _Holder | None:
    try:
        told = _TOLD.fullmatch(files.holder.read_bytes())
    except FileNotFoundError:
        return None
    # A file that a power failure has torn names nobody who could still live.
    return None if told is None else _Holder(told[1].decode(), float(told[2]))


def _has_ended(files: LeaseFiles, holder: _Holder) -> bool:
    own = files.own(holder.owner)
    # Without its file the holder has given the lock back.
    if real_monotonic() >= holder.end or not own.exists():
        return True
    lock = try_lock(own)
    if lock is None:
        return False
    lock.release()
    _remove(own)
    return True


@contextmanager
def _locked(own: Path) -> Iterator[None]:
    """Hold the lock of a file that nobody else has a use for."""
    lock = try_lock(own)
    process = os.getpid()
    try:
        yield
    finally:
        # A child that was forked meanwhile leaves the lock to its parent.
        if lock is not None and os.getpid() == process:
            lock.release()
            _remove(own)


def _remove(path: Path) -> None:
    with suppress(OSError):  # it is gone, or Windows still has it open
        path.unlink()
