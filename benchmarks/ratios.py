"""Measures what something costs in units of something else, both in turn in one run."""

import gc
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table: `ratio` is the median over rounds of cost divided by unit.

    `limit` is the ratio to reach, None for a line that is there to compare with; `at_least`: more
    is better.
    """

    work: str
    unit: str
    ratio: float
    limit: float | None
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Whether the ratio is on the right side of its limit."""
        if self.limit is None:
            return True
        return self.ratio >= self.limit if self.at_least else self.ratio <= self.limit


def ratio_of(
    work: Callable[[], object], unit: Callable[[], object], *, number: int, rounds: int = 15
) -> float:
    """Median of the ratios of `number` calls each, measured in turn so that drift cancels out."""
    work()
    unit()
    return statistics.median(
        seconds_of(work, number) / seconds_of(unit, number) for _ in range(rounds)
    )


def seconds_of(work: Callable[[], object], number: int) -> float:
    """Wall seconds of `number` calls, without garbage collection."""
    calls = range(number)
    gc.disable()
    try:
        started = perf_counter()
        for _ in calls:
            work()
        return perf_counter() - started
    finally:
        gc.enable()


def undisturbed(times: Iterable[float]) -> float:
    """The lower quartile: for times that have no other side to divide by what else was going on."""
    return statistics.quantiles(times, n=4)[0]


def print_table(results: list[Result]) -> None:
    """One row per result, its limit beside it."""
    width = max(len(result.work) for result in results)
    for result in results:
        sign = ">=" if result.at_least else "<="
        limit = "" if result.limit is None else f"({sign} {result.limit:g})"
        verdict = "" if result.reached else "   NOT REACHED"
        print(f"{result.work:<{width}}  {result.ratio:7.3f}  {limit:<9}  of {result.unit}{verdict}")
