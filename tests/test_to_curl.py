"""Requests as curl commands."""

import io
import itertools
import json
import shlex
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from requests.auth import HTTPBasicAuth, HTTPDigestAuth

from requestforge.models import HttpMethod, HttpRequest
from requestforge.utils import to_curl

CANARY = "canary-5ca1ab1e"

IMPOSSIBLE: dict[str, object] = {
    "triple": (1, 2, 3),
    "single": (1,),
    "no pair": [],
    "nested": ((1,), "2"),
    "text": "5",
    "truth value": True,
    "negative": -1,
    "infinite": float("inf"),
    "nan": float("nan"),
    "signalling": Decimal("sNaN"),
    "huge": 10**400,
    "object": object(),
}
"""Timeouts that no request can be sent with."""


def words(method: str = "GET", url: str = "https://a.test/x", **fields: Any) -> list[str]:  # noqa: ANN401 - the fields are of many types
    """The command of a request, taken apart as a shell does."""
    return shlex.split(to_curl(HttpRequest(HttpMethod(method), url, **fields)))


def values(option: str, command: list[str]) -> list[str]:
    """What follows each occurrence of an option."""
    return [value for name, value in itertools.pairwise(command) if name == option]


def test_plain() -> None:
    """The plainest command names method and URL."""
    assert (
        to_curl(HttpRequest(HttpMethod.GET, "https://a.test/x")) == "curl -X GET https://a.test/x"
    )


def test_method_of_the_request() -> None:
    """The method `to_curl` of a request gives the same command."""
    request = HttpRequest(HttpMethod.POST, "/x", data={"password": CANARY})
    assert request.to_curl() == to_curl(request)
    assert request.to_curl(mask_secrets=True) == to_curl(request, mask_secrets=True)


def test_head() -> None:
    """HEAD tells curl that no body will come."""
    assert words("HEAD") == ["curl", "-X", "HEAD", "--head", "https://a.test/x"]


def test_headers() -> None:
    """Each header is one option; None leaves a header out, and an empty one is sent."""
    command = words(headers={"A": "it's $1", b"B": b"c", "User-Agent": None, "Empty": ""})
    assert values("-H", command) == ["A: it's $1", "B: c", "User-Agent:", "Empty;"]


@pytest.mark.parametrize(
    ("url", "params", "expected"),
    [
        ("/x", {"a": "b c", "n": None}, "/x?a=b+c"),
        ("/x?a=1", [("b", ["2", 3])], "/x?a=1&b=2&b=3"),
        ("/x#part", "a=1", "/x?a=1#part"),
        ("/x", b"a=1", "/x?a=1"),
        ("/x", {}, "/x"),
    ],
    ids=["mapping", "pairs", "text", "bytes", "none"],
)
def test_params(url: str, params: object, expected: str) -> None:
    """Parameters become part of the URL."""
    assert words(url=url, params=params)[-1] == expected


@pytest.mark.parametrize(
    ("url", "options"),
    [("https://[::1]/x", ["--globoff"]), ("/x{1}", ["--globoff"]), ("-x", ["--url"])],
    ids=["ipv6", "braces", "dash"],
)
def test_odd_urls(url: str, options: list[str]) -> None:
    """A URL that curl would take for something else is protected from that."""
    assert words(url=url)[3:] == [*options, url]


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (30, ["--max-time", "30"]),
        (1.5, ["--max-time", "1.5"]),
        ((2, 30), ["--connect-timeout", "2", "--max-time", "30"]),
        ((2, None), ["--connect-timeout", "2"]),
        ([1, 2.5], ["--connect-timeout", "1", "--max-time", "2.5"]),
        (Decimal("1.5"), ["--max-time", "1.5"]),
        (Fraction(1, 4), ["--max-time", "0.25"]),
        (0, []),
        *[(value, []) for value in IMPOSSIBLE.values()],
    ],
    ids=[
        *("integer", "float", "pair", "connect", "list", "decimal", "fraction", "zero"),
        *IMPOSSIBLE,
    ],
)
def test_timeout(timeout: object, expected: list[str]) -> None:
    """A timeout bounds the whole transfer, a pair of them the connecting as well.

    One that no request can be sent with is left out.
    """
    assert words(timeout=timeout)[3:-1] == expected


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (("user", "p:w"), ["-u", "user:p:w"]),
        ((b"user", b"pw"), ["-u", "user:pw"]),
        (HTTPBasicAuth("user", "pw"), ["-u", "user:pw"]),
        (HTTPDigestAuth("user", "pw"), ["--digest", "-u", "user:pw"]),
        (lambda request: request, []),
        (None, []),
    ],
    ids=["pair", "bytes", "basic", "digest", "callable", "none"],
)
def test_auth(auth: object, expected: list[str]) -> None:
    """User and password become an option; another kind of auth cannot be told."""
    assert words(auth=auth)[3:-1] == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"json_data": {"a": "é'"}}, ["-H", "Content-Type: application/json", "--data"]),
        (
            {"json_data": 0, "headers": {"content-type": "a/b"}},
            ["-H", "content-type: a/b", "--data"],
        ),
        ({"data": {"a": ["1", "2"]}}, ["--data"]),
        ({"data": "text"}, ["-H", "Content-Type:", "--data"]),
        (
            {"data": b"text", "headers": {"Content-Type": "a/b"}},
            ["-H", "Content-Type: a/b", "--data"],
        ),
        ({"data": "@file"}, ["-H", "Content-Type:", "--data-raw"]),
        ({"data": b"\xff"}, ["-H", "Content-Type:", "--data-binary"]),
        ({"data": io.BytesIO(b"x")}, ["-H", "Content-Type:", "--data-binary"]),
        ({"data": "", "json_data": None}, []),
        ({"data": {"a": 1}, "json_data": [1]}, ["--data"]),
    ],
    ids=["json", "typed json", "form", "text", "typed", "at", "binary", "stream", "none", "both"],
)
def test_body_options(fields: dict[str, Any], expected: list[str]) -> None:
    """The body is one option, and its type is that which requests would send."""
    assert words("POST", **fields)[3 : 3 + len(expected)] == expected
    assert len(words("POST", **fields)) == 3 + len(expected) + bool(expected) + 1


@pytest.mark.parametrize(
    "fields",
    [
        {"json_data": {"a": ["é", None, 1.5]}},
        {"data": {"a": "b c&d", "n": None, "l": [1, 2]}},
        {"data": [("a", "1"), ("a", "ü")]},
        {"data": "plain text"},
        {"params": {"a": "b c", "l": ["1", "2"]}},
    ],
    ids=["json", "form", "pairs", "text", "params"],
)
def test_as_requests_sends_it(fields: dict[str, Any]) -> None:
    """URL, body and type are those that requests prepares."""
    renamed = {"json" if name == "json_data" else name: value for name, value in fields.items()}
    prepared = requests.Request("POST", "https://a.test/x", **renamed).prepare()
    command = words("POST", **fields)
    assert command[-1] == prepared.url
    if prepared.body:
        (body,) = values("--data", command)
        sent = prepared.body.decode() if isinstance(prepared.body, bytes) else prepared.body
        is_json = "json_data" in fields
        assert (json.loads(body) == json.loads(sent)) if is_json else (body == sent)
    content_type = prepared.headers.get("Content-Type", "")
    if "form" not in content_type:  # curl adds the type of a form by itself
        sent_types = [value.partition(":")[2].strip() for value in values("-H", command)]
        assert sent_types in ([content_type], [])


def test_files(tmp_path: Path) -> None:
    """Files and the fields beside them become parts of a form."""
    path = tmp_path / "a.txt"
    path.write_text("x")
    with path.open() as file:
        command = words(
            "POST",
            data={"note": "hello", "odd": "@x"},
            files={
                "one": file,
                "two": ("b;c\\.txt", b"content"),
                "three": ("d.json", b"{}", "application/json"),
                "four": ("e.txt", b"", None, {"X": "y"}),
                "five": b"content",
            },
        )
    assert values("-F", command) == [
        "note=hello",
        f"one=@{path}",
        'two=@"b;c\\\\.txt"',
        "three=@d.json;type=application/json",
        "four=@e.txt",
        "five=@five",
    ]
    assert values("--form-string", command) == ["odd=@x"]


def test_file_pairs() -> None:
    """Files may be given as pairs, and then one name several times."""
    command = words("POST", files=[("a", ("b", "x")), ("a", ("c", "y"))])
    assert values("-F", command) == ["a=@b", "a=@c"]


def test_secrets_are_shown() -> None:
    """Without masking the command has all secrets, so that it can be run."""
    command = words("POST", headers={"Authorization": f"Bearer {CANARY}"}, data={"pin": CANARY})
    assert " ".join(command).count(CANARY) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"url": f"https://u:{CANARY}@a.test/x?token={CANARY}"},
        {"headers": {"X-Api-Key": CANARY}},
        {"params": {"key": CANARY}},
        {"data": {"password": CANARY}},
        {"data": f"password={CANARY}"},
        {"data": io.StringIO(CANARY)},
        {"json_data": {"a": [{"token": CANARY}]}},
        {"files": {"f": (CANARY, CANARY)}},
        {"auth": ("user", CANARY)},
        {"auth": HTTPBasicAuth("user", CANARY)},
    ],
    ids=["url", "header", "params", "form", "text", "stream", "json", "files", "auth", "object"],
)
def test_masked(fields: dict[str, Any]) -> None:
    """With masking the command shows that something is sent, but no secret."""
    request = HttpRequest(HttpMethod.POST, **{"url": "/x", **fields})
    assert CANARY in to_curl(request) or "data" in fields or "files" in fields
    assert CANARY not in to_curl(request, mask_secrets=True)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
NAMES = TEXTS.filter(bool)


@settings(deadline=None)
@given(st.dictionaries(NAMES, NAMES), st.dictionaries(NAMES, TEXTS), TEXTS)
def test_shell_quoting(headers: dict[str, str], params: dict[str, str], body: str) -> None:
    """Whatever a request holds comes through a shell unchanged."""
    command = words("POST", headers=headers, params=params, data=body)
    sent = values("-H", command)[: len(headers)]
    assert sent == [f"{name}: {value}" for name, value in headers.items()]
    query = urlsplit(command[-1]).query
    assert dict(parse_qsl(query, keep_blank_values=True)) == params
    if body:
        assert [*values("--data", command), *values("--data-raw", command)][-1] == body
