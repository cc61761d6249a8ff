"""One request as it arrived, read from the environment of WSGI."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote
from wsgiref.types import WSGIEnvironment

import idna
from werkzeug.wrappers import Request

from pytest_requestforge.fake_auth.wsgi import BY_ORIGIN

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

SAFE = "/%:@!$&,;=~+"
"""Characters of a decoded path that are written as they are in its URL."""

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Incoming:
    """A request, parsed.

    Attributes:
        method: in upper case.
        origin: scheme, host and port, as `origin` writes them.
        path: decoded.
        url: in full.
        by_origin: whether only endpoints of that origin may answer; else any at that path.
        headers: all but Host, which is the transport's own.
        media_type: of the body, without parameters; "" without Content-Type.
        has_body: whether it has one.
        fields: of a form or a JSON object, for GET of the query; None: unreadable.
        raw: all text of the request in which a token may stand.
    """

    method: str
    origin: str
    path: str
    url: str
    by_origin: bool
    headers: Mapping[str, str]
    media_type: str
    has_body: bool
    fields: Mapping[str, Any] | None
    raw: str

    def header(self, name: str) -> str | None:
        """The value of a header, whatever the case of its name."""
        wanted = name.casefold()
        return next((v for key, v in self.headers.items() if key.casefold() == wanted), None)


def read(environ: WSGIEnvironment) -> Incoming:
    """The request in that environment."""
    request = Request(environ)
    content = request.get_data()
    query = request.query_string.decode("latin-1")
    text = content.decode("utf-8", "replace")
    host = origin(request.scheme, environ.get("HTTP_HOST") or request.host)
    url = f"{host}{quote(request.path, safe=SAFE)}" + (f"?{query}" if query else "")
    headers = {name: value for name, value in request.headers.items() if name != "Host"}
    return Incoming(
        method=request.method.upper(),
        origin=host,
        path=request.path,
        url=url,
        by_origin=bool(environ.get(BY_ORIGIN)),
        headers=headers,
        media_type=request.mimetype,
        has_body=bool(content),
        fields=_fields(query if request.method == "GET" else text, request),
        raw="\n".join((url, *headers.values(), text)),
    )


def origin(scheme: str, host: str) -> str:
    """Scheme, host and port, the port left out where it is the scheme's own.

    Raises:
        UnicodeError: the host is none, not even an international one (RFC 5891).
    """
    plain = host.rpartition("@")[2].lower()
    if not plain.isascii():
        name, colon, port = plain.partition(":")
        # As `requests` writes it.
        plain = f"{idna.encode(name, uts46=True).decode()}{colon}{port}"
    return f"{scheme}://{plain.removesuffix(_DEFAULT_PORTS.get(scheme, ':'))}"


def origin_of(url: SplitResult) -> str:
    """The origin of a URL."""
    return origin(url.scheme, url.netloc)


def _fields(text: str, request: Request) -> Mapping[str, Any] | None:
    if request.method == "GET" or request.mimetype == FORM:
        found = parse_qs(text, keep_blank_values=True)
        return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
    if not text or not request.is_json:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
