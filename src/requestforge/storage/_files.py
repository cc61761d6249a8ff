"""Files of this user alone, replaced as a whole, and locks on them that the kernel keeps."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from requestforge.storage._polling import poll

if TYPE_CHECKING:
    from filelock import BaseFileLock

_LONGEST_GUARD = 2.0
"""Seconds to wait for others who change a file: that takes them well under a millisecond each."""


def private_directory(path: Path) -> None:
    """Make the directory with mode 0700, and missing parents likewise, if it is not there.

    Raises:
        ValueError: it is there, and users other than its owner may write to it.
        OSError: it cannot be made.
    """
    _make(path)
    if sys.platform == "win32":  # pragma: no cover - its modes say nothing of other users
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        msg = (
            f"Other users may write to the directory {str(path)!r} (mode {mode:04o}), so tokens "
            "there could be anybody's. Run `chmod 700` on it, or name a directory within it that "
            "does not exist yet."
        )
        raise ValueError(msg)


def replace_file(path: Path, content: bytes, *, durable: bool) -> None:
    """Put the content in the file's place, so that a reader finds the old or the new as a whole.

    Whoever calls this holds the guard of the file. A file that is `durable` is on the disk on
    return and survives a power failure; any other may be lost or torn by one.
    """
    # No name of its own for each try: what a killed process leaves is overwritten.
    draft = path.with_name(path.name + ".new")
    try:
        with open(draft, "wb", opener=_open_private) as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    if durable:
        _sync_directory(path.parent)


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Hold the lock file at `path` for the block: nobody else of this host changes what it guards.

    Raises:
        TimeoutError: somebody has held it for two seconds.
        OSError: the file cannot be locked.
    """
    lock = poll(lambda: try_lock(path), _LONGEST_GUARD, first=0.0005, longest=0.005)
    if lock is None:
        msg = f"Another process has held the lock file {str(path)!r} for {_LONGEST_GUARD:g} s."
        raise TimeoutError(msg)
    try:
        yield
    finally:
        lock.release()


def try_lock(path: Path) -> "BaseFileLock | None":
    """The lock of that file, made if it is missing; None: somebody else has it."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, mode=0o600, thread_local=False)
    try:
        # Never with a timeout: that counts by a clock which tests may stop.
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock


def _make(path: Path) -> None:
    try:
        path.mkdir(0o700, exist_ok=True)
    except FileNotFoundError:
        _make(path.parent)
        path.mkdir(0o700, exist_ok=True)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync_directory(path: Path) -> None:
    if sys.platform == "win32":  # pragma: no cover - it cannot open directories
        return
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
