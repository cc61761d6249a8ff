"""HTTP for fetchers and providers."""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from requestforge._fork import importing, renew_after_fork
from requestforge.models import HttpMethod, HttpResponse

if TYPE_CHECKING:
    from requestforge._transport.token_session import TokenSession


class TokenTransport:
    """HTTP for one fetcher or provider, with one connection pool in each process.

    Any number of threads may send at a time. Proxies and CA bundles of the environment count.

    Args:
        verify: whether to verify certificates, or the path of a CA bundle.
    """

    def __init__(self, verify: bool | str = True) -> None:
        self._verify = verify
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Leave the session to the parent."""
        self._lock = threading.Lock()
        self._session: TokenSession | None = None

    def send(
        self,
        method: HttpMethod,
        url: str,
        headers: Mapping[str, str],
        body: str | bytes | None,
        timeout: float,
    ) -> HttpResponse:
        """The answer, whatever its status; redirects are not followed, and cookies not kept.

        Args:
            method: any.
            url: absolute; userinfo in it is sent by HTTP Basic if there is no Authorization header.
            headers: to send.
            body: to send.
            timeout: seconds for all of it, from connecting to the last byte of the body.

        Raises:
            TimeoutException: the time was over before the answer was complete.
            SSLException: the TLS handshake failed, or the certificate was refused.
            ConnectionException: no connection, or one that broke.
            RequestBuildException: the URL or a header is malformed; nothing was sent.
            HttpClientException: the body is longer than 1 MiB, or not encoded as it says.
        """
        with self._lock:
            if self._session is None:
                self._session = _open_session(self._verify)
            session = self._session
        return session.exchange(method, url, headers, body, timeout)

    def close(self) -> None:
        """Release the connections; the next request opens new ones."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()


def _open_session(verify: bool | str) -> "TokenSession":
    # Loads requests, which costs more than all of the library.
    with importing:
        from requestforge._transport.token_session import TokenSession  # noqa: PLC0415

    return TokenSession(verify)
