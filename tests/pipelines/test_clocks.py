"""Clocks that are set back, stand still, come and go, or count in local time."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from freezegun import freeze_time

from doubles import START, Clock, CountingStep, JsonStorage
from requestforge import InMemoryTokenStorage, TokenData, TokenFetchPipeline
from requestforge.instrumentation import use_clock

pytestmark = pytest.mark.compat

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def one_step(token: TokenData, ttl: timedelta | None) -> CountingStep:
    """A step that always gives that token."""
    step = CountingStep("app", ttl=ttl)
    fetch = step.fetch

    def fixed(context: dict[str, TokenData] | None = None) -> TokenData:
        fetch(context)
        return token

    step.fetch = fixed
    return step


def test_the_wall_clock_set_back_does_not_extend_a_life(storage: object, clock: Clock) -> None:
    """After the wall clock is set back two hours a token still ends after its ttl."""
    step = CountingStep("app", ttl=HOUR)
    pipeline = TokenFetchPipeline([step], storage)
    pipeline.execute()
    clock.set_back(hours=2)
    clock.advance(minutes=59, seconds=59)
    assert pipeline.execute().access_token == "app-1"
    clock.advance(seconds=1)
    assert pipeline.execute().access_token == "app-2"


def test_tokens_fetched_after_the_wall_clock_was_set_back_live_as_long(
    storage: object, clock: Clock
) -> None:
    """What is fetched under the new time lives by it."""
    step = CountingStep("app", ttl=HOUR)
    pipeline = TokenFetchPipeline([step], storage)
    pipeline.execute()
    clock.set_back(hours=2)
    clock.advance(hours=1)
    assert pipeline.execute().access_token == "app-2"
    clock.advance(minutes=59)
    assert pipeline.execute().access_token == "app-2"
    clock.advance(minutes=1)
    assert pipeline.execute().access_token == "app-3"


def test_the_wall_clock_decides_when_it_is_ahead(storage: object, clock: Clock) -> None:
    """A laptop that slept serves no dead token, though the monotonic clock stood still."""
    step = CountingStep("app", ttl=HOUR)
    pipeline = TokenFetchPipeline([step], storage)
    pipeline.execute()
    clock.suspend(hours=1)
    assert pipeline.execute().access_token == "app-2"


def test_only_the_wall_clock_counts_for_tokens_of_other_processes(clock: Clock) -> None:
    """A record that this process did not fetch has no monotonic end."""
    elsewhere = JsonStorage()
    TokenFetchPipeline([CountingStep("app", ttl=HOUR)], elsewhere).execute()
    storage = JsonStorage()
    storage.texts.update(elsewhere.texts)
    step = CountingStep("app", ttl=HOUR)
    pipeline = TokenFetchPipeline([step], storage)
    clock.set_back(hours=2)
    clock.advance(hours=2)
    assert pipeline.execute().access_token == "app-1"
    assert step.fetches == 0


def test_a_clock_put_in_place_makes_no_token_dead(storage: object) -> None:
    """The monotonic end counts only on the clock that it was read from."""
    step = CountingStep("app", ttl=HOUR)
    pipeline = TokenFetchPipeline([step], storage)
    with use_clock(Clock(monotonic=5.0)):
        pipeline.execute()
    with use_clock(Clock(monotonic=1e9)) as other:
        assert pipeline.execute().access_token == "app-1"
        other.advance(minutes=59)
        assert pipeline.execute().access_token == "app-1"
        other.advance(minutes=1)
        assert pipeline.execute().access_token == "app-2"


def test_a_clock_taken_away_makes_no_token_dead(storage: object) -> None:
    """Back on the clock of the machine, the wall clock decides about a token of another clock."""
    step = CountingStep("app", ttl=HOUR)
    pipeline = TokenFetchPipeline([step], storage)
    real = datetime.now(UTC)
    with use_clock(Clock(real, monotonic=-1e9)):
        pipeline.execute()
    assert pipeline.execute().access_token == "app-1"
    with use_clock(Clock(real, monotonic=-1e9)):
        assert pipeline.execute().access_token == "app-1"


@pytest.mark.parametrize(
    "freeze",
    [
        pytest.param(freeze_time, id="freezegun"),
        pytest.param(lambda at: time_machine.travel(at, tick=False), id="time-machine"),
    ],
)
def test_tools_that_freeze_time_make_no_token_dead(
    freeze: Callable[[datetime], object], storage: object
) -> None:
    """Tokens live through a freeze and a thaw, and end when the frozen time says so."""
    step = CountingStep("app", ttl=HOUR)
    pipeline = TokenFetchPipeline([step], storage)
    now = datetime.fromtimestamp(time.time(), UTC)
    pipeline.execute()
    with freeze(now + timedelta(minutes=59)):
        assert pipeline.execute().access_token == "app-1"
        assert pipeline.execute().access_token == "app-1"
    assert pipeline.execute().access_token == "app-1"
    with freeze(now + timedelta(minutes=61)):
        assert pipeline.execute().access_token == "app-2"
        assert pipeline.execute().access_token == "app-2"
    assert pipeline.execute().access_token == "app-2"


def test_tokens_of_different_clocks_are_cached_together() -> None:
    """Tokens fetched under two clocks each end by the wall clock, and by their own one."""
    with ExitStack() as stack:
        first = stack.enter_context(use_clock(Clock(monotonic=0)))
        app, user = CountingStep("app", ttl=HOUR), CountingStep("user", ["app"], ttl=MINUTE)
        pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage())
        pipeline.execute()
        first.advance(minutes=1)
        with use_clock(Clock(first.now(), monotonic=7e6)) as second:
            for _ in range(3):
                assert pipeline.execute().access_token == "user-2"
            second.advance(seconds=59)
            assert pipeline.execute().access_token == "user-2"
            second.set_back(hours=1)
            second.advance(seconds=1)
            assert pipeline.execute().access_token == "user-3"
        assert pipeline.execute().access_token == "user-4"
    assert app.fetches == 1


def test_a_naive_expiry_is_local_time(monkeypatch: pytest.MonkeyPatch, storage: object) -> None:
    """A fetcher that gives a naive expires_at means local time."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        with use_clock(Clock()) as clock:
            local_end = (START + HOUR).astimezone().replace(tzinfo=None)
            assert local_end.hour == 18
            step = one_step(TokenData("local", expires_at=local_end), None)
            pipeline = TokenFetchPipeline([step], storage)
            assert pipeline.execute().expires_at == local_end
            clock.advance(minutes=59, seconds=29)
            pipeline.execute()
            assert step.fetches == 1
            clock.advance(seconds=1)
            pipeline.execute()
            assert step.fetches == 2
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_cached_execution_reads_each_clock_once(storage: object) -> None:
    """Serving from the cache costs one look at the wall clock and one at the monotonic one."""

    class CountedClock(Clock):
        reads = 0

        def now(self) -> datetime:
            self.reads += 1
            return super().now()

        def monotonic(self) -> float:
            self.reads += 1
            return super().monotonic()

    app, user = CountingStep("app", ttl=HOUR), CountingStep("user", ["app"], ttl=HOUR)
    pipeline = TokenFetchPipeline([app, user], storage)
    with use_clock(CountedClock()) as clock:
        for _ in range(3):
            pipeline.execute()
            clock.reads, before = 0, clock.reads
            assert before > 0
        pipeline.execute()
        assert clock.reads <= 2
