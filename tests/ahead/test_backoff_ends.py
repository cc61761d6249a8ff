"""failure_backoff: what ends it, who shares it, and what is kept of a failure."""

import gc
import os
import traceback
import weakref
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from backing_off import careful, failure_of, told_by_retry_at, told_by_status
from racing import Gate, Task, together, values
from renewing import ahead, settle, text
from test_fork import in_child

from doubles import START, Clock, CountingStep, RecordingStorage, recorded
from requestforge import (
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.events import StepFailed, StepMissed
from requestforge.exceptions import (
    AuthenticationException,
    DependencyException,
    ServerErrorException,
)
from requestforge.instrumentation import use_clock

pytestmark = pytest.mark.compat

NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here.")


@pytest.fixture(params=[InMemoryTokenStorage, RecordingStorage], ids=["in memory", "shared"])
def storage(request: pytest.FixtureRequest) -> object:
    """A storage of this process, and one that others share."""
    make: Callable[[], object] = request.param
    return make()


@pytest.mark.parametrize(
    "end",
    [
        lambda pipeline: pipeline.invalidate_step("user"),
        lambda pipeline: pipeline.invalidate_step("app"),
        lambda pipeline: pipeline.invalidate_all(),
    ],
    ids=["step", "upstream", "all"],
)
def test_an_invalidation_ends_it(
    end: Callable[[TokenFetchPipeline], None],
    app: CountingStep,
    user: CountingStep,
    storage: object,
    clock: Clock,
) -> None:
    """Who invalidates wants a new token."""
    del clock
    pipeline = careful(app, user, storage=storage)
    user.failures = [OSError("down")]
    failure_of(pipeline.execute)
    end(pipeline)
    assert pipeline.execute().access_token == "user-2"


def test_an_invalidation_by_another_process_ends_it(app: CountingStep, clock: Clock) -> None:
    """What counts is the epoch in the storage."""
    del clock
    ours, theirs = RecordingStorage(), RecordingStorage()
    theirs.tokens = ours.tokens
    pipeline = careful(app, storage=ours)
    app.failures = [OSError("down")]
    failure_of(pipeline.execute)
    careful(app, storage=theirs).invalidate_all()
    assert pipeline.execute().access_token == "app-2"


def test_a_success_of_another_process_ends_it(app: CountingStep, clock: Clock) -> None:
    """A token that came and went since the failure makes it old news."""
    ours, theirs = RecordingStorage(), RecordingStorage()
    theirs.tokens = ours.tokens
    pipeline = careful(app, storage=ours)
    error = ServerErrorException(status_code=503)
    error.retry_after = 10_000.0
    app.failures = [error]
    failure_of(pipeline.execute)
    assert careful(app, storage=theirs).execute().access_token == "app-2"
    clock.advance(hours=1)
    assert pipeline.execute().access_token == "app-3"


def test_a_forced_execution_ends_it(app: CountingStep, storage: object, clock: Clock) -> None:
    """It fetches in any case; if it fails, the wait begins anew, as after a first failure."""
    pipeline = careful(app, storage=storage)
    app.failure = OSError("down")
    for _ in range(8):
        failure_of(pipeline.execute)
        clock.advance(seconds=31)
    failure_of(pipeline.execute)
    retry_at = failure_of(lambda: pipeline.execute(force_refresh=True)).retry_at
    assert app.fetches == 10
    assert retry_at <= clock.now() + timedelta(seconds=0.5)
    app.failure = None
    assert pipeline.execute(force_refresh=True) == pipeline.execute()


def test_a_success_ends_it(app: CountingStep, storage: object, clock: Clock) -> None:
    """After it the next failure counts as the first."""
    pipeline = careful(app, storage=storage)
    app.failures = [OSError("down")] * 6
    for _ in range(6):
        failure_of(pipeline.execute)
        clock.advance(seconds=31)
    pipeline.execute()
    app.failure = OSError("down again")
    clock.advance(hours=1)
    error = failure_of(pipeline.execute)
    assert "again" in str(error)
    assert error.retry_at <= clock.now() + timedelta(seconds=0.5)


def test_an_old_token_that_lives_is_served(
    app: CountingStep, storage: object, clock: Clock
) -> None:
    """A forced execution that failed leaves it, and it needs no fetch."""
    del clock
    pipeline = careful(app, storage=storage)
    pipeline.execute()
    app.failure = OSError("down")
    failure_of(lambda: pipeline.execute(force_refresh=True))
    assert pipeline.execute().access_token == "app-1"


def test_a_refresh_of_a_rejected_token_backs_off(
    app: CountingStep, storage: object, clock: Clock
) -> None:
    """Requests with a revoked token do not hammer a server that is down; `force_refresh` may."""
    del clock
    manager = TokenManager(PipelineTokenProvider(careful(app, storage=storage), "shop"))
    rejected = manager.get_token()
    app.failures = [OSError("down")] * 2
    for _ in range(4):
        failure_of(lambda: manager.refresh(rejected))
    assert app.fetches == 2
    failure_of(manager.force_refresh)
    assert app.fetches == 3
    assert manager.force_refresh().access_token == "app-4"


def test_pipelines_and_threads_on_a_storage_share_it(app: CountingStep, clock: Clock) -> None:
    """It is the step's, not the pipeline's; another storage or prefix is another step."""
    del clock
    storage = InMemoryTokenStorage()
    app.failure = OSError("down")
    app.during = gate = Gate()
    callers = [Task(careful(app, storage=storage).execute) for _ in range(8)]
    gate.until_reached()
    gate.open()
    errors = [caller.error() for caller in callers]
    assert app.fetches == 1
    assert len({id(error) for error in errors}) == 8
    assert len({error.retry_at for error in errors}) == 1
    failure_of(careful(app, storage=InMemoryTokenStorage()).execute)
    failure_of(careful(app, storage=storage, cache_key_prefix="other").execute)
    assert app.fetches == 3
    failure_of(TokenFetchPipeline([app], storage).execute)
    assert app.fetches == 4


def test_who_comes_while_a_fetch_fails_does_not_fetch_again(app: CountingStep) -> None:
    """Between the look at the last failure and the own flight another one may have failed."""
    storage = InMemoryTokenStorage()
    app.failure = OSError("down")
    first = careful(app, storage=storage)

    class Late(CountingStep):
        @property
        def fetch_timeout(self) -> timedelta:  # asked for on the way to the flight
            failure_of(first.execute)
            return timedelta(seconds=30)

    late = Late("app")
    assert "down" in str(failure_of(careful(late, storage=storage).execute))
    assert (app.fetches, late.fetches, late.errors) == (1, 0, [])
    settle()


def test_a_failure_for_lack_of_a_token_is_no_failed_fetch(
    app: CountingStep, user: CountingStep, clock: Clock
) -> None:
    """A pipeline without the upstream keeps no other one from fetching."""
    del clock
    storage = InMemoryTokenStorage()
    alone = careful(user, storage=storage, validate_dependencies=False)
    with pytest.raises(DependencyException):
        alone.execute()
    assert careful(app, user, storage=storage).execute().access_token == "user-1"


def test_an_upstream_in_backoff_answers_for_the_pipeline(
    app: CountingStep, user: CountingStep, storage: object, clock: Clock
) -> None:
    """The error names the step that failed, and later steps are not reached."""
    del clock
    pipeline = careful(app, user, storage=storage)
    app.failure = OSError("down")
    assert [failure_of(pipeline.execute).service_name for _ in range(2)] == ["app"] * 2
    assert (app.fetches, user.fetches) == (1, 0)


def test_observers_hear_of_misses_and_of_the_one_failure(app: CountingStep, clock: Clock) -> None:
    """Callers that are answered without a fetch have failed no fetch."""
    del clock
    pipeline = careful(app, storage=InMemoryTokenStorage())
    app.failure = OSError("down")
    with recorded() as events:
        for _ in range(2):
            failure_of(pipeline.execute)
    assert [type(event) for event in events] == [StepMissed, StepFailed, StepMissed]
    assert app.errors == [app.failure]


def test_what_is_kept_holds_no_frames(app: CountingStep, clock: Clock) -> None:
    """The locals of a failed fetch, tokens among them, are gone with the caller's exception."""
    del clock
    held: list[weakref.ref[object]] = []

    class Local:
        """Something that only the frame of the fetch knows."""

    def fail() -> None:
        local = Local()
        held.append(weakref.ref(local))
        raise OSError("down")

    app.during = fail
    pipeline = careful(app, storage=InMemoryTokenStorage())
    failure_of(pipeline.execute)
    app.errors.clear()
    gc.collect()
    assert held[0]() is None
    lengths = {len(traceback.format_exception(failure_of(pipeline.execute))) for _ in range(5)}
    assert len(lengths) == 1
    assert len(held) == 1


def test_many_failing_steps_are_not_kept_for_ever(clock: Clock) -> None:
    """With thousands of them the oldest failures are forgotten, and cost a fetch each."""
    del clock
    storage = InMemoryTokenStorage()
    step = CountingStep("app")
    step.failure = told_by_retry_at()
    pipelines = [careful(step, storage=storage, cache_key_prefix=f"t{n}") for n in range(4097)]
    for pipeline in pipelines:
        failure_of(pipeline.execute)
    assert step.fetches == 4097
    failure_of(pipelines[-1].execute)
    assert step.fetches == 4097
    failure_of(pipelines[0].execute)
    assert step.fetches == 4098


@NEEDS_FORK
def test_a_child_does_not_answer_for_its_parent(app: CountingStep) -> None:
    """The backoff is each process's own."""
    pipeline = careful(app, storage=InMemoryTokenStorage())
    app.failures = [told_by_status()]
    failure_of(pipeline.execute)
    assert in_child(lambda: pipeline.execute().access_token) == "app-2"
    failure_of(pipeline.execute)
    assert app.fetches == 1


def test_a_failed_renewal_counts(app: CountingStep, storage: object, clock: Clock) -> None:
    """Once the old token is dead, callers are answered from the failure in the background."""
    pipeline = ahead(app, storage=storage, failure_backoff=True)
    error = told_by_status()
    app.failures = [error]
    clock.advance(minutes=59)
    assert [text(pipeline) for _ in range(3)] == ["app-1"] * 3
    clock.advance(seconds=60)
    retry_at = START + timedelta(minutes=59, seconds=90)
    assert failure_of(pipeline.execute).retry_at == retry_at
    assert app.fetches == 2
    clock.advance(seconds=30)
    assert text(pipeline) == "app-3"


def test_a_failed_fetch_puts_renewals_off(app: CountingStep, storage: object, clock: Clock) -> None:
    """A renewal is no way around the backoff, either."""
    pipeline = ahead(app, storage=storage, failure_backoff=True)
    app.failures = [told_by_status()]
    clock.advance(minutes=56)
    failure_of(lambda: pipeline.execute(force_refresh=True))
    for _ in range(60):
        assert text(pipeline) == "app-1"
        clock.advance(seconds=1)
    assert app.fetches == 2


def test_threads_that_fail_together_fail_once(app: CountingStep, clock: Clock) -> None:
    """Whoever comes too late to wait for the fetch is answered from its failure."""
    del clock
    app.failure = OSError("down")
    pipeline = careful(app, storage=InMemoryTokenStorage())
    errors = together(16, pipeline.execute)
    assert all(isinstance(error, AuthenticationException) for error in errors)
    assert app.fetches == 1
    assert values(errors) == set(errors)


def test_it_ends_with_the_clock_that_it_was_measured_by(app: CountingStep, storage: object) -> None:
    """A clock of a test that ran years ahead, and is gone, keeps no step from being fetched."""
    pipeline = careful(app, storage=storage)
    with use_clock(Clock(START - timedelta(days=1000))):
        with use_clock(Clock()):
            app.failure = told_by_retry_at()
            failure_of(pipeline.execute)
        app.failure = None

        assert pipeline.execute().access_token == "app-2"


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))), id="the-last"),
        pytest.param(datetime.min.replace(tzinfo=timezone(timedelta(hours=5))), id="the-first"),
    ],
)
def test_a_moment_that_no_clock_can_show_is_none(
    app: CountingStep, storage: object, moment: datetime, clock: Clock
) -> None:
    """A step whose error says to come back at the end of time backs off as any other."""
    del clock
    app.failure = AuthenticationException("Not now.")
    app.failure.retry_at = moment
    pipeline = careful(app, storage=storage)

    failures = [failure_of(pipeline.execute) for _ in range(2)]

    assert [failure.service_name for failure in failures] == ["app", "app"]
    assert failures[1].retry_at is not None
    assert failures[1].retry_at < START + timedelta(seconds=1)
