"""RedisTokenStorage: tokens in Redis or Valkey."""

import json
import logging
import math
import os
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

from requestforge._looking import noted
from requestforge.events import StorageFailed
from requestforge.exceptions import TokenStorageException
from requestforge.instrumentation import emit, now
from requestforge.interfaces import TokenStorageInterface
from requestforge.storage._polling import poll
from requestforge.storage._readings import Readings
from requestforge.storage._redis_server import RedisServer
from requestforge.storage._staleness import Versions
from requestforge.tokens import TokenData, end_of_use

if TYPE_CHECKING:
    import redis

__all__ = ["RedisTokenStorage"]

_log = logging.getLogger("requestforge")

# The scripts compare whole records: what a record says is read in one place, by TokenData. MGET
# gives nothing for a key that holds no text, where GET is an error. An empty text is no record.
_SET = """
local present = redis.call('MGET', KEYS[1])[1] or ''
if present ~= ARGV[1] and present ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], unpack(ARGV, 3))
return 1
"""
"""Put the second argument in place of the first, the rest being options of SET.

A client that repeats the command after a lost answer finds the second, and is told the same.
"""

_DELETE = """
local present = redis.call('MGET', KEYS[1])[1] or ''
return present == ARGV[1] and redis.call('DEL', KEYS[1]) or 0
"""
"""Delete the argument, if it is still there."""

_LOCK = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return redis.call('GET', KEYS[1]) == ARGV[1] and 1 or 0
"""
"""Take a lock for the owner and the milliseconds given, or find that it is the owner's."""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.005, 0.25
"""Seconds between two tries for a lock that is held."""


class RedisTokenStorage(TokenStorageInterface):
    """Tokens as JSON text in Redis or Valkey, for every host that uses the server.

    Only one of them fetches a step at a time. A batched read is one command.

    Args:
        client: a `redis.Redis`, also of a Sentinel, or a `redis.RedisCluster`, with any protocol
            and decoding. It stays the caller's, as do its timeouts and retries.
        url: `redis://`, `rediss://` (TLS) or `unix://`, for a client of the storage's own.
        key_prefix: sets the keys of this storage apart from others on the server.
        refresh_ttl: how long a refresh token outlives its token.
        max_staleness: for so long pipelines serve what they have read without asking Redis again.
            What this storage object changes counts at once; an invalidation by another process or
            storage object is seen so much later. None: each call of a pipeline asks.

    Raises:
        ImportError: redis-py is not installed.
        TypeError: `client` is one for asyncio, or a duration no timedelta.
        ValueError: there are both `client` and `url`, or neither; `url` is none of Redis;
            `key_prefix` begins with a brace; `refresh_ttl` is negative; `max_staleness` is not
            positive.
        TokenStorageException: at any use; the server failed, or could not be reached less than a
            second ago.
    """

    def __init__(
        self,
        client: "redis.Redis | redis.RedisCluster | None" = None,
        *,
        url: str | None = None,
        key_prefix: str = "token",
        refresh_ttl: timedelta = timedelta(days=30),
        max_staleness: timedelta | None = None,
    ) -> None:
        _check(key_prefix, refresh_ttl)
        self._key_prefix = key_prefix
        self._refresh_ttl = refresh_ttl
        self._versions = None if max_staleness is None else Versions(max_staleness)
        self._server = RedisServer(client, url)
        # They save no command, but reading the same records again.
        self._readings: Readings[_Records] = Readings()

    @property
    def content_version(self) -> int | None:  # type: ignore[override]  # nobody sets it from outside
        """A count of the changes made here, and of the times that `max_staleness` has passed.

        None without such a time: others may change what Redis holds at any moment.
        """
        return None if self._versions is None else self._versions.present()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(key_prefix={self._key_prefix!r})"

    def __reduce__(self) -> NoReturn:
        """Refuse: connections cannot travel, and the password should not."""
        msg = "A RedisTokenStorage cannot be pickled; make one in each process."
        raise TypeError(msg)

    def get(self, key: str) -> TokenData | None:
        """The token that was set, expired or not; None if there is none.

        A record that cannot be read counts as none, and is deleted.
        """
        return self.get_many((key,)).get(key)

    def set(self, key: str, token: TokenData) -> None:
        """Keep the token, in place of any other under that key.

        Redis drops it once it has expired; later, by `refresh_ttl`, if it has a refresh token.
        """
        record = _record(key, token)
        self._change("write", [key], "SET", self._name(key), record, *self._life(token))

    def delete(self, key: str) -> None:
        """Remove the token, if there is one."""
        self.delete_many((key,))

    def exists(self, key: str) -> bool:
        """Whether an entry is present, expired or not."""
        return bool(self._server.run("read", [key], "EXISTS", self._name(key)))

    def get_many(self, keys: Iterable[str]) -> dict[str, TokenData]:
        """The tokens of those keys that have one, in one command.

        On a cluster that holds for the keys of one pipeline; it is one for each of several.
        """
        return dict(self.content_of(tuple(keys)))

    def content_of(self, keys: tuple[str, ...]) -> Mapping[str, TokenData]:
        """The same as `get_many`, and the same object as long as Redis holds the same."""
        last = self._readings.last(keys)
        reads = self._reads(keys) if last is None else last.source.reads
        if len(reads) == 1:
            records = self._records("read", reads[0])
        else:
            records = [record for read in reads for record in self._records("read", read)]
        if last is not None and last.source.records == records:
            return last.found
        found = {}
        named = (key for read in reads for key in read.keys)
        for key, record in zip(named, records, strict=True):
            token = None if record is None else self._token(key, record)
            if token is not None:
                found[key] = token
        if len(found) == len(records) - records.count(None):
            self._readings.remember(keys, _Records(reads, records), found)
        # Else not remembered: the same again has to be deleted again.
        return found

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove the tokens of those keys, in as many commands as `get_many` takes."""
        for read in self._reads(tuple(keys)):
            self._change("delete", read.keys, "DEL", *read.command[1:])

    def compare_and_set(self, key: str, token: TokenData, generation: str | None) -> bool:
        """Set the token if the present one has that generation, atomically; whether that is so.

        A generation of None stands for: there is no token, or one without a generation.
        """
        new = _record(key, token)
        while True:
            record, present = self._present("write", key)
            if (None if present is None else present.generation) != generation:
                return False
            if self._run(_SET, "write", key, record, new, *self._life(token)):
                return True

    def compare_and_delete(self, key: str, generation: str | None) -> bool:
        """Remove the token if it has that generation, atomically; whether that is so."""
        while True:
            record, present = self._present("delete", key)
            if present is None or present.generation != generation:
                return False
            if self._run(_DELETE, "delete", key, record):
                return True

    @contextmanager
    def lock(self, key: str, lease: timedelta, wait: timedelta) -> Iterator[bool]:
        """A lock on the key for all hosts that use the server.

        It does not outlive a server that loses its data, nor a failover before it was replicated:
        there is one more fetch then, and a token written late replaces no newer one.
        """
        # No record has such a name: theirs begin with a brace.
        name = b"lock:" + self._name(key)
        owner = secrets.token_hex(16).encode()
        try:
            acquired = self._acquired(key, name, owner, lease, wait)
        except TokenStorageException as error:
            # A server that merely answered late has given us the lock all the same.
            if self._server.may_have_done(error):
                self._release(key, name, owner)
            raise
        if not acquired:
            yield False
            return
        process = os.getpid()
        try:
            yield True
        finally:
            # A child that was forked meanwhile leaves the lock to its parent.
            if os.getpid() == process:
                self._release(key, name, owner)

    def close(self) -> None:
        """Close the connections to `url`; a client that was given stays open."""
        self._server.close()

    def _acquired(
        self, key: str, name: bytes, owner: bytes, lease: timedelta, wait: timedelta
    ) -> bool:
        milliseconds = max(1, math.ceil(lease / timedelta(milliseconds=1)))

        def attempt() -> bool | None:
            command = ("EVAL", _LOCK, 1, name, owner, milliseconds)
            return bool(self._server.run("lock", [key], *command)) or None

        seconds = wait.total_seconds()
        return poll(attempt, seconds, first=_SHORTEST_PAUSE, longest=_LONGEST_PAUSE) is not None

    def _release(self, key: str, name: bytes, owner: bytes) -> None:
        try:
            # Also within a second after a failure: a lock left behind holds others up for longer.
            self._server.insist("unlock", [key], "EVAL", _DELETE, 1, name, owner)
        except TokenStorageException as error:
            _log.warning(
                "The lock of %s could not be released and ends with its lease: %s.",
                key,
                type(error.__cause__).__name__,
            )

    def _present(self, attempt: str, key: str) -> tuple[bytes, TokenData | None]:
        """The record under a key, empty if there is none, and the token that can be read of it."""
        [record] = self._records(attempt, _Read.of({self._name(key): key}))
        return record or b"", None if record is None else _read(record)

    def _records(self, attempt: str, read: "_Read") -> list[bytes | None]:
        records: list[bytes | None] = self._server.run(
            attempt, read.keys, *read.command, **read.options
        )
        return records

    def _run(self, script: str, attempt: str, key: str, *arguments: bytes | int) -> bool:
        name = self._name(key)
        return bool(self._change(attempt, [key], "EVAL", script, 1, name, *arguments))

    def _change(self, attempt: str, keys: Collection[str], *command: bytes | str | int) -> object:
        """The answer to a command that changes records."""
        try:
            return self._server.run(attempt, keys, *command)
        finally:
            # Also if it failed: the server may have got it. Not before it: others read meanwhile.
            if self._versions is not None:
                self._versions.begin()

    def _token(self, key: str, record: bytes) -> TokenData | None:
        token = _read(record)
        if token is None and not noted(key):
            with suppress(TokenStorageException):  # a replica, say: it goes on counting as none
                self._run(_DELETE, "delete", key, record)
            error = "Redis held something else than a token."
            emit(StorageFailed(at=now(), pipeline="", step=key, operation="read", error=error))
        return token

    def _name(self, key: str) -> bytes:
        """What a key is called in Redis.

        What stands in braces is the hash tag, by which a cluster chooses the slot: one for all keys
        of a pipeline, whose common prefix reaches up to the first colon at least. Without a prefix
        it is one for all pipelines.
        """
        head, colon, rest = key.partition(":")
        tag, rest = (head, f":{rest}") if colon else ("", head)
        return f"{{{self._key_prefix}:{tag}}}{rest}".encode("utf-8", "surrogatepass")

    def _reads(self, keys: Sequence[str]) -> list["_Read"]:
        """The commands that read those keys; none at all make no command."""
        batches: dict[bytes, dict[bytes, str]] = {}
        for key in keys:
            name = self._name(key)
            tag = name.partition(b"}")[0] if self._server.is_cluster else b""
            batches.setdefault(tag, {})[name] = key
        return [_Read.of(batch) for batch in batches.values()]

    def _life(self, token: TokenData) -> tuple[bytes | int, ...]:
        """Options of SET for how long Redis keeps a token."""
        expires_at = end_of_use(replace(token, leeway=timedelta(0)))
        if expires_at is None:
            return ()
        # By this clock, however wrong it is: the token's end was reckoned by it, too.
        seconds = max(1, -((now() - expires_at) // timedelta(seconds=1)))
        if token.refresh_token:
            seconds += math.ceil(self._refresh_ttl / timedelta(seconds=1))
        return b"EX", seconds


@dataclass(frozen=True, slots=True)
class _Read:
    """A command that reads those keys, ready for redis-py."""

    keys: tuple[str, ...]
    command: tuple[bytes | str, ...]
    options: Mapping[str, object]

    @classmethod
    def of(cls, batch: Mapping[bytes, str]) -> "_Read":
        """One for the keys by name."""
        # redis-py decodes nothing then, whatever its client is set to: one record that is no text
        # would be an error for all. It wants the keys by name for its cache on this side.
        options = {"keys": list(batch), "NEVER_DECODE": True}
        return cls(tuple(batch.values()), ("MGET", *batch), options)


@dataclass(frozen=True, slots=True, repr=False)  # records are secrets
class _Records:
    """What Redis held, in the order of the keys of those commands."""

    reads: list[_Read]
    records: list[bytes | None]


def _check(key_prefix: str, refresh_ttl: object) -> None:
    if key_prefix.startswith("}"):
        msg = "key_prefix must not begin with '}', which would leave a hash tag of Redis empty."
        raise ValueError(msg)
    if not isinstance(refresh_ttl, timedelta):
        msg = f"refresh_ttl must be a timedelta, but is of type {type(refresh_ttl).__name__}."
        raise TypeError(msg)
    if refresh_ttl < timedelta(0):
        msg = f"refresh_ttl must not be negative, but is {refresh_ttl}."
        raise ValueError(msg)


def _record(key: str, token: TokenData) -> bytes:
    try:
        return json.dumps(token.to_dict()).encode()
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"The token of {key} has no JSON form, so it cannot be stored."
        raise TokenStorageException(msg, error) from error


def _read(record: bytes) -> TokenData | None:
    """The token of a record; None if it is something else."""
    try:
        return TokenData.from_dict(json.loads(record))
    except (ValueError, RecursionError):
        return None
