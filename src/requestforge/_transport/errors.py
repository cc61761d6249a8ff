"""Which of the library's errors a failed exchange ends in."""

import http.client
import ssl
from traceback import walk_tb

import requests
from urllib3 import exceptions as urllib3_errors
from urllib3 import response as urllib3_response

from requestforge._origins import origin_of
from requestforge._redaction import clean_text
from requestforge.exceptions import (
    ConnectionException,
    HttpClientException,
    RequestBuildException,
    SSLException,
    TimeoutException,
)

_TRANSPORT_ERRORS = (
    OSError,  # the errors of requests are some
    urllib3_errors.HTTPError,
    http.client.HTTPException,
    UnicodeError,  # of a header that is not Latin-1
)
_READER = urllib3_response.__name__
_MALFORMED = (
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    urllib3_errors.LocationValueError,
    UnicodeError,
)
# These are about an answer, though requests and Python class them with those above.
_MALFORMED_ANSWER = (urllib3_errors.InvalidHeader, UnicodeDecodeError)
_WRONGLY_ENCODED = (requests.exceptions.ContentDecodingError, urllib3_errors.DecodeError)
_TIMED_OUT = (TimeoutError, requests.exceptions.Timeout, urllib3_errors.ReadTimeoutError)
_BROKEN_TLS = (ssl.SSLError, requests.exceptions.SSLError, urllib3_errors.SSLError)
_BROKEN_LINE = (
    ConnectionError,
    http.client.HTTPException,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ConnectionError,
    urllib3_errors.ProtocolError,
)
# The texts of others quote the URL with its query, a header, or what the server sent.
_FIT_TO_SHOW = (OSError, http.client.IncompleteRead)
_UNFIT_TO_SHOW = (*_MALFORMED, urllib3_errors.InvalidChunkLength)


def is_of_transport(error: BaseException) -> bool:
    """Whether sending a request, or reading its answer, raised the error."""
    return isinstance(error, _TRANSPORT_ERRORS) or _is_of_reading(error)


def translated(error: BaseException, url: str, proxy: str | None = None) -> HttpClientException:
    """The library's error for one that `is_of_transport`.

    Its `original_exception`, meant to be its cause, is a copy of the error: it has the type, but
    neither the request, whose headers and body hold credentials, nor a text that may show some.

    Args:
        error: what was raised.
        url: what was asked for.
        proxy: the one that is to blame, as it can be shown.
    """
    chain = _chain(error)
    detail = _detail(chain)
    cause = _bare_copy(error, detail)
    origin = origin_of(url) or "the server"
    where = origin if proxy is None else f"the proxy {proxy}"
    if _any_is(chain, _MALFORMED_ANSWER) or _is_of_reading(error):
        return ConnectionException(f"The answer from {where} is malformed: {detail}.", cause)
    if isinstance(error, _MALFORMED):
        fault = "its URL or one of its headers is malformed."
        if proxy is not None:
            fault = (
                f"the URL of {where} is malformed, or its scheme is not supported. Give one such "
                "as http://host:port; for socks5://, install requests[socks]."
            )
        return RequestBuildException(f"The request to {origin} was not sent: {fault}", cause)
    if isinstance(error, _WRONGLY_ENCODED):
        return HttpClientException(
            f"The body of the answer from {where} is not encoded as its Content-Encoding says.",
            cause,
        )
    return _broken_off(chain, where, detail, cause)


def _broken_off(
    chain: list[BaseException], where: object, detail: str, cause: OSError
) -> HttpClientException:
    if _any_is(chain, _TIMED_OUT):
        return TimeoutException(f"No answer from {where} in time: {detail}.", cause)
    if _any_is(chain, _BROKEN_TLS):
        return SSLException(
            f"TLS with {where} failed: {detail}. Check its certificate and the CA bundle in use.",
            cause,
        )
    if _any_is(chain, _BROKEN_LINE):
        return ConnectionException(f"The connection to {where} failed: {detail}.", cause)
    return HttpClientException(f"The exchange with {where} failed: {detail}.", cause)


def timed_out(seconds: float, url: str) -> TimeoutException:
    """The error for an exchange that its deadline ended."""
    where = origin_of(url) or "the server"
    return TimeoutException(f"No complete answer from {where} within {seconds:.3g} s.")


def _is_of_reading(error: BaseException) -> bool:
    """Whether it is a ValueError of the body's reader, and not of a value of the caller.

    urllib3 lets through what http.client says of a chunk of negative size.
    """
    if type(error) is not ValueError:
        return False
    frames = (frame for frame, _ in walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__") == _READER for frame in frames)


def _chain(error: BaseException) -> list[BaseException]:
    """The error and what it wraps, the innermost last."""
    found: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and not any(link is other for other in found):
        found.append(link)
        held = [getattr(link, "reason", None), *reversed(link.args), link.__cause__]
        link = next((item for item in held if isinstance(item, BaseException)), None)
    return found


def _any_is(chain: list[BaseException], kinds: tuple[type[BaseException], ...]) -> bool:
    return any(isinstance(link, kinds) for link in chain)


def _detail(chain: list[BaseException]) -> str:
    innermost = chain[-1]
    if isinstance(innermost, _FIT_TO_SHOW) and not isinstance(innermost, _UNFIT_TO_SHOW):
        text = clean_text(str(innermost)).rstrip(". ")
        if text:
            return text
    return type(innermost).__name__


def _bare_copy(error: BaseException, detail: str) -> OSError:
    if not isinstance(error, requests.RequestException):
        return OSError(detail) if isinstance(error, OSError) else requests.RequestException(detail)
    # Of a foreign subclass nobody knows what its constructor takes.
    kinds: list[type[OSError]] = [
        kind for kind in type(error).__mro__ if kind.__module__ == requests.exceptions.__name__
    ]
    return kinds[0](detail)
