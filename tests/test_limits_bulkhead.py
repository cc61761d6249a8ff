"""The bulkhead: places for calls, a queue for those who find none, and an end to their wait."""

import math
import threading

import pytest

from requestforge import CapacityException
from requestforge._limits.bulkhead import Bulkhead
from requestforge.instrumentation import real_monotonic


def test_there_are_so_many_places() -> None:
    """As many calls as there are places get one at once; one more is refused."""
    bulkhead = Bulkhead(3, max_wait=0)
    places = [bulkhead.enter() for _ in range(3)]
    assert [place.waited for place in places] == [0, 0, 0]
    with pytest.raises(CapacityException, match=r"No place .* within 0 s .*3"):
        bulkhead.enter()
    places[1].leave()
    assert bulkhead.enter().waited == 0


@pytest.mark.parametrize(
    ("max_wait", "now"),
    [
        pytest.param(0.03, None, id="of the bulkhead"),
        pytest.param(None, 0.03, id="of the caller"),
        pytest.param(30, 0.03, id="the caller's is shorter"),
        pytest.param(0.03, 30, id="the bulkhead's is shorter"),
        pytest.param(30, -1, id="none is left"),
    ],
)
def test_a_wait_ends(max_wait: float | None, now: float | None) -> None:
    """Nobody waits for longer than the bulkhead and the caller allow, in real time."""
    bulkhead = Bulkhead(1, max_wait)
    place = bulkhead.enter()
    began = real_monotonic()
    with pytest.raises(CapacityException):
        bulkhead.enter(now)
    assert (0 if now == -1 else 0.03) <= real_monotonic() - began < 20
    place.leave()
    assert bulkhead.enter(now).waited == 0


def test_who_gives_up_leaves_the_line() -> None:
    """A place that becomes free later goes to nobody who has given up."""
    bulkhead = Bulkhead(1)
    place = bulkhead.enter()
    for _ in range(3):
        with pytest.raises(CapacityException):
            bulkhead.enter(0.001)
    place.leave()
    next_one = bulkhead.enter(0)
    with pytest.raises(CapacityException):
        bulkhead.enter(0)
    assert next_one.waited == 0


def test_leaving_too_often_makes_no_place() -> None:
    """There are never more places than there were, whoever leaves his twice."""
    bulkhead = Bulkhead(1, 0)
    place = bulkhead.enter()
    place.leave()
    next_one = bulkhead.enter()
    place.leave()
    with pytest.raises(CapacityException):
        bulkhead.enter()
    assert next_one.waited == 0


def test_the_longest_wait_of_all_is_no_error() -> None:
    """A wait longer than a lock can wait is as long as it can."""
    bulkhead = Bulkhead(1, 2 * threading.TIMEOUT_MAX)
    waiting = threading.Timer(0, bulkhead.enter().leave)
    waiting.start()
    assert bulkhead.enter().waited >= 0
    waiting.join()


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"max_concurrent": 0}, id="no place"),
        pytest.param({"max_concurrent": 2.0}, id="no count"),
        pytest.param({"max_concurrent": 10**400}, id="huge count"),
        pytest.param({"max_wait": -1}, id="negative"),
        pytest.param({"max_wait": math.inf}, id="endless"),
        pytest.param({"max_wait": 10**400}, id="huge"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    """A ValueError at construction names the argument."""
    settings: dict[str, object] = {"max_concurrent": 2, **wrong}
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        Bulkhead(**settings)  # type: ignore[arg-type]
