"""A Redis that is dead, restarted, stopped, full, a replica or slow: what it costs its users."""

import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import timedelta
from time import monotonic

import pytest
import redis

from canary import assert_clean
from doubles import CountingStep, faults, recorded
from redis_servers import LIMIT, RedisServer, free_port, until
from requestforge import RedisTokenStorage, TokenFetchPipeline, TokenStorageException
from requestforge.events import LockUnavailable
from requestforge.tokens import TokenData

PASSWORD = "canary-password-of-redis"
ACCESS_TOKEN = "canary-access-token"

Servers = Callable[..., RedisServer]

_USES = [
    pytest.param(lambda s: s.get("app"), "read app", id="get"),
    pytest.param(lambda s: s.exists("app"), "read app", id="exists"),
    pytest.param(lambda s: s.get_many(["app", "b", "c"]), "read app and 2 more", id="get_many"),
    pytest.param(lambda s: s.set("app", TokenData(ACCESS_TOKEN)), "write app", id="set"),
    pytest.param(
        lambda s: s.compare_and_set("app", TokenData(ACCESS_TOKEN), None), "write app", id="replace"
    ),
    pytest.param(lambda s: s.delete("app"), "delete app", id="delete"),
    pytest.param(lambda s: s.delete_many(["app", "b"]), "delete app and 1 more", id="delete_many"),
    pytest.param(lambda s: s.compare_and_delete("app", "a"), "delete app", id="remove"),
    pytest.param(
        lambda s: s.lock("app", timedelta(seconds=9), timedelta(seconds=9)).__enter__(),
        "lock app",
        id="lock",
    ),
]


class Failing:
    """A client that fails as told, and counts how often it was asked.

    Args:
        error: what it raises; None: it answers.
    """

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.asked = 0
        self.during: Callable[[], object] = lambda: None

    def execute_command(self, *command: object, **options: object) -> object:
        self.asked += 1
        self.during()
        if self.error is not None:
            raise self.error
        return 1


class TestErrors:
    @pytest.mark.parametrize(("use", "text"), _USES)
    def test_of_a_dead_server_are_told(
        self, own_redis: RedisServer, use: Callable[[RedisTokenStorage], object], text: str
    ) -> None:
        """Each use of a server that is gone raises our exception, which names the keys."""
        storage = RedisTokenStorage(url=own_redis.url)
        own_redis.kill()

        with pytest.raises(TokenStorageException, match=f"failed to {text}") as caught:
            use(storage)

        assert isinstance(caught.value.__cause__, redis.ConnectionError)
        with pytest.raises(TokenStorageException, match=f"not asked to {text}"):
            use(storage)

    @pytest.mark.parametrize(
        "url",
        [
            pytest.param("redis://:{password}@127.0.0.1:{port}", id="password"),
            pytest.param("redis://canary-user:{password}@127.0.0.1:{port}/1", id="user"),
            pytest.param("redis://127.0.0.1:{port}?password={password}", id="query"),
        ],
    )
    def test_show_no_password(self, redis_servers: Servers, url: str) -> None:
        """Neither a refused password nor one for a dead server shows."""
        port = free_port()
        server = redis_servers("--port", str(port), "--requirepass", "another")
        given = url.format(password=PASSWORD, port=port)

        with pytest.raises(TokenStorageException) as refused:
            RedisTokenStorage(url=given).get("app")
        server.kill()
        with pytest.raises(TokenStorageException) as unreachable:
            RedisTokenStorage(url=given).get("app")

        assert_clean(refused.value, unreachable.value)

    @pytest.mark.parametrize("protocol", [2, 3])
    def test_show_no_token_that_redis_repeats(self, redis_servers: Servers, protocol: int) -> None:
        """A server without scripts, which repeats what it was told, does not give a token away."""
        server = redis_servers("--rename-command", "EVAL", "")
        storage = RedisTokenStorage(server.client(protocol=protocol))

        with pytest.raises(TokenStorageException, match="unknown command 'EVAL'") as caught:
            storage.compare_and_set("app", TokenData(ACCESS_TOKEN), None)

        assert_clean(caught.value)

    def test_show_no_answer_that_is_none_of_redis(self) -> None:
        """What something else than Redis says is not repeated."""
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def answer() -> None:
                with suppress(OSError):
                    while True:
                        with listener.accept()[0] as connection:
                            connection.recv(1024)
                            connection.sendall(ACCESS_TOKEN.encode() + b"\r\n")

            thread = threading.Thread(target=answer, daemon=True)
            thread.start()
            url = f"redis://127.0.0.1:{listener.getsockname()[1]}?protocol=2"
            with pytest.raises(TokenStorageException, match="Protocol Error") as caught:
                RedisTokenStorage(url=url).get("app")
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(LIMIT)

        assert_clean(caught.value)

    def test_of_the_url_are_told_at_first_use(self) -> None:
        """An option that redis-py does not know is an error of ours, not of Python."""
        storage = RedisTokenStorage(url="redis://127.0.0.1?colour=red")

        with pytest.raises(TokenStorageException, match="colour"):
            storage.get("app")


class TestPause:
    def test_makes_a_dead_server_cost_one_failure(self, own_redis: RedisServer) -> None:
        """A server that does not answer is waited for once, not by each of 200 requests."""
        storage = RedisTokenStorage(url=own_redis.url)
        storage.set("app", TokenData("app"))
        own_redis.pause()

        began = monotonic()
        with pytest.raises(TokenStorageException, match="TimeoutError"):
            storage.get("app")
        first = monotonic() - began
        for _ in range(200):
            with pytest.raises(TokenStorageException):
                storage.get("app")

        assert 0.9 < first < 2
        assert monotonic() - began < first + 1
        own_redis.resume()

    def test_ends_after_a_second(self, own_redis: RedisServer) -> None:
        """A server that is back is used again, about a second after the failure."""
        storage = RedisTokenStorage(url=own_redis.url)
        own_redis.kill()
        with pytest.raises(TokenStorageException):
            storage.get("app")
        began = monotonic()
        own_redis.start()

        until(lambda: _works(storage))

        assert monotonic() - began < 2

    def test_lets_one_thread_try(self) -> None:
        """When it is over one thread asks the server, and the others go on without it meanwhile."""
        client = Failing(redis.ConnectionError("down"))
        storage = RedisTokenStorage(client)
        with pytest.raises(TokenStorageException):
            storage.exists("app")
        others, asking = threading.Event(), threading.Event()
        client.during = lambda: (asking.set(), others.wait(LIMIT))
        threading.Event().wait(1.01)
        client.error = None

        first = threading.Thread(target=storage.exists, args=["app"])
        first.start()
        assert asking.wait(LIMIT)
        for _ in range(3):
            with pytest.raises(TokenStorageException, match="not asked"):
                storage.exists("app")
        others.set()
        first.join(LIMIT)

        assert client.asked == 2
        assert storage.exists("app")

    @pytest.mark.parametrize(
        ("error", "asked"),
        [
            pytest.param(redis.ConnectionError("down"), 1, id="down"),
            pytest.param(redis.TimeoutError("slow"), 1, id="slow"),
            pytest.param(redis.BusyLoadingError("loading"), 1, id="loading"),
            pytest.param(redis.exceptions.RedisClusterException("no node"), 1, id="cluster"),
            pytest.param(redis.ReadOnlyError("replica"), 2, id="replica"),
            pytest.param(redis.OutOfMemoryError("full"), 2, id="full"),
            pytest.param(redis.exceptions.MaxConnectionsError("many"), 2, id="connections"),
        ],
    )
    def test_follows_a_lost_connection(self, error: Exception, asked: int) -> None:
        """A server that has answered, or was not asked for want of a connection, is asked again."""
        client = Failing(error)
        storage = RedisTokenStorage(client)

        for _ in range(2):
            with pytest.raises(TokenStorageException):
                storage.exists("app")

        assert client.asked == asked

    def test_spares_a_restarted_server(self, own_redis: RedisServer) -> None:
        """Connections that a restart has cut are made anew, without a failure."""
        storage = RedisTokenStorage(url=own_redis.url)
        storage.set("app", TokenData("app"))
        own_redis.kill()
        own_redis.start()

        assert storage.get("app") is None


class TestPipeline:
    def test_goes_on_without_a_server(self, own_redis: RedisServer) -> None:
        """With Redis gone the tokens of this process stay in use, fetched once each."""
        steps, pipeline = _pipeline(own_redis)
        own_redis.kill()

        with recorded() as events:
            tokens = {pipeline.execute().access_token for _ in range(50)}

        assert tokens == {"user-1"}
        assert _fetches(steps) == [1, 1]
        assert {event.step for event in events if isinstance(event, LockUnavailable)} == {
            "device",
            "user",
        }
        assert ("read", "") in faults(events)

    def test_fetches_once_what_a_restart_has_lost(self, own_redis: RedisServer) -> None:
        """The 16 threads that meet an empty Redis fetch each step once, and share it again."""
        steps, pipeline = _pipeline(own_redis)
        pipeline.execute()
        own_redis.kill()
        own_redis.start()

        assert _together(16, pipeline) == {"user-2"}
        assert _fetches(steps) == [2, 2]
        elsewhere, another = _pipeline(own_redis)
        assert another.execute().access_token == "user-2"
        assert _fetches(elsewhere) == [0, 0]

    def test_outlives_a_stopped_server(self, own_redis: RedisServer) -> None:
        """A Redis that stops answering delays callers by its timeout at most, and comes back."""
        steps, pipeline = _pipeline(own_redis)
        pipeline.execute()
        own_redis.pause()

        began = monotonic()
        tokens = _together(16, pipeline)
        seconds = monotonic() - began
        own_redis.resume()

        assert len(tokens) == 1
        assert seconds < 3
        assert max(_fetches(steps)) <= 2
        another = RedisTokenStorage(url=own_redis.url)
        until(lambda: another.get("shop:user") is not None and _works(another))
        assert pipeline.execute().access_token in {"user-1", "user-2"}

    @pytest.mark.parametrize("state", ["full", "replica"])
    def test_outlives_a_server_that_takes_no_writes(
        self, own_redis: RedisServer, state: str
    ) -> None:
        """With Redis full, or a replica, tokens stay in this process until it takes them again."""
        steps, pipeline = _pipeline(own_redis)
        client = own_redis.client()
        if state == "full":
            client.config_set("maxmemory", 1)
        else:
            client.replicaof("127.0.0.1", free_port())

        with recorded() as events:
            assert _together(16, pipeline) == {"user-1"}
            assert pipeline.execute().access_token == "user-1"

        assert _fetches(steps) == [1, 1]
        assert ("write", "user") in faults(events)
        if state == "full":
            client.config_set("maxmemory", 0)
        else:
            client.replicaof("NO", "ONE")
        assert pipeline.execute(force_refresh=True).access_token == "user-2"
        assert RedisTokenStorage(url=own_redis.url).get("shop:user") == TokenData("user-2")

    def test_waits_for_a_slow_server(self, own_redis: RedisServer) -> None:
        """A Redis that takes its time, but less than the timeout, is waited for."""
        steps, pipeline = _pipeline(own_redis)
        pipeline.execute()
        own_redis.client().client_pause(300, all=True)

        with recorded() as events:
            assert pipeline.execute().access_token == "user-1"

        assert faults(events) == []
        assert _fetches(steps) == [1, 1]

    def test_tells_of_a_failed_invalidation(self, own_redis: RedisServer) -> None:
        """With Redis gone an invalidation holds here, and for all once it is made again."""
        _, pipeline = _pipeline(own_redis)
        pipeline.execute()
        others, another = _pipeline(own_redis)
        own_redis.pause()
        with pytest.raises(TokenStorageException, match="could not delete the tokens of"):
            pipeline.invalidate_step("user")
        assert pipeline.execute().access_token == "user-2"
        own_redis.resume()
        until(lambda: _succeeds(lambda: pipeline.invalidate_step("user")))

        assert another.execute().access_token == "user-1"

        assert _fetches(others) == [0, 1]


def test_a_busy_storage_survives_its_server(own_redis: RedisServer) -> None:
    """Eight threads that read and write while Redis is killed and started get on, or are told."""
    storage = RedisTokenStorage(url=own_redis.url)
    ended, errors = threading.Event(), []

    def use(number: int) -> None:
        while not ended.is_set():
            try:
                storage.set(f"shop:{number}", TokenData(f"{number}"))
                assert storage.get(f"shop:{number}") in {None, TokenData(f"{number}")}
            except TokenStorageException:
                ended.wait(0.01)
            except BaseException as error:  # noqa: BLE001 - shown below
                errors.append(error)

    threads = [threading.Thread(target=use, args=[number]) for number in range(8)]
    with ExitStack() as stack:
        stack.callback(ended.set)
        for thread in threads:
            thread.start()
        for _ in range(3):
            own_redis.kill()
            own_redis.start()
    for thread in threads:
        thread.join(LIMIT)

    assert errors == []
    until(lambda: _works(storage))


def _pipeline(server: RedisServer) -> tuple[list[CountingStep], TokenFetchPipeline]:
    steps = [CountingStep("device"), CountingStep("user", ["device"])]
    return steps, TokenFetchPipeline(steps, RedisTokenStorage(url=server.url), "shop")


def _fetches(steps: list[CountingStep]) -> list[int]:
    return [step.fetches for step in steps]


def _together(count: int, pipeline: TokenFetchPipeline) -> set[str]:
    start = threading.Barrier(count)
    tokens: list[str] = []

    def run() -> None:
        start.wait(LIMIT)
        tokens.append(pipeline.execute().access_token)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert len(tokens) == count
    return set(tokens)


def _works(storage: RedisTokenStorage) -> bool:
    return _succeeds(lambda: storage.get("app"))


def _succeeds(call: Callable[[], object]) -> bool:
    try:
        call()
    except TokenStorageException:
        return False
    return True
