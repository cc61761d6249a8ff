"""What a process knows of a storage beyond what the storage holds."""

import threading
import weakref
from collections.abc import Callable
from functools import partial

from requestforge import instrumentation
from requestforge._execution.backoff import Failures
from requestforge._execution.births import Births, Rounds
from requestforge._execution.epochs import LocalEpochs, SharedEpochs
from requestforge._execution.flight import Flights
from requestforge._execution.pauses import Window, remember, window
from requestforge._execution.renewals import Renewals
from requestforge._fork import renew_after_fork
from requestforge.tokens import TokenData, is_usable

Replaced = tuple[str | None, ...]
"""What tells the record that a token was to replace: `Record.present`."""

_PAUSE = 1.0
"""Seconds between two tries to store a token that the storage failed to keep."""

_FEW = 64
"""So many kept tokens may be dead: what a wrong wall clock has ended lives on once it is right."""


class Home:
    """What this process knows of one storage beyond what the storage holds.

    What is noted of an entry is under its tag.
    """

    def __init__(self) -> None:
        self.flights = Flights()
        self.failures = Failures()
        self.renewals = Renewals()
        self.local_epochs = LocalEpochs()
        self.shared_epochs = SharedEpochs()
        self.births = Births()
        # Tokens that the storage failed to keep, and what they were to replace.
        self.kept: dict[str, tuple[TokenData, Replaced]] = {}
        self._tried: dict[str, Window] = {}
        # Entries whose record the storage failed to delete: without a generation it looks like new.
        self.doomed: set[str] = set()
        # The epoch in which an entry was last written here, to tell an empty from an invalid one.
        self.filled: dict[str, str] = {}
        # What of the storage's faults the log was warned of.
        self.warned: set[str] = set()
        self._rounds = Rounds()
        self.changes = object()
        """Another one after each change of what a read answers that is no change of the storage."""

    def changed(self) -> None:
        """Take note of such a change."""
        self.changes = object()

    def keep(self, tag: str, token: TokenData, replaced: Replaced) -> None:
        """Have a token that the storage failed to put in place of what is told by one of these."""
        reading = instrumentation.reading()
        self.kept[tag] = (token, replaced)
        if len(self.kept) > _FEW:
            for done in self._rounds.done(self.kept, lambda each: _is_worthless(each[0], reading)):
                self.kept.pop(done, None)
        self.changed()

    def put_off(self, tag: str) -> None:
        """Leave the storage alone for a while with the token that it failed to keep."""
        remember(self._tried, tag, window(_PAUSE))

    def is_due(self, tag: str) -> bool:
        """Whether the storage may be tried again with that token."""
        last = self._tried.get(tag)
        return last is None or not last.lasts


class _Homes:
    """The home of each storage object of this process, for as long as the object lives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._homes: dict[int, tuple[Callable[[], object], Home]] = {}
        renew_after_fork(self)

    def of(self, storage: object) -> Home:
        """The one home of a storage, told by identity."""
        place = id(storage)
        with self._lock:
            if place in self._homes and self._homes[place][0]() is storage:
                return self._homes[place][1]
            home = Home()
            try:
                alive: Callable[[], object] = weakref.ref(
                    storage, lambda _: self._homes.pop(place, None)
                )
            except TypeError:  # its class has slots without __weakref__: it lives on here
                alive = partial(_itself, storage)
            self._homes[place] = (alive, home)
            return home

    def after_fork(self) -> None:
        self._lock = threading.Lock()


def _is_worthless(token: TokenData, reading: tuple[float, float, object]) -> bool:
    """Whether a token is dead, and has no refresh token to outlive it."""
    return not (token.refresh_token or is_usable(token, reading))


def _itself(storage: object) -> object:
    return storage


homes = _Homes()
