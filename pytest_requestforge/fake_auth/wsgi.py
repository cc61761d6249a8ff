"""How a transport asks the WSGI application (PEP 3333)."""

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from urllib.parse import SplitResult, unquote_to_bytes
from wsgiref.types import WSGIApplication, WSGIEnvironment

from pytest_requestforge.fake_auth.delivery import Delivery, Piece, whole

BY_ORIGIN = "pytest_requestforge.by_origin"
"""Key of an environment: true where only endpoints of the origin in its URL may answer."""

DELIVERIES = "pytest_requestforge.deliveries"
"""Key of an environment: a list that takes how the answer travels, if not at once and whole."""

_PORTS = {"http": "80", "https": "443"}


class Reply(NamedTuple):
    """What the application answered.

    Attributes:
        status: with its phrase.
        headers: names and values.
        content: the body.
        delivery: how it travels; None: at once and whole.
    """

    status: str
    headers: list[tuple[str, str]]
    content: bytes
    delivery: Delivery | None = None

    def pieces(self) -> Iterator[Piece]:
        """What goes over the wire, in HTTP/1.1 (RFC 9112)."""
        lines = [f"HTTP/1.1 {self.status}"]
        lines.extend(f"{name}: {value}" for name, value in self.headers)
        head = "\r\n".join((*lines, "", "")).encode("latin-1")
        return (self.delivery or whole)(head, self.content)


def ask(
    app: WSGIApplication,
    method: str,
    url: SplitResult,
    *,
    headers: Iterable[tuple[str, str]],
    content: bytes,
    by_origin: bool = False,
) -> Reply:
    """The application's answer to one request.

    Args:
        app: the application.
        method: in upper case.
        url: in full.
        headers: names in any case; those of a name are joined.
        content: the body.
        by_origin: whether only endpoints of the origin in the URL may answer.
    """
    host = url.netloc.rpartition("@")[2]
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(url.path or "/").decode("latin-1"),
        "QUERY_STRING": url.query,
        "SERVER_NAME": host,
        "SERVER_PORT": _PORTS[url.scheme],  # of no account beside HTTP_HOST
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": url.scheme,
        "wsgi.input": io.BytesIO(content),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        BY_ORIGIN: by_origin,
        DELIVERIES: [],
    }
    for name, value in headers:
        key = f"HTTP_{name.upper().replace('-', '_')}"
        environ[key] = f"{environ[key]}, {value}" if key in environ else value
    environ["HTTP_HOST"] = host
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        environ[key] = environ.pop(f"HTTP_{key}", "")
    if content:
        environ["CONTENT_LENGTH"] = str(len(content))
    return _run(app, environ)


def _run(app: WSGIApplication, environ: WSGIEnvironment) -> Reply:
    written: list[bytes] = []
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start(
        status: str, headers: list[tuple[str, str]], _: object = None
    ) -> Callable[[bytes], object]:
        started.append((status, headers))
        return written.append

    chunks = app(environ, start)
    content = b"".join((*written, *chunks))
    status, headers = started[-1]
    return Reply(status, headers, content, next(iter(environ[DELIVERIES]), None))
