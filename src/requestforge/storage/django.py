"""DjangoCacheTokenStorage: tokens in one of Django's caches."""

import json
import logging
import math
import pickle
import re
import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from requestforge._looking import noted
from requestforge.events import StorageFailed
from requestforge.exceptions import TokenStorageException
from requestforge.instrumentation import emit, now, real_monotonic
from requestforge.interfaces import TokenStorageInterface
from requestforge.storage._polling import poll
from requestforge.storage._readings import Readings
from requestforge.tokens import TokenData, end_of_use

if TYPE_CHECKING:
    from django.core.cache.backends.base import BaseCache

__all__ = ["DjangoCacheTokenStorage"]

_log = logging.getLogger("requestforge")

# Backends whose `add` is atomic for all hosts, by the seconds that an entry of theirs may end too
# early: the database and memcached count in whole seconds.
_LOCKING = {
    "django.core.cache.backends.db.DatabaseCache": 1,
    "django.core.cache.backends.memcached.BaseMemcachedCache": 1,
    "django.core.cache.backends.redis.RedisCache": 0,
    "django_redis.cache.RedisCache": 0,
}

# What pickle (whose documentation closes no list), zlib and other serialisers raise on a value that
# they cannot take apart. Backends out of reach raise errors of their libraries, or OSError.
_UNDECODABLE = (
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    zlib.error,
)
_UNDECODED = object()

_LONGEST_LIFE = 10 * 365 * 86_400
"""Seconds. A timeout is cut there, since not every backend can count to the year 9999."""

_REFRESH_LIFE = 30 * 86_400
"""Seconds for which a refresh token outlives its token."""

_LONGEST_KEY = 250
"""Bytes: what memcached takes, and the database's column fits."""

_UNSAFE = re.compile("[\x00-\x20\x7f\ud800-\udfff]")
_HASHED = re.compile(r"#sha256-[0-9a-f]{64}\Z")

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.005, 0.25
"""Seconds between two tries for a lock that is held."""

_MOST_UNEXPLAINED = 5
"""So many times in a row a cache may refuse a lock and yet have no holder of it."""


class DjangoCacheTokenStorage(TokenStorageInterface):
    """Tokens as JSON text in one of Django's caches, for every process that uses that cache.

    Where the backend has an atomic `add` for all hosts (memcached, Redis, database), only one of
    them fetches a step at a time. Django is imported at the first use, so that a settings module
    can make a storage.

    Args:
        cache_alias: key of the cache in the setting CACHES.
        key_prefix: stands before each key, followed by a colon.

    Raises:
        ImportError: at the first use; Django is not installed.
        TokenStorageException: at any use; the cache failed.
    """

    def __init__(self, cache_alias: str = "default", key_prefix: str = "token") -> None:
        self._cache_alias = cache_alias
        self._key_prefix = key_prefix
        self._readings: Readings[dict[str, object]] = Readings()

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(cache_alias={self._cache_alias!r}, "
            f"key_prefix={self._key_prefix!r})"
        )

    def get(self, key: str) -> TokenData | None:
        """The token that was set, expired or not; None if there is none.

        A record that cannot be read counts as none, and is deleted.
        """
        cache = self._cache()
        with self._reporting("read", key):
            try:
                record = cache.get(self._cache_key(cache, key))
            except _UNDECODABLE:
                record = _UNDECODED
        return None if record is None else self._token(key, record)

    def set(self, key: str, token: TokenData) -> None:
        """Keep the token, in place of any other under that key.

        The cache may drop it once it has expired; 30 days later if it has a refresh token.
        """
        cache = self._cache()
        with self._reporting("write", key):
            text = json.dumps(token.to_dict())
            cache_key = self._cache_key(cache, key)
            if not _seconds_early(cache):
                cache.set(cache_key, text, _timeout(token))
                return
            # A database or memcached backend says nothing of a write that it has lost. What else
            # has come in its place is another process's.
            before = cache.get(cache_key)
            cache.set(cache_key, text, _timeout(token))
            lost = before != text and cache.get(cache_key) in (None, before)
        if lost:
            msg = f"The cache {self._cache_alias!r} has lost a write without an error of its own."
            raise TokenStorageException(msg)

    def delete(self, key: str) -> None:
        """Remove the token, if there is one."""
        cache = self._cache()
        with self._reporting("delete", key):
            cache.delete(self._cache_key(cache, key))

    def exists(self, key: str) -> bool:
        """Whether an entry is present, expired or not."""
        cache = self._cache()
        with self._reporting("read", key):
            return cache.has_key(self._cache_key(cache, key))

    def get_many(self, keys: Iterable[str]) -> dict[str, TokenData]:
        """The tokens of those keys that have one, in one read of the cache."""
        return dict(self.content_of(tuple(keys)))

    def content_of(self, keys: tuple[str, ...]) -> Mapping[str, TokenData]:
        """The same as `get_many`, and the same object as long as the cache holds the same text."""
        cache = self._cache()
        by_cache_key = {self._cache_key(cache, key): key for key in keys}
        if not by_cache_key:  # Redis refuses to read nothing
            return {}
        with self._reporting("read", *by_cache_key.values()):
            try:
                records = cache.get_many(list(by_cache_key))
            except _UNDECODABLE:
                records = None
        if records is None:  # one by one, so that only what cannot be read is lost
            return super().get_many(by_cache_key.values())
        last = self._readings.last(keys)
        if last is not None and last.source == records:
            return last.found
        read = (
            (by_cache_key[cache_key], self._token(by_cache_key[cache_key], record))
            for cache_key, record in records.items()
        )
        found = {key: token for key, token in read if token is not None}
        # Else the same again has to be deleted again; and a dict may be changed in its place.
        if len(found) == len(records) and all(isinstance(each, str) for each in records.values()):
            self._readings.remember(keys, records, found)
        return found

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove the tokens of those keys, in one command where the cache has one."""
        cache = self._cache()
        keys = tuple(keys)
        with self._reporting("delete", *keys):
            cache.delete_many([self._cache_key(cache, key) for key in keys])

    def lock(
        self, key: str, lease: timedelta, wait: timedelta
    ) -> AbstractContextManager[bool] | None:
        """A lock on the key for all hosts that use the cache; None where the backend has none.

        A cache cannot compare and delete in one step. A lock near the end of its lease is
        therefore left to end: it might be another's by the time that it is deleted.
        """
        cache = self._cache()
        early = _seconds_early(cache)
        return None if early is None else self._locked(cache, key, lease, wait, early)

    @contextmanager
    def _locked(
        self, cache: "BaseCache", key: str, lease: timedelta, wait: timedelta, early: int
    ) -> Iterator[bool]:
        # No record has such a key: a colon follows their prefix.
        name = _safe(cache, f"{self._key_prefix}#lock:{key}")
        owner = secrets.token_hex(16)
        timeout = max(1, math.ceil(lease.total_seconds())) + early
        with self._reporting("lock", key):
            held_since = _acquire(cache, name, owner, timeout, wait.total_seconds())
        if held_since is None:
            yield False
            return
        try:
            yield True
        finally:
            if real_monotonic() < held_since + 0.9 * lease.total_seconds():
                _release(cache, name, owner)

    def _cache(self) -> "BaseCache":
        try:
            from django.core.cache import caches
        except ImportError as error:
            msg = "DjangoCacheTokenStorage needs Django: pip install 'requestforge[django]'."
            raise ImportError(msg) from error
        return caches[self._cache_alias]

    def _cache_key(self, cache: "BaseCache", key: str) -> str:
        return _safe(cache, f"{self._key_prefix}:{key}")

    def _token(self, key: str, record: Any) -> TokenData | None:  # noqa: ANN401 - the JSON boundary
        """The token of a record: JSON text, or the dict that release 1.0.0 may have left."""
        try:
            data = json.loads(record) if isinstance(record, str | bytes) else record
            return TokenData.from_dict(data)
        except (ValueError, RecursionError):
            if noted(key):
                return None
            # Not chained to anything: the parser's error holds the whole text.
            self.delete(key)
        error = "The cache held something else than a token; it was deleted."
        emit(StorageFailed(at=now(), pipeline="", step=key, operation="read", error=error))
        return None

    @contextmanager
    def _reporting(self, attempt: str, *keys: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            shown = f"{keys[0]} and {len(keys) - 1} more" if len(keys) > 1 else "".join(keys)
            msg = (
                f"Django's cache {self._cache_alias!r} failed to {attempt} {shown}. "
                "Check its entry in the setting CACHES, and its server."
            )
            raise TokenStorageException(msg, error) from error


def _safe(cache: "BaseCache", key: str) -> str:
    """The key, or a readable start of it and its hash where a backend could not take it."""
    full = cache.make_key(key)
    fits = len(full.encode("utf-8", "surrogatepass")) <= _LONGEST_KEY
    # A key that looks hashed is, too, so that no key stands for two.
    if fits and not _UNSAFE.search(full) and not _HASHED.search(key):
        return key
    start = re.sub("[^!-~]", "_", key)[:64]
    return f"{start}#sha256-{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _timeout(token: TokenData) -> int | None:
    """Seconds for the cache to keep a token; None: no limit."""
    expires_at = end_of_use(replace(token, leeway=timedelta(0)))
    if expires_at is None:
        return None
    seconds = -((now() - expires_at) // timedelta(seconds=1))  # rounded up
    return min(max(seconds, 1), _LONGEST_LIFE) + (_REFRESH_LIFE if token.refresh_token else 0)


def _seconds_early(cache: "BaseCache") -> int | None:
    """By how much a lock in that cache may end too early; None: the cache cannot lock."""
    for backend in type(cache).__mro__:
        early = _LOCKING.get(f"{backend.__module__}.{backend.__qualname__}")
        if early is not None:
            return early
    return None


def _acquire(cache: "BaseCache", name: str, owner: str, timeout: int, wait: float) -> float | None:
    """The instant (real monotonic seconds) since when we hold the lock; None: another does."""
    refused, unexplained = False, 0

    def attempt() -> float | None:
        nonlocal refused, unexplained
        # Many may read a database at a time, while one may write.
        if refused and cache.get(name) is not None:
            unexplained = 0
            return None
        asked = real_monotonic()
        if cache.add(name, owner, timeout):
            return asked
        refused, holder = True, cache.get(name)
        # A client that repeats a command after a lost answer is refused by its own lock.
        if holder == owner:
            return asked
        # Clients that hide errors never add; without a holder there is nobody to wait for.
        unexplained = 0 if holder is not None else unexplained + 1
        if unexplained == _MOST_UNEXPLAINED:
            msg = "It refuses a lock that nobody holds."
            raise RuntimeError(msg)
        return None

    return poll(attempt, wait, first=_SHORTEST_PAUSE, longest=_LONGEST_PAUSE)


def _release(cache: "BaseCache", name: str, owner: str) -> None:
    try:
        if cache.get(name) == owner:
            cache.delete(name)
    except Exception as error:  # noqa: BLE001 - backends raise what their libraries do
        _log.warning(
            "Lock %r could not be released and ends with its lease: %s.", name, type(error).__name__
        )
