"""Flights whose members have different deadlines: who has no time left harms nobody else."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar

import pytest
from racing import (
    STORAGE_IDS,
    STORAGES,
    Gate,
    ScriptedStorage,
    Task,
    values,
    watched,
)

from doubles import Clock, CountingProvider, CountingStep
from loopback import Loopback, Received, Script, json_reply, reply
from requestforge import (
    AuthenticationException,
    BodyTokenFetcher,
    InMemoryTokenStorage,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge._deadline import bounded, note_cut
from requestforge.events import StepFailed, StepFetched, StepMissed
from requestforge.exceptions import HttpStatusException, TimeoutException
from requestforge.instrumentation import monotonic, use_clock
from requestforge.interfaces import TokenStorageInterface
from requestforge.retry import SimpleRetryStrategy

pytestmark = pytest.mark.compat

T = TypeVar("T")

SOON = 0.2
"""Seconds that a thread has which is to run out of time."""
AMPLE = 60.0


def within(seconds: float, call: Callable[[], T]) -> Callable[[], T]:
    """The call, with a deadline so many seconds after it begins."""

    def run() -> T:
        with bounded(monotonic() + seconds):
            return call()

    return run


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock that stands still until the test moves it; it is put in place before any thread."""
    with use_clock(Clock()) as clock:
        yield clock


@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
@pytest.mark.parametrize("waiters_time", [None, AMPLE], ids=["no deadline", "later deadline"])
def test_a_leader_out_of_time_abandons_its_flight(
    make_storage: Callable[[], TokenStorageInterface], waiters_time: float | None, clock: Clock
) -> None:
    """Its own caller gets the timeout; the waiters elect a new leader, and are served."""
    step = CountingStep("app")
    timeout = TimeoutException("Slow.")
    step.failures = [timeout]
    gate = Gate()

    def during() -> None:
        gate()
        clock.advance(seconds=6)

    step.during = during
    pipeline = TokenFetchPipeline([step], make_storage())
    execute = pipeline.execute if waiters_time is None else within(waiters_time, pipeline.execute)
    with watched() as watch:
        leader = Task(within(5, pipeline.execute))
        gate.until_reached()
        waiters = [Task(execute) for _ in range(8)]
        watch.until(9, StepMissed)
        gate.open()
        error = leader.error()
        assert values(waiter.result() for waiter in waiters) == {"app-2"}
    assert type(error) is AuthenticationException
    assert error.service_name == "app"
    assert error.__cause__ is timeout
    assert step.fetches == 2
    assert step.errors == [timeout]
    assert (len(watch.of(StepFailed)), len(watch.of(StepFetched))) == (1, 1)
    assert pipeline.execute().access_token == "app-2"


@pytest.mark.parametrize(
    ("leaders_time", "failure"),
    [(None, TimeoutException("Slow.")), (AMPLE, TimeoutException("Slow.")), (5, OSError("Down."))],
    ids=["no deadline", "deadline ahead", "no timeout"],
)
def test_any_other_failure_is_shared(
    leaders_time: float | None, failure: Exception, clock: Clock
) -> None:
    """A timeout before the deadline, or another failure after it, is that of all who wait."""
    step = CountingStep("app")
    step.failures = [failure]
    gate = Gate()

    def during() -> None:
        gate()
        clock.advance(seconds=6)

    step.during = during
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    execute = pipeline.execute if leaders_time is None else within(leaders_time, pipeline.execute)
    with watched() as watch:
        leader = Task(execute)
        gate.until_reached()
        waiters = [Task(pipeline.execute) for _ in range(8)]
        watch.until(9, StepMissed)
        gate.open()
        errors = [task.error() for task in (leader, *waiters)]
    assert {id(error.__cause__) for error in errors} == {id(failure)}
    assert step.fetches == 1


def test_a_deadline_within_the_fetch_is_no_reason_to_abandon(clock: Clock) -> None:
    """A step that sets itself a deadline, and misses it, has failed for all who wait."""
    step = CountingStep("app")
    step.failures = [TimeoutException("Slow.")]
    gate = Gate()

    def during() -> None:
        gate()
        with bounded(clock.monotonic()):
            note_cut()

    step.during = during
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    with watched() as watch:
        tasks = [Task(within(AMPLE, pipeline.execute)) for _ in range(4)]
        watch.until(4, StepMissed)
        gate.open()
        assert {type(task.error()) for task in tasks} == {AuthenticationException}
    assert step.fetches == 1


@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
def test_a_waiter_out_of_time_gives_up_alone(
    make_storage: Callable[[], TokenStorageInterface],
) -> None:
    """It gets an error of its own when its time is over; leader and other waiters get the token."""
    step = CountingStep("app")
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline([step], make_storage())
    with watched() as watch:
        leader = Task(pipeline.execute)
        gate.until_reached()
        patient = [Task(within(AMPLE, pipeline.execute)) for _ in range(4)]
        hurried = [Task(within(SOON, pipeline.execute)) for _ in range(4)]
        errors = [task.error() for task in hurried]
        watch.until(5, StepMissed)
        gate.open()
        assert values(task.result() for task in (leader, *patient)) == {"app-1"}
    assert len({id(error) for error in errors}) == 4
    assert {type(error) for error in errors} == {AuthenticationException}
    assert {error.service_name for error in errors} == {"app"}
    assert {type(error.__cause__) for error in errors} == {TimeoutException}
    assert all("the time allowed for the request" in str(error) for error in errors)
    assert (step.fetches, step.errors, watch.of(StepFailed)) == (1, [], [])


def test_a_waiter_keeps_to_the_wait_timeout_where_that_is_less() -> None:
    """A deadline far ahead does not extend the wait."""
    step = CountingStep("app")
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline(
        [step], InMemoryTokenStorage(), wait_timeout=timedelta(seconds=SOON)
    )
    leader = Task(pipeline.execute)
    gate.until_reached()
    error = Task(within(AMPLE, pipeline.execute)).error()
    gate.open()
    assert "see wait_timeout" in str(error)
    assert error.__cause__ is None
    assert leader.result().access_token == "app-1"


def test_a_forced_call_out_of_time_leaves_the_next_fetch_to_others() -> None:
    """Who leads the fetch after this one, and has no time for it, is replaced by who joined it."""
    step = CountingStep("app")
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())

    def force() -> object:
        return pipeline.execute(force_refresh=True)

    first = Task(pipeline.execute)
    gate.until_reached()
    hurried = Task(within(SOON, force))
    others = [Task(within(AMPLE, force)) for _ in range(3)]
    assert isinstance(hurried.error().__cause__, TimeoutException)
    gate.open()
    assert first.result().access_token == "app-1"
    assert values(task.result() for task in others) <= {"app-2", "app-3"}


class Held(ScriptedStorage):
    """A storage whose lock another process holds."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[timedelta] = []

    def lock(self, key: str, lease: timedelta, wait: timedelta) -> "Held":
        self.waits.append(wait)
        return self

    def __enter__(self) -> bool:
        return False

    def __exit__(self, *error: object) -> None:
        pass


def test_the_lock_of_another_process_is_waited_for_no_longer(clock: Clock) -> None:
    """The storage is asked to wait for what is left of the time, at most."""
    storage = Held()
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], storage)
    with bounded(clock.monotonic() + 5), pytest.raises(AuthenticationException) as caught:
        pipeline.execute()
    [wait] = storage.waits
    assert timedelta(seconds=4) < wait <= timedelta(seconds=5)
    assert isinstance(caught.value.__cause__, TimeoutException)
    assert step.fetches == 0


class Answers:
    """Stalls, or answers with a script, at the first request; then with a token."""

    def __init__(self, first: Script | None) -> None:
        self.first = first
        self.gate = Gate()
        self.server = Loopback(self)
        self.count = 0

    def __call__(self, _: Received) -> Script:
        self.count += 1
        if self.count > 1:
            return json_reply({"access_token": f"abc-{self.count}", "expires_in": 60})
        if self.first is None:
            return self.server.stall()
        self.gate()
        return self.first


def test_an_attempt_that_is_cut_abandons_the_flight() -> None:
    """A server that stalls past the leader's deadline is asked again by a waiter with more time."""
    answers = Answers(None)
    with answers.server as server:
        pipeline = TokenFetchPipeline(
            [BodyTokenFetcher("app", server.url, "/token")], InMemoryTokenStorage()
        )
        with watched() as watch:
            leader = Task(within(SOON * 2, pipeline.execute))
            watch.until(1, StepMissed)
            waiters = [Task(pipeline.execute) for _ in range(4)]
            error = leader.error()
            assert values(task.result() for task in waiters) == {"abc-2"}
        assert len(server.requests) == 2
    assert isinstance(error.__cause__.__cause__, TimeoutException)
    assert (len(watch.of(StepFailed)), len(watch.of(StepFetched))) == (1, 1)


def test_a_retry_without_time_abandons_the_flight() -> None:
    """Who has no time for the pause before a retry leaves the retry to those who have."""
    answers = Answers(reply(503))
    with answers.server as server:
        strategy = SimpleRetryStrategy(delay=AMPLE)
        pipeline = TokenFetchPipeline(
            [BodyTokenFetcher("app", server.url, "/token", retry_strategy=strategy)],
            InMemoryTokenStorage(),
        )
        with watched() as watch:
            leader = Task(within(AMPLE / 2, pipeline.execute))
            answers.gate.until_reached()
            waiters = [Task(pipeline.execute) for _ in range(4)]
            watch.until(5, StepMissed)
            answers.gate.open()
            error = leader.error()
            assert values(task.result() for task in waiters) == {"abc-2"}
    assert isinstance(error.__cause__.__cause__, HttpStatusException)
    assert error.service_name == "app"


def test_a_manager_over_a_provider_abandons_the_flight_too(clock: Clock) -> None:
    """The leader gets its provider's own timeout, the others a token."""
    gate = Gate()
    timeout = TimeoutException("Slow.")

    class Slow(CountingProvider):
        def _token(self, kind: str) -> object:
            gate()
            clock.advance(seconds=6)
            return super()._token(kind)

    provider = Slow(expires_in=None)
    provider.failures = [timeout]
    manager = TokenManager(provider)
    with watched() as watch:
        leader = Task(within(5, manager.get_token))
        gate.until_reached()
        waiters = [Task(manager.get_token) for _ in range(8)]
        watch.until(9, StepMissed)
        gate.open()
        assert leader.error() is timeout
        assert values(task.result() for task in waiters) == {"token-2"}
    assert len(provider.calls) == 2


def test_a_hurried_waiter_of_a_manager_is_told_the_service() -> None:
    """Its error is an AuthenticationException for the service, caused by the timeout."""
    gate = Gate()

    class Held(CountingProvider):
        def fetch_token(self) -> object:
            gate()
            return super().fetch_token()

    manager = TokenManager(Held())
    leader = Task(manager.get_token)
    gate.until_reached()
    error = Task(within(SOON, manager.get_token)).error()
    gate.open()
    assert type(error) is AuthenticationException
    assert error.service_name == "shop"
    assert isinstance(error.__cause__, TimeoutException)
    assert leader.result().access_token == "token-1"
