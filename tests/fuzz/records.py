"""Stored records that were changed, read by each storage and by a pipeline on it."""

import base64
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Protocol
from uuid import uuid4

from mutations import mutated, restructured, torn

from doubles import START, CountingStep
from requestforge import (
    DjangoCacheTokenStorage,
    EncryptedTokenStorage,
    FileTokenStorage,
    RedisTokenStorage,
    TokenData,
    TokenFetchPipeline,
    TokenStorageInterface,
)

ACCESS = "canary-access-in-a-record"
REFRESH = "canary-refresh-in-a-record"
EXTRA = "canary-extra-in-a-record"
APP, USER = "shop:app", "shop:user"
KEYS = (APP, USER, f"{APP}#epoch", f"{USER}#epoch")
_SEALING_KEY = bytes(32)


class Place(Protocol):
    """Where the records of a storage lie, for reading and writing past the storage."""

    def open(self) -> TokenStorageInterface:
        """A storage object that has seen none of the records."""

    def put(self, key: str, record: Any) -> None:  # noqa: ANN401 - a cache takes anything
        """Leave a record there."""

    def take(self, key: str) -> Any:  # noqa: ANN401
        """The record that is there, or None."""


class Files:
    """The files of a FileTokenStorage."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._paths = {}
        for key in KEYS:
            before = set(directory.glob("*.json"))
            self.open().set(key, TokenData("place"))
            [self._paths[key]] = set(directory.glob("*.json")) - before

    def open(self) -> FileTokenStorage:
        return FileTokenStorage(self._directory)

    def put(self, key: str, record: bytes) -> None:
        self._paths[key].write_bytes(record)

    def take(self, key: str) -> bytes | None:
        try:
            return self._paths[key].read_bytes()
        except FileNotFoundError:
            return None


class Redis:
    """The entries of a RedisTokenStorage."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - generic in redis-py
        self._client = client
        self._prefix = uuid4().hex
        self._names = {}
        for key in KEYS:
            before = set(client.keys(f"*{self._prefix}*"))
            self.open().set(key, TokenData("place"))
            [self._names[key]] = set(client.keys(f"*{self._prefix}*")) - before

    def open(self) -> RedisTokenStorage:
        return RedisTokenStorage(self._client, key_prefix=self._prefix)

    def put(self, key: str, record: bytes) -> None:
        self._client.set(self._names[key], record)

    def take(self, key: str) -> Any:  # noqa: ANN401
        return self._client.get(self._names[key])


class Django:
    """The entries of a DjangoCacheTokenStorage, as text, as bytes or as anything."""

    def __init__(self, cache: Any) -> None:  # noqa: ANN401 - has no type that all releases share
        self._cache = cache
        self._prefix = uuid4().hex

    def open(self) -> TokenStorageInterface:
        return DjangoCacheTokenStorage(key_prefix=self._prefix)

    def put(self, key: str, record: Any) -> None:  # noqa: ANN401
        self._cache.set(f"{self._prefix}:{key}", record, None)

    def take(self, key: str) -> Any:  # noqa: ANN401
        return self._cache.get(f"{self._prefix}:{key}")


class Sealed(Django):
    """The entries of an EncryptedTokenStorage around Django's cache."""

    def open(self) -> TokenStorageInterface:
        return EncryptedTokenStorage(super().open(), [_SEALING_KEY])


class Forged(TokenData):
    """A token whose record is what a later release, or a broken one, might write."""

    __slots__ = ("record",)

    def to_dict(self) -> dict[str, Any]:
        record: dict[str, Any] = self.record
        return record


class Records:
    """Changes the records of one storage, and sees what comes of it.

    Each case begins with the records of a pipeline whose tokens are all cached and were all
    invalidated once. One or two of them are changed.
    """

    def __init__(self, place: Place, change: Callable[["Records", str, Random], Any]) -> None:
        self._place = place
        self._change = change
        self.good = _good_records(place)
        self._storage = place.open()
        self._steps = [CountingStep("app"), CountingStep("user", ["app"])]
        self._pipeline = TokenFetchPipeline(self._steps, self._storage, "shop")

    def run(self, random: Random) -> None:
        """Run one case; an AssertionError or any other error is a find."""
        for key, record in self.good.items():
            self._place.put(key, record)
        for key in random.sample(KEYS, random.choice((1, 1, 2))):
            self._place.put(key, self._change(self, key, random))
            if random.random() < 0.2:
                self._inspect(key)
            if random.random() < 0.5:
                self._read(key)
        if random.random() < 0.5:
            self._execute()

    def _inspect(self, key: str) -> None:
        """Looking on changes nothing."""
        before = self._place.take(key)
        assert len(self._pipeline.inspect()) == len(self._steps)
        assert self._place.take(key) == before

    def _read(self, key: str) -> None:
        """A storage gives a token that can be used, or nothing, and then holds nothing."""
        token = self._storage.get(key)
        if token is None:
            assert self._place.take(key) is None, f"The record of {key} was not deleted."
            return
        use(token)

    def _execute(self) -> None:
        """A pipeline gives a token, and goes on with it: nothing makes it fetch for ever."""
        use(self._pipeline.execute())
        fetches = [step.fetches for step in self._steps]
        use(self._pipeline.execute())
        assert fetches == [step.fetches for step in self._steps], "It was fetched again."


class _Login(CountingStep):
    """A step whose tokens hold secrets."""

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        token = super().fetch(context)
        end = START + timedelta(hours=1)
        extra = {"id_token": EXTRA, "roles": ["a", {"b": None}]}
        return replace(token, access_token=ACCESS, expires_at=end, issued_at=START, extra=extra)


def _good_records(place: Place) -> dict[str, Any]:
    """The records of a pipeline that was invalidated once and then executed."""
    steps = [
        _Login("app", refresh_token=REFRESH),
        _Login("user", ["app"], ttl=timedelta(minutes=5)),
    ]
    pipeline = TokenFetchPipeline(steps, place.open(), "shop")
    pipeline.invalidate_all()
    pipeline.execute()
    return {key: place.take(key) for key in KEYS}


def use(token: TokenData) -> None:
    """Whatever is a token can be asked anything, and shows no secret."""
    assert isinstance(token, TokenData)
    assert isinstance(token.access_token, str)
    assert isinstance(token.is_expired, bool)
    assert isinstance(token.authorization_header, str)
    assert isinstance(hash(token), int)
    if _is_plain(token.extra):
        assert pickle.loads(pickle.dumps(token)) == token
        assert TokenData.from_dict(token.to_dict()) == token
    shown = f"{token!r}{token}"
    # A change may have put a secret into a field that is none.
    open_fields = f"{token.token_type}{token.scope}{list(token.extra)}{token.generation}"
    assert not [s for s in (ACCESS, REFRESH, EXTRA) if s in shown and s not in open_fields]


def _is_plain(value: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether it can be compared: not so deep that Python gives up, and without a NaN."""
    level, depth = [value], 0
    while level and depth < 100:
        depth += 1
        parts = [p for v in level if isinstance(v, dict | list) for p in _items(v)]
        if any(part != part for part in parts if isinstance(part, float)):  # noqa: PLR0124 - NaN
            return False
        level = parts
    return not level


def _items(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def changed_text(records: Records, key: str, random: Random) -> bytes:
    """A record of bytes that was changed."""
    good = records.good[key if random.random() < 0.9 else random.choice(KEYS)]
    return mutated(json.loads(good), random)


def changed_value(records: Records, key: str, random: Random) -> Any:  # noqa: ANN401
    """An entry of a cache: text, bytes, or an object of Python."""
    data = changed_text(records, key, random)
    kind = random.random()
    if kind < 0.5:
        return data.decode("utf-8", "surrogateescape" if kind < 0.05 else "replace")
    if kind < 0.7:
        return data
    if kind < 0.95:
        return restructured(json.loads(records.good[key]), random)
    return random.choice((1, 0.5, True, (), {1, 2}, object, b"", "", ("a", 1), bytearray(b"{}")))


def changed_seal(records: Records, key: str, random: Random) -> Any:  # noqa: ANN401
    """A sealed record: changed outside, changed within its seal, or truly sealed and odd."""
    kind = random.random()
    record = json.loads(records.good[key])
    if kind < 0.3:
        return changed_value(records, key, random)
    if kind < 0.6:
        blob = torn(base64.urlsafe_b64decode(record["access_token"]), random)
        record["access_token"] = base64.urlsafe_b64encode(blob).decode()
        return json.dumps(record)
    token = EncryptedTokenStorage(Kept(record), [_SEALING_KEY]).get(key)
    assert token is not None
    forged = Forged("sealed")
    object.__setattr__(forged, "record", restructured(token.to_dict(), random))
    kept = Kept({})
    EncryptedTokenStorage(kept, [_SEALING_KEY]).set(key, forged)
    kept.record["generation"] = record["generation"] if random.random() < 0.8 else None
    return json.dumps(kept.record)


class Kept(TokenStorageInterface):
    """A storage of one record."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record

    def get(self, key: str) -> TokenData | None:
        return TokenData.from_dict(self.record)

    def set(self, key: str, token: TokenData) -> None:
        self.record = token.to_dict()

    def delete(self, key: str) -> None:
        self.record = {}

    def exists(self, key: str) -> bool:
        return bool(self.record)


def record_targets(folder: Path, cache: Any, client: Any) -> dict[str, Records]:  # noqa: ANN401
    """All storages, by name.

    Args:
        folder: for files.
        cache: Django's default one.
        client: of a Redis; None: there is none.
    """
    targets = {
        "files": Records(Files(folder / "tokens"), changed_text),
        "django": Records(Django(cache), changed_value),
        "sealed": Records(Sealed(cache), changed_seal),
    }
    if client is not None:
        targets["redis"] = Records(Redis(client), changed_text)
    return targets
