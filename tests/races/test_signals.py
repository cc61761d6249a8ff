"""Limits, circuits and deadlines when a signal, or the garbage collector, comes in at any point."""

import gc
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

import pytest
from racing import Interrupt, Task, interrupted

import requestforge
from doubles import Clock, recorded
from requestforge import CircuitBreaker, CircuitOpenException, instrumentation
from requestforge._deadline import bounded, time_left
from requestforge._headers import Headers
from requestforge._limits.budget import RetryBudget
from requestforge._limits.bulkhead import Bulkhead, Place
from requestforge._limits.rate import RateLimiter
from requestforge.events import CircuitChanged
from requestforge.exceptions import CapacityException, NotFoundException, TimeoutException

pytestmark = pytest.mark.compat

SHOP = "https://shop.example.com"
BANK = "https://bank.example.com"
LATE = TimeoutException("late")
FOUND = NotFoundException()

_LIBRARY = str(Path(requestforge.__file__).parent)


@pytest.fixture(autouse=True)
def clock() -> Iterator[Clock]:
    """A clock that stands still until it is moved."""
    with instrumentation.use_clock(Clock()) as clock:
        yield clock


def disturbed(
    number: int,
    call: Callable[[], object],
    then: Callable[[], object],
    meanwhile: Callable[[], object] = lambda: None,
) -> bool:
    """Make a call, and another one in the middle of it, as the handler of a signal does.

    The moments are those of `racing.interrupted`. Gives whether there was that moment.

    Args:
        number: of the moment, from 1.
        call: made in a thread of its own.
        then: called within it at the moment.
        meanwhile: called in this thread, once the other one has had time to come to a wait.
    """
    left = number

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        if event in {"call", "c_return"} and frame.f_code.co_filename.startswith(_LIBRARY):
            left -= 1
            if left == 0:
                then()

    def run() -> None:
        sys.setprofile(profile)
        try:
            call()
        finally:
            sys.setprofile(None)

    task, ended = Task(run), threading.Event()
    task.tell(ended)
    ended.wait(0.02)
    meanwhile()
    task.result()
    return left <= 0


def moments(act: Callable[[int], bool]) -> int:
    """Go through all moments, the first of which is 1; how many there were."""
    return next(number for number in itertools.count(1) if not act(number))


class TestAnotherCallAtAnyMoment:
    def test_no_failure_is_lost(self) -> None:
        """Both failures count, of one origin or of all."""

        def act(number: int) -> bool:
            breaker = CircuitBreaker(100)
            permit = breaker.acquire(SHOP)
            breaker.record_failure(SHOP)
            happened = disturbed(
                number, lambda: permit.leave(LATE), lambda: breaker.record_failure(SHOP)
            )
            assert breaker.counts(SHOP).failures == 2 + happened
            return happened

        assert moments(act) > 5

    def test_no_failure_of_all_origins_is_lost(self) -> None:
        """A failure without an origin counts for origins that are not yet known, too."""

        def act(number: int) -> bool:
            breaker = CircuitBreaker(100)
            breaker.record_failure(SHOP)
            happened = disturbed(number, breaker.record_failure, breaker.record_failure)
            assert breaker.counts(SHOP).failures == 2 + happened
            assert breaker.counts(BANK).failures == 1 + happened
            return happened

        assert moments(act) > 5

    def test_a_reset_overtakes_a_report(self) -> None:
        """A call that began before a reset does not count after it, wherever its report is."""

        def act(number: int) -> bool:
            breaker = CircuitBreaker(100)
            permit = breaker.acquire(SHOP)
            happened = disturbed(number, lambda: permit.leave(LATE), breaker.reset)
            assert breaker.counts(SHOP).failures == (not happened)
            return happened

        assert moments(act) > 5

    def test_no_more_probes_pass(self, clock: Clock) -> None:
        """Of two calls where there is room for one probe, one passes."""

        def act(number: int) -> bool:
            breaker = CircuitBreaker(1, 30, 1)
            breaker.record_failure(SHOP)
            clock.advance(seconds=30)
            permits = []

            def call() -> None:
                with suppress(CircuitOpenException):
                    permits.append(breaker.acquire(SHOP))

            happened = disturbed(number, call, call)
            assert len(permits) == breaker.counts(SHOP).probes == 1
            permits[0].leave(FOUND)
            assert breaker.state_of(SHOP) == "closed"
            return happened

        assert moments(act) > 5

    def test_no_origin_is_forgotten_twice(self) -> None:
        """Where there is no room for another origin, both find some, and the circuit works."""
        breaker = CircuitBreaker(100)
        for number in range(1000):
            breaker.record_failure(f"https://{number}.example.com")

        def act(number: int) -> bool:
            first, second = f"https://{number}.example.org", f"https://{number}.example.net"
            happened = disturbed(
                number,
                lambda: breaker.record_failure(first),
                lambda: breaker.record_failure(second),
            )
            assert breaker.counts(second).failures == happened
            breaker.record_failure(first)
            assert breaker.counts(first).failures in {1, 2}
            return happened

        assert moments(act) > 5

    def test_all_changes_are_told(self) -> None:
        """A change within another one is told, too, and afterwards later ones are."""

        def act(number: int) -> bool:
            breaker = CircuitBreaker(1)
            with recorded() as events:
                happened = disturbed(
                    number,
                    lambda: breaker.record_failure(SHOP),
                    lambda: breaker.record_failure(BANK),
                )
                breaker.reset(SHOP)
            changes = [(e.origin, e.after) for e in events if isinstance(e, CircuitChanged)]
            assert sorted(changes) == [
                *([(BANK, "open")] if happened else []),
                (SHOP, "closed"),
                (SHOP, "open"),
            ]
            return happened

        assert moments(act) > 5

    def test_no_retry_is_spent_twice(self) -> None:
        """Of two retries for which there is budget for one, one is made."""

        def act(number: int) -> bool:
            budget = RetryBudget(1, 0)
            budget.deposit(SHOP)
            spent: list[bool] = []

            def spend() -> None:
                spent.append(budget.withdraw(SHOP))

            happened = disturbed(number, spend, spend)
            assert sum(spent) == 1
            return happened

        assert moments(act) > 5

    def test_no_turn_is_given_twice(self) -> None:
        """Two requests get two turns, one after the other."""

        def act(number: int) -> bool:
            limiter = RateLimiter(4)
            waits: list[float] = []

            def reserve() -> None:
                waits.append(limiter.reserve(SHOP))

            happened = disturbed(number, reserve, reserve)
            assert sorted(waits) == [0, 0.25][: len(waits)]
            assert limiter.reserve(SHOP) == 0.25 * len(waits)
            return happened

        assert moments(act) > 5

    def test_no_pause_is_lost(self) -> None:
        """An answer that comes while another request asks for its turn is heeded."""

        def act(number: int) -> bool:
            limiter = RateLimiter(4)
            pause = Headers({"Retry-After": "7"})
            happened = disturbed(
                number,
                lambda: limiter.reserve(SHOP),
                lambda: limiter.heed(SHOP, 429, pause),
            )
            assert limiter.reserve(SHOP) in ({7, 7.25} if happened else {0.25})
            return happened

        assert moments(act) > 5

    @pytest.mark.parametrize("is_collected", [False, True], ids=["left", "collected"])
    def test_a_place_that_becomes_free_is_taken(self, *, is_collected: bool) -> None:
        """Wherever a place is left, or collected, while somebody comes for it, that one gets it."""

        def act(number: int) -> bool:
            bulkhead = Bulkhead(1)
            cycle: list[object] = [bulkhead.enter()]
            cycle.append(cycle)
            held = [cycle]
            del cycle
            places: list[Place] = []

            def free() -> None:
                for each in held if not is_collected else []:
                    each[0].leave()  # type: ignore[attr-defined]
                held.clear()
                gc.collect()

            gc.disable()
            try:
                happened = disturbed(number, lambda: places.append(bulkhead.enter()), free, free)
            finally:
                gc.enable()
            with pytest.raises(CapacityException):
                bulkhead.enter(0)
            places.clear()
            assert bulkhead.enter(0).waited == 0
            return happened

        assert moments(act) > 5

    def test_no_place_is_given_twice(self) -> None:
        """Of two calls where there is one place, one gets it."""

        def act(number: int) -> bool:
            bulkhead = Bulkhead(2, 0)
            places = [bulkhead.enter()]

            def enter() -> None:
                with suppress(CapacityException):
                    places.append(bulkhead.enter())

            happened = disturbed(number, enter, enter)
            assert len(places) == 2
            for place in places:
                place.leave()
            again = [bulkhead.enter(), bulkhead.enter()]
            with pytest.raises(CapacityException):
                bulkhead.enter()
            del again
            return happened

        assert moments(act) > 5


class TestAbandonedPlaces:
    def test_a_place_that_nobody_has_any_more_is_free(self) -> None:
        """Whoever loses a place without leaving it, as in an abandoned stream, frees it."""
        bulkhead = Bulkhead(1, 0)
        place = bulkhead.enter()
        with pytest.raises(CapacityException):
            bulkhead.enter()
        del place
        assert bulkhead.enter().waited == 0

    def test_who_waits_for_a_lost_place_gets_it(self) -> None:
        """A place that is lost is handed over like one that is left."""
        bulkhead = Bulkhead(1)
        places = [bulkhead.enter()]
        waiting = Task(bulkhead.enter)
        places.clear()
        assert waiting.result().waited >= 0


class TestInterrupts:
    @pytest.mark.parametrize("is_nested", [False, True], ids=["alone", "nested"])
    def test_no_deadline_stays_behind(self, *, is_nested: bool) -> None:
        """Wherever an interrupt ends a block, its deadline ends, though the error be kept."""
        kept: list[BaseException] = []

        def use() -> None:
            try:
                with bounded(1005.0):
                    time_left()
            except Interrupt as error:
                kept[:] = [error]
                raise

        def act(number: int) -> bool:
            with bounded(1009.0 if is_nested else None):
                happened = interrupted(number, use)
                assert time_left() == (9 if is_nested else None)
            assert time_left() is None
            return happened

        assert moments(act) > 3
        assert kept

    def test_later_changes_are_told(self) -> None:
        """Wherever an interrupt ends a call that tells of a change, later ones are told."""

        def act(number: int) -> bool:
            breaker = CircuitBreaker(1)
            with recorded() as events:
                happened = interrupted(number, lambda: breaker.record_failure(SHOP))
                breaker.record_failure(BANK)
            changes = [(e.origin, e.after) for e in events if isinstance(e, CircuitChanged)]
            assert (BANK, "open") in changes
            return happened

        assert moments(act) > 5

    def test_a_lost_probe_makes_room(self, clock: Clock) -> None:
        """Wherever an interrupt ends a probe, the circuit closes with the next ones."""

        def act(number: int) -> bool:
            breaker = CircuitBreaker(1, 30, 1)
            breaker.record_failure(SHOP)
            clock.advance(seconds=30)
            happened = interrupted(number, lambda: breaker.acquire(SHOP).leave(FOUND))
            clock.advance(seconds=30)
            breaker.acquire(SHOP).leave(FOUND)
            assert breaker.state_of(SHOP) == "closed"
            return happened

        assert moments(act) > 5

    @pytest.mark.parametrize(
        "use",
        [
            pytest.param(lambda budget, _: budget.withdraw(SHOP), id="budget"),
            pytest.param(lambda _, limiter: limiter.reserve(SHOP), id="rate"),
        ],
    )
    def test_limits_go_on(self, use: Callable[[RetryBudget, RateLimiter], object]) -> None:
        """Wherever an interrupt ends a call, the next one works, and knows what was before."""

        def act(number: int) -> bool:
            budget, limiter = RetryBudget(0.5, 0), RateLimiter(4)
            for _ in range(4):
                budget.deposit(SHOP)
            limiter.reserve(SHOP)
            happened = interrupted(number, lambda: use(budget, limiter))
            spent = [budget.withdraw(SHOP) for _ in range(3)]
            assert sum(spent) in {1, 2}
            assert limiter.reserve(SHOP) in {0.25, 0.5}
            return happened

        assert moments(act) > 3
