"""What observers are told of an execution, an invalidation and a refresh, in order."""

import dataclasses
from contextlib import ExitStack
from datetime import timedelta

import pytest

from doubles import Clock, CountingStep, JsonStorage, RecordingStorage, recorded
from requestforge import (
    AuthenticationException,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
)
from requestforge.events import (
    StepCached,
    StepFailed,
    StepFetched,
    StepInvalidated,
    StepMissed,
    TokenReplaced,
)
from requestforge.instrumentation import observe, use_clock

pytestmark = pytest.mark.compat


@pytest.fixture
def steps() -> list[CountingStep]:
    """Device ← app ← user."""
    return [
        CountingStep("device"),
        CountingStep("app", ["device"], expires_in=3600),
        CountingStep("user", ["app"], ttl=timedelta(minutes=15)),
    ]


def told(events: list[object]) -> list[tuple[object, ...]]:
    """Each event as its class, step and what is particular to it."""
    particular = {StepMissed: "reason", StepInvalidated: "cause"}
    return [
        (
            type(event),
            event.step,
            *(getattr(event, name) for name in [particular.get(type(event))] if name),
        )
        for event in events
    ]


def test_a_cold_run(steps: list[CountingStep], storage: object) -> None:
    """On an empty cache each step is missed and fetched, in order."""
    with recorded() as events:
        TokenFetchPipeline(steps, storage).execute()
    assert told(events) == [
        (StepMissed, "device", "empty"),
        (StepFetched, "device"),
        (StepMissed, "app", "empty"),
        (StepFetched, "app"),
        (StepMissed, "user", "empty"),
        (StepFetched, "user"),
    ]


def test_a_cached_run(steps: list[CountingStep], storage: object) -> None:
    """From a full cache each step is told as cached, each time."""
    pipeline = TokenFetchPipeline(steps, storage)
    pipeline.execute()
    pipeline.execute()
    for _ in range(2):
        with recorded() as events:
            pipeline.execute()
        assert told(events) == [(StepCached, step.name) for step in steps]


def test_an_expired_step(steps: list[CountingStep], storage: object, clock: Clock) -> None:
    """An expired token is missed as expired, with its generation and its end."""
    pipeline = TokenFetchPipeline(steps, storage)
    old = pipeline.execute()
    clock.advance(minutes=15)
    with recorded() as events:
        pipeline.execute()
    assert told(events) == [
        (StepCached, "device"),
        (StepCached, "app"),
        (StepMissed, "user", "expired"),
        (StepFetched, "user"),
    ]
    assert events[2].generation == old.generation
    assert events[2].ends_at == old.expires_at


def test_an_invalidated_chain(steps: list[CountingStep], storage: object) -> None:
    """The step named is told as called for, its dependents as a cascade, ancestors first."""
    pipeline = TokenFetchPipeline(steps, storage)
    pipeline.execute()
    with recorded() as events:
        pipeline.invalidate_step("app")
        pipeline.execute()
    assert told(events) == [
        (StepInvalidated, "app", "call"),
        (StepInvalidated, "user", "cascade"),
        (StepCached, "device"),
        (StepMissed, "app", "invalidated"),
        (StepFetched, "app"),
        (StepMissed, "user", "invalidated"),
        (StepFetched, "user"),
    ]


def test_invalidate_all_calls_for_every_step(steps: list[CountingStep], storage: object) -> None:
    """With invalidate_all no step is a mere consequence."""
    pipeline = TokenFetchPipeline(steps, storage)
    with recorded() as events:
        pipeline.invalidate_all()
    assert told(events) == [(StepInvalidated, step.name, "call") for step in steps]


def test_an_invalidation_names_the_generation_that_it_ends(storage: object) -> None:
    """The event of an invalidation has the generation of the token given up."""
    pipeline = TokenFetchPipeline([CountingStep("app")], storage)
    token = pipeline.execute()
    with recorded() as events:
        pipeline.invalidate_step("app")
    assert events[0].generation == token.generation
    with recorded() as events:
        pipeline.invalidate_step("app")
    assert events[0].generation is None


def test_a_forced_run(steps: list[CountingStep], storage: object) -> None:
    """A forced step is missed as forced, and its new token replaces the old one."""
    pipeline = TokenFetchPipeline(steps[:1], storage)
    old = pipeline.execute()
    with recorded() as events:
        new = pipeline.execute(force_refresh=True)
    assert told(events) == [
        (StepMissed, "device", "forced"),
        (StepFetched, "device"),
        (TokenReplaced, "device"),
    ]
    assert events[0].generation == old.generation
    assert events[2].generation == new.generation
    assert events[2].replaced == old.generation


def test_a_forced_run_on_an_empty_cache(steps: list[CountingStep]) -> None:
    """Where nothing was cached a forced step is missed as empty, and replaces nothing."""
    pipeline = TokenFetchPipeline(steps[:1], InMemoryTokenStorage())
    with recorded() as events:
        pipeline.execute(force_refresh=True)
    assert told(events) == [(StepMissed, "device", "empty"), (StepFetched, "device")]


def test_a_failing_step(steps: list[CountingStep]) -> None:
    """A failure is told after the miss, and ends the run."""
    steps[1].failure = LookupError("no app token")
    with recorded() as events, pytest.raises(AuthenticationException):
        TokenFetchPipeline(steps, InMemoryTokenStorage()).execute()
    assert told(events) == [
        (StepMissed, "device", "empty"),
        (StepFetched, "device"),
        (StepMissed, "app", "empty"),
        (StepFailed, "app"),
    ]
    assert events[-1].error == "no app token"


def test_a_refresh(steps: list[CountingStep], storage: object) -> None:
    """A refresh fetches a step, gives up its dependents, and fetches them; none is told twice."""
    pipeline = TokenFetchPipeline(steps, storage)
    provider = PipelineTokenProvider(pipeline, "shop", "app")
    rejected = provider.fetch_token()
    with recorded() as events:
        provider.refresh(rejected)
    assert told(events) == [
        (StepCached, "device"),
        (StepMissed, "app", "forced"),
        (StepFetched, "app"),
        (TokenReplaced, "app"),
        (StepInvalidated, "user", "refresh"),
        (StepMissed, "user", "invalidated"),
        (StepFetched, "user"),
    ]


def test_an_unconditional_refresh_is_told_alike(steps: list[CountingStep], storage: object) -> None:
    """refresh(None) is told like a refresh by the rejected token."""
    provider = PipelineTokenProvider(TokenFetchPipeline(steps, storage), "shop")
    rejected = provider.fetch_token()
    with recorded() as by_token:
        provider.refresh(rejected)
    with recorded() as by_nothing:
        provider.refresh()
    assert told(by_token) == told(by_nothing)


def test_a_refresh_that_needs_no_fetch(steps: list[CountingStep]) -> None:
    """A refresh that finds a newer token tells of that one alone."""
    provider = PipelineTokenProvider(TokenFetchPipeline(steps, InMemoryTokenStorage()), "shop")
    rejected = provider.fetch_token()
    new = provider.refresh(rejected)
    with recorded() as events:
        provider.refresh(rejected)
    assert told(events) == [(StepCached, "user")]
    assert events[0].generation == new.generation


def test_a_repair(steps: list[CountingStep], clock: Clock) -> None:
    """A repair tells of the refused fetch and of what it gave up; each step is missed once."""
    pipeline = TokenFetchPipeline(steps, InMemoryTokenStorage())
    pipeline.execute()
    clock.advance(minutes=15)
    steps[2].failures = [LookupError("invalid_token")]
    with recorded() as events:
        pipeline.execute()
    assert told(events) == [
        (StepCached, "device"),
        (StepCached, "app"),
        (StepMissed, "user", "expired"),
        (StepFailed, "user"),
        (StepInvalidated, "app", "repair"),
        (StepInvalidated, "user", "cascade"),
        (StepMissed, "app", "invalidated"),
        (StepFetched, "app"),
        (StepFetched, "user"),
    ]


def test_every_event_names_pipeline_time_and_token(steps: list[CountingStep], clock: Clock) -> None:
    """Events carry the prefix, the instant, the generation and the end of use."""
    pipeline = TokenFetchPipeline(steps, InMemoryTokenStorage(), "shop")
    with recorded() as events:
        token = pipeline.execute()
        pipeline.execute()
    assert {event.pipeline for event in events} == {"shop"}
    assert {event.at for event in events} == {clock.now()}
    fetched = {event.step: event for event in events if isinstance(event, StepFetched)}
    cached = {event.step: event for event in events if isinstance(event, StepCached)}
    assert fetched["user"].generation == cached["user"].generation == token.generation
    for kind in (fetched, cached):
        assert kind["device"].ends_at is None
        assert kind["app"].ends_at == clock.now() + timedelta(minutes=59, seconds=30)
        assert kind["user"].ends_at == clock.now() + timedelta(minutes=15)


def test_a_fetch_tells_how_long_it_took(clock: Clock) -> None:
    """StepFetched has the seconds of the fetch, and the instant of its end."""
    step = CountingStep("app", takes=2.5)
    start = clock.now()
    with recorded() as events:
        TokenFetchPipeline([step], InMemoryTokenStorage()).execute()
    [fetched] = [event for event in events if isinstance(event, StepFetched)]
    assert fetched.seconds == 2.5
    assert fetched.at == start + timedelta(seconds=2.5)


def test_a_fetch_under_two_clocks_takes_no_time(clock: Clock) -> None:
    """Where the clock was changed within a fetch its duration is unknown, and told as 0."""
    step = CountingStep("app")
    with ExitStack() as stack:
        step.during = lambda: stack.enter_context(use_clock(Clock(clock.now(), monotonic=5e9)))
        with recorded() as events:
            TokenFetchPipeline([step], InMemoryTokenStorage()).execute()
    [fetched] = [event for event in events if isinstance(event, StepFetched)]
    assert fetched.seconds == 0.0


def test_events_hold_no_token(steps: list[CountingStep], clock: Clock) -> None:
    """No event shows an access token or a refresh token."""
    for step in steps:
        step.fetch = lambda _=None: TokenData("s3cr3t-access", refresh_token="s3cr3t-refresh")
    pipeline = TokenFetchPipeline(steps, JsonStorage())
    provider = PipelineTokenProvider(pipeline, "shop")
    with recorded() as events:
        provider.refresh(provider.fetch_token())
        pipeline.invalidate_all()
        clock.advance(days=1)
        pipeline.execute(force_refresh=True)
    assert "s3cr3t" not in repr(events)
    assert "s3cr3t" not in repr([dataclasses.asdict(event) for event in events])


def test_events_come_after_their_change() -> None:
    """When an observer hears of a change, the storage has it."""
    storage = RecordingStorage()
    pipeline = TokenFetchPipeline([CountingStep("app")], storage)
    seen: list[tuple[type, bool]] = []
    with observe(lambda event: seen.append((type(event), storage.exists("app")))):
        pipeline.execute()
        pipeline.invalidate_all()
    assert seen == [(StepMissed, False), (StepFetched, True), (StepInvalidated, False)]


def test_an_observer_may_come_and_go() -> None:
    """Served from a snapshot or not, an observer that comes later hears of every execution."""
    pipeline = TokenFetchPipeline([CountingStep("app")], InMemoryTokenStorage())
    for _ in range(3):
        pipeline.execute()
    with recorded() as events:
        pipeline.execute()
    assert told(events) == [(StepCached, "app")]
    pipeline.execute()
    assert len(events) == 1
