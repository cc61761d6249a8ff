"""A cached token in a storage that processes share: what a hit costs."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import redis
from fleet import redis_server
from ratios import Result, ratio_of
from steps import chain

from requestforge import (
    EncryptedTokenStorage,
    FileTokenStorage,
    RedisTokenStorage,
    TokenFetchPipeline,
)
from requestforge.interfaces import TokenStorageInterface

LENGTH = 10
NUMBER, ROUNDS = 200, 41


def measure() -> list[Result]:
    """All lines on warm storages; those without a server to start are left out."""
    results: list[Result] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rf-")))
        if shutil.which("redis-server") is not None:
            results += on_redis(stack.enter_context(redis_server(folder)))
        results += on_files(folder / "tokens")
    return results


def on_redis(url: str) -> Iterator[Result]:
    """Hits on Redis beside one bare MGET of as many keys, and the commands of one hit."""
    with redis.Redis.from_url(url) as client:
        names = [f"record{number}" for number in range(LENGTH)]
        record = json.dumps({"access_token": "a" * 200})
        client.mset(dict.fromkeys(names, record))

        def bare() -> object:
            return client.mget(names)

        unit = f"one bare MGET of {LENGTH} keys"
        name = f"cached execute() of {LENGTH} steps on Redis"
        own = RedisTokenStorage(url=url, key_prefix="own")
        work = cached(own)
        yield Result(name, unit, cost(work, bare), 1.15)
        before = commands(client)
        work()
        yield Result("the same, commands", "one command", commands(client) - before, 1.0)
        given = RedisTokenStorage(redis.Redis.from_url(url), key_prefix="given")
        yield Result("the same with a client that was given", unit, cost(cached(given), bare), None)
        sealed = EncryptedTokenStorage(RedisTokenStorage(url=url, key_prefix="sealed"), [bytes(32)])
        yield Result("the same, encrypted", unit, cost(cached(sealed), bare), None)
        stale = RedisTokenStorage(url=url, key_prefix="stale", max_staleness=timedelta(hours=1))
        yield Result("the same with max_staleness", unit, cost(cached(stale), bare), None)


def on_files(directory: Path) -> Iterator[Result]:
    """Hits on files beside reading as many."""
    work = cached(FileTokenStorage(directory))
    paths = list(directory.glob("*.json"))

    def bare() -> object:
        return [path.read_bytes() for path in paths]

    name = f"cached execute() of {LENGTH} steps on files"
    yield Result(name, f"reading {len(paths)} files", cost(work, bare), None)


def cached(storage: TokenStorageInterface) -> Callable[[], object]:
    """Executes a pipeline whose steps are all cached."""
    pipeline = TokenFetchPipeline(chain(LENGTH), storage, "bench")
    pipeline.execute()
    pipeline.execute()
    return pipeline.execute


def cost(work: Callable[[], object], unit: Callable[[], object]) -> float:
    """In short turns, since a server in another process is easily disturbed."""
    return ratio_of(work, unit, number=NUMBER, rounds=ROUNDS)


def commands(client: redis.Redis) -> int:
    """How many reads the server has answered."""
    calls: int = client.info("commandstats")["cmdstat_mget"]["calls"]
    return calls
