"""Naive datetimes and local time while a clock rules."""

# ruff: noqa: DTZ002, DTZ005, DTZ006, DTZ011 - naive local times are what these tests are about

import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import freezegun
import pytest

from pytest_requestforge import Clock
from requestforge.config import TokenData

START = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
ZONES = ["Asia/Tokyo", "America/Los_Angeles", "Asia/Kolkata", "UTC"]


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts this process into a time zone."""

    def move(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("2030-01-01T00:00:00Z", id="winter"),
        pytest.param("2030-07-01T20:30:00Z", id="summer"),
        pytest.param("2030-03-10T09:59:59Z", id="before the hour that Los Angeles skips"),
        pytest.param("2030-03-10T10:00:00Z", id="after it"),
        pytest.param("2030-11-03T08:30:00Z", id="the hour that Los Angeles has twice"),
        pytest.param("2030-11-03T09:30:00Z", id="its second time"),
    ],
)
def test_naive_times_are_local(in_zone: Callable[[str], None], zone: str, moment: str) -> None:
    """A naive datetime, and what else shows local time, is right in every zone."""
    in_zone(zone)
    with Clock(moment) as clock:
        local = clock.now().astimezone(ZoneInfo(zone))
        for naive in (
            datetime.now(),
            datetime.today(),
            datetime.fromtimestamp(clock.now().timestamp()),
        ):
            assert naive.tzinfo is None
            assert (naive, naive.fold) == (local.replace(tzinfo=None), local.fold)
            assert naive.timestamp() == clock.now().timestamp()
            assert naive.astimezone(UTC) == clock.now()
        assert date.today() == local.date()
        assert time.localtime()[:6] == local.timetuple()[:6]
        assert time.localtime(0) == time.localtime(0.0)
        assert time.strftime("%H:%M") == local.strftime("%H:%M")
        assert time.mktime(time.localtime()) == clock.now().timestamp()


def test_a_naive_expiry_is_right_after_a_change_of_zone(in_zone: Callable[[str], None]) -> None:
    """The zone may change while the clock rules."""
    with Clock() as clock:
        for zone in ZONES:
            in_zone(zone)
            token = TokenData("t", expires_at=datetime.now() + HOUR, leeway=timedelta(0))
            assert not token.is_expired
            clock.to_expiry(token, offset=0)
            assert token.is_expired


def test_aware_times_need_no_zone() -> None:
    """Aware datetimes are those of freezegun."""
    with Clock():
        assert datetime.fromtimestamp(START.timestamp(), UTC) == datetime.now(UTC) == START
        assert datetime.now(UTC).timestamp() == START.timestamp()


def test_an_offset_of_the_adopted_freeze_holds() -> None:
    """A freeze that was given an offset for naive times keeps to it."""
    with freezegun.freeze_time("2025-05-05T02:00:00", tz_offset=-4), Clock() as clock:
        assert datetime.now() == datetime(2025, 5, 4, 22)
        assert datetime.now().timestamp() == clock.now().timestamp()
        assert datetime.fromtimestamp(clock.now().timestamp()) == datetime(2025, 5, 4, 22)
        assert date.today() == date(2025, 5, 4)
