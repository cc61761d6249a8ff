"""A loopback server for tests of the client: it answers as told and keeps what it was sent."""
# ruff: noqa: ANN401, N815 - names and signatures of http.server

import http.server
import json
import threading
from collections.abc import Callable, Mapping
from email.message import Message
from types import TracebackType
from typing import Any, NamedTuple, Self


class Seen(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    headers: Message
    body: bytes


class Reply(NamedTuple):
    """An answer to give; a body that is not bytes is sent as JSON."""

    status: int = 200
    headers: Mapping[str, str] = {}
    body: Any = b""


class Server:
    """Answers each path by its rule in `rules`, and any other path with status 200.

    A rule is a Reply, or a callable that makes one of what was seen. One that raises
    ConnectionError breaks the connection without an answer.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.rules: dict[str, Reply | Callable[[Seen], Reply]] = {}
        self.connections = 0
        self._open = 0
        self._changed = threading.Condition()
        self._server = _HttpServer(self)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, seen: Seen) -> Reply:
        """What to answer."""
        self.seen.append(seen)
        rule = self.rules.get(seen.path.partition("?")[0], Reply())
        return rule if isinstance(rule, Reply) else rule(seen)

    def count(self, change: int) -> None:
        """Note that a connection was opened or closed."""
        with self._changed:
            self.connections += max(change, 0)
            self._open += change
            self._changed.notify_all()

    def wait_until_closed(self) -> bool:
        """Whether the clients close all their connections, within 10 seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, 10)

    @property
    def last(self) -> Seen:
        """The request that arrived last."""
        return self.seen[-1]


class _HttpServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, owner: Server) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a test has broken the connection."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without it each answer waits 40 ms for the client's acknowledgement.
    disable_nagle_algorithm = True
    server: _HttpServer

    def setup(self) -> None:
        self.server.owner.count(1)
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.server.owner.count(-1)

    def _answer(self) -> None:
        seen = Seen(self.command, self.path, self.headers, self._body())
        try:
            reply = self.server.owner.answer(seen)
        except ConnectionError:
            self.close_connection = True
            return
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in reply.headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _answer

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as http.server has it
        """Say nothing."""
