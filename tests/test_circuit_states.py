"""The circuit breaker against a model of a few lines, whatever happens to it in whatever order."""

from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from doubles import Clock
from requestforge import CircuitBreaker, CircuitOpenException, instrumentation
from requestforge.exceptions import ConnectionException, NotFoundException
from requestforge.retry.circuit import Permit

ORIGINS = ("https://a.example.com", "https://b.example.com")
OUTCOMES = {
    "failure": ConnectionException("reset"),
    "success": NotFoundException(),
    "neither": None,
}
THRESHOLD, RECOVERY, PROBES = 3, 16, 2


@dataclass
class Model:
    """One circuit, as the documentation tells of it; `at` counts its changes of state."""

    state: str = "closed"
    failures: int = 0
    successes: int = 0
    ends: float = 0
    at: int = 0
    probes: dict[int, float] = field(default_factory=dict)

    def turn(self, state: str) -> None:
        """Go to that state."""
        self.state, self.successes, self.probes = state, 0, {}
        self.at += 1

    def pass_time(self, now: float) -> None:
        """Do what time does."""
        if self.state == "open" and now >= self.ends:
            self.turn("half_open")
        self.probes = {number: ends for number, ends in self.probes.items() if ends > now}

    def count(self, outcome: str, now: float) -> None:
        """Do what an outcome does."""
        if outcome == "failure" and self.state != "open":
            self.failures += self.state == "closed"
            if self.state == "half_open" or self.failures == THRESHOLD:
                self.turn("open")
                self.ends = now + RECOVERY
        elif outcome == "success" and self.state == "closed":
            self.failures = 0
        elif outcome == "success" and self.state == "half_open":
            self.successes += 1
            if self.successes == PROBES:
                self.failures = 0
                self.turn("closed")


class Calls(RuleBasedStateMachine):
    """Calls to two origins that begin, end and get lost, and a clock that goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.clock = self.stack.enter_context(instrumentation.use_clock(Clock()))
        self.breaker = CircuitBreaker(THRESHOLD, RECOVERY, PROBES)
        self.models = {origin: Model() for origin in ORIGINS}
        self.under_way: list[tuple[str, int, int, Permit]] = []
        self.number = 0

    def teardown(self) -> None:
        self.stack.close()

    @initialize(failing=st.booleans())
    def begin_with_a_failing_origin(self, *, failing: bool) -> None:
        """In half of the runs the first origin fails from the start."""
        for _ in range(THRESHOLD if failing else 0):
            self.record(ORIGINS[0], "failure")

    @rule(seconds=st.sampled_from([1, 5, 8, RECOVERY]))
    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.clock.advance(seconds=seconds)
        for model in self.models.values():
            model.pass_time(self.clock.monotonic())

    @rule(origin=st.sampled_from(ORIGINS))
    def call(self, origin: str) -> None:
        """Begin a call, which is refused exactly when the model has no room for it."""
        model, now = self.models[origin], self.clock.monotonic()
        if model.state == "open" or len(model.probes) == PROBES:
            with pytest.raises(CircuitOpenException) as refusal:
                self.breaker.acquire(origin)
            next_one = model.ends if model.state == "open" else min(model.probes.values())
            assert refusal.value.retry_after == next_one - now > 0
            return
        permit = self.breaker.acquire(origin)
        self.number += 1
        if model.state == "half_open":
            model.probes[self.number] = now + RECOVERY
        self.under_way.append((origin, model.at, self.number, permit))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), outcome=st.sampled_from(sorted(OUTCOMES)))
    def end(self, data: st.DataObject, outcome: str) -> None:
        """End a call, which counts unless it is of an earlier period."""
        entry = data.draw(st.sampled_from(self.under_way))
        self.under_way.remove(entry)
        origin, at, number, permit = entry
        permit.leave(OUTCOMES[outcome])
        model = self.models[origin]
        if model.at == at:
            model.probes.pop(number, None)
            model.count(outcome, self.clock.monotonic())

    @rule(origin=st.sampled_from(ORIGINS), outcome=st.sampled_from(["failure", "success"]))
    def record(self, origin: str, outcome: str) -> None:
        """Count something by hand."""
        recorded = {"failure": self.breaker.record_failure, "success": self.breaker.record_success}
        recorded[outcome](origin)
        self.models[origin].count(outcome, self.clock.monotonic())

    @rule(origin=st.sampled_from(ORIGINS))
    def reset(self, origin: str) -> None:
        """Close a circuit by hand."""
        self.breaker.reset(origin)
        self.models[origin].failures = 0
        self.models[origin].turn("closed")

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        """States and counts agree."""
        for origin, model in self.models.items():
            counts = self.breaker.counts(origin)
            assert self.breaker.state_of(origin) == model.state
            assert counts.failures == model.failures
            assert counts.successes == model.successes
            assert counts.probes == len(model.probes)
        worst = max(
            (model.state for model in self.models.values()),
            key=["closed", "half_open", "open"].index,
        )
        assert self.breaker.state == worst


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
