"""refresh_ahead: a stale token is served at once, and one fetch in the background replaces it."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from freezegun import freeze_time
from racing import Gate, ScriptedStorage, Task, together, values, watched
from renewing import AHEAD, MINUTE, ahead, renewing, settle, text

from doubles import (
    START,
    BasicStorage,
    Clock,
    CountingStep,
    JsonStorage,
    RecordingStorage,
    SixFieldStorage,
    recorded,
)
from requestforge import (
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.events import StepCached, StepFetched, StepMissed, TokenReplaced

pytestmark = pytest.mark.compat

STORAGES: dict[str, Callable[[], object]] = {
    "in memory": InMemoryTokenStorage,
    "in memory, bounded": lambda: InMemoryTokenStorage(max_entries=1000),
    "shared": RecordingStorage,
    "json": JsonStorage,
    "four methods": BasicStorage,
    "six fields": SixFieldStorage,
}


@pytest.fixture(params=STORAGES.values(), ids=STORAGES.keys())
def storage(request: pytest.FixtureRequest) -> object:
    """One of each kind of storage."""
    make: Callable[[], object] = request.param
    return make()


def test_a_fresh_token_is_not_renewed(app: CountingStep, storage: object, clock: Clock) -> None:
    """Up to `refresh_ahead` and a tenth of it before its end a token is left alone."""
    pipeline = ahead(app, storage=storage)
    clock.advance(minutes=54.4)
    assert [text(pipeline) for _ in range(3)] == ["app-1"] * 3
    assert app.fetches == 1


def test_a_stale_token_is_served_while_it_is_renewed(
    app: CountingStep, storage: object, clock: Clock
) -> None:
    """Callers get the old token at once, and the new one as soon as it is there."""
    pipeline = ahead(app, storage=storage)
    app.during = gate = Gate()
    clock.advance(minutes=55)
    assert pipeline.execute().access_token == "app-1"
    gate.until_reached()
    assert pipeline.execute().access_token == "app-1"
    gate.open()
    settle()
    assert [text(pipeline) for _ in range(3)] == ["app-2"] * 3
    assert app.fetches == 2


def test_any_number_of_callers_begin_one_renewal(
    app: CountingStep, storage: object, clock: Clock
) -> None:
    """However many threads find the token stale, there is one fetch, in one thread."""
    pipeline = ahead(app, storage=storage)
    app.during = gate = Gate()
    clock.advance(minutes=56)
    assert values(together(16, pipeline.execute)) == {"app-1"}
    gate.until_reached()
    assert len(renewing()) == 1
    gate.open()
    settle()
    assert app.fetches == 2


def test_pipelines_on_one_storage_share_a_renewal(app: CountingStep, clock: Clock) -> None:
    """A token that one pipeline renews is left alone by the others of that storage and prefix."""
    storage = InMemoryTokenStorage()
    one, other = ahead(app, storage=storage), ahead(app, storage=storage)
    app.during = gate = Gate()
    clock.advance(minutes=56)
    one.execute()
    gate.until_reached()
    other.execute()
    assert len(renewing()) == 1
    gate.open()
    settle()
    assert (text(one), text(other), app.fetches) == ("app-2", "app-2", 2)


@pytest.mark.parametrize("moment", ["before the claim", "in the claim"])
def test_two_looks_at_the_same_time_begin_one_renewal(
    moment: str, app: CountingStep, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes second finds the token claimed, however late that is."""
    storage = InMemoryTokenStorage()
    one, other = ahead(app, storage=storage), ahead(app, storage=storage)
    app.during = gate = Gate()
    calls = [other.execute]

    def interfere() -> None:
        if calls:
            calls.pop()()

    class Thread(threading.Thread):
        def __init__(self, **options: object) -> None:
            super().__init__(**options)
            if moment == "before the claim":
                interfere()
            else:
                clock.now = lambda: (interfere(), type(clock).now(clock))[1]

    clock.advance(minutes=56)
    monkeypatch.setattr(threading, "Thread", Thread)
    assert one.execute().access_token == "app-1"
    gate.until_reached()
    assert len(renewing()) == 1
    gate.open()
    settle()
    assert app.fetches == 2


def test_the_thread_of_a_renewal_is_a_daemon_and_ends_with_it(
    app: CountingStep, clock: Clock
) -> None:
    """It keeps no interpreter from exiting, and is there for no longer than it is needed."""
    pipeline = ahead(app, storage=InMemoryTokenStorage())
    app.during = gate = Gate()
    clock.advance(minutes=56)
    pipeline.execute()
    gate.until_reached()
    [thread] = renewing()
    assert thread.daemon
    pipeline.close()  # it waits for nothing
    gate.open()
    settle()
    assert not renewing()
    assert app.closed == 1


def test_a_hit_while_a_renewal_is_under_way_reads_no_storage(
    app: CountingStep, clock: Clock
) -> None:
    """Between two looks at a stale token a hit costs what it always does."""

    class Counting(InMemoryTokenStorage):
        reads = 0

        def get_many(self, keys: list[str]) -> dict[str, TokenData]:
            self.reads += 1
            return super().get_many(keys)

    storage = Counting()
    pipeline = ahead(app, storage=storage)
    app.during = gate = Gate()
    clock.advance(minutes=56)
    pipeline.execute()
    gate.until_reached()
    before = storage.reads
    for _ in range(50):
        pipeline.execute()
    assert storage.reads <= before + 1
    clock.advance(seconds=1)
    pipeline.execute()  # it looks again, and finds the renewal under way
    assert (len(renewing()), app.fetches) == (1, 2)
    gate.open()


def test_who_finds_the_token_dead_joins_the_renewal(
    app: CountingStep, storage: object, clock: Clock
) -> None:
    """A caller who comes after the end of the old token waits for the fetch under way."""
    pipeline = ahead(app, storage=storage)
    app.during = gate = Gate()
    clock.advance(minutes=56)
    pipeline.execute()
    gate.until_reached()
    clock.advance(minutes=4)
    with watched() as watch:
        callers = [Task(pipeline.execute) for _ in range(4)]
        watch.until(4, StepMissed, "app")
    gate.open()
    assert values([caller.result() for caller in callers]) == {"app-2"}
    assert app.fetches == 2


def test_a_renewal_tells_what_it_has_done(app: CountingStep, clock: Clock) -> None:
    """The caller's hit, then the fetch and the replacement; nothing was missed."""
    pipeline = ahead(app, storage=InMemoryTokenStorage())
    old = pipeline.execute()
    clock.advance(minutes=56)
    with recorded() as events:
        text(pipeline)
    assert [type(event) for event in events] == [StepCached, StepFetched, TokenReplaced]
    assert events[2].replaced == old.generation
    assert events[2].generation == pipeline.execute().generation != old.generation


@pytest.mark.parametrize("ttl", [None, timedelta(0)], ids=["no end", "ttl 0"])
def test_what_has_no_end_or_no_life_is_not_renewed(ttl: timedelta | None, clock: Clock) -> None:
    """A token without end is used until it is invalidated; one with ttl 0 is never cached."""
    step = CountingStep("app", ttl=ttl)
    pipeline = ahead(step, storage=InMemoryTokenStorage())
    clock.advance(days=300)
    with recorded() as events:
        text(pipeline)
    assert not [event for event in events if isinstance(event, TokenReplaced)]
    assert step.fetches == (1 if ttl is None else 2)


def test_a_renewal_counts_for_no_more_than_three_quarters_of_a_life(
    storage: object, clock: Clock
) -> None:
    """`refresh_ahead` beyond the whole life of a token is no storm: a sixth of it is left alone."""
    step = CountingStep("app", ttl=timedelta(seconds=60))
    pipeline = ahead(step, storage=storage)
    for _ in range(600):
        text(pipeline)
        clock.advance(seconds=1)
    assert 600 / 60 <= step.fetches <= 600 / 10


def test_a_token_whose_age_is_not_known_is_no_storm(clock: Clock) -> None:
    """Processes on a storage that keeps no time of issue do not renew each other's new tokens."""
    tokens: dict[str, TokenData] = {}
    step = CountingStep("app", ttl=4 * MINUTE)
    pipelines = [
        TokenFetchPipeline([step], ScriptedStorage(tokens, loses=True), refresh_ahead=AHEAD)
        for _ in range(2)
    ]
    for _ in range(240):
        for pipeline in pipelines:
            text(pipeline)
        clock.advance(seconds=1)
    assert step.fetches <= 30


class RepeatedStep(CountingStep):
    """A step whose server gives the same token again and again, until it has ended."""

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        super().fetch(context)
        end = START + timedelta(hours=1)
        return TokenData("app", expires_at=end, issued_at=START, leeway=timedelta(0))


def test_a_server_that_repeats_its_token_is_not_asked_without_end(clock: Clock) -> None:
    """Where a new token is as old as the one before, half of what is left passes between tries."""
    step = RepeatedStep("app")
    pipeline = ahead(step, storage=InMemoryTokenStorage())
    for _ in range(3600):
        text(pipeline)
        clock.advance(seconds=1)
    assert 2 <= step.fetches <= 20


def test_a_renewed_token_that_is_dead_takes_nothing_away(app: CountingStep, clock: Clock) -> None:
    """The old token is served until its end, and the server is asked a few times only."""
    pipeline = ahead(app, storage=InMemoryTokenStorage())
    app.expires_in = -60
    clock.advance(minutes=55)
    for _ in range(300):
        assert text(pipeline) == "app-1"
        clock.advance(seconds=1)
    assert 2 <= app.fetches <= 30


@pytest.mark.usefixtures("clock")
def test_a_token_that_was_stored_by_other_means_is_renewed(app: CountingStep) -> None:
    """A token of another make, whose age nobody knows, is renewed in its last minutes, too."""
    storage = InMemoryTokenStorage()
    storage.set("app", TokenData("theirs", expires_at=START + 4 * MINUTE))
    pipeline = TokenFetchPipeline([app], storage, refresh_ahead=AHEAD)
    assert [text(pipeline), text(pipeline)] == ["theirs", "app-1"]


@pytest.mark.usefixtures("clock")
def test_a_token_issued_before_time_began_is_renewed(app: CountingStep) -> None:
    """An `issued_at` that no clock can have shown counts as unknown."""
    storage = InMemoryTokenStorage()
    issued_at = START.min.replace(tzinfo=None)
    storage.set("app", TokenData("theirs", expires_at=START + 4 * MINUTE, issued_at=issued_at))
    pipeline = TokenFetchPipeline([app], storage, refresh_ahead=AHEAD)
    assert [text(pipeline), text(pipeline)] == ["theirs", "app-1"]


def test_a_manager_over_a_pipeline_renews_ahead(app: CountingStep, clock: Clock) -> None:
    """`get_token` gives the old token at once, too."""
    manager = TokenManager(
        PipelineTokenProvider(ahead(app, storage=InMemoryTokenStorage()), "shop")
    )
    clock.advance(minutes=56)
    assert manager.get_token().access_token == "app-1"
    settle()
    assert manager.get_token().access_token == "app-2"


def test_frozen_time_decides_what_is_stale(app: CountingStep) -> None:
    """A freezing tool's time is what renewals go by, too."""
    with freeze_time(START) as frozen:
        pipeline = ahead(app, storage=InMemoryTokenStorage())
        frozen.tick(50 * MINUTE)
        assert text(pipeline) == "app-1"
        frozen.tick(6 * MINUTE)
        assert [text(pipeline), text(pipeline)] == ["app-1", "app-2"]


def test_the_wall_clock_set_back_does_not_put_a_renewal_off(
    app: CountingStep, storage: object, clock: Clock
) -> None:
    """A token that was fetched here is stale by the monotonic clock as well."""
    pipeline = ahead(app, storage=storage)
    clock.set_back(hours=2)
    clock.advance(minutes=56)
    assert [text(pipeline), text(pipeline)] == ["app-1", "app-2"]
