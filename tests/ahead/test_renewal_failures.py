"""Renewals that fail: the old token is served on, and the server is left in peace."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from racing import LIMIT, Gate, Interrupt, Task, watched
from renewing import AHEAD, MINUTE, LockingStorage, ahead, renewing, settle, text
from test_fork import in_child

from doubles import Clock, CountingStep, FlakyStorage, RecordingStorage, recorded
from requestforge import InMemoryTokenStorage, TokenFetchPipeline
from requestforge.events import RefreshFailed, StepCached, StepFailed, StepMissed
from requestforge.exceptions import AuthenticationException, ServerErrorException
from requestforge.instrumentation import observe

pytestmark = pytest.mark.compat

NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here.")


@pytest.fixture(params=[InMemoryTokenStorage, RecordingStorage], ids=["in memory", "shared"])
def storage(request: pytest.FixtureRequest) -> object:
    """A storage of this process, and one that others share."""
    make: Callable[[], object] = request.param
    return make()


def test_a_failed_renewal_is_an_event(app: CountingStep, storage: object, clock: Clock) -> None:
    """Callers go on with the old token; observers and the step itself hear of the failure."""
    pipeline = ahead(app, storage=storage)
    app.failure = OSError("down")
    clock.advance(minutes=56)
    with recorded() as events:
        assert text(pipeline) == "app-1"
    assert [type(event) for event in events] == [StepCached, StepFailed, RefreshFailed]
    assert (events[2].step, "down" in events[2].error) == ("app", True)
    assert app.errors == [app.failure]


def test_a_failed_renewal_is_not_tried_again_at_each_call(
    app: CountingStep, storage: object, clock: Clock
) -> None:
    """The pauses between the tries grow, so that an outage costs some twenty calls, not 300."""
    pipeline = ahead(app, storage=storage)
    app.failure = OSError("down")
    clock.advance(minutes=55)
    for _ in range(300):
        assert [text(pipeline) for _ in range(3)] == ["app-1"] * 3
        clock.advance(seconds=1)
    assert 10 <= app.fetches - 1 <= 25


def test_callers_fetch_themselves_once_the_token_is_dead(
    app: CountingStep, storage: object, clock: Clock
) -> None:
    """Without `failure_backoff` they do so at once, and get the error of their own fetch."""
    pipeline = ahead(app, storage=storage)
    app.failure = OSError("down")
    clock.advance(minutes=59, seconds=59)
    text(pipeline)
    clock.advance(seconds=1)
    with pytest.raises(AuthenticationException):
        pipeline.execute()
    app.failure = None
    assert text(pipeline) == "app-4"


def test_a_later_try_succeeds(app: CountingStep, storage: object, clock: Clock) -> None:
    """Half a second after the first failure there may be another try."""
    pipeline = ahead(app, storage=storage)
    app.failures = [OSError("down")]
    clock.advance(minutes=56)
    text(pipeline)
    clock.advance(seconds=0.5)
    assert [text(pipeline), text(pipeline)] == ["app-1", "app-3"]


def test_a_renewal_is_not_tried_before_the_server_allows_it(
    app: CountingStep, storage: object, clock: Clock
) -> None:
    """Retry-After holds for renewals, too."""
    pipeline = ahead(app, storage=storage)
    failure = ServerErrorException(status_code=503)
    failure.retry_after = 90.0
    app.failures = [failure]
    clock.advance(minutes=56)
    text(pipeline)
    clock.advance(seconds=89)
    assert [text(pipeline), text(pipeline)] == ["app-1"] * 2
    clock.advance(seconds=1)
    assert [text(pipeline), text(pipeline)] == ["app-1", "app-3"]


@pytest.mark.parametrize("error", [Interrupt(), SystemExit(3)], ids=["interrupt", "exit"])
def test_no_exception_leaves_the_thread_of_a_renewal(
    error: BaseException, app: CountingStep, clock: Clock
) -> None:
    """What is no Exception ends that renewal, as a failure; a caller who waits fetches instead."""
    pipeline = ahead(app, storage=InMemoryTokenStorage())
    app.failures = [error]
    app.during = gate = Gate()
    clock.advance(minutes=56)
    with watched() as watch:
        pipeline.execute()
        gate.until_reached()
        clock.advance(minutes=4)
        caller = Task(pipeline.execute)
        watch.until(1, StepMissed, "app")
        gate.open()
        assert caller.result().access_token == "app-3"
        settle()
    assert [event.step for event in watch.of(RefreshFailed)] == ["app"]


def test_an_observer_that_raises_ends_no_thread_with_a_trace(
    app: CountingStep, clock: Clock
) -> None:
    """Whatever an observer raises in the background stays there."""
    pipeline = ahead(app, storage=InMemoryTokenStorage())
    app.failure = OSError("down")
    clock.advance(minutes=56)

    def leave(event: object) -> None:
        if isinstance(event, RefreshFailed):
            raise Interrupt

    with observe(leave):
        assert text(pipeline) == "app-1"


def test_a_thread_that_cannot_be_started_is_a_failed_renewal(
    app: CountingStep, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit of threads, or while the interpreter ends, the old token is served."""
    pipeline = ahead(app, storage=InMemoryTokenStorage())

    def refuse(_: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    clock.advance(minutes=56)
    with monkeypatch.context() as patch, recorded() as events:
        patch.setattr(threading.Thread, "start", refuse)
        assert [pipeline.execute().access_token for _ in range(3)] == ["app-1"] * 3
    assert [event.step for event in events if isinstance(event, RefreshFailed)] == ["app"]
    clock.advance(seconds=1)
    assert [text(pipeline), text(pipeline)] == ["app-1", "app-2"]


def test_a_storage_that_cannot_be_written_leaves_the_new_token_here(
    app: CountingStep, clock: Clock
) -> None:
    """As with any fetch, this process goes on with what it has got."""
    storage = FlakyStorage()
    pipeline = ahead(app, storage=storage)
    storage.broken = {"set"}
    clock.advance(minutes=56)
    assert [text(pipeline), text(pipeline)] == ["app-1", "app-2"]


def test_a_process_that_holds_the_lock_is_left_alone(app: CountingStep, clock: Clock) -> None:
    """The lock is tried without waiting; who does not get it looks again later, and is silent."""
    storage = LockingStorage()
    pipeline = ahead(app, storage=storage)
    storage.held = True
    clock.advance(minutes=56)
    with recorded() as events:
        assert [text(pipeline) for _ in range(5)] == ["app-1"] * 5
    assert {type(event) for event in events} == {StepCached}
    assert storage.waits[1:] == [timedelta(0)]
    storage.held = False
    clock.advance(seconds=1)
    assert [text(pipeline), text(pipeline)] == ["app-1", "app-2"]


def test_what_another_process_has_renewed_is_adopted(app: CountingStep, clock: Clock) -> None:
    """Once the lock is had, the storage is read again: a new token there is no reason to fetch."""
    ours, theirs = LockingStorage(), LockingStorage()
    theirs.tokens = ours.tokens
    pipeline, other = ahead(app, storage=ours), ahead(app, storage=theirs)
    user = CountingStep("user", ["app"])
    user.during = gate = Gate()
    clock.advance(minutes=56)
    app.during = lambda: None
    # The other process renews between this one's look and its second reading.
    ours.lock = lambda key, lease, wait: _after(other, LockingStorage.lock(ours, key, lease, wait))
    assert [text(pipeline), text(pipeline)] == ["app-1", "app-2"]
    assert app.fetches == 2
    gate.open()


def _after(other: TokenFetchPipeline, lock: object) -> object:
    other.execute(force_refresh=True)
    return lock


@NEEDS_FORK
def test_a_child_forked_during_a_renewal_renews_itself(app: CountingStep, clock: Clock) -> None:
    """The child forgets the renewal of its parent, which goes on there."""
    pipeline = ahead(app, storage=InMemoryTokenStorage())
    app.during = gate = Gate()
    clock.advance(minutes=56)
    pipeline.execute()
    gate.until_reached()

    def child() -> list[object]:
        first = TokenFetchPipeline([app], InMemoryTokenStorage()).execute().access_token
        clock.advance(seconds=1)
        return [first, text(pipeline), text(pipeline)]

    assert in_child(child) == ["app-3", "app-1", "app-4"]
    gate.open()
    settle()
    assert text(pipeline) == "app-2"


def test_an_interpreter_that_ends_does_not_wait_for_a_renewal() -> None:
    """A renewal that hangs holds up no exit, and shows no traceback."""
    program = """
import threading
from datetime import timedelta
from requestforge import InMemoryTokenStorage, TokenData, TokenFetchPipeline
from requestforge.instrumentation import now

started = threading.Event()

class Step:
    name = "app"
    def fetch(self, context):
        if threading.current_thread() is not threading.main_thread():
            started.set()
            threading.Event().wait()
        return TokenData("token", expires_at=now() + timedelta(seconds=4))

storage = InMemoryTokenStorage()
storage.set("app", TokenData("old", expires_at=now() + timedelta(seconds=40)))
pipeline = TokenFetchPipeline([Step()], storage, refresh_ahead=timedelta(minutes=1))
assert pipeline.execute().access_token == "old"
assert started.wait(10)
pipeline.close()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=LIMIT, check=False, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_pipeline_that_is_dropped_lets_its_renewal_end(app: CountingStep, clock: Clock) -> None:
    """The thread keeps what it needs, and no longer than it needs it."""
    pipeline = ahead(app, storage=InMemoryTokenStorage())
    app.during = gate = Gate()
    clock.advance(minutes=56)
    pipeline.execute()
    gate.until_reached()
    del pipeline
    gate.open()
    settle()
    assert not renewing()
    assert app.fetches == 2


@pytest.mark.parametrize(
    ("refresh_ahead", "error", "told"),
    [
        (5, TypeError, "refresh_ahead must be a timedelta or None, not int."),
        (-AHEAD, ValueError, "refresh_ahead must be positive"),
        (0 * MINUTE, ValueError, "refresh_ahead must be positive"),
    ],
    ids=["number", "negative", "zero"],
)
def test_a_refresh_ahead_that_is_none_is_refused(
    refresh_ahead: object, error: type[Exception], told: str, app: CountingStep
) -> None:
    """The constructor says what it wants."""
    with pytest.raises(error, match=told):
        TokenFetchPipeline([app], InMemoryTokenStorage(), refresh_ahead=refresh_ahead)
