import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from requestforge.storage import InMemoryTokenStorage
from requestforge.tokens import TokenData


def _generation(name: str) -> TokenData:
    return TokenData.from_dict({"access_token": f"token {name}", "generation": name})


class _MeetingPlace(TokenData):
    """A token that, asked for its generation, waits a moment for another thread to ask it too."""

    __slots__ = ("others",)

    @property
    def generation(self) -> str | None:
        with suppress(threading.BrokenBarrierError):
            self.others.wait(0.1)
        return "a"


class TestThreads:
    @pytest.mark.parametrize("max_entries", [None, 5])
    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda s: s.compare_and_set("key", _generation("b"), "a"), id="set"),
            pytest.param(lambda s: s.compare_and_delete("key", "a"), id="delete"),
        ],
    )
    def test_one_of_many_succeeds(
        self, change: Callable[[InMemoryTokenStorage], bool], max_entries: int | None
    ) -> None:
        """Of threads that would replace or remove the same token at once one does."""
        storage = InMemoryTokenStorage(max_entries=max_entries)
        token = _MeetingPlace("key")
        object.__setattr__(token, "others", threading.Barrier(2))
        storage.set("key", token)

        with ThreadPoolExecutor(3) as pool:
            done = list(pool.map(change, [storage] * 3))

        assert sorted(done) == [False, False, True]


class _HeldToken(TokenData):
    """A token that, asked for its generation, holds up the storage that asks."""

    __slots__ = ("asked", "go_on")

    @property
    def generation(self) -> str | None:
        self.asked.set()
        self.go_on.wait()
        return None


@pytest.mark.compat
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
class TestFork:
    def test_child_is_not_locked_out(self) -> None:
        """A child forked while another thread changes the storage can use its own copy."""
        storage = InMemoryTokenStorage()
        held = _HeldToken("held")
        for name in ("asked", "go_on"):
            object.__setattr__(held, name, threading.Event())
        storage.set("held", held)
        changing = threading.Thread(target=storage.compare_and_delete, args=("held", None))
        changing.start()
        held.asked.wait()
        before = storage.content_version

        def in_child() -> bool:
            renewed = storage.content_version != before
            storage.set("key", TokenData("of the child"))
            return renewed and storage.exists("key")

        status = _fork(in_child)
        held.go_on.set()
        changing.join()

        assert status == 0
        assert not storage.exists("key")

    def test_bounded_child_has_its_own(self) -> None:
        """A child of a process with a bounded storage uses its own copy."""
        storage = InMemoryTokenStorage(max_entries=1)
        storage.set("key", TokenData("of the parent"))

        def in_child() -> bool:
            storage.set("other", TokenData("of the child"))
            return storage.content_version is None and not storage.exists("key")

        assert _fork(in_child) == 0
        assert storage.exists("key")


def _fork(work: Callable[[], bool]) -> int:
    """The exit status of a child that does the work: 0 if it gave True, within 10 seconds."""
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        done = False
        try:
            done = work()
        finally:
            os._exit(0 if done else 1)
    return os.waitpid(child, 0)[1]
