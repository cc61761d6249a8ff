"""Processes on one directory of tokens: one fetch for all of them, whatever becomes of one."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import filelock
import pytest
from racing import Task, chain, fetches, together, values, watched
from test_processes import Worker

from doubles import CountingStep, faults
from requestforge import FileTokenStorage, TokenFetchPipeline
from requestforge.events import LockUnavailable
from requestforge.instrumentation import real_monotonic

pytestmark = pytest.mark.compat

MOMENTS = ["locked", "fetching", "fetched", "stored"]


class Farm:
    """Workers on one directory, the storage of this process there, and the fetches of all."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._told = {"directory": str(folder / "tokens"), "counts": str(folder / "counts")}
        self._counts = folder / "counts"
        self._stack = stack
        self.steps = chain()
        self.directory = folder / "tokens"
        self.storage = FileTokenStorage(self.directory)
        self.pipeline = TokenFetchPipeline(self.steps, self.storage)

    def workers(self, count: int, threads: int = 1, lease: float = 35) -> list[Worker]:
        """So many processes, ready; a lock of theirs ends after `lease` seconds."""
        told = {**self._told, "threads": threads, "lease": lease}
        workers = [self._stack.enter_context(Worker(told, "file_worker.py")) for _ in range(count)]
        assert [worker.answer() for worker in workers] == ["ready"] * count
        return workers

    def halted(self, moment: str, lease: float = 35) -> Worker:
        """A worker that has come to that moment of a fetch."""
        [worker] = self.workers(1, lease=lease)
        worker.tell(f"halt {moment}")
        assert worker.answer() == moment
        return worker

    def fetches(self) -> list[int]:
        """How often the workers have fetched each step."""
        made = self._counts.read_text().split() if self._counts.exists() else []
        return [made.count(step.name) for step in self.steps]


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    """Processes on an empty directory."""
    with ExitStack() as stack:
        yield Farm(tmp_path, stack)


def test_processes_fetch_each_step_once(farm: Farm) -> None:
    """4 processes of 16 threads each on an empty directory: one fetch a step between them."""
    workers = farm.workers(4, threads=16)
    for worker in workers:
        worker.tell("execute")
    assert [worker.answer() for worker in workers] == [["user-1"] * 16] * 4
    assert farm.fetches() == [1, 1, 1]


def test_storages_of_one_process_fetch_each_step_once(farm: Farm) -> None:
    """16 threads that have a storage and a pipeline each: one fetch a step between them."""
    outcomes = together(
        16, lambda: TokenFetchPipeline(farm.steps, FileTokenStorage(farm.directory)).execute()
    )
    assert values(outcomes) == {"user-1"}
    assert fetches(farm.steps) == [1, 1, 1]


def test_processes_refresh_a_revoked_token_once(farm: Farm) -> None:
    """The threads of 3 processes that hold the same rejected token get one new one between them."""
    workers = farm.workers(3, threads=8)
    for worker in workers:
        worker.tell("refresh")
        assert worker.answer() == "rejected"
    for worker in workers:
        worker.tell("now")
    assert [worker.answer() for worker in workers] == [["user-2"] * 8] * 3
    assert farm.fetches() == [2, 2, 2]


def test_processes_replace_a_token_one_at_a_time(farm: Farm) -> None:
    """4 processes that count up in one record lose none of their changes."""
    workers = farm.workers(4)
    for worker in workers:
        worker.tell("count")
    assert [worker.answer() for worker in workers] == [25] * 4
    token = farm.storage.get("count")
    assert token is not None
    assert (token.access_token, token.generation) == ("100", "n100")


def test_an_invalidation_reaches_the_fetch_of_another_process(farm: Farm) -> None:
    """A fetch in one process is not cached after another process has invalidated its step."""
    worker = farm.halted("fetching")
    farm.pipeline.invalidate_step("app")
    worker.tell("go on")
    assert worker.answer() == "user-1"
    token = farm.pipeline.execute()
    assert fetches(farm.steps) == [0, 1, 1]
    assert farm.pipeline.execute() == token
    assert farm.fetches() == [1, 1, 1]


def test_a_process_waits_for_the_fetch_of_another(farm: Farm) -> None:
    """A caller here gets the token that a process elsewhere was about to fetch."""
    worker = farm.halted("fetching")
    caller = Task(farm.pipeline.execute)
    worker.tell("go on")
    assert caller.result().access_token == "user-1"
    assert worker.answer() == "user-1"
    assert fetches(farm.steps) == [0, 0, 0]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_process_holds_nobody_up(farm: Farm, moment: str) -> None:
    """The kernel gives back what a killed process held: others go on long before its lease ends.

    They fetch once more unless the token was stored already.
    """
    worker = farm.halted(moment)
    waiting = Task(farm.pipeline.execute)
    killed_at = real_monotonic()
    worker.kill()
    waiting.result()
    assert values(together(8, farm.pipeline.execute)) == {"user-1"}
    assert real_monotonic() - killed_at < 5
    assert fetches(farm.steps) == [0, 0, int(moment != "stored")]
    assert farm.fetches() == [1, 1, int(moment != "locked")]


def test_killed_processes_leave_no_files_behind_for_long(farm: Farm) -> None:
    """However many holders of a lock were killed, the next one clears away what they left."""
    for _ in range(3):
        farm.halted("fetching").kill()
    farm.pipeline.execute()
    names = [path.name for path in farm.directory.iterdir()]
    assert not [name for name in names if ".lock-" in name or name.endswith(".new")]
    assert len(names) == 3 * 3  # record, guard and lock of each step


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="Processes cannot be paused here.")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_paused_process_holds_others_up_for_its_lease_alone(farm: Farm, moment: str) -> None:
    """After the lease of a paused holder others fetch, once, and it replaces nothing of theirs."""
    worker = farm.halted(moment, lease=1)
    worker.signal(signal.SIGSTOP)
    paused_at = real_monotonic()
    [token] = {each.generation for each in together(8, farm.pipeline.execute)}
    assert real_monotonic() - paused_at < 3
    assert fetches(farm.steps) == [0, 0, int(moment != "stored")]

    worker.signal(signal.SIGCONT)
    worker.tell("go on")
    assert worker.answer() == "user-1"
    assert farm.storage.get("user").generation == token
    assert farm.pipeline.execute().generation == token
    assert farm.fetches() == [1, 1, int(moment != "locked")]


def test_the_lock_of_a_resumed_process_is_not_given_back_twice(farm: Farm) -> None:
    """A process that comes back after its lease leaves the lock of its heir alone."""
    worker = farm.halted("fetching", lease=0.2)
    with farm.storage.lock("user", timedelta(seconds=30), timedelta(seconds=5)) as acquired:
        assert acquired
        worker.tell("go on")
        assert worker.answer() == "user-1"
        with farm.storage.lock("user", timedelta(seconds=30), timedelta(0)) as again:
            assert not again


def test_a_process_stuck_in_a_change_is_done_without(farm: Farm) -> None:
    """Where nothing can be changed a token is fetched once, told of, and kept in this process."""
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], farm.storage)
    pipeline.execute()
    [guard] = [path for path in farm.directory.iterdir() if path.name.endswith(".guard")]
    with filelock.FileLock(guard), watched() as watch:
        assert Task(lambda: pipeline.execute(force_refresh=True)).result().access_token == "app-2"
        assert pipeline.execute().access_token == "app-2"
    assert [event.step for event in watch.of(LockUnavailable)] == ["app"]
    assert faults(watch.events) == [("write", "app")]
