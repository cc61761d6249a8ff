"""One execution of a pipeline: each step from the cache, or by a flight."""

import math
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import timedelta

from requestforge import instrumentation
from requestforge._deadline import cuts, time_left
from requestforge._execution.failures import (
    is_out_of_time,
    is_refusal,
    step_failure,
    wait_failure,
    without_tokens,
)
from requestforge._execution.fetching import fetch
from requestforge._execution.flight import Demand, Failed, Flight, Landed, Outcome, Reentered, place
from requestforge._execution.keys import Entry, epoch_of
from requestforge._execution.plan import Plan, View
from requestforge._execution.records import Record
from requestforge._execution.steps import Step
from requestforge.events import MissReason
from requestforge.exceptions import DependencyException, TokenStorageException
from requestforge.instrumentation import real_monotonic
from requestforge.tokens import TokenData, forced_fetch, is_usable, stamped

# How often a run starts over because others invalidate what it has read, before it goes on with
# what it has, uncached.
_MOST_RESTARTS = 10
_NO_DEMAND = Demand()


class _StartOver(Exception):
    """What the run has read does not hold any more."""


class Run:
    """One execution.

    Args:
        plan: the pipeline's.
        forced: steps that only a fetch which begins from now on will do for.
        stale: generations by step that must not be served; the first of these steps to get a
            new token gives up those of the others.
        refreshes: the steps that this run is to refresh, with or without a stale token.
        rejected: the generation of the last step that is the reason for all that; once it is not
            the current one any more, the run does with what others have put in its place.
        view: what to begin with, just read; None: the run reads it.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        forced: Collection[str] = (),
        stale: Mapping[str, str] | None = None,
        refreshes: Collection[str] = (),
        rejected: str | None = None,
        view: View | None = None,
    ) -> None:
        self._plan = plan
        self._cache = plan.cache
        self._forced = frozenset(forced)
        self._demand = Demand(place(), self._forced)
        self._stale = stale or {}
        self._refreshes = frozenset(refreshes)
        self._rejected = rejected
        self._read = view
        self._view: Mapping[str, Record] = {}
        self._landings = 0
        self._tokens: dict[str, TokenData] = {}
        self._fetched: dict[str, TokenData] = {}
        self._missed: set[str] = set()
        self._told: dict[str, str | None] = {}
        self._repaired: set[str] = set()
        self._confirmed: set[str] = set()
        self._restarts = 0
        self.served: dict[str, TokenData] = {}
        """Tokens that came from the cache, by step."""

    def execute(self) -> TokenData:
        """The token of the last step.

        Raises:
            AuthenticationException: a step failed; `service_name` names it.
        """
        while True:
            try:
                return self._pass()
            except _StartOver:
                self._restarts += 1

    @property
    def all_served(self) -> bool:
        """Whether every token came from the cache, as it was read at first."""
        return not self._fetched and not self._restarts

    def _pass(self) -> TokenData:
        self._view, self._landings = self._read or self._plan.view()
        self._read = None
        if self._is_replaced(self._view):
            self._rejected, self._stale = None, {}
        self._fetched = {
            name: token
            for name, token in self._fetched.items()
            if epoch_of(token.generation) == self._view[name].epoch
        }
        self._tokens = {}
        self.served = {}
        for step in self._needed():
            self._tokens[step.name] = self._token_of(step)
        return self._tokens[self._plan.steps[-1].name]

    def _needed(self) -> tuple[Step, ...]:
        """The steps to look at, in order: all, or what a lazy walk back from the last one finds."""
        plan = self._plan
        if not plan.lazy:
            return plan.steps
        needed: set[str] = set()
        stack = [plan.steps[-1].name, *self._forced, *self._refreshes]
        while stack:
            name = stack.pop()
            if name in needed or name not in plan.by_name:
                continue
            needed.add(name)
            if name not in self._fetched and self._cached(name) is None:
                stack.extend(plan.by_name[name].depends_on)
        return tuple(step for step in plan.steps if step.name in needed)

    def _token_of(self, step: Step) -> TokenData:
        fetched = self._fetched.get(step.name)
        if fetched is not None:
            return fetched
        token = self._cached(step.name)
        if token is None:
            return self._resolve(step)
        if self._fetched and not is_usable(token, instrumentation.reading()):
            # The fetch of an earlier step took longer than this token had to live.
            if self._plan.lazy:  # and what this step depends on has not been looked at
                self._start_over()
            return self._resolve(step)
        if self._rejected is not None and step.name in self._refreshes - self._confirmed:
            # Another refresh of the same token has come this far. Once its flight has landed, the
            # tokens that this new one makes worthless are given up, and the run starts over.
            self._confirmed.add(step.name)
            return self._resolve(step)
        self._serve(step, token)
        return token

    def _cached(self, name: str) -> TokenData | None:
        """The token that was read for the step, if this run may do with it."""
        token = self._acceptable(name, self._view[name])
        if token is None or not self._demand_on(name).met_by(*forced_fetch(token)):
            return None
        return token

    def _demand_on(self, name: str) -> Demand:
        """What this run asks of a fetch of the step."""
        return self._demand if name in self._forced else _NO_DEMAND

    def _acceptable(self, name: str, record: Record) -> TokenData | None:
        """The record's token, if it may be served to this run."""
        token = record.usable
        return None if token is None or token.generation == self._stale.get(name, "") else token

    def _is_replaced(self, records: Mapping[str, Record]) -> bool:
        """Whether those records show another token than the rejected one."""
        last = self._plan.steps[-1].name
        return (
            self._rejected is not None
            and last in records
            and not records[last].unread
            and not records[last].holds(self._rejected)
        )

    def _reason_of(self, step: Step) -> dict[str, Step]:
        """The last step, if its rejected token is why this one is to be fetched."""
        last = self._plan.steps[-1]
        return {last.name: last} if self._rejected and step.name in self._refreshes else {}

    def _serve(self, step: Step, token: TokenData) -> None:
        self.served[step.name] = token
        if self._told.get(step.name) != token.generation:  # a run that starts over serves it again
            self._told[step.name] = token.generation
            self._plan.reports.cached(step.name, token)

    def _resolve(self, step: Step) -> TokenData:
        """A token by a flight: this thread's own, or another's."""
        limit, left = self._plan.wait_limit(step), time_left()
        seconds = limit if left is None else min(limit, left)
        deadline = real_monotonic() + seconds
        try:
            while seconds > 0:
                flight, outcome = self._take_part(step, deadline)
                if outcome is not None and self._suits(step, outcome, flight):
                    return self._settle(step, outcome, flight)
        except TimeoutError:
            pass
        except Reentered:
            msg = (
                f"Step {step.name!r} is asked for by its own fetch. A fetcher must not execute "
                "a pipeline for the very step that it fetches."
            )
            raise DependencyException(msg, service_name=step.name) from None
        raise wait_failure(step.name, limit, left)

    def _take_part(self, step: Step, deadline: float) -> tuple[Flight, Outcome | None]:
        """A flight for the step, and its outcome: None if it was abandoned."""
        flights, outcome = self._cache.flights, None
        own = Flight(
            step.entry.key,
            self._view[step.name].epoch,
            self._demand_on(step.name),
            self._upstream(step),
            self._to_give_up(step),
        )
        try:
            flight = self._board(step, own)
            if flight is own:
                flight.wait_until_first(deadline)
                outcome = self._landed_since(step, flight)
                if outcome is None:
                    with self._lock(step, deadline):
                        outcome = self._fly(step, flight)
            else:
                self._miss_flight(step, flight)
                outcome = flight.wait(deadline)
        finally:
            # Whatever tears this thread down, the waiters of its own flight are let go.
            try:
                flights.land(own, outcome)
            finally:
                flights.land(own, outcome)
        self._landings += flight is own
        return flight, outcome

    def _board(self, step: Step, own: Flight) -> Flight:
        """A flight of the epoch that this run has read, or an invalidation to wait for."""
        while True:
            flight = self._cache.flights.board(own)
            if flight.epoch in (own.epoch, None):
                return flight
            if self._cache.epoch(step.entry) != own.epoch:
                self._start_over()
            self._cache.flights.supersede(own.key, str(own.epoch))

    def _upstream(self, step: Step) -> float:
        """The place of the oldest forced fetch that a fetch of the step would build on."""
        forced = self._forced.intersection(step.depends_on, self._tokens)
        return min((forced_fetch(self._tokens[name])[0] for name in forced), default=math.inf)

    def _to_give_up(self, step: Step) -> dict[Entry, str]:
        """Old tokens, by step, that a new token of this one makes worthless."""
        if step.name not in self._refreshes:
            return {}
        return {
            self._plan.by_name[name].entry: generation
            for name, generation in self._stale.items()
            if name != step.name and self._view[name].holds(generation)
        }

    def _suits(self, step: Step, outcome: Outcome, flight: Flight) -> bool:
        """Whether the outcome of a flight, another's perhaps, is one that this run asked for."""
        if isinstance(outcome, Landed) and outcome.token.generation == self._stale.get(step.name):
            return False
        return flight.does_for(self._demand_on(step.name))

    def _start_over(self) -> None:
        """Read everything anew, unless that has been done too often."""
        if self._restarts < _MOST_RESTARTS:
            raise _StartOver

    def _settle(self, step: Step, outcome: Outcome, flight: Flight) -> TokenData:
        """What an outcome means to this run, whoever led the flight."""
        if isinstance(outcome, Landed):
            if step.name not in self.served:
                self._fetched[step.name] = outcome.token
            if flight.gives_up:
                self._start_over()
            return outcome.token
        if outcome.start_over and step.name not in self._repaired:
            self._repaired.add(step.name)
            raise _StartOver
        raise step_failure(step.name, outcome.error) from outcome.error

    def _lock(self, step: Step, deadline: float) -> AbstractContextManager[None]:
        wait = timedelta(seconds=max(0.0, deadline - real_monotonic()))
        return self._cache.lock(step.entry, self._plan.lease(step), wait)

    def _landed_since(self, step: Step, flight: Flight) -> Outcome | None:
        """A token that this process got since the run has read: no reason to ask for the lock."""
        flights = self._cache.flights
        if not self._plan.locks or flights.landings == self._landings or self._rejected is not None:
            return None
        record = self._cache.read([step.entry])[step.name]
        token = self._acceptable(step.name, record)
        if token is None or record.epoch != flight.epoch:
            return None
        if not flights.adopt(flight, forced_fetch(token)):
            return None
        self._serve(step, token)
        return Landed(token)

    def _fly(self, step: Step, flight: Flight) -> Outcome:
        """Read the record again, and fetch if it is still of no use."""
        self._cache.settle(step.entry)
        reads = {step.name: step, **self._reason_of(step)}
        records = self._cache.read([each.entry for each in reads.values()])
        if self._is_replaced(records):
            self._start_over()
        record = records[step.name]
        if record.epoch != flight.epoch:
            self._start_over()
            record.epoch = self._view[step.name].epoch
        token = self._acceptable(step.name, record)
        found = None if token is None else forced_fetch(token)
        fetches = self._cache.flights.begin(flight, found)
        if token is not None and not fetches:
            self._serve(step, token)
            return Landed(token)
        if record.unread:
            record.stored = self._view[step.name].stored
        self._miss(step, record, forced=record.usable is not None)
        cut_before = cuts()
        try:
            token = self._fetch(step, record, flight)
        except Exception as error:  # noqa: BLE001 - user code may raise anything
            return self._failed(step, error, record, was_cut=cuts() > cut_before)
        self._cache.give_up_old(self._cache.flights.close(flight))
        return Landed(token)

    def _miss_flight(self, step: Step, flight: Flight) -> None:
        """Report that a fetch of another thread is waited for, if it is one."""
        if flight.epoch is not None:
            view = self._view[step.name]
            replaced = step.name in self._forced or step.name in self._stale
            self._miss(step, view, forced=replaced and view.usable is not None)

    def _miss(self, step: Step, record: Record, *, forced: bool) -> None:
        """Report a miss, once in a run."""
        if step.name in self._missed:
            return
        self._missed.add(step.name)
        first = self._view[step.name]
        if record.miss_reason == "empty" and first.usable is None:
            record = first  # it may have seen what that reading has removed
        reason: MissReason = "forced" if forced else record.miss_reason
        generation = record.token.generation if record.token else record.stored
        self._plan.reports.missed(step.name, reason, record.token, generation)

    def _fetch(self, step: Step, record: Record, flight: Flight) -> TokenData:
        """A new token, stored over the record that was read."""
        fetched = fetch(step, self._context(step), record.token)
        forced = (int(flight.began), flight.demand.steps) if flight.demand.steps else None
        generation = step.entry.new_generation(record.epoch)
        token = stamped(fetched.token, generation, fetched.monotonic_end, forced)
        if fetched.usable:
            self._cache.write(step.entry, token, record)
        else:
            self._cache.give_up(step.entry, record)
        self._plan.reports.fetched(step.name, token, record.usable, fetched.seconds)
        return token

    def _context(self, step: Step) -> dict[str, TokenData] | None:
        if self._plan.lazy:
            return {
                name: self._tokens[name] for name in step.depends_on if name in self._tokens
            } or None
        return dict(self._tokens) or None

    def _failed(self, step: Step, error: Exception, record: Record, *, was_cut: bool) -> Outcome:
        """The end of a failed fetch: upstream tokens are repaired if it can be their fault."""
        clean = without_tokens(error, [*self._tokens.values(), record.token])
        self._plan.reports.failed(step.name, clean)
        if self._repair(step, error):
            return Failed(clean, start_over=True)
        own = was_cut or is_out_of_time(error)
        step.on_fetch_error(error, self._context(step))
        return Failed(clean, own=own)

    def _repair(self, step: Step, error: Exception) -> bool:
        """Invalidate cached tokens that a refused step has used; whether there were any."""
        suspects = [self._plan.by_name[name] for name in step.depends_on if name in self.served]
        if not suspects or step.name in self._repaired or not is_refusal(error):
            return False
        current = self._cache.read([suspect.entry for suspect in suspects])
        for suspect in suspects:
            if current[suspect.name].holds(self.served[suspect.name].generation):
                # What the storage cannot delete is invalid in this process all the same.
                with suppress(TokenStorageException):
                    self._plan.invalidate([suspect.name], "repair")
        return True
