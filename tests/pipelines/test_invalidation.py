"""invalidate_step and invalidate_all: what they take with them, and what they leave."""

from datetime import timedelta

import pytest

from doubles import Clock, CountingStep, RecordingStorage, SixFieldStorage
from requestforge import InMemoryTokenStorage, TokenData, TokenFetchPipeline

pytestmark = pytest.mark.compat


@pytest.fixture
def steps() -> dict[str, CountingStep]:
    """Device ← app ← user, and one step beside them."""
    made = [
        CountingStep("device", ttl=timedelta(days=30)),
        CountingStep("app", ["device"], ttl=timedelta(hours=1)),
        CountingStep("other"),
        CountingStep("user", ["app"], ttl=timedelta(minutes=15)),
    ]
    return {step.name: step for step in made}


def fetches(steps: dict[str, CountingStep]) -> list[int]:
    """How often each step was fetched."""
    return [step.fetches for step in steps.values()]


@pytest.mark.parametrize(
    ("invalidated", "expected"),
    [
        pytest.param("user", [1, 1, 1, 2], id="the last"),
        pytest.param("app", [1, 2, 1, 2], id="the middle"),
        pytest.param("device", [2, 2, 1, 2], id="the first"),
        pytest.param("other", [1, 1, 2, 1], id="one beside"),
    ],
)
def test_a_step_goes_with_its_dependents(
    steps: dict[str, CountingStep], storage: object, invalidated: str, expected: list[int]
) -> None:
    """After an invalidation the step and its transitive dependents are fetched, no other."""
    pipeline = TokenFetchPipeline(steps.values(), storage)
    pipeline.execute()
    pipeline.invalidate_step(invalidated)
    pipeline.execute()
    pipeline.execute()
    assert fetches(steps) == expected


def test_everything_goes(steps: dict[str, CountingStep], storage: object) -> None:
    """After invalidate_all every step is fetched."""
    pipeline = TokenFetchPipeline(steps.values(), storage)
    pipeline.execute()
    pipeline.invalidate_all()
    assert not [name for name in steps if storage.exists(name)]
    pipeline.execute()
    assert fetches(steps) == [2, 2, 2, 2]


def test_an_unknown_step_is_refused(steps: dict[str, CountingStep]) -> None:
    """invalidate_step of an unknown name is a ValueError that names the known ones."""
    pipeline = TokenFetchPipeline(steps.values(), InMemoryTokenStorage())
    with pytest.raises(ValueError, match=r"'usr'.*device, app, other, user"):
        pipeline.invalidate_step("usr")


def test_invalidating_an_empty_cache_is_fine(
    steps: dict[str, CountingStep], storage: object
) -> None:
    """What is not there can be invalidated."""
    pipeline = TokenFetchPipeline(steps.values(), storage)
    pipeline.invalidate_all()
    pipeline.invalidate_step("app")
    assert pipeline.execute().access_token == "user-1"


def test_invalidating_twice_fetches_once(steps: dict[str, CountingStep], storage: object) -> None:
    """Two invalidations in a row are as good as one."""
    pipeline = TokenFetchPipeline(steps.values(), storage)
    pipeline.execute()
    pipeline.invalidate_step("user")
    pipeline.invalidate_step("user")
    pipeline.execute()
    assert fetches(steps) == [1, 1, 1, 2]


def test_ancestors_go_first_each_epoch_before_its_record(steps: dict[str, CountingStep]) -> None:
    """Per key the epoch is set and then the record deleted, ancestors before descendants."""
    storage = RecordingStorage()
    pipeline = TokenFetchPipeline(steps.values(), storage, "shop")
    pipeline.invalidate_step("device")
    assert storage.calls == [
        (operation, f"shop:{step}{suffix}")
        for step in ("device", "app", "user")
        for operation, suffix in (("set", "#epoch"), ("delete", ""))
    ]


def test_only_the_keys_of_the_pipeline_are_touched(steps: dict[str, CountingStep]) -> None:
    """A pipeline with another prefix on the same storage keeps its tokens."""
    storage = InMemoryTokenStorage()
    one = TokenFetchPipeline(steps.values(), storage, "one")
    two = TokenFetchPipeline(steps.values(), storage, "two")
    one.execute()
    two.execute()
    one.invalidate_all()
    two.execute()
    assert fetches(steps) == [2, 2, 2, 2]


def test_every_pipeline_on_the_storage_sees_it(
    steps: dict[str, CountingStep], storage: object
) -> None:
    """An invalidation through one pipeline reaches another one on the same storage and keys."""
    one, two = (TokenFetchPipeline(steps.values(), storage) for _ in range(2))
    one.execute()
    assert two.execute() == one.execute()
    two.invalidate_step("app")
    assert one.execute().access_token == "user-2"
    assert two.execute().access_token == "user-2"
    assert fetches(steps) == [1, 2, 1, 2]


def test_a_fetch_under_way_answers_its_caller_and_is_not_cached(storage: object) -> None:
    """What is invalidated during its own fetch goes to the caller of that fetch alone."""
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], storage)
    step.during = lambda: pipeline.invalidate_step("app")
    assert pipeline.execute().access_token == "app-1"
    step.during = None
    assert not storage.exists("app")
    assert pipeline.execute().access_token == "app-2"


def test_what_was_derived_before_an_invalidation_is_not_cached(
    steps: dict[str, CountingStep], storage: object
) -> None:
    """An upstream invalidated during the fetch of its dependent is fetched for the next caller."""
    pipeline = TokenFetchPipeline(steps.values(), storage)
    steps["user"].during = lambda: pipeline.invalidate_step("app")
    assert pipeline.execute().access_token == "user-1"
    steps["user"].during = None
    assert not storage.exists("user")
    pipeline.execute()
    assert fetches(steps) == [1, 2, 1, 2]
    assert steps["user"].contexts[1]["app"].access_token == "app-2"


def test_an_upstream_invalidated_between_two_fetches_is_fetched_again(
    steps: dict[str, CountingStep], storage: object
) -> None:
    """A run whose upstream is invalidated before the next step begins goes back to it."""
    pipeline = TokenFetchPipeline(steps.values(), storage)

    def once() -> None:
        steps["other"].during = None
        pipeline.invalidate_step("app")

    steps["other"].during = once
    assert pipeline.execute().access_token == "user-1"
    assert fetches(steps) == [1, 2, 1, 1]
    assert steps["user"].contexts[0]["app"].access_token == "app-2"
    assert pipeline.execute().access_token == "user-1"


def test_a_run_that_is_invalidated_without_end_comes_to_an_end(storage: object) -> None:
    """A run that others invalidate each time it looks gives its tokens, uncached, and stops."""
    app, user = CountingStep("app"), CountingStep("user", ["app"])
    pipeline = TokenFetchPipeline([app, user], storage)
    app.during = lambda: pipeline.invalidate_step("app")
    assert pipeline.execute().access_token == "user-1"
    assert 2 <= app.fetches < 20
    assert not storage.exists("app")
    assert not storage.exists("user")
    app.during = None
    assert pipeline.execute().access_token == "user-2"


def test_a_fetch_may_invalidate_another_key(storage: object) -> None:
    """A fetch that invalidates a step beside it does not disturb itself."""
    side = CountingStep("side")
    app = CountingStep("app")
    pipeline = TokenFetchPipeline([side, app], storage)
    app.during = lambda: pipeline.invalidate_step("side")
    assert pipeline.execute().access_token == "app-1"
    app.during = None
    assert pipeline.execute().access_token == "app-1"
    assert (side.fetches, app.fetches) == (2, 1)


def test_a_token_put_in_after_an_invalidation_is_served() -> None:
    """A token that somebody stores in the memory of this process after an invalidation counts."""
    storage = InMemoryTokenStorage()
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], storage)
    pipeline.execute()
    pipeline.invalidate_step("app")
    storage.set("app", TokenData("mine"))
    assert pipeline.execute().access_token == "mine"
    assert step.fetches == 0 + 1


def test_expired_and_invalidated_tokens_are_both_gone(storage: object, clock: Clock) -> None:
    """A dead token can be invalidated, too."""
    step = CountingStep("app", ttl=timedelta(minutes=1))
    pipeline = TokenFetchPipeline([step], storage)
    pipeline.execute()
    clock.advance(minutes=1)
    pipeline.invalidate_step("app")
    assert pipeline.execute().access_token == "app-2"
    clock.advance(seconds=59)
    assert pipeline.execute().access_token == "app-2"


def test_a_six_field_storage_is_filled_anew_after_an_invalidation() -> None:
    """A storage that keeps no generation caches again once the step was fetched anew."""
    storage = SixFieldStorage(shared=False)
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], storage)
    for number in range(1, 4):
        assert pipeline.execute().access_token == f"app-{number}"
        assert pipeline.execute().access_token == f"app-{number}"
        pipeline.invalidate_all()
