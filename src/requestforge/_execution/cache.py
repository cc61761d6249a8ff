"""A storage as one process sees it: records read with their epochs, fenced writes, faults."""

import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pickle import UnpicklingError

from requestforge import instrumentation
from requestforge._execution.flight import Demand, Flight, Flights
from requestforge._execution.home import homes
from requestforge._execution.keys import EPOCH_SUFFIX, Entry, epoch_of
from requestforge._execution.records import Record
from requestforge._execution.reports import Reports
from requestforge._portable import without_secrets
from requestforge._redaction import fingerprint
from requestforge.events import InvalidationCause, StorageOperation
from requestforge.exceptions import TokenStorageException
from requestforge.storage._basic import adapted
from requestforge.tokens import TokenData, is_usable, stamped

_log = logging.getLogger("requestforge")

_EPOCH_LIFE = timedelta(days=30)
# What a storage raises for a record that it cannot make sense of; all else is a fault of its own.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, EOFError, UnpicklingError)


class TokenCache:
    """The records of one pipeline in a storage."""

    def __init__(self, storage: object, pipeline: str, reports: Reports) -> None:
        self.storage = adapted(storage)
        self._pipeline = pipeline
        self._reports = reports
        self.home = homes.of(storage)
        self._shared = self.storage.shared

    @property
    def flights(self) -> Flights:
        """The flights of this process on the storage."""
        return self.home.flights

    def read(self, entries: Sequence[Entry]) -> dict[str, Record]:
        """The records by step, in one batched read of the storage."""
        keys = [entry.key for entry in entries]
        # Epochs first: one read too early makes a miss, one read too late would hide a change.
        wanted = [key + EPOCH_SUFFIX for key in keys] + keys if self._shared else keys
        local = {key: self.home.epochs.get(key) for key in keys}
        found, unreadable = self._get_many(wanted)
        reading = instrumentation.reading()
        records = {}
        for entry in entries:
            record = Record(self._epoch_in(found, entry.key, local[entry.key]))
            record.unread = found is None
            if entry.key in unreadable:
                record.lacking = "unreadable"
            self._fill(record, entry, None if found is None else found.get(entry.key))
            self._judge(record, entry.key, reading)
            records[entry.step] = record
        return records

    def epoch(self, entry: Entry) -> str:
        """The present epoch of a step; empty before its first invalidation."""
        local = self.home.epochs.get(entry.key)
        found = self._get_many([entry.key + EPOCH_SUFFIX])[0] if self._shared else None
        return self._epoch_in(found, entry.key, local)

    def settle(self, entry: Entry) -> None:
        """Try once more to tell a shared storage of an invalidation that it failed to take."""
        epoch = self.home.epochs.get(entry.key)
        if self._shared and epoch is not None:
            with suppress(Exception):
                self._save_epoch(entry.key, epoch)

    def write(self, entry: Entry, token: TokenData, record: Record) -> bool:
        """Store a token over the record that its flight read; whether it is cached now.

        It is not if the step was invalidated after the record was read, or another token has
        come in its place. A storage that fails leaves the token in this process. One that could
        not be read, but works again, has the token put over one that is dead.
        """
        home, key = self.home, entry.key
        try:
            if self.epoch(entry) != record.epoch:
                return False
            if not self._set_over(entry, token, record):
                return False
            if self._shared or self.storage.get(key) is not token:
                home.born[key] = token
        except Exception as error:  # noqa: BLE001 - a storage may raise anything
            self._failed(entry.step, "write", error)
            if self.epoch(entry) != record.epoch:
                return False
            home.kept[key] = (token, record.stored)
            home.changed()
            return True
        home.kept.pop(key, None)
        home.doomed.discard(key)
        if record.epoch:
            home.filled[key] = record.epoch
        if self.epoch(entry) == record.epoch:
            return True
        self._remove(entry, token.generation, None)
        return False

    def _set_over(self, entry: Entry, token: TokenData, record: Record) -> bool:
        """Set the token in place of that record, or of nothing if that has been collected."""
        if self.storage.compare_and_set(entry.key, token, record.stored):
            return True
        if record.stored is not None:
            return self.storage.compare_and_set(entry.key, token, None)
        if not record.unread:
            return False
        found = self.read([entry])[entry.step]
        return found.usable is None and self.storage.compare_and_set(entry.key, token, found.stored)

    def give_up(self, entry: Entry, record: Record) -> None:
        """Remove the record that was read, now that a token not to be cached has replaced it."""
        self.home.kept.pop(entry.key, None)
        if record.token is not None:
            self.home.changed()
        if record.token is not None or record.stored is not None:
            self._remove(entry, record.stored)

    def give_up_old(self, generations: Mapping[Entry, str]) -> None:
        """Invalidate those tokens that are still there, for a refresh that has replaced another."""
        records = self.read(list(generations)) if generations else {}
        old = [each for each in generations if records[each.step].holds(generations[each])]
        # What the storage cannot delete is invalid in this process all the same.
        with suppress(TokenStorageException):
            self.invalidate(dict.fromkeys(old, "refresh"))

    def invalidate(self, causes: Mapping[Entry, InvalidationCause]) -> None:
        """Give up the tokens of those steps, which come with ancestors first.

        Raises:
            TokenStorageException: the storage failed; the steps count as invalidated in this
                process all the same.
        """
        failures = [
            (entry, error)
            for entry, cause in causes.items()
            if (error := self._invalidate(entry, cause)) is not None
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

    @contextmanager
    def lock(self, entry: Entry, lease: timedelta, wait: timedelta) -> Iterator[None]:
        """The storage's lock on a step, where it has one that works.

        Raises:
            TimeoutError: another process still holds it after `wait`.
        """
        held, stack = True, ExitStack()
        try:
            lock = self.storage.lock(entry.key, lease, wait)
            if lock is not None:
                held = stack.enter_context(lock)
        except Exception as error:  # noqa: BLE001
            self._lock_failed(entry.step, error)
        try:
            if not held:
                raise TimeoutError
            yield
        finally:
            try:
                stack.close()
            except Exception as error:  # noqa: BLE001
                self._lock_failed(entry.step, error)

    def _invalidate(self, entry: Entry, cause: InvalidationCause) -> Exception | None:
        generation = self._known_generation(entry.key)
        flights = self.home.flights
        pause = Flight(entry.key, None, Demand())
        try:
            # Whoever wants a new token waits, lest it be deleted for the old one.
            flights.clear(pause)
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
        home, key = self.home, entry.key
        failure: Exception | None = None
        home.epochs[key] = epoch = secrets.token_hex(6)
        try:
            self._save_epoch(key, epoch)
        except Exception as error:  # noqa: BLE001
            failure = error
            home.epochs[key] = epoch
        kept = home.kept.pop(key, None)
        home.born.pop(key, None)
        try:
            self.storage.delete(key)
            home.doomed.discard(key)
        except Exception as error:  # noqa: BLE001
            failure = error
            home.doomed.add(key)
        if kept is not None or failure is not None:
            home.changed()
        if failure is not None:
            self._failed(entry.step, "delete", failure)
        return failure

    def _known_generation(self, key: str) -> str | None:
        """The generation that an event about the key can name without a read over the network."""
        if not instrumentation.observers:
            return None
        kept = self.home.kept.get(key)
        token = self.home.born.get(key) if kept is None else kept[0]
        if token is None and not self._shared:
            found, _ = self._get_many([key])
            token = None if found is None else found.get(key)
        return None if token is None else token.generation

    def _save_epoch(self, key: str, epoch: str) -> None:
        """Have a new epoch begin in a storage that others share, in place of one known here only.

        It has another id. Who has read the local one may have done so before an invalidation of
        another process that this write comes after.
        """
        if not self._shared:
            return
        home, now = self.home, instrumentation.now()
        mark = TokenData(secrets.token_hex(6), expires_at=now + _EPOCH_LIFE, issued_at=now)
        self.storage.set(key + EPOCH_SUFFIX, mark)
        home.known[key] = mark.access_token
        if home.epochs.get(key) == epoch:
            home.epochs.pop(key, None)

    def _epoch_in(self, found: Mapping[str, TokenData] | None, key: str, local: str | None) -> str:
        """The epoch of a key: the one known here before the storage was read, else what it held."""
        home = self.home
        if not self._shared:
            return local or ""
        local = local or home.epochs.get(key)
        if local is not None:
            return local
        if found is None:
            return home.known.get(key, "")
        mark = found.get(key + EPOCH_SUFFIX)
        epoch = "" if mark is None else mark.access_token
        if home.known.get(key, "") != epoch:
            home.known[key] = epoch
        return epoch

    def _fill(self, record: Record, entry: Entry, token: TokenData | None) -> None:
        """Decide what a stored token is worth."""
        home, key = self.home, entry.key
        if token is not None:
            record.stored = token.generation
            if token.generation is None:
                # Written by other means, or by a storage that keeps the basic fields only.
                if key not in home.doomed:
                    record.token = self._born(entry, token, record.epoch)
            elif not entry.owns(token.generation):
                record.lacking = "unreadable"
                self._failed(entry.step, "read", ValueError("The record belongs to another key."))
                self._remove(entry, token.generation)
                record.stored = None
                return
            elif epoch_of(token.generation) == record.epoch:
                born = home.born.get(key)
                same = born is not None and born.generation == token.generation
                record.token = born if same else token

    def _born(self, entry: Entry, token: TokenData, epoch: str) -> TokenData:
        """A stored token without a generation: as it was fetched here, else with a derived one."""
        born = self.home.born.get(entry.key)
        if born is not None and (born.access_token, epoch_of(born.generation)) == (
            token.access_token,
            epoch,
        ):
            return born
        return stamped(token, _derived_generation(entry, token, epoch))

    def _judge(self, record: Record, key: str, reading: tuple[float, float, object]) -> None:
        """Decide whether there is a token that may be served."""
        home = self.home
        if record.token is not None and is_usable(record.token, reading):
            record.usable = record.token
        kept, replaced = home.kept.get(key, (None, None))
        if (
            kept is not None
            and (record.usable is None or record.stored == replaced)
            and epoch_of(kept.generation) == record.epoch
            and is_usable(kept, reading)
        ):
            record.token = record.usable = kept
        elif record.token is not None:
            return
        elif record.lacking == "empty" and record.epoch and home.filled.get(key) != record.epoch:
            record.lacking = "invalidated"

    def _get_many(self, keys: Sequence[str]) -> tuple[dict[str, TokenData] | None, set[str]]:
        """What the storage holds, or None if it fails; and the keys that it cannot read."""
        try:
            found: dict[str, object] = dict(self.storage.get_many(keys))
        except _UNREADABLE:
            return self._get_each(keys)
        except ImportError:  # a missing extra: no fault that passes
            raise
        except Exception as error:  # noqa: BLE001
            self._failed("", "read", error)
            return None, set()
        tokens = {key: token for key, token in found.items() if isinstance(token, TokenData)}
        foreign = found.keys() - tokens.keys()
        for key in foreign:
            self._discard(key, TypeError("The record is no TokenData."))
        return tokens, foreign

    def _get_each(self, keys: Sequence[str]) -> tuple[dict[str, TokenData], set[str]]:
        found: dict[str, TokenData] = {}
        unreadable: set[str] = set()
        for key in keys:
            try:
                token = self.storage.get(key)
            except _UNREADABLE as error:
                unreadable.add(key)
                self._discard(key, error)
            except Exception as error:  # noqa: BLE001
                self._failed(self._step_of(key), "read", error)
            else:
                if token is not None:
                    found[key] = token
        return found, unreadable

    def _discard(self, key: str, error: Exception) -> None:
        self._failed(self._step_of(key), "read", error)
        try:
            self.storage.delete(key)
        except Exception as fault:  # noqa: BLE001
            self._failed(self._step_of(key), "delete", fault)

    def _remove(self, entry: Entry, *generations: str | None) -> None:
        """Delete the record if it has one of those generations; None: if it has none."""
        try:
            for generation in generations:
                if self.storage.compare_and_delete(entry.key, generation):
                    return
        except Exception as error:  # noqa: BLE001
            self._failed(entry.step, "delete", error)

    def _step_of(self, key: str) -> str:
        return key.removesuffix(EPOCH_SUFFIX).removeprefix(f"{self._pipeline}:")

    def _failed(self, step: str, operation: StorageOperation, error: Exception) -> None:
        self._warn(operation, "The token storage failed on a %s (%s).", operation, error)
        self._reports.storage_failed(step, operation, error)

    def _lock_failed(self, step: str, error: Exception) -> None:
        self._warn("lock", "The lock of step %r failed (%s).", step, error)
        self._reports.lock_failed(step, error)

    def _warn(self, subject: str, text: str, name: str, error: Exception) -> None:
        """Warn of a fault once for each storage and subject; further ones are for debugging."""
        level = logging.DEBUG if subject in self.home.warned else logging.WARNING
        self.home.warned.add(subject)
        _log.log(level, text, name, type(error).__name__)


def _derived_generation(entry: Entry, token: TokenData, epoch: str) -> str:
    return f"{entry.tag}.{epoch}.~{fingerprint(token.access_token)}"
