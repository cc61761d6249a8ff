"""Steps that fail, and fetchers that misbehave."""

import logging
from types import SimpleNamespace

import pytest

from doubles import (
    START,
    BasicStorage,
    CountingStep,
    recorded,
)
from requestforge import (
    AuthenticationException,
    DependencyException,
    InMemoryTokenStorage,
    TokenData,
    TokenFetchPipeline,
    TokenRefreshException,
)
from requestforge.events import StepFailed

LAZY = pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])


@LAZY
def test_a_failure_names_its_step_and_cause(
    app: CountingStep, user: CountingStep, lazy: bool
) -> None:
    """A failing fetch raises AuthenticationException with the step's name and the cause."""
    cause = LookupError("no such user")
    user.failure = cause
    pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage(), lazy=lazy)
    with pytest.raises(AuthenticationException) as caught:
        pipeline.execute()
    error = caught.value
    assert type(error) is AuthenticationException
    assert error.service_name == "user"
    assert error.original_exception is cause
    assert error.__cause__ is cause
    assert "'user'" in error.message
    assert "no such user" in error.message
    assert error.retry_at is None


def test_a_failure_is_told_to_the_step_once(app: CountingStep, user: CountingStep) -> None:
    """on_fetch_error gets the fetch's error and the tokens so far, once."""
    user.failure = LookupError("no such user")
    pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage())
    with pytest.raises(AuthenticationException):
        pipeline.execute()
    assert user.errors == [user.failure]
    assert [list(context) for context in user.error_contexts] == [["app"]]
    assert app.errors == []


def test_a_failure_keeps_what_was_fetched_before_it(app: CountingStep, user: CountingStep) -> None:
    """After a failure the next execution tries the failed step alone."""
    user.failures = [LookupError("not now")]
    pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage())
    with pytest.raises(AuthenticationException):
        pipeline.execute()
    assert pipeline.execute().access_token == "user-2"
    assert app.fetches == 1


def test_each_failure_is_an_exception_of_its_own(app: CountingStep) -> None:
    """Two failing calls raise two exceptions, even for one cause."""
    app.failure = LookupError("down")
    pipeline = TokenFetchPipeline([app], InMemoryTokenStorage())
    caught = []
    for _ in range(2):
        with pytest.raises(AuthenticationException) as error:
            pipeline.execute()
        caught.append(error.value)
    assert caught[0] is not caught[1]


def test_a_listener_that_fails_does_not_hide_the_error(
    app: CountingStep, caplog: pytest.LogCaptureFixture
) -> None:
    """What on_fetch_error raises is logged, and the fetch's error is raised."""
    app.failure = LookupError("down")

    def listen(error: Exception, context: object) -> None:
        del error, context
        message = "listener"
        raise RuntimeError(message)

    app.on_fetch_error = listen
    with pytest.raises(AuthenticationException) as caught:
        TokenFetchPipeline([app], InMemoryTokenStorage()).execute()
    assert caught.value.__cause__ is app.failure
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "on_fetch_error of step 'app' failed: RuntimeError" in record.getMessage()


def test_a_failure_of_a_bare_step_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A step without on_fetch_error has its failure logged."""

    def fail(_: object) -> TokenData:
        message = "access_token=s3cr3t"
        raise LookupError(message)

    pipeline = TokenFetchPipeline([SimpleNamespace(name="app", fetch=fail)], BasicStorage())
    with pytest.raises(AuthenticationException):
        pipeline.execute()
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "'app' failed: LookupError" in record.getMessage()
    assert "s3cr3t" not in caplog.text


@pytest.mark.parametrize("result", [None, "token", {"access_token": "x"}], ids=repr)
def test_a_fetch_that_gives_no_token_is_a_failure(result: object) -> None:
    """A fetch must give TokenData; anything else is an AuthenticationException."""
    step = CountingStep("app")
    step.fetch = lambda _=None: result
    with pytest.raises(AuthenticationException, match=r"'app'.*TokenData") as caught:
        TokenFetchPipeline([step], InMemoryTokenStorage()).execute()
    assert isinstance(caught.value.__cause__, TypeError)
    assert len(step.errors) == 1


def test_a_refused_refresh_token_keeps_its_class(app: CountingStep) -> None:
    """A TokenRefreshException of the fetch is raised as one, with the step's name."""
    app.failure = TokenRefreshException("The refresh token was refused.", service_name="other")
    with pytest.raises(TokenRefreshException, match="'app'") as caught:
        TokenFetchPipeline([app], InMemoryTokenStorage()).execute()
    assert caught.value.service_name == "app"
    assert caught.value.original_exception is app.failure


def test_retry_at_of_the_cause_is_passed_on(app: CountingStep) -> None:
    """When a new fetch makes sense is known to the caller."""
    app.failure = AuthenticationException("later")
    app.failure.retry_at = START
    with pytest.raises(AuthenticationException) as caught:
        TokenFetchPipeline([app], InMemoryTokenStorage()).execute()
    assert caught.value.retry_at == START


def test_no_token_shows_in_a_failure(app: CountingStep, user: CountingStep) -> None:
    """A token that the fetch was given shows nowhere in its error, nor a named secret."""
    storage = InMemoryTokenStorage()
    app.fetch = lambda _=None: TokenData("tok3n-of-app", refresh_token="r3fresh-of-app")

    def fail(context: dict[str, TokenData] | None = None) -> TokenData:
        given = context["app"]
        message = f"got {given.access_token}, {given.refresh_token}, client_secret=s3cr3t"
        raise LookupError(message)

    user.fetch = fail
    with recorded() as events, pytest.raises(AuthenticationException) as caught:
        TokenFetchPipeline([app, user], storage).execute()
    [failed] = [event for event in events if isinstance(event, StepFailed)]
    texts = [failed.error, repr(failed)]
    link: BaseException | None = caught.value
    while link is not None:
        texts += [str(link), repr(link), repr(vars(link))]
        link = link.__cause__ or link.__context__
    for secret in ("tok3n-of-app", "r3fresh-of-app", "s3cr3t"):
        assert not [text for text in texts if secret in text]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_a_thread_passes_through(app: CountingStep, kind: type[BaseException]) -> None:
    """A BaseException of the fetch reaches its caller as it is, and the next call starts anew."""
    app.failures = [kind()]
    pipeline = TokenFetchPipeline([app], InMemoryTokenStorage())
    with pytest.raises(kind):
        pipeline.execute()
    assert app.errors == []
    assert pipeline.execute().access_token == "app-2"


@pytest.mark.parametrize("force", [False, True], ids=["execute", "forced"])
@LAZY
def test_a_fetcher_that_executes_its_own_step_is_told_so(
    app: CountingStep, user: CountingStep, lazy: bool, force: bool
) -> None:
    """A fetch that needs itself is a DependencyException, not a deadlock."""
    pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage(), lazy=lazy)
    user.during = lambda: pipeline.execute(force_refresh=force)
    with pytest.raises(DependencyException, match="own fetch") as caught:
        pipeline.execute()
    assert caught.value.service_name == "user"
    user.during = None
    assert pipeline.execute().access_token == "user-2"


def test_a_fetcher_may_not_evade_itself_by_an_invalidation(app: CountingStep) -> None:
    """Invalidating the step first does not let its fetch execute it."""
    pipeline = TokenFetchPipeline([app], InMemoryTokenStorage())

    def again() -> None:
        pipeline.invalidate_all()
        pipeline.execute()

    app.during = again
    with pytest.raises(DependencyException, match="own fetch"):
        pipeline.execute()
    assert app.fetches == 1


def test_a_fetcher_may_execute_another_pipeline(app: CountingStep, user: CountingStep) -> None:
    """A fetch may use a pipeline of other steps on the same storage."""
    storage = InMemoryTokenStorage()
    other = TokenFetchPipeline([CountingStep("other")], storage)
    user.during = other.execute
    assert TokenFetchPipeline([app, user], storage).execute().access_token == "user-1"


def test_an_upstream_of_the_same_name_elsewhere_is_no_dependency_of_ours() -> None:
    """A DependencyException from within a fetch is a failure of that fetch's step."""
    step = CountingStep("app")
    step.failure = DependencyException("missing value", service_name="inner")
    with pytest.raises(DependencyException, match="Step 'app' failed") as caught:
        TokenFetchPipeline([step], InMemoryTokenStorage()).execute()
    assert caught.value.service_name == "app"
    assert caught.value.original_exception is step.failure


def test_a_ttl_that_turns_bad_is_a_failure(app: CountingStep) -> None:
    """A ttl property that gives a number when it is asked later fails the step."""
    pipeline = TokenFetchPipeline(
        [step := SimpleNamespace(name="app", fetch=app.fetch)], BasicStorage()
    )
    step.ttl = 5
    with pytest.raises(AuthenticationException, match=r"'app'.*timedelta"):
        pipeline.execute()


def test_an_error_that_cannot_be_read_is_a_failure(app: CountingStep) -> None:
    """An exception whose text raises is reported without its text."""

    class UnreadableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    app.failure = UnreadableError()
    with pytest.raises(AuthenticationException, match="'app'"):
        TokenFetchPipeline([app], InMemoryTokenStorage()).execute()
