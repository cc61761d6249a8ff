"""The deadline of a thread: how blocks set it, and take it away."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from doubles import Clock
from requestforge._deadline import bounded, cuts, note_cut, time_left
from requestforge.instrumentation import use_clock

pytestmark = pytest.mark.compat

NOW = 1000.0


@pytest.fixture(autouse=True)
def clock() -> Iterator[Clock]:
    """A clock that stands at `NOW` until the test moves it."""
    with use_clock(Clock(monotonic=NOW)) as clock:
        yield clock


def generate(end: float) -> Iterator[float | None]:
    """What is left, again and again, within a block that is open between."""
    with bounded(end):
        while True:
            yield time_left()


def test_there_is_no_deadline_unless_one_is_set() -> None:
    """Outside of all blocks, and in one without an end, time is not limited."""
    assert time_left() is None
    with bounded(None):
        assert time_left() is None


def test_a_deadline_comes_nearer_and_passes(clock: Clock) -> None:
    """What is left is counted by the active clock, and goes on below zero."""
    with bounded(NOW + 5):
        assert time_left() == 5
        clock.advance(seconds=5)
        assert time_left() == 0
        clock.advance(seconds=1)
        assert time_left() == -1
    assert time_left() is None


@pytest.mark.parametrize(("outer", "inner"), [(3, 8), (8, 3)], ids=["outer", "inner"])
def test_the_earliest_deadline_holds(outer: float, inner: float) -> None:
    """A block can shorten the time of the one around it, and never extend it."""
    with bounded(NOW + outer):
        with bounded(None), bounded(NOW + inner):
            assert time_left() == 3
        assert time_left() == outer


def test_an_error_leaves_no_deadline_behind() -> None:
    """A block that is left by an exception has ended like any other."""
    with pytest.raises(LookupError), bounded(NOW + 5):
        raise LookupError
    assert time_left() is None


def test_each_thread_has_its_own() -> None:
    """The deadline of one thread is none of another's."""
    with bounded(NOW + 5), ThreadPoolExecutor(1) as pool:
        assert pool.submit(time_left).result() is None


def test_a_generator_takes_its_own_deadline_away() -> None:
    """A block that outlives a later one, as in a generator, leaves the other's deadline alone."""
    values = generate(NOW + 3)
    assert next(values) == 3
    with bounded(NOW + 8):
        assert next(values) == 3
        values.close()
        assert time_left() == 8
    assert time_left() is None


def test_a_generator_that_ends_in_another_thread() -> None:
    """The deadline goes from the thread that it was set in."""
    values = generate(NOW + 3)
    next(values)
    with bounded(NOW + 3), ThreadPoolExecutor(1) as pool:
        pool.submit(values.close).result()
        assert pool.submit(time_left).result() is None
        assert time_left() == 3
    assert time_left() is None


def test_a_cut_counts_for_the_earliest_deadline() -> None:
    """Work that a nested deadline cut short was not cut short by the one around it."""
    with bounded(NOW + 8):
        with bounded(NOW + 3):
            note_cut()
            assert cuts() == 1
        assert cuts() == 0
        with bounded(NOW + 9):
            note_cut()
        assert cuts() == 1


def test_without_a_deadline_nothing_is_cut() -> None:
    """A note of a cut outside of all blocks is lost."""
    note_cut()
    assert cuts() == 0
