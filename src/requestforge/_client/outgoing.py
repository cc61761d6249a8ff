"""What a request becomes before it is sent: frozen, with merged headers, checked, rewindable."""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

from requestforge._portable import describe, without_secrets
from requestforge.exceptions import RequestBuildException
from requestforge.models import HttpRequest
from requestforge.models.request import with_others

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 section 5.5: a value is sent as latin-1 and holds no control character but the tab.
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


# Ten years in seconds: what lies far beyond, no socket takes.
_LONGEST = 315_360_000.0


class Streams:
    """The open files and iterators in the body and the query of a request, and where they stood."""

    __slots__ = ("_can_rewind", "_positions")

    def __init__(self, request: HttpRequest) -> None:
        self._positions: list[tuple[Any, int]] = []
        self._can_rewind = True
        if not _may_hold_streams(request):
            return
        for content in (
            *(request.data, request.files, request.params),
            *_files(request.files),
            *_field_values(request.data),
            *_field_values(request.params),
        ):
            if hasattr(content, "read"):
                self._note(content)
            elif _is_one_shot(content):
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


def _may_hold_streams(request: HttpRequest) -> bool:
    data, params = request.data, request.params
    return not (
        request.files is None
        and (data is None or type(data) in {bytes, str})
        and (params is None or type(params) is str)
    )


def has_same_body(request: HttpRequest, other: HttpRequest) -> bool:
    """Whether body and query of two requests are the same objects."""
    return (
        request.data is other.data
        and request.files is other.files
        and request.params is other.params
    )


def check(request: object) -> None:
    """Refuse what is no request, or one whose URL and headers are none.

    Raises:
        RequestBuildException: it is not.
    """
    if not isinstance(request, HttpRequest):
        raise RequestBuildException(
            f"A request must be an HttpRequest, not a {type(request).__name__}."
        )
    url: object = request.url
    if not isinstance(url, str):
        raise RequestBuildException(f"The URL must be a text, not a {type(url).__name__}.")
    headers: object = request.headers
    if headers is not None and not isinstance(headers, Mapping):
        raise RequestBuildException(
            f"The headers must be a mapping of names to values, not a {type(headers).__name__}."
        )


def frozen(request: HttpRequest) -> HttpRequest:
    """The request with copies of what its owner could change while it is under way.

    Iterators in its query and form fields become lists, so that they can be sent more than once.

    Raises:
        RequestBuildException: an iterator failed, or a value holds itself.
    """
    headers = request.headers
    try:
        if not _may_hold_streams(request):
            if request.json_data is None and not headers:
                return request
            return with_others(request, headers and dict(headers), _copied(request.json_data))
        copies: dict[str, Any] = {
            name: copy
            for name, copy_of in _COPIES.items()
            if (copy := copy_of(value := getattr(request, name))) is not value
        }
    except RecursionError:
        raise RequestBuildException(
            "The request cannot be built: its query or body is nested too deep, or holds itself."
        ) from None
    return replace(request, **copies) if copies else request


def timeouts(request: HttpRequest, defaults: tuple[float, float]) -> tuple[float, float]:
    """Seconds to connect and to read; where the request names none, or 0, the defaults.

    Raises:
        RequestBuildException: a timeout is negative, not finite, or no number.
    """
    given = request.timeout
    if given is None:
        return defaults
    pair = given if isinstance(given, tuple | list) else (given, given)
    try:
        connect, read = (
            _seconds(value, default) for value, default in zip(pair, defaults, strict=True)
        )
    except (TypeError, ValueError, ArithmeticError):
        raise RequestBuildException(
            f"The timeout{_shown(given)} is neither a number of seconds nor a pair of them to "
            "connect and to read, positive and finite; None or 0 stands for the client's default."
        ) from None
    return min(connect, _LONGEST), min(read, _LONGEST)


class DefaultHeaders:
    """The headers that a client sends by default.

    Args:
        headers: by name.
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._ready: dict[str, tuple[str, str]] | None = None

    def merged(self, request: HttpRequest) -> dict[str, str]:
        """The headers of a request over these, by names in any case.

        A value of None in the request takes a default away. A Content-Type among the defaults
        counts only where it describes the body.

        Raises:
            RequestBuildException: a name or value that no header can have; the value is not shown.
        """
        if self._ready is None:
            self._ready = _merged({}, self._headers)
        merged = self._ready
        if "content-type" in merged and not _describes_body(merged["content-type"][1], request):
            merged = {name: pair for name, pair in merged.items() if name != "content-type"}
        if request.headers:
            merged = _merged(merged, request.headers)
        return dict(merged.values())


def unauthorized(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers less Authorization."""
    return {
        name: value
        for name, value in headers.items()
        if str(_text(name)).lower() != "authorization"
    }


def _merged(
    defaults: dict[str, tuple[str, str]], headers: Mapping[Any, Any]
) -> dict[str, tuple[str, str]]:
    """Names and values over others, by the names in lower case."""
    merged = defaults.copy()
    for given_name, given_value in headers.items():
        name, value = given_name, given_value
        if type(name) is not str or type(value) is not str:
            name, value = str(_text(name)), _text(value)
            if value is None:
                merged.pop(name.lower(), None)
                continue
        if not _is_name(name):
            raise RequestBuildException(f"{name!r} cannot be the name of a header.")
        # The quick answer for nearly all of them comes first.
        is_plain = isinstance(value, str) and value.isascii() and value.isprintable()
        if not is_plain and not (isinstance(value, str) and _VALUE.fullmatch(value)):
            raise RequestBuildException(
                f"The value of the header {name!r} cannot be sent: it must be text in latin-1 "
                "without control characters and line breaks."
            )
        merged[name.lower()] = (name, value.strip(" \t"))
    return merged


@lru_cache(maxsize=1024)
def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


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
    """A copy of mappings, lists and byte arrays; whatever else is the value itself."""
    if type(value) in _UNCHANGING:
        return value
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if type(value) is tuple:
        items = tuple(map(_copied, value))
        return value if all(map(operator.is_, items, value)) else items
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    return value


def _query(value: object) -> object:
    return _form(_read_out(value) if _is_one_shot(value) else value)


def _form(value: object) -> object:
    """A copy of form fields, in which iterators have become lists."""
    if not any(map(_is_one_shot, _field_values(value))):
        return _copied(value)
    if type(value) is dict:
        return {name: _field(content) for name, content in value.items()}
    pairs: Iterable[Any] = value.items() if isinstance(value, Mapping) else cast("list[Any]", value)
    return [(pair[0], _field(pair[1])) if _is_pair(pair) else pair for pair in pairs]


def _field(value: object) -> object:
    return _read_out(value) if _is_one_shot(value) else _copied(value)


def _field_values(fields: object) -> list[object]:
    """The values of form fields or query, if that is what these are."""
    if isinstance(fields, Mapping):
        return list(fields.values())
    if isinstance(fields, list | tuple):
        return [pair[1] for pair in fields if _is_pair(pair)]
    return []


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2  # noqa: PLR2004 - a pair


def _is_one_shot(value: Any) -> bool:  # noqa: ANN401 - whatever a caller gives
    """Whether it can be iterated over once only."""
    if value is None or isinstance(value, str | bytes | Mapping | list | tuple):
        return False
    if hasattr(value, "__next__"):
        return True
    try:
        return iter(value) is iter(value)
    except Exception:  # noqa: BLE001 - no iterable, or a caller's that will tell when it is sent
        return False


def _read_out(value: Any) -> list[object]:  # noqa: ANN401 - an iterable
    try:
        return list(value)
    except Exception as error:  # noqa: BLE001 - a caller's iterator may raise anything
        failure = RequestBuildException(
            f"The request cannot be built from its query and body: {describe(error)}.",
            without_secrets(error),
        )
    raise failure from failure.original_exception


_UNCHANGING = frozenset({str, bytes, int, float, bool, type(None)})

_COPIES: dict[str, Callable[[object], object]] = {
    "headers": _copied,
    "params": _query,
    "data": _form,
    "json_data": _copied,
    "files": _copied,
}


def _seconds(value: float | None, default: float) -> float:
    if not value:
        return default
    if isinstance(value, str | bool) or not 0 < value < math.inf:
        raise ValueError
    return min(float(value), _LONGEST)


def _shown(timeout: object) -> str:
    # A number of thousands of digits is refused by `repr` itself.
    return "" if isinstance(timeout, int) and abs(timeout) > _LONGEST else f" {timeout!r}"


def _text(value: object) -> object:
    return value.decode("latin-1") if isinstance(value, bytes) else value
