"""lazy=True: a step is looked at only if one that must be fetched needs it."""

from datetime import timedelta

import pytest

from doubles import Clock, CountingStep, RecordingStorage, recorded
from requestforge import (
    AuthenticationException,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
)
from requestforge.events import StepCached, StepFetched

pytestmark = pytest.mark.compat


@pytest.fixture
def steps() -> dict[str, CountingStep]:
    """Four steps: app on device, user on app, and one beside them, listed before the last."""
    made = [
        CountingStep("device", ttl=timedelta(days=1)),
        CountingStep("app", ["device"], ttl=timedelta(hours=1)),
        CountingStep("aside", ttl=timedelta(minutes=5)),
        CountingStep("user", ["app"], ttl=timedelta(minutes=10)),
    ]
    return {step.name: step for step in made}


def fetches(steps: dict[str, CountingStep]) -> dict[str, int]:
    """How often each step was fetched."""
    return {name: step.fetches for name, step in steps.items()}


def test_a_step_that_nothing_needs_is_not_fetched(steps: dict[str, CountingStep]) -> None:
    """The walk back from the last step leaves out what it does not lead to."""
    pipeline = TokenFetchPipeline(steps.values(), InMemoryTokenStorage(), lazy=True)
    assert pipeline.execute().access_token == "user-1"
    assert fetches(steps) == {"device": 1, "app": 1, "aside": 0, "user": 1}


def test_the_context_holds_the_dependencies_alone(steps: dict[str, CountingStep]) -> None:
    """A lazy fetch gets the tokens of its depends_on, or None if it has none."""
    TokenFetchPipeline(steps.values(), InMemoryTokenStorage(), lazy=True).execute()
    assert steps["device"].contexts == [None]
    assert list(steps["app"].contexts[0]) == ["device"]
    assert list(steps["user"].contexts[0]) == ["app"]


def test_a_dead_upstream_is_left_alone_while_the_last_token_lives(
    steps: dict[str, CountingStep], storage: object, clock: Clock
) -> None:
    """Only the last step is looked at while its token is usable."""
    pipeline = TokenFetchPipeline(steps.values(), storage, lazy=True)
    pipeline.execute()
    storage.delete("device")
    storage.delete("app")
    clock.advance(minutes=9)
    with recorded() as events:
        assert pipeline.execute().access_token == "user-1"
    assert [(type(event), event.step) for event in events] == [(StepCached, "user")]


def test_only_the_dead_part_of_the_way_is_fetched(
    steps: dict[str, CountingStep], storage: object, clock: Clock
) -> None:
    """The walk back ends at the first usable token."""
    pipeline = TokenFetchPipeline(steps.values(), storage, lazy=True)
    pipeline.execute()
    clock.advance(minutes=10)
    assert pipeline.execute().access_token == "user-2"
    assert fetches(steps) == {"device": 1, "app": 1, "aside": 0, "user": 2}
    clock.advance(hours=1)
    assert pipeline.execute().access_token == "user-3"
    assert fetches(steps) == {"device": 1, "app": 2, "aside": 0, "user": 3}


def test_an_eager_pipeline_renews_every_dead_step(
    steps: dict[str, CountingStep], clock: Clock
) -> None:
    """Without lazy each step is looked at, needed or not."""
    pipeline = TokenFetchPipeline(steps.values(), InMemoryTokenStorage())
    pipeline.execute()
    clock.advance(minutes=5)
    pipeline.execute()
    assert fetches(steps) == {"device": 1, "app": 1, "aside": 2, "user": 1}


def test_force_refresh_fetches_every_step(steps: dict[str, CountingStep]) -> None:
    """force_refresh means all steps, lazy or not."""
    pipeline = TokenFetchPipeline(steps.values(), InMemoryTokenStorage(), lazy=True)
    pipeline.execute()
    pipeline.execute(force_refresh=True)
    assert fetches(steps) == {"device": 2, "app": 2, "aside": 1, "user": 2}


def test_the_failing_step_is_named(steps: dict[str, CountingStep]) -> None:
    """The failure of an upstream that was needed names the upstream."""
    steps["device"].failure = LookupError("down")
    pipeline = TokenFetchPipeline(steps.values(), InMemoryTokenStorage(), lazy=True)
    with pytest.raises(AuthenticationException) as caught:
        pipeline.execute()
    assert caught.value.service_name == "device"
    assert steps["device"].error_contexts == [None]


def test_a_token_that_dies_during_another_fetch_has_its_upstream_fetched(clock: Clock) -> None:
    """A dependency that ends while an earlier one is fetched is renewed with what it needs."""
    slow = CountingStep("slow", ttl=timedelta(minutes=10))
    base = CountingStep("base", ttl=timedelta(minutes=2))
    short = CountingStep("short", ["base"], ttl=timedelta(minutes=11))
    last = CountingStep("last", ["slow", "short"], ttl=timedelta(minutes=10))
    pipeline = TokenFetchPipeline([slow, base, short, last], InMemoryTokenStorage(), lazy=True)
    pipeline.execute()
    clock.advance(minutes=10)
    slow.takes = 90
    assert pipeline.execute().access_token == "last-2"
    assert (slow.fetches, base.fetches, short.fetches) == (2, 2, 2)
    assert last.contexts[1]["short"].access_token == "short-2"


def test_a_forced_step_has_its_dependencies_even_if_another_process_renews_it(
    clock: Clock,
) -> None:
    """A refresh fetches the step with its upstream's token, whatever comes in between."""
    del clock
    storage = RecordingStorage()
    app, user = CountingStep("app"), CountingStep("user", ["app"])
    pipeline = TokenFetchPipeline([app, user], storage, lazy=True)
    pipeline.execute()
    elsewhere = RecordingStorage()
    TokenFetchPipeline([app, user], elsewhere).execute()
    reads = iter([None, elsewhere.tokens["user"]])
    read = storage.get_many

    def replaced_after_the_first_read(keys: list[str]) -> dict[str, TokenData]:
        found = read(keys)
        if (token := next(reads, None)) is not None:
            storage.tokens["user"] = found["user"] = token
        return found

    storage.get_many = replaced_after_the_first_read
    provider = PipelineTokenProvider(pipeline, "shop", refresh_from_step="user")
    assert provider.refresh().access_token == "user-3"
    assert list(user.contexts[-1]) == ["app"]


def test_fetched_and_cached_steps_are_told_apart(
    steps: dict[str, CountingStep], clock: Clock
) -> None:
    """Events tell which tokens of a lazy execution came from the cache."""
    pipeline = TokenFetchPipeline(steps.values(), InMemoryTokenStorage(), lazy=True)
    pipeline.execute()
    clock.advance(minutes=10)
    with recorded() as events:
        pipeline.execute()
    assert [e.step for e in events if isinstance(e, StepCached)] == ["app"]
    assert [e.step for e in events if isinstance(e, StepFetched)] == ["user"]
