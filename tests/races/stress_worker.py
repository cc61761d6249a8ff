"""A process of its own whose threads use a pipeline without a pause, and watch what they get.

Its argument is JSON: the storage and its arguments, a file with two numbers, and how many threads
to use. The first number counts the invalidations that were begun, the second those that have
returned. A token is the first number as it was when the oldest fetch behind it began. A line on
stdin ends it; it answers with a line of JSON: how many executions there were, and those whose token
was from before an invalidation that had returned.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

# Its folder is not on the path where Python starts in safe-path mode.
sys.path.insert(0, str(Path(__file__).parent))

from worker import say

from requestforge import (
    DjangoCacheTokenStorage,
    FileTokenStorage,
    RedisTokenStorage,
    TokenData,
    TokenFetchPipeline,
)
from requestforge.interfaces import TokenFetcherInterface, TokenStorageInterface

WIDTH = 12
"""Characters of a number in the file."""


class Numbers:
    """Two numbers that processes share."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def read(self, place: int) -> int:
        """One of them."""
        return int(os.pread(self._file, WIDTH, place * WIDTH) or 0)

    def write(self, place: int, number: int) -> None:
        """Change one of them."""
        os.pwrite(self._file, f"{number:{WIDTH}}".encode(), place * WIDTH)


class Step(TokenFetcherInterface):
    """A step whose token says how old it is, with all that it was built on."""

    def __init__(self, name: str, depends_on: list[str], numbers: Numbers) -> None:
        self._name = name
        self._depends_on = depends_on
        self._numbers = numbers

    @property
    def name(self) -> str:
        return self._name

    @property
    def depends_on(self) -> list[str]:
        return self._depends_on

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        began = self._numbers.read(0)
        upstream = [int((context or {})[name].access_token) for name in self._depends_on]
        return TokenData(str(min([began, *upstream])))


def storage_of(kind: str, **told: Any) -> TokenStorageInterface:  # noqa: ANN401 - JSON
    """The storage of that kind."""
    if kind == "redis":
        return RedisTokenStorage(**told)
    if kind == "files":
        return FileTokenStorage(**told)
    import django  # noqa: PLC0415 - by some alone
    from django.conf import settings  # noqa: PLC0415

    settings.configure(**told)
    django.setup()
    return DjangoCacheTokenStorage()


def pipeline_of(storage: TokenStorageInterface, numbers: Numbers) -> TokenFetchPipeline:
    """Two steps, one built on the other."""
    steps = [Step("app", [], numbers), Step("user", ["app"], numbers)]
    return TokenFetchPipeline(steps, storage, "stress")


def main() -> None:
    """Run until there is a line on stdin."""
    told = json.loads(sys.argv[1])
    numbers = Numbers(told["numbers"])
    pipeline = pipeline_of(storage_of(**told["storage"]), numbers)
    over = threading.Event()
    counts: list[int] = []
    outdated: list[str] = []

    def use() -> None:
        count = 0
        while not over.is_set():
            limit = numbers.read(1)
            token = pipeline.execute().access_token
            if int(token) < limit:
                outdated.append(f"{token} < {limit}")
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=use, daemon=True) for _ in range(told["threads"])]
    for thread in threads:
        thread.start()
    say("ready")
    sys.stdin.readline()
    over.set()
    for thread in threads:
        thread.join(20)
    say([sum(counts) if len(counts) == len(threads) else 0, outdated])


if __name__ == "__main__":
    main()
