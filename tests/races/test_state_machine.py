"""Pipelines under any sequence of calls and faults, against a sequential model of them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from model import GRAPH, LIFETIMES, PIPELINES, Failure, Lifetime, Made, Model, ancestors
from racing import Watch

from doubles import Clock, CountingStep, FlakyStorage, FlakyTellingStorage
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
        telling=st.booleans(),
        lazy=st.booleans(),
        observed=st.booleans(),
        lifetimes=st.tuples(*[st.sampled_from(LIFETIMES)] * len(GRAPH)),
    )
    def begin(
        self,
        kind: str,
        telling: bool,
        lazy: bool,
        observed: bool,
        lifetimes: tuple[Lifetime, ...],
    ) -> None:
        """Make the pipelines, and the model."""
        storage_class = FlakyTellingStorage if telling else FlakyStorage
        self.flaky = storage_class(shared=kind == "shared")
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
@pytest.mark.timeout(600)  # a failure takes its time to be made small
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
