"""A WSGI application on a socket: threads, HTTP/1.1, connections kept alive."""

import re
import socket
import struct
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from itertools import count
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit
from wsgiref.types import WSGIApplication

from pytest_requestforge.fake_auth.wsgi import ask

_ADDRESS = "127.0.0.1"
_SAME_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where all addresses are listened on
_BACKLOG = 128
_END = 2.0  # seconds that a thread may take to see that its socket is closed
_LONGEST_LINE = 65_536  # bytes
_AT_ONCE = struct.pack("ii", 1, 0)  # a close that does not linger is a reset
_URL = re.compile(r"https?://([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?(/.*)?", re.ASCII)


class Loopback:
    """Serves the application from `start` to `stop`, each of which takes about half a millisecond.

    Faults of a FakeAuth are real on it, which other servers of WSGI cannot give them.

    Args:
        app: the application.
        host: name or address to listen on; "0.0.0.0" and "::": every one that the machine has.
        port: to listen on; 0: one that the system chooses anew at each start.
    """

    _listening: "_Listening"

    def __init__(self, app: WSGIApplication, host: str = _ADDRESS, port: int = 0) -> None:
        self._app = app
        self._address = (host, port)
        self._origin: str | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port; once stopped, those of the last time.

        Raises:
            RuntimeError: it has not been started yet, so it has no port.
        """
        if self._origin is None:
            raise RuntimeError(
                "A FakeAuth on loopback has a URL once it is started: "
                "enter it with `with`, or call start()."
            )
        return self._origin

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address is not this machine's, or its port is taken.
        """
        self._listening = _Listening(self._app, self._address)
        self._origin = f"http://{self._listening.host}"

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def stop(self, *, finishes: bool = False) -> None:
        """Close the port and every connection, and see their threads end.

        Args:
            finishes: whether answers that are under way are finished first, slow ones at once.
        """
        self._listening.close(finishes=finishes)


class _Listening:
    """One listening socket with its connections."""

    def __init__(self, app: WSGIApplication, address: tuple[str, int]) -> None:
        self.app = app
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._listener = socket.create_server(address, family=family, backlog=_BACKLOG)
        listens, port, *_ = self._listener.getsockname()
        self._reached: tuple[str, int] = (_SAME_HERE.get(listens, listens), port)
        name = _SAME_HERE.get(address[0], address[0])
        self.host = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._numbers = count(1)
        self._closing = False
        self.finishes = False
        self._thread = _thread(self._accept, f"fake-auth {self.host}")
        self._thread.start()

    def close(self, *, finishes: bool) -> None:
        self._closing, self.finishes = True, finishes
        # A connection wakes accept() on every system, which closing the socket does not.
        with socket.create_connection(self._reached):
            self._thread.join(_END)
        self._listener.close()
        connections = list(self._connections.items())
        for connection, _ in connections:
            _shut(connection, socket.SHUT_RD if finishes else socket.SHUT_RDWR)
        for _, thread in connections:
            thread.join(_END)

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._closing:
                connection.close()
                return
            thread = _thread(self._serve, f"connection-{next(self._numbers)}", connection)
            self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            _Requests(connection, self.host, self)  # type: ignore[arg-type]
        except ConnectionError:
            pass  # the client has gone, or the server is closing
        finally:
            del self._connections[connection]
            connection.close()


class _Requests(BaseHTTPRequestHandler):
    """The requests of one connection, served while it is made."""

    server: _Listening  # type: ignore[assignment]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        """Answer the next request of the connection."""
        self.raw_requestline = self.rfile.readline(_LONGEST_LINE)
        if not self.raw_requestline:
            self.close_connection = True
        elif self.parse_request():
            self._answer()

    def log_message(self, *_: Any) -> None:  # noqa: ANN401 - the signature of the parent
        """Say nothing: the journal has it all."""

    def _answer(self) -> None:
        host = self.headers.get("Host", self.server.host)
        # The target is a path, or a whole URL as for a proxy (RFC 9112 section 3.2).
        url = self.path if self.path.startswith("http") else f"http://{host}{self.path}"
        content = self._content()
        if content is not None and _URL.fullmatch(url):
            self._reply(urlsplit(url), content)
        else:
            self.send_error(400)

    def _content(self) -> bytes | None:
        """The body; None: its length is malformed."""
        try:
            if "Transfer-Encoding" in self.headers:
                return self._chunks()
            length = self.headers.get("Content-Length", "0")
            return self.rfile.read(int(length)) if length.isdecimal() else None
        except ValueError:
            return None

    def _chunks(self) -> bytes:
        """The body that comes in chunks; ValueError: the size of one is malformed."""
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailer fields
        return b"".join(parts)

    def _reply(self, url: SplitResult, content: bytes) -> None:
        headers = self.headers.items()
        reply = ask(self.server.app, self.command, url, headers=headers, content=content)
        for piece in reply.pieces():
            if isinstance(piece, bytes):
                self.wfile.write(piece)
            elif isinstance(piece, str):
                self._end(by_reset=piece == "reset")
            elif self._is_left(piece.seconds):
                self._end(by_reset=False)
                return

    def _is_left(self, seconds: float | None) -> bool:
        """Whether the client leaves within so many seconds; None: wait until it does."""
        self.connection.settimeout(seconds)
        try:
            self.connection.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            self.connection.settimeout(None)
            return False
        # The server, too, ends a wait, for the rest of the answer to be sent before it goes.
        return seconds is None or not self.server.finishes

    def _end(self, *, by_reset: bool) -> None:
        """Have the connection closed."""
        if by_reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.close_connection = True


def _thread(target: Any, name: str, *args: Any) -> threading.Thread:  # noqa: ANN401 - any callable
    return threading.Thread(target=target, name=name, args=args, daemon=True)


def _shut(connection: socket.socket, how: int) -> None:
    with suppress(OSError):  # its client may have been faster
        connection.shutdown(how)
