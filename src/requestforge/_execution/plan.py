"""What all executions of a pipeline have in common: steps, graph, storage and limits."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from requestforge._execution.batches import Batch
from requestforge._execution.cache import TokenCache
from requestforge._execution.graph import invert, reachable, topological_order
from requestforge._execution.keys import Entry
from requestforge._execution.records import Record
from requestforge._execution.reports import Reports
from requestforge._execution.steps import Step
from requestforge.events import InvalidationCause
from requestforge.interfaces import TokenStorageInterface

_GRACE = timedelta(seconds=5)
# What a wait or a lease is cut to: locks take no more than some 292 years.
_LONGEST = timedelta(days=365)


class View(NamedTuple):
    """The records by step, and how many flights had landed before they were read."""

    records: Mapping[str, Record]
    landings: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What all executions of a pipeline have in common."""

    prefix: str
    steps: tuple[Step, ...]
    cache: TokenCache
    reports: Reports
    lazy: bool
    lock_lease: timedelta | None
    wait_timeout: timedelta | None
    refresh_ahead: timedelta | None
    failure_backoff: bool
    entries: tuple[Entry, ...] = field(init=False)
    by_name: Mapping[str, Step] = field(init=False)
    _order: Mapping[str, int] = field(init=False)
    _dependents: Mapping[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        """Work out order and dependents once."""
        depends_on = {step.name: step.depends_on for step in self.steps}
        order = {name: place for place, name in enumerate(topological_order(depends_on))}
        object.__setattr__(self, "entries", tuple(step.entry for step in self.steps))
        object.__setattr__(self, "by_name", {step.name: step for step in self.steps})
        object.__setattr__(self, "_order", order)
        object.__setattr__(self, "_dependents", invert(depends_on))

    def view(self, batch: Batch | None = None) -> View:
        """All records as that batch of them has them; None: as they are now, in one read."""
        batch = batch or self.cache.batch(self.entries)
        return View(self.cache.read(self.entries, batch), batch.landings)

    def check_name(self, name: str) -> None:
        """Refuse a name that no step has.

        Raises:
            ValueError: it is such a name.
        """
        if name not in self.by_name:
            msg = f"There is no step {name!r}; the steps are {', '.join(self.by_name)}."
            raise ValueError(msg)

    def cascade(self, name: str) -> list[str]:
        """The step and its transitive dependents, ancestors first."""
        return sorted(reachable([name], self._dependents), key=self._order.__getitem__)

    def all_names(self) -> list[str]:
        """Every step, ancestors first."""
        return list(self._order)

    def invalidate(self, names: Collection[str], cause: InvalidationCause) -> None:
        """Give up the tokens of those steps and of all their dependents, each once.

        Raises:
            TokenStorageException: the storage failed to delete one.
        """
        named = frozenset(names)
        affected = reachable(named, self._dependents)
        causes: dict[Entry, InvalidationCause] = {
            self.by_name[name].entry: cause if name in named else "cascade"
            for name in sorted(affected, key=self._order.__getitem__)
        }
        # A token that was refused may have come by a refresh token that is still good.
        self.cache.invalidate(causes, self.redeeming if cause == "repair" else frozenset())

    @property
    def redeeming(self) -> frozenset[Entry]:
        """The steps that know what to do with a refresh token."""
        return frozenset(step.entry for step in self.steps if step.redeems)

    def wait_limit(self, step: Step) -> float:
        """Seconds that a thread waits for another one's fetch of the step."""
        if self.wait_timeout is not None:
            return min(self.wait_timeout, _LONGEST).total_seconds()
        limit = min(step.fetch_timeout, _LONGEST) + _GRACE
        # A holder that died is waited for until its lease ends.
        if self.locks:
            limit += self.lease(step)
        return limit.total_seconds()

    @property
    def locks(self) -> bool:
        """Whether the storage may have locks."""
        own = getattr(type(self.cache.storage), "lock", None)
        return own is not TokenStorageInterface.lock

    def lease(self, step: Step) -> timedelta:
        """How long a lock on the step holds when its holder dies."""
        return min(self.lock_lease or min(step.fetch_timeout, _LONGEST) + _GRACE, _LONGEST)
