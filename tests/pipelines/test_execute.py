"""One execution: order, context, cache, failures, and fetchers that misbehave."""

import gc
import logging
import weakref
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from doubles import (
    START,
    BasicStorage,
    Clock,
    CountingStep,
    JsonStorage,
    RecordingStorage,
    recorded,
)

from requestforge import (
    AuthenticationException,
    DependencyException,
    HttpStatusException,
    InMemoryTokenStorage,
    TokenData,
    TokenFetchPipeline,
    TokenRefreshException,
)
from requestforge.events import StepFailed

LAZY = pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])


@pytest.fixture
def app() -> CountingStep:
    """The first step."""
    return CountingStep("app", ttl=timedelta(hours=1))


@pytest.fixture
def user() -> CountingStep:
    """The step that needs the first."""
    return CountingStep("user", ["app"], ttl=timedelta(minutes=30))


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
    assert storage.calls == [("get_many", "app#epoch,user#epoch,app,user")]


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
    steps[1].during = lambda: steps[1].contexts[0].clear()
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


# Failures


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
    with pytest.raises(AuthenticationException, match="'app'.*TokenData") as caught:
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
    pipeline = TokenFetchPipeline([step := SimpleNamespace(name="app", fetch=app.fetch)], BasicStorage())
    step.ttl = 5
    with pytest.raises(AuthenticationException, match="'app'.*timedelta"):
        pipeline.execute()


def test_an_error_that_cannot_be_read_is_a_failure(app: CountingStep) -> None:
    """An exception whose text raises is reported without its text."""

    class UnreadableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    app.failure = UnreadableError()
    with pytest.raises(AuthenticationException, match="'app'"):
        TokenFetchPipeline([app], InMemoryTokenStorage()).execute()


# Refresh tokens of expired tokens


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
    """refresh is a newer member: it is used on the interface's instances only."""
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


# Storages and their lives


def test_a_storage_is_let_go_with_its_pipelines() -> None:
    """The library keeps no storage alive that nobody uses any more."""
    storage = InMemoryTokenStorage()
    pipeline = TokenFetchPipeline([CountingStep("app")], storage)
    pipeline.execute()
    gone = weakref.ref(storage)
    del storage, pipeline
    gc.collect()
    assert gone() is None


def test_a_storage_without_weak_references_is_shared_too() -> None:
    """Pipelines on a storage with slots alone know of each other's invalidations."""

    class Slotted(BasicStorage):
        __slots__ = ()

    class Strict:
        __slots__ = ("inner",)

        def __init__(self) -> None:
            self.inner = Slotted()

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

    storage = Strict()
    step = CountingStep("app")
    one, two = (TokenFetchPipeline([step], storage) for _ in range(2))
    one.execute()
    two.invalidate_all()
    assert one.execute().access_token == "app-2"
    assert two.execute().access_token == "app-2"


def test_what_fills_the_memory_between_two_executions_counts() -> None:
    """A token that was set in the in-memory storage by hand replaces the one served so far."""
    storage = InMemoryTokenStorage()
    pipeline = TokenFetchPipeline([CountingStep("app")], storage)
    pipeline.execute()
    pipeline.execute()
    storage.set("app", TokenData("mine"))
    assert pipeline.execute().access_token == "mine"
    storage.clear()
    assert pipeline.execute().access_token == "app-2"
