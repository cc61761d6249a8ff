"""A scripted HTTP server on a loopback socket, as well-behaved or as broken as a test asks for."""

import json
import pickle
import socket
import ssl
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BufferedReader
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Received:
    """One request as it came over the line; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.body)


Script = bytes | Callable[[socket.socket], None]
"""Bytes to answer with, or what takes the connection over; after that it is closed."""


@dataclass
class Loopback:
    """A server that answers each request with what `answer` makes of it; use it as a block.

    Args:
        answer: the same script for all requests, or one for each request.
        tls: a context to serve https with.
        greeting: while set, takes each new connection over before anything is read from it.
    """

    answer: bytes | Callable[[Received], Script]
    tls: ssl.SSLContext | None = None
    greeting: Callable[[socket.socket], None] | None = None
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stopping.set()
        for sock in (self._listener, *self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(10)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    def drip(self, start: bytes, drop: bytes) -> Callable[[socket.socket], None]:
        """A script that sends `start` and then, without end, a drop every hundredth of a second."""

        def dripping(sock: socket.socket) -> None:
            sock.sendall(start)
            while not self.stopping.wait(0.01):
                sock.sendall(drop)

        return dripping

    def stall(self, start: bytes = b"") -> Callable[[socket.socket], None]:
        """A script that sends `start`, and then nothing more."""

        def stalling(sock: socket.socket) -> None:
            sock.sendall(start)
            self.stopping.wait(30)

        return stalling

    def _start(self, run: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                # Without it an answer over TLS may wait for the client's acknowledgement.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                self._open.append(sock)
                self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError, ValueError):
            if self.greeting is not None:
                with sock:
                    self.greeting(sock)
                return
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
                self._open.append(sock)
            with sock, sock.makefile("rb") as lines:
                while (received := _read(lines)) is not None:
                    self.requests.append(received)
                    script = self._script(received)
                    if callable(script):
                        script(sock)
                        return
                    sock.sendall(script)
                    if b"connection: close" in script.lower() or script.startswith(b"HTTP/1.0"):
                        return

    def _script(self, received: Received) -> Script:
        if isinstance(self.answer, bytes):
            return self.answer
        made: Any = self.answer
        return made(received)


def takes_over(script: Callable[[socket.socket], None]) -> Callable[[Received], Script]:
    """An `answer` that lets one script take over each connection that makes a request."""
    return lambda _: script


def in_turn(*scripts: Script) -> Callable[[Received], Script]:
    """An `answer` that gives one script after the other, and the last one ever after."""
    waiting = list(scripts)
    lock = threading.Lock()

    def give(_: Received) -> Script:
        with lock:
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return give


def reply(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """An answer; an underscore in the name of a header stands for a hyphen."""
    head = {
        "Content-Length": str(len(body)),
        **{n.replace("_", "-"): v for n, v in headers.items()},
    }
    reason = HTTPStatus(status).phrase if status in list(HTTPStatus) else "Odd"
    return head_of(status, head, reason) + body


def head_of(status: int, headers: Mapping[str, str], reason: str = "OK") -> bytes:
    """Status line and headers."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{n}: {v}" for n, v in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def json_reply(value: object, status: int = 200, **headers: str) -> bytes:
    """An answer with a JSON body."""
    body = json.dumps(value).encode()
    return reply(status, body, Content_Type="application/json", **headers)


def _read(lines: BufferedReader) -> Received | None:
    start = lines.readline().decode("latin-1").split()
    if len(start) != 3:
        return None
    headers = {}
    while line := lines.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = lines.read(int(headers.get("content-length", "0")))
    return Received(start[0], start[1], headers, body)


def shown_by(error: BaseException) -> str:
    """All that an exception shows: texts, attributes, chain, traceback and pickle."""
    shown = ["".join(traceback.format_exception(error)), str(pickle.dumps(error))]
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        link = waiting.pop()
        if isinstance(link, BaseException) and not any(link is other for other in found):
            found.append(link)
            shown += [str(link), repr(link), repr(link.args), repr(vars(link))]
            waiting += [link.__cause__, link.__context__, *vars(link).values(), *link.args]
    return "\n".join(shown)
