"""Backends for Django's caches that behave in ways which no server here can be made to."""

import threading
import time
from collections import Counter
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, ClassVar

from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.memcached import BaseMemcachedCache, PyMemcacheCache

_MONTH = 2_592_000


class _Server:
    """What a memcached server keeps: values, and when they end."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entries: dict[str, tuple[Any, float]] = {}


class _Client:
    """The commands that Django sends to memcached; a timeout of 0 means never."""

    _servers: ClassVar[dict[str, _Server]] = {}

    def __init__(self, servers: list[str]) -> None:
        self._server = self._servers.setdefault(servers[0], _Server())

    def add(self, key: str, value: object, timeout: int) -> bool:
        with self._server.lock:
            if self._living(key) is not None:
                return False
            self._keep(key, value, timeout)
            return True

    def set(self, key: str, value: object, timeout: int) -> bool:
        with self._server.lock:
            self._keep(key, value, timeout)
            return True

    def get(self, key: str, default: object = None) -> object:
        with self._server.lock:
            value = self._living(key)
            return default if value is None else value

    def delete(self, key: str) -> bool:
        with self._server.lock:
            return self._server.entries.pop(key, None) is not None

    def get_multi(self, keys: Iterable[str]) -> dict[str, object]:
        found = {key: self.get(key) for key in keys}
        return {key: value for key, value in found.items() if value is not None}

    def delete_multi(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.delete(key)

    def disconnect_all(self) -> None:
        pass

    def _living(self, key: str) -> object:
        value, end = self._server.entries.get(key, (None, 0))
        return value if time.time() < end else None

    def _keep(self, key: str, value: object, timeout: int) -> None:
        assert isinstance(value, str)
        relative = 0 < timeout <= _MONTH
        end = time.time() + timeout if relative else timeout or float("inf")
        self._server.entries[key] = (value, end)


class MemcachedDouble(BaseMemcachedCache):
    """Django's code for memcached on a client without a server."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params, SimpleNamespace(Client=_Client), KeyError)


class Memcached(PyMemcacheCache):
    """Django's cache on memcached, whose connections end with the thread that has made them."""

    def __del__(self) -> None:
        self.close()


class FailingCache(BaseMemcachedCache):
    """A cache whose server is down; its errors repeat how it was to be reached."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params, SimpleNamespace(Client=self._fail), KeyError)

    def close(self, **_: object) -> None:
        """Close nothing, since nothing could be opened."""

    def _fail(self, servers: list[str]) -> None:
        msg = f"memcached://user:canary@{servers[0]} refused the connection"
        raise ConnectionRefusedError(msg)


class FailsOnceLocked(MemcachedDouble):
    """A cache whose server goes down once a lock was taken."""

    def get(self, key: str, default: object = None, version: int | None = None) -> object:
        """Fail."""
        del key, default, version
        msg = "memcached://user:canary@host is gone"
        raise ConnectionResetError(msg)


class HidesErrors(MemcachedDouble):
    """A cache whose server is down, with a client that is set to hide that."""

    def add(self, *_: object, **__: object) -> bool:
        """Say that there is an entry already."""
        return False

    def get(self, *_: object, **__: object) -> None:
        """Say that there is none."""


class RepeatsCommands(MemcachedDouble):
    """A cache whose client loses the first answer and sends the command again."""

    def add(self, *arguments: Any, **more: Any) -> bool:  # noqa: ANN401 - as in the base
        """Add twice, and give the second answer."""
        super().add(*arguments, **more)
        return super().add(*arguments, **more)


class Counting(LocMemCache):
    """A cache that counts the commands that it gets, and notes their timeouts."""

    commands: ClassVar[Counter[str]] = Counter()
    timeouts: ClassVar[list[float | None]] = []

    def get_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        """Count, and get them."""
        self.commands["get_many"] += 1
        return super().get_many(keys, version)

    def delete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        """Count, and delete them."""
        self.commands["delete_many"] += 1
        super().delete_many(keys, version)

    def set(
        self, key: str, value: object, timeout: float | None = None, version: int | None = None
    ) -> None:
        """Note the timeout, and set."""
        self.timeouts.append(timeout)
        super().set(key, value, timeout, version)


# The place and name of the backend of django-redis, whatever its base.
DjangoRedis = type("RedisCache", (LocMemCache, BaseCache), {"__module__": "django_redis.cache"})
