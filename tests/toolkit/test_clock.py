"""The clock of a test, as the library and the test see it."""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from pytest_requestforge import Clock
from requestforge import instrumentation
from requestforge.config import TokenData
from requestforge.events import StepCached, StepFetched, StepMissed, TokenReplaced

START = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(params=[True, False], ids=["frozen", "seam alone"])
def clock(request: pytest.FixtureRequest) -> Clock:
    """A clock, not entered yet, that freezes everything or only the library's time."""
    return Clock(freeze=request.param)


def fetched(step: str, ends_at: datetime | None) -> StepFetched:
    """The event of a fetch."""
    return StepFetched(
        at=instrumentation.now(), pipeline="", step=step, ends_at=ends_at, seconds=0.0
    )


def test_it_starts_in_2030(clock: Clock) -> None:
    """Unless told otherwise, a clock starts at 2030-01-01T00:00:00Z, and shows it in UTC."""
    with clock:
        assert instrumentation.now() == START
        assert instrumentation.now().tzinfo is UTC


@pytest.mark.parametrize(
    ("start", "shown"),
    [
        pytest.param(datetime(2031, 5, 5, tzinfo=UTC), datetime(2031, 5, 5, tzinfo=UTC), id="utc"),
        pytest.param(
            datetime(2031, 5, 5, 2, tzinfo=timezone(timedelta(hours=2))),
            datetime(2031, 5, 5, tzinfo=UTC),
            id="other zone",
        ),
        pytest.param("2031-05-05T12:00:00Z", datetime(2031, 5, 5, 12, tzinfo=UTC), id="text"),
        pytest.param(
            datetime(2031, 5, 5), datetime(2031, 5, 5).astimezone(UTC), id="naive is local"
        ),
    ],
)
@pytest.mark.parametrize("freeze", [True, False], ids=["frozen", "seam alone"])
def test_it_starts_where_it_is_told_to(
    start: datetime | str, shown: datetime, *, freeze: bool
) -> None:
    """A start is a datetime or a text in ISO 8601."""
    with Clock(start, freeze=freeze):
        assert instrumentation.now() == shown


def test_the_library_has_its_clock_back_afterwards(clock: Clock) -> None:
    """Leaving the block gives the library the time that it had before."""
    with clock:
        pass
    assert abs(instrumentation.now() - datetime.now(UTC)) < timedelta(minutes=1)


def test_it_stands_still(clock: Clock) -> None:
    """Time passes only when the test says so."""
    with clock:
        first = instrumentation.now(), instrumentation.monotonic()
        threading.Event().wait(0.01)
        assert (instrumentation.now(), instrumentation.monotonic()) == first


@pytest.mark.parametrize(
    ("move", "by"),
    [
        pytest.param(lambda clock: clock.advance(90), timedelta(seconds=90), id="seconds"),
        pytest.param(lambda clock: clock.advance(0.5), timedelta(seconds=0.5), id="half a second"),
        pytest.param(lambda clock: clock.advance(minutes=5), timedelta(minutes=5), id="minutes"),
        pytest.param(
            lambda clock: clock.advance(1, minutes=2, hours=3, days=4, weeks=5),
            timedelta(seconds=1, minutes=2, hours=3, days=4, weeks=5),
            id="all together",
        ),
        pytest.param(
            lambda clock: clock.move_to(START + timedelta(hours=1)),
            timedelta(hours=1),
            id="move_to",
        ),
        pytest.param(
            lambda clock: clock.move_to("2030-01-01T02:00:00+01:00"), timedelta(hours=1), id="text"
        ),
    ],
)
def test_it_moves_on_request(
    clock: Clock, move: Callable[[Clock], datetime], by: timedelta
) -> None:
    """Moving it gives the new time, and wall and monotonic time come along."""
    with clock:
        before = instrumentation.monotonic()
        assert move(clock) == START + by
        assert instrumentation.now() == START + by
        assert instrumentation.monotonic() - before == by.total_seconds()


def test_it_does_not_advance_backwards(clock: Clock) -> None:
    """A negative advance is refused, and the message says what can set it back."""
    with clock, pytest.raises(ValueError, match="move_to"):
        clock.advance(-1)


def test_setting_it_back_leaves_monotonic_time(clock: Clock) -> None:
    """After the clock is set back, monotonic time goes on from where it was."""
    with clock:
        clock.advance(hours=3)
        monotonic = instrumentation.monotonic()
        clock.move_to(START)
        assert instrumentation.monotonic() == monotonic
        clock.advance(5)
        assert instrumentation.monotonic() == monotonic + 5


def test_a_pause_of_the_library_takes_no_time(clock: Clock) -> None:
    """`sleep` advances the clock at once, and is noted."""
    with clock:
        began = time.clock_gettime(time.CLOCK_MONOTONIC)
        instrumentation.sleep(120)
        instrumentation.sleep(0.5)
        assert time.clock_gettime(time.CLOCK_MONOTONIC) - began < 30
        assert instrumentation.now() == START + timedelta(seconds=120.5)
        assert clock.sleeps == [120, 0.5]


def test_moving_it_is_no_sleep(clock: Clock) -> None:
    """What the test itself does to the clock is not among the sleeps."""
    with clock:
        clock.advance(90)
        assert clock.sleeps == []


def test_a_negative_sleep_is_refused(clock: Clock) -> None:
    """As with `time.sleep`, the number of seconds cannot be negative."""
    with clock, pytest.raises(ValueError, match="-1"):
        instrumentation.sleep(-1)


def test_every_thread_sees_it_move(clock: Clock) -> None:
    """A thread that was there before and one that came later see the same time."""
    seen: list[datetime] = []
    moved = threading.Event()

    def look() -> None:
        moved.wait(10)
        seen.append(instrumentation.now())

    early = threading.Thread(target=look)
    early.start()
    with clock:
        late = threading.Thread(target=look)
        late.start()
        clock.advance(hours=1)
        moved.set()
        early.join(10)
        late.join(10)
    assert seen == [START + timedelta(hours=1)] * 2


def test_threads_that_move_it_together_lose_nothing(clock: Clock) -> None:
    """Sleeps of several threads add up."""
    barrier = threading.Barrier(8)

    def sleep() -> None:
        barrier.wait(10)
        for _ in range(50):
            instrumentation.sleep(1)

    with clock:
        threads = [threading.Thread(target=sleep) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert instrumentation.now() == START + timedelta(seconds=400)
        assert len(clock.sleeps) == 400


def test_it_works_without_being_entered() -> None:
    """A clock is a clock for `use_clock`, too."""
    with instrumentation.use_clock(Clock("2031-05-05T12:00:00Z")) as clock:
        instrumentation.sleep(60)
        assert instrumentation.now() == datetime(2031, 5, 5, 12, 1, tzinfo=UTC)
    assert clock.now() == datetime(2031, 5, 5, 12, 1, tzinfo=UTC)


def test_it_keeps_its_time_when_left(clock: Clock) -> None:
    """After the block the clock shows the last time, and goes on from there if entered again."""
    with clock:
        clock.advance(60)
    assert clock.now() == START + timedelta(seconds=60)
    with clock:
        assert instrumentation.now() == START + timedelta(seconds=60)
        assert clock.monotonic() == 60


def test_it_cannot_be_entered_twice(clock: Clock) -> None:
    """Entering a clock that rules already is an error, and leaves it ruling."""
    with clock:
        with pytest.raises(RuntimeError, match="entered"):
            clock.__enter__()
        assert instrumentation.now() == START


def test_the_inner_of_two_clocks_rules(clock: Clock) -> None:
    """Clocks nest: the inner one rules the library, then the outer one again."""
    with clock:
        with Clock("2031-05-05T12:00:00Z", freeze=False):
            assert instrumentation.now() == datetime(2031, 5, 5, 12, tzinfo=UTC)
        assert instrumentation.now() == START


def test_its_repr_tells_the_time() -> None:
    """The repr shows the time in ISO 8601."""
    assert repr(Clock()) == "<Clock at 2030-01-01T00:00:00+00:00>"


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(TokenData("t", expires_at=START + timedelta(hours=1)), id="unknown issue"),
        pytest.param(
            TokenData("t", expires_at=START + timedelta(hours=1), issued_at=START), id="30 s margin"
        ),
        pytest.param(
            TokenData("t", expires_at=START + timedelta(seconds=60), issued_at=START),
            id="a tenth as margin",
        ),
        pytest.param(
            TokenData("t", expires_at=START, issued_at=START + timedelta(seconds=60)),
            id="issued after its end",
        ),
        pytest.param(
            TokenData("t", expires_at=START + timedelta(hours=1), leeway=timedelta(minutes=10)),
            id="leeway",
        ),
        pytest.param(
            TokenData("t", expires_at=datetime(2030, 1, 2), issued_at=datetime(2030, 1, 1)),
            id="naive",
        ),
    ],
)
def test_it_goes_to_the_expiry_of_a_token(clock: Clock, token: TokenData) -> None:
    """A second before the end of use the token lives, at the end it is expired."""
    with clock:
        clock.to_expiry(token)
        assert not token.is_expired
        clock.advance(0.999999)
        assert not token.is_expired
        clock.to_expiry(token, offset=0)
        assert token.is_expired


def test_a_token_without_expiry_has_none_to_go_to(clock: Clock) -> None:
    """A token that is used without end is refused, without showing it."""
    with clock, pytest.raises(ValueError, match="no expiry") as caught:
        clock.to_expiry(TokenData("canary-secret"))
    assert "canary-secret" not in str(caught.value)


def test_it_goes_to_the_expiry_of_a_step(clock: Clock) -> None:
    """The end of use of a step's last token is known from what the library tells."""
    with clock:
        instrumentation.emit(fetched("app_token", START + timedelta(seconds=100)))
        instrumentation.emit(fetched("app_token", START + timedelta(seconds=3600)))
        instrumentation.emit(
            StepMissed(at=START, pipeline="", step="app_token", reason="expired", ends_at=START)
        )
        assert clock.to_expiry("app_token") == START + timedelta(seconds=3599)
        assert clock.to_expiry("app_token", offset=5) == START + timedelta(seconds=3605)


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(
            StepCached(at=START, pipeline="", step="app", ends_at=START + timedelta(hours=1)),
            id="served from the cache",
        ),
        pytest.param(
            TokenReplaced(
                at=START, pipeline="", step="app", ends_at=START + timedelta(hours=1), replaced="g"
            ),
            id="replaced",
        ),
    ],
)
def test_a_step_need_not_be_fetched_to_be_known(
    clock: Clock, event: StepCached | TokenReplaced
) -> None:
    """A token that another run had stored has an expiry, too."""
    with clock:
        instrumentation.emit(event)
        assert clock.to_expiry("app", offset=0) == START + timedelta(hours=1)


def test_an_unknown_step_is_refused(clock: Clock) -> None:
    """A step that was not seen is an error that names those that were."""
    with clock:
        with pytest.raises(LookupError, match="steps seen: none"):
            clock.to_expiry("user")
        instrumentation.emit(fetched("app", START))
        with pytest.raises(LookupError, match=r"'user'.*steps seen: app"):
            clock.to_expiry("user")


def test_a_step_without_expiry_has_none_to_go_to(clock: Clock) -> None:
    """A step whose token is used without end is refused by its name."""
    with clock:
        instrumentation.emit(fetched("app", None))
        with pytest.raises(ValueError, match="app is used without end"):
            clock.to_expiry("app")


def test_asyncio_goes_on_inside(clock: Clock) -> None:
    """An event loop sleeps and times out in real time."""
    with clock:
        asyncio.run(asyncio.wait_for(asyncio.sleep(0.001), timeout=30))
        assert instrumentation.now() == START


@pytest.mark.parametrize(
    ("act", "said"),
    [
        pytest.param(lambda clock: clock.advance(timedelta(1)), "total_seconds", id="advance"),
        pytest.param(lambda clock: clock.move_to(123), "ISO 8601, not int", id="move_to"),
        pytest.param(lambda clock: clock.to_expiry(None), "not NoneType", id="to_expiry"),
    ],
)
def test_what_is_no_time_is_refused(
    clock: Clock, act: Callable[[Clock], object], said: str
) -> None:
    """An argument of another type gets an error that says what to give."""
    with pytest.raises(TypeError, match=said):
        act(clock)
