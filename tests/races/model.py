"""A sequential model of pipelines on one storage, for one process."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from doubles import Clock
from requestforge.events import (
    StepCached,
    StepFailed,
    StepFetched,
    StepInvalidated,
    StepMissed,
    TokenReplaced,
)
from requestforge.exceptions import TokenStorageException

# Two pipelines on one storage: the second has a step more.
GRAPH = {"app": [], "user": ["app"], "report": ["app"], "session": ["user"]}
PIPELINES = (("app", "user"), ("app", "user", "report", "session"))

Lifetime = tuple[float | None, float | None]
"""Seconds of a step's ttl, and of the life that its server grants."""

LIFETIMES: list[Lifetime] = [(None, None), (100, None), (None, 100), (60, 1000), (200, 50)]


@dataclass(frozen=True)
class Made:
    """A token as the model knows it: its text, and when its use ends on either clock."""

    text: str
    ends_at: datetime | None
    monotonic_end: float


@dataclass
class Place:
    """What the model knows of one key.

    `valid`: the stored token has not been given up; `kept`: a token that could not be stored, and
    the text of the one that it should have replaced; `untold`: an invalidation that the storage
    could not take; `empty_since`: why there is nothing, if there is nothing.
    """

    stored: Made | None = None
    valid: bool = False
    kept: tuple[Made, str | None] | None = None
    untold: bool = False
    reason: str = "empty"


@dataclass
class View:
    """What a reading of a key shows: the token, dead or alive, and the one that may be served."""

    token: Made | None
    usable: Made | None
    stored: str | None
    reason: str


class Failure(Exception):
    """The model's step fails."""

    def __init__(self, step: str) -> None:
        super().__init__(step)
        self.step = step


class StartOver(Exception):
    """The model's run reads everything anew."""


@dataclass
class Model:
    """One process on one storage, one call after the other."""

    clock: Clock
    lifetimes: Mapping[str, Lifetime]
    shared: bool
    lazy: bool
    broken: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    fetches: dict[str, int] = field(default_factory=lambda: dict.fromkeys(GRAPH, 0))
    places: dict[str, Place] = field(default_factory=lambda: {name: Place() for name in GRAPH})
    told: list[tuple[object, ...]] = field(default_factory=list)

    def alive(self, made: Made) -> bool:
        """Whether neither clock has reached the end of its use."""
        now, monotonic = self.clock.now(), self.clock.monotonic()
        return (made.ends_at is None or now < made.ends_at) and monotonic < made.monotonic_end

    def view(self, name: str) -> View:
        """What a reading of the key shows now."""
        place = self.places[name]
        stored = None if "get" in self.broken else place.stored
        token = stored if place.valid else None
        usable = token if token is not None and self.alive(token) else None
        stored_text = None if stored is None else stored.text
        if place.kept is not None:
            kept, replaced = place.kept
            if self.alive(kept) and (usable is None or stored_text == replaced):
                token = usable = kept
        return View(token, usable, stored_text, "expired" if token is not None else place.reason)

    def fetch(self, name: str) -> Made:
        """A new token, stored if the storage takes it."""
        place, view = self.places[name], self.view(name)
        self.told.append((StepMissed, name, "forced" if view.usable else view.reason))
        self.fetches[name] += 1
        if name in self.failing:
            self.told.append((StepFailed, name))
            raise Failure(name)
        ttl, granted = self.lifetimes[name]
        lives = [] if ttl is None else [ttl]
        if granted is not None:
            lives.append(granted - min(30, granted / 10))
        now, monotonic = self.clock.now(), self.clock.monotonic()
        made = Made(
            f"{name}-{self.fetches[name]}",
            now + timedelta(seconds=min(lives)) if lives else None,
            monotonic + min(lives) if lives else float("inf"),
        )
        if self.broken.isdisjoint({"get", "set"}):
            self.places[name] = Place(made, valid=True, untold=place.untold)
        else:
            place.kept = (made, view.stored)
        self.told.append((StepFetched, name, made.text, made.ends_at))
        if view.usable is not None:
            self.told.append((TokenReplaced, name, made.text, view.usable.text))
        return made

    def end(self, name: str, cause: str) -> bool:
        """Give up what is cached for one key; whether the storage took that."""
        place = self.places[name]
        place.valid, place.kept, place.reason = False, None, "invalidated"
        place.untold = self.shared and "set" in self.broken
        if "delete" not in self.broken:
            place.stored = None
        self.told.append((StepInvalidated, name, cause))
        return not (place.untold or "delete" in self.broken)

    def invalidate(self, names: Collection[str], steps: Sequence[str]) -> None:
        """Give up those steps of a pipeline, and what depends on them."""
        taken = [
            self.end(name, "call" if name in names else "cascade")
            for name in steps
            if name in names or any(up in names for up in ancestors(name))
        ]
        if not all(taken):
            raise TokenStorageException("model")

    def refresh(self, steps: Sequence[str], names: Sequence[str], rejected: str | None) -> Made:
        """Another token than the rejected one; None: in any case."""
        current = self.view(steps[-1]).usable
        if rejected is not None and (current is None or current.text != rejected):
            if current is None:
                return self.run(steps)
            self.told.append((StepCached, steps[-1], current.text, current.ends_at))
            return current
        views = {name: self.view(name) for name in names}
        stale = {name: view.token.text for name, view in views.items() if view.token is not None}
        return self.run(
            steps, forced=names if rejected is None else (), stale=stale, refreshes=names
        )

    def run(
        self,
        steps: Sequence[str],
        forced: Collection[str] = (),
        stale: Mapping[str, str] | None = None,
        refreshes: Collection[str] = (),
    ) -> Made:
        """One execution."""
        run = ModelRun(self, steps, forced, dict(stale or {}), refreshes)
        while True:
            try:
                return run.once()
            except StartOver:
                continue


@dataclass
class ModelRun:
    """One execution of the model."""

    model: Model
    steps: Sequence[str]
    forced: Collection[str]
    stale: dict[str, str]
    refreshes: Collection[str]
    fetched: dict[str, Made] = field(default_factory=dict)
    served: set[str] = field(default_factory=set)

    def once(self) -> Made:
        """Go through the steps."""
        views = {name: self.model.view(name) for name in self.steps}
        tokens: dict[str, Made] = {}
        for name in self.needed(views):
            cached = self.cached(name, views[name])
            if name in self.fetched:
                tokens[name] = self.fetched[name]
            elif cached is not None:
                tokens[name] = cached
                self.serve(name, cached)
            else:
                tokens[name] = self.fetch(name, views)
        return tokens[self.steps[-1]]

    def needed(self, views: Mapping[str, View]) -> list[str]:
        """All steps, or those that a walk back from the last one meets."""
        if not self.model.lazy:
            return list(self.steps)
        found: set[str] = set()
        stack = [self.steps[-1], *self.forced, *self.refreshes]
        while stack:
            name = stack.pop()
            if name not in found:
                found.add(name)
                if name not in self.fetched and self.cached(name, views[name]) is None:
                    stack += GRAPH[name]
        return [name for name in self.steps if name in found]

    def cached(self, name: str, view: View) -> Made | None:
        """What may be served of a reading."""
        usable = None if name in self.forced else view.usable
        return None if usable is None or usable.text == self.stale.get(name) else usable

    def serve(self, name: str, made: Made) -> None:
        """Tell of a hit, once."""
        if name not in self.served:
            self.served.add(name)
            self.model.told.append((StepCached, name, made.text, made.ends_at))

    def fetch(self, name: str, views: Mapping[str, View]) -> Made:
        """Fetch a step; the first one of a refresh takes the old tokens of the others with it."""
        place = self.model.places[name]
        if place.untold and "set" not in self.model.broken:
            place.untold, place.valid, place.kept, place.reason = False, False, None, "invalidated"
            raise StartOver
        old = {
            other: text
            for other, text in self.stale.items()
            if name in self.refreshes and other != name and _shows(views[other], text)
        }
        self.fetched[name] = self.model.fetch(name)
        for other, text in old.items():
            if _shows(self.model.view(other), text):
                self.model.end(other, "refresh")
        if old:
            raise StartOver
        return self.fetched[name]


def _shows(view: View, text: str) -> bool:
    return view.token is not None and view.token.text == text


def ancestors(name: str) -> Iterator[str]:
    """All steps that a step builds on."""
    for upstream in GRAPH[name]:
        yield upstream
        yield from ancestors(upstream)
