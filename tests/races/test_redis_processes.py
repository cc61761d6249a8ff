"""Processes on one Redis: one fetch for all of them, whatever becomes of one."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from racing import Task, chain, fetches, together, values
from test_fork import in_child
from test_processes import Worker

from requestforge import RedisTokenStorage, TokenData, TokenFetchPipeline
from requestforge.instrumentation import real_monotonic

pytestmark = pytest.mark.compat

NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here.")


class Farm:
    """Workers on one Redis, the pipeline of this process on it, and the fetches of all."""

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        prefix = uuid4().hex
        self._counts = folder / "counts"
        self._told = {"url": url, "key_prefix": prefix, "counts": str(self._counts)}
        self._stack = stack
        self.steps = chain()
        self.storage = RedisTokenStorage(url=url, key_prefix=prefix)
        self.pipeline = TokenFetchPipeline(self.steps, self.storage)

    def workers(self, count: int, threads: int = 1, lease: float = 35) -> list[Worker]:
        """So many processes, ready; a lock of theirs ends after `lease` seconds."""
        told = {**self._told, "threads": threads, "lease": lease}
        workers = [self._stack.enter_context(Worker(told, "redis_worker.py")) for _ in range(count)]
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
def farm(redis_url: str, tmp_path: Path) -> Iterator[Farm]:
    """Processes on a Redis that holds nothing of theirs."""
    with ExitStack() as stack:
        yield Farm(redis_url, tmp_path, stack)


def test_processes_fetch_each_step_once(farm: Farm) -> None:
    """4 processes of 16 threads each on an empty Redis: one fetch a step between them."""
    workers = farm.workers(4, threads=16)
    for worker in workers:
        worker.tell("execute")
    assert [worker.answer() for worker in workers] == [["user-1"] * 16] * 4
    assert farm.fetches() == [1, 1, 1]


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


def test_an_invalidation_is_seen_by_other_processes_at_once(farm: Farm) -> None:
    """Once a step was invalidated here, no process serves a token that was built on it."""
    workers = farm.workers(3, threads=4)
    for number in range(1, 6):
        for worker in workers:
            worker.tell("execute")
        assert [worker.answer() for worker in workers] == [[f"user-{number}"] * 4] * 3
        farm.pipeline.invalidate_step("app")
    assert farm.fetches() == [1, 5, 5]


@pytest.mark.parametrize("moment", ["locked", "fetching", "fetched"])
def test_an_invalidation_reaches_the_fetch_of_another_process(farm: Farm, moment: str) -> None:
    """A fetch in one process is not cached after another process has invalidated its step."""
    worker = farm.halted(moment)
    farm.pipeline.invalidate_step("app")
    worker.tell("go on")
    worker.answer()
    token = farm.pipeline.execute()
    assert farm.pipeline.execute() == token
    assert fetches(farm.steps)[0] == 0
    assert farm.fetches()[1] + farm.steps[1].fetches == 2


@pytest.mark.parametrize(
    ("moment", "theirs", "ours"),
    [("locked", 0, 1), ("fetching", 1, 1), ("fetched", 1, 1), ("stored", 1, 0)],
)
def test_a_killed_process_holds_others_up_for_its_lease_alone(
    farm: Farm, moment: str, theirs: int, ours: int
) -> None:
    """After the lease of a holder that was killed, others fetch once, if it had stored nothing."""
    farm.halted(moment, lease=1).kill()
    began = real_monotonic()
    assert values(together(8, farm.pipeline.execute)) == {"user-1"}
    assert real_monotonic() - began < 2.5
    assert farm.fetches() == [1, 1, theirs]
    assert fetches(farm.steps) == [0, 0, ours]


@pytest.mark.parametrize(("moment", "theirs"), [("locked", 0), ("fetching", 1), ("fetched", 1)])
def test_a_process_paused_beyond_its_lease_replaces_no_newer_token(
    farm: Farm, moment: str, theirs: int
) -> None:
    """What a holder does that comes back after its lease leaves the token of others in place."""
    worker = farm.halted(moment, lease=1)
    worker.signal(signal.SIGSTOP)
    token = Task(farm.pipeline.execute).result()
    worker.signal(signal.SIGCONT)
    worker.tell("go on")
    assert worker.answer() == "user-1"
    assert farm.fetches() == [1, 1, theirs]
    assert fetches(farm.steps) == [0, 0, 1]
    kept = farm.storage.get("user")
    assert kept is not None
    assert kept.generation == token.generation
    worker.tell("execute")
    assert worker.answer() == ["user-1"]
    assert farm.fetches() == [1, 1, theirs]


@NEEDS_FORK
def test_a_child_reads_and_writes_beside_its_parent(farm: Farm) -> None:
    """A child forked among busy threads uses connections of its own, and mixes up no answers."""
    storage = farm.storage

    def use(name: str) -> bool:
        for turn in range(200):
            storage.set(name, TokenData(f"{name} {turn}"))
            if storage.get(name) != TokenData(f"{name} {turn}"):
                return False
        return True

    busy = [Task(lambda name=f"parent-{number}": use(name)) for number in range(4)]
    assert [in_child(lambda: use("child")) for _ in range(3)] == [True] * 3
    assert [task.result() for task in busy] == [True] * 4


@NEEDS_FORK
def test_a_child_uses_the_client_that_was_given(connect: Callable[..., redis.Redis]) -> None:
    """A client of the caller's works on both sides of a fork, as redis-py lets it."""
    storage = RedisTokenStorage(connect(), key_prefix=uuid4().hex)
    storage.set("app", TokenData("parent"))

    def in_the_child() -> str | None:
        token = storage.get("app")
        storage.set("user", TokenData("child"))
        return token and token.access_token

    assert in_child(in_the_child) == "parent"
    assert storage.get("user") == TokenData("child")


@NEEDS_FORK
def test_a_child_leaves_the_lock_to_its_parent(farm: Farm) -> None:
    """A child that was forked under a lock, and leaves its block, does not give it back."""
    lease = timedelta(seconds=30)
    with ExitStack() as block:
        assert block.enter_context(farm.storage.lock("app", lease, timedelta(0)))
        assert in_child(block.close) is None
        with farm.storage.lock("app", lease, timedelta(0)) as acquired:
            assert not acquired
    with farm.storage.lock("app", lease, timedelta(0)) as acquired:
        assert acquired
