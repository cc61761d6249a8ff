"""A steady load on a token that ends every other second: how long its callers wait."""

import statistics
import threading
from datetime import timedelta
from time import perf_counter, sleep

from ratios import Result
from steps import Step

from requestforge import (
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenFetchPipeline,
    TokenManager,
)

FETCH = 0.1
"""Seconds that a fetch takes."""

TTL = timedelta(seconds=2)
AHEAD = timedelta(seconds=1)

THREADS = 16
PAUSE = 0.004
"""Seconds between two calls of a thread."""

SECONDS = 12.0
"""How long the load lasts."""


class ShortStep(Step):
    """A step whose token lives for two seconds."""

    ttl = TTL


def load(refresh_ahead: timedelta | None) -> tuple[list[float], int]:
    """Milliseconds of each call in order of length, and the fetches after the first one."""
    step = ShortStep("step", [], FETCH)
    pipeline = TokenFetchPipeline(
        [step], InMemoryTokenStorage(), "bench", refresh_ahead=refresh_ahead
    )
    manager = TokenManager(PipelineTokenProvider(pipeline, "service"))
    manager.get_token()
    taken: list[list[float]] = [[] for _ in range(THREADS)]
    start = threading.Barrier(THREADS)

    def call(times: list[float]) -> None:
        start.wait()
        end = perf_counter() + SECONDS
        while (began := perf_counter()) < end:
            manager.get_token()
            times.append((perf_counter() - began) * 1000)
            sleep(PAUSE)

    threads = [threading.Thread(target=call, args=(times,)) for times in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(time for times in taken for time in times), step.fetches - 1


def measure() -> list[Result]:
    """All lines on a steady load."""
    inline, _ = load(None)
    ahead, fetches = load(AHEAD)
    p999, inline_p999 = (statistics.quantiles(times, n=1000)[-1] for times in (ahead, inline))
    waits = sum(time >= FETCH * 1000 / 2 for time in ahead)
    return [
        Result("get_token, 16 threads, ttl 2 s, renewed 1 s ahead, p99.9", "1 ms", p999, 0.3),
        Result("the same, longest", "1 ms", ahead[-1], None),
        Result("the same, callers that waited for a fetch", "1", waits, 0.0),
        Result("the same, fetches", "one a second", fetches / SECONDS, 1.2),
        Result("the same, not renewed ahead, p99.9", "1 ms", inline_p999, None),
    ]
