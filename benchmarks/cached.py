"""A cached token: what a hit costs, alone and from eight threads, and what it takes to keep."""

import statistics
import threading
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import time

from ratios import Result, ratio_of
from steps import chain, together

from requestforge import (
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.interfaces import TokenProviderInterface

LOOK_UP = "a dict look-up and time check under a lock"


class Provider(TokenProviderInterface):
    """A provider that keeps nothing itself."""

    service_name = "service"

    def fetch_token(self) -> TokenData:
        """A token for an hour."""
        return TokenData("token", expires_at=datetime.now(UTC) + timedelta(hours=1))

    def refresh_token(self, current_token: TokenData) -> TokenData:  # noqa: ARG002
        """Another one."""
        return self.fetch_token()


def cached(length: int) -> TokenFetchPipeline:
    """A pipeline of so many steps, all cached."""
    pipeline = TokenFetchPipeline(chain(length), InMemoryTokenStorage(), "bench")
    pipeline.execute()
    pipeline.execute()
    return pipeline


def locked_look_up() -> Callable[[], object]:
    """The unit: the least that a hand-written cache does that is right under threads."""
    lock = threading.Lock()
    cache = {"token": ("token", time() + 3600)}

    def look_up() -> str | None:
        with lock:
            entry = cache.get("token")
            if entry is not None and time() < entry[1]:
                return entry[0]
        return None

    return look_up


def measure() -> list[Result]:
    """All lines on cached tokens."""
    unit = locked_look_up()
    results = [
        Result(
            f"cached execute(), {length} steps",
            LOOK_UP,
            ratio_of(cached(length).execute, unit, number=20_000),
            1.0,
        )
        for length in (1, 3, 10, 100)
    ]
    over_pipeline = TokenManager(PipelineTokenProvider(cached(3), "service"))
    over_provider = TokenManager(Provider())
    for name, manager in (("a pipeline", over_pipeline), ("a provider", over_provider)):
        manager.get_token()
        cost = ratio_of(manager.get_token, unit, number=20_000)
        results.append(Result(f"cached get_token() over {name}", LOOK_UP, cost, 1.0))
    rate = throughput(cached(3).execute, unit)
    results.append(
        Result("the same, 8 threads' throughput", f"{LOOK_UP}, 8 threads", rate, 2.0, at_least=True)
    )
    results.extend(memory())
    return results


def throughput(work: Callable[[], object], unit: Callable[[], object]) -> float:
    """How many times the unit's throughput eight threads reach together."""
    return statistics.median(
        together(unit, threads=8, number=100_000) / together(work, threads=8, number=100_000)
        for _ in range(7)
    )


def memory() -> list[Result]:
    """Bytes of a cached token beyond its own texts, and a get among many."""
    keys = [f"key{number}" for number in range(100_000)]
    texts = [f"token{number}" for number in range(100_000)]
    tracemalloc.start()
    storage = InMemoryTokenStorage()
    for key, text in zip(keys, texts, strict=True):
        storage.set(key, TokenData(text, expires_at=datetime.now(UTC) + timedelta(hours=1)))
    size = tracemalloc.get_traced_memory()[0] / len(keys)
    tracemalloc.stop()
    small = InMemoryTokenStorage()
    for key, text in zip(keys[:100], texts, strict=False):
        small.set(key, TokenData(text))
    many, few = keys[50_000], keys[50]
    growth = ratio_of(lambda: storage.get(many), lambda: small.get(few), number=20_000)
    return [
        Result("bytes a cached token, 100,000 in memory", "one byte", size, 220.0),
        Result("a get at 100,000 tokens", "a get at 100", growth, 1.2),
    ]
