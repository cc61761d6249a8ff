"""The lock of a storage: what is asked of it, and what becomes of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from racing import Gate, Interrupt, ScriptedStorage, Task, chain, fetches, together, values, watched

from doubles import BasicStorage, CountingStep, RecordingStorage
from requestforge import AuthenticationException, TokenFetchPipeline
from requestforge.events import LockUnavailable, StepCached, StepFetched, StepMissed

pytestmark = pytest.mark.compat


class LockingStorage(ScriptedStorage):
    """A storage with a lock that does as it is told.

    Attributes:
        held: what entering gives.
        asked: key, lease and wait of each lock that was asked for.
        told: what became of the locks, in order.
        on_enter: called when a lock is entered.
        broken: raised by "lock", "enter" or "exit".
    """

    def __init__(self) -> None:
        super().__init__()
        self.held = True
        self.asked: list[tuple[str, timedelta, timedelta]] = []
        self.told: list[str] = []
        self.on_enter: Callable[[], object] = lambda: None
        self.broken: dict[str, Exception] = {}

    @contextmanager
    def _locked(self, key: str) -> Iterator[bool]:
        self._break("enter")
        self.on_enter()
        self.told.append(f"enter {key}")
        try:
            yield self.held
        finally:
            self.told.append(f"leave {key}")
            self._break("exit")

    def lock(self, key: str, lease: timedelta, wait: timedelta) -> Any:  # noqa: ANN401
        self._break("lock")
        self.asked.append((key, lease, wait))
        return self._locked(key)

    def _break(self, where: str) -> None:
        if where in self.broken:
            raise self.broken[where]


def test_each_fetch_holds_the_lock_of_its_step_alone() -> None:
    """A step is locked while it is fetched; no lock is taken within another, none for a hit."""
    storage = LockingStorage()
    steps = chain()
    for step in steps:
        step.during = lambda step=step: storage.told.append(f"fetch {step.name}")
    pipeline = TokenFetchPipeline(steps, storage)
    pipeline.execute()
    pipeline.execute()
    assert storage.told == [
        f"{what} {name}"
        for name in ("device", "app", "user")
        for what in ("enter", "fetch", "leave")
    ]


@pytest.mark.parametrize(
    ("lock_lease", "wait_timeout", "lease", "wait"),
    [
        (None, None, 35, 70),
        (timedelta(seconds=3), None, 3, 38),
        (None, timedelta(seconds=2), 35, 2),
    ],
    ids=["defaults", "lease", "wait"],
)
def test_lease_and_wait_follow_the_steps_timeout(
    lock_lease: timedelta | None, wait_timeout: timedelta | None, lease: float, wait: float
) -> None:
    """The lease outlives a fetch of 30 s; who waits outlives a holder that died at its start."""
    storage = LockingStorage()
    pipeline = TokenFetchPipeline(
        [CountingStep("app")], storage, lock_lease=lock_lease, wait_timeout=wait_timeout
    )
    pipeline.execute()
    [(key, asked_lease, asked_wait)] = storage.asked
    assert key == "app"
    assert asked_lease == timedelta(seconds=lease)
    assert timedelta(seconds=wait - 1) < asked_wait <= timedelta(seconds=wait)


def test_one_thread_of_a_process_asks_for_the_lock() -> None:
    """The other threads wait for the flight that has it."""
    storage = LockingStorage()
    steps = chain()
    steps[0].during = gate = Gate()
    pipeline = TokenFetchPipeline(steps, storage)
    with watched() as watch:
        tasks = [Task(pipeline.execute) for _ in range(16)]
        watch.until(16, StepMissed, "device")
        gate.open()
        assert values([task.result() for task in tasks]) == {"user-1"}
    assert [key for key, _, _ in storage.asked] == ["device", "app", "user"]


def test_what_another_process_fetched_is_not_fetched_again() -> None:
    """The leader reads the record again once it has the lock."""
    storage = LockingStorage()
    step, other = CountingStep("app"), CountingStep("app")
    elsewhere = RecordingStorage()
    elsewhere.tokens = storage.tokens
    theirs = TokenFetchPipeline([other], elsewhere)
    storage.on_enter = theirs.execute
    with watched() as watch:
        token = TokenFetchPipeline([step], storage).execute()
    assert token.generation == theirs.execute().generation
    assert (step.fetches, other.fetches) == (0, 1)
    assert len(watch.of(StepFetched)) == 1  # theirs
    assert len(watch.of(StepCached)) == 1


def test_a_forced_fetch_does_not_do_with_what_another_process_fetched() -> None:
    """force_refresh fetches under the lock, whatever has been stored meanwhile."""
    storage = LockingStorage()
    step, other = CountingStep("app"), CountingStep("app")
    elsewhere = RecordingStorage()
    elsewhere.tokens = storage.tokens
    theirs = TokenFetchPipeline([other], elsewhere)
    storage.on_enter = theirs.execute
    TokenFetchPipeline([step], storage).execute(force_refresh=True)
    assert (step.fetches, other.fetches) == (1, 1)


def test_what_a_thread_fetched_meanwhile_needs_no_lock() -> None:
    """A thread that read before another one's fetch landed reads again before it locks."""
    storage = LockingStorage()
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], storage)
    storage.once("after get_many", "app", pipeline.execute)
    assert pipeline.execute().access_token == "app-1"
    assert [key for key, _, _ in storage.asked] == ["app"]


def test_what_a_thread_fetched_of_another_step_is_no_reason_not_to_lock() -> None:
    """The lock of a step is taken although another step's fetch has landed meanwhile."""
    storage = LockingStorage()
    step = CountingStep("app")
    other = TokenFetchPipeline([CountingStep("other")], storage)
    storage.once("after get_many", "app", other.execute)
    assert TokenFetchPipeline([step], storage).execute().access_token == "app-1"
    assert [key for key, _, _ in storage.asked] == ["other", "app"]


def test_what_a_plain_call_fetched_meanwhile_does_not_do_for_a_forced_one() -> None:
    """A forced call locks and fetches, though another thread's token has come since it read."""
    storage = LockingStorage()
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], storage)
    storage.once("after get_many", "app", pipeline.execute)
    assert pipeline.execute(force_refresh=True).access_token == "app-2"
    assert [key for key, _, _ in storage.asked] == ["app", "app"]


def test_a_lock_that_others_keep_ends_the_wait() -> None:
    """A step that another process fetches for too long raises, without a fetch of our own."""
    storage = LockingStorage()
    storage.held = False
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], storage, wait_timeout=timedelta(milliseconds=20))
    error = Task(pipeline.execute).error()
    assert type(error) is AuthenticationException
    assert error.service_name == "app"
    assert step.fetches == 0
    assert storage.told == ["enter app", "leave app"]
    storage.held = True
    assert pipeline.execute().access_token == "app-1"


def test_waiters_of_a_leader_that_waits_in_vain_end_as_well() -> None:
    """All threads of a process give up at their own time limits."""
    storage = LockingStorage()
    storage.held = False
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], storage, wait_timeout=timedelta(milliseconds=20))
    errors = together(8, pipeline.execute)
    assert [type(error) for error in errors] == [AuthenticationException] * 8
    assert step.fetches == 0


def test_a_storage_that_cannot_lock_is_used_without() -> None:
    """`lock` may give None: the step is fetched, and nobody is told of a fault."""

    class Unlocked(RecordingStorage):
        def lock(self, key: str, lease: timedelta, wait: timedelta) -> None:
            del key, lease, wait

    steps = chain()
    with watched() as watch:
        assert values(together(16, TokenFetchPipeline(steps, Unlocked()).execute)) == {"user-1"}
    assert fetches(steps) == [1, 1, 1]
    assert watch.of(LockUnavailable) == []


@pytest.mark.parametrize("where", ["lock", "enter", "exit"])
def test_a_lock_service_that_fails_is_done_without(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The step is fetched under the process's own flight; an event and the log tell of it."""
    storage = LockingStorage()
    storage.broken = {where: OSError("No route to the lock server.")}
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], storage, "shop")
    with watched() as watch:
        assert values(together(16, pipeline.execute)) == {"app-1"}
    assert step.fetches == 1
    [event] = watch.of(LockUnavailable)
    assert (event.pipeline, event.step) == ("shop", "app")
    assert event.error == "No route to the lock server."
    assert "lock of step 'app' of pipeline 'shop' failed (OSError)" in caplog.text


@pytest.mark.parametrize("failure", [OSError("down"), Interrupt()], ids=["error", "interrupt"])
def test_a_failed_fetch_releases_the_lock(failure: BaseException) -> None:
    """Whatever ends a fetch, its lock is left."""
    storage = LockingStorage()
    step = CountingStep("app")
    step.failures = [failure]
    pipeline = TokenFetchPipeline([step], storage)
    assert Task(pipeline.execute).error() is not None
    assert storage.told == ["enter app", "leave app"]
    assert pipeline.execute().access_token == "app-2"


def test_the_lock_of_a_duck_typed_storage_is_left_alone() -> None:
    """Only a TokenStorageInterface is asked for more than the four methods."""

    class Duck(BasicStorage):
        def lock(self, *_: object) -> None:
            raise AssertionError

    assert TokenFetchPipeline([CountingStep("app")], Duck()).execute().access_token == "app-1"
