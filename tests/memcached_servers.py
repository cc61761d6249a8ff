"""Memcached servers of a test's own, to be killed and paused as it likes."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import Self

import pytest

from redis_servers import LIMIT, free_port, until


class MemcachedServer:
    """A memcached on a port of its own."""

    def __init__(self) -> None:
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start it, empty."""
        program = shutil.which("memcached")
        assert program is not None
        self._process = subprocess.Popen(
            # A root user would have to name another to run as.
            [program, "-l", "127.0.0.1", "-p", str(self._port), "-U", "0", "-u", "nobody"],
            stdin=subprocess.DEVNULL,
        )
        try:
            until(self._answers)
        except BaseException:
            self.kill()
            raise

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
        self.kill()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.sendall(b"version\r\n")
                return connection.recv(100).startswith(b"VERSION")
        except OSError:
            assert self._process.poll() is None, "memcached has ended."
            return False


@pytest.fixture(scope="session")
def _memcached() -> None:
    """There is a memcached to start."""
    if shutil.which("memcached") is None:
        missing = (
            "There is no memcached on PATH, so no test can run on a real one. "
            "Install it, for example with `apt-get install memcached`."
        )
        if os.environ.get("CI"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)


@pytest.fixture(scope="session")
def memcached(_memcached: None) -> Iterator[MemcachedServer]:
    """The memcached of this run. Tests share it, so each uses a key prefix of its own."""
    with MemcachedServer() as server:
        yield server


@pytest.fixture
def own_memcached(_memcached: None) -> Iterator[MemcachedServer]:
    """A memcached of the test's own."""
    with MemcachedServer() as server:
        yield server
