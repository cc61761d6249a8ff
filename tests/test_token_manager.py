"""TokenManager over a pipeline, and rejections in a row."""

import copy
import pickle
from collections.abc import Callable
from datetime import timedelta
from unittest.mock import MagicMock

import pytest

from doubles import (
    Clock,
    CountingProvider,
    CountingStep,
    RecordingStorage,
)
from requestforge import (
    AuthenticationException,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.instrumentation import use_clock
from requestforge.interfaces import TokenManagerInterface, TokenProviderInterface

pytestmark = pytest.mark.compat


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    with use_clock(Clock()) as clock:
        yield clock


@pytest.fixture
def steps() -> list[CountingStep]:
    """App ← user."""
    return [
        CountingStep("app", ttl=timedelta(hours=1)),
        CountingStep("user", ["app"], ttl=timedelta(minutes=15)),
    ]


@pytest.fixture
def pipeline(steps: list[CountingStep]) -> TokenFetchPipeline:
    """A pipeline of the steps."""
    return TokenFetchPipeline(steps, InMemoryTokenStorage())


def over(pipeline: TokenFetchPipeline, from_step: str | None = None) -> TokenManager:
    """A manager over the pipeline."""
    return TokenManager(PipelineTokenProvider(pipeline, "shop", from_step))


def test_a_pipeline_is_asked_each_time(
    steps: list[CountingStep], pipeline: TokenFetchPipeline, clock: Clock
) -> None:
    """The manager keeps no copy: what the pipeline gives is what it gives."""
    manager = over(pipeline)
    assert manager.get_token() == pipeline.execute()
    pipeline.invalidate_step("user")
    assert manager.get_token().access_token == "user-2"
    pipeline.execute(force_refresh=True)
    assert manager.get_token().access_token == "user-3"
    clock.advance(minutes=15)
    assert manager.get_token().access_token == "user-4"
    assert steps[0].fetches == 2


def test_the_storage_of_a_manager_over_a_pipeline_is_unused(pipeline: TokenFetchPipeline) -> None:
    """A pipeline has its own storage; the manager's is left alone."""
    storage = RecordingStorage()
    manager = TokenManager(PipelineTokenProvider(pipeline, "shop"), storage)
    manager.refresh(manager.get_token())
    manager.force_refresh()
    manager.invalidate_token()
    assert storage.calls == []


@pytest.mark.parametrize(("from_step", "app_fetches"), [(None, 2), ("user", 1)])
def test_force_refresh_reaches_the_pipeline(
    steps: list[CountingStep],
    pipeline: TokenFetchPipeline,
    from_step: str | None,
    app_fetches: int,
) -> None:
    """force_refresh fetches the steps that the provider refreshes."""
    manager = over(pipeline, from_step)
    manager.get_token()
    assert manager.force_refresh().access_token == "user-2"
    assert manager.get_token().access_token == "user-2"
    assert steps[0].fetches == app_fetches


def test_invalidate_token_reaches_the_pipeline(
    steps: list[CountingStep], pipeline: TokenFetchPipeline
) -> None:
    """invalidate_token gives up the steps that the provider refreshes."""
    manager = over(pipeline, "user")
    manager.get_token()
    manager.invalidate_token()
    assert manager.get_token().access_token == "user-2"
    assert steps[0].fetches == 1


def test_a_failing_step_is_named_through_the_manager(
    steps: list[CountingStep], pipeline: TokenFetchPipeline
) -> None:
    """The pipeline's exception propagates as it is."""
    steps[0].failure = LookupError("down")
    manager = over(pipeline)
    calls: list[Callable[[], object]] = [
        manager.get_token,
        manager.force_refresh,
        lambda: manager.refresh(TokenData("x")),
    ]
    for call in calls:
        with pytest.raises(AuthenticationException) as caught:
            call()
        assert caught.value.service_name == "app"
        assert caught.value.__cause__ is steps[0].failure


def test_a_subclass_of_the_pipelines_provider_is_asked_itself(pipeline: TokenFetchPipeline) -> None:
    """A provider that overrides fetch_token is not passed over."""

    class Marking(PipelineTokenProvider):
        def fetch_token(self) -> TokenData:
            return TokenData("mine")

    assert TokenManager(Marking(pipeline, "shop")).get_token().access_token == "mine"


# Rejections in a row


def test_a_refreshed_token_is_not_refreshed_again_at_once(clock: Clock) -> None:
    """A token of a refresh that is rejected within reject_interval is given back as it is."""
    provider = CountingProvider()
    manager = TokenManager(provider)
    new = manager.refresh(manager.get_token())
    clock.advance(seconds=9.9)
    assert manager.refresh(new) is new
    clock.advance(seconds=0.1)
    assert manager.refresh(new).access_token == "token-3"


def test_an_accepted_token_is_refreshed_when_it_is_rejected_later(clock: Clock) -> None:
    """Once an answer has accepted it, the next rejection is news."""
    del clock
    manager = TokenManager(CountingProvider())
    new = manager.refresh(manager.get_token())
    manager.accepted(new)
    assert manager.refresh(new).access_token == "token-3"


def test_acceptance_of_another_token_does_not_count(clock: Clock) -> None:
    """An answer to an older token proves nothing about the new one."""
    del clock
    manager = TokenManager(CountingProvider())
    old = manager.get_token()
    manager.accepted(old)
    new = manager.refresh(old)
    manager.accepted(old)
    manager.accepted(TokenData("unknown"))
    assert manager.refresh(new) is new


def test_the_interval_counts_from_the_refresh(clock: Clock) -> None:
    """Getting the same new token again does not start the interval anew."""
    manager = TokenManager(CountingProvider())
    old = manager.get_token()
    new = manager.refresh(old)
    clock.advance(seconds=9)
    assert manager.refresh(old) == new
    clock.advance(seconds=1)
    assert manager.refresh(new).access_token == "token-3"


def test_a_token_that_no_refresh_gave_is_refreshed(clock: Clock) -> None:
    """Tokens of get_token and force_refresh are refreshed when they are rejected."""
    del clock
    manager = TokenManager(CountingProvider())
    assert manager.refresh(manager.force_refresh()).access_token == "token-2"


def test_the_interval_may_be_nothing(clock: Clock) -> None:
    """reject_interval 0 refreshes every rejected token."""
    del clock
    manager = TokenManager(CountingProvider(), reject_interval=timedelta(0))
    new = manager.refresh(manager.get_token())
    assert manager.refresh(new).access_token == "token-3"


def test_the_interval_is_not_negative() -> None:
    """A negative reject_interval is a ValueError."""
    with pytest.raises(ValueError, match="reject_interval"):
        TokenManager(CountingProvider(), reject_interval=timedelta(seconds=-1))


def test_the_interval_holds_over_a_pipeline(
    steps: list[CountingStep], pipeline: TokenFetchPipeline, clock: Clock
) -> None:
    """The same goes for the token of a pipeline."""
    manager = over(pipeline, "user")
    new = manager.refresh(manager.get_token())
    assert manager.refresh(new) is new
    clock.advance(seconds=10)
    assert manager.refresh(new).access_token == "user-3"
    assert steps[0].fetches == 1


def test_the_interval_counts_on_its_own_clock_alone() -> None:
    """A clock put in place later does not stretch the interval."""
    manager = TokenManager(CountingProvider())
    with use_clock(Clock(monotonic=1e9)):
        new = manager.refresh(manager.get_token())
    with use_clock(Clock(monotonic=0)):
        assert manager.refresh(new).access_token == "token-3"


# The rest


def test_closing_closes_the_provider() -> None:
    """close() and the end of a with block close a provider that can be closed."""
    provider = CountingProvider()
    with TokenManager(provider) as manager:
        assert manager.get_token()
    manager.close()
    assert provider.closed == 2


def test_closing_reaches_the_steps(steps: list[CountingStep], pipeline: TokenFetchPipeline) -> None:
    """Over a pipeline, close() closes its steps."""
    over(pipeline).close()
    assert [step.closed for step in steps] == [1, 1]


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy])
def test_a_manager_is_not_pickled(duplicate: Callable[[object], object]) -> None:
    """Pickling or copying a manager is a TypeError."""
    with pytest.raises(TypeError, match="pickled"):
        duplicate(TokenManager(CountingProvider()))


def test_a_manager_is_one_by_its_interface() -> None:
    """TokenManager fills the role that hooks ask for."""
    assert isinstance(TokenManager(CountingProvider()), TokenManagerInterface)


class ApiError(Exception):
    """An error of a provider's own making, whose text shows what it should not."""

    def __init__(self, *, detail: str) -> None:
        super().__init__(f"password={detail}")


def test_a_providers_exception_reaches_the_caller_as_it_is() -> None:
    """Even one that the pipeline beneath has to mask can be caught by its type."""
    raised = ApiError(detail="hunter2")

    class Failing(TokenProviderInterface):
        service_name = "api"

        def fetch_token(self) -> TokenData:
            raise raised

        def refresh_token(self, current_token: TokenData) -> TokenData:
            raise raised

    with pytest.raises(ApiError) as caught:
        TokenManager(Failing()).get_token()
    assert caught.value is raised


def test_a_manager_of_the_users_own_may_leave_its_arguments_to_the_interface() -> None:
    """The constructor of the interface keeps provider and storage, as in 1.0.0."""

    class Own(TokenManagerInterface):
        def __init__(self, provider: object, storage: object = None) -> None:
            super().__init__(provider, storage)

        def get_token(self) -> TokenData:
            return self._provider.fetch_token()

        def invalidate_token(self) -> None: ...

        def force_refresh(self) -> TokenData:
            return self.get_token()

    provider = MagicMock(spec=TokenProviderInterface)
    provider.fetch_token.return_value = TokenData("a")
    assert Own(provider).get_token() == TokenData("a")
    provider.service_name = "api"
    assert TokenManager(provider).get_token() == TokenData("a")
