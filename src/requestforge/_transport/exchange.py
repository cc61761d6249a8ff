"""One request of a client and its answer, by way of as many redirects as it takes."""

from contextlib import suppress

import requests
from urllib3.exceptions import ClosedPoolError, ConnectTimeoutError, NewConnectionError

from requestforge._headers import Headers
from requestforge._origins import without_userinfo
from requestforge._transport.attempt import Attempt
from requestforge._transport.body import StreamedBody, discard, whole_body
from requestforge._transport.call import Answer, Call
from requestforge._transport.environment import Environments
from requestforge._transport.errors import is_of_transport
from requestforge._transport.redirects import REDIRECTS, Hop, next_hop
from requestforge._transport.sending import Sending
from requestforge._transport.tls import TlsSettings
from requestforge.exceptions import HttpClientException, TimeoutException

_SHORTEST_TIMEOUT = 0.001


def exchange(
    session: requests.Session, environments: Environments, tls: TlsSettings, call: Call
) -> Answer:
    """Send the request, follow redirects as far as it allows, and give the last answer.

    An error for a request that never left has `context["sent"]` False.

    Args:
        session: what sends.
        environments: what holds for each origin.
        tls: what the client was told of TLS.
        call: what to send.

    Raises:
        HttpClientException: there was no answer, it was too long, or a redirect was refused; a
            TimeoutException or ConnectionException if the line was to blame, a
            RequestBuildException or an AuthenticationException if nothing could be sent.
    """
    return _Exchange(session, environments, tls, call).answer()


class _Exchange:
    """The requests and answers that one call takes."""

    __slots__ = (
        *("_attempt", "_call", "_environments", "_keeps_body", "_left_origin", "_never_left"),
        *("_number", "_session", "_tls"),
    )

    def __init__(
        self, session: requests.Session, environments: Environments, tls: TlsSettings, call: Call
    ) -> None:
        self._session = session
        self._environments = environments
        self._tls = tls
        self._call = call
        self._attempt = Attempt(call.url, call.seconds)
        self._number = 0
        self._keeps_body = True
        self._left_origin = False
        self._never_left = False

    def answer(self) -> Answer:
        """The last answer."""
        seconds = self._call.seconds
        if seconds is not None and seconds <= 0:
            raise TimeoutException(
                f"No time is left for the request to {self._call.url}, which was not sent.",
                context={"sent": False},
            )
        try:
            with self._attempt:
                return self._last_answer()
        except HttpClientException as error:
            if self._never_left:
                error.context["sent"] = False
            raise

    def _last_answer(self) -> Answer:
        call = self._call
        hop = Hop(method=call.method, url=call.url, keeps_body=True, crosses=False)
        while True:
            sending = Sending(
                self._session,
                call,
                hop,
                self._environments.of(hop.url),
                self._tls,
                is_first=self._number == 0,
                keeps_body=self._keeps_body,
                left_origin=self._left_origin,
            )
            response = self._sent(sending)
            location = None if call.max_redirects is None else _location(response)
            if location is None:
                return self._answer(response, sending.url, hop.method)
            if call.max_size is not None or call.streams:
                discard(response)
            hop = self._next_hop(response.status_code, hop.method, sending.url, location)

    def _sent(self, sending: Sending) -> requests.Response:
        call = self._call
        try:
            return sending.response(
                self._timeout(), streams=call.streams or call.max_size is not None
            )
        except OSError as error:
            self._never_left = self._number == 0 and _never_left(error)
            self._attempt.proxy = sending.blamed_proxy(error)
            raise
        except HttpClientException:
            raise
        except Exception as error:
            if is_of_transport(error):
                raise
            failure = sending.failure(error)
        raise failure from failure.original_exception

    def _timeout(self) -> tuple[float, float]:
        """Seconds to connect and to read, within what is left for all of the exchange."""
        left = self._attempt.remaining()
        if left is None:
            return self._call.timeout
        connect, read = self._call.timeout
        left = max(left, _SHORTEST_TIMEOUT)
        return min(connect, left), min(read, left)

    def _next_hop(self, status: int, method: str, url: str, location: str) -> Hop:
        call = self._call
        if self._number == call.max_redirects:
            raise HttpClientException(
                f"{call.url} led to more than {call.max_redirects} redirects; the last one, from "
                f"{url}, was not followed."
            )
        hop = next_hop(status, method, url, location)
        self._keeps_body = self._keeps_body and hop.keeps_body
        if self._keeps_body and not call.rewind():
            raise HttpClientException(
                f"The redirect from {url} was not followed: it asks for the body once "
                "more, which cannot be read again. Send bytes, or a file that can seek."
            )
        self._left_origin = self._left_origin or hop.crosses
        self._number += 1
        self._attempt.url = hop.url
        return hop

    def _answer(self, response: requests.Response, url: str, method: str) -> Answer:
        call = self._call
        body: StreamedBody | None = None
        content = b""
        if call.streams:
            self._attempt.goes_on = True
            body = StreamedBody(response, self._attempt, call.max_size)
        elif call.max_size is not None:
            content = whole_body(response, call.max_size, url)
        else:
            content = response.content
        headers = response.headers
        named = "charset" in headers.get("Content-Type", "").lower()
        return Answer(
            status_code=response.status_code,
            headers=Headers(headers.items()),
            content=content,
            url=without_userinfo(url) if "@" in url else url,
            encoding=response.encoding if named else None,
            left_origin=self._left_origin,
            changed_method=method != call.method,
            body=body,
        )


def _never_left(error: BaseException) -> bool:
    """Whether the error, or what it wraps, says that there was no connection to send over."""
    kinds = (ClosedPoolError, ConnectTimeoutError, NewConnectionError, requests.ConnectTimeout)
    inner = getattr(error, "reason", None), getattr(error, "original_error", None), *error.args
    return isinstance(error, kinds) or any(
        isinstance(cause, Exception) and _never_left(cause) for cause in inner
    )


def _location(response: requests.Response) -> str | None:
    if response.status_code not in REDIRECTS:
        return None
    location = response.headers.get("Location")
    if location is None:
        return None
    # http.client reads headers as latin-1; what is not ASCII in them is mostly UTF-8.
    with suppress(UnicodeError):
        return location.encode("latin-1").decode()
    return location
