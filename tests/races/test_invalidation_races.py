"""What an invalidation does to fetches, at each possible moment."""

import itertools
from collections.abc import Callable

import pytest
from racing import (
    STORAGE_IDS,
    STORAGES,
    Gate,
    ScriptedStorage,
    Task,
    app_behind,
    pair,
    values,
    watched,
)

from doubles import CountingStep, FlakyStorage
from requestforge import TokenData, TokenFetchPipeline
from requestforge.events import StepFetched, StepInvalidated, StepMissed
from requestforge.exceptions import TokenStorageException
from requestforge.interfaces import TokenStorageInterface

pytestmark = pytest.mark.compat


@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
@pytest.mark.parametrize("everything", [False, True], ids=["step", "all"])
def test_a_fetch_under_way_is_not_cached_after_an_invalidation(
    make_storage: Callable[[], TokenStorageInterface], everything: bool
) -> None:
    """Its own callers get the token, later ones fetch anew, and the old one never comes back."""
    step = CountingStep("app")
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline([step], make_storage())
    with watched() as watch:
        callers = [Task(pipeline.execute) for _ in range(4)]
        watch.until(4, StepMissed, "app")
    if everything:
        pipeline.invalidate_all()
    else:
        pipeline.invalidate_step("app")
    assert pipeline.execute().access_token == "app-2"  # while the old fetch still goes on
    gate.open()
    assert values([caller.result() for caller in callers]) == {"app-1"}
    assert pipeline.execute().access_token == "app-2"
    assert step.fetches == 2


@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
def test_a_fetch_that_ends_after_an_invalidation_leaves_nothing(
    make_storage: Callable[[], TokenStorageInterface],
) -> None:
    """Where nobody fetched meanwhile, the next caller does."""
    storage = make_storage()
    step = CountingStep("app")
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline([step], storage)
    caller = Task(pipeline.execute)
    gate.until_reached()
    pipeline.invalidate_step("app")
    gate.open()
    assert caller.result().access_token == "app-1"
    assert not storage.exists("app")
    assert pipeline.execute().access_token == "app-2"
    assert pipeline.execute().access_token == "app-2"


@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
def test_an_invalidation_by_another_pipeline_reaches_a_fetch_under_way(
    make_storage: Callable[[], TokenStorageInterface],
) -> None:
    """Pipelines on one storage see each other's invalidations, also in the middle of a fetch."""
    storage = make_storage()
    step, other_step = CountingStep("app"), CountingStep("app")
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline([step], storage)
    other = TokenFetchPipeline([other_step], storage)
    caller = Task(pipeline.execute)
    gate.until_reached()
    other.invalidate_step("app")
    assert other.execute().access_token == "app-1"
    gate.open()
    assert caller.result().access_token == "app-1"
    assert pipeline.execute() == other.execute()
    assert (step.fetches, other_step.fetches) == (1, 1)


def test_an_invalidation_by_another_process_reaches_a_fetch_under_way() -> None:
    """Two storage objects on the same records stand for two processes: their epochs fence both."""
    tokens: dict[str, TokenData] = {}
    step = CountingStep("app")
    step.during = gate = Gate()
    ours = TokenFetchPipeline([step], ScriptedStorage(tokens))
    theirs = TokenFetchPipeline([CountingStep("app")], ScriptedStorage(tokens))
    caller = Task(ours.execute)
    gate.until_reached()
    theirs.invalidate_step("app")
    gate.open()
    assert caller.result().access_token == "app-1"
    assert ours.execute().access_token == "app-2"
    assert theirs.execute().access_token == "app-2"


def test_a_caller_after_another_process_invalidated_does_not_join_the_old_fetch() -> None:
    """A fetch that began before another process's invalidation answers nobody who came after."""
    tokens: dict[str, TokenData] = {}
    step = CountingStep("app")
    step.during = gate = Gate()
    ours = TokenFetchPipeline([step], ScriptedStorage(tokens))
    theirs = TokenFetchPipeline([CountingStep("app")], ScriptedStorage(tokens))
    caller = Task(ours.execute)
    gate.until_reached()
    theirs.invalidate_step("app")
    assert Task(ours.execute).result().access_token == "app-2"
    forced = Task(lambda: ours.execute(force_refresh=True))
    assert forced.result().access_token == "app-3"
    gate.open()
    assert caller.result().access_token == "app-1"
    assert ours.execute().access_token == "app-3"


def test_an_old_fetch_that_lands_while_its_end_is_looked_up_is_in_nobodys_way() -> None:
    """A caller that meets a flight of an old epoch goes on if that has landed in the meantime."""
    tokens: dict[str, TokenData] = {}
    storage = ScriptedStorage(tokens)
    step = CountingStep("app")
    step.during = gate = Gate()
    ours = TokenFetchPipeline([step], storage)
    theirs = TokenFetchPipeline([CountingStep("app")], ScriptedStorage(tokens))
    old = Task(ours.execute)
    gate.until_reached()
    theirs.invalidate_step("app")

    def land() -> None:
        gate.open()
        assert old.result().access_token == "app-1"

    # The second such reading is made on meeting the flight, the first one at the start.
    reading = ("before get_many", "app#epoch")
    storage.once(*reading, lambda: storage.once(*reading, land))
    assert Task(ours.execute).result().access_token == "app-2"
    assert ours.execute().access_token == "app-2"


def test_a_forced_call_after_another_process_invalidated_does_not_wait() -> None:
    """A forced fetch queues behind no fetch that began before another process's invalidation."""
    tokens: dict[str, TokenData] = {}
    step = CountingStep("app")
    step.during = gate = Gate()
    ours = TokenFetchPipeline([step], ScriptedStorage(tokens))
    theirs = TokenFetchPipeline([CountingStep("app")], ScriptedStorage(tokens))
    caller = Task(ours.execute)
    gate.until_reached()
    theirs.invalidate_step("app")
    assert Task(lambda: ours.execute(force_refresh=True)).result().access_token == "app-2"
    gate.open()
    assert caller.result().access_token == "app-1"
    assert ours.execute().access_token == "app-2"


def test_a_forced_call_that_waits_for_its_turn_outlives_an_invalidation() -> None:
    """A forced fetch queued behind one that an invalidation supersedes goes ahead at once."""
    step = CountingStep("app")
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline([step], STORAGES[0]())
    with watched() as watch:
        first = Task(lambda: pipeline.execute(force_refresh=True))
        gate.until_reached()
        queued = [Task(lambda: pipeline.execute(force_refresh=True)) for _ in range(3)]
        watch.until(3, StepMissed, "app")
    pipeline.invalidate_step("app")
    tokens = [task.result() for task in queued]  # the gate is closed all the while
    assert values(tokens) <= {"app-2", "app-3"}
    last = pipeline.execute()
    gate.open()
    assert first.result().access_token == "app-1"
    assert pipeline.execute() == last


def test_callers_during_an_invalidation_wait_for_its_end() -> None:
    """A new token is not fetched while the old one is being deleted, lest it be deleted, too."""
    storage = ScriptedStorage()
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], storage)
    pipeline.execute()
    deleting = Gate()
    storage.once("before delete", "app", deleting)
    invalidation = Task(lambda: pipeline.invalidate_step("app"))
    deleting.until_reached()
    with watched() as watch:
        tasks = [Task(pipeline.execute) for _ in range(4)]
        deleting.open()
        invalidation.result()
        assert values([task.result() for task in tasks]) == {"app-2"}
    assert pipeline.execute().access_token == "app-2"
    told = [type(event) for event in watch.events if not isinstance(event, StepMissed)]
    assert told[:2] == [StepInvalidated, StepFetched]
    assert step.fetches == 2


@pytest.mark.parametrize("later", ["this process", "another process"])
def test_of_two_crossing_invalidations_neither_is_lost(later: str) -> None:
    """An invalidation that is slow to reach the storage ends after a later one: both hold."""
    tokens: dict[str, TokenData] = {}
    storage = ScriptedStorage(tokens)
    step = CountingStep("app")
    ours = TokenFetchPipeline([step], storage)
    theirs = TokenFetchPipeline([CountingStep("app")], ScriptedStorage(tokens))
    step.during = fetching = Gate()
    old = Task(ours.execute)
    fetching.until_reached()
    marking = Gate()
    storage.once("before set", "app#epoch", marking)
    slow = Task(lambda: ours.invalidate_step("app"))
    marking.until_reached()
    (ours if later == "this process" else theirs).invalidate_step("app")
    fetching.open()
    assert old.result().access_token == "app-1"
    waiting = Task(ours.execute)
    marking.open()
    slow.result()
    assert waiting.result().access_token == "app-2"
    assert ours.execute().access_token in {"app-2", "app-3"}
    assert theirs.execute() == ours.execute()


def test_an_invalidation_that_the_storage_failed_to_take_is_made_up_for() -> None:
    """Once the storage works again, the next fetch tells other processes, and is cached at once."""
    tokens: dict[str, TokenData] = {}
    storage = FlakyStorage()
    storage.tokens = tokens
    step = CountingStep("app")
    ours = TokenFetchPipeline([step], storage)
    theirs = TokenFetchPipeline([CountingStep("app")], ScriptedStorage(tokens))
    assert theirs.execute() == ours.execute()
    storage.broken = {"set", "delete"}
    with pytest.raises(TokenStorageException):
        ours.invalidate_step("app")
    storage.broken = set()
    assert ours.execute().access_token == "app-1"
    assert step.fetches == 1
    assert theirs.execute().generation == ours.execute().generation
    assert step.fetches == 1


def test_an_invalidation_of_another_process_survives_a_failed_one() -> None:
    """What this process made up for late does not bring back what another ended meanwhile."""
    tokens: dict[str, TokenData] = {}
    storage = FlakyStorage()
    storage.tokens = tokens
    step = CountingStep("app")
    ours = TokenFetchPipeline([step], storage)
    theirs = TokenFetchPipeline([CountingStep("app")], ScriptedStorage(tokens))
    storage.broken = {"set", "delete"}
    with pytest.raises(TokenStorageException):
        ours.invalidate_step("app")
    step.during = fetching = Gate()
    caller = Task(ours.execute)
    fetching.until_reached()
    storage.broken = set()
    theirs.invalidate_step("app")
    fetching.open()
    assert caller.result().access_token == "app-1"
    step.during = None
    theirs.execute()
    latest = ours.execute()
    assert latest.generation != caller.result().generation
    assert latest.generation == theirs.execute().generation


@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
@pytest.mark.parametrize("warm", [False, True], ids=["fetched", "cached"])
def test_what_was_bought_with_an_invalidated_token_is_not_cached(
    make_storage: Callable[[], TokenStorageInterface], warm: bool
) -> None:
    """An app token invalidated during the fetch of a user token takes that one with it."""
    app, user = pair()
    pipeline = TokenFetchPipeline([app, user], make_storage())
    if warm:
        pipeline.execute()
        pipeline.invalidate_step("user")
    user.during = gate = Gate()
    caller = Task(pipeline.execute)
    gate.until_reached()
    pipeline.invalidate_step("app")
    gate.open()
    old = caller.result()
    assert app_behind(user, old) == "app-1"
    new = pipeline.execute()
    assert app_behind(user, new) == "app-2"
    assert pipeline.execute() == new


def test_an_invalidation_between_two_steps_starts_the_run_over() -> None:
    """A run whose app token is invalidated before its user fetch begins gets a new app token."""
    storage = ScriptedStorage()
    app, user = pair()
    pipeline = TokenFetchPipeline([app, user], storage)
    between = Gate()
    # The second reading of the user's record, by the leader of its flight.
    storage.once("after set", "app", lambda: storage.once("before get_many", "user", between))
    caller = Task(pipeline.execute)
    between.until_reached()
    pipeline.invalidate_step("app")
    between.open()
    assert app_behind(user, caller.result()) == "app-2"
    assert (app.fetches, user.fetches) == (2, 1)
    assert pipeline.execute() == caller.result()


def test_endless_invalidations_do_not_keep_a_caller_for_ever() -> None:
    """A run that others always start over goes on in the end, and caches nothing."""
    storage = ScriptedStorage()
    app, user = pair()
    pipeline = TokenFetchPipeline([app, user], storage)

    def disturb() -> None:
        pipeline.invalidate_step("app")
        storage.once("after set", "app", again)

    def again() -> None:
        storage.once("before get_many", "user", disturb)

    storage.once("after set", "app", again)
    user.during = lambda: None
    token = Task(pipeline.execute).result()
    assert token.access_token.startswith("user-")
    assert app.fetches < 30


@pytest.mark.parametrize("step_name", ["app", "user"])
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("by", ["this process", "another process"])
@pytest.mark.parametrize("loses", [False, True], ids=["whole records", "six fields"])
def test_whenever_an_invalidation_comes_nothing_older_is_served_after_it(
    step_name: str, warm: bool, by: str, loses: bool
) -> None:
    """An invalidation before, between or after any two storage calls leaves nothing old behind."""
    for moment in itertools.count(1):
        tokens: dict[str, TokenData] = {}
        storage = ScriptedStorage(tokens, loses=loses)
        app, user = pair()
        pipeline = TokenFetchPipeline([app, user], storage)
        elsewhere = TokenFetchPipeline(pair(), ScriptedStorage(tokens, loses=loses))
        if warm:
            pipeline.execute()
            pipeline.invalidate_step("user")
        before: list[tuple[int, int]] = []

        def invalidate(
            invalidator: TokenFetchPipeline = pipeline if by == "this process" else elsewhere,
            before: list[tuple[int, int]] = before,
            app: CountingStep = app,
            user: CountingStep = user,
        ) -> None:
            before.append((app.fetches, user.fetches))
            invalidator.invalidate_step(step_name)

        storage.in_moments(moment, invalidate)
        pipeline.execute()
        if not before:
            break
        app_fetches, user_fetches = before[0]
        served = pipeline.execute()
        assert int(served.access_token.removeprefix("user-")) > user_fetches
        if step_name == "app":
            assert int(app_behind(user, served).removeprefix("app-")) > app_fetches
        assert pipeline.execute() == served
        assert user.fetches <= user_fetches + 2
        assert app.fetches <= app_fetches + 2
    assert moment > 10
