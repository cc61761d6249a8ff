"""Refresh tokens that are refused, and redemptions that fail: what is kept, and what follows."""

from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import pytest
from rotating import LIMIT, LONG_AGO, RotatingStep, refusal

from doubles import Clock, FlakyStorage, RecordingStorage, recorded
from requestforge import InMemoryTokenStorage, TokenFetchPipeline
from requestforge.events import RefreshFailed, StepFailed, StepMissed
from requestforge.exceptions import (
    AuthenticationException,
    BadRequestException,
    ConnectionException,
    HttpStatusException,
    ServerErrorException,
    TimeoutException,
    TokenRefreshException,
)
from requestforge.instrumentation import use_clock
from requestforge.tokens import TokenData

pytestmark = pytest.mark.usefixtures("clock")


def expired(step: RotatingStep, storage: Any) -> TokenFetchPipeline:  # noqa: ANN401
    """A pipeline whose storage has an expired token with the refresh token r0."""
    storage.set(step.name, TokenData("old", expires_at=LONG_AGO, refresh_token="r0"))
    return TokenFetchPipeline([step], storage)


class ForeignError(Exception):
    """The error of another library, which has the code in an attribute."""

    error = "invalid_grant"


REFUSALS: dict[str, Callable[[], Exception]] = {
    "a fetcher of the library": lambda: refusal("invalid_grant"),
    "the error of an answer": lambda: BadRequestException(
        response_body='{"error":"invalid_grant"}'
    ),
    "another library": lambda: ForeignError("It is no good."),
    "a text": lambda: RuntimeError("HTTP 400 invalid_grant"),
}


@pytest.mark.parametrize("error", REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refused_refresh_token_leads_to_the_own_grant(error: Callable[[], Exception]) -> None:
    """It is dropped, and the step is fetched in the same flight; the caller is served."""
    step = RotatingStep()
    step.refusals = [error()]
    storage = RecordingStorage()
    with recorded() as events:
        assert expired(step, storage).execute().access_token == "app-1"
    assert (step.fetches, step.redeemed) == (1, ["r0"])
    assert storage.tokens["app"].refresh_token == "r1"
    [failed] = [event for event in events if isinstance(event, RefreshFailed)]
    assert (failed.step, "r0" in failed.error) == ("app", False)
    assert not [event for event in events if isinstance(event, StepFailed)]


def test_a_refused_refresh_token_is_dropped_before_the_own_grant() -> None:
    """Nobody finds it in the storage any more, whatever the own grant comes to."""
    step = RotatingStep()
    step.refusals = [refusal("invalid_grant")]
    step.failures = [ConnectionException("down")]
    storage = RecordingStorage()
    pipeline = expired(step, storage)
    step.during = lambda: dropped.append(storage.tokens["app"].refresh_token is None)
    dropped: list[bool] = []
    with pytest.raises(AuthenticationException) as caught:
        pipeline.execute()
    assert dropped == [True]
    assert not isinstance(caught.value, TokenRefreshException)
    assert pipeline.execute().access_token == "app-1"
    assert (step.fetches, step.redeemed) == (2, ["r0"])


def test_no_grant_left_is_a_token_refresh_exception() -> None:
    """A refused refresh token, and then a refused own grant: service_name is the step."""
    step = RotatingStep()
    step.refusals = [refusal("invalid_grant")]
    step.failures = [refusal("invalid_grant")]
    with pytest.raises(TokenRefreshException) as caught:
        expired(step, InMemoryTokenStorage()).execute()
    assert caught.value.service_name == "app"


def test_a_step_may_say_itself_that_no_grant_is_left() -> None:
    """A TokenRefreshException of `refresh` is the caller's; the refresh token is dropped."""
    step = RotatingStep()
    step.refusals = [TokenRefreshException("over", service_name="app")]
    pipeline = expired(step, InMemoryTokenStorage())
    with pytest.raises(TokenRefreshException):
        pipeline.execute()
    assert step.fetches == 0
    assert pipeline.execute().access_token == "app-1"
    assert step.redeemed == ["r0"]


def test_the_own_grant_may_say_so_too() -> None:
    """A TokenRefreshException of `fetch` is told as it is."""
    step = RotatingStep()
    step.refusals = [refusal("invalid_grant")]
    step.failures = [TokenRefreshException("The user has to sign in.")]
    with pytest.raises(TokenRefreshException, match="has to sign in"):
        expired(step, InMemoryTokenStorage()).execute()


def _status(code: int) -> HttpStatusException:
    return ServerErrorException("Server Error", code)


FAILURES: dict[str, Callable[[], Exception]] = {
    "no connection": lambda: ConnectionException("down"),
    "a timeout": lambda: TimeoutException("late"),
    "503": lambda: _status(503),
    "429": lambda: HttpStatusException("Too Many Requests", 429),
    "invalid_client": lambda: refusal("invalid_client", 401),
    "invalid_scope": lambda: refusal("invalid_scope"),
    "invalid_request": lambda: refusal("invalid_request"),
    "not JSON": lambda: AuthenticationException("The token answer is not readable JSON."),
    "an answer without a code": lambda: BadRequestException(response_body="<html>"),
    "an answer in a list": lambda: BadRequestException(response_body='["invalid"]'),
    "a code that is no text": lambda: BadRequestException(response_body='{"error": 7}'),
}


@pytest.mark.parametrize("error", FAILURES.values(), ids=FAILURES.keys())
def test_other_failures_keep_the_refresh_token(error: Callable[[], Exception]) -> None:
    """The call fails as any fetch does, and the next one redeems the same refresh token."""
    step = RotatingStep()
    step.refusals = [error()]
    pipeline = expired(step, InMemoryTokenStorage())
    with recorded() as events, pytest.raises(AuthenticationException) as caught:
        pipeline.execute()
    assert not isinstance(caught.value, TokenRefreshException)
    assert [type(event) for event in events] == [StepMissed, StepFailed]
    assert pipeline.execute().access_token == "app-1"
    assert (step.fetches, step.redeemed) == (0, ["r0", "r0"])


@pytest.mark.parametrize("code", ["unsupported_grant_type", "unauthorized_client"])
def test_a_server_that_takes_no_refresh_tokens_gets_the_own_grant(code: str) -> None:
    """A refresh token that is worth nothing to its server is no obstacle."""
    step = RotatingStep()
    step.refusals = [refusal(code)]
    assert expired(step, InMemoryTokenStorage()).execute().access_token == "app-1"
    assert step.fetches == 1


class Shared:
    """Two processes on one storage, as far as its tokens go, each with a pipeline of one step."""

    def __init__(self) -> None:
        self.tokens: dict[str, TokenData] = {}
        self.mine, self.theirs = RotatingStep(), RotatingStep()
        self.here = TokenFetchPipeline([self.mine], self._storage())
        self.there = TokenFetchPipeline([self.theirs], self._storage())
        self.tokens["app"] = TokenData("old", expires_at=LONG_AGO, refresh_token="r0")
        self.mine.refusals = [refusal("invalid_grant")]

    def _storage(self) -> RecordingStorage:
        storage = RecordingStorage()
        storage.tokens = self.tokens
        return storage

    def meanwhile(self, call: Callable[[], object]) -> None:
        """Call back once, while the process here redeems."""

        def run() -> None:
            self.mine.while_redeeming = None
            call()

        self.mine.while_redeeming = run


def test_the_token_of_another_process_is_adopted() -> None:
    """A refresh token that was refused because another process was first costs nothing."""
    shared = Shared()
    shared.theirs.issued = 10
    shared.meanwhile(shared.there.execute)
    assert shared.here.execute().access_token == "app-11"
    assert (shared.mine.fetches, shared.mine.redeemed) == (0, ["r0"])


def test_the_refresh_token_of_another_process_is_redeemed() -> None:
    """What has come in the place of the refused one is redeemed, where its token is dead."""
    shared = Shared()

    def change() -> None:
        shared.tokens["app"] = TokenData("newer", expires_at=LONG_AGO, refresh_token="r9")

    shared.meanwhile(change)
    assert shared.here.execute().access_token == "app-1"
    assert (shared.mine.fetches, shared.mine.redeemed) == (0, ["r0", "r9"])


def test_a_forced_fetch_does_not_adopt() -> None:
    """It redeems the refresh token of the other process, since it has to be a fetch of its own."""
    shared = Shared()
    shared.theirs.issued = 10
    shared.meanwhile(shared.there.execute)
    assert shared.here.execute(force_refresh=True).access_token == "app-1"
    assert (shared.mine.fetches, shared.mine.redeemed) == (0, ["r0", "r11"])


def test_a_refresh_token_that_another_process_has_dropped_is_gone() -> None:
    """Both processes fetch, one after the other, and neither redeems it twice."""
    shared = Shared()
    shared.theirs.refusals = [refusal("invalid_grant")]
    shared.theirs.failures = [ConnectionException("down")]

    def fail() -> None:
        with pytest.raises(AuthenticationException):
            shared.there.execute()

    shared.meanwhile(fail)
    assert shared.here.execute().access_token == "app-1"
    assert (shared.mine.fetches, shared.mine.redeemed) == (1, ["r0"])
    assert shared.theirs.redeemed == ["r0"]


def test_a_refused_refresh_token_of_an_invalidated_step_leads_to_its_own_grant() -> None:
    """What is fetched after the invalidation is cached."""
    shared = Shared()
    shared.meanwhile(lambda: shared.here.invalidate_step("app"))
    assert shared.here.execute().access_token == "app-1"
    assert shared.here.execute().access_token == "app-1"
    assert (shared.mine.fetches, shared.mine.redeemed) == (1, ["r0"])


def test_a_storage_that_fails_after_the_refusal_leaves_the_own_grant() -> None:
    """Whether another process has a newer refresh token cannot be told, and need not be."""
    storage = FlakyStorage()
    step = RotatingStep()
    step.refusals = [refusal("invalid_grant")]
    pipeline = expired(step, storage)
    step.while_redeeming = lambda: storage.broken.add("get")
    assert pipeline.execute().access_token == "app-1"
    assert (step.fetches, step.redeemed) == (1, ["r0"])


def test_nothing_is_redeemed_while_the_storage_cannot_be_read() -> None:
    """The step is fetched by its own grant; the refresh token in the storage waits."""
    storage = FlakyStorage()
    step = RotatingStep()
    pipeline = expired(step, storage)
    storage.broken.add("get")
    assert pipeline.execute().access_token == "app-1"
    assert (step.fetches, step.redeemed) == (1, [])


def test_a_successor_that_cannot_be_stored_is_kept(clock: Clock) -> None:
    """It is redeemed here, in the place of the one in the storage, and stored when that works."""
    storage = FlakyStorage()
    step = RotatingStep()
    pipeline = expired(step, storage)
    storage.broken.add("set")
    assert pipeline.execute().access_token == "app-1"
    clock.advance(minutes=2)
    assert pipeline.execute().access_token == "app-2"
    assert (step.fetches, step.redeemed) == (0, ["r0", "r1"])
    assert storage.tokens["app"].refresh_token == "r0"
    storage.broken.clear()
    clock.advance(seconds=2)
    assert pipeline.execute().access_token == "app-2"
    assert storage.tokens["app"].refresh_token == "r2"
    other = RotatingStep()
    clock.advance(minutes=2)
    TokenFetchPipeline([other], storage).execute()
    assert (other.fetches, other.redeemed) == (0, ["r2"])


def test_a_storage_that_fails_to_write_is_tried_once_a_second(clock: Clock) -> None:
    """Calls that are served from this process do not wait for it each time."""
    storage = FlakyStorage()
    pipeline = expired(RotatingStep(), storage)
    storage.broken.add("set")
    for _ in range(5):
        pipeline.execute()
    assert storage.made("failed set") == ["app"]
    clock.advance(seconds=1)
    for _ in range(5):
        pipeline.execute()
    assert storage.made("failed set") == ["app"] * 2


def test_a_kept_successor_is_redeemed_while_the_storage_cannot_be_read(clock: Clock) -> None:
    """Nobody else can have it, so there is nothing to be read."""
    storage = FlakyStorage()
    step = RotatingStep()
    pipeline = expired(step, storage)
    storage.broken.add("set")
    pipeline.execute()
    storage.broken.add("get")
    clock.advance(minutes=2)
    assert pipeline.execute().access_token == "app-2"
    assert (step.fetches, step.redeemed) == (0, ["r0", "r1"])


def test_a_kept_successor_gives_way_to_what_another_process_has_stored(clock: Clock) -> None:
    """Once the storage has a newer token, that counts."""
    storage = FlakyStorage()
    step = RotatingStep()
    pipeline = expired(step, storage)
    storage.broken.add("set")
    pipeline.execute()
    storage.broken.clear()
    storage.tokens["app"] = TokenData("theirs", expires_at=LONG_AGO, refresh_token="r9")
    clock.advance(minutes=2)
    assert pipeline.execute().access_token == "app-2"
    assert step.redeemed == ["r0", "r9"]


def test_a_successor_that_another_thread_stores_meanwhile_has_a_successor(clock: Clock) -> None:
    """A kept token may be stored while it is redeemed; what comes of that is stored as well."""
    storage = TellingFlakyStorage()
    step = RotatingStep()
    pipeline = expired(step, storage)
    storage.broken.add("set")
    pipeline.execute()
    clock.advance(minutes=2)
    storage.stored.clear()
    others: list[TokenData] = []
    other = Thread(target=lambda: others.append(pipeline.execute()), daemon=True)

    def mend() -> None:
        storage.broken.clear()
        clock.advance(seconds=2)
        other.start()
        assert storage.stored.wait(LIMIT)

    step.while_redeeming = mend
    assert pipeline.execute().access_token == "app-2"
    other.join(LIMIT)
    assert [token.access_token for token in others] == ["app-2"]
    assert storage.tokens["app"].refresh_token == "r2"
    assert step.redeemed == ["r0", "r1"]


def test_a_successor_that_another_thread_is_too_late_for_is_kept() -> None:
    """A thread that stores the one before it does not take it away."""
    clock = Clock()
    with use_clock(clock):
        storage = TellingFlakyStorage()
        step = RotatingStep()
        pipeline = expired(step, storage)
        storage.broken.add("set")
        pipeline.execute()
        clock.advance(minutes=2)
        other = Thread(target=pipeline.execute, daemon=True)

        def overtake() -> None:
            clock.advance(seconds=2)
            storage.broken.clear()
            storage.goes_on.clear()
            storage.stored.clear()
            other.start()
            assert storage.stored.wait(LIMIT)
            storage.broken.add("set")

        step.while_redeeming = overtake
        assert pipeline.execute().access_token == "app-2"
        storage.goes_on.set()
        other.join(LIMIT)
        step.while_redeeming = None
        storage.broken.clear()
        clock.advance(minutes=2)
        assert pipeline.execute().access_token == "app-3"
    assert (step.fetches, step.redeemed) == (0, ["r0", "r1", "r2"])


class TellingFlakyStorage(FlakyStorage):
    """A storage that tells when it has stored something, and then waits if it is to."""

    def __init__(self) -> None:
        super().__init__()
        self.stored, self.goes_on = Event(), Event()
        self.goes_on.set()

    def set(self, key: str, token: TokenData) -> None:
        super().set(key, token)
        self.stored.set()
        assert self.goes_on.wait(LIMIT)


def test_an_invalidation_ends_a_kept_successor(clock: Clock) -> None:
    """It goes with the record that it could not replace."""
    storage = FlakyStorage()
    step = RotatingStep()
    pipeline = expired(step, storage)
    storage.broken.add("set")
    pipeline.execute()
    storage.broken.clear()
    pipeline.invalidate_all()
    clock.advance(seconds=2)
    assert pipeline.execute().access_token == "app-2"
    assert (step.fetches, step.redeemed) == (1, ["r0"])


def test_a_token_that_cannot_be_given_up_in_the_storage_is_dead_here(clock: Clock) -> None:
    """A refresh whose storage fails to write serves the new token all the same."""
    storage = FlakyStorage()
    app, user = RotatingStep("app"), RotatingStep("user", ["app"])
    pipeline = TokenFetchPipeline([app, user], storage)
    rejected = pipeline.execute()
    storage.broken.add("set")
    assert pipeline.refresh(rejected).access_token == "user-2"
    assert [(step.fetches, step.redeemed) for step in (app, user)] == [(1, ["r1"])] * 2
    assert pipeline.execute().access_token == "user-2"
    clock.advance(minutes=2)
    assert pipeline.execute().access_token == "user-3"
    assert [step.redeemed for step in (app, user)] == [["r1", "r2"]] * 2
