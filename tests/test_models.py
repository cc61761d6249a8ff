"""Requests, answers and contexts."""

import codecs
import dataclasses
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from requestforge.exceptions import (
    BadRequestException,
    ForbiddenException,
    HttpStatusException,
    NotFoundException,
    ResponseParseException,
    ServerErrorException,
    TimeoutException,
    UnauthorizedException,
)
from requestforge.instrumentation import use_clock
from requestforge.models import (
    FetchContext,
    HttpMethod,
    HttpRequest,
    HttpResponse,
    RequestContext,
)
from requestforge.tokens import TokenData

CANARY = "canary-5ca1ab1e"
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


class StoppedClock:
    """A clock that shows one instant."""

    def now(self) -> datetime:
        """The instant."""
        return NOW

    def monotonic(self) -> float:
        """No time passes."""
        return 0.0

    def sleep(self, seconds: float) -> None:
        """Refuse to wait."""
        raise NotImplementedError(seconds)


def answer(
    status: int = 200,
    content: bytes = b"",
    headers: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> HttpResponse:
    """An answer of api.test to GET /x."""
    request = HttpRequest("GET", "/x")
    return HttpResponse(
        status, headers or {}, content, 12.5, "https://api.test/x", request, encoding
    )


class TestHttpMethod:
    def test_members(self) -> None:
        """There are seven methods, each a string."""
        names = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
        assert [method.value for method in HttpMethod] == names
        assert HttpMethod.GET == "GET"

    @pytest.mark.parametrize("name", ["post", "Post", "POST"])
    def test_any_case(self, name: str) -> None:
        """A method is made from its name in any case."""
        assert HttpMethod(name) is HttpMethod.POST

    @pytest.mark.parametrize("name", ["BREW", "", None, 1])
    def test_unknown(self, name: object) -> None:
        """Another name is refused with those that are known."""
        with pytest.raises(ValueError, match=r"is not an HTTP method .*GET, POST"):
            HttpMethod(name)


class TestHttpRequest:
    def test_method_is_converted(self) -> None:
        """A method given as a string becomes an HttpMethod."""
        assert HttpRequest("get", "/x").method is HttpMethod.GET
        assert HttpRequest(HttpMethod.PUT, "/x").method is HttpMethod.PUT

    def test_unknown_method(self) -> None:
        """An unknown method is refused."""
        with pytest.raises(ValueError, match="BREW"):
            HttpRequest("BREW", "/x")

    def test_frozen(self) -> None:
        """A request cannot be changed, but replaced."""
        request = HttpRequest(HttpMethod.GET, "/x")
        with pytest.raises(dataclasses.FrozenInstanceError):
            request.url = "/y"  # type: ignore[misc]
        assert dataclasses.replace(request, url="/y").url == "/y"

    def test_with_headers(self) -> None:
        """Headers are added to a copy, and replace those of the same name in any case."""
        request = HttpRequest(HttpMethod.GET, "/x", headers={"accept": "a", "B": "b"})
        changed = request.with_headers({"Accept": "c"})
        assert changed.headers == {"B": "b", "Accept": "c"}
        assert request.headers == {"accept": "a", "B": "b"}
        assert HttpRequest(HttpMethod.GET, "/x").with_headers({"A": "b"}).headers == {"A": "b"}

    def test_with_json_data(self) -> None:
        """A JSON body is set on a copy."""
        request = HttpRequest(HttpMethod.POST, "/x")
        assert request.with_json_data([1]).json_data == [1]
        assert request.json_data is None

    def test_to_dict(self) -> None:
        """The dict has the nine fields, the method as an HttpMethod."""
        request = HttpRequest(
            HttpMethod.POST, "/x", {"A": "b"}, {"p": 1}, "d", [1], {"f": "g"}, 2.5, ("u", "p")
        )
        assert request.to_dict() == {
            "method": HttpMethod.POST,
            "url": "/x",
            "headers": {"A": "b"},
            "params": {"p": 1},
            "data": "d",
            "json_data": [1],
            "files": {"f": "g"},
            "timeout": 2.5,
            "auth": ("u", "p"),
        }

    def test_get(self) -> None:
        """A field is read by its name; what is no field gives the default."""
        request = HttpRequest(HttpMethod.GET, "/x")
        assert request.get("url") == "/x"
        assert request.get("headers", "default") is None
        assert request.get("to_dict") is None
        assert request.get("nothing", 1) == 1

    def test_hash(self) -> None:
        """Requests are hashable by method and URL, and equal by all fields."""
        first = HttpRequest(HttpMethod.GET, "/x", {"A": "b"})
        second = HttpRequest(HttpMethod.GET, "/x", {"A": "c"})
        assert hash(first) == hash(second)
        assert first != second
        assert len({first, second, HttpRequest(HttpMethod.GET, "/x", {"A": "b"})}) == 2

    def test_pickle(self) -> None:
        """A request survives a pickle as it is."""
        request = HttpRequest(HttpMethod.POST, "/x", {"A": "b"}, json_data={"a": 1})
        assert pickle.loads(pickle.dumps(request)) == request

    def test_repr(self) -> None:
        """The representation shows the fields that are set."""
        request = HttpRequest(HttpMethod.GET, "/x", params={"a": 1}, timeout=2)
        expected = (
            "HttpRequest(method=<HttpMethod.GET: 'GET'>, url='/x', params={'a': 1}, timeout=2)"
        )
        assert repr(request) == expected

    @pytest.mark.parametrize(
        "fields",
        [
            {"headers": {"Authorization": CANARY}},
            {"params": f"token={CANARY}"},
            {"params": [("key", CANARY)]},
            {"data": {"password": CANARY}},
            {"data": f'{{"password": "{CANARY}"}}'},
            {"data": f"password={CANARY}".encode()},
            {"data": io.StringIO(CANARY)},
            {"json_data": [{"secret": CANARY}]},
            {"files": {"f": (CANARY, CANARY)}},
            {"files": [("f", CANARY)]},
            {"auth": ("user", CANARY)},
            {"auth": lambda _: CANARY},
        ],
        ids=[
            "header",
            "query",
            "pairs",
            "form",
            "text",
            "bytes",
            "stream",
            "json",
            "files",
            "file pairs",
            "basic",
            "auth",
        ],
    )
    def test_repr_masks(self, fields: dict[str, Any]) -> None:
        """The representation shows no secret of any field, but that the field is set."""
        shown = repr(HttpRequest(HttpMethod.POST, f"https://u:{CANARY}@a.test/", **fields))
        assert CANARY not in shown
        assert f"{next(iter(fields))}=" in shown


class TestHeaders:
    def test_any_case(self) -> None:
        """A header is found by its name in any case."""
        headers = answer(headers={"X-Request-Id": "7"}).headers
        assert headers["x-request-id"] == headers.get("X-REQUEST-ID") == "7"
        assert "x-Request-id" in headers
        assert headers.get("X-Other") is None

    def test_spelling(self) -> None:
        """Names are listed as they came."""
        headers = answer(headers={"X-A": "1", "b": "2"}).headers
        assert list(headers.items()) == [("X-A", "1"), ("b", "2")]
        assert len(headers) == 2

    def test_read_only(self) -> None:
        """Headers cannot be changed, nor do they follow the mapping that they were made of."""
        given_headers = {"A": "1"}
        headers = answer(headers=given_headers).headers
        with pytest.raises(TypeError):
            headers["A"] = "2"  # type: ignore[index]
        given_headers["A"] = "2"
        assert headers["A"] == "1"

    def test_equal(self) -> None:
        """Headers are equal if their names are, in any case, and their values."""
        headers = answer(headers={"A": "1"}).headers
        assert headers == {"a": "1"}
        assert headers != {"a": "2"}
        assert headers != object()
        assert hash(headers) == hash(answer(headers={"a": "1"}).headers)

    def test_repr(self) -> None:
        """The representation masks what is sensitive."""
        headers = answer(headers={"Set-Cookie": CANARY, "A": "1"}).headers
        assert repr(headers) == "Headers({'Set-Cookie': '***', 'A': '1'})"


class TestHttpResponse:
    @pytest.mark.parametrize(
        ("status", "families"),
        [
            (199, ""),
            (200, "s"),
            (299, "s"),
            (300, ""),
            (399, ""),
            (400, "c"),
            (499, "c"),
            (500, "e"),
            (599, "e"),
            (600, ""),
        ],
    )
    def test_families(self, status: int, families: str) -> None:
        """2xx is a success, 4xx the client's error, 5xx the server's."""
        response = answer(status)
        assert response.is_success is ("s" in families)
        assert response.is_client_error is ("c" in families)
        assert response.is_server_error is ("e" in families)

    def test_frozen(self) -> None:
        """An answer cannot be changed, but replaced."""
        response = answer(headers={"A": "1"})
        with pytest.raises(dataclasses.FrozenInstanceError):
            response.status_code = 500  # type: ignore[misc]
        assert dataclasses.replace(response, status_code=500).headers is response.headers

    def test_pickle(self) -> None:
        """An answer survives a pickle as it is."""
        response = answer(201, b"{}", {"A": "1"}, "utf-8")
        assert pickle.loads(pickle.dumps(response)) == response

    def test_repr(self) -> None:
        """The representation shows neither body nor secrets."""
        shown = repr(answer(200, CANARY.encode(), {"Set-Cookie": CANARY}))
        assert CANARY not in shown
        assert "status_code=200" in shown
        assert "<15 bytes>" in shown

    @pytest.mark.parametrize(
        ("content", "content_type", "encoding", "expected"),
        [
            ("é".encode(), None, None, "é"),
            (b"\xe9", None, "latin-1", "é"),
            (b"\xe9", "text/plain; charset=ISO-8859-1", None, "é"),
            (b"\xe9", 'text/plain; a=b;Charset = "iso-8859-1"', None, "é"),
            ("é".encode(), "text/plain; charset=latin-1", "utf-8", "é"),
            (b"a\xff", None, None, "a�"),
            ("é".encode(), None, "no-such-charset", "é"),
            ("é".encode(), None, "hex", "é"),
            ("é".encode(), None, "a\0b", "é"),
            ("é".encode(), None, "idna", "é"),
        ],
        ids=[
            "utf-8",
            "encoding",
            "header",
            "quoted",
            "both",
            "bad bytes",
            "unknown",
            "no charset",
            "nul",
            "strict",
        ],
    )
    def test_text(
        self, content: bytes, content_type: str | None, encoding: str | None, expected: str
    ) -> None:
        """The text is in the known charset, else in UTF-8; bad bytes are replaced."""
        headers = {"content-type": content_type} if content_type else {}
        assert answer(200, content, headers, encoding).text == expected

    @settings(deadline=None)
    @given(st.binary(), st.text())
    def test_text_of_anything(self, content: bytes, encoding: str) -> None:
        """Every body has a text, whatever charset it claims."""
        assert isinstance(answer(200, content, encoding=encoding).text, str)

    @pytest.mark.parametrize(
        "content",
        [
            json.dumps({"a": "é"}).encode(),
            codecs.BOM_UTF8 + '{"a": "é"}'.encode(),
            '{"a": "é"}'.encode("utf-16"),
            '{"a": "é"}'.encode("utf-16-be"),
            '{"a": "é"}'.encode("utf-16-le"),
            '{"a": "é"}'.encode("utf-32"),
            '{"a": "é"}'.encode("utf-32-be"),
        ],
        ids=["escaped", "utf-8 bom", "utf-16", "utf-16be", "utf-16le", "utf-32", "utf-32be"],
    )
    def test_json(self, content: bytes) -> None:
        """JSON is read in every encoding that it may have."""
        assert answer(200, content).json() == {"a": "é"}
        assert answer(200, content).json_or_none() == {"a": "é"}

    @pytest.mark.parametrize(
        "content",
        [b"", b"<html>", b'{"a": \xff}', b"[" * 100_000],
        ids=["empty", "html", "bytes", "deep"],
    )
    def test_no_json(self, content: bytes) -> None:
        """What is no JSON raises with the start of the body, or gives None if that is asked for."""
        response = answer(200, content)
        with pytest.raises(ResponseParseException, match=r"https://api\.test/x") as caught:
            response.json()
        assert caught.value.context["content_preview"] == response.text[:500]
        assert caught.value.__cause__ is caught.value.original_exception
        assert response.json_or_none() is None

    def test_preview_masks(self) -> None:
        """The start of the body shows no secret that can be told in it."""
        response = answer(200, f'{{"access_token": "{CANARY}"'.encode())
        with pytest.raises(ResponseParseException) as caught:
            response.json()
        assert caught.value.context["content_preview"] == '{"access_token": ***'


class TestRaiseForStatus:
    @pytest.mark.parametrize("status", [200, 204, 302, 399])
    def test_no_error(self, status: int) -> None:
        """An answer without an error status is returned."""
        response = answer(status)
        assert response.raise_for_status() is response

    @pytest.mark.parametrize(
        ("status", "kind", "phrase"),
        [
            (400, BadRequestException, "Bad Request"),
            (401, UnauthorizedException, "Unauthorized"),
            (403, ForbiddenException, "Forbidden"),
            (404, NotFoundException, "Not Found"),
            (409, HttpStatusException, "Client Error"),
            (429, HttpStatusException, "Client Error"),
            (500, ServerErrorException, "Server Error"),
            (503, ServerErrorException, "Server Error"),
            (600, HttpStatusException, "Error"),
        ],
    )
    def test_error(self, status: int, kind: type[HttpStatusException], phrase: str) -> None:
        """Each error status raises its class, with the answer and its body."""
        response = answer(status, b"why")
        with pytest.raises(HttpStatusException) as caught:
            response.raise_for_status()
        error = caught.value
        assert type(error) is kind
        assert str(error) == f"{phrase}: https://api.test/x answered with status {status}."
        assert (error.status_code, error.response_body) == (status, "why")
        assert error.response is response
        assert error.retry_after is None

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("120", 120.0),
            (" 0 ", 0.0),
            ("9" * 400, 315_360_000.0),
            ("Tue, 01 Jan 2030 12:00:30 GMT", 30.0),
            ("Tuesday, 01-Jan-30 12:00:30 GMT", 30.0),
            ("Tue Jan  1 12:00:30 2030", 30.0),
            ("Tue, 01 Jan 2030 12:00:30 -0000", 30.0),
            ("Tue, 01 Jan 2030 11:00:00 GMT", 0.0),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
            ("²", None),
            ("", None),
            ("Tue, 99 Jan 2030 12:00:30 GMT", None),
            ("Tue, 01 Jan 99999999999999999999 12:00:30 GMT", None),
        ],
    )
    def test_retry_after(self, value: str, seconds: float | None) -> None:
        """Retry-After is read in seconds or as a date, against the clock of the library."""
        with use_clock(StoppedClock()), pytest.raises(ServerErrorException) as caught:
            answer(503, headers={"retry-after": value}).raise_for_status()
        assert caught.value.retry_after == seconds


class TestRequestContext:
    def test_attempts(self) -> None:
        """The first attempt is no retry, each further one is."""
        context = RequestContext(HttpRequest(HttpMethod.GET, "/x"))
        assert (context.attempt, context.max_retries, context.is_retry) == (0, 0, False)
        context.increment_attempt()
        assert (context.attempt, context.is_retry) == (1, True)

    def test_own_state(self) -> None:
        """Each context has an id, metadata and a history of its own."""
        request = HttpRequest(HttpMethod.GET, "/x")
        first, second = RequestContext(request), RequestContext(request)
        first.metadata["a"] = 1
        first.history.append(TimeoutException("late"))
        assert (second.metadata, second.history, second.deadline) == ({}, [], None)
        assert first.id != second.id

    def test_repr(self) -> None:
        """The representation shows no secret of the metadata or of a failure."""
        context = RequestContext(HttpRequest(HttpMethod.GET, "/x"), metadata={"token": CANARY})
        context.history.append(OSError(f"token={CANARY}"))
        assert CANARY not in repr(context)
        assert "OSError: token=***" in repr(context)


class TestFetchContext:
    def test_tokens(self) -> None:
        """Tokens are kept and found by the names of their steps."""
        context = FetchContext()
        token = TokenData(CANARY)
        context.add_token("app", token)
        assert context.get_token("app") is token
        assert context.get_token_value("app") == CANARY
        assert context.has_token("app")
        assert context.tokens == {"app": token}

    def test_missing(self) -> None:
        """A step without a token gives None."""
        context = FetchContext()
        assert context.get_token("app") is None
        assert context.get_token_value("app") is None
        assert not context.has_token("app")
        assert not context.has_valid_token("app")

    @pytest.mark.parametrize(
        ("left", "valid"), [(timedelta(hours=1), True), (timedelta(0), False)], ids=str
    )
    def test_valid(self, left: timedelta, *, valid: bool) -> None:
        """A token is valid until it expires."""
        with use_clock(StoppedClock()):
            context = FetchContext({"app": TokenData("a", expires_at=NOW + left)})
            assert context.has_valid_token("app") is valid

    def test_repr(self) -> None:
        """The representation shows no token."""
        context = FetchContext({"app": TokenData(CANARY)}, {"secret": CANARY})
        assert CANARY not in repr(context)


def test_a_subclass_of_a_request_stays_one() -> None:
    """`with_headers` keeps the type of a subclass, and the fields that it adds."""

    @dataclass(frozen=True)
    class Tagged(HttpRequest):
        tag: str = ""

    changed = Tagged("GET", "/", tag="mine").with_headers({"A": "b"})
    assert isinstance(changed, Tagged)
    assert (changed.tag, changed.headers) == ("mine", {"A": "b"})
