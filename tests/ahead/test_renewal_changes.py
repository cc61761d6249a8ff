"""What invalidates, forces or refreshes while a renewal is under way."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from racing import Gate, Task, watched
from renewing import ahead, settle, text

from doubles import Clock, CountingStep, RecordingStorage, recorded
from requestforge import InMemoryTokenStorage, TokenData, TokenFetchPipeline
from requestforge.events import (
    RefreshFailed,
    StepFailed,
    StepInvalidated,
    StepMissed,
    TokenReplaced,
)
from requestforge.exceptions import TokenRefreshException

pytestmark = pytest.mark.compat


@pytest.fixture(params=[InMemoryTokenStorage, RecordingStorage], ids=["in memory", "shared"])
def storage(request: pytest.FixtureRequest) -> object:
    """A storage of this process, and one that others share."""
    make: Callable[[], object] = request.param
    return make()


def hold(pipeline: TokenFetchPipeline, step: CountingStep) -> tuple[Gate, TokenData]:
    """Begin a renewal of that step, and hold it."""
    step.during = gate = Gate()
    old = pipeline.execute()
    gate.until_reached()
    return gate, old


def start(
    app: CountingStep, storage: object, clock: Clock
) -> tuple[TokenFetchPipeline, Gate, TokenData]:
    """A pipeline of one step whose renewal is held, the gate, and the token to be replaced."""
    pipeline = ahead(app, storage=storage)
    clock.advance(minutes=56)
    return (pipeline, *hold(pipeline, app))


def test_an_invalidation_keeps_the_new_token_out(
    app: CountingStep, storage: object, clock: Clock
) -> None:
    """What is fetched from before an invalidation is not cached, and replaces nothing."""
    pipeline, gate, _ = start(app, storage, clock)
    pipeline.invalidate_step("app")
    with recorded() as events:
        gate.open()
        settle()
    assert not [event for event in events if isinstance(event, TokenReplaced)]
    assert [text(pipeline), text(pipeline)] == ["app-3", "app-3"]


def test_nobody_joins_a_renewal_from_before_an_invalidation(
    app: CountingStep, storage: object, clock: Clock
) -> None:
    """Who comes after the invalidation gets a fetch of their own, at once."""
    pipeline, gate, _ = start(app, storage, clock)
    pipeline.invalidate_all()
    assert pipeline.execute().access_token == "app-3"
    gate.open()
    settle()
    assert text(pipeline) == "app-3"


def test_a_forced_execution_has_a_fetch_after_that_of_the_renewal(
    app: CountingStep, storage: object, clock: Clock
) -> None:
    """The renewal began before the call, so it will not do."""
    pipeline, gate, _ = start(app, storage, clock)
    caller = Task(lambda: pipeline.execute(force_refresh=True))
    gate.open()
    assert caller.result().access_token == "app-3"
    settle()
    assert text(pipeline) == "app-3"


def test_a_refresh_of_the_old_token_joins_the_renewal(
    app: CountingStep, storage: object, clock: Clock
) -> None:
    """It wants any token but that one, and the renewal is about to give one."""
    pipeline, gate, old = start(app, storage, clock)
    with watched() as watch:
        caller = Task(lambda: pipeline.refresh(old))
        watch.until(1, StepMissed, "app")
    gate.open()
    assert caller.result().access_token == "app-2"
    assert app.fetches == 2


def test_a_refresh_gives_up_what_was_built_on_the_renewed_step(
    app: CountingStep, user: CountingStep, storage: object, clock: Clock
) -> None:
    """A refresh from the upstream on joins its renewal, and has the last step fetched on it."""
    pipeline = ahead(app, user, storage=storage)
    clock.advance(minutes=56)
    gate, old = hold(pipeline, app)
    with watched() as watch:
        caller = Task(lambda: pipeline.refresh(old))
        watch.until(1, StepMissed, "app")
        gate.open()
        token = caller.result()
    settle()
    assert (token.access_token, text(pipeline)) == ("user-2", "user-2")
    assert user.contexts[-1]["app"].access_token == "app-2"
    assert [(event.step, event.cause) for event in watch.of(StepInvalidated)] == [
        ("user", "refresh")
    ]


def test_a_renewal_whose_token_was_replaced_does_nothing(
    app: CountingStep, user: CountingStep, storage: object, clock: Clock
) -> None:
    """It looks at the storage when its turn has come: another fetch may have been faster."""
    pipeline = ahead(app, user, storage=storage)
    clock.advance(minutes=56)
    gate, _ = hold(pipeline, app)  # which `user` is to be renewed after
    other = TokenFetchPipeline([CountingStep("app"), user], storage)
    other.invalidate_step("user")
    assert other.execute().access_token == "user-2"
    gate.open()
    settle()
    assert (text(pipeline), user.fetches) == ("user-2", 2)


def test_a_renewal_whose_token_is_gone_leaves_it_to_callers(
    app: CountingStep, user: CountingStep, storage: object, clock: Clock
) -> None:
    """What was invalidated before its turn is fetched when somebody needs it."""
    pipeline = ahead(app, user, storage=storage)
    clock.advance(minutes=56)
    gate, _ = hold(pipeline, app)
    pipeline.invalidate_step("user")
    gate.open()
    settle()
    assert user.fetches == 1
    assert text(pipeline) == "user-2"


class RedeemingStep(CountingStep):
    """A step whose refresh tokens buy tokens that say so.

    Attributes:
        refreshes: the refresh tokens that were redeemed, in order.
        on_refresh: called with each, before its answer.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, ttl=timedelta(hours=1), refresh_token="refresh-0")
        self.refreshes: list[str | None] = []
        self.on_refresh: Callable[[], object] = lambda: None

    def refresh(self, expired: TokenData, context: dict[str, TokenData] | None = None) -> TokenData:
        self.refreshes.append(expired.refresh_token)
        self.on_refresh()
        self.refresh_token = f"refresh-{len(self.refreshes)}"
        return self.fetch(context)


def test_a_renewal_redeems_the_refresh_token(storage: object, clock: Clock) -> None:
    """Each one once, in the background, with the rotated one kept."""
    step = RedeemingStep("app")
    pipeline = ahead(step, storage=storage)
    for _ in range(2):
        clock.advance(minutes=56)
        text(pipeline)
    assert step.refreshes == ["refresh-0", "refresh-1"]
    assert pipeline.execute().refresh_token == "refresh-2"


def test_a_rotated_refresh_token_is_kept_with_a_dead_token(storage: object, clock: Clock) -> None:
    """What is left of the old token's family is that refresh token alone."""
    step = RedeemingStep("app")
    pipeline = ahead(step, storage=storage)
    step.expires_in = -60
    clock.advance(minutes=56)
    text(pipeline)
    step.expires_in = None
    text(pipeline)
    assert step.refreshes == ["refresh-0", "refresh-1"]


def test_a_refused_refresh_token_leaves_the_token_that_lives(storage: object, clock: Clock) -> None:
    """If the step's own grant fails as well, the old token is served until its end."""
    step = RedeemingStep("app")
    pipeline = ahead(step, storage=storage)
    step.on_refresh = refuse
    step.failure = OSError("down")
    clock.advance(minutes=56)
    assert [text(pipeline) for _ in range(3)] == ["app-1"] * 3
    assert step.refreshes == ["refresh-0"]


def refuse() -> None:
    """Answer as for a refresh token that is worth nothing."""
    raise TokenRefreshException("invalid_grant")


def test_a_renewal_gives_up_when_another_process_has_redeemed(clock: Clock) -> None:
    """A refused refresh token that has a successor in the storage by then is no failure."""
    ours, theirs = RecordingStorage(), RecordingStorage()
    theirs.tokens = ours.tokens
    step = RedeemingStep("app")
    pipeline = ahead(step, storage=ours)
    other = TokenFetchPipeline([CountingStep("app")], theirs)

    def lose() -> None:
        other.execute(force_refresh=True)
        refuse()

    step.on_refresh = lose
    clock.advance(minutes=56)
    with recorded() as events:
        assert [text(pipeline), text(pipeline)] == ["app-1", "app-1"]
    assert len(step.refreshes) == 1
    assert not [event for event in events if isinstance(event, RefreshFailed | StepFailed)]
