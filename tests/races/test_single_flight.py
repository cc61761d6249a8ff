"""At most one fetch for a step at a time, shared by all threads that want its token."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from racing import (
    STORAGE_IDS,
    STORAGES,
    Gate,
    Interrupt,
    Task,
    chain,
    fetches,
    together,
    values,
    watched,
)

from doubles import CountingStep, RecordingStorage
from requestforge import (
    AuthenticationException,
    InMemoryTokenStorage,
    TokenData,
    TokenFetchPipeline,
)
from requestforge.events import StepCached, StepFailed, StepFetched, StepMissed
from requestforge.exceptions import DependencyException, TokenRefreshException
from requestforge.interfaces import TokenStorageInterface

pytestmark = pytest.mark.compat


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
def test_64_threads_that_meet_one_fetch_share_it(
    make_storage: Callable[[], TokenStorageInterface], lazy: bool
) -> None:
    """64 threads that find nothing cached wait for one fetch of each step and share its token."""
    steps = chain()
    pipeline = TokenFetchPipeline(steps, make_storage(), lazy=lazy)
    steps[0].during = gate = Gate()
    with watched() as watch:
        tasks = [Task(pipeline.execute) for _ in range(64)]
        watch.until(64, StepMissed, "device")
        gate.open()
        tokens = [task.result() for task in tasks]
    assert values(tokens) == {"user-1"}
    assert fetches(steps) == [1, 1, 1]
    assert len(watch.of(StepFetched)) == 3


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
def test_64_threads_that_start_together_fetch_once(
    make_storage: Callable[[], TokenStorageInterface], lazy: bool
) -> None:
    """However 64 threads on an empty cache interleave, each step is fetched once."""
    steps = chain()
    pipeline = TokenFetchPipeline(steps, make_storage(), lazy=lazy)
    assert values(together(64, pipeline.execute)) == {"user-1"}
    assert fetches(steps) == [1, 1, 1]


def test_two_pipelines_on_one_storage_share_their_fetches() -> None:
    """Pipelines with the same prefix and storage have one flight for each step between them."""
    storage = InMemoryTokenStorage()
    ours, theirs = CountingStep("app"), CountingStep("app")
    ours.during = gate = Gate()
    with watched() as watch:
        first = Task(TokenFetchPipeline([ours], storage, "shop").execute)
        gate.until_reached()
        second = Task(TokenFetchPipeline([theirs], storage, "shop").execute)
        watch.until(2, StepMissed, "app")
        gate.open()
        assert first.result() == second.result()
    assert (ours.fetches, theirs.fetches) == (1, 0)


def test_pipelines_on_two_storages_share_nothing() -> None:
    """The same keys in another storage object are fetched on their own."""
    step = CountingStep("app")
    step.during = gate = Gate()
    first = Task(TokenFetchPipeline([step], InMemoryTokenStorage()).execute)
    gate.until_reached()
    second = Task(TokenFetchPipeline([step], InMemoryTokenStorage()).execute)
    assert second.result().access_token == "app-2"
    gate.open()
    assert first.result().access_token == "app-1"


@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
def test_different_keys_never_wait_for_each_other(
    make_storage: Callable[[], TokenStorageInterface],
) -> None:
    """A fetch that hangs holds up nobody who wants another step of the same storage."""
    storage = make_storage()
    slow, quick = CountingStep("app"), CountingStep("app")
    slow.during = gate = Gate()
    held = Task(TokenFetchPipeline([slow], storage, "slow").execute)
    gate.until_reached()
    pipeline = TokenFetchPipeline([quick], storage, "quick")
    assert Task(pipeline.execute).result().access_token == "app-1"
    Task(pipeline.invalidate_all).result()
    assert Task(pipeline.execute).result().access_token == "app-2"
    gate.open()
    assert held.result().access_token == "app-1"


def test_a_cached_step_is_served_while_a_later_one_is_fetched() -> None:
    """A pipeline that ends with a cached step waits for no fetch of another pipeline's step."""
    storage = InMemoryTokenStorage()
    app, user = CountingStep("app"), CountingStep("user", ["app"])
    user.during = gate = Gate()
    held = Task(TokenFetchPipeline([app, user], storage).execute)
    gate.until_reached()
    short = TokenFetchPipeline([app], storage)
    assert Task(short.execute).result().access_token == "app-1"
    gate.open()
    assert held.result().access_token == "user-1"
    assert (app.fetches, user.fetches) == (1, 1)


def test_waiters_get_errors_of_their_own_with_the_shared_cause() -> None:
    """32 callers of a failing step: one call, 32 error objects, one cause, one notice."""
    step = CountingStep("app")
    step.failures = [OSError("The server is down.")]  # a second call would succeed
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    with watched() as watch:
        tasks = [Task(pipeline.execute) for _ in range(32)]
        watch.until(32, StepMissed, "app")
        gate.open()
        errors = [task.error() for task in tasks]
    assert step.fetches == 1
    assert {type(error) for error in errors} == {AuthenticationException}
    assert len({id(error) for error in errors}) == 32
    assert {id(error.__cause__) for error in errors} == {id(step.errors[0])}
    assert {error.service_name for error in errors} == {"app"}
    assert (len(step.errors), len(watch.of(StepFailed))) == (1, 1)
    assert pipeline.execute().access_token == "app-2"


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (TokenRefreshException("Log in again."), TokenRefreshException),
        (DependencyException("No.", service_name="app"), DependencyException),
    ],
    ids=["refresh", "dependency"],
)
def test_waiters_share_the_kind_of_the_error(
    raised: Exception, kind: type[AuthenticationException]
) -> None:
    """Each waiter's error has the class that the failure of the step has."""
    step = CountingStep("app")
    step.failure = raised
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    with watched() as watch:
        tasks = [Task(pipeline.execute) for _ in range(4)]
        watch.until(4, StepMissed, "app")
        gate.open()
        errors = [task.error() for task in tasks]
    assert [type(error) for error in errors] == [kind] * 4
    assert len({id(error) for error in errors}) == 4
    assert step.fetches == 1


def test_waiters_of_a_later_step_share_its_failure_too() -> None:
    """A chain that fails at its last step calls that step once, and the earlier ones once."""
    steps = chain()
    steps[2].failure = OSError("The server is down.")
    steps[2].during = gate = Gate()
    pipeline = TokenFetchPipeline(steps, InMemoryTokenStorage())
    with watched() as watch:
        tasks = [Task(pipeline.execute) for _ in range(32)]
        watch.until(32, StepMissed, "user")
        gate.open()
        errors = [task.error() for task in tasks]
    assert {error.service_name for error in errors} == {"user"}
    assert fetches(steps) == [1, 1, 1]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Interrupt])
def test_an_interrupted_leader_leaves_the_fetch_to_a_waiter(kind: type[BaseException]) -> None:
    """What is no Exception passes in its own thread alone; one of the waiters fetches instead."""
    step = CountingStep("app")
    step.failures = [kind()]
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    with watched() as watch:
        leader = Task(pipeline.execute)
        gate.until_reached()
        waiters = [Task(pipeline.execute) for _ in range(8)]
        watch.until(9, StepMissed, "app")
        gate.open()
        assert type(leader.error()) is kind
        assert values([waiter.result() for waiter in waiters]) == {"app-2"}
    assert step.fetches == 2
    assert step.errors == []


def test_each_leader_may_be_interrupted_in_turn() -> None:
    """As long as leaders are torn down, the next waiter takes over; nobody is left waiting."""
    step = CountingStep("app")
    step.failures = [Interrupt() for _ in range(7)]
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    with watched() as watch:
        tasks = [Task(pipeline.execute) for _ in range(8)]
        watch.until(8, StepMissed, "app")
        gate.open()
        outcomes = [task.outcome() for task in tasks]
    assert sum(isinstance(outcome, Interrupt) for outcome in outcomes) == 7
    assert step.fetches == 8
    assert pipeline.execute().access_token == "app-8"


def test_an_interrupted_storage_lets_the_waiters_go() -> None:
    """A leader torn down while it writes its token abandons the flight as well."""

    class Interrupted(RecordingStorage):
        def set(self, key: str, token: TokenData) -> None:
            if token.access_token == "app-1":
                raise Interrupt
            super().set(key, token)

    step = CountingStep("app")
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline([step], Interrupted())
    with watched() as watch:
        leader = Task(pipeline.execute)
        gate.until_reached()
        waiter = Task(pipeline.execute)
        watch.until(2, StepMissed, "app")
        gate.open()
        assert isinstance(leader.error(), Interrupt)
        assert waiter.result().access_token == "app-2"


def test_a_waiter_gives_up_after_wait_timeout() -> None:
    """A caller that waits longer than wait_timeout gets an error that names the step."""
    step = CountingStep("app")
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline(
        [step], InMemoryTokenStorage(), wait_timeout=timedelta(milliseconds=20)
    )
    leader = Task(pipeline.execute)
    gate.until_reached()
    error = Task(pipeline.execute).error()
    assert type(error) is AuthenticationException
    assert error.service_name == "app"
    assert "0.02 s" in str(error)
    gate.open()
    assert leader.result().access_token == "app-1"
    assert pipeline.execute().access_token == "app-1"


def test_a_forced_caller_gives_up_after_wait_timeout() -> None:
    """A forced fetch that cannot begin in time fails, and stands in nobody's way."""
    step = CountingStep("app")
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline(
        [step], InMemoryTokenStorage(), wait_timeout=timedelta(milliseconds=20)
    )
    leader = Task(pipeline.execute)
    gate.until_reached()
    errors = together(3, lambda: pipeline.execute(force_refresh=True))
    assert [type(error) for error in errors] == [AuthenticationException] * 3
    gate.open()
    assert leader.result().access_token == "app-1"
    assert pipeline.execute(force_refresh=True).access_token == "app-2"


def test_forced_calls_during_a_fetch_share_the_next_one() -> None:
    """A call with force_refresh takes no fetch that began before it; all such calls share one."""
    step = CountingStep("app")
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    with watched() as watch:
        early = Task(lambda: pipeline.execute(force_refresh=True))
        gate.until_reached()
        late = [Task(lambda: pipeline.execute(force_refresh=True)) for _ in range(8)]
        watch.until(8, StepMissed, "app")  # of the early one, and of those behind a late leader
        gate.open()
        assert early.result().access_token == "app-1"
        assert values([task.result() for task in late]) == {"app-2"}
    assert step.fetches == 2


def test_a_plain_call_joins_a_forced_fetch() -> None:
    """A caller that takes any usable token shares a fetch that somebody else has forced."""
    step = CountingStep("app")
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    with watched() as watch:
        forced = Task(lambda: pipeline.execute(force_refresh=True))
        gate.until_reached()
        plain = Task(pipeline.execute)
        watch.until(2, StepMissed, "app")
        gate.open()
        assert plain.result() == forced.result()
    assert step.fetches == 1


def test_a_call_that_forces_more_steps_does_not_do_with_a_fetch_that_forces_fewer() -> None:
    """A fetch that waits its turn may build on an older token than a later caller asked for."""
    steps = chain()
    pipeline = TokenFetchPipeline(steps, InMemoryTokenStorage())
    pipeline.execute()
    pipeline.invalidate_step("user")
    steps[2].during = gate = Gate()
    with watched() as watch:
        plain = Task(pipeline.execute)
        gate.until_reached()
        of_one = [Task(lambda: pipeline.refresh(from_step="user")) for _ in range(2)]
        watch.until(2, StepMissed, "user")  # of the plain one, and of one behind the other
        of_all = Task(lambda: pipeline.execute(force_refresh=True))
        watch.until(3, StepMissed, "user")
        gate.open()
        assert plain.result().access_token == "user-2"
        assert values([task.result() for task in of_one]) == {"user-3"}
        assert of_all.result().access_token == "user-4"
    assert fetches(steps) == [2, 2, 4]


def test_a_burst_of_forced_calls_fetches_each_step_at_most_twice() -> None:
    """Forced calls that begin during one fetch cost one more of each step, however they stagger."""
    steps = chain()
    steps[0].during = gate = Gate()
    pipeline = TokenFetchPipeline(steps, InMemoryTokenStorage())
    with watched() as watch:
        early = Task(lambda: pipeline.execute(force_refresh=True))
        gate.until_reached()
        late = [Task(lambda: pipeline.execute(force_refresh=True)) for _ in range(31)]
        watch.until(31, StepMissed, "device")
        gate.open()
        tokens = [task.result() for task in (early, *late)]
    assert values(tokens) <= {"user-1", "user-2"}
    assert fetches(steps)[0] == 2
    assert max(fetches(steps)) == 2


def test_threads_that_meet_a_cached_token_fetch_nothing() -> None:
    """A flight whose record was filled meanwhile serves it: the leader reads again first."""
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    pipeline.execute()
    with watched() as watch:
        assert values(together(32, pipeline.execute)) == {"app-1"}
    assert len(watch.of(StepCached)) == 32
    assert step.fetches == 1
