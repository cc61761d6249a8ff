"""Answers of token endpoints that were changed, read by fetchers and providers."""

import io
import json
import pickle
import socket
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from random import Random
from typing import Any
from unittest.mock import patch

import requests
from mutations import mutated, torn
from records import use
from requests.adapters import HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse

from canary import traces
from loopback import Loopback
from requestforge import (
    AuthenticationException,
    BodyTokenFetcher,
    ClientCredentialsTokenProvider,
    HeaderTokenFetcher,
    InMemoryTokenStorage,
    PasswordGrantTokenProvider,
    TokenData,
    TokenFetchPipeline,
    TokenManager,
)

NAME = "the_step"
SENT = "secret-that-was-sent"
"""A server may repeat it, and an error must not."""

_URL = "https://auth.example.com"
_BODIES: tuple[dict[str, Any], ...] = (
    {
        "access_token": "canary-access-in-an-answer",
        "token_type": "Bearer",
        "expires_in": 3600,
        "refresh_token": "canary-refresh-in-an-answer",
        "scope": "read write",
        "id_token": "canary-id-token-in-an-answer",
        "roles": ["a", {"b": None}],
    },
    {"access_token": "canary-bare-in-an-answer"},
    {"data": {"tokens": {"access": "canary-nested-in-an-answer", "kind": "Bearer", "life": "60"}}},
)
_REFUSALS: tuple[dict[str, Any], ...] = (
    {"error": "invalid_grant", "error_description": f"No {SENT} here.", "trace": "canary-trace"},
    {"error": {"code": 5, "message": "canary-message"}, "detail": ["canary-detail"]},
)
_STATUSES = (*(200,) * 24, *(201, 204, 206, 100, 199, 301, 302, 304, 307, 400, 401, 403, 404, 429))
_HEADERS: tuple[dict[str, str], ...] = (
    {"Content-Type": "application/json"},
    {"Content-Type": "application/json; charset=utf-16"},
    {"Content-Type": "text/html; charset=none-such"},
    {"Content-Type": "\x00"},
    {"Retry-After": "120"},
    {"Retry-After": "99999999999999999999"},
    {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"},
    {"WWW-Authenticate": 'Bearer error="invalid_token", error_description="canary-challenge"'},
    {"Location": "https://canary-host.example/canary-path?code=canary-code"},
    {},
)
_TOKEN_HEADERS = (
    *("canary-in-a-header", "Bearer canary-in-a-header", "bearer  canary-in-a-header ", "Bearer"),
    *("", " ", "Bearer Bearer canary", "canary\tcanary", "canary\r\nX: y", "canary-\xff", "日本"),
)


class Answers:
    """Changes what an endpoint answers, and sees what one user of it makes of that.

    Args:
        ask: what gets a token.
    """

    def __init__(self, ask: Callable[[], TokenData]) -> None:
        self._ask = ask

    def run(self, random: Random) -> None:
        """Run one case; an AssertionError or any other error is a find."""
        status, headers, body = answer(random)
        with answering(status, headers, body):
            check(self._ask, status, body, thorough=random.random() < 0.02)


class Line:
    """Changes the bytes of whole answers, status line and headers included, on a connection."""

    def __init__(self, stack: ExitStack) -> None:
        self._answer = b""
        self._server = stack.enter_context(Loopback(lambda _: self._say))
        self._fetcher = BodyTokenFetcher(
            NAME, self._server.url, "/token", request_data={"client_secret": SENT}, timeout=5
        )
        stack.callback(self._fetcher.close)

    def run(self, random: Random) -> None:
        """Run one case; an AssertionError or any other error is a find."""
        status, headers, body = answer(random)
        headers["Content-Length"] = str(len(body))
        # Latin-1 is what a header is made of; half of a control character breaks the line.
        told = {name: value.encode("latin-1", "replace") for name, value in headers.items()}
        head = b"".join(b"%s: %s\r\n" % (name.encode(), value) for name, value in told.items())
        text = b"HTTP/1.1 %d Odd\r\n%s\r\n%s" % (status, head, body)
        self._answer = torn(text, random) if random.random() < 0.8 else text
        check(self._fetcher.fetch, None, self._answer, thorough=False)

    def _say(self, connection: socket.socket) -> None:
        with suppress(OSError):
            connection.sendall(self._answer)
            connection.shutdown(socket.SHUT_WR)


def check(
    ask: Callable[[], TokenData],
    status: int | None,
    body: bytes,
    *,
    thorough: bool,
) -> None:
    """A token that can be used, or the documented error, which shows nothing of the answer.

    A status of None stands for: whatever the answer says.
    """
    outcome = _outcome(ask)
    if isinstance(outcome, TokenData):
        assert status is None or 200 <= status <= 299, f"A token in spite of status {status}."
        assert outcome.access_token
        assert all(" " <= c <= "~" for c in outcome.authorization_header)
        use(outcome)
        json.dumps(outcome.to_dict())
        return
    assert outcome.service_name == NAME, f"It names {outcome.service_name!r}."
    shown = _shown(outcome)
    assert SENT not in shown, "It repeats what was sent."
    if _told_canary(status, body):
        return
    assert "canary" not in shown.lower(), f"It shows a part of the answer: {outcome}"
    if thorough:
        assert traces(outcome) == []
        assert "canary" not in pickle.dumps(outcome).decode("latin-1")


def _outcome(ask: Callable[[], TokenData]) -> TokenData | AuthenticationException:
    try:
        return ask()
    except AuthenticationException as error:
        return error


def answer(random: Random) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer."""
    status = random.choice(_STATUSES)
    seed = random.choice(_BODIES if status < 300 or random.random() < 0.1 else _REFUSALS)
    body = mutated(seed, random)
    headers = dict(random.choice(_HEADERS))
    headers["X-Token"] = random.choice(_TOKEN_HEADERS)
    if random.random() < 0.1:
        headers["X-Token"] = torn(headers["X-Token"].encode(), random).decode("latin-1")
    if random.random() < 0.05:
        headers["Content-Encoding"] = random.choice(
            ("gzip", "deflate", "br", "none-such", "gzip, gzip")
        )
        body = random.choice((body, zlib.compress(body), _gzipped(body)))
        body = torn(body, random) if random.random() < 0.5 else body
    if random.random() < 0.002:
        body += b" " * random.choice((1 << 20, (1 << 20) + 1))
    return status, headers, body


@contextmanager
def answering(status: int, headers: Mapping[str, str], body: bytes) -> Iterator[None]:
    """Every request that the transport sends gets that answer, without a connection."""

    def send(adapter: HTTPAdapter, request: requests.PreparedRequest, **_: object) -> object:
        raw = HTTPResponse(
            io.BytesIO(body),
            headers=HTTPHeaderDict(headers),
            status=status,
            preload_content=False,
            request_method=request.method,
        )
        return adapter.build_response(request, raw)

    with patch.object(HTTPAdapter, "send", send):
        yield


def answer_targets(stack: ExitStack) -> dict[str, Answers | Line]:
    """All that reads answers, by name; what they hold open is closed with the stack."""
    secret = {"client_secret": SENT}
    body = BodyTokenFetcher(NAME, _URL, "/token", request_data=secret)
    nested = BodyTokenFetcher(
        NAME,
        _URL,
        "/token",
        request_data=secret,
        token_field="data.tokens.access",
        token_type_field="data.tokens.kind",
        expires_in_field="data.tokens.life",
    )
    header = HeaderTokenFetcher(NAME, _URL, "/token", request_data=secret, token_header="X-Token")
    piped = BodyTokenFetcher(NAME, _URL, "/token", request_data=secret)
    pipeline = TokenFetchPipeline([piped], InMemoryTokenStorage())
    client = ClientCredentialsTokenProvider(f"{_URL}/token", "client", SENT, NAME)
    person = PasswordGrantTokenProvider(f"{_URL}/token", "client", SENT, "alice", SENT, NAME)
    manager = TokenManager(person)
    old = TokenData("old", refresh_token=SENT)
    return {
        "body": Answers(body.fetch),
        "nested": Answers(nested.fetch),
        "header": Answers(header.fetch),
        "pipeline": Answers(lambda: pipeline.execute(force_refresh=True)),
        "client credentials": Answers(client.fetch_token),
        "password": Answers(person.fetch_token),
        "refresh": Answers(lambda: client.refresh_token(old)),
        "manager": Answers(manager.force_refresh),
        "line": Line(stack),
    }


def _shown(error: BaseException) -> str:
    """What an error and all that it comes from say."""
    shown: list[str] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is not None and len(shown) < 40:
            shown += [str(link), repr(link), repr(link.args), repr(vars(link))]
            waiting += [link.__cause__, link.__context__]
    return "\n".join(shown)


def _told_canary(status: int | None, body: bytes) -> bool:
    """Whether a change has put a secret into the server's own words for its refusal."""
    if status is None:
        return b"error" in body
    try:
        answer = json.loads(_unpacked(body))
    except (ValueError, RecursionError):
        return False
    told = (
        (answer.get(key) for key in ("error", "error_description"))
        if isinstance(answer, dict)
        else ()
    )
    return status >= 400 and any("canary" in str(text).lower() for text in told)


def _unpacked(body: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=47).decompress(body)  # zlib or gzip
    except zlib.error:
        return body


def _gzipped(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(body) + packer.flush()
