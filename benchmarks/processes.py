"""The server and the sides of a comparison, each in a process of its own."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from environments import without_own_path

SIDES = Path(__file__).parent / "sides"


@dataclass(frozen=True, slots=True)
class Side:
    """Work that `function` of the module `with_<library>` makes, run by a Python that has it."""

    library: str
    function: str
    python: Path = Path(sys.executable)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of the process, and wall seconds."""

    cpu: float
    wall: float


class Process:
    """A Python that answers lines of JSON by lines of JSON, until the block ends."""

    def __init__(self, python: Path, *arguments: str | Path) -> None:
        self._process = subprocess.Popen(
            [python, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(python),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.__exit__(kind, error, traceback)

    def ask(self, question: object) -> Any:  # noqa: ANN401 - JSON
        """Its answer."""
        self.tell(question)
        return self.answer()

    def tell(self, question: object) -> None:
        """Ask it, and go on."""
        assert self._process.stdin is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)

    def answer(self) -> Any:  # noqa: ANN401 - JSON
        """What it says next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} has ended; see above for the reason.")
        return json.loads(line)


@contextmanager
def server(*certificate: Path) -> Iterator[list[int]]:
    """The ports of a running server: plain, and TLS if there is a certificate."""
    with Process(Path(sys.executable), SIDES / "server.py", *certificate) as process:
        yield process.answer()


@contextmanager
def workers(sides: Sequence[Side], *places: str) -> Iterator[list[Process]]:
    """A process for each side, that works on these places."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Process(
                    side.python,
                    SIDES / "worker.py",
                    f"with_{side.library}",
                    side.function,
                    *places,
                )
            )
            for side in sides
        ]


def costs_in_turn(
    sides: Sequence[Side],
    *places: str,
    number: int,
    threads: int = 1,
    rounds: int = 7,
    generations: int = 3,
) -> dict[Side, list[Cost]]:
    """What each side's calls cost in each round: `number` of them in each of so many threads.

    Rounds take the sides in turn, so that drift cancels out; each generation has fresh processes,
    since a process keeps what luck gave it (addresses, hashes).
    """
    costs: dict[Side, list[Cost]] = {side: [] for side in sides}
    for _ in range(generations):
        with workers(sides, *places) as processes:
            for process in processes:
                process.ask([max(1, number // 4), threads])
            for _ in range(rounds):
                for side, process in zip(sides, processes, strict=True):
                    costs[side].append(Cost(*process.ask([number, threads])))
    return costs


def cpu_ratio(costs: Sequence[Cost], units: Sequence[Cost]) -> float:
    """The median ratio of CPU time over the rounds."""
    pairs = zip(costs, units, strict=True)
    return statistics.median(cost.cpu / unit.cpu for cost, unit in pairs)


def wall_ratio(costs: Sequence[Cost], units: Sequence[Cost]) -> float:
    """The median ratio of wall time over the rounds."""
    pairs = zip(costs, units, strict=True)
    return statistics.median(cost.wall / unit.wall for cost, unit in pairs)


def _environment(python: Path) -> dict[str, str]:
    own = dict(os.environ) if python == Path(sys.executable) else without_own_path()
    # Loopback is asked directly, no side reads certificates that another one does not, and a side
    # is found in its own folder.
    ignored = ("_proxy", "_ca_bundle", "pythonsafepath")
    return {name: value for name, value in own.items() if not name.lower().endswith(ignored)}
