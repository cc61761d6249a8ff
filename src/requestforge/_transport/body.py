"""The bodies of answers: read as a whole, within a size, or bit by bit."""

from collections.abc import Iterator

import requests

from requestforge._origins import origin_of
from requestforge._transport.attempt import Attempt
from requestforge.exceptions import HttpClientException

_CHUNK = 64 * 1024
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
        self._response.close()

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
        response.close()
        raise _too_long(url, max_size)
    for piece in response.iter_content(chunk_size):
        left -= len(piece)
        if left < 0:
            response.close()
            raise _too_long(url, max_size)
        yield piece


def whole_body(response: requests.Response, max_size: int, url: str) -> bytes:
    """The decoded body of an answer; arguments and errors are those of `bounded_pieces`."""
    if response.raw is None:
        # Made by hand, such as by a test that stands in for the session.
        if len(response.content) > max_size:
            raise _too_long(url, max_size)
        return response.content
    return b"".join(bounded_pieces(response, max_size, url))


def discard(response: requests.Response) -> None:
    """Read the rest of an answer that nobody wants, or drop its connection if that is long."""
    for _ in zip(range(4), response.iter_content(_CHUNK), strict=False):
        pass
    response.close()


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
