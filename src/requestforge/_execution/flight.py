"""Single flight: at most one fetch for a key at a time, shared by all threads that want it."""

import itertools
import math
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from requestforge._execution.keys import Entry
from requestforge._fork import renew_after_fork
from requestforge.instrumentation import real_monotonic
from requestforge.tokens import TokenData


@dataclass(frozen=True, slots=True)
class Landed:
    """A flight ended with a token."""

    token: TokenData


@dataclass(frozen=True, slots=True)
class Failed:
    """A flight ended with an error.

    `start_over`: its cause has been mended since. `own`: it is the leader's alone, who had no time
    left for the fetch; to all others the flight is abandoned. `retry_at`: when the next fetch may
    be made, aware UTC; None: at any time.
    """

    error: Exception
    start_over: bool = False
    own: bool = False
    retry_at: datetime | None = None


Outcome = Landed | Failed

_places = itertools.count(1)


def place() -> int:
    """The next place in the order of what happens in this process, whatever its clocks say."""
    return next(_places)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a caller asks of a fetch: that it begins at the place `since` or later.

    `steps` are those that it asks this of, so that the fetch builds on no older token of theirs;
    none: any fetch will do.
    """

    since: int = 0
    steps: frozenset[str] = frozenset()

    def met_by(self, began: float, steps: frozenset[str]) -> bool:
        """Whether a fetch does that began there, made for a caller who asked for `steps`."""
        return self.since <= began and self.steps <= steps


class Reentered(Exception):
    """Waiting for this flight would mean that a thread waits for itself."""


class _Latch:
    """An event that a signal cannot leave half set.

    `threading.Event` holds a lock in Python code while it is set; an exception that a signal
    raises there leaves the lock held for ever. Here one call in C opens the latch.
    """

    __slots__ = ("_lock", "_open")

    def __init__(self) -> None:
        self._open = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def is_set(self) -> bool:
        """Whether it is open."""
        return self._open

    def set(self) -> None:
        """Open it; further calls do nothing."""
        self._open = True
        self._release()

    def wait(self, timeout: float) -> bool:
        """Whether it is open within so many seconds."""
        try:
            self._lock.acquire(timeout=timeout)
        finally:
            # Who comes through lets the next one through.
            if self._open:
                self._release()
        return self._open

    def _release(self) -> None:
        with suppress(RuntimeError):  # it is not held
            self._lock.release()


class Flight:
    """One fetch under way, or about to be."""

    __slots__ = (
        "after",
        "began",
        "boarded",
        "closed",
        "demand",
        "done",
        "epoch",
        "gives_up",
        "key",
        "leader",
        "next",
        "outcome",
        "vacated",
    )

    def __init__(
        self,
        key: str,
        epoch: str | None,
        demand: Demand,
        upstream: float = math.inf,
        gives_up: Mapping[Entry, str] | None = None,
    ) -> None:
        """A flight for this thread to lead.

        Args:
            key: the storage key to fetch for.
            epoch: the key's epoch that the thread has read; None: no fetch, but an invalidation,
                which fetches wait for.
            demand: what the thread asks of the fetch.
            upstream: the place of the oldest forced fetch that this one would build on.
            gives_up: generations, by step, to be given up when the flight lands with a token.
        """
        self.key = key
        self.epoch = epoch
        self.leader = threading.get_ident()
        self.demand = demand
        self.boarded = False
        self.after: Flight | None = None
        self.next: Flight | None = None
        # The latest place that its fetch may count for, and once it has begun the one it does.
        self.began = upstream
        self.closed = False
        self.gives_up = dict(gives_up or {})
        self.outcome: Outcome | None = None
        self.vacated = _Latch()
        self.done = _Latch()

    def does_for(self, demand: Demand) -> bool:
        """Whether its fetch is what the demand asks for."""
        return demand.met_by(self.began, self.demand.steps)

    def wait(self, deadline: float) -> Outcome | None:
        """Its outcome, or None if it was abandoned.

        Raises:
            TimeoutError: it has not ended by `deadline` (real seconds).
            Reentered: it waits, perhaps through others, for this very thread.
        """
        _wait(self, self.done, deadline)
        return self.outcome

    def wait_until_first(self, deadline: float) -> None:
        """Return once the flight that this one was queued behind is out of the way."""
        if self.after is not None:
            _wait(self.after, self.after.vacated, deadline)
            self.after = None


class Flights:
    """The flights under way on one storage, by key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: dict[str, Flight] = {}
        self._led: dict[tuple[int, str], Flight] = {}
        self.landings = 0
        """How many flights have landed."""
        renew_after_fork(self)

    def board(self, own: Flight) -> Flight:
        """The flight to take part in: one under way, or this thread's own, which it then leads.

        The caller looks at the flight's `epoch`, since it may take part in none of another epoch,
        and at the `demand`, which may not do for it, but is in its way.

        Raises:
            Reentered: this thread already leads a flight for the key.
        """
        with self._lock:
            if (own.leader, own.key) in self._led:
                raise Reentered
            flight = self._first.get(own.key)
            if flight is None:
                own.boarded = True
                self._first[own.key] = self._led[own.leader, own.key] = own
                return own
            if flight.epoch != own.epoch:
                return flight
            if not flight.does_for(own.demand):
                if flight.next is None:
                    own.boarded = True
                    own.after = flight
                    flight.next = self._led[own.leader, own.key] = own
                    return own
                flight = flight.next
            if flight.does_for(own.demand):
                if own.demand.since > flight.demand.since:
                    flight.demand = replace(flight.demand, since=own.demand.since)
                if not flight.closed:
                    flight.gives_up.update(own.gives_up)
            return flight

    def clear(self, pause: Flight) -> None:
        """Let no flight for the key begin before this one lands, and nobody join one under way."""
        with self._lock:
            first = self._first.get(pause.key)
            pause.boarded = True
            self._first[pause.key] = pause
        if first is not None:
            first.vacated.set()

    def adopt(self, flight: Flight, found: tuple[int, frozenset[str]]) -> bool:
        """Whether a token that its leader found without a fetch will do; then the flight has it.

        Args:
            flight: the flight, led by this thread.
            found: place and forced steps of the fetch of that token.
        """
        with self._lock:
            adopts = flight.demand.met_by(*found)
            if adopts:
                flight.began = found[0]
            return adopts

    def begin(self, flight: Flight, found: tuple[int, frozenset[str]] | None) -> bool:
        """Whether the flight fetches now; else the token that its leader has found will do.

        Args:
            flight: the flight, led by this thread.
            found: place and forced steps of the fetch of that token; None: there is none.
        """
        with self._lock:
            if found is not None and flight.demand.met_by(*found):
                flight.began = found[0]
                return False
            flight.began = min(flight.began, place())
            return True

    def close(self, flight: Flight) -> dict[Entry, str]:
        """What the flight gives up on landing; nobody can add to it from now on."""
        with self._lock:
            flight.closed = True
            return dict(flight.gives_up)

    def land(self, flight: Flight, outcome: Outcome | None = None) -> None:
        """End the flight, if it ever began; without an outcome its waiters see to themselves.

        Callers do this twice, the second time in a `finally` of its own, since a signal may cut the
        first time short. It changes nothing else.
        """
        if not flight.boarded:
            return
        with self._lock:
            if self._led.get((flight.leader, flight.key)) is flight:
                del self._led[flight.leader, flight.key]
                self.landings += 1
            if self._first.get(flight.key) is flight:
                self._vacate(flight)
            elif flight.after is not None and flight.after.next is flight:
                flight.after.next = None
        flight.outcome = None if isinstance(outcome, Failed) and outcome.own else outcome
        flight.vacated.set()
        flight.done.set()

    def supersede(self, key: str, epoch: str) -> None:
        """Let nobody join a flight for the key that is of another epoch than this."""
        with self._lock:
            first = self._first.get(key)
            if first is None or first.epoch in (epoch, None):
                return
            del self._first[key]
        first.vacated.set()

    def after_fork(self) -> None:
        """Start anew: the threads that led these flights are not in this process."""
        self._lock = threading.Lock()
        self._first = {}
        self._led = {}

    def _vacate(self, flight: Flight) -> None:
        if flight.next is None:
            del self._first[flight.key]
        else:
            self._first[flight.key] = flight.next


class _Waits:
    """Which thread of this process waits for which flight."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[int, Flight] = {}
        renew_after_fork(self)

    def enter(self, flight: Flight) -> None:
        me = threading.get_ident()
        with self._lock:
            ahead: Flight | None = flight
            while ahead is not None and not ahead.done.is_set():
                if ahead.leader == me:
                    raise Reentered
                ahead = self._flights.get(ahead.leader)
            self._flights[me] = flight

    def leave(self) -> None:
        with self._lock:
            self._flights.pop(threading.get_ident(), None)

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        self._flights = {}


_waits = _Waits()


def _wait(flight: Flight, event: _Latch, deadline: float) -> None:
    try:
        _waits.enter(flight)
        if not event.wait(max(0.0, deadline - real_monotonic())):
            raise TimeoutError
    finally:
        _waits.leave()
