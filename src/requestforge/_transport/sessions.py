"""The sessions of one client: one for each thread, over the same connections and cookies."""

import threading
from collections.abc import Iterator, Mapping
from http.cookiejar import Cookie
from typing import Any

from requests import PreparedRequest, Request, Response, Session
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.cookies import RequestsCookieJar

from requestforge._fork import renew_after_fork
from requestforge._transport.adapter import TransportAdapter
from requestforge._transport.answers import QuickHeaders
from requestforge._transport.call import Answer, Call
from requestforge._transport.connections import watch_pools
from requestforge._transport.environment import Environments
from requestforge._transport.exchange import exchange
from requestforge._transport.preparation import quickly_prepared
from requestforge._transport.tls import TlsSettings

__all__ = ["BaseAdapter", "Session", "Sessions"]


class Sessions:
    """Sessions for all threads that send.

    Args:
        supplied: a session of the caller for all threads, never closed here; None: one of our own
            for each thread.
        pool_connections: number of hosts whose connections are kept.
        pool_maxsize: number of connections that are kept for each host.
        tls: `ca`, `client_cert`, `min_version` and `ssl_context`; None: as requests has them.
        proxies: the client's own proxies by scheme, or scheme and host.
        environment: whether `proxies` and `ca` of the environment count; None: both do.
        cookies: whether sessions of our own keep the cookies of answers and send them again.

    Raises:
        ValueError: a supplied session cannot be given these TLS settings.
    """

    def __init__(
        self,
        supplied: Session | None,
        *,
        pool_connections: int,
        pool_maxsize: int,
        tls: Mapping[str, Any] | None = None,
        proxies: Mapping[str, str] | None = None,
        environment: Mapping[str, bool] | None = None,
        cookies: bool = True,
    ) -> None:
        self._tls = TlsSettings.of(tls)
        if supplied is not None:
            self._tls.check_for_supplied()
        self._supplied = supplied
        self._adapter = TransportAdapter(pool_connections, pool_maxsize, tls=self._tls)
        self._cookies = _SharedCookies() if cookies else _NoCookies()
        self._local = threading.local()
        self._environments = Environments(supplied, proxies, environment)
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
        if self._supplied is None:
            return self._adapter
        # As it is when it is prepared: what is mounted may be so for a URL with a path.
        has_path = "/" in url[len("https://") :]
        return self._supplied.get_adapter(url if has_path else f"{url}/")

    def exchange(self, call: Call) -> Answer:
        """Send the request and give its answer; raises as `exchange.exchange` does."""
        if self._supplied is not None:
            _watch(self._supplied)
        try:
            return exchange(self.current, self._environments, self._tls, call)
        finally:
            if self.is_closed:
                # It was closed on the way, and this request may have opened a connection since.
                self._adapter.close()

    def forget_environment(self) -> None:
        """Read the environment anew from now on."""
        self._environments.forget()

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


class _PlainSession(Session):
    """A session that follows no redirect and reads no environment: others decide on both."""

    prepares_no_redirect = True

    def __init__(self, adapter: HTTPAdapter, cookies: RequestsCookieJar) -> None:
        super().__init__()
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        self.headers = QuickHeaders.of(self.headers.items())
        self.cookies = cookies
        self.trust_env = False

    def prepare_request(self, request: Request) -> PreparedRequest:
        """The request with the settings of the session, as it goes over the line."""
        return quickly_prepared(self, request) or super().prepare_request(request)

    def merge_environment_settings(
        self,
        url: Any,  # noqa: ANN401 - as requests has it
        proxies: Any,  # noqa: ANN401
        stream: bool | None,
        verify: Any,  # noqa: ANN401
        cert: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """The settings of a request over those of the session."""
        if self.trust_env or self.proxies:
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        return {
            "proxies": proxies,
            "stream": self.stream if stream is None else stream,
            "verify": self.verify if verify is None else verify,
            "cert": self.cert if cert is None else cert,
        }

    def get_redirect_target(self, resp: Response) -> str | None:  # noqa: ARG002
        """None: without this, a request that follows no redirect prepares the next one still."""
        return None


class _SharedCookies(RequestsCookieJar):
    """A jar that threads can look through while others fill it.

    Attributes:
        may_hold_some: whether a cookie was ever put into it.
    """

    may_hold_some = False

    def __iter__(self) -> Iterator[Any]:
        with self._cookies_lock:  # type: ignore[attr-defined]
            return iter(list(super().__iter__()))

    def set_cookie(self, cookie: Cookie, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Put a cookie in."""
        self.may_hold_some = True
        super().set_cookie(cookie, *args, **kwargs)

    def extract_cookies(self, response: Any, request: Any) -> None:  # noqa: ANN401
        """Put the cookies of an answer in, of which most have none."""
        if "Set-Cookie" in response.info():
            super().extract_cookies(response, request)


class _NoCookies(RequestsCookieJar):
    """A jar that stays empty."""

    may_hold_some = False

    def set_cookie(self, cookie: Cookie, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Keep it out, also if it comes from the owner of the client."""

    def extract_cookies(self, response: Any, request: Any) -> None:  # noqa: ANN401
        """Keep them out."""


def _watch(session: Session) -> None:
    """Have the connections that the session opens from now on keep deadlines and lengths, too."""
    for adapter in session.adapters.values():
        if isinstance(adapter, HTTPAdapter):
            watch_pools(adapter.poolmanager)


def _renew_lock(cookies: object) -> None:
    if isinstance(cookies, RequestsCookieJar):
        # As if it had been pickled: another thread may have held the lock, and is gone.
        vars(cookies)["_cookies_lock"] = threading.RLock()
