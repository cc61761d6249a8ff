"""A run of many cases, each of which its seed, target and number make again."""

import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Protocol


class Target(Protocol):
    """What is fed with cases."""

    def run(self, random: Random) -> None:
        """Run one case; any error is a find."""


@dataclass(slots=True)
class Finds:
    """What a run has found.

    Attributes:
        counts: cases that were run, by target.
        cases: the first case of each kind of find, as `target:number`, with its traceback.
        kinds: how often each was found.
    """

    counts: Counter[str] = field(default_factory=Counter)
    cases: dict[str, str] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)

    def note(self, case: str, error: BaseException) -> None:
        """Note a find, by the place that it was raised at."""
        last = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} in {last.filename}:{last.lineno}"
        self.kinds[kind] += 1
        self.cases.setdefault(kind, f"{case}\n{''.join(traceback.format_exception(error))}")


def fuzz(targets: Mapping[str, Target], cases: int, seed: str, *, first: int = 0) -> Finds:
    """Run so many cases, the targets in turn."""
    finds = Finds()
    names = list(targets)
    for number in range(first, first + cases):
        name = names[number % len(names)]
        finds.counts[name] += 1
        try:
            targets[name].run(Random(f"{seed}/{name}/{number}"))  # noqa: S311 - made again
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a find
            finds.note(f"{name}:{number}", error)
    return finds
