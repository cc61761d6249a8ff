"""What a request becomes before it is sent: frozen, with merged headers, checked, rewindable."""

import math
import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from requestforge.exceptions import RequestBuildException
from requestforge.models import HttpRequest

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 section 5.5: a value is sent as latin-1 and holds no control character but the tab.
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Streams:
    """The open files and iterators in the body of a request, and where they stood."""

    __slots__ = ("_can_rewind", "_positions")

    def __init__(self, request: HttpRequest) -> None:
        self._positions: list[tuple[Any, int]] = []
        self._can_rewind = True
        for content in (request.data, request.files, *_files(request.files)):
            if hasattr(content, "read"):
                self._note(content)
            elif hasattr(content, "__next__"):
                self._can_rewind = False

    def rewind(self) -> bool:
        """Put every file back to where it stood; whether the whole body can be read again."""
        if not self._can_rewind:
            return False
        try:
            for stream, position in self._positions:
                stream.seek(position)
        except (OSError, ValueError):  # no longer open, for one
            return False
        return True

    def _note(self, stream: Any) -> None:  # noqa: ANN401 - whatever has a `read`
        try:
            position = stream.tell()
            stream.seek(position)
        except (AttributeError, OSError, ValueError):
            self._can_rewind = False
        else:
            self._positions.append((stream, position))


def frozen(request: HttpRequest) -> HttpRequest:
    """The request with copies of what its owner could change while it is under way.

    Raises:
        RequestBuildException: its URL is no text, or its headers are no mapping.
    """
    url: object = request.url
    if not isinstance(url, str):
        raise RequestBuildException(f"The URL must be a text, not a {type(url).__name__}.")
    headers: object = request.headers
    if headers is not None and not isinstance(headers, Mapping):
        raise RequestBuildException(
            f"The headers must be a mapping of names to values, not a {type(headers).__name__}."
        )
    copies: dict[str, Any] = {
        name: copy
        for name in ("headers", "params", "data", "json_data", "files")
        if (copy := _copied(value := getattr(request, name))) is not value
    }
    return replace(request, **copies) if copies else request


def timeouts(request: HttpRequest, default: float) -> tuple[float, float]:
    """Seconds to connect and to read; where the request names none, or 0, the default.

    Raises:
        RequestBuildException: a timeout is negative, not finite, or no number.
    """
    given = request.timeout
    pair = given if isinstance(given, tuple | list) else (given, given)
    try:
        connect, read = (_seconds(value, default) for value in pair)
    except (TypeError, ValueError):
        raise RequestBuildException(
            f"The timeout {given!r} is neither a number of seconds nor a pair of them to connect "
            "and to read, positive and finite; None or 0 stands for the client's default."
        ) from None
    return connect, read


def headers_to_send(defaults: Mapping[str, str], request: HttpRequest) -> dict[str, str]:
    """The headers of a request over those that a client sends by default, by names in any case.

    A value of None in the request takes a default away. A Content-Type among the defaults counts
    only where it describes the body.

    Raises:
        RequestBuildException: a name or value that no header can have; the value is not shown.
    """
    merged = _by_lower_name(defaults)
    if "content-type" in merged and not _describes_body(merged["content-type"][1], request):
        del merged["content-type"]
    merged |= _by_lower_name(request.headers or {})
    return {name: _checked(name, value) for name, value in merged.values() if value is not None}


def _by_lower_name(headers: Mapping[Any, Any]) -> dict[str, tuple[str, Any]]:
    named = ((_text(name), _text(value)) for name, value in headers.items())
    return {str(name).lower(): (str(name), value) for name, value in named}


def _checked(name: str, value: object) -> str:
    if not _NAME.fullmatch(name):
        raise RequestBuildException(f"{name!r} cannot be the name of a header.")
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise RequestBuildException(
            f"The value of the header {name!r} cannot be sent: it must be text in latin-1 without "
            "control characters and line breaks."
        )
    return value.strip(" \t")


def _describes_body(content_type: object, request: HttpRequest) -> bool:
    """Whether a Content-Type that is a default fits the body of this request.

    Forms and multipart bodies have their own. A JSON body has one, too, unless the default is some
    JSON itself, such as application/vnd.api+json. Without a body there is nothing to describe.
    """
    if request.files or isinstance(request.data, Mapping | list | tuple):
        return False
    if request.data:
        return True
    return request.json_data is not None and "json" in str(content_type).lower()


def _files(files: object) -> Iterable[object]:
    """The contents of a `files` argument; what is none is left for requests to complain about."""
    if isinstance(files, Mapping):
        contents = list(files.values())
    elif isinstance(files, list | tuple):
        contents = [pair[1] for pair in files if isinstance(pair, tuple | list) and len(pair) > 1]
    else:
        contents = []
    for content in contents:
        is_named = isinstance(content, tuple | list) and len(content) > 1
        yield content[1] if is_named else content


def _copied(value: object) -> object:
    """A copy of dicts, lists and byte arrays; whatever else is the value itself."""
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    if type(value) is list:
        return [_copied(item) for item in value]
    if type(value) is tuple:
        items = tuple(map(_copied, value))
        return value if all(map(operator.is_, items, value)) else items
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    return value


def _seconds(value: float | None, default: float) -> float:
    if not value:
        return default
    if isinstance(value, str | bool) or not 0 < value < math.inf:
        raise ValueError
    return float(value)


def _text(value: object) -> object:
    return value.decode("latin-1") if isinstance(value, bytes) else value
