"""A WSGI application on a socket of 127.0.0.1: threads, HTTP/1.1, connections kept alive."""

import io
import socket
import threading
from http.client import responses as phrases
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

_HOST = "127.0.0.1"
_BACKLOG = 128
_END = 1.0  # seconds that a thread may take to see that its socket is closed


class Loopback:
    """Serves the application while started; starting and stopping takes well under a millisecond.

    Each start has a port of its own, chosen by the system.
    """

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app
        self._origin: str | None = None
        self._run: _Run | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port; of the last run, once it is stopped.

        Raises:
            RuntimeError: it has not been started yet, so it has no port.
        """
        if self._origin is None:
            raise RuntimeError(
                "A fake auth server on loopback has a URL once it is started; "
                "enter it with `with`, or call start()."
            )
        return self._origin

    def start(self) -> None:
        """Listen."""
        self._run = _Run(self._app)
        self._origin = f"http://{_HOST}:{self._run.port}"

    def stop(self) -> None:
        """Close the port and every connection, and wait for their threads."""
        if self._run is not None:
            self._run.end()
            self._run = None


class _Run:
    """One listening socket with its threads."""

    def __init__(self, app: "WSGIApplication") -> None:
        self.app = app
        self._listener = socket.create_server((_HOST, 0), backlog=_BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._ended = False
        self._thread = threading.Thread(
            target=self._accept, name=f"fake-auth:{self.port}", daemon=True
        )
        self._thread.start()

    def end(self) -> None:
        self._ended = True
        # A connection wakes the thread in accept() on every system; closing the socket does not.
        with socket.create_connection((_HOST, self.port)):
            self._thread.join(_END)
        self._listener.close()
        with self._lock:
            connections = list(self._connections.items())
        for connection, _ in connections:
            _shut(connection)
        for _, thread in connections:
            thread.join(_END)

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._ended:
                connection.close()
                return
            thread = threading.Thread(
                target=self._serve, args=(connection,), name=f"{self._thread.name}-serving",
                daemon=True,
            )
            with self._lock:
                self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            _Connection(connection, (_HOST, self.port), self)  # type: ignore[arg-type] # serves within its constructor
        except OSError:
            pass  # the client has gone, or the run has ended
        finally:
            with self._lock:
                del self._connections[connection]
            connection.close()
