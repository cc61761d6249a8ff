"""The steps that the benchmarks run, and threads that start together."""

import threading
from collections.abc import Callable
from datetime import timedelta
from time import perf_counter, sleep

from requestforge import TokenData
from requestforge.interfaces import TokenFetcherInterface


class Step(TokenFetcherInterface):
    """Takes `seconds` for a token that lives for an hour, and counts its fetches."""

    ttl = timedelta(hours=1)

    def __init__(self, name: str, depends_on: list[str], seconds: float = 0.0) -> None:
        self._name = name
        self._depends_on = depends_on
        self._seconds = seconds
        self.fetches = 0

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def depends_on(self) -> list[str]:
        """The step before it, if any."""
        return self._depends_on

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:  # noqa: ARG002
        """The next token."""
        if self._seconds:
            sleep(self._seconds)
        self.fetches += 1
        return TokenData(f"{self._name} {self.fetches}")


def chain(length: int, seconds: float = 0.0) -> list[Step]:
    """Steps that each depend on the one before."""
    names = [f"step{number}" for number in range(length)]
    return [
        Step(name, names[max(0, place - 1) : place], seconds) for place, name in enumerate(names)
    ]


def together(work: Callable[[], object], *, threads: int, number: int = 1) -> float:
    """Wall seconds until so many threads, let go at once, have made so many calls each."""
    start = threading.Barrier(threads + 1)

    def run() -> None:
        start.wait()
        for _ in range(number):
            work()

    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    start.wait()
    started = perf_counter()
    for worker in workers:
        worker.join()
    return perf_counter() - started
