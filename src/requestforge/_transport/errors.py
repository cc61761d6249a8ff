"""Which of the library's errors a failed exchange ends in."""

import http.client
import ssl

import requests
from urllib3 import exceptions as urllib3_errors

from requestforge._origins import origin_of
from requestforge._redaction import mask_text
from requestforge.exceptions import (
    ConnectionException,
    HttpClientException,
    RequestBuildException,
    SSLException,
    TimeoutException,
)

TRANSPORT_ERRORS = (
    OSError,  # the errors of requests are some
    urllib3_errors.HTTPError,
    http.client.HTTPException,
    UnicodeError,  # of a header that is not Latin-1
)
"""What sending a request and reading its answer may raise."""

_MALFORMED = (
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidJSONError,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    UnicodeError,
    urllib3_errors.LocationValueError,
)
_TIMED_OUT = (TimeoutError, requests.exceptions.Timeout, urllib3_errors.TimeoutError)
_BROKEN_TLS = (ssl.SSLError, requests.exceptions.SSLError, urllib3_errors.SSLError)
_BROKEN_LINE = (
    ConnectionError,
    http.client.HTTPException,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ConnectionError,
    urllib3_errors.ProtocolError,
)
# Texts that show neither what was sent nor what was answered; numbers, hosts and ports at most.
_FIT_TO_SHOW = (
    OSError,
    http.client.IncompleteRead,
    urllib3_errors.DecodeError,
    urllib3_errors.TimeoutError,
)


def translated(error: BaseException, url: str) -> HttpClientException:
    """The library's error for one of `TRANSPORT_ERRORS`.

    Its `original_exception`, meant to be its cause, is a copy of the error: it has the type, but
    neither the request, whose headers and body hold credentials, nor a text that may hold some.

    Args:
        error: what was raised.
        url: what was asked for.
    """
    chain = _chain(error)
    detail = _detail(chain)
    cause = _copy(error, detail)
    where = origin_of(url) or "the server"
    if isinstance(error, _MALFORMED):
        msg = f"The request to {where} cannot be sent: its URL, or one of its headers, is malformed."
        return RequestBuildException(msg, cause)
    if any(isinstance(link, _TIMED_OUT) for link in chain):
        return TimeoutException(f"{where} did not answer in time: {detail}.", cause)
    if any(isinstance(link, _BROKEN_TLS) for link in chain):
        return SSLException(f"TLS with {where} failed: {detail}.", cause)
    if any(isinstance(link, _BROKEN_LINE) for link in chain):
        return ConnectionException(f"The connection to {where} failed: {detail}.", cause)
    return HttpClientException(f"The exchange with {where} failed: {detail}.", cause)


def timed_out(seconds: float, url: str) -> TimeoutException:
    """The error for an exchange that its deadline ended."""
    where = origin_of(url) or "The server"
    return TimeoutException(f"{where} gave no complete answer within {seconds:g} s.")


def _chain(error: BaseException) -> list[BaseException]:
    """The error and what it wraps, the innermost last."""
    found: list[BaseException] = []
    link: object = error
    while isinstance(link, BaseException) and not any(link is other for other in found):
        found.append(link)
        wrapped = [arg for arg in link.args if isinstance(arg, BaseException)]
        link = getattr(link, "reason", None)
        if not isinstance(link, BaseException):
            link = wrapped[-1] if wrapped else found[-1].__cause__
    return found


def _detail(chain: list[BaseException]) -> str:
    for link in reversed(chain):
        if isinstance(link, _FIT_TO_SHOW) and not isinstance(link, _MALFORMED):
            text = str(link).rstrip(".")
            if text:
                return mask_text(text)
    return type(chain[-1]).__name__


def _copy(error: BaseException, detail: str) -> BaseException:
    if isinstance(error, requests.RequestException):
        return type(error)(detail)
    ...
