"""The command `requestforge fake-auth serve` in a process of its own."""

import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

COMMAND = (sys.executable, "-c", "from requestforge.cli import main; main()")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs.

    Attributes:
        process: it runs in.
        url: that it has printed.
    """

    process: subprocess.Popen[str]
    url: str

    def ask(self, method: str, path: str, **parts: Any) -> requests.Response:  # noqa: ANN401 - those of requests
        """The answer to a request."""
        return requests.request(method, self.url + path, timeout=10, **parts)

    def admin(self, method: str, path: str, **fields: object) -> dict[str, Any]:
        """What the admin API answers, which must be 200."""
        answer = self.ask(method, f"/_rf{path}", json=fields or None)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def token(self, path: str = "/v1/app/token", **fields: str) -> str:
        """A token of an endpoint."""
        return str(self.ask("POST", path, data=fields).json()["access_token"])

    def get(self, path: str, token: str) -> int:
        """The status of a resource for that token."""
        headers = {"Authorization": f"Bearer {token}"}
        return self.ask("GET", path, headers=headers).status_code

    def end(self) -> str:
        """Stop it as a supervisor does; its log."""
        self.process.terminate()
        _, log = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, log
        return log


@contextmanager
def serving(
    folder: Path, text: str, *options: str, command: Sequence[str] = COMMAND
) -> Iterator[Server]:
    """A server of what the text describes, on a free port unless the options say otherwise."""
    file = folder / "auth.toml"
    file.write_text(text, encoding="utf-8")
    line = [*command, "fake-auth", "serve", str(file), "--port", "0", "--print-url", *options]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        assert url, process.stderr.read()
        try:
            yield Server(process, url)
        finally:
            process.terminate()
