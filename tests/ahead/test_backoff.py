"""failure_backoff: after a failed fetch callers get its error, until there may be another one."""

import os
from collections.abc import Callable
from datetime import UTC, timedelta

import pytest
from backing_off import careful, failure_of, told_by_cause, told_by_retry_at, told_by_status
from renewing import AHEAD

from doubles import START, Clock, CountingStep, RecordingStorage
from loopback import shown_by
from requestforge import (
    InMemoryTokenStorage,
    TokenData,
    TokenFetchPipeline,
)
from requestforge.exceptions import (
    AuthenticationException,
    ServerErrorException,
    TimeoutException,
    TokenRefreshException,
)

pytestmark = pytest.mark.compat

NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here.")


@pytest.fixture(params=[InMemoryTokenStorage, RecordingStorage], ids=["in memory", "shared"])
def storage(request: pytest.FixtureRequest) -> object:
    """A storage of this process, and one that others share."""
    make: Callable[[], object] = request.param
    return make()


def test_callers_get_the_last_error_without_a_fetch(
    app: CountingStep, storage: object, clock: Clock
) -> None:
    """Until `retry_at` there is one fetch, whose error all callers get."""
    pipeline = careful(app, storage=storage)
    app.failure = ServerErrorException("The server is on fire.", 503)
    errors = [failure_of(pipeline.execute) for _ in range(5)]
    assert app.fetches == len(app.errors) == 1
    assert {str(error) for error in errors} == {str(errors[0])}
    assert {error.service_name for error in errors} == {"app"}
    assert {type(error.__cause__) for error in errors} == {ServerErrorException}
    [retry_at] = {error.retry_at for error in errors}
    assert retry_at is not None
    assert retry_at.tzinfo is UTC
    assert clock.now() < retry_at <= clock.now() + timedelta(seconds=0.5)


def test_each_caller_gets_an_error_of_its_own(
    app: CountingStep, storage: object, clock: Clock
) -> None:
    """Neither the errors nor their causes are shared, so that no traceback grows."""
    del clock
    pipeline = careful(app, storage=storage)
    app.failure = OSError("down")
    errors = [failure_of(pipeline.execute) for _ in range(4)]
    causes = [error.original_exception for error in errors]
    assert all(error.__cause__ is error.original_exception for error in errors)
    assert len({id(error) for error in errors}) == len({id(cause) for cause in causes}) == 4
    assert [str(cause) for cause in causes] == ["down"] * 4
    assert all(cause.__traceback__ is None for cause in causes[1:])


def test_the_next_fetch_comes_at_retry_at(app: CountingStep, storage: object, clock: Clock) -> None:
    """From that instant on a call fetches again."""
    pipeline = careful(app, storage=storage)
    app.failures = [OSError("down")]
    retry_at = failure_of(pipeline.execute).retry_at
    clock.advance(seconds=(retry_at - clock.now()).total_seconds() - 0.000_01)
    assert failure_of(pipeline.execute).retry_at == retry_at
    clock.advance(seconds=0.000_02)
    assert pipeline.execute().access_token == "app-2"


def test_the_wait_doubles_up_to_half_a_minute(
    app: CountingStep, storage: object, clock: Clock
) -> None:
    """Full jitter: evenly from 0 to 0.5 seconds at first, and to 30 at last."""
    pipeline = careful(app, storage=storage)
    app.failure = OSError("down")
    waits = []
    for _ in range(12):
        retry_at = failure_of(pipeline.execute).retry_at
        waits.append((retry_at - clock.now()).total_seconds())
        clock.advance(seconds=31)
    ceilings = [min(30.0, 0.5 * 2**number) for number in range(12)]
    assert all(0 <= wait <= most for wait, most in zip(waits, ceilings, strict=True))
    assert max(waits) > 2
    assert app.fetches == 12


@pytest.mark.parametrize("make", [told_by_retry_at, told_by_status, told_by_cause])
def test_the_servers_own_wait_holds_instead(
    make: Callable[[], Exception], app: CountingStep, storage: object, clock: Clock
) -> None:
    """Retry-After of the error, or of its cause, is neither spread nor cut."""
    pipeline = careful(app, storage=storage)
    app.failures = [make()]
    assert failure_of(pipeline.execute).retry_at == START + timedelta(seconds=90)
    clock.advance(seconds=89.9)
    assert failure_of(pipeline.execute).retry_at == START + timedelta(seconds=90)
    clock.advance(seconds=0.1)
    assert pipeline.execute().access_token == "app-2"


@pytest.mark.parametrize("seconds", [0.0, -5.0, float("nan"), float("inf"), "90"], ids=str)
def test_a_wait_that_makes_no_sense_is_replaced(
    seconds: object, app: CountingStep, clock: Clock
) -> None:
    """Callers then wait as if the server had said nothing."""
    error = ServerErrorException(status_code=503)
    error.retry_after = seconds
    app.failure = error
    retry_at = failure_of(careful(app, storage=InMemoryTokenStorage()).execute).retry_at
    assert retry_at <= clock.now() + timedelta(seconds=0.5)


def test_the_longest_wait_is_ten_years(app: CountingStep, clock: Clock) -> None:
    """A server that asks for more is not waited for beyond what dates can hold."""
    error = ServerErrorException(status_code=503)
    error.retry_after = 1e15
    app.failure = error
    retry_at = failure_of(careful(app, storage=InMemoryTokenStorage()).execute).retry_at
    assert retry_at == clock.now() + timedelta(days=3650)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TokenRefreshException("invalid_grant"), TokenRefreshException),
        (AuthenticationException("invalid_client"), AuthenticationException),
        (TimeoutException("slow"), AuthenticationException),
        (type("LocalError", (Exception,), {})("odd"), AuthenticationException),
    ],
    ids=["grant dead", "terminal", "transient", "of a class that cannot be imported"],
)
def test_all_failures_are_treated_alike(
    error: Exception, kind: type[Exception], app: CountingStep, storage: object, clock: Clock
) -> None:
    """Callers get the type of exception that the first one got."""
    del clock
    pipeline = careful(app, storage=storage)
    app.failure = error
    assert [type(failure_of(pipeline.execute)) for _ in range(3)] == [kind] * 3
    assert app.fetches == 1


def test_without_it_each_call_tries_anew(app: CountingStep, storage: object) -> None:
    """It is off by default."""
    pipeline = TokenFetchPipeline([app], storage)
    app.failure = OSError("down")
    assert failure_of(pipeline.execute).retry_at is None
    failure_of(pipeline.execute)
    assert app.fetches == 2


SECRET = "canary-5eed"


def test_no_answer_shows_a_secret(user: CountingStep, storage: object, clock: Clock) -> None:
    """An error that quotes the token that its fetch was given is kept without it."""
    del clock

    class App(CountingStep):
        def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
            super().fetch(context)
            return TokenData(SECRET)

    pipeline = careful(App("app"), user, storage=storage)
    user.failure = OSError(f"The server does not know {SECRET}.")
    errors = [failure_of(pipeline.execute) for _ in range(3)]
    assert user.fetches == 1
    assert all("does not know" in str(error) for error in errors)
    assert not [error for error in errors if SECRET in shown_by(error)]


@pytest.mark.parametrize("value", [None, 1, timedelta(seconds=1)], ids=["none", "int", "timedelta"])
def test_a_switch_that_is_none_is_refused(value: object, app: CountingStep) -> None:
    """It is on or off."""
    with pytest.raises(TypeError, match="failure_backoff must be True or False"):
        TokenFetchPipeline([app], InMemoryTokenStorage(), failure_backoff=value)


def test_a_token_is_data(app: CountingStep) -> None:
    """Both options leave an execution as it is where nothing fails."""
    pipeline = careful(app, storage=InMemoryTokenStorage(), refresh_ahead=AHEAD)
    assert isinstance(pipeline.execute(), TokenData)
