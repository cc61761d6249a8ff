"""One of several processes that want the same tokens: `fleet.py STORAGE PLACE THREADS`.

STORAGE is the name of a function here, PLACE where its tokens are. Each line of the standard input
is a JSON list of a key prefix and of the instant, by the monotonic clock of the host, at which the
threads are let go; the answer to it is one of the instant at which the last of them had its token,
and of the fetches that this process made.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep

# Its folder alone is on the path.
sys.path.insert(0, str(Path(__file__).parents[1]))

from steps import chain

from requestforge import (
    DjangoCacheTokenStorage,
    FileTokenStorage,
    RedisTokenStorage,
    TokenFetchPipeline,
)
from requestforge.interfaces import TokenStorageInterface

FETCH = 0.05
"""Seconds that a fetch takes."""


def main() -> None:
    """Do what the lines say."""
    kind, place, threads = sys.argv[1:]
    storage = STORAGES[kind](place)
    with ThreadPoolExecutor(int(threads)) as pool:
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            prefix, instant = json.loads(line)
            print(json.dumps(run(storage, prefix, instant, pool, int(threads))), flush=True)


def run(
    storage: TokenStorageInterface,
    prefix: str,
    instant: float,
    pool: ThreadPoolExecutor,
    count: int,
) -> tuple[float, int]:
    """The instant at which all threads had their token, and the fetches."""
    steps = chain(3, FETCH)
    pipeline = TokenFetchPipeline(steps, storage, prefix)

    def work(_: int) -> float:
        sleep(max(0.0, instant - monotonic()))
        pipeline.execute()
        return monotonic()

    last = max(pool.map(work, range(count)))
    return last, sum(step.fetches for step in steps)


def redis(place: str) -> TokenStorageInterface:
    """A storage on the Redis of that URL."""
    return RedisTokenStorage(url=place)


def files(place: str) -> TokenStorageInterface:
    """A storage in that directory."""
    return FileTokenStorage(place)


def django(place: str) -> TokenStorageInterface:
    """A storage in Django's cache; the place is the settings, as JSON."""
    import django  # noqa: PLC0415 - by one side alone
    from django.conf import settings  # noqa: PLC0415

    settings.configure(**json.loads(place))
    django.setup()
    return DjangoCacheTokenStorage()


STORAGES = {"django": django, "files": files, "redis": redis}

if __name__ == "__main__":
    main()
