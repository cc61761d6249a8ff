"""execute(force_refresh=True): new tokens for all steps, each replacing the old one on success."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from doubles import CountingStep, JsonStorage, RecordingStorage
from requestforge import (
    AuthenticationException,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
)
from requestforge.interfaces import TokenStorageInterface

pytestmark = pytest.mark.compat


@pytest.fixture
def app() -> CountingStep:
    """The first step."""
    return CountingStep("app")


@pytest.fixture
def user() -> CountingStep:
    """The step that needs the first."""
    return CountingStep("user", ["app"])


def test_every_step_is_fetched(app: CountingStep, user: CountingStep, storage: object) -> None:
    """force_refresh ignores the cache, and what it fetches is cached."""
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()
    assert pipeline.execute(True).access_token == "user-2"  # noqa: FBT003 - positional, as published
    assert user.contexts[1]["app"].access_token == "app-2"
    assert pipeline.execute().access_token == "user-2"
    assert (app.fetches, user.fetches) == (2, 2)


def test_an_empty_cache_is_filled(app: CountingStep, user: CountingStep) -> None:
    """force_refresh on an empty cache fetches each step once."""
    pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage())
    pipeline.execute(force_refresh=True)
    assert pipeline.execute().access_token == "user-1"
    assert (app.fetches, user.fetches) == (1, 1)


def test_old_tokens_are_replaced_never_deleted_first(app: CountingStep, user: CountingStep) -> None:
    """Nothing is deleted, and the old token is there while the new one is fetched."""
    storage = RecordingStorage()
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()
    seen: list[str] = []
    app.during = lambda: seen.append(storage.tokens["app"].access_token)
    pipeline.execute(force_refresh=True)
    assert seen == ["app-1"]
    assert storage.made("delete") == []


def test_a_failure_leaves_the_old_tokens(
    app: CountingStep, user: CountingStep, storage: object
) -> None:
    """A forced fetch that fails raises, and the cached tokens go on being served."""
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()
    app.failures = [LookupError("down")]
    with pytest.raises(AuthenticationException):
        pipeline.execute(force_refresh=True)
    assert pipeline.execute().access_token == "user-1"
    assert (app.fetches, user.fetches) == (2, 1)


def test_a_failure_keeps_the_new_upstream(app: CountingStep, user: CountingStep) -> None:
    """What a forced run fetched before its failure is cached."""
    pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage())
    pipeline.execute()
    user.failures = [LookupError("down")]
    with pytest.raises(AuthenticationException):
        pipeline.execute(force_refresh=True)
    pipeline.execute(force_refresh=False)
    assert (app.fetches, user.fetches) == (2, 2)
    pipeline.invalidate_step("user")
    pipeline.execute()
    assert user.contexts[-1]["app"].access_token == "app-2"


def test_a_token_that_is_not_to_be_cached_takes_the_old_one_with_it(storage: object) -> None:
    """A forced fetch whose token must not be cached leaves no older token to be served."""
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], storage)
    pipeline.execute()
    step.expires_in = 0
    assert pipeline.execute(force_refresh=True).access_token == "app-2"
    assert storage.exists("app") is False
    step.expires_in = None
    assert pipeline.execute().access_token == "app-3"


@pytest.mark.parametrize(
    "storage",
    [InMemoryTokenStorage(), RecordingStorage(), JsonStorage()],
    ids=["in memory", "shared", "json"],
)
def test_a_fetch_slower_than_a_newer_one_does_not_replace_it(
    app: CountingStep, storage: TokenStorageInterface
) -> None:
    """A forced fetch stores its token only over the one that it has read."""
    pipeline = TokenFetchPipeline([app], storage)
    pipeline.execute()
    other = RecordingStorage()
    newer = TokenFetchPipeline([CountingStep("app")], other).execute()
    app.during = lambda: storage.set("app", newer)
    assert pipeline.execute(force_refresh=True).access_token == "app-2"
    assert storage.get("app").generation == newer.generation
    assert pipeline.execute().generation == newer.generation


def in_threads(count: int, call: Callable[[], object]) -> list[threading.Thread]:
    """Threads that each make the call, started."""
    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


class Gate:
    """Lets the fetches of a step wait until the test opens it; tells how many have come."""

    def __init__(self) -> None:
        self._come = threading.Semaphore(0)
        self._open = threading.Semaphore(0)

    def __call__(self) -> None:
        self._come.release()
        assert self._open.acquire(timeout=20)

    def wait(self) -> None:
        """Return once one more fetch has come."""
        assert self._come.acquire(timeout=20)

    def open(self, times: int = 1) -> None:
        """Let that many fetches go on."""
        self._open.release(times)


@pytest.mark.parametrize(
    "forced",
    [
        pytest.param(lambda pipeline: pipeline.execute(force_refresh=True), id="execute"),
        pytest.param(
            lambda pipeline: PipelineTokenProvider(pipeline, "shop").refresh(), id="refresh"
        ),
    ],
)
def test_a_fetch_begun_before_the_call_is_not_enough(forced: Callable[..., TokenData]) -> None:
    """A forced call that finds a fetch of any step under way fetches that step again after it."""
    first, second = CountingStep("first"), CountingStep("second")
    pipeline = TokenFetchPipeline([first, second], InMemoryTokenStorage())
    gate = Gate()
    second.during = gate
    results: list[TokenData] = []
    [slow] = in_threads(1, lambda: results.append(pipeline.execute()))
    gate.wait()
    [late] = in_threads(1, lambda: results.append(forced(pipeline)))
    gate.open(2)
    slow.join(20)
    late.join(20)
    assert [token.access_token for token in results] == ["second-1", "second-2"]


def test_calls_during_one_fetch_share_the_next() -> None:
    """A burst of forced calls costs two fetches a step at most, of later steps too."""
    first, second = CountingStep("first"), CountingStep("second", ["first"])
    pipeline = TokenFetchPipeline([first, second], InMemoryTokenStorage())
    gates = {step.name: Gate() for step in (first, second)}
    first.during, second.during = gates["first"], gates["second"]
    [one] = in_threads(1, lambda: pipeline.execute(force_refresh=True))
    gates["first"].wait()
    others = in_threads(3, lambda: pipeline.execute(force_refresh=True))
    gates["first"].open(2)
    gates["second"].open(4)
    for thread in (one, *others):
        thread.join(20)
    assert first.fetches == 2
    assert second.fetches <= 2


def test_ttl_zero_is_fetched_once_in_a_forced_run() -> None:
    """A step that is never cached is fetched once by a forced run, too."""
    app = CountingStep("app", ttl=timedelta(0))
    user = CountingStep("user", ["app"])
    pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage())
    pipeline.execute(force_refresh=True)
    assert (app.fetches, user.fetches) == (1, 1)
