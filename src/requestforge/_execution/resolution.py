"""How a run gets the token of a step that the cache has not: by its own flight, or another's."""

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import timedelta

from requestforge._deadline import cuts, time_left
from requestforge._execution.failures import (
    asked_wait,
    is_out_of_time,
    is_refusal,
    step_failure,
    wait_failure,
    without_tokens,
)
from requestforge._execution.flight import Demand, Failed, Flight, Landed, Outcome, Reentered, place
from requestforge._execution.keys import Entry
from requestforge._execution.plan import Plan
from requestforge._execution.records import Record
from requestforge._execution.redemption import Superseded, renewed
from requestforge._execution.steps import Step
from requestforge._execution.telling import Telling
from requestforge._references import secret_values
from requestforge.exceptions import (
    AuthenticationException,
    DependencyException,
    TokenStorageException,
)
from requestforge.instrumentation import real_monotonic
from requestforge.tokens import TokenData, forced_fetch, stamped

# How often a run starts over because others invalidate what it has read, before it goes on with
# what it has, uncached.
_MOST_RESTARTS = 10
_NO_DEMAND = Demand()


class StartOver(Exception):
    """What the run has read does not hold any more."""


class Resolution:
    """What a run has read, asks for and was given, and the flights that it takes part in.

    The arguments are those of Run.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        forced: Collection[str] = (),
        stale: Mapping[str, str] | None = None,
        refreshes: Collection[str] = (),
        rejected: str | None = None,
    ) -> None:
        self._plan = plan
        self._cache = plan.cache
        self._forced = frozenset(forced)
        self._demand = Demand(place(), self._forced)
        self._stale = stale or {}
        self._refreshes = frozenset(refreshes)
        self._rejected = rejected
        self._view: Mapping[str, Record] = {}
        self._landings = 0
        self._tokens: dict[str, TokenData] = {}
        self._fetched: dict[str, TokenData] = {}
        self._telling = Telling(plan.reports)
        self._repaired: set[str] = set()
        self._restarts = 0
        self.served: dict[str, TokenData] = {}
        """Tokens that came from the cache, by step."""

    def _resolve(self, step: Step) -> TokenData:
        """A token by a flight: this thread's own, or another's."""
        answer = self._answer(step, self._view[step.name])
        if answer is not None:
            self._miss(step, self._view[step.name], forced=step.name in self._stale)
            raise self._failure(step, answer) from answer.error
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
            step.entry.tag,
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
            and (records[last].usable is None or not records[last].holds(self._rejected))
        )

    def _reason_of(self, step: Step) -> dict[str, Step]:
        """The last step, if its rejected token is why this one is to be fetched."""
        last = self._plan.steps[-1]
        return {last.name: last} if self._rejected and step.name in self._refreshes else {}

    def _serve(self, step: Step, token: TokenData) -> None:
        self.served[step.name] = token
        self._telling.hit(step.name, token)

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
            raise StartOver

    def _settle(self, step: Step, outcome: Outcome, flight: Flight) -> TokenData:
        """What an outcome means to this run, whoever led the flight."""
        if isinstance(outcome, Landed):
            if step.name not in self.served:
                self._fetched[step.name] = outcome.token
            if flight.gives_up:
                self._start_over()
            return outcome.token
        raise self._failure(step, outcome) from outcome.error

    def _failure(self, step: Step, outcome: Failed) -> AuthenticationException:
        """The error of a failed fetch for one caller, unless the run can go on from the start."""
        if outcome.start_over and step.name not in self._repaired:
            self._repaired.add(step.name)
            raise StartOver
        failure = step_failure(step.name, outcome.error)
        failure.retry_at = outcome.retry_at or failure.retry_at
        return failure

    def _answer(self, step: Step, record: Record) -> Failed | None:
        """The failure in force, which is the answer where nothing usable was read."""
        if not self._plan.failure_backoff or step.name in self._forced:
            return None
        return self._cache.home.failures.answer(step.entry.tag, record.epoch, record.stored)

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

    def _fly(self, step: Step, flight: Flight) -> Outcome | None:
        """Read the record again, and fetch if it is still of no use.

        None: another process has changed the record meanwhile, so that it is to be read again.
        """
        self._cache.fences.settle(step.entry)
        reads = {step.name: step, **self._reason_of(step)}
        records = self._cache.read([each.entry for each in reads.values()])
        if self._is_replaced(records):
            self._start_over()
        record = records[step.name]
        if record.epoch != flight.epoch:
            self._start_over()
            record.epoch, record.redeemable = self._view[step.name].epoch, False
        token = self._acceptable(step.name, record)
        answer = self._answer(step, record) if token is None else None
        if answer is not None:  # it came while this thread waited for its turn
            return answer
        found = None if token is None else forced_fetch(token)
        fetches = self._cache.flights.begin(flight, found)
        if token is not None and not fetches:
            self._serve(step, token)
            return Landed(token)
        if flight.demand.steps:
            self._cache.home.failures.end(step.entry.tag)
        if record.unread:
            before = self._view[step.name]
            record.stored, record.present = before.stored, before.present
        self._miss(step, record, forced=record.usable is not None)
        cut_before = cuts()
        try:
            token = self._fetch(step, record, flight)
        except Superseded:
            return None
        except Exception as error:  # noqa: BLE001 - user code may raise anything
            return self._failed(step, error, record, was_cut=cuts() > cut_before)
        self._cache.give_up_old(self._cache.flights.close(flight), self._plan.redeeming)
        return Landed(token)

    def _miss_flight(self, step: Step, flight: Flight) -> None:
        """Report that a fetch of another thread is waited for, if it is one."""
        if flight.epoch is not None:
            view = self._view[step.name]
            replaced = step.name in self._forced or step.name in self._stale
            self._miss(step, view, forced=replaced and view.usable is not None)

    def _miss(self, step: Step, record: Record, *, forced: bool) -> None:
        """Report a miss, once in a run."""
        self._telling.miss(step.name, self._view[step.name], record, forced=forced)

    def _fetch(self, step: Step, record: Record, flight: Flight) -> TokenData:
        """A new token, stored over the record that was read."""
        fetched = renewed(step, self._context(step), record, self._cache, self._plan.reports)
        forced = (int(flight.began), flight.demand.steps) if flight.demand.steps else None
        generation = self._cache.new_generation(step.entry, record.epoch, fetched.monotonic_end)
        token = stamped(fetched.token, generation, fetched.monotonic_end, forced)
        self._cache.home.failures.end(step.entry.tag)
        is_replaced = self._keep(step, token, record, usable=fetched.usable)
        replaced = record.usable if is_replaced else None
        self._plan.reports.fetched(step.name, token, replaced, fetched.seconds)
        return token

    def _keep(self, step: Step, token: TokenData, record: Record, *, usable: bool) -> bool:
        """Cache a new token in place of the one that was read; whether that is not there now."""
        # A refresh token is stored in any case: the one that bought it may be worthless now.
        if usable or (token.refresh_token and step.redeems):
            return self._cache.write(step.entry, token, record)
        return self._discard(step, record)

    def _discard(self, step: Step, record: Record) -> bool:
        """Have no token instead of the one that was read; whether that is not there now."""
        self._cache.give_up(step.entry, record)
        return True

    def _context(self, step: Step) -> dict[str, TokenData] | None:
        if self._plan.lazy:
            return {
                name: self._tokens[name] for name in step.depends_on if name in self._tokens
            } or None
        return dict(self._tokens) or None

    def _failed(self, step: Step, error: Exception, record: Record, *, was_cut: bool) -> Failed:
        """The end of a failed fetch: upstream tokens are repaired if it can be their fault."""
        given = [*self._tokens.values(), record.token]
        clean = without_tokens(error, given, secret_values(step.values))
        self._plan.reports.failed(step.name, clean)
        if self._repair(step, error):
            return Failed(clean, start_over=True)
        own = was_cut or is_out_of_time(error)
        retry_at = None
        if self._plan.failure_backoff and not (own or isinstance(error, DependencyException)):
            failure, wait = step_failure(step.name, clean), asked_wait(error)
            key, failures = step.entry.tag, self._cache.home.failures
            retry_at = failures.note(key, record.epoch, record.stored, failure, wait)
        step.on_fetch_error(error, self._context(step))
        return Failed(clean, own=own, retry_at=retry_at)

    def _repair(self, step: Step, error: Exception) -> bool:
        """Give up cached tokens that a refused step has used; whether there were any."""
        suspects = [self._plan.by_name[name] for name in step.depends_on if name in self.served]
        if not suspects or step.name in self._repaired or not is_refusal(error):
            return False
        self._give_up(suspects)
        return True

    def _give_up(self, suspects: Sequence[Step]) -> None:
        """Invalidate what the cache has served of those steps, if it is still there."""
        current = self._cache.read([suspect.entry for suspect in suspects])
        for suspect in suspects:
            if current[suspect.name].holds(self.served[suspect.name].generation):
                # What the storage cannot delete is invalid in this process all the same.
                with suppress(TokenStorageException):
                    self._plan.invalidate([suspect.name], "repair")
