"""The bodies of answers: read as a whole, within a size, or bit by bit."""

from collections.abc import Iterator
from itertools import islice

import requests

from requestforge._origins import origin_of
from requestforge._transport.attempt import Attempt
from requestforge.exceptions import HttpClientException

_CHUNK = 64 * 1024
_DISCARDED_CHUNKS = 4
_BODILESS = frozenset({204, 304})


class StreamedBody:
    """The body of an answer that is still on the line.

    Args:
        response: the answer, its body unread.
        attempt: the attempt at the exchange, which goes on.
        max_size: the most bytes that the decoded body may have; None: any number.
    """

    def __init__(self, response: requests.Response, attempt: Attempt, max_size: int | None) -> None:
        self._response = response
        self._attempt = attempt
        self._max_size = max_size
        self._is_asked_for = False
        self._is_closed = False

    def iter_bytes(self, chunk_size: int) -> Iterator[bytes]:
        """As the protocol says."""
        if self._is_asked_for:
            raise self._gone()
        self._is_asked_for = True
        return self._pieces(chunk_size)

    def close(self) -> None:
        """As the protocol says."""
        self._is_asked_for = self._is_closed = True
        self._attempt.end()
        _close(self._response)

    def _pieces(self, chunk_size: int) -> Iterator[bytes]:
        pieces = bounded_pieces(self._response, self._max_size, self._attempt.url, chunk_size)
        try:
            while True:
                if self._is_closed:
                    raise self._gone()
                # Not across a `yield`: what the caller does with a piece is none of the attempt's.
                with self._attempt:
                    piece = next(pieces, None)
                if piece is None:
                    return
                yield piece
        finally:
            self.close()

    def _gone(self) -> HttpClientException:
        return HttpClientException(
            f"The body of {origin_of(self._attempt.url)} was read or closed already: keep what "
            "was read."
        )


def bounded_pieces(
    response: requests.Response, max_size: int | None, url: str, chunk_size: int = _CHUNK
) -> Iterator[bytes]:
    """The decoded body of an answer in pieces.

    Args:
        response: the answer, its body unread.
        max_size: the most bytes that all pieces may have; None: any number.
        url: where it came from.
        chunk_size: the most bytes of a piece.

    Raises:
        HttpClientException: the body is longer, and the connection was dropped.
    """
    left = float("inf") if max_size is None else max_size
    if _announced(response) > left:
        _close(response)
        raise _too_long(url, max_size)
    for piece in _pieces(response, chunk_size):
        left -= len(piece)
        if left < 0:
            _close(response)
            raise _too_long(url, max_size)
        yield piece


def whole_body(response: requests.Response, max_size: int, url: str) -> bytes:
    """The decoded body of an answer; arguments and errors are those of `bounded_pieces`."""
    return b"".join(bounded_pieces(response, max_size, url))


def discard(response: requests.Response) -> None:
    """Read the rest of an answer that nobody wants, or drop its connection if that is long."""
    for _ in islice(_pieces(response, _CHUNK), _DISCARDED_CHUNKS):
        pass
    _close(response)


def _pieces(response: requests.Response, chunk_size: int) -> Iterator[bytes]:
    if not _is_made_by_hand(response):
        yield from response.iter_content(chunk_size)
        return
    content = response.content
    for start in range(0, len(content), chunk_size):
        yield content[start : start + chunk_size]


def _close(response: requests.Response) -> None:
    if not _is_made_by_hand(response):
        response.close()


def _is_made_by_hand(response: requests.Response) -> bool:
    """Whether there is no connection to it, as where a test stands in for the session."""
    return response.raw is None or not isinstance(response, requests.Response)


def _announced(response: requests.Response) -> int:
    """How long the body is in any case, as far as the headers say so."""
    headers = response.headers
    length = headers.get("Content-Length", "")
    method = getattr(response.request, "method", None)
    has_body = method != "HEAD" and response.status_code not in _BODILESS
    if not has_body or "Content-Encoding" in headers or not (length.isascii() and length.isdigit()):
        return 0
    return int(length)


def _too_long(url: str, max_size: int | None) -> HttpClientException:
    return HttpClientException(
        f"The answer from {origin_of(url)} was not read to its end: it is longer than "
        f"{max_size} bytes, the limit of `max_response_size`. Raise the limit, or ask for less."
    )
