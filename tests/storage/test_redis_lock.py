from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from uuid import uuid4

import pytest
import redis

from redis_servers import RedisServer
from requestforge import RedisTokenStorage
from requestforge.exceptions import TokenStorageException
from requestforge.tokens import TokenData

Connect = Callable[..., redis.Redis]


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


class Late:
    """A client that stops waiting for its first answer, though the command is done."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._waits = False

    def execute_command(self, *command: str, **options: object) -> object:
        answer = self._client.execute_command(*command, **options)
        if self._waits:
            return answer
        self._waits = True
        msg = "Timeout reading from socket"
        raise redis.TimeoutError(msg)


class TestComparisons:
    @pytest.mark.parametrize("change", ["another", "none", "the same"])
    def test_see_a_change_in_the_last_moment(
        self, connect: Connect, storage: RedisTokenStorage, prefix: str, change: str
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
            client = Interfering(connect(), act)
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

    def test_survive_a_lost_answer(self, connect: Connect, prefix: str) -> None:
        """A client that sends a command again after a lost answer is told that it is done."""
        client = Interfering(connect(), twice=True)
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

    def test_of_a_late_answer_is_given_back(
        self, storage: RedisTokenStorage, connect: Connect, prefix: str
    ) -> None:
        """A lock that Redis gave after the caller had stopped waiting holds nobody up."""
        client = Late(connect())
        lease = timedelta(seconds=30)

        with (
            pytest.raises(TokenStorageException, match="failed to lock user"),
            RedisTokenStorage(client, key_prefix=prefix).lock("user", lease, timedelta(0)),
        ):
            pass

        with storage.lock("user", lease, timedelta(0)) as acquired:
            assert acquired

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
