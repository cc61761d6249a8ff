"""One execution: order, context, cache, and refresh tokens."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from doubles import (
    BasicStorage,
    Clock,
    CountingStep,
    JsonStorage,
    RecordingStorage,
)
from requestforge import (
    InMemoryTokenStorage,
    TokenData,
    TokenFetchPipeline,
)

LAZY = pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])


def test_steps_run_in_the_order_given() -> None:
    """Steps are fetched in list order, and the last one's token is the result."""
    order: list[str] = []
    steps = [CountingStep(name) for name in "abc"]
    for step in steps:
        step.during = lambda name=step.name: order.append(name)
    assert TokenFetchPipeline(steps, InMemoryTokenStorage()).execute().access_token == "c-1"
    assert order == ["a", "b", "c"]


def test_a_second_execution_fetches_nothing(
    app: CountingStep, user: CountingStep, storage: object, clock: Clock
) -> None:
    """What was fetched is served from any storage until it ends."""
    del clock
    pipeline = TokenFetchPipeline([app, user], storage)
    first = pipeline.execute()
    for _ in range(3):
        assert pipeline.execute() == first
        assert pipeline.execute().generation == first.generation
    assert (app.fetches, user.fetches) == (1, 1)


def test_another_pipeline_finds_the_tokens_in_the_storage(
    app: CountingStep, user: CountingStep, storage: object
) -> None:
    """A pipeline made later on the same storage and prefix uses what is cached."""
    first = TokenFetchPipeline([app, user], storage, "shop").execute()
    second = TokenFetchPipeline([app, user], storage, "shop").execute()
    assert first == second
    assert user.fetches == 1


@pytest.mark.parametrize(
    ("prefix", "keys"),
    [
        pytest.param("shop", {"shop:app", "shop:user"}, id="prefix"),
        pytest.param("", {"app", "user"}, id="no prefix"),
    ],
)
def test_keys_are_prefix_and_step(
    app: CountingStep, user: CountingStep, prefix: str, keys: set[str]
) -> None:
    """The storage keys are those that the API names."""
    storage = BasicStorage()
    TokenFetchPipeline([app, user], storage, cache_key_prefix=prefix).execute()
    assert set(storage.tokens) == keys


def test_pipelines_with_other_prefixes_have_tokens_of_their_own(app: CountingStep) -> None:
    """Two prefixes on one storage do not share tokens."""
    storage = InMemoryTokenStorage()
    one = TokenFetchPipeline([app], storage, "one").execute()
    two = TokenFetchPipeline([app], storage, "two").execute()
    assert (one.access_token, two.access_token) == ("app-1", "app-2")


def test_everything_cached_takes_one_batched_read(app: CountingStep, user: CountingStep) -> None:
    """An execution from the cache makes one call to the storage, for keys and epochs."""
    storage = RecordingStorage()
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()
    storage.calls.clear()
    pipeline.execute()
    assert storage.calls == [("get_many", "user#epoch,app#epoch,app,user")]


def test_an_unshared_storage_is_read_without_epochs(app: CountingStep, user: CountingStep) -> None:
    """Epochs of a storage that no other process sees are not stored there."""
    storage = RecordingStorage(shared=False)
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()
    storage.calls.clear()
    pipeline.execute()
    assert storage.calls == [("get_many", "app,user")]


def test_the_context_holds_the_earlier_tokens() -> None:
    """Each fetch gets a new dict of all earlier tokens, the first one None."""
    steps = [CountingStep("a"), CountingStep("b"), CountingStep("c", ["a"])]
    contexts = steps[1].contexts
    steps[1].during = lambda: [context.clear() for context in contexts]
    TokenFetchPipeline(steps, InMemoryTokenStorage()).execute()
    assert steps[0].contexts == [None]
    [context] = steps[2].contexts
    assert {name: token.access_token for name, token in context.items()} == {"a": "a-1", "b": "b-1"}


def test_the_context_holds_cached_tokens_too(app: CountingStep, user: CountingStep) -> None:
    """A step that is fetched later gets its upstream's token from the cache."""
    storage = InMemoryTokenStorage()
    first = TokenFetchPipeline([app], storage).execute()
    TokenFetchPipeline([app, user], storage).execute()
    assert user.contexts == [{"app": first}]
    assert user.contexts[0]["app"].generation == first.generation


def test_tokens_of_the_context_carry_their_effective_expiry(
    app: CountingStep, user: CountingStep, clock: Clock
) -> None:
    """The context shows the token as it is stored."""
    TokenFetchPipeline([app, user], InMemoryTokenStorage()).execute()
    assert user.contexts[0]["app"].expires_at == clock.now() + timedelta(hours=1)


def test_each_fetch_has_a_generation_of_its_own(app: CountingStep) -> None:
    """Tokens of two fetches differ in generation, even if their text is the same."""
    app.fetch = lambda _=None: TokenData("same")
    pipeline = TokenFetchPipeline([app], InMemoryTokenStorage())
    generations = {pipeline.execute(force_refresh=True).generation for _ in range(3)}
    assert len(generations) == 3
    assert None not in generations
    assert pipeline.execute().generation in generations


def test_a_token_of_the_users_own_making_is_served(storage: object) -> None:
    """What was put under the key by other means is a token like any other, with a generation."""
    storage.set("app", TokenData("mine", expires_at=datetime(2100, 1, 1, tzinfo=UTC)))
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], storage)
    token = pipeline.execute()
    assert token.access_token == "mine"
    assert token.generation is not None
    assert pipeline.execute().generation == token.generation
    assert step.fetches == 0


def test_tokens_of_equal_making_have_equal_generations_only_under_one_key() -> None:
    """The generation derived for a stored token without one belongs to its key."""
    storage = InMemoryTokenStorage()
    storage.set("a", TokenData("mine"))
    storage.set("b", TokenData("mine"))
    tokens = [TokenFetchPipeline([CountingStep(name)], storage).execute() for name in "ab"]
    assert tokens[0].generation != tokens[1].generation


def test_an_expired_token_with_a_refresh_token_is_refreshed(clock: Clock, storage: object) -> None:
    """A step that overrides refresh gets the stored token that has expired."""
    step = CountingStep("app", ttl=timedelta(minutes=1), refresh_token="again")
    asked: list[object] = []

    def refresh(expired: TokenData, context: object = None) -> TokenData:
        asked.append((expired.access_token, expired.refresh_token, context))
        return TokenData("renewed")

    step.refresh = refresh
    pipeline = TokenFetchPipeline([step], storage)
    pipeline.execute()
    clock.advance(minutes=1)
    assert pipeline.execute().access_token == "renewed"
    assert asked == [("app-1", "again", None)]
    assert step.fetches == 1


def test_refresh_is_a_fetch_unless_overridden(clock: Clock) -> None:
    """A step that does not override refresh fetches."""
    step = CountingStep("app", ttl=timedelta(minutes=1), refresh_token="again")
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    pipeline.execute()
    clock.advance(minutes=1)
    assert pipeline.execute().access_token == "app-2"


def test_a_bare_step_is_fetched_even_with_a_refresh_token(clock: Clock) -> None:
    """Refresh is a newer member: it is used on the interface's instances only."""
    source = CountingStep("app", refresh_token="again")
    step = SimpleNamespace(
        name="app", fetch=source.fetch, ttl=timedelta(minutes=1), refresh=pytest.fail
    )
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    pipeline.execute()
    clock.advance(minutes=1)
    assert pipeline.execute().access_token == "app-2"


def test_an_invalidated_token_is_not_refreshed() -> None:
    """The refresh token goes with its token on invalidation."""
    step = CountingStep("app", refresh_token="again")
    step.refresh = pytest.fail
    pipeline = TokenFetchPipeline([step], JsonStorage())
    pipeline.execute()
    pipeline.invalidate_all()
    assert pipeline.execute().access_token == "app-2"
