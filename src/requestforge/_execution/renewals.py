"""Which tokens of a storage are being renewed ahead of time, and when to try again."""

import threading
from collections.abc import Collection
from dataclasses import dataclass

from requestforge._execution.pauses import Window, remember, window
from requestforge._fork import renew_after_fork
from requestforge.retry.backoff import Backoff

_DELAYS = Backoff(0.5, 30.0, 2.0, jitter="equal")
_MOST_THREADS = 32
"""Threads that renew tokens of one storage at a time."""


@dataclass(frozen=True, slots=True)
class _Try:
    """The last of so many tries in a row to renew a token, and until when there is no other.

    `generation`: of the token to be renewed; None: no other one is renewed in that time, either.
    """

    generation: str | None
    number: int
    window: Window
    thread: threading.Thread | None

    def holds_for(self, generation: str | None, threads: Collection[threading.Thread]) -> bool:
        return self.generation in (None, generation) and (
            self.window.lasts or self.thread in threads
        )


class Renewals:
    """The renewals in this process of tokens in one storage, by key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tries: dict[str, _Try] = {}
        self._threads: set[threading.Thread] = set()
        renew_after_fork(self)

    def pause(self, key: str, generation: str | None) -> Window | None:
        """Until when to look at that token no more; None: a renewal may begin."""
        last = self._tries.get(key)
        if last is not None and last.holds_for(generation, self._threads):
            return last.window if last.window.lasts else window(_DELAYS.delay(0))
        if len(self._threads) >= _MOST_THREADS and self._busy() >= _MOST_THREADS:
            return window(_DELAYS.delay(0))
        return None

    def claim(self, key: str, generation: str | None, thread: threading.Thread) -> bool:
        """Whether it is up to that thread to renew the token; if so, nobody else does meanwhile."""
        last = self._tries.get(key)
        if last is not None and last.holds_for(generation, self._threads):
            return False
        number = _number_of(last, generation)
        claimed = _Try(generation, number + 1, window(_DELAYS.delay(number)), thread)
        with self._lock:
            if self._tries.get(key) is not last:
                return False
            remember(self._tries, key, claimed)
            self._threads.add(thread)
        return True

    def fail(self, key: str, generation: str | None, wait: float | None) -> None:
        """Put off the next try, by the seconds that the server asks for if it asks for any."""
        number = max(1, _number_of(self._tries.get(key), generation))
        until = window(_DELAYS.delay(number - 1) if wait is None else wait)
        with self._lock:
            remember(self._tries, key, _Try(generation, number, until, None))

    def end(self, key: str, pause: float | None) -> None:
        """Forget the tries, now that one has succeeded.

        Args:
            key: the storage key of the step.
            pause: seconds in which the key is left alone, whatever token is there; None: at once.
        """
        left_alone = None if pause is None else _Try(None, 0, window(pause), None)
        with self._lock:
            self._tries.pop(key, None)
            if left_alone is not None:
                remember(self._tries, key, left_alone)

    def leave(self, thread: threading.Thread) -> None:
        """Take note that the thread is about to end."""
        with self._lock:
            self._threads.discard(thread)

    def after_fork(self) -> None:
        """Start anew: the threads that renew these tokens are not in this process."""
        self._lock = threading.Lock()
        self._tries = {}
        self._threads = set()

    def _busy(self) -> int:
        """How many threads there are, without those that were never started."""
        with self._lock:
            self._threads = {thread for thread in self._threads if thread.is_alive()}
            return len(self._threads)


def _number_of(last: _Try | None, generation: str | None) -> int:
    """How many tries in a row to renew that token there have been."""
    return last.number if last is not None and last.generation == generation else 0
