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

    __slots__ = ("_positions", "can_rewind")

    def __init__(self, request: HttpRequest) -> None:
        self._positions: list[tuple[Any, int]] = []
        self.can_rewind = True
        for stream in (request.data, *_files(request.files)):
            if hasattr(stream, "read"):
                self._note(stream)
            elif hasattr(stream, "__next__"):
                self.can_rewind = False

    def rewind(self) -> None:
        """Put every file back to where it stood when this object was made.

        Raises:
            OSError: a file cannot be put back after all.
            ValueError: a file is closed.
        """
        for stream, position in self._positions:
            stream.seek(position)

    def _note(self, stream: Any) -> None:
        try:
            self._positions.append((stream, stream.tell()))
            stream.seek(stream.tell())
        except (AttributeError, OSError, ValueError):
            self.can_rewind = False


def frozen(request: HttpRequest) -> HttpRequest:
    """The request with copies of what its owner could change while it is under way."""
    copies = {
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


def merged_headers(*layers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers of all layers, names compared ignoring case; a later layer wins.

    A value of None takes the header of that name away.

    Raises:
        RequestBuildException: a name or value that no header can have; the value is not shown.
    """
    merged: dict[str, tuple[str, str]] = {}
    for layer in layers:
        for given_name, given_value in (layer or {}).items():
            name, value = _text(given_name), _text(given_value)
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise RequestBuildException(f"{given_name!r} cannot be the name of a header.")
            merged.pop(name.lower(), None)
            if value is None:
                continue
            if not isinstance(value, str) or not _VALUE.fullmatch(value):
                raise RequestBuildException(
                    f"The value of the header {name!r} cannot be sent: it must be text in latin-1 "
                    "without control characters and line breaks."
                )
            merged[name.lower()] = (name, value.strip(" \t"))
    return dict(merged.values())


def default_content_type(request: HttpRequest, content_type: str) -> bool:
    """Whether a Content-Type that is a client's default describes the body of this request.

    Forms and multipart bodies have their own, a JSON body has one unless the default is JSON, too,
    such as application/vnd.api+json; without a body there is nothing to describe.
    """
    if request.files:
        return False
    if request.data:
        return not isinstance(request.data, Mapping | list | tuple)
    return request.json_data is not None and "json" in content_type.lower()


def _files(files: Any) -> Iterable[Any]:
    """The contents of a `files` argument: each is itself, or second in a tuple with its name."""
    if not files:
        return
    for content in files.values() if isinstance(files, Mapping) else (pair[1] for pair in files):
        yield content[1] if isinstance(content, tuple | list) else content


def _copied(value: Any) -> Any:
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


def _seconds(value: Any, default: float) -> float:
    if not value:
        return default
    if isinstance(value, str | bool) or not 0 < value < math.inf:
        raise ValueError
    return float(value)


def _text(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value
