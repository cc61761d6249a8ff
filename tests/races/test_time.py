"""Tokens in any time zone, across changes of the clocks, and under tools that freeze time."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

import freezegun
import pytest
import time_machine
from racing import Gate, Task

from doubles import Clock, CountingStep, JsonStorage
from requestforge import (
    AuthenticationException,
    InMemoryTokenStorage,
    TokenData,
    TokenFetchPipeline,
)
from requestforge.instrumentation import now, use_clock
from requestforge.interfaces import TokenFetcherInterface

pytestmark = [
    pytest.mark.compat,
    pytest.mark.skipif(not hasattr(time, "tzset"), reason="The time zone cannot be set here."),
]

ZONES = ["UTC", "Asia/Tokyo", "America/Los_Angeles", "Asia/Kolkata"]
HOUR = timedelta(hours=1)

# The clocks of Los Angeles go forward at 10:00 UTC on 10 March 2030, and back at 9:00 UTC on
# 3 November 2030.
MOMENTS = {
    "an ordinary day": datetime(2030, 7, 1, 12, tzinfo=UTC),
    "the year's end": datetime(2030, 12, 31, 23, 30, tzinfo=UTC),
    "clocks go forward": datetime(2030, 3, 10, 9, 30, tzinfo=UTC),
    "clocks go back": datetime(2030, 11, 3, 8, 30, tzinfo=UTC),
}


class FixedStep(TokenFetcherInterface):
    """A step that counts its fetches, and gives what it is told to."""

    name = "app"

    def __init__(self, make: Callable[[], TokenData]) -> None:
        self._make = make
        self.fetches = 0

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        del context
        self.fetches += 1
        return self._make()


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """The time zone of this process until the test ends."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield request.param
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.fixture(params=MOMENTS.values(), ids=MOMENTS.keys())
def clock(request: pytest.FixtureRequest) -> Iterator[Clock]:
    """A clock that stands at one of the moments."""
    with use_clock(Clock(start=request.param)) as clock:
        yield clock


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("ttl", "expires_in", "life"),
    [
        (3600, None, 3600),
        (None, 3600, 3570),
        (None, 100, 90),
        (60, 1000, 60),
        (200, 100, 90),
        (95, 100, 90),
        (90, 100, 90),
        (85, 100, 85),
    ],
    ids=str,
)
def test_a_token_lives_as_long_in_every_zone(
    clock: Clock, ttl: float | None, expires_in: float | None, life: float
) -> None:
    """A ttl is exact, a server's lifetime has its margin, and the earlier of the two holds."""
    step = CountingStep("app", (), None if ttl is None else timedelta(seconds=ttl), expires_in)
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    pipeline.execute()
    clock.advance(seconds=life, microseconds=-1)
    assert pipeline.execute().access_token == "app-1"
    clock.advance(microseconds=1)
    assert pipeline.execute().access_token == "app-2"


@pytest.mark.usefixtures("zone")
def test_a_stored_token_is_read_right_in_every_zone(clock: Clock) -> None:
    """A record keeps its instants as ISO 8601 with the offset."""
    storage = JsonStorage()
    TokenFetchPipeline([CountingStep("app", ttl=HOUR)], storage).execute()
    step = CountingStep("app", ttl=HOUR)
    copy = JsonStorage()  # stands for another process
    copy.texts = storage.texts
    pipeline = TokenFetchPipeline([step], copy)
    clock.advance(minutes=59)
    assert pipeline.execute().expires_at == clock.now() + timedelta(minutes=1)
    assert step.fetches == 0
    clock.advance(minutes=1)
    pipeline.execute()
    assert step.fetches == 1


@pytest.mark.usefixtures("zone")
def test_a_naive_expiry_is_local_time(clock: Clock) -> None:
    """A fetcher that gives a datetime without a zone means the clock on the wall."""
    ends = clock.now() + HOUR
    naive = datetime.fromtimestamp(ends.timestamp())  # noqa: DTZ006 - local on purpose
    step = FixedStep(lambda: TokenData("naive", expires_at=naive, leeway=timedelta(0)))
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    token = pipeline.execute()
    assert token.expires_at == naive
    assert token.expires_at.tzinfo is None
    clock.advance(minutes=59)
    assert not token.is_expired
    pipeline.execute()
    assert step.fetches == 1
    clock.advance(minutes=1)
    assert token.is_expired
    pipeline.execute()
    assert step.fetches == 2


@pytest.mark.parametrize("zone", ["America/Los_Angeles"], indirect=True)
@pytest.mark.parametrize("clock", [MOMENTS["clocks go back"]], indirect=True)
@pytest.mark.usefixtures("zone")
def test_a_naive_expiry_in_the_hour_that_comes_twice_is_told_by_its_fold(clock: Clock) -> None:
    """1:45 comes at 8:45 UTC, and with fold=1 at 9:45 UTC."""
    first = datetime(2030, 11, 3, 1, 45)
    second = first.replace(fold=1)
    tokens = [TokenData("t", expires_at=naive, leeway=timedelta(0)) for naive in (first, second)]
    assert [token.is_expired for token in tokens] == [False, False]
    clock.advance(minutes=15)
    assert [token.is_expired for token in tokens] == [True, False]
    clock.advance(minutes=60)
    assert [token.is_expired for token in tokens] == [True, True]


@pytest.mark.usefixtures("zone")
def test_a_clock_set_back_lengthens_no_life(clock: Clock) -> None:
    """Two hours back on the wall, a token still ends an hour after its fetch, and not before."""
    step = CountingStep("app", ttl=HOUR)
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    pipeline.execute()
    clock.advance(minutes=10)
    clock.set_back(hours=2)
    clock.advance(minutes=49)
    assert pipeline.execute().access_token == "app-1"
    clock.advance(minutes=1)
    assert pipeline.execute().access_token == "app-2"
    clock.advance(minutes=59)
    assert pipeline.execute().access_token == "app-2"
    clock.advance(minutes=1)
    assert pipeline.execute().access_token == "app-3"


@pytest.mark.usefixtures("zone")
def test_a_clock_set_back_during_a_fetch_lengthens_no_life(clock: Clock) -> None:
    """The life counts from the sending, on the monotonic clock, too."""
    step = CountingStep("app", ttl=HOUR)
    step.during = lambda: clock.set_back(hours=2)
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    pipeline.execute()
    step.during = None
    clock.advance(minutes=59)
    assert pipeline.execute().access_token == "app-1"
    clock.advance(minutes=1)
    assert pipeline.execute().access_token == "app-2"


@pytest.mark.usefixtures("zone")
def test_a_suspended_machine_serves_no_dead_token(clock: Clock) -> None:
    """While a laptop sleeps the wall clock alone goes on; it decides."""
    step = CountingStep("app", ttl=HOUR)
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    pipeline.execute()
    clock.suspend(minutes=59)
    assert pipeline.execute().access_token == "app-1"
    clock.suspend(minutes=1)
    assert pipeline.execute().access_token == "app-2"


def _freezegun(moment: datetime) -> AbstractContextManager[object]:
    return freezegun.freeze_time(moment)


def _ticking(moment: datetime) -> AbstractContextManager[object]:
    return freezegun.freeze_time(moment, tick=True)


def _time_machine(moment: datetime) -> AbstractContextManager[object]:
    return time_machine.travel(moment)


def _standing_machine(moment: datetime) -> AbstractContextManager[object]:
    return time_machine.travel(moment, tick=False)


def _early_clock(moment: datetime) -> AbstractContextManager[object]:
    return use_clock(Clock(start=moment, monotonic=-1e9))


def _late_clock(moment: datetime) -> AbstractContextManager[object]:
    return use_clock(Clock(start=moment, monotonic=1e9))


@pytest.fixture(
    params=[_freezegun, _ticking, _time_machine, _standing_machine, _early_clock, _late_clock]
)
def freeze(
    request: pytest.FixtureRequest,
) -> Callable[[datetime], AbstractContextManager[object]]:
    """A tool that makes it a certain moment."""
    make: Callable[[datetime], AbstractContextManager[object]] = request.param
    return make


Freeze = Callable[[datetime], AbstractContextManager[object]]


@pytest.fixture
def step() -> CountingStep:
    """A step whose tokens live for an hour."""
    return CountingStep("app", ttl=HOUR)


@pytest.fixture(params=[InMemoryTokenStorage, JsonStorage], ids=["in memory", "shared"])
def pipeline(request: pytest.FixtureRequest, step: CountingStep) -> TokenFetchPipeline:
    """A pipeline of that step alone."""
    return TokenFetchPipeline([step], request.param())


def test_a_clock_put_in_place_makes_no_token_dead(
    freeze: Freeze, pipeline: TokenFetchPipeline
) -> None:
    """A token fetched before time is frozen lives on, then and afterwards."""
    pipeline.execute()
    pipeline.execute()
    for minutes in (0, 10, 59):
        with freeze(now() + timedelta(minutes=minutes)):
            assert pipeline.execute().access_token == "app-1"
            assert pipeline.execute().access_token == "app-1"
        assert pipeline.execute().access_token == "app-1"


def test_a_clock_taken_away_makes_no_token_dead(
    freeze: Freeze, pipeline: TokenFetchPipeline
) -> None:
    """A token fetched while time is frozen lives on when it goes on again."""
    with freeze(now() + timedelta(minutes=1)):
        pipeline.execute()
        pipeline.execute()
    assert pipeline.execute().access_token == "app-1"
    with freeze(now() + timedelta(minutes=50)):
        assert pipeline.execute().access_token == "app-1"


def test_a_frozen_clock_ends_a_life_by_the_wall(
    freeze: Freeze, pipeline: TokenFetchPipeline
) -> None:
    """Frozen an hour ahead a token is dead, and not before that hour."""
    start = now()
    pipeline.execute()
    with freeze(start + HOUR - timedelta(seconds=1)):
        assert pipeline.execute().access_token == "app-1"
    with freeze(now() + HOUR):
        assert pipeline.execute().access_token == "app-2"
        assert pipeline.execute().access_token == "app-2"


def test_chains_under_several_clocks_live_by_the_wall(freeze: Freeze) -> None:
    """A chain whose steps were fetched under different clocks is served as a whole."""
    app, user = CountingStep("app", ttl=HOUR), CountingStep("user", ["app"], ttl=HOUR)
    storage = InMemoryTokenStorage()
    TokenFetchPipeline([app], storage).execute()
    pipeline = TokenFetchPipeline([app, user], storage)
    with freeze(now() + timedelta(minutes=5)):
        pipeline.execute()
        pipeline.execute()
    for _ in range(3):
        assert pipeline.execute().access_token == "user-1"
    with freeze(now() + timedelta(minutes=50)):
        assert pipeline.execute().access_token == "user-1"
    assert (app.fetches, user.fetches) == (1, 1)


def test_waits_go_by_real_time_whatever_is_frozen(freeze: Freeze, step: CountingStep) -> None:
    """A waiter's time runs out though no clock goes on."""
    pipeline = TokenFetchPipeline(
        [step], InMemoryTokenStorage(), wait_timeout=timedelta(milliseconds=20)
    )
    step.during = gate = Gate()
    with freeze(now()):
        leader = Task(pipeline.execute)
        gate.until_reached()
        assert type(Task(pipeline.execute).error()) is AuthenticationException
    gate.open()
    assert leader.result().access_token == "app-1"
    assert pipeline.execute().access_token == "app-1"
