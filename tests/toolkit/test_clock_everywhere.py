"""A clock rules every storage, from every thread and from a running event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

import pytest
import redis

from pytest_requestforge import Clock, FakeAuth
from requestforge import (
    BodyTokenFetcher,
    DjangoCacheTokenStorage,
    FileTokenStorage,
    InMemoryTokenStorage,
    RedisTokenStorage,
    TokenFetchPipeline,
)
from requestforge.instrumentation import now, sleep
from requestforge.interfaces import TokenStorageInterface

pytestmark = pytest.mark.compat

URL = "https://auth.example.com"
START = datetime(2030, 1, 1, tzinfo=UTC)
LIFE = timedelta(minutes=10)
Result = TypeVar("Result")
Place = Callable[[Callable[[], Any]], Any]


def in_the_tests_thread(call: Callable[[], Result]) -> Result:
    """Call it here."""
    return call()


def in_another_thread(call: Callable[[], Result]) -> Result:
    """Call it in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def in_an_event_loop(call: Callable[[], Result]) -> Result:
    """Call it while a loop runs, which has slept."""

    async def main() -> Result:
        await asyncio.sleep(0.001)
        return call()

    return asyncio.run(main())


def in_a_thread_of_a_loop(call: Callable[[], Result]) -> Result:
    """Call it in a worker of a loop, which waits for it with a timeout."""

    async def main() -> Result:
        async with asyncio.timeout(30):
            return await asyncio.to_thread(call)

    return asyncio.run(main())


PLACES = [in_the_tests_thread, in_another_thread, in_an_event_loop, in_a_thread_of_a_loop]


@pytest.fixture(params=PLACES, ids=lambda place: place.__name__)
def within(request: pytest.FixtureRequest) -> Place:
    """Where the code under test runs."""
    place: Place = request.param
    return place


@pytest.fixture(params=["memory", "file", "locmem", "redis through django", "redis"])
def rf_token_storage(request: pytest.FixtureRequest) -> TokenStorageInterface:
    """An empty storage of each kind."""
    kind: str = request.param
    if kind == "memory":
        return InMemoryTokenStorage()
    if kind == "file":
        return FileTokenStorage(request.getfixturevalue("tmp_path") / "tokens")
    if kind == "redis":
        connect: Callable[[], redis.Redis] = request.getfixturevalue("connect")
        return RedisTokenStorage(connect(), key_prefix=uuid4().hex)
    request.getfixturevalue("django_cache")(kind.partition(" ")[0])
    return DjangoCacheTokenStorage()


@pytest.fixture
def pipeline(rf_token_storage: TokenStorageInterface) -> TokenFetchPipeline:
    """One step, whose tokens live for ten minutes."""
    return TokenFetchPipeline([BodyTokenFetcher("app", URL, "/app", ttl=LIFE)], rf_token_storage)


def test_a_token_is_used_until_its_very_end(
    rf_clock: Clock, rf_fake_auth: FakeAuth, pipeline: TokenFetchPipeline, within: Place
) -> None:
    """A second before it is served, at its end another one is fetched, and then that one."""
    rf_fake_auth.serve(pipeline)
    first = within(pipeline.execute)

    rf_clock.to_expiry("app", offset=-1)
    assert within(pipeline.execute) == first
    rf_clock.advance(1)
    second = within(pipeline.execute)

    assert second.access_token != first.access_token
    assert within(pipeline.execute) == second
    rf_fake_auth.assert_fetch_counts(app=2)


def test_the_life_that_a_server_gives_a_record_does_not_count(
    rf_clock: Clock, rf_fake_auth: FakeAuth, pipeline: TokenFetchPipeline, within: Place
) -> None:
    """Years pass by the clock while Redis still has the record: the storage judges by the token."""
    rf_fake_auth.serve(pipeline)
    within(pipeline.execute)

    rf_clock.move_to("2040-06-01T00:00:00Z")
    within(pipeline.execute)

    rf_fake_auth.assert_fetch_counts(app=2)
    rf_fake_auth.assert_expires_in("app", 600)


def test_threads_meet_the_end_together(
    rf_clock: Clock, rf_fake_auth: FakeAuth, pipeline: TokenFetchPipeline
) -> None:
    """Eight of them that find the token expired share one fetch."""
    rf_fake_auth.serve(pipeline)
    pipeline.execute()
    rf_clock.to_expiry("app", offset=0)

    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(pipeline.execute) for _ in range(8)]
        tokens = {run.result().access_token for run in runs}

    assert len(tokens) == 1
    rf_fake_auth.assert_fetch_counts(app=2)
    rf_fake_auth.assert_single_flight()


def test_everybody_reads_the_same_time(rf_clock: Clock, within: Place) -> None:
    """The library and the user's own code, before and after it was moved."""
    assert within(lambda: (now(), datetime.now(UTC))) == (START, START)
    rf_clock.advance(hours=1)
    later = START + timedelta(hours=1)
    assert within(lambda: (now(), datetime.now(UTC))) == (later, later)


def test_a_pause_takes_no_time(rf_clock: Clock, within: Place) -> None:
    """It is noted, and moves the clock for all."""
    within(lambda: sleep(3600))
    assert rf_clock.sleeps == [3600]
    assert within(lambda: datetime.now(UTC)) == START + timedelta(hours=1)
