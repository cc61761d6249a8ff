"""The active clock and the observers: nesting, restoring, and tools that freeze time."""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
import time_machine
from freezegun import freeze_time

from doubles import START, Clock
from requestforge import events, instrumentation
from requestforge.instrumentation import SystemClock, emit, observe, use_clock

pytestmark = pytest.mark.compat


def happened(step: str = "app") -> events.StepCached:
    """An event."""
    return events.StepCached(at=START, pipeline="", step=step)


# Clocks


def test_the_system_clock_reads_the_machines() -> None:
    """Without another clock the machine's own are read, the wall clock as aware UTC."""
    before = time.time(), time.monotonic()
    now, monotonic = instrumentation.now(), instrumentation.monotonic()
    after = time.time(), time.monotonic()
    assert now.utcoffset() == timedelta(0)
    assert before[0] - 1e-3 <= now.timestamp() <= after[0] + 1e-3
    assert before[1] <= monotonic <= after[1]


def test_the_system_clock_sleeps() -> None:
    """Sleep on the machine's clock lets that time pass."""
    start = time.monotonic()
    instrumentation.sleep(0.01)
    assert time.monotonic() - start >= 0.01


def test_the_system_clock_looks_the_functions_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions of `time` that a test tool replaces are seen by a clock made before."""
    clock = SystemClock()
    slept: list[float] = []
    monkeypatch.setattr(time, "time", lambda: 3600.0)
    monkeypatch.setattr(time, "monotonic", lambda: 7.0)
    monkeypatch.setattr(time, "sleep", slept.append)
    for source in (clock, instrumentation):
        assert source.now() == datetime(1970, 1, 1, 1, tzinfo=UTC)
        assert source.monotonic() == 7.0
        source.sleep(5)
    assert slept == [5, 5]


@pytest.mark.parametrize(
    "freeze",
    [
        pytest.param(lambda: freeze_time(START), id="freezegun"),
        pytest.param(lambda: time_machine.travel(START, tick=False), id="time-machine"),
    ],
)
def test_tools_that_freeze_time_are_seen(freeze: Callable[[], object]) -> None:
    """Frozen time is the time."""
    with freeze():
        assert instrumentation.now() == START
    assert instrumentation.now() != START


def test_a_clock_is_used_within_its_block() -> None:
    """use_clock gives the clock, and takes all three functions to it."""
    mine = Clock()
    with use_clock(mine) as clock:
        assert clock is mine
        assert instrumentation.now() == START
        assert instrumentation.monotonic() == 1000.0
        instrumentation.sleep(90)
        assert mine.slept == [90]
        assert instrumentation.now() == START + timedelta(seconds=90)
    assert abs(instrumentation.now().timestamp() - time.time()) < 60


def test_clocks_nest() -> None:
    """Leaving an inner block puts back the clock of the outer one, also after an error."""
    inner_start = START + timedelta(days=1)

    def fail() -> None:
        with use_clock(Clock(inner_start)):
            assert instrumentation.now() == inner_start
            raise LookupError

    with use_clock(Clock()):
        with pytest.raises(LookupError):
            fail()
        assert instrumentation.now() == START


def test_the_same_clock_may_be_used_twice() -> None:
    """A clock within itself stays until its outer block ends."""
    clock = Clock()
    with use_clock(clock):
        with use_clock(clock):
            pass
        assert instrumentation.now() == START


def test_blocks_may_end_in_any_order() -> None:
    """Of two blocks that cross, the one left open is active."""
    first, second = ExitStack(), ExitStack()
    first.enter_context(use_clock(Clock()))
    second.enter_context(use_clock(Clock(START + timedelta(days=1))))
    first.close()
    assert instrumentation.now() == START + timedelta(days=1)
    second.close()
    assert abs(instrumentation.now().timestamp() - time.time()) < 60


def test_a_clock_is_that_of_every_thread() -> None:
    """The active clock is process-wide."""
    seen: list[datetime] = []
    with use_clock(Clock()):
        thread = Thread(target=lambda: seen.append(instrumentation.now()))
        thread.start()
        thread.join()
    assert seen == [START]


# Observers


def test_an_observer_hears_within_its_block() -> None:
    """Observe gives the observer, and hands it every event until the block ends."""
    heard: list[object] = []
    event = happened()
    with observe(heard.append) as observer:
        assert observer == heard.append
        emit(event)
    emit(happened())
    assert heard == [event]


def test_observers_nest_and_hear_in_order() -> None:
    """All active observers hear each event, the outer ones first; an error ends one's block."""
    heard: list[str] = []

    def fail() -> None:
        with observe(lambda _: heard.append("inner")):
            emit(happened())
            raise LookupError

    with observe(lambda _: heard.append("outer")):
        with pytest.raises(LookupError):
            fail()
        emit(happened())
    assert heard == ["outer", "inner", "outer"]


def test_an_observer_may_listen_twice() -> None:
    """Listening twice is hearing twice, and leaving once is hearing once."""
    heard: list[object] = []
    observer = heard.append
    with observe(observer):
        with observe(observer):
            emit(happened())
        emit(happened())
    assert len(heard) == 3


def test_an_observer_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What an observer raises is logged, and the others hear the event."""
    heard: list[object] = []

    def fail(event: object) -> None:
        raise LookupError(type(event).__name__)

    with observe(fail), observe(heard.append):
        emit(happened())
    assert len(heard) == 1
    [record] = caplog.records
    assert (record.name, record.levelno) == ("requestforge", logging.ERROR)
    assert "failed on StepCached" in record.getMessage()


def test_an_observer_may_leave_while_it_listens() -> None:
    """An observer that ends its own block is not in the way of the others."""
    heard: list[object] = []
    stack = ExitStack()
    stack.enter_context(observe(lambda _: stack.close()))
    with observe(heard.append):
        emit(happened())
        emit(happened())
    assert len(heard) == 2


def test_an_observer_hears_of_every_thread() -> None:
    """Observers are process-wide."""
    heard: list[object] = []
    with observe(heard.append):
        thread = Thread(target=lambda: emit(happened()))
        thread.start()
        thread.join()
    assert len(heard) == 1


# Events


@pytest.mark.parametrize("name", [name for name in events.__all__ if name != "Event"])
def test_events_are_frozen_facts(name: str) -> None:
    """Every event is frozen, without a dict, and made by keywords alone."""
    kind = getattr(events, name)
    with pytest.raises(TypeError, match="positional"):
        kind(START)
    fields = dict.fromkeys(kind.__dataclass_fields__, START)
    event = kind(**fields)
    assert event == kind(**fields)
    with pytest.raises(AttributeError):
        event.at = START
    assert not hasattr(event, "__dict__")


def test_the_union_names_every_event() -> None:
    """Event is the union of all events there are."""
    kinds = {getattr(events, name) for name in events.__all__ if name != "Event"}
    assert set(events.Event.__args__) == kinds
