"""A storage as one process sees it: records read with their epochs, fenced writes, faults."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, suppress
from copy import copy
from dataclasses import replace
from datetime import timedelta

from requestforge import instrumentation
from requestforge._execution.batches import Batch
from requestforge._execution.faults import Faults
from requestforge._execution.fences import Fences
from requestforge._execution.flight import Demand, Flight, Flights
from requestforge._execution.home import homes
from requestforge._execution.judging import fill, judge
from requestforge._execution.keys import EPOCH_SUFFIX, Entry
from requestforge._execution.locking import locked
from requestforge._execution.pauses import remember
from requestforge._execution.reading import Reader
from requestforge._execution.records import RETIRED, Record
from requestforge._execution.reports import Reports
from requestforge._looking import is_looking, noted
from requestforge._portable import without_secrets
from requestforge.events import InvalidationCause
from requestforge.exceptions import TokenStorageException
from requestforge.storage._basic import adapted
from requestforge.tokens import TokenData, stamped


class TokenCache:
    """The records of one pipeline in a storage."""

    # Each view of a tenant has one.
    __slots__ = (
        "_faults",
        "_reader",
        "_reports",
        "_shared",
        "fences",
        "home",
        "storage",
    )

    def __init__(self, storage: object, pipeline: str, reports: Reports) -> None:
        self.storage = adapted(storage)
        self.home = homes.of(storage)
        self.fences = Fences(self.storage, self.home)
        self._shared = self.storage.shared
        self._tell(pipeline, reports)

    def beside(self, pipeline: str, reports: Reports) -> "TokenCache":
        """The same storage, as the pipeline of that prefix sees it."""
        other = copy(self)
        other._tell(pipeline, reports)  # noqa: SLF001 - a copy
        return other

    @property
    def tells_content(self) -> bool:
        """Whether batches that hold the same have the same object as their content."""
        return self._reader.tells_content

    @property
    def flights(self) -> Flights:
        """The flights of this process on the storage."""
        return self.home.flights

    def batch(self, entries: Sequence[Entry], keys: tuple[str, ...] = ()) -> Batch:
        """What the storage holds for those steps, in one batched read.

        Args:
            entries: of the steps.
            keys: those of an earlier batch for the same steps, which saves making them.
        """
        keys = keys or self._keys(entries)
        landings, epochs = self.flights.landings, self.fences.local_of(entries)
        return Batch(landings, epochs, keys, *self._reader.content(keys))

    def read(self, entries: Sequence[Entry], batch: Batch | None = None) -> dict[str, Record]:
        """The records by step, as that batch has them; None: as they are now."""
        batch = batch or self.batch(entries)
        found, unreadable = self._reader.sort(batch.content, batch.unreadable)
        reading = instrumentation.reading()
        records = {}
        # Ancestors last, as in the storage: what is known here of an epoch may change meanwhile.
        for entry, local in reversed(list(zip(entries, batch.epochs, strict=True))):
            epoch, fenced = self.fences.epoch_in(found, entry, local)
            record = Record(epoch)
            record.unread = found is None
            if entry.key in unreadable:
                record.lacking = "unreadable"
            token = None if found is None else found.get(entry.key)
            if token is None:
                pass
            elif token.generation is None or entry.owns(token.generation):
                fill(record, self.home, entry, token, fenced=fenced)
            else:
                self._refuse(record, entry, token)
            judge(record, self.home, entry, reading, fenced=fenced)
            if self.home.kept and self._store_kept(entry, record):
                record = self.read([entry])[entry.step]
            records[entry.step] = record
        return records

    def epoch(self, entry: Entry) -> str:
        """The present epoch of a step; empty before its first invalidation."""
        local = self.fences.local(entry)
        found = self._reader.tokens(entry.key + EPOCH_SUFFIX) if self._shared else None
        return self.fences.epoch_in(found, entry, local)[0]

    def new_generation(self, entry: Entry, epoch: str, end: tuple[float, object] | None) -> str:
        """The id of a fetch in that epoch, whose token has that monotonic end."""
        return entry.new_generation(epoch, self.home.births.new_nonce(end))

    def write(self, entry: Entry, token: TokenData, record: Record) -> bool:
        """Store a token over the record that its flight read; whether it is cached now.

        It is not if the step was invalidated after the record was read, or another token has
        come in its place. A storage that fails leaves the token in this process. One that could
        not be read, but works again, has the token put over one that is dead.
        """
        with self.fences.change():
            return self._write(entry, token, record)

    def _tell(self, pipeline: str, reports: Reports) -> None:
        """Tell of everything from now on as the pipeline of that prefix."""
        self._reports = reports
        self._faults = Faults(pipeline, reports, self.home)
        self._reader = Reader(self.storage, self._faults)

    def _store_kept(self, entry: Entry, record: Record) -> bool:
        """Try once more to store a token that is kept here; whether that was done.

        That is for its refresh token: others would redeem the one in the storage, a second time.
        """
        home, tag = self.home, entry.tag
        kept, replaced = home.kept.get(tag, (None, ()))
        if kept is None or kept is not record.token or not kept.refresh_token:
            return False
        home.changed()  # The storage is to be read again by the next call.
        if record.unread or record.present not in replaced or is_looking() or not home.is_due(tag):
            return False
        with self.fences.change():
            return self._write(entry, kept, record, again=True)

    def _write(
        self, entry: Entry, token: TokenData, record: Record, *, again: bool = False
    ) -> bool:
        home, tag = self.home, entry.tag
        try:
            if self.epoch(entry) != record.epoch:
                return False
            if not self._set_over(entry, token, record):
                return False
            if self._shared or self.storage.get(entry.key) is not token:
                home.births.note(tag, token)
        except Exception as error:  # noqa: BLE001 - a storage may raise anything
            self._faults.failed(entry.step, "write", error)
            home.put_off(tag)
            is_kept = not again and self.epoch(entry) == record.epoch
            if is_kept:
                # The latter may have been stored since, by another thread.
                home.keep(tag, token, (record.present, record.own_generation))
            return is_kept
        if not again or home.kept.get(tag, (None,))[0] is token:
            home.kept.pop(tag, None)
        home.doomed.discard(tag)
        if record.epoch:
            remember(home.filled, tag, record.epoch)
        if self.epoch(entry) == record.epoch:
            return True
        self._remove(entry, token.generation, None)
        return False

    def _set_over(self, entry: Entry, token: TokenData, record: Record) -> bool:
        """Set the token in place of that record, or of nothing if that has been collected."""
        if self.storage.compare_and_set(entry.key, token, record.stored):
            return True
        kept = record.token if record.kept else None
        # Another thread may have stored the one that was kept here.
        if kept and self.storage.compare_and_set(entry.key, token, kept.generation):
            return True
        if record.stored is not None:
            return self.storage.compare_and_set(entry.key, token, None)
        if not record.unread:
            return False
        found = self.read([entry])[entry.step]
        return found.usable is None and self.storage.compare_and_set(entry.key, token, found.stored)

    def give_up(self, entry: Entry, record: Record) -> None:
        """Remove the record that was read, now that a token not to be cached has replaced it."""
        self.home.kept.pop(entry.tag, None)
        if record.token is not None:
            self.home.changed()
        if record.token is not None or record.stored is not None:
            self._remove(entry, record.stored)

    def give_up_old(
        self, generations: Mapping[Entry, str], redeeming: AbstractSet[Entry] = frozenset()
    ) -> None:
        """Invalidate those tokens that are still there, for a refresh that has replaced another.

        Those of `redeeming` keep their refresh tokens.
        """
        records = self.read(list(generations)) if generations else {}
        old = [each for each in generations if records[each.step].holds(generations[each])]
        # What the storage cannot delete is invalid in this process all the same.
        with suppress(TokenStorageException):
            self.invalidate(dict.fromkeys(old, "refresh"), redeeming)

    def invalidate(
        self,
        causes: Mapping[Entry, InvalidationCause],
        redeeming: AbstractSet[Entry] = frozenset(),
    ) -> None:
        """Give up the tokens of those steps, which come with ancestors first.

        Those of `redeeming` keep their refresh tokens.

        Raises:
            TokenStorageException: the storage failed; the steps count as invalidated in this
                process all the same.
        """
        failures = [
            (entry, error)
            for entry, cause in causes.items()
            if not (entry in redeeming and self._retire(entry, cause))
            and (error := self._invalidate(entry, cause)) is not None
        ]
        if failures:
            steps = ", ".join(repr(entry.step) for entry, _ in failures)
            shown = without_secrets(failures[0][1])
            msg = (
                f"The storage could not delete the tokens of {steps}; they are invalid in this "
                "process, but other processes may still use them. Invalidate again once the "
                "storage works."
            )
            raise TokenStorageException(msg, shown) from shown

    def lock(self, entry: Entry, lease: timedelta, wait: timedelta) -> AbstractContextManager[None]:
        """The storage's lock on a step: see `locked`."""
        return locked(self.storage, entry, lease, wait, self._faults)

    def _retire(self, entry: Entry, cause: InvalidationCause) -> bool:
        """End the use of a token that has a refresh token, which stays; whether there was one."""
        record = self.read([entry])[entry.step]
        token = record.token
        if token is None or not token.refresh_token:
            return False
        if token.expires_at != RETIRED:
            # Of the same generation: whoever is about to redeem it can still store the successor.
            retired = replace(token, expires_at=RETIRED, leeway=timedelta(0))
            self.write(entry, stamped(retired, record.own_generation), record)
            self._reports.invalidated(entry.step, token.generation, cause)
        return True

    def _invalidate(self, entry: Entry, cause: InvalidationCause) -> Exception | None:
        generation = self._known_generation(entry)
        flights = self.home.flights
        pause = Flight(entry.tag, None, Demand())
        try:
            # Whoever wants a new token waits, lest it be deleted for the old one.
            flights.clear(pause)
            with self.fences.change():
                failure = self._end_epoch(entry)
            self._reports.invalidated(entry.step, generation, cause)
        finally:
            try:
                flights.land(pause)
            finally:
                flights.land(pause)
        return failure

    def _end_epoch(self, entry: Entry) -> Exception | None:
        """Make what is cached for a step worthless, and delete it; the storage's error, if any."""
        home, tag = self.home, entry.tag
        failure: Exception | None = None
        try:
            self.fences.begin(entry)
        except Exception as error:  # noqa: BLE001
            failure = error
        kept = home.kept.pop(tag, None)
        home.births.drop(tag)
        try:
            self.storage.delete(entry.key)
            home.doomed.discard(tag)
        except Exception as error:  # noqa: BLE001
            failure = error
            home.doomed.add(tag)
        if kept is not None or failure is not None:
            home.changed()
        if failure is not None:
            self._faults.failed(entry.step, "delete", failure)
        return failure

    def _known_generation(self, entry: Entry) -> str | None:
        """The generation that an event about the key can name without a read over the network."""
        if not instrumentation.observers:
            return None
        kept = self.home.kept.get(entry.tag)
        token = self.home.births.of(entry.tag) if kept is None else kept[0]
        if token is None and not self._shared:
            found = self._reader.tokens(entry.key)
            token = None if found is None else found.get(entry.key)
        return None if token is None else token.generation

    def _refuse(self, record: Record, entry: Entry, token: TokenData) -> None:
        """Make nothing of a record that belongs to another key, and delete it."""
        record.lacking = "unreadable"
        if noted(entry.key):
            return
        self._faults.failed(entry.step, "read", ValueError("The record belongs to another key."))
        self._remove(entry, token.generation)

    def _keys(self, entries: Sequence[Entry]) -> tuple[str, ...]:
        keys = tuple(entry.key for entry in entries)
        # Epochs first: one read too early makes a miss, one read too late would hide a change.
        # An invalidation goes from ancestors to dependents. Read the other way round, also key by
        # key, no dependent's epoch is of after it while that of an ancestor is of before it.
        return (*(key + EPOCH_SUFFIX for key in reversed(keys)), *keys) if self._shared else keys

    def _remove(self, entry: Entry, *generations: str | None) -> None:
        """Delete the record if it has one of those generations; None: if it has none."""
        try:
            for generation in generations:
                if self.storage.compare_and_delete(entry.key, generation):
                    return
        except Exception as error:  # noqa: BLE001
            self._faults.failed(entry.step, "delete", error)
