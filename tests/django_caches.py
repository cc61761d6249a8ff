"""Django, and caches of each kind for it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest


@pytest.fixture(scope="session")
def _django(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Django is configured, with a database in a file that threads can share."""
    import django  # noqa: PLC0415 - most tests do without it
    from django.conf import settings  # noqa: PLC0415
    from django.db.backends.signals import connection_created  # noqa: PLC0415

    opened = []

    def note(connection: Any, **_: object) -> None:  # noqa: ANN401 - has no type of its own
        opened.append(connection)

    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": tmp_path_factory.mktemp("django") / "db.sqlite3",
                # A write that SQLite refuses is lost in silence by Django's database cache.
                "OPTIONS": {"transaction_mode": "IMMEDIATE"},
            }
        },
        USE_TZ=True,
    )
    django.setup()
    connection_created.connect(note)
    yield
    for connection in opened:  # each thread had one
        connection.inc_thread_sharing()
        connection.close()


@pytest.fixture
def django_cache(
    _django: None, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[str], Any]]:
    """Makes an empty cache of the named kind the default one, and gives it, until the test ends.

    Kinds: "locmem", "file", "database", "redis", "memcached", "double" (Django's code for memcached
    on a double of the client), "dummy", or the path of a backend.
    """
    from django.core.cache import caches  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415
    from django.test import override_settings  # noqa: PLC0415

    def use(kind: str) -> Any:  # noqa: ANN401 - the cache has no type that all releases share
        setting = {"LOCATION": uuid4().hex, **_KINDS.get(kind, {"BACKEND": kind})}
        if kind == "file":
            setting["LOCATION"] = str(tmp_path / "cache")
        if kind == "redis":
            setting["LOCATION"] = request.getfixturevalue("redis_url")
            setting["KEY_PREFIX"] = uuid4().hex  # other tests use the server, too
        blocks.enter_context(override_settings(CACHES={"default": setting}))
        if kind == "memcached":
            setting["LOCATION"] = request.getfixturevalue("memcached").address
            setting["KEY_PREFIX"] = uuid4().hex
        if kind == "database":
            call_command("createcachetable")
            caches["default"].clear()
        return caches["default"]

    with ExitStack() as blocks:
        yield use


_BUILT_IN = "django.core.cache.backends"
_KINDS = {
    "locmem": {"BACKEND": f"{_BUILT_IN}.locmem.LocMemCache"},
    "file": {"BACKEND": f"{_BUILT_IN}.filebased.FileBasedCache"},
    "database": {"BACKEND": f"{_BUILT_IN}.db.DatabaseCache", "LOCATION": "tokens"},
    "redis": {"BACKEND": f"{_BUILT_IN}.redis.RedisCache"},
    "memcached": {"BACKEND": "cache_backends.Memcached"},
    "double": {"BACKEND": "cache_backends.MemcachedDouble"},
    "dummy": {"BACKEND": f"{_BUILT_IN}.dummy.DummyCache"},
}
