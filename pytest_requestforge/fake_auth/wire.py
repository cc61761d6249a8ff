"""A faulty answer in process: what urllib3 makes of it, without a socket."""

import errno
import io
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import responses
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from pytest_requestforge._passing import pass_time
from pytest_requestforge.fake_auth.delivery import Pause, Piece
from pytest_requestforge.fake_auth.wsgi import Reply

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# The true one, whatever has taken its place since; there is no public place for it.
_send: Callable[..., Response] = responses._real_send  # noqa: SLF001


def send_over_wire(
    adapter: HTTPAdapter,
    request: PreparedRequest,
    first: Reply,
    ask: Callable[[], Reply],
    *args: object,
    **how: object,
) -> Response:
    """What the adapter makes of replies that come over the wire.

    All but the socket is real, the retries of the adapter included, so that the client meets what
    it would meet on a socket. Pauses pass by the clock of the test.

    Args:
        adapter: that was to send the request.
        request: the request.
        first: the reply to its first attempt.
        ask: gives those to further attempts.
        args: of the adapter's `send`.
        how: of the adapter's `send`.
    """
    replies = iter([first])
    pool = _Pool(urlsplit(str(request.url)).hostname or "", lambda: next(replies, None) or ask())
    response = _send(_Adapter(adapter, pool), request, *args, **how)
    response.connection = adapter
    return response


class _Adapter:
    """An adapter like another one, but for its connections."""

    def __init__(self, adapter: HTTPAdapter, pool: HTTPConnectionPool) -> None:
        self._adapter = adapter
        self._pool = pool

    def get_connection_with_tls_context(self, *_: object, **__: object) -> HTTPConnectionPool:
        """The one pool."""
        return self._pool

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever an adapter has
        return getattr(self._adapter, name)


class _Pool(HTTPConnectionPool):
    """Connections to a fake server."""

    def __init__(self, host: str, reply: Callable[[], Reply]) -> None:
        super().__init__(host)
        self._reply = reply

    def ConnectionCls(self, *args: Any, **how: Any) -> HTTPConnection:  # type: ignore[override]  # noqa: ANN401, N802 - urllib3's name
        """A connection of this pool."""
        connection = _Connection(*args, **how)
        connection.reply = self._reply
        return connection


class _Connection(HTTPConnection):
    """Serves one request; for the next one it connects anew."""

    reply: Callable[[], Reply]

    def connect(self) -> None:
        """Take the place of a socket."""
        self.sock = _Socket(self.reply)

    @property
    def is_connected(self) -> bool:
        """Whether it can be used again."""
        return False


class _Socket:
    """What urllib3 and http.client ask of a socket."""

    def __init__(self, reply: Callable[[], Reply]) -> None:
        self.timeout: float | None = None
        self._reply = reply

    def sendall(self, data: bytes) -> None:
        """Drop it: the server has been asked by other ways."""

    def settimeout(self, timeout: float | None) -> None:
        """Give up reading after so many seconds."""
        self.timeout = timeout

    def makefile(self, *_: object) -> io.BufferedReader:
        """What arrives."""
        return io.BufferedReader(_Arriving(self, self._reply().pieces()))

    def shutdown(self, how: int) -> None:
        """Do nothing: there is no other end."""

    def close(self) -> None:
        """Do nothing: there is no other end."""


class _Arriving(io.RawIOBase):
    """The bytes of one reply as they arrive."""

    def __init__(self, socket: _Socket, pieces: Iterator[Piece]) -> None:
        self._socket = socket
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Wait for the next bytes; 0 at the end.

        Raises:
            ConnectionResetError: the server resets the connection.
            TimeoutError: nothing comes within the timeout of the socket.
        """
        if not self._rest:
            self._rest = self._next()
        room = memoryview(buffer).cast("B")
        count = min(len(room), len(self._rest))
        room[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def _next(self) -> bytes:
        for piece in self._pieces:
            if isinstance(piece, bytes):
                return piece
            if piece == "reset":
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            if isinstance(piece, Pause):
                self._wait(piece.seconds)
        return b""

    def _wait(self, seconds: float | None) -> None:
        patience = self._socket.timeout
        if seconds is not None and (patience is None or seconds < patience):
            pass_time(seconds)
            return
        # Without a timeout it would wait for ever, and nobody would learn why.
        pass_time(patience or 0)
        raise TimeoutError("timed out")
