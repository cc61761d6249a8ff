"""Many threads that want one token: how long, and how many fetches."""

import statistics
import threading

from ratios import Result
from steps import chain, together

from requestforge import (
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
    TokenManager,
)

FETCH = 0.05
"""Seconds that a fetch takes."""


def cold() -> tuple[float, int]:
    """Seconds of 64 threads on an empty cache, and the most fetches of a step."""
    steps = chain(3, FETCH)
    pipeline = TokenFetchPipeline(steps, InMemoryTokenStorage(), "bench")
    return together(pipeline.execute, threads=64), max(step.fetches for step in steps)


def revoked() -> tuple[float, int]:
    """Seconds of 32 threads whose token was refused, and the fetches that they cost."""
    steps = chain(3, FETCH)
    pipeline = TokenFetchPipeline(steps, InMemoryTokenStorage(), "bench")
    manager = TokenManager(PipelineTokenProvider(pipeline, "service", "step2"))
    refused = manager.get_token()
    return together(lambda: manager.refresh(refused), threads=32), steps[-1].fetches - 1


def recipe() -> float:
    """Seconds of 32 threads with the compare-and-refresh that one writes by hand."""
    step = chain(1, FETCH)[0]
    lock = threading.Lock()
    current = refused = step.fetch()

    def refresh() -> TokenData:
        nonlocal current
        with lock:
            if current is refused:
                current = step.fetch()
            return current

    return together(refresh, threads=32)


def measure() -> list[Result]:
    """All lines on flights."""
    colds = [cold() for _ in range(7)]
    pairs = [(revoked(), recipe()) for _ in range(7)]
    wall = statistics.median(seconds for seconds, _ in colds)
    ratio = statistics.median(ours[0] / theirs for ours, theirs in pairs)
    return [
        Result("64 threads, empty cache, three 50 ms steps", "150 ms", wall / (3 * FETCH), 1.1),
        Result("the same, fetches of a step", "one fetch", max(n for _, n in colds), 1.0),
        Result("32 threads, token just revoked", "a recipe by hand", ratio, 1.0),
        Result("the same, fetches", "one fetch", max(ours[1] for ours, _ in pairs), 1.0),
    ]
