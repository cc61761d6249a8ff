"""The contract of a storage on servers of other kinds, and by clocks that stand still in 2030."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import freezegun
import pytest
import redis
import trustme

from doubles import Clock
from pytest_requestforge.contracts import TokenStorageContract
from redis_servers import RedisSentinel, RedisServer, free_port, until
from requestforge import (
    DjangoCacheTokenStorage,
    EncryptedTokenStorage,
    FileTokenStorage,
    InMemoryTokenStorage,
    RedisTokenStorage,
)
from requestforge.instrumentation import use_clock
from requestforge.interfaces import TokenStorageInterface

KEY = EncryptedTokenStorage.generate_key()
MOMENT = "2030-01-01T12:00:00Z"

Make = Callable[[str], TokenStorageInterface]


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes an empty storage of the named kind."""

    def of_kind(kind: str) -> TokenStorageInterface:
        match kind.split():
            case ["sealed", *within]:
                return EncryptedTokenStorage(of_kind(" ".join(within)), [KEY])
            case ["django", cache]:
                request.getfixturevalue("django_cache")(cache)
                return DjangoCacheTokenStorage()
            case ["redis"]:
                url = request.getfixturevalue("redis_url")
                return RedisTokenStorage(url=url, key_prefix=uuid4().hex)
            case ["files"]:
                return FileTokenStorage(tmp_path / "tokens")
            case ["bounded"]:
                return InMemoryTokenStorage(max_entries=1000)
            case _:
                return InMemoryTokenStorage()

    return of_kind


@pytest.fixture(scope="module")
def sentinel(redis_url: str) -> Iterator[RedisSentinel]:
    """A Sentinel that watches one Redis."""
    del redis_url  # it skips where there is no program
    port = free_port()
    with (
        RedisServer("--port", str(port), "--bind", "127.0.0.1"),
        RedisSentinel(port) as sentinel,
    ):
        client = sentinel.master()
        until(lambda: _answers(client))
        client.close()
        yield sentinel


@pytest.fixture(scope="module")
def tls_url(
    redis_url: str, authority: trustme.CA, bundle: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a Redis that speaks TLS alone."""
    del redis_url
    folder, port = tmp_path_factory.mktemp("tls"), free_port()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "certificate.pem"))
    with RedisServer(
        *("--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", bundle),
        *("--tls-key-file", str(folder / "key.pem")),
        *("--tls-cert-file", str(folder / "certificate.pem")),
    ):
        yield f"rediss://127.0.0.1:{port}?ssl_ca_certs={bundle}"


class TestBySentinel(TokenStorageContract):
    @pytest.fixture
    def storage(self, sentinel: RedisSentinel) -> Iterator[TokenStorageInterface]:
        """A storage on the primary that Sentinel names."""
        with sentinel.master() as client:
            yield RedisTokenStorage(client, key_prefix=uuid4().hex)


class TestByTls(TokenStorageContract):
    @pytest.fixture
    def storage(self, tls_url: str) -> TokenStorageInterface:
        """A storage on a Redis that speaks TLS."""
        return RedisTokenStorage(url=tls_url, key_prefix=uuid4().hex)


@pytest.mark.parametrize("kind", ["bounded", "redis", "django memcached"])
class TestSealed(TokenStorageContract):
    @pytest.fixture
    def storage(self, kind: str, make: Make) -> TokenStorageInterface:
        """An encrypted storage around one of that kind."""
        return make(f"sealed {kind}")


_KINDS = [
    "memory",
    "bounded",
    "sealed redis",
    "sealed files",
    "django locmem",
    "django database",
    "django memcached",
]


@pytest.mark.parametrize("kind", _KINDS)
class TestWithStoppedClock(TokenStorageContract):
    @pytest.fixture
    def storage(self, kind: str, make: Make) -> Iterator[TokenStorageInterface]:
        """A storage in a process whose active clock stands still in 2030."""
        with use_clock(Clock()):
            yield make(kind)


@pytest.mark.parametrize("kind", _KINDS)
class TestAtFrozenTime(TokenStorageContract):
    @pytest.fixture
    def storage(
        self, kind: str, make: Make, request: pytest.FixtureRequest
    ) -> Iterator[TokenStorageInterface]:
        """A storage in a process whose clocks stand still in 2030."""
        name: Any = getattr(request.node, "originalname", "")
        if (kind, name) == ("django database", "test_lock_ends_with_its_lease"):
            pytest.skip("Django ends what is in its database by the clock that was stopped.")
        storage = make(kind)  # a server is started in real time
        with freezegun.freeze_time(MOMENT, ignore=["_pytest"]):
            yield storage


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
