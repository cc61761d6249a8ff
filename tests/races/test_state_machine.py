"""Pipelines under any sequence of calls and faults, against a sequential model of them."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from racing import Watch

from doubles import Clock, CountingStep, FlakyStorage
from requestforge import (
    AuthenticationException,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
)
from requestforge.events import (
    Event,
    RefreshFailed,
    StepCached,
    StepFailed,
    StepFetched,
    StepInvalidated,
    StepMissed,
    StorageFailed,
    TokenReplaced,
)
from requestforge.exceptions import TokenStorageException
from requestforge.instrumentation import observe, use_clock

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


class Machine(RuleBasedStateMachine):
    """Calls of two pipelines, faults and time, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = ExitStack()
        self.clock = self.blocks.enter_context(use_clock(Clock()))
        self.watch = Watch()
        # Fetches that had begun before the last invalidation of each step.
        self.before: dict[str, dict[str, int]] = {}
        self.generations: dict[str, str] = {}
        self.returned: list[TokenData] = []

    @initialize(
        kind=st.sampled_from(["in memory", "shared", "unshared"]),
        lazy=st.booleans(),
        observed=st.booleans(),
        lifetimes=st.tuples(*[st.sampled_from(LIFETIMES)] * len(GRAPH)),
    )
    def begin(self, kind: str, lazy: bool, observed: bool, lifetimes: tuple[Lifetime, ...]) -> None:
        """Make the pipelines, and the model."""
        self.flaky = FlakyStorage(shared=kind == "shared")
        self.faults = kind != "in memory"
        storage = self.flaky if self.faults else InMemoryTokenStorage()
        self.model = Model(
            self.clock, dict(zip(GRAPH, lifetimes, strict=True)), kind == "shared", lazy
        )
        self.steps = {
            name: CountingStep(
                name, GRAPH[name], None if ttl is None else timedelta(seconds=ttl), granted
            )
            for name, (ttl, granted) in self.model.lifetimes.items()
        }
        self.pipelines = [
            TokenFetchPipeline([self.steps[name] for name in names], storage, lazy=lazy)
            for names in PIPELINES
        ]
        self.observed = observed
        if observed:
            self.blocks.enter_context(observe(self.watch))

    @rule(which=st.integers(0, 1), force=st.sampled_from([False, False, True]))
    def execute(self, which: int, force: bool) -> None:
        """The token is what the model says, and so are the events."""
        names = PIPELINES[which]
        forced = names if force else ()
        self.compare(
            lambda: self.pipelines[which].execute(force_refresh=force),
            lambda: self.model.run(names, forced=forced),
        )

    @rule(which=st.integers(0, 1), step=st.sampled_from([*GRAPH, "all"]))
    def invalidate(self, which: int, step: str) -> None:
        """A step or all of them are given up, with what depends on them."""
        pipeline, names = self.pipelines[which], PIPELINES[which]
        if step == "all":
            ended: Sequence[str] = names
            call = pipeline.invalidate_all
        else:
            if step not in names:
                return
            ended = [step]
            call = lambda: pipeline.invalidate_step(step)  # noqa: E731
        for name in names:
            if name in ended or any(up in ended for up in ancestors(name)):
                self.before[name] = dict(self.model.fetches)
        self.compare(call, lambda: self.model.invalidate(ended, names))

    @rule(
        which=st.integers(0, 1),
        from_step=st.sampled_from([None, "app", "user"]),
        rejected=st.sampled_from(["last", "any", "foreign", "none"]),
        data=st.data(),
    )
    def refresh(
        self, which: int, from_step: str | None, rejected: str, data: st.DataObject
    ) -> None:
        """A rejected token is replaced if it is the current one."""
        names = PIPELINES[which]
        token: TokenData | None = None
        if rejected == "foreign":
            token = TokenData("foreign")
        elif rejected == "last" and self.returned:
            token = self.returned[-1]
        elif rejected == "any" and self.returned:
            token = data.draw(st.sampled_from(self.returned))
        known = token is not None and token.access_token.startswith(f"{names[-1]}-")
        text = token.access_token if token is not None and known else None
        start = names[0] if from_step is None else from_step
        affected = [n for n in names if n == start or start in ancestors(n)]
        provider = PipelineTokenProvider(self.pipelines[which], "api", from_step)
        self.compare(
            lambda: provider.refresh(token),
            lambda: self.model.refresh(names, affected, text),
            rejected=text,
        )

    @rule(seconds=st.sampled_from([1, 20, 45, 60, 90, 100, 900]))
    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds=seconds)

    @rule(seconds=st.sampled_from([10, 60, 7200]))
    def set_back(self, seconds: float) -> None:
        """The wall clock is set back."""
        self.clock.set_back(seconds=seconds)

    @rule(seconds=st.sampled_from([10, 60, 7200]))
    def suspend(self, seconds: float) -> None:
        """The wall clock alone goes on."""
        self.clock.suspend(seconds=seconds)

    @rule(step=st.sampled_from(list(GRAPH)), fails=st.booleans())
    def fail(self, step: str, fails: bool) -> None:
        """A step's server goes down, or comes back."""
        self.steps[step].failure = OSError("The server is down.") if fails else None
        (self.model.failing.add if fails else self.model.failing.discard)(step)

    @rule(broken=st.sets(st.sampled_from(["get", "set", "delete"])))
    def break_storage(self, broken: set[str]) -> None:
        """Some operations of the storage fail from now on."""
        if self.faults:
            self.flaky.broken = broken
            self.model.broken = broken

    @rule()
    def mend_storage(self) -> None:
        """The storage works again."""
        self.break_storage(set())

    def compare(
        self,
        real: Callable[[], TokenData | None],
        ideal: Callable[[], Made | None],
        rejected: str | None = None,
    ) -> None:
        """Make a call of the library and of the model, and hold them against each other."""
        fetched_before = dict(self.model.fetches)
        begun = len(self.watch.events)
        token, error = _outcome(real)
        self.model.told.clear()
        made, model_error = _outcome(ideal)
        told = list(self.model.told)
        if isinstance(model_error, Failure):
            assert isinstance(error, AuthenticationException)
            assert error.service_name == model_error.step
        else:
            assert type(error) is type(model_error)
        assert {name: step.fetches for name, step in self.steps.items()} == self.model.fetches
        if isinstance(token, TokenData) and isinstance(made, Made):
            assert token.access_token == made.text
            assert token.access_token != rejected
            self.check(token, fetched_before)
        if self.observed:
            seen = [self.seen(event) for event in self.watch.events[begun:]]
            assert [each for each in seen if each is not None] == told

    def check(self, token: TokenData, fetched_before: Mapping[str, int]) -> None:
        """Hold a token against the invariants, whatever the model says."""
        self.returned.append(token)
        name, number = token.access_token.split("-")
        if int(number) <= fetched_before[name]:  # not fetched for this call
            assert not token.is_expired
        assert int(number) > self.before.get(name, {}).get(name, 0)
        assert token.generation is not None
        assert self.generations.setdefault(token.generation, token.access_token) == (
            token.access_token
        )

    def seen(self, event: Event) -> tuple[object, ...] | None:
        """An event as the model tells it."""
        match event:
            case StepMissed():
                return (StepMissed, event.step, event.reason)
            case StepFailed():
                return (StepFailed, event.step)
            case StepInvalidated():
                return (StepInvalidated, event.step, event.cause)
            case StepFetched() | StepCached():
                text = self.text_of(event.step, event.generation, new=type(event) is StepFetched)
                return (type(event), event.step, text, event.ends_at)
            case TokenReplaced():
                new = self.text_of(event.step, event.generation)
                return (TokenReplaced, event.step, new, self.text_of(event.step, event.replaced))
            case StorageFailed():
                assert self.model.broken
            case RefreshFailed():
                assert event.step in self.model.failing
        return None

    def text_of(self, step: str, generation: str | None, *, new: bool = False) -> str:
        """The access token of a generation, learned from the fetches in their order."""
        assert generation is not None
        if new and generation not in self.generations:
            known = {text for text in self.generations.values() if text.startswith(f"{step}-")}
            made = [
                str(told[2])
                for told in self.model.told
                if told[:2] == (StepFetched, step) and told[2] not in known
            ]
            self.generations[generation] = made[0]
        return self.generations[generation]

    def teardown(self) -> None:
        """Put the system's clock back."""
        self.blocks.close()


@pytest.fixture
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of storage faults are not logged."""
    caplog.set_level(logging.CRITICAL, logger="requestforge")


def _outcome(call: Callable[[], object]) -> tuple[object, Exception | None]:
    try:
        return call(), None
    except (AuthenticationException, TokenStorageException, Failure) as error:
        return None, error


@pytest.mark.compat
@pytest.mark.usefixtures("_quiet")
def test_any_sequence_of_calls_and_faults_goes_as_the_model_says() -> None:
    """Tokens, errors, fetches and events of two pipelines are those of the sequential model."""
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=150,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
