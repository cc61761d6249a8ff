"""A pipeline's step with a refresh token: when it is redeemed, and what becomes of it."""

import base64
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from rotating import RotatingStep, refusal

from doubles import (
    BasicStorage,
    Clock,
    CountingStep,
    RecordingStorage,
    SixFieldStorage,
    recorded,
)
from requestforge import (
    DjangoCacheTokenStorage,
    EncryptedTokenStorage,
    FileTokenStorage,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    RedisTokenStorage,
    TokenFetchPipeline,
)
from requestforge.events import StepFetched, StepInvalidated, StepMissed
from requestforge.exceptions import AuthenticationException
from requestforge.interfaces import TokenStorageInterface
from requestforge.tokens import TokenData

pytestmark = pytest.mark.usefixtures("clock")

KEY = base64.b64decode("canarycanarycanarycanarycanarycanarycanaryc=")

KINDS = [
    *("in memory", "in memory, bounded", "shared", "four methods", "six fields", "file"),
    *("encrypted", "django", "redis"),
]


@pytest.fixture(params=KINDS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    """One of each kind of storage."""
    make: dict[str, Callable[[], object]] = {
        "in memory": InMemoryTokenStorage,
        "in memory, bounded": lambda: InMemoryTokenStorage(max_entries=8),
        "shared": RecordingStorage,
        "four methods": BasicStorage,
        "six fields": SixFieldStorage,
        "file": lambda: FileTokenStorage(tmp_path / "tokens"),
        "encrypted": lambda: EncryptedTokenStorage(FileTokenStorage(tmp_path / "tokens"), [KEY]),
        "django": lambda: _django(request),
        "redis": lambda: RedisTokenStorage(
            url=request.getfixturevalue("redis_url"), key_prefix=uuid4().hex
        ),
    }
    return make[request.param]()


def _django(request: pytest.FixtureRequest) -> DjangoCacheTokenStorage:
    request.getfixturevalue("django_cache")("locmem")
    return DjangoCacheTokenStorage(key_prefix=uuid4().hex)


@pytest.mark.parametrize("days", [0, 29], ids=["at once", "after 29 days"])
def test_a_refresh_token_outlives_its_token(clock: Clock, storage: Any, days: int) -> None:  # noqa: ANN401
    """Every storage keeps it; the step's own grant is used once, each successor once."""
    step = RotatingStep()
    pipeline = TokenFetchPipeline([step], storage)
    for number in (1, 2, 3):
        assert pipeline.execute().access_token == f"app-{number}"
        assert pipeline.execute().access_token == f"app-{number}"
        clock.advance(minutes=1, days=days)
    assert (step.fetches, step.redeemed) == (1, ["r1", "r2"])


def test_another_pipeline_goes_on_with_it(clock: Clock, storage: Any) -> None:  # noqa: ANN401
    """What one pipeline has stored, the next one on the same storage redeems."""
    first, second = RotatingStep(), RotatingStep()
    TokenFetchPipeline([first], storage).execute()
    clock.advance(minutes=1)
    TokenFetchPipeline([second], storage).execute()
    assert (second.fetches, second.redeemed) == (0, ["r1"])


def test_invalidation_takes_the_refresh_token_along(storage: Any) -> None:  # noqa: ANN401
    """An invalidated step is fetched by its own grant."""
    step = RotatingStep()
    pipeline = TokenFetchPipeline([step], storage)
    pipeline.execute()
    pipeline.invalidate_step("app")
    assert pipeline.execute().access_token == "app-2"
    assert (step.fetches, step.redeemed) == (2, [])


def test_an_answer_without_a_refresh_token_keeps_the_old_one(clock: Clock, storage: Any) -> None:  # noqa: ANN401
    """It is returned with the token, and redeemed again the next time (RFC 6749 section 6)."""
    step = RotatingStep()
    pipeline = TokenFetchPipeline([step], storage)
    pipeline.execute()
    step.rotates = False
    for _ in range(2):
        clock.advance(minutes=1)
        assert pipeline.execute().refresh_token == "r1"
    assert (step.fetches, step.redeemed) == (1, ["r1", "r1"])


def test_a_rotated_token_is_stored_before_the_token_is_used(clock: Clock) -> None:
    """By the time that a dependent step is fetched, the successor is in the storage."""
    storage = RecordingStorage()
    user = CountingStep("user", ["app"], ttl=timedelta(seconds=30))
    pipeline = TokenFetchPipeline([RotatingStep(), user], storage)
    seen: list[str | None] = []
    user.during = lambda: seen.append(storage.tokens["app"].refresh_token)
    pipeline.execute()
    clock.advance(minutes=1)
    pipeline.execute()
    assert seen == ["r1", "r2"]


@pytest.mark.parametrize("short", [{"ttl": timedelta(0)}, {"expires_in": 0}], ids=["ttl", "server"])
def test_a_token_without_a_life_leaves_its_refresh_token(short: dict[str, Any]) -> None:
    """Each call gets a new token, by the refresh token of the last."""
    step = RotatingStep(**short)
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    tokens = [pipeline.execute().access_token for _ in range(3)]
    assert tokens == ["app-1", "app-2", "app-3"]
    assert (step.fetches, step.redeemed) == (1, ["r1", "r2"])


def test_a_step_that_does_not_refresh_is_fetched(clock: Clock) -> None:
    """A refresh token means nothing to a step that does not override `refresh`."""
    step = CountingStep("app", ttl=timedelta(minutes=1), refresh_token="r")
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    pipeline.execute()
    clock.advance(minutes=1)
    assert pipeline.execute().access_token == "app-2"


def test_force_refresh_redeems() -> None:
    """A forced fetch is made by the refresh token, where there is one."""
    step = RotatingStep()
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    pipeline.execute()
    assert pipeline.execute(force_refresh=True).access_token == "app-2"
    assert (step.fetches, step.redeemed) == (1, ["r1"])


def _two() -> tuple[RotatingStep, RotatingStep]:
    return RotatingStep("app"), RotatingStep("user", ["app"])


def test_the_refresh_of_a_rejected_token_redeems_in_every_step(storage: Any) -> None:  # noqa: ANN401
    """Steps whose tokens a refresh gives up keep their refresh tokens, and redeem them."""
    app, user = _two()
    provider = PipelineTokenProvider(TokenFetchPipeline([app, user], storage), "api")
    rejected = provider.fetch_token()
    assert provider.refresh(rejected).access_token == "user-2"
    assert provider.refresh(rejected).access_token == "user-2"
    assert [(step.fetches, step.redeemed) for step in (app, user)] == [(1, ["r1"])] * 2


def test_a_refresh_gives_the_old_tokens_up_at_the_first_new_one() -> None:
    """A token bought with a replaced one is served no more, though its refresh token stays."""
    app, user = _two()
    storage = RecordingStorage()
    pipeline = TokenFetchPipeline([app, user], storage)
    rejected = pipeline.execute()
    user.refusals = [refusal("invalid_scope")]
    with recorded() as events, pytest.raises(Exception, match="invalid_scope"):
        pipeline.refresh(rejected)
    assert [(e.step, e.cause) for e in events if isinstance(e, StepInvalidated)] == [
        ("user", "refresh")
    ]
    with recorded() as events:
        assert pipeline.execute().access_token == "user-2"
    assert [(e.step, e.reason) for e in events if isinstance(e, StepMissed)] == [
        ("user", "invalidated")
    ]
    assert (app.redeemed, user.redeemed) == (["r1"], ["r1", "r1"])


def test_a_chain_repair_redeems(clock: Clock, storage: Any) -> None:  # noqa: ANN401
    """An upstream token that a step was refused with is renewed by its refresh token."""
    app = RotatingStep("app", expires_in=3600)
    user = CountingStep("user", ["app"], ttl=timedelta(minutes=1))
    other = RotatingStep("other", ["app"], expires_in=3600)
    pipeline = TokenFetchPipeline([app, other, user], storage)
    pipeline.execute()
    clock.advance(minutes=1)
    user.failures = [refusal("invalid_token", 401)]
    with recorded() as events:
        assert pipeline.execute().access_token == "user-3"
    assert [(step.fetches, step.redeemed) for step in (app, other)] == [(1, ["r1"])] * 2
    assert user.contexts[-1] is not None
    assert user.contexts[-1]["app"].access_token == "app-2"
    causes = {e.step: e.cause for e in events if isinstance(e, StepInvalidated)}
    assert causes == {"app": "repair", "other": "cascade", "user": "cascade"}


def test_a_refresh_without_refresh_tokens_fetches() -> None:
    """A step that could redeem one is fetched where there is none, and its old token given up."""
    app, user = _two()
    for step in (app, user):
        step.brings = False
    pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage())
    assert pipeline.refresh(pipeline.execute()).access_token == "user-2"
    assert [(step.fetches, step.redeemed) for step in (app, user)] == [(2, [])] * 2


def test_a_token_is_given_up_once() -> None:
    """A second step that was refused with the same token finds it given up."""
    storage = RecordingStorage()
    steps = [RotatingStep("app", expires_in=3600) for _ in range(2)]
    users = [CountingStep(name, ["app"]) for name in ("first", "second")]
    pipelines = [TokenFetchPipeline([*pair], storage) for pair in zip(steps, users, strict=True)]
    TokenFetchPipeline([steps[0]], storage).execute()
    for user in users:
        user.failures = [refusal("invalid_token", 401)]
    steps[1].refusals = [refusal("invalid_scope")]

    def fail() -> None:
        users[0].during = None
        with pytest.raises(AuthenticationException, match="invalid_scope"):
            pipelines[1].execute()

    users[0].during = fail
    with recorded() as events:
        assert pipelines[0].execute().access_token == "first-2"
    given_up = [e.step for e in events if isinstance(e, StepInvalidated)]
    assert given_up.count("app") == 1
    assert (steps[0].fetches, steps[0].redeemed) == (1, ["r1"])


def test_a_token_given_up_elsewhere_is_dead_where_it_was_fetched() -> None:
    """The process that has fetched a token heeds that another one has given it up."""
    tokens: dict[str, TokenData] = {}
    here, there = RecordingStorage(), RecordingStorage()
    here.tokens = there.tokens = tokens
    mine, theirs = RotatingStep("app", expires_in=3600), RotatingStep("app", expires_in=3600)
    user = CountingStep("user", ["app"])
    user.failures = [refusal("invalid_token", 401), refusal("invalid_scope")]
    pipeline = TokenFetchPipeline([mine], here)
    pipeline.execute()
    theirs.refusals = [refusal("invalid_scope")]
    with pytest.raises(Exception, match="invalid_scope"):
        TokenFetchPipeline([theirs, user], there).execute()
    assert pipeline.execute().access_token == "app-2"
    assert (mine.fetches, mine.redeemed) == (1, ["r1"])


def test_an_invalidation_while_a_token_is_redeemed_wins(clock: Clock) -> None:
    """The successor of a refresh token that was invalidated meanwhile is not stored."""
    storage = RecordingStorage()
    step = RotatingStep()
    pipeline = TokenFetchPipeline([step], storage)
    pipeline.execute()
    clock.advance(minutes=1)
    step.while_redeeming = lambda: pipeline.invalidate_step("app")
    assert pipeline.execute().access_token == "app-2"
    assert "app" not in storage.tokens
    step.while_redeeming = None
    assert pipeline.execute().access_token == "app-3"
    assert (step.fetches, step.redeemed) == (2, ["r1"])


def test_the_events_of_a_redemption_are_those_of_a_fetch(clock: Clock) -> None:
    """A miss because of the expiry, and a fetch."""
    pipeline = TokenFetchPipeline([RotatingStep()], InMemoryTokenStorage())
    pipeline.execute()
    clock.advance(minutes=1)
    with recorded() as events:
        pipeline.execute()
    assert [type(event) for event in events] == [StepMissed, StepFetched]


def test_a_storage_without_compare_and_set_of_its_own_will_do(clock: Clock) -> None:
    """The defaults of the interface serve."""

    class Plain(TokenStorageInterface):
        shared = False

        def __init__(self) -> None:
            self.tokens: dict[str, TokenData] = {}

        def get(self, key: str) -> TokenData | None:
            return self.tokens.get(key)

        def set(self, key: str, token: TokenData) -> None:
            self.tokens[key] = token

        def delete(self, key: str) -> None:
            self.tokens.pop(key, None)

        def exists(self, key: str) -> bool:
            return key in self.tokens

    step = RotatingStep()
    pipeline = TokenFetchPipeline([step], Plain())
    pipeline.execute()
    clock.advance(minutes=1)
    pipeline.execute()
    assert step.redeemed == ["r1"]
