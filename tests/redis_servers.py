"""Redis servers of a test's own, to be killed, paused and set up as it likes."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Self

import pytest
import redis

LIMIT = 10.0
"""Seconds after which a wait counts as a hang."""


class RedisServer:
    """A redis-server on a socket file, which keeps nothing on disk.

    Args:
        options: further ones of the program.
    """

    def __init__(self, *options: str) -> None:
        # Not tmp_path: the path of a socket has room for about 100 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="rf-redis-"))
        self._socket = self._folder / "redis.sock"
        self._options = options
        self.url = f"unix://{self._socket}"
        self._clients: list[redis.Redis] = []
        self.start()

    def start(self) -> None:
        """Start it, empty."""
        program = shutil.which("redis-server")
        assert program is not None
        self._process = subprocess.Popen(
            [
                program,
                *("--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
                *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
                *self._options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # A locale that is named but not installed would stop the server.
            env={**os.environ, "LC_ALL": "C"},
        )
        try:
            until(self._answers)
        except BaseException:
            self.kill()
            raise

    def client(self, **options: object) -> redis.Redis:
        """A client, with the options of redis-py, to be closed with the server."""
        client = redis.Redis.from_url(self.url, **options)
        self._clients.append(client)
        return client

    def commands(self) -> dict[str, int]:
        """How often each command was called, those of connecting left out."""
        with redis.Redis.from_url(self.url) as client:
            told = client.info("commandstats")
        quiet = {"info", "hello", "ping", "client|setinfo", "client|maint_notifications", "client"}
        counts = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in told.items()}
        return {name: count for name, count in counts.items() if name not in quiet}

    def forget_commands(self) -> None:
        """Count from zero."""
        with redis.Redis.from_url(self.url) as client:
            client.config_resetstat()

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait(LIMIT)

    def pause(self) -> None:
        """Stop it from answering, with its connections open."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again."""
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.ConnectionError:
            assert self._process.poll() is None, "redis-server has ended."
            return False


class RedisSentinel:
    """A Sentinel of its own that watches a Redis, called `main`, and promotes its replica.

    Args:
        port: where the Redis listens.
    """

    def __init__(self, port: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="rf-sentinel-"))
        self._port = free_port()
        settings = self._folder / "sentinel.conf"
        settings.write_text(
            f"bind 127.0.0.1\nport {self._port}\ndir {self._folder}\n"
            f"sentinel monitor main 127.0.0.1 {port} 1\n"
            "sentinel down-after-milliseconds main 300\n"
            "sentinel failover-timeout main 3000\n"
        )
        program = shutil.which("redis-server")
        assert program is not None
        self._process = subprocess.Popen(
            [program, str(settings), "--sentinel"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )

    def knows_replica(self) -> bool:
        """Whether it has found the replica that it would promote."""
        try:
            with redis.Redis(port=self._port, decode_responses=True) as client:
                return any(each["flags"] == "slave" for each in client.sentinel_slaves("main"))
        except redis.RedisError:
            return False

    def master(self, **options: object) -> redis.Redis:
        """A client of whichever Redis is the primary, with the options of redis-py."""
        sentinel = redis.Sentinel([("127.0.0.1", self._port)], sentinel_kwargs=options)
        self._sentinels = sentinel.sentinels
        return sentinel.master_for("main", **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in getattr(self, "_sentinels", ()):
            client.close()
        self._process.kill()
        self._process.wait(LIMIT)
        shutil.rmtree(self._folder, ignore_errors=True)


@pytest.fixture
def redis_servers(redis_url: str) -> Iterator[Callable[..., RedisServer]]:
    """Starts a Redis of the test's own, with options of the program."""
    del redis_url  # it skips where there is no program
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(RedisServer(*options))


@pytest.fixture
def own_redis(redis_servers: Callable[..., RedisServer]) -> RedisServer:
    """A Redis of the test's own."""
    return redis_servers()


@pytest.fixture
def connect(redis_url: str) -> Iterator[Callable[..., redis.Redis]]:
    """Makes clients of the Redis of this run, with the options of redis-py."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(redis.Redis.from_url(redis_url, **options))


@pytest.fixture(scope="session")
def redis_cluster_port(redis_url: str) -> Iterator[int]:
    """The port of a cluster that consists of one server, with all slots."""
    del redis_url
    port, bus = free_port(), free_port()
    options = ("--port", str(port), "--cluster-enabled", "yes", "--cluster-port", str(bus))
    with RedisServer(*options, "--bind", "127.0.0.1") as server:
        client = server.client(decode_responses=True)
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until(lambda: client.cluster("info")["cluster_state"] == "ok")
        yield port


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def until(condition: Callable[[], object]) -> None:
    """Return once the condition holds."""
    end = monotonic() + LIMIT
    while not condition():
        assert monotonic() < end, "It did not come to that."
        Event().wait(0.01)
