"""The heads of answers: read to their end, at a fraction of what the stock parser costs."""

import http.client
import re
from collections.abc import Callable
from types import FunctionType
from typing import Any, Protocol

# Narrower than what the stock parser takes, which is asked about the rest.
_USUAL_LINE = re.compile(
    r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\xa0-\xff]{0,8000})\r\n"
)
_END = b"\r\n"
_MOST_LINES = 100
_LONGEST_LINE = 65537


_stock_parser: Callable[..., http.client.HTTPMessage] = http.client.parse_headers


class _File(Protocol):
    def readline(self, limit: int = -1, /) -> bytes:
        """The next line."""
        ...


def read_head(file: _File, *args: Any, **options: Any) -> http.client.HTTPMessage:  # noqa: ANN401
    """The headers of an answer, as `http.client.parse_headers` reads them.

    Args:
        file: what comes after the line with the status.
        args: of `parse_headers`.
        options: of `parse_headers`.

    Raises:
        http.client.RemoteDisconnected: they end without the empty line that closes them.
        http.client.HTTPException: one of them is too long, or there are too many.
    """
    lines = []
    message = http.client.HTTPMessage()
    for _ in range(_MOST_LINES):
        line = file.readline(_LONGEST_LINE)
        if line == _END:
            return message
        lines.append(line)
        usual = _USUAL_LINE.fullmatch(line.decode("latin-1"))
        if usual is None:
            break
        message.set_raw(*usual.groups())
    replayed = _Replayed(lines, file)
    message = _stock_parser(replayed, *args, **options)
    if not replayed.last.endswith(b"\n"):
        # The stock parser takes the end of the line for the end of the headers: without a
        # Content-Length among those that arrived, it would be an answer with an empty body.
        text = "Remote end closed connection within the headers of its answer"
        raise http.client.RemoteDisconnected(text)
    return message


class QuickAnswer(http.client.HTTPResponse):
    """The stock answer, whose headers `read_head` reads."""

    # What the headers say about the body stays as http.client has it, in any version of Python.
    _stock: Any = http.client.HTTPResponse.begin
    begin = FunctionType(
        _stock.__code__,
        {**vars(http.client), "parse_headers": read_head},
        "begin",
        _stock.__defaults__,
    )
    begin.__kwdefaults__ = _stock.__kwdefaults__


class _Replayed:
    """A file from which some lines were read already.

    Args:
        lines: these.
        file: gives those that follow.

    Attributes:
        last: the line that was read last.
    """

    def __init__(self, lines: list[bytes], file: _File) -> None:
        self._lines = iter(lines)
        self._file = file
        self.last = b""

    def readline(self, limit: int = -1, /) -> bytes:
        """The next line."""
        line = next(self._lines, None)
        self.last = self._file.readline(limit) if line is None else line
        return self.last
