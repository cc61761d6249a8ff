"""PipelineTokenProvider: fetch, refresh by the rejected token, refresh_token and invalidate."""

from datetime import timedelta

import pytest

from doubles import Clock, CountingStep, RecordingStorage, SixFieldStorage, recorded
from requestforge import (
    AuthenticationException,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
)
from requestforge.events import RefreshFailed

pytestmark = pytest.mark.compat

LAZY = pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
FROM = pytest.mark.parametrize(
    ("from_step", "expected"),
    [
        pytest.param(None, [2, 2, 2], id="all"),
        pytest.param("device", [2, 2, 2], id="from device"),
        pytest.param("app", [1, 2, 2], id="from app"),
        pytest.param("user", [1, 1, 2], id="from user"),
    ],
)


@pytest.fixture
def steps() -> list[CountingStep]:
    """Device ← app ← user."""
    return [
        CountingStep("device"),
        CountingStep("app", ["device"], ttl=timedelta(hours=1)),
        CountingStep("user", ["app"], ttl=timedelta(minutes=15)),
    ]


def provider(
    steps: list[CountingStep],
    storage: object = None,
    from_step: str | None = None,
    *,
    lazy: bool = False,
) -> PipelineTokenProvider:
    """A provider over a pipeline of those steps."""
    pipeline = TokenFetchPipeline(
        steps, InMemoryTokenStorage() if storage is None else storage, "shop", lazy=lazy
    )
    return PipelineTokenProvider(pipeline, "shop", from_step)


def fetches(steps: list[CountingStep]) -> list[int]:
    """How often each step was fetched."""
    return [step.fetches for step in steps]


def test_fetch_token_executes_the_pipeline(steps: list[CountingStep], storage: object) -> None:
    """fetch_token gives the last token, cached if possible."""
    shop = provider(steps, storage)
    assert shop.fetch_token().access_token == "user-1"
    assert shop.fetch_token() == shop.pipeline.execute()
    assert fetches(steps) == [1, 1, 1]


@FROM
@LAZY
def test_refresh_token_fetches_the_step_and_its_dependents(
    steps: list[CountingStep],
    storage: object,
    from_step: str | None,
    expected: list[int],
    lazy: bool,
) -> None:
    """refresh_token invalidates from the step on, and takes the others from the cache."""
    shop = provider(steps, storage, from_step, lazy=lazy)
    token = shop.fetch_token()
    assert shop.refresh_token(token).access_token == "user-2"
    assert shop.fetch_token().access_token == "user-2"
    assert fetches(steps) == expected


def test_refresh_token_ignores_its_argument(steps: list[CountingStep]) -> None:
    """refresh_token fetches whatever token it is given, each time."""
    shop = provider(steps)
    old = shop.fetch_token()
    assert shop.refresh_token(old).access_token == "user-2"
    assert shop.refresh_token(old).access_token == "user-3"
    assert shop.refresh_token(TokenData("foreign")).access_token == "user-4"


def test_refresh_token_that_fails_has_given_up_the_old_tokens(steps: list[CountingStep]) -> None:
    """refresh_token invalidates before it fetches."""
    shop = provider(steps)
    old = shop.fetch_token()
    steps[0].failures = [LookupError("down")]
    with pytest.raises(AuthenticationException):
        shop.refresh_token(old)
    assert shop.fetch_token().access_token == "user-2"


@FROM
@LAZY
def test_refresh_of_the_current_token_fetches(
    steps: list[CountingStep],
    storage: object,
    from_step: str | None,
    expected: list[int],
    lazy: bool,
) -> None:
    """A rejected token that is the current one is replaced by a fetch of the same steps."""
    shop = provider(steps, storage, from_step, lazy=lazy)
    rejected = shop.fetch_token()
    assert shop.refresh(rejected).access_token == "user-2"
    assert shop.fetch_token().access_token == "user-2"
    assert fetches(steps) == expected
    upstream = {name: token.access_token for name, token in steps[2].contexts[1].items()}
    assert upstream["app"] == f"app-{expected[1]}"


@FROM
@LAZY
def test_refresh_of_nothing_fetches(
    steps: list[CountingStep],
    storage: object,
    from_step: str | None,
    expected: list[int],
    lazy: bool,
) -> None:
    """refresh(None) fetches unconditionally."""
    shop = provider(steps, storage, from_step, lazy=lazy)
    shop.fetch_token()
    assert shop.refresh().access_token == "user-2"
    assert shop.fetch_token().access_token == "user-2"
    assert fetches(steps) == expected


def test_refresh_of_an_older_token_gives_the_current_one(
    steps: list[CountingStep], storage: object
) -> None:
    """A rejected token that is no longer current costs no fetch."""
    shop = provider(steps, storage)
    old = shop.fetch_token()
    new = shop.refresh(old)
    for _ in range(3):
        assert shop.refresh(old) == new
    assert fetches(steps) == [2, 2, 2]


def test_refresh_compares_generations_not_values(steps: list[CountingStep]) -> None:
    """A server that gives the same text twice has given two tokens."""
    steps[2].fetch = lambda _=None: TokenData("same")
    shop = provider(steps)
    old = shop.fetch_token()
    new = shop.refresh(old)
    assert new.access_token == old.access_token
    assert new.generation != old.generation
    assert shop.refresh(old).generation == new.generation
    assert steps[0].fetches == 2


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param(lambda _: TokenData("by hand"), id="by hand"),
        pytest.param(
            lambda _: TokenFetchPipeline([CountingStep("x")], InMemoryTokenStorage()).execute(),
            id="another pipeline's",
        ),
        pytest.param(lambda token: TokenData(token.access_token), id="a copy without generation"),
    ],
)
def test_refresh_of_an_unknown_token_fetches(steps: list[CountingStep], foreign: object) -> None:
    """A token of other origin tells nothing, so that new ones are fetched."""
    shop = provider(steps)
    token = shop.fetch_token()
    assert shop.refresh(foreign(token)).access_token == "user-2"
    assert fetches(steps) == [2, 2, 2]


def test_refresh_knows_its_token_after_a_pickle_or_a_dict(steps: list[CountingStep]) -> None:
    """The generation survives to_dict and from_dict, and with it the comparison."""
    shop = provider(steps)
    old = shop.fetch_token()
    shop.refresh(old)
    again = TokenData.from_dict(old.to_dict())
    assert shop.refresh(again).access_token == "user-2"


def test_refresh_of_a_stored_token_without_generation(storage: object) -> None:
    """A stored token of other making is known by its value: refreshing it once fetches once."""
    storage.set("shop:app", TokenData("mine"))
    step = CountingStep("app")
    shop = provider([step], storage)
    old = shop.fetch_token()
    assert old.access_token == "mine"
    assert shop.refresh(old).access_token == "app-1"
    assert shop.refresh(old).access_token == "app-1"
    assert step.fetches == 1


def test_refresh_in_a_six_field_storage_replaces_the_rejected_token() -> None:
    """Where the storage loses the generation the current token is told all the same."""
    storage = SixFieldStorage()
    step = CountingStep("app")
    shop = provider([step], storage)
    old = shop.fetch_token()
    assert shop.refresh(old).access_token == "app-2"
    elsewhere = SixFieldStorage()
    elsewhere.texts = storage.texts
    other = provider([step], elsewhere)
    read = other.fetch_token()
    assert read.access_token == "app-2"
    assert other.refresh(read).access_token == "app-3"


def test_refresh_on_an_empty_cache_fetches_each_step_once(
    steps: list[CountingStep], storage: object
) -> None:
    """With nothing cached a refresh is an execution."""
    shop = provider(steps, storage)
    assert shop.refresh().access_token == "user-1"
    assert fetches(steps) == [1, 1, 1]


@pytest.mark.parametrize("rejects", [True, False], ids=["rejected", "None"])
def test_refresh_after_the_token_ended_gives_a_new_one(
    steps: list[CountingStep], storage: object, clock: Clock, rejects: bool
) -> None:
    """A rejected token that has ended meanwhile is replaced."""
    shop = provider(steps, storage, "user")
    rejected = shop.fetch_token()
    clock.advance(minutes=15)
    assert shop.refresh(rejected if rejects else None).access_token == "user-2"
    assert fetches(steps) == [1, 1, 2]


def test_refresh_after_an_invalidation_gives_a_new_token(
    steps: list[CountingStep], storage: object
) -> None:
    """A rejected token that was invalidated meanwhile is replaced without more than that."""
    shop = provider(steps, storage)
    rejected = shop.fetch_token()
    shop.pipeline.invalidate_step("user")
    assert shop.refresh(rejected).access_token == "user-2"
    assert fetches(steps) == [1, 1, 2]


@pytest.mark.parametrize("rejects", [True, False], ids=["rejected", "None"])
def test_a_failing_first_fetch_leaves_the_old_tokens(
    steps: list[CountingStep], storage: object, rejects: bool
) -> None:
    """If the first fetch of a refresh fails, everything stays as it was."""
    shop = provider(steps, storage)
    old = shop.fetch_token()
    steps[0].failures = [LookupError("down")]
    with pytest.raises(AuthenticationException) as caught:
        shop.refresh(old if rejects else None)
    assert caught.value.service_name == "device"
    assert shop.fetch_token() == old
    assert fetches(steps) == [2, 1, 1]


def test_the_first_new_token_gives_up_the_old_ones(
    steps: list[CountingStep], storage: object
) -> None:
    """A later fetch that fails leaves no old token that depends on a replaced one."""
    shop = provider(steps, storage)
    old = shop.fetch_token()
    steps[2].failures = [LookupError("down")]
    with pytest.raises(AuthenticationException) as caught:
        shop.refresh(old)
    assert caught.value.service_name == "user"
    assert shop.fetch_token().access_token == "user-3"
    assert fetches(steps) == [2, 2, 3]


def test_a_step_beside_is_given_up_with_the_first_new_token(storage: object) -> None:
    """All steps to refresh go when the first new token is there, related or not."""
    steps = [CountingStep("a"), CountingStep("b"), CountingStep("c")]
    shop = provider(steps, storage)
    old = shop.fetch_token()
    steps[1].failures = [LookupError("down")]
    with pytest.raises(AuthenticationException):
        shop.refresh(old)
    assert not storage.exists("shop:c")
    assert shop.fetch_token().access_token == "c-2"
    assert fetches(steps) == [2, 3, 2]


def test_a_failed_refresh_is_told(steps: list[CountingStep]) -> None:
    """Observers hear which step a refresh failed at."""
    shop = provider(steps)
    shop.fetch_token()
    steps[1].failure = LookupError("down")
    with recorded() as events, pytest.raises(AuthenticationException):
        shop.refresh()
    [failed] = [event for event in events if isinstance(event, RefreshFailed)]
    assert (failed.pipeline, failed.step) == ("shop", "app")
    assert "down" in failed.error


def test_a_failed_refresh_without_observers_raises_alone(steps: list[CountingStep]) -> None:
    """Without observers the failure is an exception and nothing else."""
    shop = provider(steps)
    steps[0].failure = LookupError("down")
    with pytest.raises(AuthenticationException):
        shop.refresh()


def test_refresh_renews_a_step_that_is_never_cached(storage: object) -> None:
    """A step with ttl 0 among the steps to refresh is fetched once."""
    app = CountingStep("app", ttl=timedelta(0))
    user = CountingStep("user", ["app"])
    shop = provider([app, user], storage)
    old = shop.fetch_token()
    assert shop.refresh(old).access_token == "user-2"
    assert (app.fetches, user.fetches) == (2, 2)


def test_old_tokens_stay_until_the_first_new_one(steps: list[CountingStep]) -> None:
    """While the first fetch of a refresh goes on, the old tokens are served to others."""
    storage = RecordingStorage()
    shop = provider(steps, storage)
    old = shop.fetch_token()
    seen: list[set[str]] = []
    for step in steps:
        step.during = lambda: seen.append({key for key in storage.tokens if "#" not in key})
    shop.refresh(old)
    assert seen == [
        {"shop:device", "shop:app", "shop:user"},
        {"shop:device"},
        {"shop:device", "shop:app"},
    ]


@FROM
def test_invalidate_fetches_nothing(
    steps: list[CountingStep], storage: object, from_step: str | None, expected: list[int]
) -> None:
    """Invalidate gives up the same steps as a refresh, for the next caller to fetch."""
    shop = provider(steps, storage, from_step)
    shop.fetch_token()
    shop.invalidate()
    assert fetches(steps) == [1, 1, 1]
    shop.fetch_token()
    assert fetches(steps) == expected


def test_a_refresh_token_is_used_by_a_refresh(storage: object) -> None:
    """A refresh of a step whose stored token has a refresh token asks the step to refresh."""
    step = CountingStep("app", refresh_token="again")
    asked: list[str] = []

    def refresh(expired: TokenData, context: object = None) -> TokenData:
        del context
        asked.append(expired.access_token)
        return TokenData("renewed", refresh_token="again")

    step.refresh = refresh
    shop = provider([step], storage)
    shop.refresh(shop.fetch_token())
    assert asked == ["app-1"]


def test_a_rejected_token_that_is_never_cached_is_refreshed_from_the_named_step(
    clock: Clock,
) -> None:
    """The last token is fetched for each call; what it was bought with may be what is refused."""
    app = CountingStep("app", ttl=timedelta(hours=1))
    user = CountingStep("user", ["app"], ttl=timedelta(0))
    pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage())
    rejected = pipeline.execute()
    clock.advance(minutes=1)
    assert pipeline.refresh(rejected, from_step="app").access_token == "user-2"
    assert (app.fetches, user.fetches) == (2, 2)
    assert pipeline.refresh(rejected, from_step="app").access_token == "user-3"
    assert app.fetches == 2


def test_a_token_that_died_during_the_fetch_of_an_earlier_one_is_fetched_too(clock: Clock) -> None:
    """Reading it took place before; by the time that it is its turn, its use has ended."""
    app = CountingStep("app", ttl=timedelta(minutes=5))
    user = CountingStep("user", ["app"], ttl=timedelta(minutes=6))
    pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage())
    pipeline.execute()
    clock.advance(minutes=5)
    app.takes = 90.0
    assert pipeline.execute().access_token == "user-2"
    assert (app.fetches, user.fetches) == (2, 2)
