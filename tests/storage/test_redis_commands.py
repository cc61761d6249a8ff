from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis
from redis.crc import key_slot

from doubles import Clock, CountingStep
from redis_servers import RedisServer
from requestforge import RedisTokenStorage, TokenFetchPipeline
from requestforge.instrumentation import use_clock
from requestforge.tokens import TokenData

Connect = Callable[..., redis.Redis]

_DAY = 86_400


@pytest.fixture
def prefix() -> str:
    """A key prefix of the test's own."""
    return uuid4().hex


@pytest.fixture
def client(connect: Connect) -> redis.Redis:
    """A client that gives text."""
    return connect(decode_responses=True)


@pytest.fixture
def storage(redis_url: str, prefix: str) -> RedisTokenStorage:
    """An empty storage."""
    return RedisTokenStorage(url=redis_url, key_prefix=prefix)


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
