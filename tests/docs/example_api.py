"""What api.example.com and its neighbours answer to the examples of the client's pages."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email import message_from_bytes
from itertools import count
from unittest.mock import patch

import httpx
import requests
import responses
from requests import PreparedRequest
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import MaxRetryError, NewConnectionError

_Answer = tuple[int, Mapping[str, str], str]
_Callback = Callable[[PreparedRequest], _Answer]

FILES = {"report.csv": "id,total\n1,9.50\n2,3.20\n"}
"""Files that examples send, by name."""

VARIABLES = {"ORDERS_API_KEY": "key of the application"}
"""Environment variables that examples read."""

_API = "https://api.example.com"
_JSON = {"Content-Type": "application/json"}
# What the examples ask of the answer of /echo.
_ECHOED = (
    *("Authorization", "Content-Type", "Cookie", "Idempotency-Key", "traceparent"),
    *("X-API-Key", "X-Tenant"),
)


@contextmanager
def standing_in() -> Iterator[None]:
    """A block in which they answer."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "POST", "PUT"):
            mock.add_callback(method, f"{_API}/echo", _echo)
        mock.add_callback("GET", "https://files.example.com/echo", _echo)
        mock.get(
            f"{_API}/moved", status=307, headers={"Location": "https://files.example.com/echo"}
        )
        mock.get(f"{_API}/report.csv", body=FILES["report.csv"], content_type="text/csv")
        mock.add_callback("POST", f"{_API}/uploads", _upload)
        mock.get(f"{_API}/login", json={}, headers={"Set-Cookie": "session=a1b2; Path=/"})
        mock.get(f"{_API}/page", body="<title>Sign in</title>", content_type="text/html")
        for number in range(1, 6):
            mock.get(f"{_API}/orders/{number}", json={"id": number})
        mock.add_callback("POST", f"{_API}/orders", _numbered())
        _add_failures(mock)
        with (
            patch.object(httpx.HTTPTransport, "handle_request", _by_requests),
            patch.object(httpx.AsyncHTTPTransport, "handle_async_request", _by_requests_async),
        ):
            yield


def _by_requests(_: object, request: httpx.Request) -> httpx.Response:
    """What httpx asks for, through requests, which the servers of the examples stand behind."""
    answer = requests.request(
        request.method,
        str(request.url),
        headers=dict(request.headers),
        data=request.read(),
        timeout=10,
    )
    return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


async def _by_requests_async(_: object, request: httpx.Request) -> httpx.Response:
    return _by_requests(_, request)


def _add_failures(mock: responses.RequestsMock) -> None:
    mock.get(f"{_API}/orders/9", status=404, json={"error": "There is no order 9."})
    mock.get(f"{_API}/slow", body=requests.ReadTimeout("Read timed out."))
    mock.get(f"{_API}/maintenance", status=503, headers={"Retry-After": "3600"})
    mock.get(f"{_API}/soon", status=503, headers={"Retry-After": "2"})
    mock.add_callback("GET", f"{_API}/flaky", _flaky(Retry_After="2"))
    mock.add_callback("POST", f"{_API}/payments", _flaky())
    mock.add_callback("GET", f"{_API}/locked", _flaky(status=423))
    pool = HTTPSConnectionPool("down.example.com")
    refused = NewConnectionError(pool, "Connection refused")  # type: ignore[arg-type]
    reason = requests.ConnectionError(MaxRetryError(pool, "/", refused))
    mock.get("https://down.example.com/", body=reason)
    mock.post("https://down.example.com/", body=reason)


def _echo(request: PreparedRequest) -> _Answer:
    """The method, and those headers that examples are about."""
    headers = {name: request.headers[name] for name in _ECHOED if name in request.headers}
    return 200, _JSON, json.dumps({"method": request.method, "headers": headers})


def _upload(request: PreparedRequest) -> _Answer:
    """What each part of a multipart body says of itself."""
    kind, body = request.headers["Content-Type"], request.body
    content = body.encode() if isinstance(body, str) else body or b""
    message = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
    names = [part["Content-Disposition"] for part in message.walk() if not part.is_multipart()]
    return 201, _JSON, json.dumps({"parts": [name.partition("; ")[2] for name in names]})


def _numbered() -> _Callback:
    """Orders are created, one number after the other."""
    numbers = count(6)
    return lambda _: (201, _JSON, json.dumps({"id": next(numbers)}))


def _flaky(status: int = 503, **headers: str) -> _Callback:
    """Every other request is refused, the first one included."""
    numbers = count(1)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    done = json.dumps({"state": "done"})
    return lambda _: (status, named, "") if next(numbers) % 2 else (200, _JSON, done)
