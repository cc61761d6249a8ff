"""A fetch that asks, by whatever way, for the very step that it fetches: an error, never a hang."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from racing import STORAGE_IDS, STORAGES, Gate, Task, watched

from doubles import CountingStep
from requestforge import (
    AuthenticationException,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.events import StepMissed
from requestforge.exceptions import DependencyException
from requestforge.interfaces import TokenStorageInterface

pytestmark = pytest.mark.compat


class CallingStep(CountingStep):
    """A step whose fetch calls something first, as a fetcher does that needs another token."""

    calls: Callable[[], object] | None = None

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        if self.calls is not None:
            self.calls()
        return super().fetch(context)


@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
@pytest.mark.parametrize("force", [False, True], ids=["plain", "forced"])
def test_a_fetcher_that_executes_its_own_pipeline_gets_an_error(
    make_storage: Callable[[], TokenStorageInterface], force: bool
) -> None:
    """Executing the pipeline within a fetch of its only step raises, and names the step."""
    step = CallingStep("app")
    pipeline = TokenFetchPipeline([step], make_storage())
    step.calls = lambda: pipeline.execute(force_refresh=force)
    error = Task(pipeline.execute).error()
    assert type(error) is DependencyException
    assert error.service_name == "app"
    assert "own fetch" in str(error)
    assert step.fetches == 0


@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
def test_the_step_works_again_once_it_does_not_call_itself(
    make_storage: Callable[[], TokenStorageInterface],
) -> None:
    """The error leaves no flight behind."""
    step = CallingStep("app")
    pipeline = TokenFetchPipeline([step], make_storage())
    step.calls = pipeline.execute
    assert type(Task(pipeline.execute).error()) is DependencyException
    step.calls = None
    assert Task(pipeline.execute).result().access_token == "app-1"
    assert Task(lambda: pipeline.execute(force_refresh=True)).result().access_token == "app-2"


def test_a_fetcher_may_handle_the_error_itself() -> None:
    """A fetcher that catches the error of its own call goes on, and its token counts."""
    step = CallingStep("app")
    pipeline = TokenFetchPipeline([step], STORAGES[0]())
    errors: list[DependencyException] = []

    def call() -> None:
        try:
            pipeline.execute()
        except DependencyException as error:
            errors.append(error)

    step.calls = call
    assert Task(pipeline.execute).result().access_token == "app-1"
    assert [error.service_name for error in errors] == ["app"]
    step.calls = None
    assert pipeline.execute().access_token == "app-1"


def test_a_later_step_that_executes_its_pipeline_gets_an_error() -> None:
    """The earlier step comes from the cache; the later one would wait for itself."""
    app, user = CountingStep("app"), CallingStep("user", ["app"])
    pipeline = TokenFetchPipeline([app, user], STORAGES[0]())
    user.calls = pipeline.execute
    error = Task(pipeline.execute).error()
    assert type(error) is DependencyException
    assert error.service_name == "user"
    assert app.fetches == 1


def test_a_step_may_execute_a_pipeline_of_earlier_steps() -> None:
    """Asking for another step, even of the same storage, is no circle."""
    storage = STORAGES[0]()
    app, user = CountingStep("app"), CallingStep("user")
    user.calls = TokenFetchPipeline([app], storage).execute
    pipeline = TokenFetchPipeline([user], storage)
    assert Task(pipeline.execute).result().access_token == "user-1"
    assert app.fetches == 1


def test_a_step_may_execute_the_same_keys_of_another_storage() -> None:
    """A key stands for another token in another storage."""
    inner, outer = CountingStep("app"), CallingStep("app")
    outer.calls = TokenFetchPipeline([inner], STORAGES[0]()).execute
    pipeline = TokenFetchPipeline([outer], STORAGES[0]())
    assert Task(pipeline.execute).result().access_token == "app-1"
    assert (inner.fetches, outer.fetches) == (1, 1)


@pytest.mark.parametrize("refresh", [False, True], ids=["get_token", "force_refresh"])
def test_a_fetcher_that_asks_its_own_manager_gets_an_error(refresh: bool) -> None:
    """The way through a manager is a circle, too."""
    step = CallingStep("app")
    pipeline = TokenFetchPipeline([step], STORAGES[0]())
    manager = TokenManager(PipelineTokenProvider(pipeline, "api"))
    step.calls = manager.force_refresh if refresh else manager.get_token
    assert type(Task(manager.get_token).error()) is DependencyException


def test_a_fetch_that_invalidates_itself_and_asks_again_gets_an_error() -> None:
    """An invalidation cuts the flight off, but its thread would still wait for itself."""
    step = CallingStep("app")
    pipeline = TokenFetchPipeline([step], STORAGES[0]())

    def call() -> None:
        pipeline.invalidate_all()
        pipeline.execute()

    step.calls = call
    assert type(Task(pipeline.execute).error()) is DependencyException
    step.calls = None
    assert Task(pipeline.execute).result().access_token == "app-1"


def test_waiters_of_a_fetch_that_calls_itself_get_its_error() -> None:
    """Those who wait for such a fetch share its failure."""
    step = CallingStep("app")
    pipeline = TokenFetchPipeline([step], STORAGES[0]())
    gate = Gate()

    def call() -> None:
        gate()
        pipeline.execute()

    step.calls = call
    with watched() as watch:
        tasks = [Task(pipeline.execute) for _ in range(4)]
        watch.until(4, StepMissed, "app")
        gate.open()
        errors = [task.error() for task in tasks]
    assert [type(error) for error in errors] == [DependencyException] * 4
    assert len({id(error) for error in errors}) == 4


@pytest.mark.parametrize("same_storage", [True, False], ids=["one storage", "two storages"])
def test_two_steps_that_execute_each_other_across_threads_get_errors(same_storage: bool) -> None:
    """Of two threads that would wait for each other, one gets an error that ends both waits."""
    first_storage = STORAGES[0]()
    second_storage = first_storage if same_storage else STORAGES[0]()
    first, second = CallingStep("first"), CallingStep("second")
    first_pipeline = TokenFetchPipeline([first], first_storage)
    second_pipeline = TokenFetchPipeline([second], second_storage)
    first_gate, second_gate = Gate(), Gate()
    first.calls = lambda: (first_gate(), second_pipeline.execute())
    second.calls = lambda: (second_gate(), first_pipeline.execute())
    with watched() as watch:
        one = Task(first_pipeline.execute)
        two = Task(second_pipeline.execute)
        first_gate.until_reached()
        second_gate.until_reached()
        first_gate.open()
        watch.until(2, StepMissed, "second")  # the first step's fetch waits for the second's
        second_gate.open()
        errors = [one.error(), two.error()]
    assert [type(error) for error in errors] == [DependencyException] * 2
    assert [error.service_name for error in errors] == ["first", "second"]
    first.calls = second.calls = None
    assert first_pipeline.execute().access_token == "first-1"
    assert second_pipeline.execute().access_token == "second-1"


def test_three_threads_in_a_circle_get_errors() -> None:
    """A circle of three is found, however long the way around."""
    storage = STORAGES[0]()
    steps = [CallingStep(name) for name in ("a", "b", "c")]
    pipelines = [TokenFetchPipeline([step], storage) for step in steps]
    gates = [Gate() for _ in steps]
    for number, step in enumerate(steps):
        gate, following = gates[number], pipelines[(number + 1) % 3]
        step.calls = lambda gate=gate, following=following: (gate(), following.execute())
    with watched() as watch:
        tasks = [Task(pipeline.execute) for pipeline in pipelines]
        for gate in gates:
            gate.until_reached()
        for gate, waited_for in zip(gates[:2], ("b", "c"), strict=True):
            gate.open()
            watch.until(2, StepMissed, waited_for)
        gates[2].open()
        assert [type(task.error()) for task in tasks] == [DependencyException] * 3


def test_a_fetch_that_waits_for_itself_in_another_thread_times_out() -> None:
    """A circle through a thread of the fetcher's own is not seen, but ends with wait_timeout."""
    step = CallingStep("app")
    pipeline = TokenFetchPipeline([step], STORAGES[0](), wait_timeout=timedelta(milliseconds=20))
    step.calls = lambda: Task(pipeline.execute).result()
    error = Task(pipeline.execute).error()
    assert type(error) is AuthenticationException
    assert "waited 0.02 s" in str(error)


def test_a_listener_to_a_failure_that_executes_the_pipeline_hides_nothing() -> None:
    """on_fetch_error runs within the flight: what it asks for there fails, and the cause stands."""
    step = CallingStep("app")
    pipeline = TokenFetchPipeline([step], STORAGES[0]())
    step.failure = OSError("The server is down.")
    asked: list[BaseException] = []

    def listen(*_: object) -> None:
        try:
            pipeline.execute()
        except DependencyException as inner:
            asked.append(inner)
            raise

    step.on_fetch_error = listen
    error = Task(pipeline.execute).error()
    assert type(error) is AuthenticationException
    assert isinstance(error.__cause__, OSError)
    assert len(asked) == 1
