import os
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from threading import Event

import filelock
import pytest
from racing import Task, together
from test_fork import in_child

from requestforge import FileTokenStorage

pytestmark = pytest.mark.compat

NOW = timedelta(0)
SHORT = timedelta(seconds=0.2)
LONG = timedelta(seconds=30)


@pytest.fixture
def storage(tmp_path: Path) -> FileTokenStorage:
    """An empty storage."""
    return FileTokenStorage(tmp_path / "tokens")


def is_free(storage: FileTokenStorage) -> bool:
    """Whether the lock of `app` can be had."""
    with storage.lock("app", LONG, NOW) as acquired:
        return acquired


def files(storage: FileTokenStorage, tmp_path: Path, pattern: str) -> list[Path]:
    """The files of the storage with such names."""
    del storage
    return sorted((tmp_path / "tokens").glob(pattern))


def until(condition: Callable[[], object]) -> None:
    """Return once the condition holds."""
    pause = Event()
    while not condition():
        pause.wait(0.001)


def test_excludes_its_own_thread(storage: FileTokenStorage) -> None:
    """A thread that holds the lock is told so like any other."""
    with storage.lock("app", LONG, NOW) as acquired:
        assert acquired
        assert not is_free(storage)
    assert is_free(storage)


def test_reaches_other_objects_on_the_directory(storage: FileTokenStorage, tmp_path: Path) -> None:
    """Two storages in one directory have the same locks."""
    with storage.lock("app", LONG, NOW):
        assert not is_free(FileTokenStorage(tmp_path / "tokens"))


def test_is_passed_on_quickly(storage: FileTokenStorage) -> None:
    """16 threads that want the lock for a moment each have it one after another."""
    inside: list[int] = []

    def take() -> int:
        with storage.lock("app", LONG, LONG) as acquired:
            assert acquired
            inside.append(1)
            present = len(inside)
            Event().wait(0.001)
            inside.pop()
        return present

    assert together(16, take) == [1] * 16


def test_leaves_no_file_of_a_holder(storage: FileTokenStorage, tmp_path: Path) -> None:
    """Once a lock is given back, what its holder kept locked is gone."""
    before = ["guard", "json", "lock"]
    for _ in range(3):
        assert is_free(storage)
    with storage.lock("app", SHORT, NOW), storage.lock("app", LONG, LONG) as acquired:
        assert acquired  # after the first has run out
        assert len(files(storage, tmp_path, "*.lock-*")) == 1
    suffixes = {path.suffix[1:] for path in files(storage, tmp_path, "*")}
    assert suffixes <= set(before)


def test_taken_over_is_not_given_back_by_its_first_holder(storage: FileTokenStorage) -> None:
    """A holder that comes back after its lease leaves the lock of the next one alone."""
    with ExitStack() as first:
        first.enter_context(storage.lock("app", SHORT, NOW))
        with storage.lock("app", LONG, LONG) as acquired:
            assert acquired
            first.close()
            assert not is_free(storage)
        assert is_free(storage)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"torn",
        b"\xff\xff 1.000000",
        b"0123456789abcdef nan",
        b"0123456789abcdef 99999999.000000 more",
        b"../../../etc/some 99999999.000000",
    ],
)
def test_of_an_unknown_holder_is_free(
    storage: FileTokenStorage, tmp_path: Path, content: bytes
) -> None:
    """A file that does not say who holds the lock, after a power failure, stops nobody."""
    assert is_free(storage)
    [holder] = files(storage, tmp_path, "*.lock")
    holder.write_bytes(content)
    assert is_free(storage)


def test_of_a_dead_holder_is_free(storage: FileTokenStorage, tmp_path: Path) -> None:
    """A lease that is not over binds nobody once the kernel has let go of the holder's file."""
    with storage.lock("app", LONG, NOW):
        [holder] = files(storage, tmp_path, "*.lock")
        [own] = files(storage, tmp_path, "*.lock-*")
        told = holder.read_bytes()
    holder.write_bytes(told)
    own.touch()  # as a killed process leaves it
    assert is_free(storage)
    assert not own.exists()


def test_is_not_taken_if_somebody_is_faster(storage: FileTokenStorage, tmp_path: Path) -> None:
    """Of two that find the lock free the one that comes second to the guard waits."""
    with storage.lock("app", LONG, NOW):
        [holder] = files(storage, tmp_path, "*.lock")
        [own] = files(storage, tmp_path, "*.lock-*")
        told = holder.read_bytes()
        holder.write_bytes(b"0123456789abcdef 0.000000")
        with filelock.FileLock(files(storage, tmp_path, "*.guard")[0]):
            late = Task(lambda: is_free(storage))
            until(lambda: len(files(storage, tmp_path, "*.lock-*")) == 2)
            holder.write_bytes(told)
        assert not late.result()
        assert files(storage, tmp_path, "*.lock-*") == [own]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here.")
def test_is_not_given_back_by_a_forked_child(storage: FileTokenStorage) -> None:
    """A child that was forked under a lock leaves it to its parent."""
    with ExitStack() as block:
        assert block.enter_context(storage.lock("app", LONG, NOW))
        in_child(block.close)
        assert not Task(lambda: is_free(storage)).result()
    assert is_free(storage)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here.")
def test_reaches_a_forked_child(storage: FileTokenStorage) -> None:
    """Parent and child keep each other out of a lock that either takes after the fork."""
    with storage.lock("app", LONG, NOW):
        assert in_child(lambda: is_free(storage)) is False
    assert in_child(lambda: is_free(storage)) is True
    assert is_free(storage)
