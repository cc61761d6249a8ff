"""HTTP for fetchers and providers."""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from requestforge._deadline import note_cut, time_left
from requestforge._fork import importing, renew_after_fork
from requestforge._origins import origin_of
from requestforge.exceptions import TimeoutException
from requestforge.models import HttpMethod, HttpResponse

if TYPE_CHECKING:
    from requestforge._transport.token_session import TokenSession


class TokenTransport:
    """HTTP for one fetcher or provider, with one connection pool in each process.

    Any number of threads may send at a time. Proxies and CA bundles of the environment count.

    Args:
        verify: whether to verify certificates, or the path of a CA bundle.
        cert: the certificate to show: the path of a file with its key, or the paths of both.
    """

    def __init__(
        self, verify: bool | str = True, cert: str | tuple[str, str] | None = None
    ) -> None:
        self._verify = verify
        self._cert = cert
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
            timeout: seconds for all of it, from connecting to the last byte of the body; the
                deadline of this thread may leave it fewer.

        Raises:
            TimeoutException: the time was over before the answer was complete, or before anything
                was sent.
            SSLException: the TLS handshake failed, or the certificate was refused.
            ConnectionException: no connection, or one that broke.
            RequestBuildException: the URL or a header is malformed; nothing was sent.
            HttpClientException: the body is longer than 1 MiB, or not encoded as it says.
        """
        left = time_left()
        if left is None or left >= timeout:
            return self._opened().exchange(method, url, headers, body, timeout)
        if left <= 0:
            note_cut()
            msg = (
                f"Nothing was sent to {origin_of(url)}: the time allowed for the request that "
                "needs the token is over."
            )
            raise TimeoutException(msg)
        try:
            return self._opened().exchange(method, url, headers, body, left)
        except TimeoutException:
            note_cut()
            raise

    def close(self) -> None:
        """Release the connections; the next request opens new ones."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _opened(self) -> "TokenSession":
        with self._lock:
            if self._session is None:
                self._session = _open_session(self._verify, self._cert)
            return self._session


def _open_session(verify: bool | str, cert: str | tuple[str, str] | None) -> "TokenSession":
    # Loads requests, which costs more than all of the library.
    with importing:
        from requestforge._transport.token_session import TokenSession  # noqa: PLC0415

    return TokenSession(verify, cert)
