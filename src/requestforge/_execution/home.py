"""What a process knows of a storage beyond what the storage holds."""

import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Protocol

from requestforge._execution.flight import Flights
from requestforge._fork import renew_after_fork
from requestforge.tokens import TokenData


class Home:
    """What this process knows of one storage beyond what the storage holds."""

    def __init__(self) -> None:
        self.flights = Flights()
        # Epochs that the storage does not hold: all of an unshared one, else those it failed to.
        self.epochs: dict[str, str] = {}
        # Tokens that the storage failed to keep, and the generations that they were to replace.
        self.kept: dict[str, tuple[TokenData, str | None]] = {}
        # Keys whose record the storage failed to delete: without a generation it looks like new.
        self.doomed: set[str] = set()
        # Tokens fetched here, where the storage keeps no more than a copy: for their monotonic end
        # of use, and for the generation where it is lost.
        self.born: dict[str, TokenData] = {}
        # The last epoch read of a shared storage, for as long as it cannot be read.
        self.known: dict[str, str] = {}
        # The epoch in which a key was last written here, to tell an empty key from an invalid one.
        self.filled: dict[str, str] = {}
        # What of the storage's faults the log was warned of.
        self.warned: set[str] = set()
        # Counts what changes the answer of a read without changing the storage.
        self.changes = 0
        # No WeakSet: that cannot be read while another thread adds to it.
        self._readers: weakref.WeakValueDictionary[int, _Reader] = weakref.WeakValueDictionary()

    def tell_changes(self, reader: "_Reader") -> None:
        """Call `reader.forget()` after every such change."""
        self._readers[id(reader)] = reader

    def changed(self) -> None:
        """Count such a change, and let no pipeline go on with what it has read before."""
        self.changes += 1
        references = self._readers.valuerefs()
        for reader in [reader for each in references if (reader := each()) is not None]:
            reader.forget()


class _Reader(Protocol):
    def forget(self) -> None: ...


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


def _itself(storage: object) -> object:
    return storage


homes = _Homes()
