"""Storages that lock: what is done under the lock, and without one."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from doubles import (
    CountingStep,
    RecordingStorage,
    recorded,
)
from requestforge import (
    AuthenticationException,
    TokenFetchPipeline,
)
from requestforge.events import (
    LockUnavailable,
    StepCached,
)

pytestmark = pytest.mark.compat

SHARED = pytest.mark.parametrize("shared", [True, False], ids=["shared", "unshared"])


class LockingStorage(RecordingStorage):
    """A storage with a lock that behaves as told.

    Args:
        held: what entering the lock gives.
        fails: where the lock service fails: "lock", "enter" or "leave".
    """

    def __init__(self, *, held: bool = True, fails: str = "") -> None:
        super().__init__()
        self.held = held
        self.fails = fails
        self.locks: list[tuple[str, timedelta]] = []
        self.waits: list[timedelta] = []
        self.locked: list[str] = []

    def lock(self, key: str, lease: timedelta, wait: timedelta) -> object:
        self.locks.append((key, lease))
        self.waits.append(wait)
        self._fail("lock")
        return self._lock(key)

    @contextmanager
    def _lock(self, key: str) -> Iterator[bool]:
        self._fail("enter")
        if self.held:
            self.locked.append(key)
        yield self.held
        self._fail("leave")
        self.locked.append(f"end of {key}")

    def _fail(self, where: str) -> None:
        if self.fails == where:
            message = f"The lock service failed on {where}."
            raise OSError(message)


def test_a_fetch_is_made_under_the_lock(app: CountingStep) -> None:
    """Where the storage can lock, the leader holds the lock from its second reading on."""
    storage = LockingStorage()
    app.during = lambda: storage.locked.append("fetch")
    TokenFetchPipeline([app], storage, "shop").execute()
    assert storage.locked == ["shop:app", "fetch", "end of shop:app"]
    # The first reading, then the lock, then the second.
    assert storage.made("get_many")[1] == "shop:app#epoch,shop:app"


@pytest.mark.parametrize(
    ("given", "lease"),
    [
        pytest.param({}, timedelta(seconds=35), id="default"),
        pytest.param({"lock_lease": timedelta(seconds=9)}, timedelta(seconds=9), id="given"),
    ],
)
def test_the_lease_is_longer_than_the_fetch(
    app: CountingStep, given: dict[str, timedelta], lease: timedelta
) -> None:
    """The lease is lock_lease, or the step's fetch_timeout and a little more."""
    storage = LockingStorage()
    TokenFetchPipeline([app], storage, **given).execute()
    assert storage.locks == [("app", lease)]
    assert timedelta(seconds=34) < storage.waits[0] - lease <= timedelta(seconds=35)


def test_the_token_that_another_process_stored_meanwhile_is_used(app: CountingStep) -> None:
    """A leader that wins the lock reads again, and fetches nothing if there is a token."""
    elsewhere = RecordingStorage()
    stored = TokenFetchPipeline([CountingStep("app")], elsewhere).execute()
    storage = LockingStorage()
    pipeline = TokenFetchPipeline([app], storage)
    lock = storage.lock

    def late(key: str, lease: timedelta, wait: timedelta) -> object:
        storage.tokens.update(elsewhere.tokens)
        return lock(key, lease, wait)

    storage.lock = late
    with recorded() as events:
        assert pipeline.execute().generation == stored.generation
    assert [type(event) for event in events] == [StepCached]
    assert app.fetches == 0


def test_a_lock_held_by_another_for_too_long_is_an_error(app: CountingStep) -> None:
    """A lock that is still held after the wait is an AuthenticationException of the step."""
    storage = LockingStorage(held=False)
    pipeline = TokenFetchPipeline([app], storage, wait_timeout=timedelta(seconds=2))
    with pytest.raises(AuthenticationException, match="waited 2 s") as caught:
        pipeline.execute()
    assert caught.value.service_name == "app"
    assert app.fetches == 0
    assert storage.waits[0] <= timedelta(seconds=2)
    storage.held = True
    assert pipeline.execute().access_token == "app-1"


@pytest.mark.parametrize("where", ["lock", "enter", "leave"])
def test_a_lock_service_that_fails_is_done_without(
    app: CountingStep, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An unreachable lock service is told of; the step is fetched under the process's flight."""
    storage = LockingStorage(fails=where)
    with recorded() as events:
        assert TokenFetchPipeline([app], storage, "shop").execute().access_token == "app-1"
    [told] = [event for event in events if isinstance(event, LockUnavailable)]
    assert (told.pipeline, told.step) == ("shop", "app")
    assert where in told.error
    assert "lock of step 'app' of pipeline 'shop' failed (OSError)" in caplog.text


def test_a_lock_service_that_fails_is_logged_without_observers(
    app: CountingStep, caplog: pytest.LogCaptureFixture
) -> None:
    """With nobody to tell, the log has it."""
    assert TokenFetchPipeline([app], LockingStorage(fails="lock")).execute()
    assert "OSError" in caplog.text


def test_the_lock_ends_with_a_failing_fetch(app: CountingStep) -> None:
    """The lock is released when the fetch fails, and when its thread is torn down."""
    storage = LockingStorage()
    pipeline = TokenFetchPipeline([app], storage)
    app.failures = [LookupError("down"), KeyboardInterrupt()]
    with pytest.raises(AuthenticationException):
        pipeline.execute()
    assert storage.locked == ["app", "end of app"]
