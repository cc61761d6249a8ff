"""Circuits, budgets, turns and places that many threads, or a forked child, use at once."""

import linecache
import os
import sys
import threading
from collections.abc import Callable

import pytest
from racing import LIMIT, Gate, Task, at_line, interrupted, together
from test_fork import in_child

from doubles import Clock, recorded
from requestforge import CircuitBreaker, CircuitOpenException, instrumentation
from requestforge._headers import Headers
from requestforge._limits.budget import RetryBudget
from requestforge._limits.bulkhead import Bulkhead, Place
from requestforge._limits.rate import RateLimiter
from requestforge.events import CircuitChanged
from requestforge.exceptions import CapacityException, NotFoundException, TimeoutException
from requestforge.retry import CircuitCounts

pytestmark = pytest.mark.compat

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here.")

SHOP = "https://shop.example.com"
CALLERS = 64
LATE = TimeoutException("late")
FOUND = NotFoundException()


class TestCircuit:
    @pytest.mark.parametrize("probes", [1, 3, 10])
    def test_half_open_admits_only_its_probes(self, probes: int) -> None:
        """Of 64 callers at once, as many pass as may probe; the others are refused."""
        breaker = CircuitBreaker(1, 30, probes)
        with instrumentation.use_clock(Clock()) as clock:
            breaker.record_failure(SHOP)
            clock.advance(seconds=30)
            outcomes = together(CALLERS, lambda: breaker.acquire(SHOP))
            refused = [each for each in outcomes if isinstance(each, CircuitOpenException)]
            permits = [each for each in outcomes if not isinstance(each, BaseException)]
            assert (len(permits), len(refused)) == (probes, CALLERS - probes)
            assert breaker.counts(SHOP).probes == probes
            for permit in permits:
                permit.leave(FOUND)
        assert breaker.state_of(SHOP) == "closed"

    def test_an_open_circuit_admits_nobody(self) -> None:
        """Of 64 callers at once, none passes while the circuit is open."""
        breaker = CircuitBreaker(1)
        breaker.record_failure(SHOP)
        outcomes = together(CALLERS, lambda: breaker.acquire(SHOP))
        assert {type(each) for each in outcomes} == {CircuitOpenException}

    def test_no_failure_is_lost(self) -> None:
        """Failures that threads report at the same time all count."""
        breaker = CircuitBreaker(failure_threshold=CALLERS)
        together(CALLERS - 1, lambda: breaker.acquire(SHOP).leave(LATE))
        assert breaker.counts(SHOP) == CircuitCounts(CALLERS - 1, 0, 0)
        breaker.acquire(SHOP).leave(LATE)
        assert breaker.state_of(SHOP) == "open"

    def test_changes_are_told_in_their_order(self) -> None:
        """Each change that is told begins in the state that the one before it ended in."""
        breaker = CircuitBreaker(failure_threshold=1)

        def change() -> None:
            for _ in range(50):
                breaker.record_failure(SHOP)
                breaker.reset(SHOP)

        with recorded() as events:
            together(8, change)
        changes = [(e.before, e.after) for e in events if isinstance(e, CircuitChanged)]
        expected = [("closed", "open"), ("open", "closed")]
        assert changes == expected * (len(changes) // 2)
        assert len(changes) >= 2

    def test_a_slow_observer_holds_nobody_up(self) -> None:
        """While a change is told, others may use the circuit, and their changes are told after."""
        breaker = CircuitBreaker(failure_threshold=1)
        gate, told = Gate(), []

        def slow(event: object) -> None:
            gate()
            told.append(event)

        with instrumentation.observe(slow):
            first = Task(lambda: breaker.record_failure(SHOP))
            gate.until_reached()
            Task(lambda: breaker.reset(SHOP)).result()
            assert breaker.state_of(SHOP) == "closed"
            gate.open()
            first.result()
        assert [e.after for e in told if isinstance(e, CircuitChanged)] == ["open", "closed"]

    @needs_fork
    def test_a_child_has_the_states_but_no_probes(self) -> None:
        """Probes of the parent report there; in the child others may pass, and count."""
        breaker = CircuitBreaker(1, 30, 1)
        with instrumentation.use_clock(Clock()) as clock:
            breaker.record_failure(SHOP)
            clock.advance(seconds=30)
            probe = breaker.acquire(SHOP)

            def use() -> list[str]:
                probe.leave(LATE)
                states = [breaker.state_of(SHOP)]
                breaker.acquire(SHOP).leave(FOUND)
                return [*states, breaker.state_of(SHOP)]

            assert in_child(use) == ["half_open", "closed"]
            assert breaker.counts(SHOP).probes == 1


class TestBulkhead:
    def test_places_are_handed_over_in_the_order_of_coming(self) -> None:
        """Who has waited longest is the next."""
        bulkhead, order = Bulkhead(1), []
        place = bulkhead.enter()

        def wait(number: int) -> float:
            own = bulkhead.enter()
            order.append(number)
            own.leave()
            return own.waited

        callers = [waiting_for_place(lambda number=number: wait(number)) for number in range(8)]
        place.leave()
        waits = [caller.result() for caller in callers]
        assert order == list(range(8))
        assert min(waits) > 0

    def test_those_inside_are_not_called_up(self) -> None:
        """A place that becomes free goes to who waits, whoever else is inside."""
        bulkhead = Bulkhead(2)
        first, second = bulkhead.enter(), bulkhead.enter()
        waiting = waiting_for_place(lambda: bulkhead.enter().waited)
        first.leave()
        assert waiting.result() > 0
        assert bulkhead.enter(0).waited == second.waited == 0

    def test_no_more_are_inside_than_there_are_places(self) -> None:
        """However many come, no more than the places are taken at a time."""
        bulkhead, inside, most = Bulkhead(3), [], []

        def visit() -> None:
            for _ in range(20):
                place = bulkhead.enter()
                inside.append(None)
                most.append(len(inside))
                inside.pop()
                place.leave()

        assert together(16, visit) == [None] * 16
        assert max(most) <= 3
        places = [bulkhead.enter(0) for _ in range(3)]
        assert [place.waited for place in places] == [0, 0, 0]

    def test_a_place_that_comes_too_late_is_still_taken(self) -> None:
        """A caller whose wait has just ended, but who was given the place, has it."""
        for _ in range(200):
            bulkhead = Bulkhead(1)
            leaving = Task(bulkhead.enter().leave)
            try:
                place = bulkhead.enter(1e-5)
            except CapacityException:
                leaving.result()
                place = bulkhead.enter(0)
            leaving.result()
            with pytest.raises(CapacityException):
                bulkhead.enter(0)
            place.leave()

    @pytest.mark.parametrize("is_full", [True, False])
    def test_an_interrupt_costs_no_place(self, *, is_full: bool) -> None:
        """Wherever a caller is torn down on its way in, there are as many places as before."""
        number = 0
        while True:
            number += 1
            bulkhead = Bulkhead(2, 0.001)
            others = [bulkhead.enter() for _ in range(2 if is_full else 1)]
            places: list[Place] = []
            enter = lambda: places.append(bulkhead.enter())  # noqa: E731, B023
            try:
                was_interrupted = interrupted(number, enter)
            except CapacityException:
                was_interrupted = False
            if is_full:
                others.pop().leave()
            if not places:
                places.append(bulkhead.enter(0))
            with pytest.raises(CapacityException):
                bulkhead.enter(0)
            if not was_interrupted:
                break
        assert number > 5

    def test_an_interrupt_of_leaving_frees_the_place(self) -> None:
        """Wherever a caller is torn down on its way out, the next one gets the place."""
        number = 0
        while True:
            number += 1
            bulkhead = Bulkhead(1)
            places = [bulkhead.enter()]
            next_one = waiting_for_place(lambda bulkhead=bulkhead: bulkhead.enter().waited)
            was_interrupted = interrupted(number, lambda places=places: places.pop().leave())
            assert next_one.result() > 0
            if not was_interrupted:
                break
        assert number > 3

    @needs_fork
    def test_a_child_has_all_places(self) -> None:
        """Those who have a place in the parent, or wait for one, are not in the child."""
        bulkhead = Bulkhead(2, 0)
        places = [bulkhead.enter(), bulkhead.enter()]

        def use() -> list[object]:
            own = [bulkhead.enter(), bulkhead.enter()]
            for place in places:
                place.leave()
            with pytest.raises(CapacityException):
                bulkhead.enter()
            return [place.waited for place in own]

        assert in_child(use) == [0, 0]


@needs_fork
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: _use_circuit(CircuitBreaker(2, 0, 1)), id="circuit"),
        pytest.param(lambda: _use_budget(RetryBudget()), id="budget"),
        pytest.param(lambda: _use_rate(RateLimiter(10)), id="rate"),
        pytest.param(lambda: _use_bulkhead(Bulkhead(1)), id="bulkhead"),
    ],
)
def test_a_child_forked_at_any_line_of_another_thread_works(
    make: Callable[[], Callable[[], object]],
) -> None:
    """Wherever a thread of the parent is in the library, locks included, the child goes on."""
    line = 0
    while True:
        line += 11  # a fork takes time: each line in its turn would be too many
        use, gate = make(), Gate()
        task = Task(lambda line=line, use=use, gate=gate: at_line(line, use, gate))
        if not gate.reached_before(task):
            break
        assert in_child(lambda use=use: use() or "done") == "done"
        gate.open()
        task.result()
    assert line > 11


def _use_circuit(breaker: CircuitBreaker) -> Callable[[], None]:
    def use() -> None:
        with recorded():
            for outcome in (LATE, LATE, FOUND):
                breaker.acquire(SHOP).leave(outcome)

    return use


def _use_budget(budget: RetryBudget) -> Callable[[], None]:
    def use() -> None:
        budget.deposit(SHOP)
        budget.withdraw(SHOP)

    return use


def _use_rate(limiter: RateLimiter) -> Callable[[], None]:
    def use() -> None:
        limiter.heed(SHOP, 429, Headers({"Retry-After": "1"}))
        limiter.reserve(SHOP)
        limiter.cancel(SHOP)

    return use


def _use_bulkhead(bulkhead: Bulkhead) -> Callable[[], None]:
    def use() -> None:
        bulkhead.enter().leave()

    return use


def waiting_for_place(call: Callable[[], float]) -> Task[float]:
    """A call under way, once it waits in the queue of a bulkhead."""
    idents: list[int] = []

    def run() -> float:
        idents.append(threading.get_ident())
        return call()

    task = Task(run)
    pause = threading.Event()
    for _ in range(int(LIMIT * 1000)):
        frame = sys._current_frames().get(idents[0]) if idents else None  # noqa: SLF001 - documented
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno) if frame else ""
        if "acquire(timeout=" in line:
            return task
        pause.wait(0.001)
    pytest.fail("The call does not wait.")
