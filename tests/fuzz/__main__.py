"""`python tests/fuzz`: a million changed records and answers, and what they have found."""

import argparse
import logging
import shutil
import sys
import tempfile
import warnings
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import django
from answers import answer_targets
from django.conf import settings
from fuzzing import Target, fuzz
from records import record_targets

from doubles import Clock
from redis_servers import RedisServer
from requestforge.instrumentation import use_clock


def main() -> None:
    """Run the cases, print what was found, and exit with 1 if that is anything."""
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000, help="how many (a million)")
    parser.add_argument("--seed", default="requestforge", help="of all cases")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", nargs="*", help="names of targets")
    asked = parser.parse_args()
    warnings.simplefilter("error")
    logging.disable(logging.CRITICAL)
    settings.configure()
    django.setup()
    from django.core.cache import cache  # noqa: PLC0415 - settings come first

    with ExitStack() as stack:
        stack.enter_context(use_clock(Clock()))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        client = None
        if shutil.which("redis-server"):
            client = stack.enter_context(RedisServer()).client()
        targets: dict[str, Target] = {
            **record_targets(folder, cache, client),
            **answer_targets(stack),
        }
        if asked.only:
            targets = {name: targets[name] for name in asked.only}
        finds = fuzz(targets, asked.cases, asked.seed, first=asked.first)
    for kind, count in finds.kinds.most_common():
        print(f"{count} x {kind}, first in case {finds.cases[kind]}")  # noqa: T201
    print(*(f"{name}: {count}" for name, count in finds.counts.items()), sep="\n")  # noqa: T201
    print(f"{finds.counts.total()} cases, {finds.kinds.total()} finds")  # noqa: T201
    sys.exit(1 if finds.kinds else 0)


if __name__ == "__main__":
    main()
