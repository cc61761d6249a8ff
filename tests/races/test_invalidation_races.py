"""What an invalidation, a refresh and a slow fetch do to each other, at each possible moment."""

import itertools
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
from racing import (
    STORAGE_IDS,
    STORAGES,
    Gate,
    ScriptedStorage,
    Task,
    chain,
    fetches,
    together,
    values,
    watched,
)

from doubles import CountingStep, FlakyStorage
from requestforge import (
    AuthenticationException,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
)
from requestforge.events import StepFetched, StepInvalidated, StepMissed
from requestforge.exceptions import TokenStorageException, UnauthorizedException
from requestforge.interfaces import TokenStorageInterface

pytestmark = pytest.mark.compat


def pair() -> tuple[CountingStep, CountingStep]:
    """An app token, and a user token built on it."""
    return CountingStep("app"), CountingStep("user", ["app"])


def app_behind(user: CountingStep, token: TokenData) -> str:
    """The app token that the fetch of this user token was given."""
    number = int(token.access_token.removeprefix("user-"))
    context = user.contexts[number - 1]
    assert context is not None
    return context["app"].access_token


# --- An invalidation during a fetch


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


# --- An invalidation between the reading of an upstream token and the writing of what it buys


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
def test_whenever_an_invalidation_comes_nothing_older_is_served_after_it(
    step_name: str, warm: bool, by: str
) -> None:
    """An invalidation before, between or after any two storage calls leaves nothing old behind."""
    for moment in itertools.count(1):
        tokens: dict[str, TokenData] = {}
        storage = ScriptedStorage(tokens)
        app, user = pair()
        pipeline = TokenFetchPipeline([app, user], storage)
        elsewhere = TokenFetchPipeline(pair(), ScriptedStorage(tokens))
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


# --- A slow fetch against a newer token


def test_a_slow_fetch_does_not_replace_a_newer_token() -> None:
    """A token that another process stored meanwhile stays; the slow callers get their own once."""
    tokens: dict[str, TokenData] = {}
    slow, quick = CountingStep("app"), CountingStep("app")
    slow.during = gate = Gate()
    ours = TokenFetchPipeline([slow], ScriptedStorage(tokens))
    theirs = TokenFetchPipeline([quick], ScriptedStorage(tokens))
    caller = Task(ours.execute)
    gate.until_reached()
    newer = theirs.execute()
    gate.open()
    assert caller.result().generation != newer.generation
    assert tokens["app"].generation == newer.generation
    assert ours.execute().generation == newer.generation
    assert (slow.fetches, quick.fetches) == (1, 1)


def test_a_slow_refresh_does_not_replace_a_newer_token() -> None:
    """The same for a fetch that set out to replace a token which is replaced meanwhile."""
    tokens: dict[str, TokenData] = {}
    slow, quick = CountingStep("app"), CountingStep("app")
    ours = TokenFetchPipeline([slow], ScriptedStorage(tokens))
    theirs = TokenFetchPipeline([quick], ScriptedStorage(tokens))
    rejected = ours.execute()
    slow.during = gate = Gate()
    caller = Task(lambda: PipelineTokenProvider(ours, "api").refresh(rejected))
    gate.until_reached()
    newer = PipelineTokenProvider(theirs, "api").refresh(rejected)
    gate.open()
    assert caller.result().access_token == "app-2"
    assert ours.execute().generation == newer.generation


# --- Refreshes against each other


@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
@pytest.mark.parametrize("from_step", [None, "device", "app", "user"])
def test_refreshes_of_one_rejected_token_fetch_each_step_once(
    make_storage: Callable[[], TokenStorageInterface], from_step: str | None
) -> None:
    """32 threads that refresh the same token at once get one new token, for one fetch a step."""
    steps = chain()
    pipeline = TokenFetchPipeline(steps, make_storage())
    provider = PipelineTokenProvider(pipeline, "api", from_step)
    rejected = provider.fetch_token()
    assert values(together(32, lambda: provider.refresh(rejected))) == {"user-2"}
    first = pipeline.step_names.index(from_step or "device")
    assert fetches(steps) == [1] * first + [2] * (3 - first)


def test_a_refresher_that_looks_between_two_steps_fetches_nothing_again() -> None:
    """A refresh that reads after the app token was replaced, and before the user token was."""
    storage = ScriptedStorage()
    app, user = pair()
    provider = PipelineTokenProvider(TokenFetchPipeline([app, user], storage), "api")
    rejected = provider.fetch_token()
    replaced, looked = Gate(), Gate()
    storage.once("after set", "app", replaced)
    first = Task(lambda: provider.refresh(rejected))
    replaced.until_reached()
    storage.once("after get_many", "user", looked)
    second = Task(lambda: provider.refresh(rejected))
    looked.until_reached()
    replaced.open()
    assert first.result().access_token == "user-2"
    looked.open()
    assert second.result().access_token == "user-2"
    assert (app.fetches, user.fetches) == (2, 2)


@pytest.mark.parametrize("from_step", [None, "user"])
def test_whenever_a_second_refresher_comes_it_fetches_nothing_again(from_step: str | None) -> None:
    """A refresh of the same token that runs between any two storage calls of the first one."""
    for moment in itertools.count(1):
        storage = ScriptedStorage()
        app, user = pair()
        provider = PipelineTokenProvider(TokenFetchPipeline([app, user], storage), "api", from_step)
        rejected = provider.fetch_token()
        first_gate, second_gate = Gate(), Gate()
        storage.in_moments(moment, first_gate)
        with watched() as watch:
            first = Task(lambda provider=provider, rejected=rejected: provider.refresh(rejected))
            if not first_gate.reached_before(first):
                break
            storage.once("after get_many", "user", second_gate)
            second = Task(lambda provider=provider, rejected=rejected: provider.refresh(rejected))
            second_gate.until_reached()
            first_gate.open()
            first.result()
            second_gate.open()
            assert second.result() == first.result()
        assert user.fetches == 2, (moment, watch.events)
        assert app.fetches == (2 if from_step is None else 1), moment
    assert moment > 10


def test_a_refresher_does_not_take_the_rejected_token_from_a_reading_leader() -> None:
    """A refresh that joins a flight whose leader finds the rejected token cached fetches anew."""
    storage = ScriptedStorage()
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], storage)
    provider = PipelineTokenProvider(pipeline, "api")
    missed, reading = Gate(), Gate()
    storage.once("after get_many", "app", missed)
    leader = Task(pipeline.execute)
    missed.until_reached()
    rejected = pipeline.execute()
    storage.once("before get_many", "app", reading)
    missed.open()
    reading.until_reached()
    with watched() as watch:
        refresher = Task(lambda: provider.refresh(rejected))
        watch.until(1, StepMissed, "app")
        reading.open()
        assert leader.result().access_token == "app-1"
        assert refresher.result().access_token == "app-2"


def test_an_unconditional_refresh_takes_no_step_from_before_its_call() -> None:
    """Each step that refresh(None) gives was fetched by a fetch that began after the call."""
    app, user = pair()
    provider = PipelineTokenProvider(TokenFetchPipeline([app, user], STORAGES[0]()), "api")
    provider.fetch_token()
    user.during = gate = Gate()
    early = Task(provider.refresh)
    gate.until_reached()
    with watched() as watch:
        late = Task(provider.refresh)
        watch.until(1, StepMissed, "app")
        gate.open()
        early.result()
        token = late.result()
    assert token.access_token == "user-3"


@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
def test_a_failed_refresh_leaves_the_old_tokens(
    make_storage: Callable[[], TokenStorageInterface],
) -> None:
    """16 threads whose refresh fails call the server once, and what was cached stays so."""
    steps = chain()
    provider = PipelineTokenProvider(TokenFetchPipeline(steps, make_storage()), "api")
    rejected = provider.fetch_token()
    steps[0].failures = [OSError("The server is down.")]
    steps[0].during = gate = Gate()
    with watched() as watch:
        tasks = [Task(lambda: provider.refresh(rejected)) for _ in range(16)]
        watch.until(16, StepMissed, "device")
        gate.open()
        errors = [task.error() for task in tasks]
    assert {type(error) for error in errors} == {AuthenticationException}
    assert fetches(steps) == [2, 1, 1]
    assert provider.fetch_token() == rejected


def test_an_invalidation_during_a_refresh_keeps_its_token_out_of_the_cache() -> None:
    """A refresh whose steps are invalidated while it fetches answers its callers, and no others."""
    app, user = pair()
    pipeline = TokenFetchPipeline([app, user], STORAGES[0]())
    provider = PipelineTokenProvider(pipeline, "api")
    rejected = provider.fetch_token()
    user.during = gate = Gate()
    refresher = Task(lambda: provider.refresh(rejected))
    gate.until_reached()
    pipeline.invalidate_step("app")
    gate.open()
    assert app_behind(user, refresher.result()) == "app-2"
    assert app_behind(user, pipeline.execute()) == "app-3"


def test_a_refreshed_token_that_cannot_be_stored_replaces_the_old_one() -> None:
    """A storage that reads but does not write any more gives nobody the rejected token again."""
    storage = FlakyStorage()
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], storage)
    provider = PipelineTokenProvider(pipeline, "api")
    rejected = pipeline.execute()
    storage.broken = {"set"}
    assert values(together(16, lambda: provider.refresh(rejected))) == {"app-2"}
    assert pipeline.execute().access_token == "app-2"
    storage.broken = set()
    assert provider.refresh(pipeline.execute()).access_token == "app-3"
    assert storage.tokens["app"].access_token == "app-3"
    assert pipeline.execute().access_token == "app-3"


# --- Chain repair


@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
def test_a_refused_chain_is_repaired_once_for_all_threads(
    make_storage: Callable[[], TokenStorageInterface],
) -> None:
    """32 threads whose cached app token is refused: one new app token, one more user fetch."""
    app, user = pair()
    pipeline = TokenFetchPipeline([app, user], make_storage())
    pipeline.execute()
    pipeline.invalidate_step("user")
    user.failures = [UnauthorizedException()]
    user.during = gate = Gate()
    with watched() as watch:
        tasks = [Task(pipeline.execute) for _ in range(32)]
        watch.until(32, StepMissed, "user")
        gate.open()
        assert values([task.result() for task in tasks]) == {"user-3"}
    assert (app.fetches, user.fetches) == (2, 3)
    assert user.errors == []


# --- All at once


class StampedStep(CountingStep):
    """A step that notes at which count each of its fetches began, by token."""

    def __init__(self, name: str, depends_on: Sequence[str], count: Iterator[int]) -> None:
        super().__init__(name, depends_on)
        self._count = count
        self.began: dict[str, int] = {}

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        at = next(self._count)
        token = super().fetch(context)
        self.began[token.access_token] = at
        return token


class Mixture:
    """Random calls of two pipelines on one storage, by threads that check what they get."""

    def __init__(self, storage: TokenStorageInterface, *, lazy: bool) -> None:
        self.count = itertools.count()
        self.app = StampedStep("app", (), self.count)
        self.user = StampedStep("user", ["app"], self.count)
        steps = [self.app, self.user]
        self.pipelines = [TokenFetchPipeline(steps, storage, lazy=lazy) for _ in range(2)]
        # Step, and the counts at which the call began and ended.
        self.invalidations: list[tuple[str, int, int]] = []

    def act(self, number: int, choices: random.Random) -> None:
        """What one thread does."""
        pipeline = self.pipelines[number % 2]
        provider = PipelineTokenProvider(pipeline, "api", choices.choice([None, "app", "user"]))
        token = pipeline.execute()
        for _ in range(12):
            call = choices.choice(["execute", "execute", "force", "refresh", "app", "user"])
            since = next(self.count)
            if call in {"app", "user"}:
                pipeline.invalidate_step(call)
                self.invalidations.append((call, since, next(self.count)))
            elif call == "refresh":
                rejected, token = token, provider.refresh(token)
                assert token.generation != rejected.generation
            else:
                token = pipeline.execute(force_refresh=call == "force")
                self.check(token, since)
                assert call != "force" or self.user.began[token.access_token] > since

    def check(self, token: TokenData, since: int) -> None:
        """Neither the token nor what it was bought with is older than an invalidation."""
        for name, start, end in list(self.invalidations):
            if end < since:
                assert self.user.began[token.access_token] > start
                if name == "app":
                    assert self.app.began[app_behind(self.user, token)] > start


@pytest.fixture
def _quick_switches() -> Iterator[None]:
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_quick_switches")
@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
@pytest.mark.parametrize("seed", range(12))
def test_any_mixture_of_calls_keeps_its_promises(
    make_storage: Callable[[], TokenStorageInterface], lazy: bool, seed: int
) -> None:
    """Four threads that execute, force, refresh and invalidate at random: nothing old is served.

    Each fetch and each call notes when it began. A caller gets no token whose fetch, or whose
    upstream's fetch, began before an invalidation that ended before the call; a forced call gets
    one whose fetches began after it; a refresh does not give the rejected token back.
    """
    mixture = Mixture(make_storage(), lazy=lazy)

    def act(number: int) -> None:
        mixture.act(number, random.Random(10 * seed + number))  # noqa: S311 - to be replayed

    for task in [Task(partial(act, number)) for number in range(4)]:
        task.result()
    last = mixture.pipelines[0].execute()
    fetched = fetches([mixture.app, mixture.user])
    assert mixture.pipelines[1].execute() == last
    assert fetches([mixture.app, mixture.user]) == fetched
