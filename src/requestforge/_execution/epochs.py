"""What a process knows of the epochs of keys, in memory that many keys cannot fill."""

import secrets
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from requestforge._execution.keys import Entry
from requestforge._fork import renew_after_fork

_MOST_KEPT = 4096
"""Keys with a note of their own, before the old ones are dropped."""


class _Epochs(NamedTuple):
    """The epoch of all keys but those that have one of their own; `leaving` are on their way out.

    A reader takes the whole of it at once, so what it sees has been so at one instant.
    """

    common: str
    own: dict[str, str]
    leaving: Mapping[str, str]


class LocalEpochs:
    """The epochs of an unshared storage, by tag, which nobody else keeps.

    A key that was never invalidated is in the common epoch. One that was has an own epoch, until
    all who may store what is older have ended. Then it goes back to the common epoch, which
    becomes another one, so that nobody who has read it before takes it for the present one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epochs = _Epochs("", {}, {})
        self._changes: set[object] = set()
        self._waited_for: set[object] = set()
        renew_after_fork(self)

    def read(self, tag: str) -> tuple[str, bool]:
        """The epoch of a key, and whether a record of another epoch may be older than it."""
        epochs = self._epochs
        own = epochs.own.get(tag) or epochs.leaving.get(tag)
        return (epochs.common, False) if own is None else (own, True)

    def begin(self, tag: str) -> None:
        """Let a new epoch of that key begin."""
        with self._lock:
            self._epochs.own[tag] = secrets.token_hex(6)

    @contextmanager
    def change(self, undeleted: Collection[str]) -> Iterator[None]:
        """While a record is stored or deleted: no epoch that begins meanwhile is dropped.

        Args:
            undeleted: tags of the keys that have kept an old record, and so keep their epochs.
        """
        change = object()
        with self._lock:
            self._changes.add(change)
        try:
            yield
        finally:
            with self._lock:
                self._changes.discard(change)
                self._waited_for.discard(change)
                self._drop(undeleted)

    def after_fork(self) -> None:
        """Take a new lock; the changes of other threads do not go on in this process."""
        self._lock = threading.Lock()
        self._changes = set()
        self._waited_for = set()

    def _drop(self, undeleted: Collection[str]) -> None:
        if self._waited_for:
            return
        common, own, leaving = self._epochs
        if leaving:
            staying = {tag: epoch for tag, epoch in leaving.items() if tag in undeleted}
            self._epochs = _Epochs(secrets.token_hex(6), {**staying, **own}, {})
        elif len(own) > _MOST_KEPT + len(undeleted):
            self._waited_for = set(self._changes)
            self._epochs = _Epochs(common, {}, own)


class _Known(NamedTuple):
    """Epochs as they were last read, and what a key counts as whose epoch is not among them."""

    lost: str
    epochs: dict[str, str]


class SharedEpochs:
    """What a process remembers, by tag, of the epochs that a shared storage holds."""

    def __init__(self) -> None:
        self.unsaved: dict[str, tuple[Entry, str]] = {}
        """Epochs that began here, and that the storage failed to take."""
        self.saves = 0
        """How many epochs have begun here that the storage has taken."""
        self._known = _Known("", {})
        self._lock = threading.Lock()
        renew_after_fork(self)

    def note(self, tag: str, epoch: str, saves: int) -> None:
        """Remember the epoch that the storage held.

        Unless one has begun here since: a reader that was held up may have read the one before.

        Args:
            tag: of the key.
            epoch: what was read.
            saves: how many had begun here before.
        """
        if self._known.epochs.get(tag, "") == epoch:
            return
        with self._lock:
            if saves == self.saves:
                self._remember(tag, epoch)

    def note_saved(self, tag: str, epoch: str) -> None:
        """Remember an epoch that has begun here, and that the storage has taken."""
        with self._lock:
            self.saves += 1
            self._remember(tag, epoch)

    def remembered(self, tag: str) -> str:
        """The epoch to go by while the storage cannot be read."""
        known = self._known
        return known.epochs.get(tag, known.lost)

    def after_fork(self) -> None:
        """Take a new lock: in the child nobody would ever release one that was held."""
        self._lock = threading.Lock()

    def _remember(self, tag: str, epoch: str) -> None:
        known = self._known.epochs
        known[tag] = epoch
        if len(known) > _MOST_KEPT:
            # Nobody may take a key whose epoch is lost for one that never had any.
            self._known = _Known(secrets.token_hex(6), {})
