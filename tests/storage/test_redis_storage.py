import asyncio
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import freezegun
import pytest
import redis
import redis.asyncio
import trustme

from canary import assert_clean
from doubles import Clock, faults, recorded
from pytest_requestforge.contracts import TokenStorageContract
from redis_servers import RedisServer, free_port
from requestforge import RedisTokenStorage
from requestforge.exceptions import TokenStorageException
from requestforge.instrumentation import use_clock
from requestforge.interfaces import TokenStorageInterface
from requestforge.tokens import TokenData

PASSWORD = "canary-password/with-a-slash"
ACCESS_TOKEN = "canary-access-token"

Connect = Callable[..., redis.Redis]
Servers = Callable[..., RedisServer]


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
        self, connect: Connect, prefix: str, protocol: int, decodes: bool
    ) -> TokenStorageInterface:
        """A storage on a client with that protocol and decoding."""
        client = connect(protocol=protocol, decode_responses=decodes)
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
        self, connect: Connect, prefix: str, record: bytes, decodes: bool
    ) -> None:
        """What is no token counts as none, is deleted and told of; the others are read."""
        client = connect(decode_responses=decodes)
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
