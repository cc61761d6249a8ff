"""Connections of urllib3 that the watchdog can hang up, and pools of them."""

import http.client
import os
import queue
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import SKIP_HEADER

from requestforge._fork import renew_after_fork
from requestforge._origins import Origin
from requestforge._transport.attempt import current_attempt
from requestforge._transport.heads import QuickAnswer
from requestforge._transport.insecure import unverified, warn_once
from requestforge._transport.tls import SealedContext
from requestforge._transport.uploads import checked
from requestforge._transport.watchdog import Watch, let_go

if TYPE_CHECKING:
    _Connection = HTTPConnection
    _Pool = HTTPConnectionPool
else:
    _Connection = _Pool = object

_SHORTEST_TIMEOUT = 0.001
_SHORT_BODY = 64 * 1024
# Narrower than what http.client lets pass, which is asked about the rest.
_HEADER_LINE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*")


def watch_pools(manager: Any) -> None:  # noqa: ANN401 - of urllib3, or of its SOCKS part
    """Have the manager make pools whose connections can be hung up."""
    kinds = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _watched_pool(kind) for scheme, kind in kinds.items()}


class _Stack:
    """What a pool keeps connections in, if nobody waits for one: last in, first out.

    Args:
        maxsize: the most that it holds.
    """

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self._lock = threading.Lock()
        self._kept: list[Any] = []

    def put(self, item: Any, block: bool = False) -> None:  # noqa: ANN401, ARG002
        """Keep it, if there is room.

        Raises:
            queue.Full: there is none.
        """
        with self._lock:
            if len(self._kept) >= self.maxsize > 0:
                raise queue.Full
            self._kept.append(item)

    def get(self, block: bool = False, timeout: float | None = None) -> Any:  # noqa: ANN401, ARG002
        """The one that came last.

        Raises:
            queue.Empty: there is none.
        """
        try:
            return self._kept.pop()
        except IndexError:
            raise queue.Empty from None

    def qsize(self) -> int:
        """How many there are."""
        return len(self._kept)


class _WatchedPool(_Pool):
    """A pool that takes a connection from its exchange before another may get it."""

    _is_retired = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as urllib3 has it
        if not kwargs.get("block"):
            self.QueueCls = _Stack  # type: ignore[assignment]
        super().__init__(*args, **kwargs)
        renew_after_fork(self)

    @property
    def ConnectionCls(self) -> Any:  # type: ignore[override]  # noqa: ANN401, N802 - urllib3's name
        """The class of its connections."""
        return _watched_connection(super().ConnectionCls)

    def after_fork(self) -> None:
        """Drop the parent's connections, and locks that its other threads may have held."""
        if self.pool is not None:
            # In place: the finalizer that urllib3 sets for each pool empties this very queue.
            self.pool.__init__(self.pool.maxsize)  # type: ignore[misc]
            for _ in range(self.pool.maxsize):
                self.pool.put(None)

    def retire(self) -> None:
        """Close all connections that are not lent; those that are, when they come back.

        Unlike a pool that is closed, it still serves whoever has got hold of it.
        """
        self._is_retired = True
        self._close_idle()

    def _put_conn(self, conn: Any) -> None:  # noqa: ANN401
        if isinstance(conn, _WatchedConnection):
            let_go(conn)
        super()._put_conn(conn)
        # Looked at when the connection is back, so that either this or `retire` gets to see it.
        if self._is_retired:
            self._close_idle()

    def _close_idle(self) -> None:
        pool = self.pool
        if pool is None:
            return
        places = []
        with suppress(queue.Empty):
            while True:
                places.append(pool.get(block=False))
        for conn in filter(None, places):
            conn.close()
        for _ in places:
            with suppress(queue.Full):
                pool.put(None, block=False)


class _WatchedTlsPool(_WatchedPool):
    """A pool of connections that are made with TLS."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as urllib3 has it
        config, context = kwargs.get("_proxy_config"), kwargs.get("ssl_context")
        if config is not None and isinstance(context, SealedContext):
            kwargs["_proxy_config"] = config._replace(ssl_context=context.for_proxy())
        super().__init__(*args, **kwargs)

    def _validate_conn(self, conn: Any) -> None:  # noqa: ANN401
        if not isinstance(conn, _WatchedConnection):
            super()._validate_conn(conn)
            return
        # As the stock method does, but for its warning of every single request.
        if conn.is_closed:
            conn.connect()
        if not conn.is_verified and not conn.proxy_is_verified:
            origin = Origin("https", self.host, self.port or 443)
            warn_once(origin, unverified(origin))


class _WatchedConnection(_Connection):
    """A connection that the watchdog can hang up."""

    watch: Watch | None = None
    _line: socket.socket | None = None
    _held_back: list[Any] | None = None

    def sockets(self) -> Iterator[socket.socket]:
        """The socket, and the one that an answer is read from after the connection is closed."""
        for sock in (self.sock, self._line):
            if sock is not None:
                # Of TLS within TLS, the inner layer is no socket.
                yield getattr(sock, "socket", sock)

    def connect(self) -> None:
        """Connect, by way of a proxy and with TLS where it takes them."""
        renew_after_fork(self)
        self._follow()
        super().connect()
        # http.client closes a connection that ends with its answer before that is read.
        self._line = self.sock
        self._follow()

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,  # noqa: ANN401 - as urllib3 has it
        headers: Any = None,  # noqa: ANN401
        **options: Any,  # noqa: ANN401
    ) -> None:
        """Send a request, and a short body along with its head.

        Raises:
            RequestBuildException: the body has not the length that was announced.
        """
        body = checked(body, headers or {}, self.host)
        attempt = current_attempt()
        if attempt is not None and attempt.watch is not None:
            attempt.watch.follow(self)
        if type(body) is not bytes or len(body) > _SHORT_BODY:
            super().request(method, url, body, headers, **options)
            return
        held_back = self._held_back = []
        try:
            super().request(method, url, body, headers, **options)
        finally:
            self._held_back = None
        self.send(b"".join(held_back))

    def send(self, data: Any) -> None:  # noqa: ANN401 - as http.client has it
        """Send a part of a request, or hold it back until all of it is there."""
        if self._held_back is None:
            super().send(data)
        else:
            self._held_back.append(data)

    def putheader(self, header: Any, *values: Any) -> None:  # noqa: ANN401 - as urllib3 has it
        """Add a header, if it is a usual one, at a fraction of what the stock method costs."""
        line = f"{header}: {values[0]}" if len(values) == 1 and type(values[0]) is str else ""
        if _HEADER_LINE.fullmatch(line) and SKIP_HEADER not in line:
            self._output(line.encode("latin-1"))  # type: ignore[attr-defined]
        else:
            super().putheader(header, *values)

    def after_fork(self) -> None:
        """Leave the connection to the parent, without a word to the peer."""
        self.watch = None
        for sock in self.sockets():
            # Not `close`, which waits for whoever still reads: a thread of the parent.
            with suppress(OSError):
                os.close(sock.detach())

    def _new_conn(self) -> socket.socket:
        watch = _current_watch()
        if watch is None:
            return super()._new_conn()
        options = self.socket_options
        self.socket_options = _OptionsInTime(options or (), watch)
        try:
            sock = super()._new_conn()
        finally:
            # The connection may be opened once more, and then has the time of another exchange.
            self.socket_options = options
        # For the TLS handshake, which the socket's timeout bounds as a whole.
        left = max(_SHORTEST_TIMEOUT, watch.remaining())
        timeout = sock.gettimeout()
        sock.settimeout(left if timeout is None else min(left, timeout))
        return sock

    def _tunnel(self) -> None:
        super()._tunnel()
        # http.client takes the end of the line for the end of a proxy's header.
        self._follow()

    def _follow(self) -> None:
        watch = _current_watch()
        if watch is not None:
            watch.follow(self)


class _OptionsInTime(list[Any]):
    """Socket options that cannot be had after a deadline.

    urllib3 reads them anew for each address of a host, and would give each the whole timeout.
    """

    def __init__(self, options: Any, watch: Watch) -> None:  # noqa: ANN401 - a type of urllib3's
        super().__init__(options)
        self._watch = watch

    def __iter__(self) -> Iterator[Any]:
        if not self._watch.remaining():
            msg = "The time allowed for the exchange is over."
            raise TimeoutError(msg)
        return super().__iter__()


def _current_watch() -> Watch | None:
    attempt = current_attempt()
    return None if attempt is None else attempt.watch


@cache
def _watched_pool(kind: Any) -> Any:  # noqa: ANN401 - a class, or what makes pools
    if not isinstance(kind, type) or issubclass(kind, _WatchedPool):
        return kind
    base = _WatchedTlsPool if issubclass(kind, HTTPSConnectionPool) else _WatchedPool
    return type(f"Watched{kind.__name__}", (base, kind), {})


@cache
def _watched_connection(kind: type) -> type:
    # A tool that records exchanges puts a class of its own in the place of the stock one, which is
    # known by its name: the tool may have been there when this module was loaded.
    names = {(base.__module__, base.__name__) for base in kind.__mro__}
    if ("urllib3.connection", "HTTPConnection") not in names:
        return kind
    is_stock = getattr(kind, "response_class", None) is http.client.HTTPResponse
    more = {"response_class": QuickAnswer} if is_stock else {}
    return type(f"Watched{kind.__name__}", (_WatchedConnection, kind), more)
