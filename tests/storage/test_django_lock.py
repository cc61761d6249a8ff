import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest

from requestforge.exceptions import TokenStorageException
from requestforge.storage import DjangoCacheTokenStorage
from requestforge.tokens import TokenData

DjangoCache = Callable[[str], Any]

_NOW = timedelta(0)
_LONG = timedelta(seconds=30)


class TestLock:
    @pytest.mark.parametrize(
        ("kind", "locks"),
        [
            ("locmem", False),
            ("file", False),
            ("dummy", False),
            ("database", True),
            ("redis", True),
            ("memcached", True),
            ("double", True),
            ("cache_backends.DjangoRedis", True),
        ],
    )
    def test_needs_a_shared_atomic_add(
        self, django_cache: DjangoCache, kind: str, locks: bool
    ) -> None:
        """Caches lock if their `add` is atomic for all hosts."""
        django_cache(kind)

        lock = DjangoCacheTokenStorage().lock("app", _LONG, _NOW)

        assert (lock is not None) is locks

    @pytest.mark.parametrize("kind", ["database", "redis", "memcached", "double"])
    def test_passes_on(self, django_cache: DjangoCache, kind: str) -> None:
        """One who waits gets the lock as soon as its holder is done."""
        django_cache(kind)
        waiting, done = threading.Event(), threading.Event()
        got: list[bool] = []

        def wait() -> None:
            waiting.set()
            with DjangoCacheTokenStorage().lock("app", _LONG, _LONG) as acquired:
                got.append(acquired)
                done.set()

        with DjangoCacheTokenStorage().lock("app", _LONG, _NOW):
            thread = threading.Thread(target=wait)
            thread.start()
            waiting.wait()
            assert not done.wait(0.1)
        thread.join()

        assert got == [True]

    def test_has_a_key_of_its_own(self, django_cache: DjangoCache) -> None:
        """No token has the key of a lock, so a step called `lock` is safe."""
        django_cache("memcached")
        storage = DjangoCacheTokenStorage()
        for key in ("app#lock", "#lock:app", "lock:app"):
            storage.set(key, TokenData(key))

        with storage.lock("app", _LONG, _NOW) as acquired:
            assert acquired
            assert not storage.exists("app")

    @pytest.mark.parametrize(
        ("kind", "timeout"), [("redis", 30), ("memcached", 31), ("database", 31)]
    )
    def test_lasts_for_its_lease(
        self,
        django_cache: DjangoCache,
        monkeypatch: pytest.MonkeyPatch,
        kind: str,
        timeout: int,
    ) -> None:
        """A lease is rounded up, by a second more where a backend may end it that much early."""
        backend = type(django_cache(kind))
        timeouts: list[int] = []
        add = backend.add

        def note(cache: object, key: str, value: str, timeout: int) -> bool:
            timeouts.append(timeout)
            return add(cache, key, value, timeout)

        monkeypatch.setattr(backend, "add", note)
        with DjangoCacheTokenStorage().lock("app", timedelta(seconds=29.5), _NOW) as acquired:
            assert acquired

        assert timeouts == [timeout]

    def test_of_another_is_not_released(self, django_cache: DjangoCache) -> None:
        """One whose lock was swept away in a clearing does not release the next holder's."""
        cache = django_cache("database")
        storage = DjangoCacheTokenStorage()

        with ExitStack() as block:
            block.enter_context(storage.lock("app", _LONG, _NOW))
            cache.clear()
            with storage.lock("app", _LONG, _NOW):
                block.close()
                with storage.lock("app", _LONG, _NOW) as acquired:
                    assert not acquired

    def test_near_its_end_is_left_to_end(self, django_cache: DjangoCache) -> None:
        """A lock whose lease is as good as over is not deleted: it may be another's by then."""
        django_cache("memcached")
        storage = DjangoCacheTokenStorage()

        with storage.lock("app", timedelta(microseconds=1), _NOW) as acquired:
            assert acquired

        with storage.lock("app", _LONG, _NOW) as acquired:
            assert not acquired

    def test_of_a_repeated_command_is_ours(self, django_cache: DjangoCache) -> None:
        """A client that sends `add` twice, its first answer lost, still holds the lock."""
        django_cache("cache_backends.RepeatsCommands")

        with DjangoCacheTokenStorage().lock("app", _LONG, _NOW) as acquired:
            assert acquired

    def test_of_a_server_that_hides_its_failure(self, django_cache: DjangoCache) -> None:
        """A cache that refuses a lock that nobody holds fails long before the wait is over."""
        django_cache("cache_backends.HidesErrors")

        with (
            pytest.raises(TokenStorageException, match="a lock that nobody holds"),
            DjangoCacheTokenStorage().lock("app", _LONG, _LONG),
        ):
            pass

    def test_that_cannot_be_released(
        self, django_cache: DjangoCache, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A failure to release is logged; the lock ends with its lease all the same."""
        django_cache("cache_backends.FailsOnceLocked")

        with ExitStack() as block, caplog.at_level(logging.WARNING):
            assert block.enter_context(DjangoCacheTokenStorage().lock("app", _LONG, _NOW))
            block.close()

        assert "ends with its lease" in caplog.text
        assert "canary" not in caplog.text
