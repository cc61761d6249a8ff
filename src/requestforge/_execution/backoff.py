"""Fetches that have failed: what callers are answered until there may be another one."""

import threading
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from requestforge import instrumentation
from requestforge._execution.flight import Failed
from requestforge._execution.pauses import Window, remember, window
from requestforge._fork import renew_after_fork
from requestforge.exceptions import AuthenticationException
from requestforge.retry.backoff import Backoff

_DELAYS = Backoff(0.5, 30.0, 2.0, jitter=True)


@dataclass(frozen=True, slots=True)
class _Failure:
    """The last of so many failures in a row, of a step that had that epoch and stored token."""

    error: AuthenticationException
    count: int
    window: Window
    retry_at: datetime
    epoch: str
    stored: str | None

    def is_about(self, epoch: str, stored: str | None) -> bool:
        """Whether the step was neither invalidated nor fetched since, wherever that was done."""
        return self.epoch == epoch and stored in (None, self.stored)


class Failures:
    """The failures in force on one storage, by key, in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: dict[str, _Failure] = {}
        renew_after_fork(self)

    def answer(self, key: str, epoch: str, stored: str | None) -> Failed | None:
        """The failure that answers whoever wants that step fetched; None: a fetch may be made.

        Args:
            key: the storage key of the step.
            epoch: its epoch, as it was just read.
            stored: the generation that the storage was seen to hold.
        """
        failure = self._failures.get(key)
        if failure is None or not failure.is_about(epoch, stored) or not failure.window.lasts:
            return None
        # Its cause, too, is another one for each caller: whoever raises it lengthens its traceback.
        cause = cast("Exception", deepcopy(failure.error).original_exception)
        return Failed(cause, retry_at=failure.retry_at)

    def note(
        self,
        key: str,
        epoch: str,
        stored: str | None,
        error: AuthenticationException,
        wait: float | None,
    ) -> datetime:
        """Answer callers from that error until the instant given back (aware UTC).

        Args:
            key: the storage key of the step.
            epoch: its epoch.
            stored: the generation that the storage was seen to hold.
            error: what the caller of that fetch gets.
            wait: seconds that the server asks for; None: it asks for none.
        """
        last = self._failures.get(key)
        count = last.count if last is not None and last.is_about(epoch, stored) else 0
        seconds = _DELAYS.delay(count) if wait is None else wait
        retry_at = instrumentation.now() + timedelta(seconds=seconds)
        # A copy keeps neither tracebacks, whose frames hold tokens, nor what cannot be shown.
        kept = deepcopy(error)
        failure = _Failure(kept, count + 1, window(seconds), retry_at, epoch, stored)
        with self._lock:
            remember(self._failures, key, failure)
        return retry_at

    def end(self, key: str) -> None:
        """Forget that the step has failed."""
        if key in self._failures:
            with self._lock:
                self._failures.pop(key, None)

    def after_fork(self) -> None:
        """Start anew: the lock may be held by a thread that is not in this process."""
        self._lock = threading.Lock()
        self._failures = {}
