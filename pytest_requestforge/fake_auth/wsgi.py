"""Calls of a WSGI application, as the transports make them (PEP 3333)."""

import io
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, unquote_to_bytes

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

BY_ORIGIN = "pytest_requestforge.by_origin"
"""Key of an environment: true where only endpoints of the origin in the URL may answer."""


class Reply(NamedTuple):
    """What the application answered."""

    status: int
    headers: list[tuple[str, str]]
    content: bytes


def call(  # noqa: D417 - the rest is what a request consists of
    app: "WSGIApplication",
    method: str,
    url: SplitResult,
    headers: Iterable[tuple[str, str]],
    content: bytes,
    *,
    by_origin: bool,
) -> Reply:
    """The application's answer to one request.

    Args:
        by_origin: whether only endpoints of the origin in the URL may answer.
    """
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(url.path or "/").decode("latin-1"),
        "QUERY_STRING": url.query,
        "SERVER_NAME": url.hostname or "",
        "SERVER_PORT": str(url.port or (443 if url.scheme == "https" else 80)),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": url.scheme,
        "wsgi.input": io.BytesIO(content),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        BY_ORIGIN: by_origin,
    }
    for name, value in headers:
        environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
    environ["HTTP_HOST"] = url.netloc.rpartition("@")[2]
    environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE", "")
    environ["CONTENT_LENGTH"] = str(len(content))
    environ.pop("HTTP_CONTENT_LENGTH", None)
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> "_Write":
        started.append((status, headers))
        return started.clear
