"""What the client's own session sends is, byte for byte, what requests would have sent."""
# ruff: noqa: ANN401 - whatever requests takes

import io
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st
from requests.adapters import BaseAdapter
from requests.auth import HTTPBasicAuth, HTTPDigestAuth
from requests.cookies import RequestsCookieJar

from requestforge.client import HttpClient


class Prepared(NamedTuple):
    """A request as it reached the adapter."""

    method: Any
    url: Any
    headers: list[tuple[Any, Any]]
    body: Any
    hooks: int


class Catching(BaseAdapter):
    """Keeps what it is to send, and answers with nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.caught: list[Prepared] = []

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        body: Any = request.body
        self.caught.append(
            Prepared(
                request.method,
                request.url,
                list(request.headers.items()),
                body if body is None or isinstance(body, str | bytes) else _read(body),
                len(request.hooks["response"]),
            )
        )
        response = requests.Response()
        response.status_code = 204
        response.request = request
        response.raw = io.BytesIO()
        return response

    def close(self) -> None:
        pass


def _read(body: Any) -> list[Any]:
    return [body.read()] if hasattr(body, "read") else list(body)


@pytest.fixture(scope="module", autouse=True)
def _same_boundary() -> Iterator[None]:
    """Both sides separate the parts of a multipart body alike."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("urllib3.filepost.choose_boundary", lambda: "boundary")
        yield


def outcome(session: requests.Session, *args: Any, **kwargs: Any) -> Any:
    """What the session would send, or the error that keeps it from that."""
    adapter = Catching()
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    try:
        session.request(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - the other side has to fail in the same way
        return type(error), str(error)
    return adapter.caught


def both(
    make: Callable[[], tuple[tuple[Any, ...], dict[str, Any]]],
    change: Callable[[requests.Session], object] = lambda _: None,
) -> tuple[Any, Any]:
    """The outcomes of the client's session and of requests' own, of arguments made for each."""
    outcomes = []
    with HttpClient() as client, requests.Session() as stock:
        stock.trust_env = False
        for session in (client.session, stock):
            change(session)
            args, kwargs = make()
            outcomes.append(outcome(session, *args, **kwargs))
    return outcomes[0], outcomes[1]


URLS = [
    "http://example.com",
    "http://example.com/",
    "https://example.com/a/b?c=d",
    "http://example.com?x=1",
    "http://example.com#top",
    "http://example.com/a#top",
    "http://example.com/a?#",
    "http://example.com/a?",
    "http://example.com/?a=1&b=2;c=3",
    "http://EXAMPLE.com/Path",
    "HTTP://example.com/",
    "http://example.com:80/",
    "http://example.com:080/",
    "http://example.com:8080/x",
    "http://example.com:65535/x",
    "http://example.com:65536/x",
    "http://example.com:99999/x",
    "http://example.com:/x",
    "http://example.com:0/x",
    "http://127.0.0.1:8000/x.json",
    "http://1.2.3/",
    "http://[::1]:8000/x",
    "http://[2001:DB8::1]/",
    "http://[::1%25eth0]/",
    "http://bücher.example/ü?ü=ü#ü",
    "http://xn--bcher-kva.example/",
    "http://ex_ample.com/",
    "http://-x.com/",
    "http://.example.com/",
    "http://*.example.com/",
    "http://example..com/",
    "http://example.com./",
    "http://a b.com/",
    "http://example.com/a b",
    "http://example.com/a%20b%7E%2f%zz",
    "http://example.com/%41%2e%2e/",
    "http://example.com/a/../b/./c",
    "http://example.com/..",
    "http://example.com/.well-known/x",
    "http://example.com/...",
    "http://example.com/a//b///c",
    "http://example.com//evil.example/",
    "http://example.com/a;p=1/b,c=d:e",
    "http://example.com/a'b(c)*d!e$f&g+h",
    'http://example.com/"<>^`{|}\\',
    "http://example.com/[x]?[y]=1",
    "http://example.com/?q=a b&r=ü&s=%C3%BC&t=%zz",
    "http://example.com/?u=http://other.example/?v=1",
    "http://example.com/?a=..&b=/../",
    "http://example.com/\ta\nb",
    " http://example.com/",
    "http://example.com/ ",
    "http://user:pass@example.com/",
    "http://user@example.com/",
    "http://example.com/a@b",
    "http://example.com/?m=a@b",
    "http:///x",
    "http:/x",
    "http:x",
    "example.com/x",
    "/x",
    "",
    "mailto:a@example.com",
    "http://" + "a" * 64 + ".com/",
    b"http://example.com/bytes",
    MappingProxyType({}),
]


@pytest.mark.parametrize("method", ["GET", "post", "Delete"])
@pytest.mark.parametrize("url", URLS, ids=repr)
def test_urls(url: Any, method: str) -> None:
    """Every form of URL is sent, or refused, as by requests."""
    ours, stock = both(lambda: ((method, url), {}))
    assert ours == stock


PARAMS = [
    None,
    {},
    {"a": "1"},
    {"a": ["1", "ü"], "b": None, "c": ""},
    [("a", "1"), ("a", "2")],
    "raw=1&b=ü",
    b"raw=2",
    "",
]


@pytest.mark.parametrize(
    "of_session", [{}, {"s": "1"}], ids=["no session params", "session params"]
)
@pytest.mark.parametrize("url", URLS[2:6], ids=repr)
@pytest.mark.parametrize("params", PARAMS, ids=repr)
def test_params(params: Any, url: str, of_session: dict[str, str]) -> None:
    """A query is added as by requests."""

    def change(session: requests.Session) -> None:
        session.params = dict(of_session)

    ours, stock = both(lambda: (("GET", url, params), {}), change)
    assert ours == stock


HEADERS = [
    None,
    {},
    {"X-One": "1", "x-ONE": "2"},
    {"USER-agent": "mine", "Accept": "application/json"},
    {"Accept": None},
    {"X-Bytes": b"\xff"},
    {b"X-Name": "1"},
    {"X-Int": 1},
    {"X-Empty": ""},
    {"X-Latin": "ü"},
    {"X-Wide": "€"},
    {"X-Space": " leading"},
    {"X-Tab": "a\tb"},
    {"X-Lines": "a\nb"},
    {"X-Return": "a\rb"},
    {"X-End": "a\n"},
    {"X:Colon": "1"},
    {"X Space": "1"},
    {"": "1"},
    {"X-ü": "1"},
    {"Content-Type": "text/x"},
    {"content-length": "7"},
    {"Transfer-Encoding": "chunked"},
    {"Cookie": "a=1"},
    {"Host": "other.example"},
    {"Authorization": "Bearer x"},
    MappingProxyType({"X-Proxied": "1"}),
    [("X-Pair", "1")],
]

BODIES: dict[str, Callable[[], dict[str, Any]]] = {
    "none": dict,
    "empty bytes": lambda: {"data": b""},
    "empty text": lambda: {"data": ""},
    "empty form": lambda: {"data": {}},
    "bytes": lambda: {"data": b"\x00\xff"},
    "text": lambda: {"data": "ü"},
    "form": lambda: {"data": {"a": "1", "b": ["2", "ü"], "c": None}},
    "pairs": lambda: {"data": [("a", "1"), ("a", "2")]},
    "json object": lambda: {"json": {"a": [1, 2.5, None, True, "ü€😀"]}},
    "json empty object": lambda: {"json": {}},
    "json text": lambda: {"json": "x"},
    "json zero": lambda: {"json": 0},
    "json false": lambda: {"json": False},
    "json list": lambda: {"json": []},
    "json nan": lambda: {"json": math.nan},
    "json unfit": lambda: {"json": {"a": Decimal(1)}},
    "json and form": lambda: {"json": {"a": 1}, "data": {"b": 2}},
    "json and empty form": lambda: {"json": {"a": 1}, "data": {}},
    "files": lambda: {"files": {"f": ("n.txt", b"content", "text/plain")}},
    "files and form": lambda: {"files": [("f", b"1")], "data": {"a": "1"}},
    "iterator": lambda: {"data": iter([b"a", b"b"])},
    "file": lambda: {"data": io.BytesIO(b"content")},
    "empty file": lambda: {"data": io.BytesIO()},
    "file and files": lambda: {"data": io.BytesIO(b"x"), "files": {"f": b"1"}},
}


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "delete"])
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("headers", HEADERS, ids=repr)
def test_headers_and_bodies(headers: Any, body: str, method: str) -> None:
    """Headers in any case, of any kind, with any body are sent, or refused, as by requests."""

    def make() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (method, "http://example.com/x"), {"headers": headers, **BODIES[body]()}

    ours, stock = both(make)
    assert ours == stock


def _with_cookies(session: requests.Session) -> None:
    for name, domain, path in (("a", "", "/"), ("b", "example.com", "/x"), ("c", "o.test", "/")):
        session.cookies.set(name, "1", domain=domain, path=path)


def _with_other_jar(session: requests.Session) -> None:
    session.cookies = RequestsCookieJar()
    session.cookies.set("own", "1")


CHANGES: dict[str, Callable[[requests.Session], object]] = {
    "cookies": _with_cookies,
    "another jar": _with_other_jar,
    "pair": lambda session: setattr(session, "auth", ("user", "pässword")),
    "headers": lambda session: session.headers.update({"X-Session": "1", "Accept": "a/b"}),
    "none as header": lambda session: session.headers.update({"Accept": None}),
    "plain dict": lambda session: setattr(session, "headers", {"X-Session": "1"}),
    "no headers": lambda session: setattr(session, "headers", None),
    "hook": lambda session: session.hooks["response"].append(lambda response, **_: response),
    "proxies": lambda session: session.proxies.update({"http": "http://127.0.0.1:9"}),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"headers": {"Cookie": "z=9", "X-Session": "2"}},
        {"cookies": {"mine": "1"}},
        {"auth": ("a", "b")},
        {"auth": HTTPBasicAuth("a", "b")},
        {"auth": HTTPDigestAuth("a", "b")},
        {"auth": ""},
        {"hooks": {"response": lambda response, **_: response}},
        {"data": {"a": "1"}},
    ],
    ids=["nothing", "headers", "cookies", "pair", "basic", "digest", "no auth", "hook", "form"],
)
def test_settings_of_the_session(change: str, more: dict[str, Any]) -> None:
    """What a session was set to is merged with the request as by requests."""
    ours, stock = both(lambda: (("POST", "http://example.com/x"), more), CHANGES[change])
    assert ours == stock


@pytest.mark.parametrize("method", [None, b"GET", "gEt", "propfind", ""], ids=repr)
def test_methods(method: Any) -> None:
    """Any method is sent, or refused, as by requests."""
    ours, stock = both(lambda: ((method, "http://example.com/"), {}))
    assert ours == stock


def test_a_session_that_trusts_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set so by its user, the session looks for a login in netrc, as that of requests does."""
    monkeypatch.setattr("requests.sessions.get_netrc_auth", lambda _: ("user", "found"))

    def change(session: requests.Session) -> None:
        session.trust_env = True

    ours, stock = both(lambda: (("GET", "http://example.com/"), {}), change)
    assert ours == stock
    assert ("Authorization", "Basic dXNlcjpmb3VuZA==") in ours[0].headers


SEGMENTS = st.text(st.sampled_from("ab.~-_%20:;,@&=+$!*'()/?#[] üA\\"), max_size=12)
NAMES = st.text(st.sampled_from("aB-_ü: \n"), max_size=6)
VALUES = st.text(st.sampled_from("aB \t\n\rü€;="), max_size=6)


@given(
    host=st.sampled_from(["a", "a.b", "A.b", "a:1", "a:080", "[::1]", "ü", "a_b", "a.", "1.2.3.4"]),
    path=SEGMENTS,
    headers=st.dictionaries(NAMES, VALUES, max_size=3),
    body=st.sampled_from([*BODIES]),
)
@example(host="a", path="/..//.", headers={}, body="none")
@example(host="a", path="?/../", headers={"a": "\t"}, body="none")
def test_any_request(host: str, path: str, headers: dict[str, str], body: str) -> None:
    """Whatever is asked for, both sides send the same, or refuse it for the same reason."""

    def make() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return ("PUT", f"http://{host}{path}"), {"headers": headers, **BODIES[body]()}

    ours, stock = both(make)
    assert ours == stock
