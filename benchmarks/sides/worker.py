"""Runs one side's work on command: `worker.py MODULE FUNCTION [PLACE …]`.

FUNCTION makes of the places the work, a callable that is true if all went well, or a context
manager that gives it. Each line of the standard input is a JSON list of the number of calls and the
number of threads that make so many each; the answer to it is one of the CPU seconds of this process
and the wall seconds that they took.
"""

import gc
import importlib
import json
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter, process_time


def main() -> None:
    """Do what the lines say."""
    module, function, *places = sys.argv[1:]
    made = getattr(importlib.import_module(module), function)(*places)
    with made if isinstance(made, AbstractContextManager) else nullcontext(made) as work:
        for line in sys.stdin:
            print(json.dumps(measured(work, *json.loads(line))), flush=True)


def measured(work: Callable[[], bool], number: int, threads: int) -> tuple[float, float]:
    """CPU and wall seconds of so many calls in each of so many threads, let go at once."""
    failures: list[object] = []
    start = threading.Barrier(threads)

    def run() -> None:
        try:
            start.wait()
            repeat(work, number)
        except Exception as error:  # noqa: BLE001 - reported below
            failures.append(error)

    others = [threading.Thread(target=run) for _ in range(threads - 1)]
    for other in others:
        other.start()
    gc.collect()
    cpu, wall = process_time(), perf_counter()
    run()
    for other in others:
        other.join()
    cpu, wall = process_time() - cpu, perf_counter() - wall
    if failures:
        sys.exit(f"The work failed: {failures[0]!r}")
    return cpu, wall


def repeat(work: Callable[[], bool], number: int) -> None:
    """Call it so often."""
    for _ in range(number):
        if not work():
            raise RuntimeError("the answer is not the one expected")


if __name__ == "__main__":
    main()
