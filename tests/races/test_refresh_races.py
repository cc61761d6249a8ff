"""What refreshes, slow fetches and repairs of a chain do to each other."""

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
    chain,
    fetches,
    pair,
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
from requestforge.events import StepMissed
from requestforge.exceptions import UnauthorizedException
from requestforge.interfaces import TokenStorageInterface

pytestmark = pytest.mark.compat


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


def test_a_refresher_of_another_process_that_looks_between_two_steps_goes_on_from_there() -> None:
    """It takes the new app token, and its user token is the one that both end up with."""
    tokens: dict[str, TokenData] = {}
    our_storage, their_storage = ScriptedStorage(tokens), ScriptedStorage(tokens)
    our_app, our_user = pair()
    their_app, their_user = pair()
    ours = PipelineTokenProvider(TokenFetchPipeline([our_app, our_user], our_storage), "api")
    theirs = PipelineTokenProvider(
        TokenFetchPipeline([their_app, their_user], their_storage), "api"
    )
    rejected = ours.fetch_token()
    looked, replaced = Gate(), Gate()
    their_storage.once("after get_many", "user", looked)
    second = Task(lambda: theirs.refresh(rejected))
    looked.until_reached()
    our_storage.once("after set", "app", replaced)
    first = Task(lambda: ours.refresh(rejected))
    replaced.until_reached()
    looked.open()
    new = second.result()
    replaced.open()
    assert first.result().generation == new.generation
    assert fetches([our_app, our_user, their_app, their_user]) == [2, 1, 0, 1]


def test_a_refresher_that_finds_the_first_step_renewed_waits_for_the_flight_that_did_it() -> None:
    """What the first refresher is about to give up is not fetched by the second one before."""
    storage = ScriptedStorage()
    steps = chain()
    provider = PipelineTokenProvider(TokenFetchPipeline(steps, storage), "api")
    rejected = provider.fetch_token()
    looked, giving_up = Gate(), Gate()
    storage.once("after get_many", "user", looked)
    second = Task(lambda: provider.refresh(rejected))
    looked.until_reached()
    storage.once("after set", "device", lambda: storage.once("after get_many", "user", giving_up))
    with watched() as watch:
        first = Task(lambda: provider.refresh(rejected))
        giving_up.until_reached()
        looked.open()
        watch.until(2, StepMissed, "device")
        giving_up.open()
        assert values([first.result(), second.result()]) == {"user-2"}
    assert fetches(steps) == [2, 2, 2]


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
