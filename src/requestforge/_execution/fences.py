"""The epochs of one storage: which one a key is in, and how the next one begins."""

import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import timedelta
from itertools import islice

from requestforge import instrumentation
from requestforge._execution.batches import Local
from requestforge._execution.home import Home
from requestforge._execution.keys import EPOCH_SUFFIX, Entry, epoch_id
from requestforge.interfaces import TokenStorageInterface
from requestforge.tokens import TokenData

_LIFE = timedelta(days=30)
_LOOKED_AT = 8
"""Missed invalidations that another one looks at, to make up for one."""


class Fences:
    """What keeps tokens of an ended epoch out of a storage, and those that got in from use."""

    __slots__ = ("_home", "_shared", "_storage")

    def __init__(self, storage: TokenStorageInterface, home: Home) -> None:
        self._storage = storage
        self._home = home
        self._shared = storage.shared

    def change(self) -> AbstractContextManager[None]:
        """A block that stores or deletes a record."""
        if self._shared:
            return nullcontext()
        return self._home.local_epochs.change(self._home.doomed)

    def local(self, entry: Entry) -> Local:
        """The epoch that is known here without the storage, to be asked for before it is read."""
        if not self._shared:
            return Local(*self._home.local_epochs.read(entry.tag))
        epochs = self._home.shared_epochs
        saves, unsaved = epochs.saves, epochs.unsaved.get(entry.tag)
        return Local(None if unsaved is None else unsaved[1], fenced=True, saves=saves)

    def local_of(self, entries: Sequence[Entry]) -> list[Local]:
        """The same of several keys, of which ancestors come first."""
        epochs = self._home.shared_epochs
        saves = epochs.saves
        if self._shared and not epochs.unsaved:
            return [Local(None, fenced=True, saves=saves)] * len(entries)
        # Ancestors last, as in the storage: see the keys of a batch.
        return [self.local(entry) for entry in reversed(entries)][::-1]

    def epoch_in(
        self, found: Mapping[str, TokenData] | None, entry: Entry, local: Local
    ) -> tuple[str, bool]:
        """The epoch of a key: the one known before the storage was read, else what it held.

        And whether a record of another epoch may be older than it.
        """
        if local.epoch is not None:
            return local.epoch, local.fenced
        epochs = self._home.shared_epochs
        if found is None:
            return epochs.remembered(entry.tag), True
        mark = found.get(entry.key + EPOCH_SUFFIX)
        epoch = "" if mark is None else epoch_id(mark.access_token)
        epochs.note(entry.tag, epoch, local.saves)
        return epoch, True

    def begin(self, entry: Entry) -> None:
        """End the epoch of a key, in this process at least.

        Raises:
            Exception: what the storage raised, which so does not know of it.
        """
        if not self._shared:
            self._home.local_epochs.begin(entry.tag)
            return
        unsaved = self._home.shared_epochs.unsaved
        unsaved[entry.tag] = began = (entry, secrets.token_hex(6))
        try:
            self._save(*began)
        except BaseException:
            unsaved[entry.tag] = began
            raise
        self._settle_another()

    def settle(self, entry: Entry) -> None:
        """Try once more to tell a shared storage of an invalidation that it failed to take."""
        unsaved = self._home.shared_epochs.unsaved.get(entry.tag)
        if unsaved is not None:
            with suppress(Exception):
                self._save(*unsaved)

    def _settle_another(self) -> None:
        """Make up for an invalidation that the storage once failed to take, if there is one.

        One whose key has a token of that epoch in this process waits for the next fetch.
        """
        home, unsaved = self._home, self._home.shared_epochs.unsaved
        with suppress(Exception):
            some = dict(islice(unsaved.items(), _LOOKED_AT))
            entry, epoch = next(some[tag] for tag in some if tag not in home.kept)
            self._save(entry, epoch)
            self._storage.delete(entry.key)
            home.doomed.discard(entry.tag)

    def _save(self, entry: Entry, epoch: str) -> None:
        """Have a new epoch begin in a storage that others share, in place of one known here only.

        It has another id. Who has read the local one may have done so before an invalidation of
        another process that this write comes after.
        """
        epochs, now = self._home.shared_epochs, instrumentation.now()
        mark = TokenData(secrets.token_hex(6), expires_at=now + _LIFE, issued_at=now)
        self._storage.set(entry.key + EPOCH_SUFFIX, mark)
        epochs.note_saved(entry.tag, mark.access_token)
        if epochs.unsaved.get(entry.tag) == (entry, epoch):
            epochs.unsaved.pop(entry.tag, None)
