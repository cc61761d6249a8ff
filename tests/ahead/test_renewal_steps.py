"""refresh_ahead in pipelines of several steps: which are renewed, and what with."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from racing import Gate, Task, watched
from renewing import AHEAD, MINUTE, ahead, renewing, settle, text

from doubles import Clock, CountingStep, RecordingStorage, recorded
from requestforge import InMemoryTokenStorage, TokenFetchPipeline
from requestforge.events import RefreshFailed, StepInvalidated, StepMissed
from requestforge.exceptions import AuthenticationException, UnauthorizedException

pytestmark = pytest.mark.compat

LIMIT_OF_THREADS = 32


@pytest.fixture(params=[InMemoryTokenStorage, RecordingStorage], ids=["in memory", "shared"])
def storage(request: pytest.FixtureRequest) -> object:
    """A storage of this process, and one that others share."""
    make: Callable[[], object] = request.param
    return make()


def given(step: CountingStep, number: int = -1) -> dict[str, str]:
    """The tokens that a fetch of the step was given, by default the last one."""
    return {name: token.access_token for name, token in (step.contexts[number] or {}).items()}


def test_a_stale_upstream_is_renewed_alone(
    app: CountingStep, storage: object, clock: Clock
) -> None:
    """Its dependent, which is fresh, is left alone, and goes on being served."""
    user = CountingStep("user", ["app"], ttl=timedelta(hours=3))
    pipeline = ahead(app, user, storage=storage)
    clock.advance(minutes=56)
    assert [text(pipeline) for _ in range(3)] == ["user-1"] * 3
    assert (app.fetches, user.fetches) == (2, 1)


def test_a_stale_last_step_is_renewed_with_the_cached_upstream(
    storage: object, user: CountingStep, clock: Clock
) -> None:
    """The tokens of earlier steps come from the cache, and nobody is told of hits."""
    app = CountingStep("app", ttl=timedelta(hours=3))
    pipeline = ahead(app, user, storage=storage)
    clock.advance(minutes=56)
    assert [text(pipeline), text(pipeline)] == ["user-1", "user-2"]
    assert given(user) == {"app": "app-1"}
    assert (app.fetches, user.fetches) == (1, 2)


def test_stale_steps_are_renewed_in_their_order(
    app: CountingStep, user: CountingStep, storage: object, clock: Clock
) -> None:
    """One thread renews them all, the upstream first, so that the last one has a long life."""
    pipeline = ahead(app, user, storage=storage)
    app.during = gate = Gate()
    clock.advance(minutes=56)
    pipeline.execute()
    gate.until_reached()
    pipeline.execute()
    assert len(renewing()) == 1
    gate.open()
    settle()
    assert text(pipeline) == "user-2"
    assert given(user) == {"app": "app-2"}
    assert (app.fetches, user.fetches) == (2, 2)


def test_a_failed_upstream_does_not_keep_its_dependent_from_being_renewed(
    app: CountingStep, user: CountingStep, storage: object, clock: Clock
) -> None:
    """As long as the old token of the upstream lives, it will do."""
    pipeline = ahead(app, user, storage=storage)
    app.failures = [OSError("down")]
    clock.advance(minutes=56)
    assert [text(pipeline), text(pipeline)] == ["user-1", "user-2"]
    assert given(user) == {"app": "app-1"}


def test_a_lazy_pipeline_renews_only_what_it_looks_at(storage: object, clock: Clock) -> None:
    """While the last step is fresh, a stale upstream is nobody's business."""
    app = CountingStep("app", ttl=timedelta(hours=1))
    user = CountingStep("user", ["app"], ttl=timedelta(hours=3))
    pipeline = ahead(app, user, storage=storage, lazy=True)
    clock.advance(minutes=56)
    assert [text(pipeline), text(pipeline)] == ["user-1"] * 2
    assert app.fetches == 1


def test_a_lazy_renewal_fetches_a_dead_upstream_first(storage: object, clock: Clock) -> None:
    """It does in the background what its step needs, and leaves alone what it does not need."""
    app = CountingStep("app", ttl=30 * MINUTE)
    aside = CountingStep("aside", ttl=30 * MINUTE)
    user = CountingStep("user", ["app"], ttl=timedelta(hours=1))
    pipeline = ahead(app, aside, user, storage=storage, lazy=True)
    clock.advance(minutes=56)
    with watched() as watch:
        assert [text(pipeline), text(pipeline)] == ["user-1", "user-2"]
    assert given(user) == {"app": "app-2"}
    assert (app.fetches, aside.fetches) == (2, 0)
    assert [event.step for event in watch.of(StepMissed)] == ["app"]


def test_a_renewal_waits_for_no_other_fetch(storage: object, clock: Clock) -> None:
    """A dead upstream that a caller is fetching already has the renewal put off."""
    app = CountingStep("app", ttl=30 * MINUTE)
    user = CountingStep("user", ["app"], ttl=timedelta(hours=1))
    lazy = ahead(app, user, storage=storage, lazy=True)
    alone = TokenFetchPipeline([app], storage)
    app.during = gate = Gate()
    clock.advance(minutes=56)
    caller = Task(alone.execute)
    gate.until_reached()
    with recorded() as events:
        assert text(lazy) == "user-1"
    assert not [event for event in events if isinstance(event, RefreshFailed)]
    gate.open()
    assert caller.result().access_token == "app-2"
    clock.advance(seconds=1)
    assert [text(lazy), text(lazy)] == ["user-1", "user-2"]
    assert app.fetches == 2


def refuse_old(user: CountingStep) -> None:
    """Have the step's server refuse the first app token from now on."""

    def check() -> None:
        if given(user)["app"] == "app-1":
            raise UnauthorizedException

    user.during = check


def test_a_renewal_that_is_refused_replaces_the_upstream_first(
    storage: object, user: CountingStep, clock: Clock
) -> None:
    """A cached upstream that the server takes no more is renewed, and nothing is invalidated."""
    app = CountingStep("app", ttl=timedelta(hours=3))
    pipeline = ahead(app, user, storage=storage)
    refuse_old(user)
    clock.advance(minutes=56)
    with recorded() as events:
        assert [text(pipeline), text(pipeline)] == ["user-1", "user-3"]
    assert given(user) == {"app": "app-2"}
    assert not [event for event in events if isinstance(event, StepInvalidated | RefreshFailed)]
    assert not user.errors


def test_a_renewal_that_cannot_be_repaired_takes_nothing_away(
    storage: object, user: CountingStep, clock: Clock
) -> None:
    """With the upstream down as well, the old tokens are served until their end."""
    app = CountingStep("app", ttl=timedelta(hours=3))
    pipeline = ahead(app, user, storage=storage)
    refuse_old(user)
    app.failure = OSError("down")
    clock.advance(minutes=56)
    with recorded() as events:
        assert [text(pipeline) for _ in range(3)] == ["user-1"] * 3
    [failed] = [event for event in events if isinstance(event, RefreshFailed)]
    assert failed.step == "app"
    assert (app.fetches, user.fetches) == (2, 2)


def test_who_waits_for_a_refused_renewal_repairs_the_chain(
    storage: object, user: CountingStep, clock: Clock
) -> None:
    """A caller whose token died meanwhile does not get the refusal, but a repaired token."""
    app = CountingStep("app", ttl=timedelta(hours=3))
    pipeline = ahead(app, user, storage=storage)
    refuse_old(user)
    check, gate = user.during, Gate()

    def held() -> None:
        gate()
        check()

    user.during = held
    clock.advance(minutes=56)
    pipeline.execute()
    gate.until_reached()
    clock.advance(minutes=4)
    with watched() as watch:
        caller = Task(pipeline.execute)
        watch.until(1, StepMissed, "user")
    gate.open()
    assert caller.result().access_token in {"user-3", "user-4"}
    settle()
    assert given(user) == {"app": app_now(app)}


def app_now(app: CountingStep) -> str:
    """The app token that was fetched last."""
    return f"app-{app.fetches}"


def test_many_stale_tokens_do_not_make_many_threads(clock: Clock) -> None:
    """Beyond 32 threads a stale token waits for another look; until its end it is served."""
    storage = InMemoryTokenStorage()
    step = CountingStep("app", ttl=timedelta(hours=1))
    pipelines = [
        TokenFetchPipeline([step], storage, f"tenant{number}", refresh_ahead=AHEAD)
        for number in range(LIMIT_OF_THREADS + 8)
    ]
    for pipeline in pipelines:
        pipeline.execute()
    step.during = gate = Gate(len(pipelines))
    clock.advance(minutes=56)
    for pipeline in pipelines:
        pipeline.execute()
    assert len(renewing()) == LIMIT_OF_THREADS
    gate.open()
    settle()
    clock.advance(seconds=1)
    for pipeline in pipelines:
        text(pipeline)
    assert step.fetches == 2 * len(pipelines)


def test_an_upstream_that_has_failed_of_late_has_the_renewal_put_off(clock: Clock) -> None:
    """With `failure_backoff`, a renewal does not ask for what callers may not ask for, either."""
    storage = InMemoryTokenStorage()
    app = CountingStep("app", ttl=30 * MINUTE)
    user = CountingStep("user", ["app"], ttl=timedelta(hours=1))
    lazy = ahead(app, user, storage=storage, lazy=True, failure_backoff=True)
    clock.advance(minutes=56)
    app.failures = [OSError("down")]
    with pytest.raises(AuthenticationException):
        TokenFetchPipeline([app], storage, failure_backoff=True).execute()
    with recorded() as events:
        assert text(lazy) == "user-1"
    assert not [event for event in events if isinstance(event, RefreshFailed)]
    assert (app.fetches, user.fetches) == (2, 1)
    clock.advance(seconds=1)
    assert [text(lazy), text(lazy)] == ["user-1", "user-2"]


def test_tenants_are_renewed_each_by_itself(app: CountingStep, clock: Clock) -> None:
    """A tenant's view renews its own token, and leaves those of others alone."""
    pipeline = ahead(app, storage=InMemoryTokenStorage())
    acme, other = pipeline.for_tenant("acme"), pipeline.for_tenant("other")
    assert [acme.execute().access_token, other.execute().access_token] == ["app-2", "app-3"]
    clock.advance(minutes=56)
    assert [text(acme), text(acme)] == ["app-2", "app-4"]
    assert [pipeline.execute().access_token, text(other)] == ["app-1", "app-3"]
    settle()
    assert {text(pipeline), text(other)} == {"app-5", "app-6"}
