"""Renewals in the background, as the tests of them wait for their end."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from racing import LIMIT

from doubles import CountingStep, RecordingStorage
from requestforge import TokenFetchPipeline

MINUTE = timedelta(minutes=1)
AHEAD = 5 * MINUTE
"""So long before its end a token of these tests is renewed; some of their tokens live an hour."""


def renewing() -> list[threading.Thread]:
    """The threads that renew tokens at present."""
    return [each for each in threading.enumerate() if each.name == "requestforge-renewal"]


def settle() -> None:
    """Return once no renewal is under way."""
    for thread in renewing():
        thread.join(LIMIT)
        assert not thread.is_alive(), "The renewal hangs."


def settled(call: Callable[[], object]) -> object:
    """What the call gives, once the renewals that it has begun have ended."""
    given = call()
    settle()
    return given


def ahead(*steps: CountingStep, storage: object, **options: object) -> TokenFetchPipeline:
    """A pipeline that renews ahead of time, with all its tokens just fetched."""
    pipeline = TokenFetchPipeline(steps, storage, refresh_ahead=AHEAD, **options)
    pipeline.execute()
    return pipeline


def text(pipeline: TokenFetchPipeline) -> str:
    """The token that an execution gives, once the renewals that it has begun have ended."""
    token = pipeline.execute().access_token
    settle()
    return token


class LockingStorage(RecordingStorage):
    """A storage that several processes share, with a lock that another one may hold.

    Attributes:
        held: whether another process holds the lock.
        waits: for how long each call was ready to wait for it.
    """

    held = False

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[timedelta] = []

    @contextmanager
    def lock(self, key: str, lease: timedelta, wait: timedelta) -> Iterator[bool]:
        del key, lease
        self.waits.append(wait)
        yield not self.held
