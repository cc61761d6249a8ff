"""A circuit as a value: what failures, successes and time make of it."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Self


class State(StrEnum):
    """What a circuit does with a call."""

    CLOSED = "closed"
    """It lets it pass."""

    OPEN = "open"
    """It refuses it."""

    HALF_OPEN = "half_open"
    """It lets a few pass, as probes."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When a circuit changes.

    Attributes:
        failure_threshold: failures in a row that open it.
        recovery_timeout: seconds from there to the first probe, and those for which a probe that
            does not report keeps others out.
        half_open_max_calls: probes at once, and successes among them that close it.
    """

    failure_threshold: int
    recovery_timeout: float
    half_open_max_calls: int


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A call that tries a half-open circuit, and from when to when it keeps others out.

    Both are monotonic seconds.
    """

    begun: float
    ends: float


@dataclass(frozen=True, slots=True)
class CircuitCounts:
    """What a circuit has counted since its last change of state.

    Attributes:
        failures: in a row; of an open or half-open circuit those that opened it.
        successes: of probes, since the circuit is half-open.
        probes: under way, less those that have not reported for `recovery_timeout`.
    """

    failures: int
    successes: int
    probes: int


@dataclass(frozen=True, slots=True)
class Circuit:
    """One circuit at one instant; all instants are monotonic seconds.

    Attributes:
        rules: when it changes.
        state: as of the instant that it was asked for, see `at`.
        failures: in a row.
        successes: of probes.
        opened: when it opened.
        probes_from: when it lets the first probe pass.
        probes: those under way, as CircuitCounts counts them.
        period: another object after each change of state.
    """

    rules: Rules
    state: State = State.CLOSED
    failures: int = 0
    successes: int = 0
    opened: float = 0.0
    probes_from: float = 0.0
    probes: tuple[Probe, ...] = ()
    period: object = field(default_factory=object, compare=False)

    @property
    def counts(self) -> CircuitCounts:
        """What it has counted."""
        return CircuitCounts(self.failures, self.successes, len(self.probes))

    def at(self, now: float) -> Self:
        """What time alone has made of it by that instant."""
        if self.state is State.OPEN:
            # A clock that reads less than it did is another one, whose readings do not compare.
            if self.opened <= now < self.probes_from:
                return self
            return replace(self, state=State.HALF_OPEN, period=object())
        under_way = tuple(probe for probe in self.probes if probe.begun <= now < probe.ends)
        return self if len(under_way) == len(self.probes) else replace(self, probes=under_way)

    def wait(self, now: float) -> float | None:
        """Seconds until it may let a call pass; None: it does so now."""
        if self.state is State.OPEN:
            return self.probes_from - now
        if len(self.probes) < self.rules.half_open_max_calls:
            return None
        return min(probe.ends for probe in self.probes) - now

    def probed(self, now: float) -> tuple[Self, Probe]:
        """With one more probe, which begins now."""
        probe = Probe(now, now + self.rules.recovery_timeout)
        return replace(self, probes=(*self.probes, probe)), probe

    def without(self, probe: Probe) -> Self:
        """With that probe at its end."""
        return replace(self, probes=tuple(each for each in self.probes if each is not probe))

    def unprobed(self) -> Self:
        """Without any probe, also such as have not reported yet."""
        return replace(self, probes=(), period=object())

    def succeeded(self, now: float) -> Self:
        """After a success."""
        if self.state is State.CLOSED:
            return replace(self, failures=0) if self.failures else self
        if self.state is State.OPEN:
            return self
        if self.successes + 1 >= self.rules.half_open_max_calls:
            return self.restored(now)
        return replace(self, successes=self.successes + 1)

    def failed(self, now: float) -> Self:
        """After a failure."""
        if self.state is State.OPEN:
            return self
        failures = self.failures + (self.state is State.CLOSED)
        if self.state is State.CLOSED and failures < self.rules.failure_threshold:
            return replace(self, failures=failures)
        return replace(
            self,
            state=State.OPEN,
            failures=failures,
            successes=0,
            opened=now,
            probes_from=now + self.rules.recovery_timeout,
            probes=(),
            period=object(),
        )

    def restored(self, _now: float) -> Self:
        """Closed, with nothing counted."""
        return type(self)(self.rules)
