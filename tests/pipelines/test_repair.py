"""Chain repair: a step refused with a cached upstream token gets a new upstream."""

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace

import pytest

from doubles import Clock, CountingStep, FlakyStorage, recorded
from requestforge import (
    AuthenticationException,
    HttpStatusException,
    InMemoryTokenStorage,
    TokenData,
    TokenFetchPipeline,
    UnauthorizedException,
)
from requestforge.events import StepFailed, StepInvalidated


class Server:
    """A token server that refuses what it has revoked."""

    def __init__(self, refusal: Callable[[], Exception] = UnauthorizedException) -> None:
        self.revoked: set[str] = set()
        self.refusal = refusal

    def guard(self, step: CountingStep) -> CountingStep:
        """The step, refused when a token of its context is revoked."""
        fetch = step.fetch

        def guarded(context: dict[str, TokenData] | None = None) -> TokenData:
            token = fetch(context)
            needed = [(context or {})[name].access_token for name in step.depends_on]
            if self.revoked.intersection(needed):
                raise self.refusal()
            return token

        step.fetch = guarded
        return step


@pytest.fixture
def server() -> Server:
    """A server that answers 401."""
    return Server()


def chain(server: Server) -> list[CountingStep]:
    """Device ← app ← user, user short-lived."""
    return [
        CountingStep("device"),
        server.guard(CountingStep("app", ["device"], ttl=timedelta(hours=1))),
        server.guard(CountingStep("user", ["app"], ttl=timedelta(minutes=15))),
    ]


def fetches(steps: list[CountingStep]) -> list[int]:
    """How often each step was fetched."""
    return [step.fetches for step in steps]


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_a_revoked_upstream_is_replaced(
    server: Server, storage: object, clock: Clock, lazy: bool
) -> None:
    """A step refused with a cached token is fetched again with a new one."""
    steps = chain(server)
    pipeline = TokenFetchPipeline(steps, storage, lazy=lazy)
    pipeline.execute()
    server.revoked = {"app-1"}
    clock.advance(minutes=15)
    assert pipeline.execute().access_token == "user-3"
    assert fetches(steps) == [1, 2, 3]
    assert steps[2].contexts[-1]["app"].access_token == "app-2"
    assert steps[2].errors == []
    assert pipeline.execute().access_token == "user-3"


def test_a_revoked_chain_is_replaced_step_by_step(
    server: Server, storage: object, clock: Clock
) -> None:
    """The upstream that is refused in its turn gets a new upstream, too."""
    steps = chain(server)
    pipeline = TokenFetchPipeline(steps, storage)
    pipeline.execute()
    server.revoked = {"device-1", "app-1"}
    clock.advance(minutes=15)
    assert pipeline.execute().access_token == "user-3"
    assert fetches(steps) == [2, 3, 3]


def test_a_step_is_repaired_once_in_an_execution(server: Server, clock: Clock) -> None:
    """A step refused with the new upstream token as well fails, and hears of it once."""
    steps = chain(server)
    pipeline = TokenFetchPipeline(steps, InMemoryTokenStorage())
    pipeline.execute()
    server.revoked = {"app-1", "app-2"}
    clock.advance(minutes=15)
    with pytest.raises(AuthenticationException) as caught:
        pipeline.execute()
    assert caught.value.service_name == "user"
    assert fetches(steps) == [1, 2, 3]
    assert len(steps[2].errors) == 1
    server.revoked = {"app-1", "app-2"}
    assert pipeline.execute().access_token == "user-5"
    assert fetches(steps) == [1, 3, 5]


def test_a_step_refused_with_fetched_tokens_fails(server: Server) -> None:
    """A refusal of tokens that were fetched a moment ago is no matter of the cache."""
    steps = chain(server)
    server.revoked = {"app-1"}
    with pytest.raises(AuthenticationException) as caught:
        TokenFetchPipeline(steps, InMemoryTokenStorage()).execute()
    assert caught.value.service_name == "user"
    assert fetches(steps) == [1, 1, 1]
    assert len(steps[2].errors) == 1


def test_a_step_without_dependencies_fails(clock: Clock) -> None:
    """A refusal of a step that depends on nothing repairs nothing."""
    app, user = CountingStep("app"), CountingStep("user", ttl=timedelta(minutes=15))
    pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage())
    pipeline.execute()
    user.failures = [UnauthorizedException()]
    clock.advance(minutes=15)
    with pytest.raises(AuthenticationException):
        pipeline.execute()
    assert app.fetches == 1


def test_only_the_cached_dependencies_are_given_up(clock: Clock) -> None:
    """Of several dependencies the cached ones are replaced; what was just fetched stays."""
    server = Server()
    cached = CountingStep("cached")
    fresh = CountingStep("fresh", ttl=timedelta(minutes=5))
    aside = CountingStep("aside")
    user = server.guard(CountingStep("user", ["cached", "fresh"], ttl=timedelta(minutes=5)))
    pipeline = TokenFetchPipeline([cached, fresh, aside, user], InMemoryTokenStorage())
    pipeline.execute()
    clock.advance(minutes=5)
    server.revoked = {"cached-1"}
    assert pipeline.execute().access_token == "user-3"
    assert fetches([cached, fresh, aside, user]) == [2, 2, 1, 3]


def test_all_dependents_of_the_repaired_step_go(
    server: Server, storage: object, clock: Clock
) -> None:
    """What else was bought with the refused upstream is given up with it."""
    app = CountingStep("app")
    other = CountingStep("other", ["app"])
    user = server.guard(CountingStep("user", ["app"], ttl=timedelta(minutes=5)))
    pipeline = TokenFetchPipeline([app, other, user], storage)
    pipeline.execute()
    server.revoked = {"app-1"}
    clock.advance(minutes=5)
    with recorded() as events:
        pipeline.execute()
    told = [(e.step, e.cause) for e in events if isinstance(e, StepInvalidated)]
    assert told == [("app", "repair"), ("other", "cascade"), ("user", "cascade")]
    assert fetches([app, other, user]) == [2, 2, 3]
    assert [event.step for event in events if isinstance(event, StepFailed)] == ["user"]


def test_an_upstream_that_was_replaced_meanwhile_is_not_given_up(clock: Clock) -> None:
    """A repair invalidates the generation that was refused, not a newer one."""
    app = CountingStep("app")
    user = CountingStep("user", ["app"], ttl=timedelta(minutes=5))
    storage = InMemoryTokenStorage()
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()
    other = TokenFetchPipeline([app], storage)

    def refused(context: dict[str, TokenData] | None = None) -> TokenData:
        if context["app"].access_token == "app-1":
            other.execute(force_refresh=True)
            raise UnauthorizedException
        return TokenData("good")

    user.fetch = refused
    clock.advance(minutes=5)
    assert pipeline.execute().access_token == "good"
    assert app.fetches == 2


class ForeignError(Exception):
    """An error of another library, with its answer."""

    def __init__(self, status: object) -> None:
        super().__init__("refused")
        self.response = SimpleNamespace(status_code=status)


def caused(cause: Exception, error: Exception | None = None) -> Exception:
    """An error raised from that cause."""
    error = LookupError("outer") if error is None else error
    error.__cause__ = cause
    return error


def looped() -> Exception:
    """An error that is its own cause's cause."""
    outer, inner = LookupError("outer"), LookupError("inner")
    outer.__cause__, inner.__cause__ = inner, outer
    return outer


@pytest.mark.parametrize(
    ("refusal", "repaired"),
    [
        pytest.param(UnauthorizedException, True, id="401"),
        pytest.param(lambda: HttpStatusException("no", 401), True, id="status 401"),
        pytest.param(lambda: ForeignError(401), True, id="401 of another library"),
        pytest.param(lambda: caused(UnauthorizedException()), True, id="caused by a 401"),
        pytest.param(lambda: caused(caused(ForeignError(401))), True, id="caused by a cause"),
        pytest.param(
            lambda: AuthenticationException("failed", UnauthorizedException()),
            True,
            id="original_exception is a 401",
        ),
        pytest.param(lambda: AuthenticationException("invalid_token"), True, id="invalid_token"),
        pytest.param(
            lambda: caused(HttpStatusException("error invalid_token", 400)),
            True,
            id="caused by invalid_token",
        ),
        pytest.param(lambda: AuthenticationException("a 403"), False, id="neither"),
        pytest.param(lambda: HttpStatusException("no", 403), False, id="403"),
        pytest.param(lambda: ForeignError(None), False, id="no status"),
        pytest.param(lambda: HttpStatusException("no", 500), False, id="500"),
        pytest.param(
            lambda: HttpStatusException("invalid_client", 401), False, id="401 invalid_client"
        ),
        pytest.param(
            lambda: caused(HttpStatusException("invalid_grant", 401)), False, id="401 invalid_grant"
        ),
        pytest.param(
            lambda: caused(UnauthorizedException(), LookupError("invalid_grant")),
            False,
            id="invalid_grant because of a 401",
        ),
        pytest.param(looped, False, id="causes in a circle"),
    ],
)
def test_what_counts_as_a_refusal(
    refusal: Callable[[], Exception], repaired: bool, clock: Clock
) -> None:
    """A 401 or invalid_token is repaired; invalid_client and invalid_grant never are."""
    server = Server(refusal)
    steps = chain(server)
    pipeline = TokenFetchPipeline(steps, InMemoryTokenStorage())
    pipeline.execute()
    server.revoked = {"app-1"}
    clock.advance(minutes=15)
    if repaired:
        assert pipeline.execute().access_token == "user-3"
    else:
        with pytest.raises(AuthenticationException):
            pipeline.execute()
    assert steps[1].fetches == (2 if repaired else 1)
    assert len(steps[2].errors) == (0 if repaired else 1)


def test_a_storage_that_cannot_delete_does_not_hinder_a_repair(
    server: Server, clock: Clock
) -> None:
    """A repair whose deletion fails goes on: the token is invalid in this process all the same."""
    storage = FlakyStorage()
    steps = chain(server)
    pipeline = TokenFetchPipeline(steps, storage)
    pipeline.execute()
    storage.broken = {"delete"}
    server.revoked = {"app-1"}
    clock.advance(minutes=15)
    assert pipeline.execute().access_token == "user-3"
    assert fetches(steps) == [1, 2, 3]
    assert pipeline.execute().access_token == "user-3"


def test_a_forced_run_repairs_nothing(server: Server) -> None:
    """Where nothing came from the cache there is nothing to repair."""
    steps = chain(server)
    pipeline = TokenFetchPipeline(steps, InMemoryTokenStorage())
    pipeline.execute()
    server.revoked = {"app-2"}
    with pytest.raises(AuthenticationException):
        pipeline.execute(force_refresh=True)
    assert fetches(steps) == [2, 2, 2]
