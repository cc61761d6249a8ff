"""Steps that ask a server: what they send, and what they refuse to send."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetching import SECRET, refused
from loopback import Loopback, Received, json_reply
from requestforge import StepToken
from requestforge.exceptions import (
    RequestBuildException,
)
from requestforge.fetcher import BodyTokenFetcher, HeaderTokenFetcher
from requestforge.models import HttpMethod
from requestforge.tokens import TokenData

FORM = "application/x-www-form-urlencoded"
APP = {"app_token": TokenData("app-abc")}


@pytest.fixture
def server() -> Iterator[Loopback]:
    """An endpoint that answers with a token in the body and in a header."""
    answer = json_reply({"access_token": "abc"}, Authorization="Bearer abc")
    with Loopback(answer) as server:
        yield server


def sent(
    server: Loopback,
    kind: type[BodyTokenFetcher | HeaderTokenFetcher] = BodyTokenFetcher,
    context: dict[str, TokenData] | None = None,
    **arguments: Any,  # noqa: ANN401 - those of either constructor
) -> Received:
    """What a step with these arguments sends."""
    step = kind("app_token", server.url, **{"endpoint": "/v1/token", **arguments})
    step.fetch(context)
    step.close()
    return server.requests[-1]


class TestMethods:
    @pytest.mark.parametrize("method", [HttpMethod.POST, "POST", "post"])
    @pytest.mark.parametrize("kind", [BodyTokenFetcher, HeaderTokenFetcher])
    def test_a_post_sends_a_form(
        self, server: Loopback, kind: type[BodyTokenFetcher], method: HttpMethod | str
    ) -> None:
        """The data are the body, with the Content-Type of a form."""
        data = {"client_id": "app-id", "scope": "a b&c", "n": 7, "on": True, "name": "Jürgen"}
        received = sent(server, kind, method=method, request_data=data)
        assert (received.method, received.target) == ("POST", "/v1/token")
        assert received.headers["content-type"] == FORM
        assert received.form == {
            "client_id": "app-id",
            "scope": "a b&c",
            "n": "7",
            "on": "True",
            "name": "Jürgen",
        }

    @pytest.mark.parametrize("content_type", ["json", "application/json", "Application/JSON"])
    def test_a_post_sends_json(self, server: Loopback, content_type: str) -> None:
        """The data are the body, with the Content-Type of JSON."""
        data = {"client_id": "app-id", "deep": {"a": [1, None, True, {"b": "ü"}]}, "t": (1, 2)}
        received = sent(server, content_type=content_type, request_data=data)
        assert received.headers["content-type"] == "application/json"
        assert received.json == {**data, "t": [1, 2]}

    @pytest.mark.parametrize("content_type", ["form", FORM])
    def test_forms_have_two_names(self, server: Loopback, content_type: str) -> None:
        """The media type stands for "form", too."""
        received = sent(server, content_type=content_type, request_data={"a": "b"})
        assert received.headers["content-type"] == FORM

    @pytest.mark.parametrize("content_type", ["form", "json"])
    @pytest.mark.parametrize("data", [None, {}])
    def test_without_data_there_is_no_body(
        self, server: Loopback, content_type: str, data: dict[str, Any] | None
    ) -> None:
        """And no Content-Type."""
        received = sent(server, content_type=content_type, request_data=data)
        assert (received.body, received.headers["content-length"]) == (b"", "0")
        assert "content-type" not in received.headers

    @pytest.mark.parametrize("kind", [BodyTokenFetcher, HeaderTokenFetcher])
    @pytest.mark.parametrize("endpoint", ["/v1/token", "/v1/token?a=b", "/v1/token?a=b#part"])
    def test_a_get_sends_its_data_in_the_query(
        self, server: Loopback, kind: type[BodyTokenFetcher], endpoint: str
    ) -> None:
        """Nothing is dropped, and there is no body."""
        data = {"app": "id", "many": ["x", "y"], "none": None}
        received = sent(server, kind, method="get", endpoint=endpoint, request_data=data)
        assert received.method == "GET"
        assert received.target in {
            "/v1/token?app=id&many=x&many=y",
            "/v1/token?a=b&app=id&many=x&many=y",
        }
        assert received.body == b""
        assert "content-type" not in received.headers

    def test_a_get_of_a_json_step_sends_a_query(self, server: Loopback) -> None:
        """The content type speaks of the body of a POST alone."""
        received = sent(server, method="GET", content_type="json", request_data={"app": "id"})
        assert received.query == {"app": "id"}

    def test_secrets_in_a_query_are_warned_of_once(
        self, server: Loopback, caplog: pytest.LogCaptureFixture
    ) -> None:
        """One WARNING for each name of a step; the value is not in it."""
        step = BodyTokenFetcher(
            *("app_token", server.url, "/token", "GET"),
            request_data={"client_id": "app-id", "client_secret": SECRET, "password": SECRET},
        )
        with caplog.at_level(logging.WARNING, "requestforge"):
            step.fetch()
            step.fetch()
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 2
        assert "Step 'app_token' sends 'client_secret' in the query of a GET" in said[0]
        assert "'password'" in said[1]
        assert SECRET not in caplog.text

    @pytest.mark.parametrize(
        ("base", "endpoint", "target"),
        [
            ("", "/v1/token", "/v1/token"),
            ("/", "v1/token", "/v1/token"),
            ("/auth/", "/v1/token", "/auth/v1/token"),
            ("/auth", "", "/auth"),
            ("", "//evil.example.com/x", "/evil.example.com/x"),
            ("", "https://evil.example.com/x", "/https://evil.example.com/x"),
            ("", "@evil.example.com/x", "/@evil.example.com/x"),
        ],
    )
    def test_endpoints_are_below_the_base_url(
        self, server: Loopback, base: str, endpoint: str, target: str
    ) -> None:
        """No endpoint, however it is written, leads to another host."""
        BodyTokenFetcher("a", f"{server.url}{base}", endpoint).fetch()
        assert server.requests[-1].target == target


class TestHeaders:
    def test_headers_are_sent(self, server: Loopback) -> None:
        """As they were given."""
        received = sent(server, request_headers={"X-Device-ID": "device-123", "Accept": "a/b"})
        assert received.headers["x-device-id"] == "device-123"
        assert received.headers["accept"] == "a/b"

    @pytest.mark.parametrize("name", ["Content-Type", "content-type"])
    def test_a_content_type_of_ones_own_wins(self, server: Loopback, name: str) -> None:
        """The header is sent as it was given, the body is written as before."""
        headers = {name: "application/x-www-form-urlencoded; charset=utf-8"}
        received = sent(server, request_headers=headers, request_data={"a": "b"})
        assert received.headers["content-type"].endswith("charset=utf-8")
        assert received.form == {"a": "b"}

    @pytest.mark.parametrize(
        ("headers", "told"),
        [
            ({"X-Token": f"{SECRET}\nX-Evil: 1"}, "'X-Token'"),
            ({"X-Token": f"{SECRET}\r"}, "'X-Token'"),
            ({"X-Token": f"{SECRET}\0"}, "'X-Token'"),
            ({"X-Token": f"{SECRET}\t"}, "'X-Token'"),
            ({"X-Token": f" {SECRET}"}, "'X-Token'"),
            ({"X-Token": f"{SECRET}\x85"}, "'X-Token'"),
            ({"X-Token": f"{SECRET}€"}, "'X-Token'"),
            ({"X-Token": SECRET.encode()}, "must be a string, not bytes"),
            ({"X-Token": None}, "must be a string, not NoneType"),
            ({"X Token": "a"}, "'X Token' is no name"),
            ({"X-Token\n": "a"}, "is no name"),
            ({7: "a"}, "7 is no name"),
        ],
        ids=lambda value: repr(value)[:30],
    )
    def test_headers_that_cannot_be_sent_are_refused(
        self, server: Loopback, headers: dict[Any, Any], told: str
    ) -> None:
        """Before anything is sent; the value is not shown."""
        step = BodyTokenFetcher("app_token", server.url, "/token", request_headers=headers)
        error = refused(step)
        assert type(error.__cause__) is RequestBuildException
        assert told in error.message
        assert server.requests == []

    def test_a_token_with_a_control_character_is_not_sent(self, server: Loopback) -> None:
        """Tokens of a user's own steps may hold anything."""
        headers = {"Authorization": StepToken("first", "Bearer {}")}
        step = BodyTokenFetcher("app_token", server.url, "/token", request_headers=headers)
        error = refused(step, {"first": TokenData(f"{SECRET}\r\nX-Evil: 1")})
        assert "'Authorization'" in error.message
        assert server.requests == []

    @given(st.text(st.characters(max_codepoint=0x180), max_size=6))
    def test_what_is_sent_arrives(self, value: str) -> None:
        """A header value arrives as it was given, or is refused."""
        with Loopback(json_reply({"access_token": "abc"})) as server:
            step = BodyTokenFetcher(
                "app_token", server.url, "/token", request_headers={"X-Any": value}
            )
            try:
                step.fetch()
            except Exception as error:  # noqa: BLE001 - its type is checked
                assert type(error.__cause__) is RequestBuildException  # noqa: PT017
                assert server.requests == []
            else:
                # The parser of the test's server takes outer blanks of any kind away.
                assert server.requests[0].headers["x-any"] == value.strip()


class TestData:
    @pytest.mark.parametrize(
        ("data", "content_type", "told"),
        [
            pytest.param({"a": {"b": SECRET}}, "form", "'a' is a dict", id="mapping in a form"),
            pytest.param({"a": [[SECRET]]}, "form", "'a' is a list", id="list in a list"),
            pytest.param({"a": "\ud800"}, "form", "not Unicode", id="lone surrogate"),
            pytest.param({"a": {SECRET}}, "json", "JSON (TypeError)", id="set in JSON"),
            pytest.param({"a": float("nan")}, "json", "JSON (ValueError)", id="NaN in JSON"),
        ],
    )
    def test_data_that_cannot_be_sent_are_refused(
        self, server: Loopback, data: dict[str, Any], content_type: str, told: str
    ) -> None:
        """Before anything is sent, and never with a part missing."""
        step = BodyTokenFetcher(
            "app_token", server.url, "/token", request_data=data, content_type=content_type
        )
        error = refused(step)
        assert type(error.__cause__) is RequestBuildException
        assert told in error.message
        assert server.requests == []

    @pytest.mark.parametrize(
        ("data", "body"),
        [
            pytest.param([("a", "1"), ("a", "2")], b"a=1&a=2", id="pairs"),
            pytest.param("a=%20b", b"a=%20b", id="text"),
            pytest.param(b"a=%20b", b"a=%20b", id="bytes"),
            pytest.param({"a": b"\xff"}, b"a=%FF", id="bytes of a field"),
        ],
    )
    def test_overrides_may_write_the_form(
        self,
        server: Loopback,
        data: Any,  # noqa: ANN401
        body: bytes,
    ) -> None:
        """Fields, or the form itself as text or bytes; in the query of a GET as well."""

        class Custom(BodyTokenFetcher):
            def _build_request_data(self, context: Any) -> Any:  # noqa: ANN401
                return data

        Custom("app_token", server.url, "/token").fetch()
        Custom("app_token", server.url, "/token", "GET").fetch()
        assert server.requests[0].body == body
        assert server.requests[1].target == f"/token?{body.decode()}"

    @pytest.mark.parametrize("data", [7, ["abc"], [1]])
    def test_overrides_may_not_give_anything_else(self, server: Loopback, data: object) -> None:
        """A form has fields."""

        class Custom(BodyTokenFetcher):
            def _build_request_data(self, context: Any) -> Any:  # noqa: ANN401
                return data

        error = refused(Custom("app_token", server.url, "/token"))
        assert "a form or a query takes a mapping, pairs, or text" in error.message
