"""The sessions of one client: one for each thread, over the same connections and cookies."""

import threading

from requests import Response, Session
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.cookies import RequestsCookieJar

from requestforge._fork import renew_after_fork
from requestforge._transport.adapter import TransportAdapter
from requestforge._transport.call import Answer, Call
from requestforge._transport.environment import NO_ENVIRONMENT, Environment, read_environment
from requestforge._transport.exchange import exchange

__all__ = ["BaseAdapter", "Session", "Sessions"]

_MOST_ORIGINS = 256


class Sessions:
    """Sessions for all threads that send.

    Args:
        supplied: a session of the caller for all threads, never closed here; None: one of our own
            for each thread.
        pool_connections: number of hosts whose connections are kept.
        pool_maxsize: number of connections that are kept for each host.
    """

    def __init__(
        self, supplied: Session | None, *, pool_connections: int, pool_maxsize: int
    ) -> None:
        self._supplied = supplied
        self._adapter = TransportAdapter(pool_connections, pool_maxsize)
        self._cookies = RequestsCookieJar()
        self._local = threading.local()
        self._environments: dict[str, Environment] = {}
        self.is_closed = False
        renew_after_fork(self)

    @property
    def current(self) -> Session:
        """The session of this thread."""
        if self._supplied is not None:
            return self._supplied
        session: Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = _PlainSession(self._adapter, self._cookies)
        return session

    def adapter(self, url: str) -> BaseAdapter:
        """What connects to a URL, for all threads."""
        return self._adapter if self._supplied is None else self._supplied.get_adapter(url)

    def exchange(self, call: Call) -> Answer:
        """Send the request and give its answer; raises as `exchange.exchange` does."""
        try:
            return exchange(self.current, self._environment, call)
        finally:
            if self.is_closed:
                # It was closed on the way, and this request may have opened a connection since.
                self._adapter.close()

    def forget_environment(self) -> None:
        """Read the environment anew from now on."""
        self._environments.clear()

    def close(self) -> None:
        """Close the connections of all threads, but not a supplied session."""
        self.is_closed = True
        self._adapter.close()

    def after_fork(self) -> None:
        """Leave the connections and locks of the parent to the parent."""
        _renew_lock(self._cookies)
        self._local = threading.local()
        if self._supplied is not None:
            _renew_lock(self._supplied.cookies)
            for adapter in self._supplied.adapters.values():
                if isinstance(adapter, HTTPAdapter) and not isinstance(adapter, TransportAdapter):
                    # As if it had been pickled: the same settings, and no connection.
                    adapter.__setstate__(adapter.__getstate__())  # type: ignore[attr-defined]

    def _environment(self, origin: str) -> Environment:
        known = self._environments.get(origin)
        if known is None:
            if len(self._environments) >= _MOST_ORIGINS:
                self._environments.clear()
            supplied = self._supplied
            trusts = supplied is None or supplied.trust_env
            known = read_environment(origin) if trusts else NO_ENVIRONMENT
            self._environments[origin] = known
        return known


class _PlainSession(Session):
    """A session that follows no redirect and reads no environment: others decide on both."""

    prepares_no_redirect = True

    def __init__(self, adapter: HTTPAdapter, cookies: RequestsCookieJar) -> None:
        super().__init__()
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        self.cookies = cookies
        self.trust_env = False

    def get_redirect_target(self, resp: Response) -> str | None:  # noqa: ARG002
        """None: without this, a request that follows no redirect prepares the next one still."""
        return None


def _renew_lock(cookies: object) -> None:
    if isinstance(cookies, RequestsCookieJar):
        # As if it had been pickled: another thread may have held the lock, and is gone.
        vars(cookies)["_cookies_lock"] = threading.RLock()
