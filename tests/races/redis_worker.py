"""A process of its own that runs a pipeline on Redis, as told on its stdin.

Its argument is JSON: the URL of the server, the key prefix, a file that counts fetches, how many
threads to use, and the lease of a lock in seconds. For each line on stdin it answers with a line of
JSON:

- "execute": the access tokens that the threads got,
- "refresh": those that they got for the last one, rejected,
- "halt <moment>": the moment once it is there, and the token once there is another line.

Moments: "locked", before the fetch of the last step; "fetching"; "fetched", before its token is
stored; "stored", before the lock is given back.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

# Its folder is not on the path where Python starts in safe-path mode.
sys.path.insert(0, str(Path(__file__).parent))

from worker import Step, in_threads, say

from requestforge import PipelineTokenProvider, RedisTokenStorage, TokenData, TokenFetchPipeline


class HaltingStorage(RedisTokenStorage):
    """A storage that stops once, at one moment of the fetch of the step `user`."""

    halts_at = ""

    @contextmanager
    def lock(self, key: str, lease: timedelta, wait: timedelta) -> Iterator[bool]:
        with super().lock(key, lease, wait) as acquired:
            self.halt("locked", key)
            yield acquired

    def compare_and_set(self, key: str, token: TokenData, generation: str | None) -> bool:
        self.halt("fetched", key)
        done = super().compare_and_set(key, token, generation)
        self.halt("stored", key)
        return done

    def halt(self, moment: str, key: str = "user") -> None:
        """Say that the moment has come and wait for a line, if this is the one."""
        if moment == self.halts_at and key == "user":
            self.halts_at = ""
            say(moment)
            sys.stdin.readline()


def main() -> None:
    """Serve stdin."""
    told = json.loads(sys.argv[1])
    storage = HaltingStorage(url=told["url"], key_prefix=told["key_prefix"])
    counts = Path(told["counts"])
    steps = [
        Step("device", [], counts),
        Step("app", ["device"], counts),
        Step("user", ["app"], counts),
    ]
    pipeline = TokenFetchPipeline(steps, storage, lock_lease=timedelta(seconds=told["lease"]))
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


if __name__ == "__main__":
    main()
