"""The circuit breaker: one circuit for each origin, shared by all threads."""

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import TypeVar

from requestforge._fork import renew_after_fork
from requestforge._numbers import finite, whole
from requestforge._origins import origin_of
from requestforge.events import CircuitChanged
from requestforge.exceptions import CircuitOpenException
from requestforge.instrumentation import emit, monotonic, now, observers
from requestforge.retry.circuit_state import Circuit, CircuitCounts, Probe, Rules
from requestforge.retry.circuit_state import State as CircuitState
from requestforge.retry.outcomes import has_failed, is_failure

MOST_ORIGINS = 1000
"""Origins whose circuits are remembered; those that work are forgotten first."""

_R = TypeVar("_R")

_CLOSED = CircuitState.CLOSED
_FROM_BEST_TO_WORST = (_CLOSED, CircuitState.HALF_OPEN, CircuitState.OPEN)


class CircuitBreaker:
    """Refuses calls to an origin that has failed several times in a row, until it works again.

    Each origin has a circuit of its own. It is closed at first. So many failures in a row open it:
    calls are refused. After a while it is half-open: a few calls may try, as probes. As many
    successes close it, and one failure opens it again.

    Failures are: no connection, a timeout, a connection that breaks, and the statuses 500, 502, 503
    and 504. Any other answer is a success. A call that was cancelled is neither.

    Observers are told of each change by a CircuitChanged.

    Args:
        failure_threshold: failures in a row that open a circuit, 1 or more.
        recovery_timeout: seconds from there to the first probe. A probe that has not reported for
            as long makes room for another one; its report counts all the same as long as the
            circuit is half-open. With 0 nothing is ever refused: a circuit that opens is half-open
            at once, and is no more than a gauge.
        half_open_max_calls: probes at once, and successes of probes that close it, 1 or more.

    Raises:
        ValueError: a number is too small, or no number.
    """

    State = CircuitState

    def __init__(
        self,
        failure_threshold: int = 5,
        recovery_timeout: float = 30.0,
        half_open_max_calls: int = 3,
    ) -> None:
        self._circuits = _Circuits(
            Rules(
                whole("failure_threshold", failure_threshold, 1),
                finite("recovery_timeout", recovery_timeout),
                whole("half_open_max_calls", half_open_max_calls, 1),
            )
        )

    @property
    def state(self) -> CircuitState:
        """The worst state of all origins: open, else half-open, else closed."""
        return self._circuits.worst()

    def state_of(self, origin: str) -> CircuitState:
        """The state of an origin's circuit; closed if nothing is known of the origin."""
        return self._circuits.present(_named(origin)).state

    def counts(self, origin: str) -> CircuitCounts:
        """What the circuit of an origin has counted."""
        return self._circuits.present(_named(origin)).counts

    def retry_after(self, origin: str) -> float:
        """Seconds until the circuit of an origin lets a probe pass; 0 unless it is open."""
        circuit = self._circuits.present(_named(origin))
        is_open = circuit.state is CircuitState.OPEN
        return max(0.0, circuit.probes_from - monotonic()) if is_open else 0.0

    def record_success(self, origin: str | None = None) -> None:
        """Count a success of that origin; None: of all origins, those not yet met included."""
        self._change(origin, Circuit.succeeded)

    def record_failure(self, origin: str | None = None) -> None:
        """Count a failure of that origin; None: of all origins, those not yet met included."""
        self._change(origin, Circuit.failed)

    def reset(self, origin: str | None = None) -> None:
        """Close the circuit of that origin; None: those of all origins.

        Calls that are under way meanwhile do not count any more.
        """
        self._change(origin, Circuit.restored)

    @contextmanager
    def guard(self, origin: str = "") -> Iterator[None]:
        """A block that calls the origin; how it ends is counted.

        An exception is a failure of the origin, unless it is an answer with a status that is none,
        or tells that nothing was sent. One that is no Exception, such as KeyboardInterrupt, counts
        as neither.

        Args:
            origin: what is called; blocks with the same one share a circuit.

        Raises:
            CircuitOpenException: the circuit is open; the block is not entered.
            TypeError: `origin` is no text.
        """
        permit = self.acquire(_named(origin))
        failed: bool | None = None
        try:
            yield
            failed = False
        except Exception as error:
            failed = is_failure(error)
            raise
        finally:
            permit.end(failed=failed)

    def acquire(self, origin: str) -> "Permit":
        """Permission for one call, to be given back by `leave`; it takes no lock while all is well.

        Args:
            origin: as `str` of an Origin writes it.

        Raises:
            CircuitOpenException: the circuit is open, or half-open with all its probes under way.
        """
        circuits = self._circuits
        circuit = circuits.by_origin.get(origin)
        if circuit is None or circuit.state is not _CLOSED:
            return circuits.admit(origin)
        return Permit(circuits, origin, circuit.period)

    def _change(self, origin: str | None, change: Callable[[Circuit, float], Circuit]) -> None:
        self._circuits.change(None if origin is None else _named(origin), change)


class Permit:
    """Permission for one call, which ends with a report of how the call went."""

    __slots__ = ("_circuits", "_is_left", "_origin", "_period", "_probe")

    def __init__(
        self, circuits: "_Circuits", origin: str, period: object, probe: Probe | None = None
    ) -> None:
        self._circuits = circuits
        self._origin = origin
        self._period = period
        self._probe = probe
        self._is_left = False

    def leave(self, outcome: object) -> None:
        """Count the outcome; only the first call does.

        Args:
            outcome: an answer, by its `status_code`, or the exception in its place. Exceptions that
                say nothing about the origin end the permit without being counted.
        """
        self.end(failed=has_failed(outcome))

    def end(self, *, failed: bool | None) -> None:
        """Count a failure, a success, or with None nothing; only the first call does."""
        if self._is_left:
            return
        self._is_left = True
        circuit = self._circuits.by_origin.get(self._origin)
        if circuit is None or circuit.period is not self._period:
            return  # a report from an earlier period
        if failed or circuit.failures or self._probe is not None:
            self._circuits.report(self._origin, self._period, self._probe, failed=failed)


class _Circuits:
    """The circuits by origin, and how they are changed."""

    def __init__(self, rules: Rules) -> None:
        # Read without the lock, but changed under it only: circuits are values.
        self.by_origin: dict[str, Circuit] = {}
        # What the circuit of an origin that has not been met begins as.
        self._other = Circuit(rules)
        self._start()
        renew_after_fork(self)

    def worst(self) -> CircuitState:
        circuits = tuple(self.by_origin.values()) or (self._other,)
        at = monotonic()
        return max((circuit.at(at).state for circuit in circuits), key=_FROM_BEST_TO_WORST.index)

    def present(self, origin: str) -> Circuit:
        """The circuit of an origin as it is now."""
        return self.by_origin.get(origin, self._other).at(monotonic())

    def admit(self, origin: str) -> Permit:
        """As CircuitBreaker.acquire, whatever the state."""

        def admitted(circuit: Circuit, at: float) -> tuple[Circuit, Permit | float]:
            wait = circuit.wait(at)
            if wait is not None:
                return circuit, wait
            probe = None
            if circuit.state is not _CLOSED:
                circuit, probe = circuit.probed(at)
            return circuit, Permit(self, origin, circuit.period, probe)

        permit = self._update(origin, admitted)
        self._tell()
        if isinstance(permit, Permit):
            return permit
        raise _refusal(origin, permit)

    def report(
        self, origin: str, period: object, probe: Probe | None, *, failed: bool | None
    ) -> None:
        """Count how a call ended that was admitted in that period, as that probe if it was one."""

        def reported(circuit: Circuit, at: float) -> tuple[Circuit, None]:
            if circuit.period is not period:
                return circuit, None
            if probe is not None:
                circuit = circuit.without(probe)
            if failed is not None:
                circuit = circuit.failed(at) if failed else circuit.succeeded(at)
            return circuit, None

        self._update(origin, reported)
        self._tell()

    def change(self, origin: str | None, change: Callable[[Circuit, float], Circuit]) -> None:
        """Change the circuit of an origin, or with None all of them."""

        def changed(circuit: Circuit, at: float) -> tuple[Circuit, None]:
            return change(circuit, at), None

        with self._lock:
            for name in [*self.by_origin] if origin is None else [origin]:
                self._update(name, changed)
            if origin is None:
                self._update_other(change)
        self._tell()

    def after_fork(self) -> None:
        """Start anew but for the states: the parent's probes do not report in this process."""
        self._start()
        self.by_origin = {
            origin: circuit if circuit.state is _CLOSED else circuit.unprobed()
            for origin, circuit in self.by_origin.items()
        }

    def _start(self) -> None:
        # Reentrant, since a signal or the garbage collector may call a client at any point.
        self._lock = threading.RLock()
        self._untold: deque[tuple[str, CircuitState, CircuitState]] = deque()
        self._teller: Callable[[], _Teller | None] = _nobody

    def _update(self, origin: str, change: Callable[[Circuit, float], tuple[Circuit, _R]]) -> _R:
        """Change the circuit of an origin, known from now on, after what time has made of it.

        `change` gives the new circuit and what this gives; it is called again if something else has
        changed the circuit meanwhile.
        """
        with self._lock:
            while True:
                before = self._known(origin)
                at = monotonic()
                circuit = before.at(at)
                after, result = change(circuit, at)
                circuits = self.by_origin
                # Python runs neither the handler of a signal nor a finaliser between these two.
                if origin in circuits and circuits[origin] is before:
                    circuits[origin] = after
                    self._note(origin, before.state, circuit.state)
                    self._note(origin, circuit.state, after.state)
                    return result

    def _update_other(self, change: Callable[[Circuit, float], Circuit]) -> None:
        while True:
            before = self._other
            at = monotonic()
            circuit = before.at(at)
            after = change(circuit, at)
            if self._other is before:  # as in `_update`
                self._other = after
                break
        if not self.by_origin:
            self._note("", before.state, circuit.state)
            self._note("", circuit.state, after.state)

    def _known(self, origin: str) -> Circuit:
        circuit = self.by_origin.get(origin)
        if circuit is None:
            if len(self.by_origin) >= MOST_ORIGINS:
                self._forget_one()
            circuit = self.by_origin.setdefault(origin, replace(self._other, period=object()))
        return circuit

    def _forget_one(self) -> None:
        circuits = [*self.by_origin.items()]
        closed = [(name, circuit) for name, circuit in circuits if circuit.state is _CLOSED]
        working = ((name, circuit) for name, circuit in closed if not circuit.failures)
        name, _ = next(chain(working, closed, circuits))
        self.by_origin.pop(name, None)

    def _note(self, origin: str, before: CircuitState, after: CircuitState) -> None:
        if before is not after and observers:
            self._untold.append((origin, before, after))

    def _tell(self) -> None:
        # One caller at a time, so that changes are told in their order; one that finds another
        # telling leaves its own to that.
        while self._untold:
            teller = self._new_teller()
            if teller is None:
                return
            try:
                while self._untold:
                    origin, before, after = self._untold.popleft()
                    emit(
                        CircuitChanged(
                            at=now(), origin=origin, before=before.value, after=after.value
                        )
                    )
            finally:
                self._teller = _nobody

    def _new_teller(self) -> "_Teller | None":
        with self._lock:
            if self._teller() is not None:
                return None
            teller = _Teller()
            # Weakly, since a signal's exception may end its caller at any point.
            self._teller = weakref.ref(teller)
            return teller


class _Teller:
    """Held by the caller that tells of changes."""

    __slots__ = ("__weakref__",)


def _nobody() -> None:
    return None


def _named(origin: str) -> str:
    """What the circuit is kept under: of a URL its origin, in one spelling."""
    given: object = origin
    if not isinstance(given, str):
        # Not its text, which may hold a password.
        raise TypeError(f"origin must be a str, not a {type(given).__name__}.")
    return str(origin_of(origin) or origin)


def _refusal(origin: str, wait: float) -> CircuitOpenException:
    return CircuitOpenException(
        f"{origin or 'What is called'} has failed several times in a row, so its circuit lets no "
        f"call pass now: nothing was sent. The next one may be tried in {wait:.3g} s.",
        origin=origin,
        retry_after=wait,
    )
