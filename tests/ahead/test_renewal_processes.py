"""refresh_ahead in processes on one Redis: one of them at a time renews."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from test_processes import Worker

pytestmark = pytest.mark.compat


class Fleet:
    """Processes on one Redis, whose clocks stand still, and the fetches of all."""

    def __init__(self, url: str, folder: Path, stack: ExitStack, count: int) -> None:
        self._counts = folder / "counts"
        told = {"url": url, "key_prefix": uuid4().hex, "counts": str(self._counts)}
        self.workers = [stack.enter_context(Worker(told, "ahead_worker.py")) for _ in range(count)]
        assert [worker.answer() for worker in self.workers] == ["ready"] * count

    def all(self, line: str) -> list[object]:
        """What all answer to a line that they get at the same time."""
        for worker in self.workers:
            worker.tell(line)
        return [worker.answer() for worker in self.workers]

    def fetches(self) -> int:
        """How often all of them together have fetched."""
        return len(self._counts.read_text().split())


@pytest.fixture
def fleet(redis_url: str, tmp_path: Path) -> Iterator[Fleet]:
    """Two processes on a Redis that holds nothing of theirs."""
    with ExitStack() as stack:
        yield Fleet(redis_url, tmp_path, stack, 2)


def one(worker: Worker, line: str) -> object:
    """What one answers."""
    worker.tell(line)
    return worker.answer()


def test_two_processes_renew_a_token_once(fleet: Fleet) -> None:
    """Both find it stale at the same time, and both have the new one afterwards."""
    assert fleet.all("execute") == ["app-1"] * 2
    fleet.all("advance 3360")
    assert set(fleet.all("execute")) <= {"app-1", "app-2"}
    fleet.all("settle")
    fleet.all("advance 1")
    assert fleet.all("execute") == ["app-2"] * 2
    fleet.all("settle")
    assert fleet.fetches() == 2


def test_a_process_does_not_wait_for_the_renewal_of_another(fleet: Fleet) -> None:
    """While one is at it, the other serves the old token, and gives up its own renewal at once."""
    first, other = fleet.workers
    assert fleet.all("execute") == ["app-1"] * 2
    fleet.all("advance 3360")
    one(first, "hold")
    first.tell("execute")
    assert {str(first.answer()), str(first.answer())} == {"fetching", "app-1"}
    assert one(other, "execute") == "app-1"
    one(other, "settle")
    one(first, "go")
    one(first, "settle")
    assert fleet.all("execute") == ["app-2"] * 2
    assert fleet.fetches() == 2
