"""An application on disk that the commands `inspect` and `invalidate` are pointed at."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from standalone import COMMAND

ACCESS = "canary-access-token-of-an-application"
REFRESH = "canary-refresh-token-of-an-application"
PASSWORD = "canary-password-of-a-server"

CODE = f"""
import os
import sys
from datetime import timedelta
from pathlib import Path

from requestforge import *

print("The application is loaded.")


class Step(TokenFetcherInterface):
    depends_on = []
    name = ""
    ttl = None

    def __init__(self, name, depends_on=(), ttl=None):
        self.__dict__.update(name=name, depends_on=list(depends_on), ttl=ttl)

    def fetch(self, context=None):
        Path("fetched").touch()
        return TokenData("{ACCESS}", refresh_token="{REFRESH}")


Step.__abstractmethods__ = frozenset()


def steps():
    app = Step("app", ttl=timedelta(hours=1, seconds=30))
    return [app, Step("user", ["app"], timedelta(minutes=5)), Step("other")]


def over(storage):
    return TokenFetchPipeline(steps(), storage, "shop")


def files():
    return over(FileTokenStorage("tokens"))


def late():
    steps = [Step("user", ["app"]), Step("app", ["device"]), Step("device"), Step("other")]
    return TokenFetchPipeline(
        steps, FileTokenStorage("tokens"), "shop", validate_dependencies=False
    )


def in_redis():
    return over(RedisTokenStorage(url=os.environ["SHOP_REDIS"], key_prefix="inspected"))


def down():
    return over(RedisTokenStorage(url="redis://user:{PASSWORD}@127.0.0.1:1"))


def django():
    return over(DjangoCacheTokenStorage())


def fails():
    raise RuntimeError("https://user:{PASSWORD}@host")


def leaves():
    sys.exit("The application ends.")


memory = over(InMemoryTokenStorage())
provider = PipelineTokenProvider(files(), "shop")
number = 5


class Holder:
    inner = memory
"""


def write(folder: Path, name: str) -> None:
    """Write the application into that folder, as a module of that name."""
    (folder / f"{name}.py").write_text(CODE, encoding="utf-8")


def environment(**variables: str) -> dict[str, str]:
    """That of this process, with the library on its path."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables}


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def python(folder: Path, code: str, **variables: str) -> None:
    """Run some code of the application in a process of its own."""
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(**variables) | {"PYTHONPATH": f"{folder}{os.pathsep}{_path()}"},
        check=True,
        capture_output=True,
        timeout=50,
    )


def on_a_terminal(folder: Path, answer: str, *arguments: str) -> tuple[int, str]:
    """The status and the output of the command on a terminal, where that answer is typed."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(TERM="xterm-256color", COLUMNS="80"),
        stdin=follower,
        stdout=follower,
        stderr=follower,
    ) as process:
        os.close(follower)
        os.write(leader, answer.encode())
        shown = b""
        while chunk := _read(leader):
            shown += chunk
    os.close(leader)
    return process.returncode, shown.decode()


def _path() -> str:
    return os.pathsep.join(filter(None, sys.path))


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the other end is closed
        return b""
