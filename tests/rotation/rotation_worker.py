"""A process of its own that redeems the refresh tokens of one user, as told on its stdin.

Its argument is JSON: the URL of Redis, the key prefix, the URL of the token endpoint, how many
threads to use, the lease of a lock in seconds, and whether the step has a grant of its own. For
each line on stdin it answers with a line of JSON:

- "execute": the access tokens, or the errors, that the threads got,
- "refresh": those that they got for the last token, rejected,
- "halt": "redeemed" once a new token is there and not yet stored.
"""

import json
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from requestforge import PipelineTokenProvider, RedisTokenStorage, TokenData, TokenFetchPipeline
from requestforge.oauth2 import ClientSecretBasic, PasswordFetcher, RefreshTokenFetcher


class HaltingStorage(RedisTokenStorage):
    """A storage that stops once, before it stores the token of the step `user`."""

    halts = False

    def compare_and_set(self, key: str, token: TokenData, generation: str | None) -> bool:
        if self.halts and key == "user":
            self.halts = False
            say("redeemed")
            sys.stdin.readline()
        return super().compare_and_set(key, token, generation)


def in_threads(count: int, call: Callable[[], TokenData]) -> list[str]:
    """The access tokens, or errors, that so many threads get at once."""
    start = threading.Barrier(count)
    outcomes: list[str] = []

    def run() -> None:
        start.wait(10)
        try:
            outcomes.append(call().access_token)
        except Exception as error:  # noqa: BLE001
            outcomes.append(repr(error))

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return outcomes


def step_of(told: dict[str, object]) -> PasswordFetcher | RefreshTokenFetcher:
    """The step that the argument asks for."""
    client = ClientSecretBasic(str(told["secret"]))
    url = str(told["token_url"])
    if told["password"]:
        return PasswordFetcher(
            *("user", url, "app"),
            username="alice",
            password=str(told["password"]),
            client_auth=client,
        )
    return RefreshTokenFetcher(
        "user", url, "app", refresh_token=str(told["seed"]), client_auth=client
    )


def main() -> None:
    """Serve stdin."""
    told = json.loads(sys.argv[1])
    storage = HaltingStorage(url=told["url"], key_prefix=told["key_prefix"])
    lease = timedelta(seconds=told["lease"])
    pipeline = TokenFetchPipeline([step_of(told)], storage, lock_lease=lease)
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
            case ["halt"]:
                storage.halts = True
                pipeline.execute()


def say(answer: object) -> None:
    """Answer with a line of JSON."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
