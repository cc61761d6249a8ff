"""One request as it arrived, read from the environment of WSGI."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from werkzeug.wrappers import Request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

BY_ORIGIN = "pytest_requestforge.by_origin"
"""Key of an environment whose request goes to the host in its URL alone, as in process."""

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Incoming:
    """A request, parsed.

    Attributes:
        method: in upper case.
        url: in full.
        path: decoded.
        origin: scheme, host and port, as `origin_of` writes them.
        by_origin: whether only endpoints of that origin may answer; else any with that path.
        headers: all but Host, which the transport chooses.
        media_type: of the body, without parameters; "" without Content-Type.
        fields: of a form or a JSON object, of the query for GET; None: unreadable.
        has_body: whether it has one.
        raw: all text of the request in which a token may stand.
    """

    method: str
    url: str
    path: str
    origin: str
    by_origin: bool
    headers: Mapping[str, str]
    media_type: str
    fields: Mapping[str, Any] | None
    has_body: bool
    raw: str

    def header(self, name: str) -> str | None:
        """The value of a header, whatever the case of its name."""
        wanted = name.casefold()
        return next((v for key, v in self.headers.items() if key.casefold() == wanted), None)


def read(environ: "WSGIEnvironment") -> Incoming:
    """The request in that environment."""
    request = Request(environ)
    content = request.get_data()
    headers = {name: value for name, value in request.headers.items() if name != "Host"}
    query = request.query_string.decode("latin-1")
    text = content.decode("utf-8", "replace")
    return Incoming(
        method=request.method.upper(),
        url=request.url,
        path=request.path,
        origin=origin_of(request.url),
        by_origin=bool(environ.get(BY_ORIGIN)),
        headers=headers,
        media_type=request.mimetype,
        fields=_fields(query if request.method == "GET" else text, request),
        has_body=bool(content),
        raw="\n".join((request.url, query, *headers.values(), text)),
    )


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, the port left out where it is the scheme's own."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = parts.port
    default = port is None or port == _DEFAULT_PORTS.get(parts.scheme)
    return f"{parts.scheme}://{host}" + ("" if default else f":{port}")


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
