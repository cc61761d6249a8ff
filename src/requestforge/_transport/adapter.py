"""The adapter of requests that the library sends with, and the connections that it opens."""

# The first request imports these two: better here, where no fork can catch an import halfway.
import encodings.idna  # noqa: F401
import netrc  # noqa: F401
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from requestforge._fork import renew_after_fork
from requestforge._origins import Origin
from requestforge._transport.answers import response_of
from requestforge._transport.attempt import current_attempt
from requestforge._transport.insecure import unverified, warn_once
from requestforge._transport.logs import mask_logs_of_urllib3
from requestforge._transport.tls import TlsSettings
from requestforge._transport.watchdog import Watch, let_go

if TYPE_CHECKING:
    _Connection = HTTPConnection
    _Pool = HTTPConnectionPool
else:
    _Connection = _Pool = object

_SHORTEST_TIMEOUT = 0.001
_AFTER_SCHEME = len("https://")
_MOST_POOLS = 256
_NO_TLS_SETTINGS = TlsSettings()

mask_logs_of_urllib3()


class TransportAdapter(HTTPAdapter):
    """The stock adapter, retrying nothing, over connections that keep an `Attempt`'s deadline.

    Its pools serve any number of threads. A forked child starts with empty ones.

    Args:
        pool_connections: how many origins keep a pool.
        pool_maxsize: how many connections a pool keeps.
        pool_block: whether a pool that has lent them all waits for one; else it opens another.
        tls: what a client was told of TLS.
    """

    def __init__(
        self,
        pool_connections: int = 10,
        pool_maxsize: int = 10,
        *,
        pool_block: bool = False,
        tls: TlsSettings = _NO_TLS_SETTINGS,
    ) -> None:
        self._tls = tls
        super().__init__(pool_connections, pool_maxsize, max_retries=0, pool_block=pool_block)
        self._sizes = (pool_connections, pool_maxsize, pool_block)
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Leave the parent's pools to the parent."""
        self.proxy_manager = {}
        self.init_poolmanager(*self._sizes)

    def close(self) -> None:
        """Close all connections that are not lent; those that are, when they come back."""
        self._pools = {}
        super().close()

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = False,
        **pool_kwargs: Any,  # noqa: ANN401 - as requests has it
    ) -> None:
        """Make the pools of requests that need no proxy."""
        self._pools: dict[tuple[object, ...], HTTPConnectionPool] = {}
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        _watch_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:  # noqa: ANN401
        """The pools of requests by way of this proxy."""
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        _watch_pools(manager)
        return manager

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: Any,  # noqa: ANN401 - as requests has it
        proxies: Any = None,  # noqa: ANN401
        cert: Any = None,  # noqa: ANN401
    ) -> HTTPConnectionPool:
        """The pool for a request."""
        url = request.url or ""
        origin, slash, _ = url[_AFTER_SCHEME:].partition("/")
        if proxies or not slash or "@" in origin:
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        key = url[:_AFTER_SCHEME], origin, verify, tuple(cert) if isinstance(cert, list) else cert
        pool = self._pools.get(key)
        # One that is closed, to make room for others or by hand, has no queue.
        if pool is None or pool.pool is None:
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            if len(self._pools) >= _MOST_POOLS:
                self._pools.clear()
            self._pools[key] = pool
        return pool

    def build_connection_pool_key_attributes(
        self,
        request: PreparedRequest,
        verify: Any,  # noqa: ANN401 - as requests has it
        cert: Any = None,  # noqa: ANN401
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What tells one pool from the next, the TLS context included."""
        host, settings = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https":
            settings |= self._tls.pool_settings(verify, cert)
        return host, settings

    def cert_verify(
        self,
        conn: Any,  # noqa: ANN401 - as requests has it
        url: str,
        verify: Any,  # noqa: ANN401
        cert: Any,  # noqa: ANN401
    ) -> None:
        """Leave the pool as it is: the TLS settings have led to it, and it serves no others."""

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:  # noqa: ANN401
        """The answer as requests has it."""
        if type(resp) is not HTTPResponse:
            return super().build_response(req, resp)
        response = response_of(req, resp)
        response.connection = self
        return response

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:  # noqa: ANN401
        """What stands in the first line of the request."""
        return super().request_url(request, proxies) if proxies else request.path_url


class _WatchedPool(_Pool):
    """A pool that takes a connection from its exchange before another may get it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as urllib3 has it
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

    def _put_conn(self, conn: Any) -> None:  # noqa: ANN401
        if isinstance(conn, _WatchedConnection) and conn.watch is not None:
            let_go(conn)
        super()._put_conn(conn)

    def _validate_conn(self, conn: Any) -> None:  # noqa: ANN401
        if not isinstance(self, HTTPSConnectionPool) or not isinstance(conn, _WatchedConnection):
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

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as urllib3 has it
        """Send a request."""
        self._follow()
        super().request(*args, **kwargs)

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


def _watch_pools(manager: Any) -> None:  # noqa: ANN401 - of urllib3, or of its SOCKS part
    kinds = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _watched_pool(kind) for scheme, kind in kinds.items()}


@cache
def _watched_pool(kind: type) -> type:
    if issubclass(kind, _WatchedPool):
        return kind
    return type(f"Watched{kind.__name__}", (_WatchedPool, kind), {})


@cache
def _watched_connection(kind: type) -> type:
    # A tool that records exchanges puts a class of its own in the place of the stock one.
    if not issubclass(kind, HTTPConnection):
        return kind
    return type(f"Watched{kind.__name__}", (_WatchedConnection, kind), {})
