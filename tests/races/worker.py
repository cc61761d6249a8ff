"""A process of its own that runs a pipeline on one of Django's caches, as told on its stdin.

Its argument is JSON: the settings of the cache, the prefix of the keys, a file that counts fetches,
how many threads to use, and the lease of a lock in seconds. For each line on stdin it answers with
a line of JSON:

- "execute": the access tokens that the threads got,
- "refresh": those that they got for the last one, rejected,
- "halt <moment>": the moment once it is there, and the token once there is another line.

Moments: "locked", before the fetch of the last step; "fetching"; "fetched", before its token is
stored; "stored", before the lock is given back.
"""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import django
from django.conf import settings

from requestforge import (
    DjangoCacheTokenStorage,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
)
from requestforge.interfaces import TokenFetcherInterface


class HaltingStorage(DjangoCacheTokenStorage):
    """A storage that stops once, at one moment of the fetch of the step `user`."""

    halts_at = ""

    def lock(
        self, key: str, lease: timedelta, wait: timedelta
    ) -> AbstractContextManager[bool] | None:
        lock = super().lock(key, lease, wait)
        return None if lock is None else self._halting(lock, key)

    def compare_and_set(self, key: str, token: TokenData, generation: str | None) -> bool:
        self.halt("fetched", key)
        done = super().compare_and_set(key, token, generation)
        self.halt("stored", key)
        return done

    def halt(self, moment: str, key: str = "user") -> None:
        """Say that the moment has come and wait for a line, if this is the one."""
        if moment == self.halts_at and key.endswith("user"):
            self.halts_at = ""
            say(moment)
            sys.stdin.readline()

    @contextmanager
    def _halting(self, lock: AbstractContextManager[bool], key: str) -> Iterator[bool]:
        with lock as acquired:
            self.halt("locked", key)
            yield acquired


class Step(TokenFetcherInterface):
    """A step that takes a while, counts its fetches in a file, and numbers its tokens by them."""

    def __init__(self, name: str, depends_on: list[str], counts: Path) -> None:
        self._name = name
        self._depends_on = depends_on
        self._counts = counts
        self.during: Callable[[], object] = lambda: threading.Event().wait(0.05)

    @property
    def name(self) -> str:
        return self._name

    @property
    def depends_on(self) -> list[str]:
        return self._depends_on

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        with self._counts.open("a") as counts:
            counts.write(f"{self._name}\n")
        self.during()
        number = self._counts.read_text().split().count(self._name)
        return TokenData(f"{self._name}-{number}")


def in_threads(count: int, call: Callable[[], TokenData]) -> list[str]:
    """The access tokens, or errors, that so many threads get at once."""
    start = threading.Barrier(count)
    outcomes: list[str] = []

    def run() -> None:
        start.wait(10)
        try:
            outcomes.append(call().access_token)
        except Exception as error:  # noqa: BLE001 - the test shows it
            outcomes.append(repr(error))

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return outcomes


def main() -> None:
    """Serve stdin."""
    told = json.loads(sys.argv[1])
    settings.configure(CACHES={"default": told["cache"]}, DATABASES=told["databases"], USE_TZ=True)
    django.setup()
    steps = [
        Step("device", [], Path(told["counts"])),
        Step("app", ["device"], Path(told["counts"])),
        Step("user", ["app"], Path(told["counts"])),
    ]
    storage = HaltingStorage()
    pipeline = TokenFetchPipeline(
        steps,
        storage,
        told["prefix"],
        lock_lease=timedelta(seconds=told["lease"]),
    )
    provider = PipelineTokenProvider(pipeline, "api")
    say("ready")
    for line in sys.stdin:
        match line.split():
            case ["execute"]:
                say(in_threads(told["threads"], pipeline.execute))
            case ["refresh"]:
                refresh = partial(provider.refresh, pipeline.execute())
                say("rejected")
                sys.stdin.readline()
                say(in_threads(told["threads"], refresh))
            case ["halt", moment]:
                storage.halts_at = moment
                steps[2].during = partial(storage.halt, "fetching")
                say(pipeline.execute().access_token)


def say(answer: object) -> None:
    """Answer with a line of JSON."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
