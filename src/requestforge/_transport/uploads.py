"""The bodies of requests: text becomes bytes, and as many are sent as were announced."""

import codecs
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from requests.structures import CaseInsensitiveDict

from requestforge._portable import describe, without_secrets
from requestforge.exceptions import RequestBuildException

_SMALL = 1024 * 1024
_PIECE = 64 * 1024


def sendable(data: Any) -> Any:  # noqa: ANN401 - whatever a caller gives
    """The body as requests takes it, of which a file of text has become UTF-8.

    requests would announce the number of its characters, or the size of the file that it is made
    of, and then send bytes in UTF-8, of which there may be more.

    Raises:
        TypeError: nothing can be sent of it.
    """
    if data is None or isinstance(data, str | bytes | Mapping | list | tuple):
        return data
    if hasattr(data, "read"):
        return _encoded(data) if _is_text(data) else data
    try:
        # Not every buffer has bytes for its items, of which `len` tells the number.
        return bytes(memoryview(data))
    except TypeError:
        if hasattr(data, "__iter__") or hasattr(data, "__getitem__"):
            return data
    msg = f"a body cannot be a {type(data).__name__}: give bytes, text, a file or an iterable"
    raise TypeError(msg)


def checked(body: Any, headers: Mapping[str, Any], host: str) -> Any:  # noqa: ANN401
    """The body as it goes over a connection, which fails before it gives more than announced.

    What a server takes for the rest of a body, or for the next request, would otherwise be up to
    whoever has made the body.

    Args:
        body: bytes, text, a file, a buffer, an iterable, or None.
        headers: those of the request, by names in any case.
        host: where it goes.

    Raises:
        RequestBuildException: the Content-Length is not that of the body; nothing was sent.
    """
    announced = _announced(headers, host)
    if isinstance(body, str):
        body = body.encode()
    if body is not None and not isinstance(body, bytes):
        return _checked_pieces(body, announced, host)
    if announced is not None and announced != len(body or b""):
        raise _unequal(announced, host)
    return body


class _Text:
    """A text in UTF-8, piece by piece.

    Args:
        pieces: gives them.
        size: bytes of all of them, if that is known.

    Attributes:
        len: that size, which requests looks for.
    """

    def __init__(self, pieces: Iterator[bytes], size: int | None) -> None:
        self._pieces = pieces
        if size is not None:
            self.len = size

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces


def _is_text(file: Any) -> bool:  # noqa: ANN401
    # Files of the standard library are wrapped in others, which have all of their attributes.
    is_of_codecs = isinstance(file, codecs.StreamReader | codecs.StreamReaderWriter)
    return is_of_codecs or hasattr(file, "newlines")


def _encoded(file: Any) -> bytes | _Text:  # noqa: ANN401
    position = _position(file)
    pieces = _utf8(file)
    start: list[bytes] = []
    size = 0
    for piece in pieces:
        start.append(piece)
        size += len(piece)
        if size > _SMALL:
            break
    else:
        return b"".join(start)
    if position is None:
        return _Text(chain(start, pieces), None)
    # Twice over the file: there are servers that take no body of unknown length.
    size += sum(map(len, pieces))
    file.seek(position)
    return _Text(_utf8(file), size)


def _position(file: Any) -> Any:  # noqa: ANN401
    """Where the file stands, if it can be put back there."""
    try:
        position = file.tell()
        file.seek(position)
    except (AttributeError, OSError, ValueError):
        return None
    return position


def _utf8(file: Any) -> Iterator[bytes]:  # noqa: ANN401
    while piece := file.read(_PIECE):
        yield piece.encode()


def _announced(headers: Mapping[str, Any], host: str) -> int | None:
    if not isinstance(headers, CaseInsensitiveDict):
        headers = CaseInsensitiveDict(headers)
    value = headers.get("Content-Length")
    if value is None:
        return None
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if not (text.isascii() and text.isdigit()):
        raise RequestBuildException(
            f"The request to {host} was not sent: its Content-Length is no number. Leave the "
            "header away."
        )
    return int(text)


def _checked_pieces(body: Any, announced: int | None, host: str) -> Iterator[bytes]:  # noqa: ANN401
    sent = 0
    for piece in _read(body, host):
        sent += len(piece)
        if announced is not None and sent > announced:
            raise _unequal(announced, host)
        yield piece
    if announced is not None and sent < announced:
        raise _unequal(announced, host)


def _read(body: Any, host: str) -> Iterator[bytes]:  # noqa: ANN401
    """The pieces of a body, less the empty ones."""
    pieces = _pieces(body)
    while True:
        try:
            piece = next(pieces, None)
            failure = None
        except (OSError, UnicodeError) as error:
            # urllib3 would take it for an error of the connection.
            failure = RequestBuildException(
                f"The body of the request to {host} cannot be read: {describe(error)}.",
                without_secrets(error),
            )
        if failure is not None:
            raise failure from failure.original_exception
        if piece is None:
            return
        content = _bytes(piece, host)
        if content:
            yield content


def _pieces(body: Any) -> Iterator[Any]:  # noqa: ANN401
    if hasattr(body, "read"):
        while piece := body.read(_PIECE):
            yield piece
        return
    try:
        yield bytes(memoryview(body))
    except TypeError:
        yield from body


def _bytes(piece: Any, host: str) -> bytes:  # noqa: ANN401
    if isinstance(piece, bytes):
        return piece
    if isinstance(piece, str):
        return piece.encode()
    try:
        return bytes(memoryview(piece))
    except TypeError:
        kind = type(piece).__name__
    raise RequestBuildException(
        f"The body of the request to {host} was broken off: a part of it is a {kind}, where bytes "
        "or text are needed."
    )


def _unequal(announced: int, host: str) -> RequestBuildException:
    return RequestBuildException(
        f"The body of the request to {host} was not sent, or not to its end: its Content-Length "
        f"is {announced}, and it has more bytes or fewer. Give a body whose length is what `len` "
        "says, and no Content-Length."
    )
