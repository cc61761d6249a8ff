import asyncio
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import freezegun
import pytest
import redis
import redis.asyncio
import trustme
from redis.crc import key_slot

from canary import assert_clean
from doubles import Clock, CountingStep, faults, recorded
from pytest_requestforge.contracts import TokenStorageContract
from redis_servers import RedisServer, free_port
from requestforge import RedisTokenStorage, TokenFetchPipeline
from requestforge.exceptions import TokenStorageException
from requestforge.instrumentation import use_clock
from requestforge.interfaces import TokenStorageInterface
from requestforge.tokens import TokenData

PASSWORD = "canary-password/with-a-slash"
ACCESS_TOKEN = "canary-access-token"

Servers = Callable[..., RedisServer]


_DAY = 86_400


@pytest.fixture
def prefix() -> str:
    """A key prefix of the test's own."""
    return uuid4().hex


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    """A client that gives text."""
    return redis.Redis.from_url(redis_url, decode_responses=True)


@pytest.fixture
def storage(redis_url: str, prefix: str) -> RedisTokenStorage:
    """An empty storage."""
    return RedisTokenStorage(url=redis_url, key_prefix=prefix)


class TestOfUrl(TokenStorageContract):
    @pytest.fixture
    def storage(self, redis_url: str, prefix: str) -> TokenStorageInterface:
        """A storage that makes its client."""
        return RedisTokenStorage(url=redis_url, key_prefix=prefix)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("decodes", [False, True], ids=["bytes", "text"])
class TestOfClient(TokenStorageContract):
    @pytest.fixture
    def storage(
        self, redis_url: str, prefix: str, protocol: int, decodes: bool
    ) -> TokenStorageInterface:
        """A storage on a client with that protocol and decoding."""
        client = redis.Redis.from_url(redis_url, protocol=protocol, decode_responses=decodes)
        return RedisTokenStorage(client, key_prefix=prefix)


class TestOnCluster(TokenStorageContract):
    @pytest.fixture
    def storage(self, redis_cluster_port: int, prefix: str) -> Iterator[TokenStorageInterface]:
        """A storage on a cluster."""
        with redis.RedisCluster("127.0.0.1", redis_cluster_port) as client:
            yield RedisTokenStorage(client, key_prefix=prefix)


class TestAtFrozenTime(TokenStorageContract):
    @pytest.fixture
    def storage(self, redis_url: str, prefix: str) -> Iterator[TokenStorageInterface]:
        """A storage in a process whose clocks stand still in 2030."""
        with freezegun.freeze_time("2030-01-01T12:00:00Z"):
            yield RedisTokenStorage(url=redis_url, key_prefix=prefix)


class TestWithStoppedClock(TokenStorageContract):
    @pytest.fixture
    def storage(self, redis_url: str, prefix: str) -> Iterator[TokenStorageInterface]:
        """A storage in a process whose active clock stands still in 2030."""
        with use_clock(Clock()):
            yield RedisTokenStorage(url=redis_url, key_prefix=prefix)


class TestConstruction:
    def test_imports_redis_when_one_is_made(self) -> None:
        """Importing the name needs no extra, and loads none."""
        code = (
            "import sys\n"
            "from requestforge import RedisTokenStorage\n"
            "sys.exit('redis' in sys.modules)\n"
        )

        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_tells_how_to_install_redis(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without redis-py the constructor says which extra to install."""
        monkeypatch.setitem(sys.modules, "redis", None)

        with pytest.raises(ImportError, match=r"pip install 'requestforge\[redis\]'"):
            RedisTokenStorage(url="redis://localhost")

    @pytest.mark.parametrize("with_client", [True, False], ids=["both", "neither"])
    def test_takes_one_of_client_and_url(self, with_client: bool) -> None:
        """A client and a URL, or neither, are refused."""
        given = {"client": redis.Redis(), "url": "redis://localhost"} if with_client else {}

        with pytest.raises(ValueError, match="exactly one"):
            RedisTokenStorage(**given)

    @pytest.mark.parametrize(
        "url",
        [
            pytest.param(f"redis://:{PASSWORD}@localhost:6379", id="not-encoded"),
            pytest.param(f"http://:{PASSWORD}@localhost", id="other-scheme"),
            pytest.param("", id="empty"),
        ],
    )
    def test_refuses_other_urls(self, url: str) -> None:
        """A URL that is none of Redis is refused, without a word of it."""
        with pytest.raises(ValueError, match="url must be redis://") as caught:
            RedisTokenStorage(url=url)

        assert_clean(caught.value)

    def test_refuses_a_client_for_asyncio(self) -> None:
        """A client whose commands are coroutines cannot be used."""
        client = redis.asyncio.Redis()

        with pytest.raises(TypeError, match="asyncio"):
            RedisTokenStorage(client)

        asyncio.run(client.aclose())

    @pytest.mark.parametrize(
        ("given", "error"),
        [
            pytest.param({"key_prefix": "}x"}, ValueError, id="brace"),
            pytest.param({"refresh_ttl": 60}, TypeError, id="seconds"),
            pytest.param({"refresh_ttl": timedelta(-1)}, ValueError, id="negative"),
        ],
    )
    def test_checks_its_arguments(self, given: dict[str, Any], error: type[Exception]) -> None:
        """Arguments of no use are refused by their name."""
        with pytest.raises(error, match=next(iter(given))):
            RedisTokenStorage(url="redis://localhost", **given)

    def test_shows_its_prefix_alone(self) -> None:
        """Its repr names the key prefix, and no URL."""
        storage = RedisTokenStorage(url="redis://:canary-password@localhost", key_prefix="auth")

        assert repr(storage) == "RedisTokenStorage(key_prefix='auth')"
        assert_clean(storage)

    def test_is_not_pickled(self) -> None:
        """A storage with connections, and a password, does not travel."""
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(RedisTokenStorage(url="redis://localhost"))

    def test_closes_what_it_has_opened(self, own_redis: RedisServer) -> None:
        """Closing ends the connections to a URL, and the storage stays usable."""
        storage = RedisTokenStorage(url=own_redis.url)
        storage.set("app", TokenData("app"))
        watching = own_redis.client()
        assert len(watching.client_list()) == 2

        storage.close()

        assert len(watching.client_list()) == 1
        assert storage.exists("app")

    def test_leaves_the_callers_client_open(self, own_redis: RedisServer) -> None:
        """Closing does nothing to a client that was given."""
        client = own_redis.client()
        storage = RedisTokenStorage(client)
        storage.set("app", TokenData("app"))

        storage.close()

        assert len(client.client_list()) == 1

    def test_reaches_a_server_by_tls(
        self, redis_servers: Servers, authority: trustme.CA, bundle: str, tmp_path: Path
    ) -> None:
        """A rediss URL speaks TLS, and its options go to redis-py."""
        port, files = free_port(), (tmp_path / "key.pem", tmp_path / "certificate.pem")
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(str(files[0]))
        certificate.cert_chain_pems[0].write_to_path(str(files[1]))
        options = ("--tls-port", str(port), "--tls-auth-clients", "no")
        keys = ("--tls-key-file", str(files[0]), "--tls-cert-file", str(files[1]))
        redis_servers(*options, *keys, "--tls-ca-cert-file", bundle)
        storage = RedisTokenStorage(url=f"rediss://127.0.0.1:{port}?ssl_ca_certs={bundle}")

        storage.set("app", TokenData("app"))

        assert storage.get("app") == TokenData("app")
        with pytest.raises(TokenStorageException, match="SSL"):
            RedisTokenStorage(url=f"rediss://127.0.0.1:{port}").get("app")


class TestKeys:
    @pytest.mark.parametrize(
        ("pipeline_prefix", "start"),
        [
            pytest.param("shop", "{%s:shop}:", id="prefix"),
            pytest.param("shop:eu", "{%s:shop}:eu:", id="colons"),
            pytest.param("shop@caf%C3%A9", "{%s:shop@caf%%C3%%A9}:", id="tenant"),
            pytest.param("", "{%s:}", id="none"),
            pytest.param("sh{op}", "{%s:sh{op}}:", id="braces"),
        ],
    )
    def test_of_a_pipeline_share_a_slot(
        self,
        storage: RedisTokenStorage,
        client: redis.Redis,
        prefix: str,
        pipeline_prefix: str,
        start: str,
    ) -> None:
        """Tokens, epochs and locks of a pipeline have one hash tag, so they are in one slot."""
        steps = [CountingStep("device"), CountingStep("user", ["device"])]
        names: set[str] = set()
        steps[1].during = lambda: names.update(client.keys(f"*{prefix}*"))
        pipeline = TokenFetchPipeline(steps, storage, pipeline_prefix)
        pipeline.invalidate_all()
        pipeline.execute()
        names.update(client.keys(f"*{prefix}*"))

        start %= prefix
        records = {f"{start}{name}" for name in ("device", "user", "device#epoch", "user#epoch")}
        assert names == records | {f"lock:{start}user"}
        assert len({key_slot(name.encode()) for name in names}) == 1

    def test_of_tenants_are_spread(
        self, storage: RedisTokenStorage, client: redis.Redis, prefix: str
    ) -> None:
        """Tenants, as pipelines with other prefixes, have slots of their own."""
        for number in range(20):
            storage.set(f"shop@{number}:user", TokenData("secret"))

        assert len({key_slot(name.encode()) for name in client.keys(f"*{prefix}*")}) > 10

    def test_keep_storages_apart(self, redis_url: str, prefix: str) -> None:
        """Storages with other key prefixes do not see each other's tokens."""
        first = RedisTokenStorage(url=redis_url, key_prefix=prefix)
        second = RedisTokenStorage(url=redis_url, key_prefix=f"{prefix}-2")

        first.set("app", TokenData("first"))

        assert not second.exists("app")

    def test_of_locks_are_no_tokens(self, storage: RedisTokenStorage) -> None:
        """No token has the key of a lock, so a step called `lock` is safe."""
        for key in ("lock:app", "lock:{app}", "lock"):
            storage.set(key, TokenData(key))

        with storage.lock("app", timedelta(seconds=30), timedelta(0)) as acquired:
            assert acquired
            assert not storage.exists("app")

    def test_on_a_cluster_serve_a_pipeline(self, redis_cluster_port: int, prefix: str) -> None:
        """A pipeline works on a cluster, and reads all its steps in one command."""
        with redis.RedisCluster("127.0.0.1", redis_cluster_port) as client:
            steps = [CountingStep("device"), CountingStep("user", ["device"])]
            storage = RedisTokenStorage(client, key_prefix=prefix)
            pipeline = TokenFetchPipeline(steps, storage, "shop")
            pipeline.execute()
            pipeline.invalidate_step("device")

            assert pipeline.execute().access_token == "user-2"

            client.config_resetstat(target_nodes="all")
            assert pipeline.execute().access_token == "user-2"
            assert client.info("commandstats")["cmdstat_mget"]["calls"] == 1


class TestRecords:
    def test_are_json_text(
        self, storage: RedisTokenStorage, client: redis.Redis, prefix: str
    ) -> None:
        """Redis holds the JSON text of a token."""
        token = TokenData("secret", scope="read")

        storage.set("shop:user", token)

        record = client.get(f"{{{prefix}:shop}}:user")
        assert TokenData.from_dict(json.loads(record)) == token

    def test_of_an_earlier_release_are_read(
        self, storage: RedisTokenStorage, client: redis.Redis, prefix: str
    ) -> None:
        """The six fields of release 1.0.0 make a token, which has no generation."""
        fields = {
            "access_token": "old",
            "token_type": "Bearer",
            "expires_at": "2030-01-01T12:00:00",
            "refresh_token": None,
            "scope": "read",
            "extra": {"a": 1},
        }
        client.set(f"{{{prefix}:}}user", json.dumps(fields))

        assert storage.get("user") == TokenData(
            "old", expires_at=datetime(2030, 1, 1, 12), scope="read", extra={"a": 1}
        )
        assert storage.compare_and_set("user", TokenData("new"), None)
        assert storage.compare_and_delete("user", None)

    @pytest.mark.parametrize(
        "record",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"no JSON", id="text"),
            pytest.param(b"\x80\xff\xfe", id="bytes"),
            pytest.param(b"[" * 100_000, id="deep"),
            pytest.param(b'["access_token"]', id="list"),
            pytest.param(b'{"access_token": 5}', id="malformed"),
            pytest.param(b'{"access_token": "a", "expires_at": "soon"}', id="no-date"),
        ],
    )
    @pytest.mark.parametrize("decodes", [False, True], ids=["bytes", "text"])
    def test_that_cannot_be_read_are_misses(
        self, redis_url: str, prefix: str, record: bytes, decodes: bool
    ) -> None:
        """What is no token counts as none, is deleted and told of; the others are read."""
        client = redis.Redis.from_url(redis_url, decode_responses=decodes)
        storage = RedisTokenStorage(client, key_prefix=prefix)
        storage.set("shop:app", TokenData("good"))
        client.set(f"{{{prefix}:shop}}:user", record)

        with recorded() as events:
            assert storage.get_many(["shop:user", "shop:app"]) == {"shop:app": TokenData("good")}

        assert faults(events) == [("read", "shop:user")]
        assert not storage.exists("shop:user")

    def test_that_cannot_be_read_are_replaced(
        self, storage: RedisTokenStorage, client: redis.Redis, prefix: str
    ) -> None:
        """A comparison takes what is no token for none."""
        client.set(f"{{{prefix}:}}user", "no JSON")

        assert not storage.compare_and_delete("user", None)
        assert storage.compare_and_set("user", TokenData("new"), None)
        assert storage.get("user") == TokenData("new")

    def test_of_another_type_are_misses(
        self, storage: RedisTokenStorage, client: redis.Redis, prefix: str
    ) -> None:
        """A list of somebody else's under a token's name is no token, and is replaced."""
        client.rpush(f"{{{prefix}:}}user", "a")

        assert storage.get("user") is None
        assert storage.compare_and_set("user", TokenData("new"), None)
        assert storage.get("user") == TokenData("new")

    def test_that_cannot_be_deleted_stay_misses(self, own_redis: RedisServer) -> None:
        """What is no token is none on a replica, too, which deletes nothing."""
        client = own_redis.client()
        client.set("{token:}user", "no JSON")
        client.replicaof("127.0.0.1", free_port())
        storage = RedisTokenStorage(url=own_redis.url)

        assert storage.get("user") is None
        assert storage.get("user") is None
        assert storage.exists("user")

    def test_need_a_json_form(self, storage: RedisTokenStorage) -> None:
        """A token that has none is not stored."""
        with pytest.raises(TokenStorageException, match="user has no JSON form"):
            storage.set("user", TokenData(ACCESS_TOKEN, extra={"unfit": object()}))

        assert not storage.exists("user")

    def test_are_read_anew_each_time(
        self, storage: RedisTokenStorage, redis_url: str, prefix: str
    ) -> None:
        """A change by another storage is seen by the next read, of whatever keys."""
        elsewhere = RedisTokenStorage(url=redis_url, key_prefix=prefix)
        storage.set("app", TokenData("first"))
        assert storage.get_many(["app", "user"]) == {"app": TokenData("first")}

        elsewhere.set("user", TokenData("second"))
        assert storage.get_many(["app", "user"]).keys() == {"app", "user"}
        elsewhere.delete("app")
        assert storage.get_many(["app", "user"]) == {"user": TokenData("second")}

    def test_given_belong_to_the_caller(self, storage: RedisTokenStorage) -> None:
        """What a caller does to a reading changes no later one."""
        storage.set("app", TokenData("first"))
        storage.get_many(["app"]).clear()
        storage.get_many(["app"]).clear()

        assert storage.get_many(["app"]) == {"app": TokenData("first")}

    def test_of_many_tenants_are_read(self, storage: RedisTokenStorage) -> None:
        """Reading for more callers than it remembers, it still reads what is there."""
        storage.set("shop@7:user", TokenData("seventh"))
        found = [storage.get(f"shop@{tenant}:user") for tenant in [*range(1100), 7]]

        assert [place for place, token in enumerate(found) if token is not None] == [7, 1100]


class TestLifetimes:
    @pytest.mark.parametrize(
        ("fields", "seconds"),
        [
            pytest.param({}, -1, id="no-end"),
            pytest.param({"refresh_token": "next"}, -1, id="no-end-refresh"),
            pytest.param({"expires_at": timedelta(seconds=90.2)}, 91, id="rounded-up"),
            pytest.param({"expires_at": timedelta(seconds=90)}, 90, id="exact"),
            pytest.param({"expires_at": timedelta(hours=-1)}, 1, id="expired"),
            pytest.param(
                {"expires_at": timedelta(hours=1), "refresh_token": "next"},
                3600 + 30 * _DAY,
                id="refresh",
            ),
            pytest.param(
                {"expires_at": timedelta(hours=-1), "refresh_token": "next"},
                1 + 30 * _DAY,
                id="expired-refresh",
            ),
        ],
    )
    @pytest.mark.parametrize("write", ["set", "compare_and_set"])
    def test_follow_the_token(  # noqa: PLR0917 - fixtures
        self,
        storage: RedisTokenStorage,
        client: redis.Redis,
        prefix: str,
        fields: dict[str, Any],
        seconds: int,
        write: str,
    ) -> None:
        """Redis keeps a token for what is left of it by the clock here, wherever that stands."""
        with use_clock(Clock()) as clock:
            given = dict(fields)
            if "expires_at" in given:
                given["expires_at"] += clock.now()
            token = TokenData("secret", **given)
            if write == "set":
                storage.set("user", token)
            else:
                assert storage.compare_and_set("user", token, None)

        left = client.ttl(f"{{{prefix}:}}user")
        assert left in {seconds, seconds - 1} if seconds > 1 else left == seconds

    def test_of_refresh_tokens_are_set(
        self, redis_url: str, client: redis.Redis, prefix: str
    ) -> None:
        """`refresh_ttl` says how long a refresh token outlives its token."""
        storage = RedisTokenStorage(
            url=redis_url, key_prefix=prefix, refresh_ttl=timedelta(seconds=99.5)
        )

        storage.set(
            "user",
            TokenData("a", refresh_token="b", expires_at=datetime(2000, 1, 1, tzinfo=UTC)),
        )

        assert client.ttl(f"{{{prefix}:}}user") in {100, 101}

    def test_end(self, storage: RedisTokenStorage, client: redis.Redis, prefix: str) -> None:
        """A later token without an end lifts the limit that an earlier one had."""
        storage.set("user", TokenData("a", expires_at=datetime(2999, 1, 1, tzinfo=UTC)))
        storage.set("user", TokenData("b"))

        assert client.ttl(f"{{{prefix}:}}user") == -1


class TestCommands:
    def test_of_a_batch_are_one(self, own_redis: RedisServer) -> None:
        """A batched read, and a batched delete, are one command each; none for no keys."""
        storage = RedisTokenStorage(url=own_redis.url)
        keys = [f"shop:{number}" for number in range(10)] + ["other", "tenant@1:user"]
        for key in keys:
            storage.set(key, TokenData(key))
        own_redis.forget_commands()

        assert storage.get_many(keys).keys() == set(keys)
        assert storage.get_many([]) == {}
        storage.delete_many(keys)
        storage.delete_many([])

        assert own_redis.commands() == {"mget": 1, "del": 1, "config|resetstat": 1}

    def test_of_a_warm_pipeline_are_one(self, own_redis: RedisServer) -> None:
        """Ten cached steps, and their epochs, are read in one command."""
        steps = [CountingStep(f"step-{number}") for number in range(10)]
        pipeline = TokenFetchPipeline(steps, RedisTokenStorage(url=own_redis.url), "shop")
        pipeline.invalidate_all()
        pipeline.execute()
        own_redis.forget_commands()

        assert pipeline.execute().access_token == "step-9-1"

        assert own_redis.commands() == {"mget": 1, "config|resetstat": 1}


class Interfering:
    """A client that lets something happen before, or does twice, what it is asked for.

    Args:
        client: what does it.
        before: called before the first script.
        twice: whether each command is sent again, the first answer lost.
    """

    def __init__(
        self,
        client: redis.Redis,
        before: Callable[[], object] | None = None,
        *,
        twice: bool = False,
    ) -> None:
        self._client = client
        self._before = before
        self._twice = twice

    def execute_command(self, *command: str, **options: object) -> object:
        if self._before is not None and command[0] == "EVAL":
            before, self._before = self._before, None
            before()
        if self._twice:
            self._client.execute_command(*command, **options)
        return self._client.execute_command(*command, **options)

    def close(self) -> None:
        self._client.close()


class TestComparisons:
    @pytest.mark.parametrize("change", ["another", "none", "the same"])
    def test_see_a_change_in_the_last_moment(
        self, redis_url: str, storage: RedisTokenStorage, prefix: str, change: str
    ) -> None:
        """What is put in place between reading and writing is neither replaced nor deleted."""
        read = _token("read", "a")
        other = {"another": _token("another", "b"), "none": None, "the same": _token("same", "a")}

        def act() -> None:
            if other[change] is None:
                storage.delete("user")
            else:
                storage.set("user", other[change])

        done = []
        for use in (
            lambda s: s.compare_and_set("user", _token("new", "c"), "a"),
            lambda s: s.compare_and_delete("user", "a"),
        ):
            storage.set("user", read)
            client = Interfering(redis.Redis.from_url(redis_url), act)
            done.append(use(RedisTokenStorage(client, key_prefix=prefix)))
            done.append(storage.get("user"))

        assert (
            done
            == {
                "another": [False, other["another"]] * 2,
                "none": [False, None] * 2,
                "the same": [True, _token("new", "c"), True, None],
            }[change]
        )

    def test_are_won_by_one(self, storage: RedisTokenStorage) -> None:
        """Of eight threads that replace the same token one succeeds."""
        storage.set("user", _token("old", "a"))

        def replace(number: int) -> bool:
            return storage.compare_and_set("user", _token(f"new {number}", f"b{number}"), "a")

        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(replace, range(8)))

        assert outcomes.count(True) == 1
        assert storage.get("user") == TokenData(f"new {outcomes.index(True)}")

    def test_survive_a_lost_answer(self, redis_url: str, prefix: str) -> None:
        """A client that sends a command again after a lost answer is told that it is done."""
        client = Interfering(redis.Redis.from_url(redis_url), twice=True)
        storage = RedisTokenStorage(client, key_prefix=prefix)

        assert storage.compare_and_set("user", _token("new", "a"), None)
        assert storage.compare_and_set("user", _token("newer", "b"), "a")
        with storage.lock("user", timedelta(seconds=30), timedelta(0)) as acquired:
            assert acquired


class TestLock:
    def test_lasts_for_its_lease(
        self, storage: RedisTokenStorage, client: redis.Redis, prefix: str
    ) -> None:
        """Redis ends a lock after its lease, to the millisecond."""
        with storage.lock("user", timedelta(seconds=29.5), timedelta(0)):
            assert 29_000 < client.pttl(f"lock:{{{prefix}:}}user") <= 29_500

        assert client.pttl(f"lock:{{{prefix}:}}user") == -2

    def test_is_ones_own(
        self, storage: RedisTokenStorage, client: redis.Redis, prefix: str
    ) -> None:
        """Each holder has another name, so nobody releases the lock of another."""
        name = f"lock:{{{prefix}:}}user"
        owners = []
        with ExitStack() as later:
            with ExitStack() as earlier:
                for block in (earlier, later):
                    lock = storage.lock("user", timedelta(seconds=30), timedelta(0))
                    assert block.enter_context(lock)
                    owners.append(client.get(name))
                    if block is earlier:
                        client.delete(name)  # as if its lease were over
            assert client.get(name) == owners[1] != owners[0]

    def test_that_cannot_be_released_ends_with_its_lease(
        self, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A failure to release is logged, and hides nothing that the block has done."""
        storage = RedisTokenStorage(url=own_redis.url)

        with storage.lock("user", timedelta(seconds=30), timedelta(0)) as acquired:
            assert acquired
            own_redis.kill()

        assert "lock of user could not be released" in caplog.text
        assert "ConnectionError" in caplog.text

    def test_is_released_in_the_second_after_a_failure(self, own_redis: RedisServer) -> None:
        """A lock does not wait for its lease because a command has failed just before its end."""
        storage = RedisTokenStorage(url=own_redis.url)
        other = RedisTokenStorage(url=own_redis.url)

        with storage.lock("user", timedelta(seconds=30), timedelta(0)):
            own_redis.pause()
            with pytest.raises(TokenStorageException):
                storage.get("user")
            own_redis.resume()

        with other.lock("user", timedelta(seconds=30), timedelta(0)) as acquired:
            assert acquired


def _token(access_token: str, generation: str) -> TokenData:
    return TokenData.from_dict({"access_token": access_token, "generation": generation})
