"""Managers shared by threads: one fetch for all of them, and rejected tokens told apart."""

from collections.abc import Callable

import pytest
from racing import STORAGE_IDS, STORAGES, Gate, Task, chain, fetches, together, values, watched

from doubles import Clock, CountingStep
from requestforge import PipelineTokenProvider, TokenData, TokenFetchPipeline, TokenManager
from requestforge.events import StepMissed
from requestforge.instrumentation import use_clock
from requestforge.interfaces import TokenProviderInterface, TokenStorageInterface

pytestmark = pytest.mark.compat


class CountingProvider(TokenProviderInterface):
    """A provider whose n-th token is `token-<n>`."""

    service_name = "api"

    def __init__(self) -> None:
        self.step = CountingStep("token")

    def fetch_token(self) -> TokenData:
        return self.step.fetch()

    def refresh_token(self, current_token: TokenData) -> TokenData:
        return self.step.fetch({"current": current_token})


@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
@pytest.mark.parametrize("from_step", [None, "device", "user"])
def test_32_threads_with_one_revoked_token_refresh_it_once(
    make_storage: Callable[[], TokenStorageInterface], from_step: str | None
) -> None:
    """All threads that a server has refused one token get the same new one, for one fetch."""
    steps = chain()
    pipeline = TokenFetchPipeline(steps, make_storage())
    manager = TokenManager(PipelineTokenProvider(pipeline, "api", from_step))
    revoked = manager.get_token()
    outcomes = together(32, lambda: manager.refresh(revoked))
    assert values(outcomes) == {"user-2"}
    assert fetches(steps) == ([1, 1, 2] if from_step == "user" else [2, 2, 2])


@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
def test_32_threads_with_the_revoked_token_of_a_provider_refresh_it_once(
    make_storage: Callable[[], TokenStorageInterface],
) -> None:
    """A provider without a cache of its own is asked once for all threads, too."""
    provider = CountingProvider()
    manager = TokenManager(provider, make_storage())
    revoked = manager.get_token()
    assert values(together(32, lambda: manager.refresh(revoked))) == {"token-2"}
    assert provider.step.fetches == 2


def test_32_threads_on_an_empty_manager_ask_its_provider_once() -> None:
    """A provider is asked once for all threads that find no token."""
    provider = CountingProvider()
    manager = TokenManager(provider)
    assert values(together(32, manager.get_token)) == {"token-1"}
    assert provider.step.fetches == 1


def test_waiters_of_a_manager_get_the_providers_error() -> None:
    """Each caller gets an exception of the provider's class, and no two the same object."""
    provider = CountingProvider()
    provider.step.failure = OSError("The server is down.")
    provider.step.during = gate = Gate()
    manager = TokenManager(provider)
    with watched() as watch:
        tasks = [Task(manager.get_token) for _ in range(8)]
        watch.until(8, StepMissed, "api")
        gate.open()
        errors = [task.error() for task in tasks]
    assert [(type(error), str(error)) for error in errors] == [(OSError, "The server is down.")] * 8
    assert len({id(error) for error in errors}) == 8
    assert provider.step.fetches == 1


def test_forced_calls_of_a_manager_share_a_fetch() -> None:
    """force_refresh of 16 threads asks a provider at most twice."""
    provider = CountingProvider()
    manager = TokenManager(provider)
    provider.step.during = gate = Gate()
    with watched() as watch:
        early = Task(manager.force_refresh)
        gate.until_reached()
        late = [Task(manager.force_refresh) for _ in range(15)]
        watch.until(15, StepMissed, "api")
        gate.open()
        assert early.result().access_token == "token-1"
        assert values([task.result() for task in late]) == {"token-2"}


def test_a_manager_and_its_pipeline_share_flights() -> None:
    """A call of the pipeline itself joins the fetch that a manager has begun."""
    steps = chain()
    pipeline = TokenFetchPipeline(steps, STORAGES[0]())
    manager = TokenManager(PipelineTokenProvider(pipeline, "api"))
    steps[2].during = gate = Gate()
    with watched() as watch:
        first = Task(manager.get_token)
        gate.until_reached()
        second = Task(pipeline.execute)
        watch.until(2, StepMissed, "user")
        gate.open()
        assert first.result() == second.result()
    assert fetches(steps) == [1, 1, 1]


def test_a_slow_refresher_does_not_undo_an_acceptance() -> None:
    """A token that one thread saw accepted is news when rejected, though another got it later."""
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], STORAGES[0]())
    manager = TokenManager(PipelineTokenProvider(pipeline, "api"))
    revoked = manager.get_token()
    slow_gate = Gate()

    class SlowOnce(PipelineTokenProvider):
        def refresh(self, rejected: TokenData | None = None) -> TokenData:
            token = super().refresh(rejected)
            slow_gate()
            return token

    slow_manager = TokenManager(SlowOnce(pipeline, "api"))
    slow = Task(lambda: slow_manager.refresh(revoked))
    slow_gate.until_reached()
    second = slow_manager.refresh(revoked)
    slow_manager.accepted(second)
    slow_gate.open()
    assert slow.result() == second
    assert slow_manager.refresh(second).access_token == "app-3"


def test_a_rejected_text_is_fetched_anew_whichever_fetch_gave_it() -> None:
    """A provider that gives the same text twice is asked again when that text is rejected."""

    class Constant(CountingProvider):
        def fetch_token(self) -> TokenData:
            super().fetch_token()
            return TokenData("always the same")

    provider = Constant()
    manager = TokenManager(provider)
    first = manager.get_token()
    manager.force_refresh()
    manager.refresh(first)
    assert provider.step.fetches == 3


def test_reject_interval_is_not_stretched_by_another_clock() -> None:
    """A clock put in place between two rejections does not keep the second from a fetch."""
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], STORAGES[0]())
    manager = TokenManager(PipelineTokenProvider(pipeline, "api"))
    token = manager.refresh(manager.get_token())
    with use_clock(Clock(monotonic=-1e9)) as clock:
        clock.advance(seconds=11)
        assert manager.refresh(token).access_token == "app-3"
