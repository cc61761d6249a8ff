"""The adapter of requests that the library sends with, and the connections that it opens."""

# The first request imports these two: better here, where no fork can catch an import halfway.
import encodings.idna  # noqa: F401
import netrc  # noqa: F401
import threading
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidProxyURL
from urllib3 import HTTPResponse

from requestforge._fork import renew_after_fork
from requestforge._transport.answers import response_of
from requestforge._transport.connections import watch_pools
from requestforge._transport.logs import mask_logs_of_urllib3
from requestforge._transport.tls import TlsSettings

_AFTER_SCHEME = len("https://")
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
        """Leave the parent's pools, and a lock that its threads may have held, to the parent."""
        self.proxy_manager = {}
        self.init_poolmanager(*self._sizes)

    def close(self) -> None:
        """Close all connections that are not lent; those that are, when they come back."""
        self._pools.clear()
        super().close()
        # urllib3 lets go of its pools, and something may hold on to them still, such as the
        # traceback of an error.
        with self._lock:
            opened = list(self._opened)
        for pool in opened:
            getattr(pool, "retire", pool.close)()

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = False,
        **pool_kwargs: Any,  # noqa: ANN401 - as requests has it
    ) -> None:
        """Make the pools of requests that need no proxy."""
        # Weak: a pool that urllib3 has let go, to make room for others, closes when nobody uses it.
        self._pools: WeakValueDictionary[tuple[object, ...], Any] = WeakValueDictionary()
        self._opened: WeakSet[Any] = WeakSet()
        self._lock = threading.Lock()
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        watch_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:  # noqa: ANN401
        """The pools of requests by way of this proxy."""
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        watch_pools(manager)
        return manager

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: Any,  # noqa: ANN401 - as requests has it
        proxies: Any = None,  # noqa: ANN401
        cert: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """The pool for a request."""
        url = request.url or ""
        origin, slash, _ = url[_AFTER_SCHEME:].partition("/")
        if proxies or not slash or "@" in origin:
            return self._pool(request, verify, proxies, cert)
        key = url[:_AFTER_SCHEME], origin, verify, cert
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = self._pool(request, verify, proxies, cert)
        return pool

    def build_connection_pool_key_attributes(  # type: ignore[override]
        self,
        request: PreparedRequest,
        verify: Any,  # noqa: ANN401 - as requests has it
        cert: Any = None,  # noqa: ANN401
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What tells one pool from the next, the TLS context included."""
        host: Any
        host, given = super().build_connection_pool_key_attributes(request, verify)
        settings: dict[str, Any] = {**given}
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

    def _pool(self, request: PreparedRequest, verify: Any, proxies: Any, cert: Any) -> Any:  # noqa: ANN401
        """The stock one, once it is among those that are closed with the adapter."""
        try:
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
        except TypeError:
            # What requests makes of the URL of a proxy that has a login and no host.
            msg = "The URL of the proxy is malformed."
            raise InvalidProxyURL(msg) from None
        with self._lock:
            self._opened.add(pool)
        return pool
