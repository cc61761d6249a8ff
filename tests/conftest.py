"""What several test files share."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from canary import overheard

# redis_servers is imported by memcached_servers, which must find it rewritten.
pytest_plugins = ["django_caches", "redis_servers", "memcached_servers", "surroundings"]

# A slow machine is no failure; pytest's own timeout still ends a test that hangs.
settings.register_profile("requestforge", deadline=None)
settings.load_profile("requestforge")


@pytest.fixture(autouse=True)
def _secrets_stay_unseen(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test logs a secret, at DEBUG, and no event of a test that has secrets shows one.

    The other tests are not observed, since a pipeline that nobody observes takes a shorter way.
    """
    values = vars(request.module).values()
    has_secrets = any(isinstance(value, str) and value.startswith("canary-") for value in values)
    with overheard(events=has_secrets) as heard:
        yield
    heard.assert_clean()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of an empty Redis of this run's own, on a socket file that only this user reads.

    The server keeps nothing on disk and ends with the session. Tests share it, so each uses a key
    prefix of its own.
    """
    program = shutil.which("redis-server")
    if program is None:
        missing = (
            "There is no redis-server on PATH, so no test can run on a real Redis. "
            "Install it, for example with `apt-get install redis-server`."
        )
        if os.environ.get("CI"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    # Not tmp_path: the path of a socket has room for about 100 characters.
    with tempfile.TemporaryDirectory(prefix="rf-redis-") as folder:
        socket = Path(folder) / "redis.sock"
        with subprocess.Popen(
            [
                program,
                *("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
                *("--save", "", "--appendonly", "no", "--dir", folder, "--loglevel", "notice"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A locale that is named but not installed would stop the server.
            env={**os.environ, "LC_ALL": "C"},
        ) as server:
            try:
                _wait_until_ready(server)
                yield f"unix://{socket}"
            finally:
                server.terminate()


def _wait_until_ready(server: subprocess.Popen[str]) -> None:
    """Return once `server` says that it accepts connections; fail with its words if it ends."""
    said = []
    for line in server.stdout or ():
        said.append(line)
        if "ready to accept connections" in line.lower():
            return
    pytest.fail(f"redis-server ended before it was ready:\n{''.join(said)}", pytrace=False)
