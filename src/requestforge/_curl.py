"""One HTTP request as one curl command for a POSIX shell."""

import json
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import SupportsFloat, cast
from urllib.parse import quote_plus

_FORM_SPECIALS = frozenset('@<;"')
_FILE_NAME_SPECIALS = frozenset(';,"\\')
_GLOB_SPECIALS = frozenset("[]{}")
_CONNECT_AND_READ = 2


def curl_command(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str | None] | None,
    params: object,
    data: object,
    json_data: object,
    files: object,
    timeout: object,
    auth: object,
) -> str:
    """The command that sends what `requests` would send for these arguments."""
    address = _with_params(url, params)
    words = ["curl", "-X", method]
    if method == "HEAD":
        words.append("--head")  # else curl waits for a body that never comes
    words += _headers(headers or {})
    words += _auth(auth)
    if files:
        words += _multipart(data, files)
    else:
        words += _body(data, json_data, typed=_has_content_type(headers or {}))
    words += _timeout(timeout)
    if not _GLOB_SPECIALS.isdisjoint(address):
        words.append("--globoff")  # brackets would stand for several URLs
    if address.startswith("-"):
        words.append("--url")
    return shlex.join((*words, address))


def _with_params(url: str, params: object) -> str:
    query = _text(params) if isinstance(params, str | bytes) else _encoded(params)
    if not query:
        return url
    address, hash_mark, fragment = url.partition("#")
    return f"{address}{'&' if '?' in address else '?'}{query}{hash_mark}{fragment}"


def _headers(headers: Mapping[str, str | None]) -> Iterator[str]:
    for name, value in headers.items():
        yield "-H"
        if value is None:  # as in requests, not to be sent at all
            yield f"{_text(name)}:"
        else:
            yield f"{_text(name)}: {_text(value)}" if value else f"{_text(name)};"


def _has_content_type(headers: Mapping[str, str | None]) -> bool:
    return any(_text(name).lower() == "content-type" for name in headers)


def _auth(auth: object) -> Iterator[str]:
    if isinstance(auth, tuple):
        user, password = auth
    else:
        user, password = getattr(auth, "username", None), getattr(auth, "password", None)
    if user is None or password is None:
        return
    if "Digest" in type(auth).__name__:
        yield "--digest"
    yield from ("-u", f"{_text(user)}:{_text(password)}")


def _body(data: object, json_data: object, *, typed: bool) -> Iterator[str]:
    if not data:
        if json_data is not None:
            if not typed:
                yield from ("-H", "Content-Type: application/json")
            yield from _data(json.dumps(json_data))
        return
    if isinstance(data, Mapping | list | tuple):
        yield from _data(_encoded(data))
        return
    if not typed:
        yield from ("-H", "Content-Type:")  # else curl calls it a form
    try:
        text = data.decode() if isinstance(data, bytes | bytearray) else data
    except UnicodeDecodeError:
        text = None
    if isinstance(text, str):
        yield from _data(text)
    else:
        yield from ("--data-binary", "@-")  # a stream, or no text: to be piped in


def _data(text: str) -> Iterator[str]:
    yield from ("--data-raw" if text.startswith("@") else "--data", text)


def _multipart(data: object, files: object) -> Iterator[str]:
    for name, value in _pairs(data):
        part = _text(value)
        yield "-F" if _FORM_SPECIALS.isdisjoint(part) else "--form-string"
        yield f"{name}={part}"
    for name, file in _items(files):
        file_name, kind = getattr(file, "name", name), None
        if isinstance(file, tuple):
            file_name, _, kind, *_ = (*file, None)
        yield "-F"
        yield f"{name}=@{_quoted(_text(file_name))}" + (f";type={kind}" if kind else "")


def _quoted(file_name: str) -> str:
    if _FILE_NAME_SPECIALS.isdisjoint(file_name):
        return file_name
    escaped = file_name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _timeout(timeout: object) -> Iterator[str]:
    connect, read = None, timeout
    if isinstance(timeout, tuple | list):
        connect, read = timeout if len(timeout) == _CONNECT_AND_READ else (None, None)
    for option, value in (("--connect-timeout", connect), ("--max-time", read)):
        if seconds := _seconds(value):
            yield from (option, seconds)


def _seconds(value: object) -> str:
    """The number as curl takes it; nothing for what no request could be sent with."""
    if isinstance(value, bool) or not isinstance(value, SupportsFloat):
        return ""
    try:
        seconds = float(value)
    except (OverflowError, ValueError):  # beyond all floats, or a signalling NaN
        return ""
    if not 0 < seconds < math.inf:
        return ""
    return str(value if isinstance(value, int) else seconds)


def _encoded(fields: object) -> str:
    return "&".join(
        f"{quote_plus(_text(name))}={quote_plus(_text(value), safe='*')}"
        for name, value in _pairs(fields)
    )


def _pairs(fields: object) -> Iterator[tuple[object, object]]:
    for name, values in _items(fields):
        several = isinstance(values, Iterable) and not isinstance(values, str | bytes)
        for value in cast("Iterable[object]", values) if several else (values,):
            if value is not None:
                yield name, value


def _items(fields: object) -> Iterable[tuple[object, object]]:
    """The pairs of a mapping or of a sequence of pairs; none of anything else."""
    if isinstance(fields, Mapping):
        return fields.items()
    return fields if isinstance(fields, list | tuple) else ()


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
