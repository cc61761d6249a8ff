import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import freezegun
import pytest
import redis
from django.db import OperationalError, connection

from pytest_requestforge.contracts import TokenStorageContract
from requestforge.events import Event, StorageFailed
from requestforge.exceptions import TokenStorageException
from requestforge.instrumentation import observe, use_clock
from requestforge.interfaces import TokenStorageInterface
from requestforge.storage import DjangoCacheTokenStorage
from requestforge.tokens import TokenData

DjangoCache = Callable[[str], Any]

_KINDS = ["locmem", "file", "database", "redis", "memcached", "double"]
_MOMENT = datetime(2030, 1, 1, tzinfo=UTC)
_DAY = 86_400
_NOW = timedelta(0)
_LONG = timedelta(seconds=30)


class _StandingClock:
    """A clock that always shows the same moment."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        del seconds


@pytest.fixture
def events() -> Iterator[list[Event]]:
    """What observers are told during the test."""
    seen: list[Event] = []
    with observe(seen.append):
        yield seen


@pytest.mark.parametrize("kind", _KINDS)
class TestEachBackend(TokenStorageContract):
    @pytest.fixture
    def storage(self, kind: str, django_cache: DjangoCache) -> TokenStorageInterface:
        """A storage in an empty cache of that kind."""
        django_cache(kind)
        return DjangoCacheTokenStorage()


class TestLaziness:
    def test_imports_django_at_first_use(self) -> None:
        """A storage is made without Django being imported or set up."""
        code = (
            "import sys\n"
            "from requestforge.storage import DjangoCacheTokenStorage\n"
            "DjangoCacheTokenStorage('sessions', key_prefix='auth')\n"
            "sys.exit('django' in sys.modules)\n"
        )

        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    @pytest.mark.parametrize(
        "use",
        [
            pytest.param(lambda s: s.get("app"), id="get"),
            pytest.param(lambda s: s.set("app", TokenData("app")), id="set"),
            pytest.param(lambda s: s.delete("app"), id="delete"),
            pytest.param(lambda s: s.exists("app"), id="exists"),
            pytest.param(lambda s: s.get_many(["app"]), id="get_many"),
            pytest.param(lambda s: s.delete_many(["app"]), id="delete_many"),
            pytest.param(lambda s: s.lock("app", _LONG, _NOW), id="lock"),
        ],
    )
    def test_tells_how_to_install_django(
        self, monkeypatch: pytest.MonkeyPatch, use: Callable[[TokenStorageInterface], object]
    ) -> None:
        """Without Django the first use says which extra to install."""
        monkeypatch.setitem(sys.modules, "django.core.cache", None)
        storage = DjangoCacheTokenStorage()

        with pytest.raises(ImportError, match=r"pip install 'requestforge\[django\]'"):
            use(storage)


class TestRecords:
    def test_are_json_text(self, django_cache: DjangoCache) -> None:
        """The cache holds JSON text under prefix and key, whatever pickles it on its way."""
        cache = django_cache("locmem")
        token = TokenData("secret", scope="read")

        DjangoCacheTokenStorage().set("app:user", token)

        record = cache.get("token:app:user")
        assert isinstance(record, str)
        assert TokenData.from_dict(json.loads(record)) == token

    def test_go_to_the_named_cache(self, django_cache: DjangoCache) -> None:
        """Alias and prefix say where tokens go."""
        cache = django_cache("locmem")
        storage = DjangoCacheTokenStorage(cache_alias="default", key_prefix="auth_pipeline")

        storage.set("app:user", TokenData("secret"))

        assert cache.has_key("auth_pipeline:app:user")
        assert repr(storage) == (
            "DjangoCacheTokenStorage(cache_alias='default', key_prefix='auth_pipeline')"
        )

    @pytest.mark.parametrize("form", [dict, json.dumps, lambda d: json.dumps(d).encode()])
    def test_of_an_earlier_release_are_read(
        self, django_cache: DjangoCache, form: Callable[[dict[str, object]], object]
    ) -> None:
        """The six fields of release 1.0.0 make a token, as a dict or as text."""
        fields = {
            "access_token": "old",
            "token_type": "Bearer",
            "expires_at": "2030-01-01T12:00:00",
            "refresh_token": None,
            "scope": "read",
            "extra": {"a": 1},
        }
        django_cache("locmem").set("token:app:user", form(fields))

        assert DjangoCacheTokenStorage().get("app:user") == TokenData(
            "old",
            expires_at=datetime(2030, 1, 1, 12),
            scope="read",
            extra={"a": 1},
        )

    @pytest.mark.parametrize(
        "record",
        [
            pytest.param("no JSON", id="text"),
            pytest.param("[" * 100_000, id="deep"),
            pytest.param('["access_token"]', id="list"),
            pytest.param('{"access_token": 5}', id="malformed"),
            pytest.param(b"\xff", id="bytes"),
            pytest.param(5, id="number"),
            pytest.param(object, id="foreign"),
        ],
    )
    def test_unreadable_ones_are_deleted(
        self, django_cache: DjangoCache, events: list[Event], record: object
    ) -> None:
        """What is no token counts as none, goes, and is told of; the other tokens are found."""
        cache = django_cache("locmem")
        storage = DjangoCacheTokenStorage()
        storage.set("app:device", TokenData("kept"))

        cache.set("token:app:user", record)
        assert storage.get("app:user") is None
        assert not storage.exists("app:user")

        cache.set("token:app:user", record)
        assert storage.get_many(["app:user", "app:device"]) == {"app:device": TokenData("kept")}
        assert not storage.exists("app:user")

        assert [(type(e), e.step, e.operation) for e in events] == [
            (StorageFailed, "app:user", "read")
        ] * 2

    def test_undecodable_ones_are_deleted(
        self, django_cache: DjangoCache, redis_url: str, events: list[Event]
    ) -> None:
        """A value that Django cannot unpickle counts as none, too, and hides no other token."""
        cache = django_cache("redis")
        storage = DjangoCacheTokenStorage()
        storage.set("app:device", TokenData("kept"))
        with redis.Redis.from_url(redis_url) as server:
            server.set(cache.make_key("token:app:user"), b"neither pickle nor number")
            server.set(cache.make_key("token:app:app"), b"as little")

        assert storage.get("app:app") is None
        assert storage.get_many(["app:user", "app:device"]) == {"app:device": TokenData("kept")}

        assert not storage.exists("app:app")
        assert not storage.exists("app:user")
        assert [event.step for event in events] == ["app:app", "app:user"]


class TestKeys:
    @pytest.mark.parametrize("kind", _KINDS)
    def test_that_look_hashed_collide_with_none(
        self, django_cache: DjangoCache, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        """A key written as another's hashed form is still another key."""
        cache = django_cache(kind)
        used: list[str] = []
        make_key = type(cache).make_key

        def note(self: object, key: str, version: int | None = None) -> str:
            used.append(key)
            return make_key(self, key, version)

        monkeypatch.setattr(type(cache), "make_key", note)
        storage = DjangoCacheTokenStorage()
        storage.set("two words", TokenData("one"))
        lookalike = used[-1].removeprefix("token:")
        assert lookalike != "two words"

        storage.set(lookalike, TokenData("two"))

        assert storage.get("two words") == TokenData("one")
        assert storage.get(lookalike) == TokenData("two")

    def test_with_half_a_character(self, django_cache: DjangoCache) -> None:
        """A key that no encoding has a form for is hashed."""
        django_cache("file")
        storage = DjangoCacheTokenStorage()

        storage.set("app:\ud800", TokenData("half"))

        assert storage.get("app:\ud800") == TokenData("half")


class TestCommands:
    def test_batches_are_one_command(self, django_cache: DjangoCache, redis_url: str) -> None:
        """Reading or deleting many tokens is one round trip."""
        django_cache("redis")
        storage = DjangoCacheTokenStorage()
        keys = [f"app:{number}" for number in range(10)]
        for key in keys:
            storage.set(key, TokenData(key))
        with redis.Redis.from_url(redis_url) as server:
            server.config_resetstat()

            assert len(storage.get_many(keys)) == 10
            storage.delete_many(keys)

            counts = server.info("commandstats")
        assert counts["cmdstat_mget"]["calls"] == 1
        assert counts["cmdstat_del"]["calls"] == 1
        assert "cmdstat_get" not in counts


class TestTimeouts:
    @pytest.mark.parametrize(
        ("life", "refresh_token", "timeout"),
        [
            pytest.param(timedelta(hours=1), None, 3600, id="seconds"),
            pytest.param(timedelta(seconds=60, microseconds=1), None, 61, id="rounded-up"),
            pytest.param(timedelta(microseconds=1), None, 1, id="at-least-one"),
            pytest.param(timedelta(0), None, 1, id="ends-now"),
            pytest.param(timedelta(days=-1), None, 1, id="expired"),
            pytest.param(timedelta(hours=1), "again", 3600 + 30 * _DAY, id="refresh"),
            pytest.param(timedelta(days=-1), "again", 1 + 30 * _DAY, id="expired-refresh"),
            pytest.param(None, None, None, id="endless"),
            pytest.param(None, "again", None, id="endless-refresh"),
            pytest.param(timedelta(days=4000), None, 3650 * _DAY, id="beyond-ten-years"),
        ],
    )
    def test_follow_the_remaining_life(
        self,
        django_cache: DjangoCache,
        life: timedelta | None,
        refresh_token: str | None,
        timeout: int | None,
    ) -> None:
        """The cache keeps a token to its expiry, and 30 days longer if it can be refreshed."""
        cache = django_cache("cache_backends.Counting")
        token = TokenData(
            "short",
            expires_at=None if life is None else _MOMENT + life,
            issued_at=_MOMENT - timedelta(days=5),
            refresh_token=refresh_token,
        )

        with use_clock(_StandingClock(_MOMENT)):
            DjangoCacheTokenStorage().set("app", token)

        assert cache.timeouts.pop() == timeout

    def test_reach_the_server(self, django_cache: DjangoCache, redis_url: str) -> None:
        """Redis ends the record by itself, or never."""
        cache = django_cache("redis")
        storage = DjangoCacheTokenStorage()
        with use_clock(_StandingClock(_MOMENT)):
            storage.set("short", TokenData("short", expires_at=_MOMENT + timedelta(hours=1)))
            storage.set("endless", TokenData("endless"))

        with redis.Redis.from_url(redis_url) as server:
            assert 3590 < server.ttl(cache.make_key("token:short")) <= 3600
            assert server.ttl(cache.make_key("token:endless")) == -1

    @pytest.mark.parametrize("kind", _KINDS)
    def test_agree_with_frozen_time(self, django_cache: DjangoCache, kind: str) -> None:
        """Under freezegun a token is kept as long as it lives."""
        django_cache(kind)
        storage = DjangoCacheTokenStorage()
        with freezegun.freeze_time("2030-01-01T00:00:00Z") as frozen:
            storage.set("app", TokenData("living", expires_at=_MOMENT + timedelta(hours=1)))
            frozen.tick(timedelta(minutes=59))

            assert storage.get("app") is not None

    @pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/Los_Angeles"])
    def test_read_a_naive_expiry_as_local(
        self, django_cache: DjangoCache, monkeypatch: pytest.MonkeyPatch, zone: str
    ) -> None:
        """A naive expiry an hour ahead in local time is an hour ahead."""
        cache = django_cache("cache_backends.Counting")
        with monkeypatch.context() as local:
            local.setenv("TZ", zone)
            time.tzset()
            expires_at = datetime.fromtimestamp(_MOMENT.timestamp()) + timedelta(hours=1)  # noqa: DTZ006
            with use_clock(_StandingClock(_MOMENT)):
                DjangoCacheTokenStorage().set("app", TokenData("local", expires_at=expires_at))
        time.tzset()

        assert cache.timeouts.pop() == 3600


class TestFailures:
    @pytest.mark.parametrize(
        ("use", "text"),
        [
            pytest.param(lambda s: s.get("app"), "failed to read app", id="get"),
            pytest.param(
                lambda s: s.set("app", TokenData("secret")), "failed to write app", id="set"
            ),
            pytest.param(lambda s: s.delete("app"), "failed to delete app", id="delete"),
            pytest.param(lambda s: s.exists("app"), "failed to read app", id="exists"),
            pytest.param(
                lambda s: s.get_many(["app", "b", "c"]), "failed to read app and 2", id="get_many"
            ),
            pytest.param(
                lambda s: s.delete_many(["app", "b"]),
                "failed to delete app and 1",
                id="delete_many",
            ),
            pytest.param(
                lambda s: s.lock("app", _LONG, _NOW).__enter__(), "failed to lock app", id="lock"
            ),
        ],
    )
    def test_of_the_server_are_told(
        self,
        django_cache: DjangoCache,
        use: Callable[[DjangoCacheTokenStorage], object],
        text: str,
    ) -> None:
        """A cache that is down raises our exception, which names cache and key and no secret."""
        django_cache("cache_backends.FailingCache")

        with pytest.raises(TokenStorageException, match=text) as caught:
            use(DjangoCacheTokenStorage())

        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
        assert "'default'" in str(caught.value)
        assert "canary" not in str(caught.value)

    def test_of_a_token_are_told(self, django_cache: DjangoCache) -> None:
        """A token that has no JSON form is not stored."""
        django_cache("locmem")
        storage = DjangoCacheTokenStorage()

        with pytest.raises(TokenStorageException, match="failed to write app"):
            storage.set("app", TokenData("secret", extra={"unfit": object()}))

        assert not storage.exists("app")


def test_a_write_that_the_database_loses_is_an_error(django_cache: Callable[[str], Any]) -> None:
    """Django's database cache swallows its errors; the storage notices what is missing."""
    cache = django_cache("database")
    storage = DjangoCacheTokenStorage()
    storage.set("app", TokenData("first"))
    storage.set("app", TokenData("second"))
    with connection.execute_wrapper(refuse_writes), pytest.raises(TokenStorageException):
        storage.set("app", TokenData("third"))
    assert storage.get("app") == TokenData("second")
    assert cache.get("token:app") is not None


def refuse_writes(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:  # noqa: ANN401
    """What a database does that is locked, full or read-only."""
    if sql.lstrip().upper().startswith(("INSERT", "UPDATE")):
        raise OperationalError("database is locked")
    return execute(sql, *rest)
