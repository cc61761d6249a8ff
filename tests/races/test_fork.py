"""A process that is forked while threads of it fetch, wait and hold locks."""

import json
import os
import random
import select
import signal
import sys
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo

import pytest
import requests
from racing import (
    LIMIT,
    STORAGE_IDS,
    STORAGES,
    Gate,
    Task,
    at_line,
    chain,
    fetches,
    together,
    values,
    watched,
)
from requests.adapters import HTTPAdapter

from doubles import CountingStep
from requestforge import HttpClient, InMemoryTokenStorage, TokenData, TokenFetchPipeline
from requestforge.events import StepMissed
from requestforge.interfaces import TokenStorageInterface

pytestmark = [
    pytest.mark.compat,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork here."),
]


def in_child(call: Callable[[], object]) -> object:
    """What the call gives, as JSON keeps it, in a child process that is forked for it."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 and later warn of a fork beside threads, which is what is tested here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        answer: object = "The child ended with an exception."
        try:
            answer = call()
        except BaseException as error:  # noqa: BLE001 - shown by the parent
            answer = repr(error)
        finally:
            os.write(writing, json.dumps(answer).encode())
            os._exit(0)
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], LIMIT)
        if not ready:
            os.kill(child, signal.SIGKILL)
        answered = os.read(reading, 65536)
    finally:
        os.close(reading)
        os.waitpid(child, 0)
    assert ready, "The child hangs."
    return json.loads(answered)


@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
def test_a_child_forked_during_a_fetch_fetches_itself(
    make_storage: Callable[[], TokenStorageInterface],
) -> None:
    """The child has no flight to wait for; the parent's fetch goes on and is cached there."""
    step = CountingStep("app")
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline([step], make_storage())
    with watched() as watch:
        callers = [Task(pipeline.execute) for _ in range(4)]
        watch.until(4, StepMissed, "app")
    gate.until_reached()
    assert in_child(lambda: [pipeline.execute().access_token for _ in range(2)]) == ["app-2"] * 2
    gate.open()
    assert values([caller.result() for caller in callers]) == {"app-1"}
    assert pipeline.execute().access_token == "app-1"
    assert step.fetches == 1


def test_a_child_forked_during_a_forced_fetch_is_not_queued_behind_it() -> None:
    """A forced call in the child does not wait for the parent's."""
    step = CountingStep("app")
    step.during = gate = Gate()
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    early = Task(lambda: pipeline.execute(force_refresh=True))
    gate.until_reached()
    late = Task(lambda: pipeline.execute(force_refresh=True))
    assert in_child(lambda: pipeline.execute(force_refresh=True).access_token) == "app-2"
    gate.open()
    assert early.result().access_token == "app-1"
    assert late.result().access_token == "app-2"


def test_a_fetch_that_forks_goes_on_in_both_processes() -> None:
    """In the child of a fetcher that forks, the step may be fetched, and the fetch may end."""
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    answers: list[object] = []

    def fork() -> None:
        step.during = None
        answers.append(in_child(lambda: pipeline.execute().access_token))

    step.during = fork
    assert Task(pipeline.execute).result().access_token == "app-1"
    assert answers == ["app-2"]
    assert pipeline.execute().access_token == "app-1"


def test_a_child_that_leaves_the_fetch_it_was_forked_in_gets_its_token() -> None:
    """A child that returns from the forking fetch has its own end of the flight."""
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    reading, writing = os.pipe()
    parent = os.getpid()

    def fork() -> None:
        step.during = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child:
            os.waitpid(child, 0)

    def run() -> str:
        token = pipeline.execute().access_token
        if os.getpid() != parent:
            try:
                again = pipeline.execute().access_token
                os.write(writing, f"{token} {again}".encode())
            finally:
                os._exit(0)
        return token

    step.during = fork
    assert Task(run).result() == "app-1"
    ready, _, _ = select.select([reading], [], [], LIMIT)
    assert ready
    assert os.read(reading, 100) == b"app-1 app-1"
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
def test_a_child_has_the_tokens_that_were_cached(
    make_storage: Callable[[], TokenStorageInterface],
) -> None:
    """A warmed cache serves the child as well, and what the child gives up is its own affair."""
    steps = chain()
    pipeline = TokenFetchPipeline(steps, make_storage())
    pipeline.execute()
    pipeline.execute()

    def use() -> list[str]:
        cached = pipeline.execute().access_token
        pipeline.invalidate_step("user")
        return [cached, pipeline.execute().access_token]

    assert in_child(use) == ["user-1", "user-2"]
    assert pipeline.execute().access_token == "user-1"
    assert fetches(steps) == [1, 1, 1]


@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
def test_threads_of_a_child_share_their_fetches(
    make_storage: Callable[[], TokenStorageInterface],
) -> None:
    """Single flight works in a child that was forked in the middle of a fetch."""
    steps = chain()
    steps[0].during = gate = Gate()
    pipeline = TokenFetchPipeline(steps, make_storage())
    caller = Task(pipeline.execute)
    gate.until_reached()

    def use() -> list[object]:
        tokens = values(together(16, pipeline.execute))
        return [*tokens, *fetches(steps)]

    assert in_child(use) == ["user-1", 2, 1, 1]
    gate.open()
    assert caller.result().access_token == "user-1"


class SlowZone(tzinfo):
    """A time zone that lets somebody wait while its offset is asked for."""

    def __init__(self) -> None:
        self.gate = Gate()

    def utcoffset(self, _: datetime | None) -> timedelta:
        self.gate()
        return timedelta(0)


def test_a_child_forked_while_a_thread_holds_the_storage_can_use_it() -> None:
    """The lock of a storage that another thread held at the fork is free in the child."""
    storage = InMemoryTokenStorage(max_entries=2)
    zone = SlowZone()
    slow = TokenData("slow", expires_at=datetime(2999, 1, 1, tzinfo=zone))
    holder = Task(lambda: storage.set("slow", slow))
    zone.gate.until_reached()
    pipeline = TokenFetchPipeline([CountingStep("app")], storage)

    def use() -> list[str]:
        tokens = [pipeline.execute().access_token]
        pipeline.invalidate_all()
        return [*tokens, pipeline.execute().access_token]

    assert in_child(use) == ["app-1", "app-2"]
    zone.gate.open()
    holder.result()
    assert pipeline.execute().access_token == "app-1"


@pytest.mark.parametrize(
    "act",
    [
        lambda pipeline: pipeline.execute(),
        lambda pipeline: pipeline.execute(force_refresh=True),
        lambda pipeline: pipeline.invalidate_all(),
    ],
    ids=["execute", "force", "invalidate"],
)
def test_a_child_forked_at_any_line_of_another_thread_works(
    act: Callable[[TokenFetchPipeline], object],
) -> None:
    """Wherever a thread of the parent is in the library, locks included, the child goes on."""
    # A fork takes time: each run of this test takes other lines than the one before.
    stride = 47
    line = random.randrange(stride)  # noqa: S311 - seeded by pytest-randomly
    while True:
        line += stride
        step = CountingStep("app")
        pipeline = TokenFetchPipeline([step], InMemoryTokenStorage(max_entries=100))
        pipeline.execute()
        gate = Gate()
        task = Task(
            lambda line=line, pipeline=pipeline, gate=gate: at_line(
                line, lambda: act(pipeline), gate
            )
        )
        if not gate.reached_before(task):
            break

        def use(pipeline: TokenFetchPipeline = pipeline) -> list[bool]:
            tokens = [pipeline.execute(), pipeline.execute(force_refresh=True)]
            pipeline.invalidate_all()
            tokens += [
                pipeline.execute(),
                TokenFetchPipeline([CountingStep("b")], STORAGES[0]()).execute(),
            ]
            return [isinstance(token, TokenData) for token in tokens]

        assert in_child(use) == [True] * 4, line
        gate.open()
        task.result()
    assert line > 30


class Unwilling(HTTPAdapter):
    """An adapter of a user's session that cannot be told of a fork."""

    def __getstate__(self) -> dict[str, object]:
        raise RuntimeError("This adapter stays where it is.")


def test_what_fails_after_a_fork_leaves_the_rest_renewed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A session that cannot be renewed in the child is told of, and keeps no lock of others."""
    sessions = [requests.Session() for _ in range(8)]  # in whatever order they are renewed
    for session in sessions:
        session.mount("https://", Unwilling())
    clients = [HttpClient(session=session) for session in sessions]
    steps = [CountingStep(f"step-{number}") for number in range(8)]
    pipelines = [TokenFetchPipeline([step], InMemoryTokenStorage()) for step in steps]
    gates = []
    for step in steps:
        step.during = gate = Gate()
        gates.append(gate)
    callers = [Task(pipeline.execute) for pipeline in pipelines]
    for gate in gates:
        gate.until_reached()
    told: list[str] = []
    monkeypatch.setattr(
        sys, "unraisablehook", lambda args: told.extend(map(str, args.exc_value.exceptions))
    )
    answers = in_child(lambda: [[p.execute().access_token for p in pipelines], told])
    assert answers == [
        [f"step-{number}-2" for number in range(8)],
        ["This adapter stays where it is."] * len(sessions),
    ]
    for gate in gates:
        gate.open()
    assert [caller.result().access_token for caller in callers] == [
        f"step-{number}-1" for number in range(8)
    ]
    for client in clients:
        client.close()
