"""Steps that refer to earlier ones, and steps that override how they ask."""

from collections.abc import Iterator
from typing import Any

import pytest

from loopback import Loopback, json_reply, reply, takes_over
from requestforge import StepToken, TokenFetchPipeline
from requestforge.exceptions import (
    DependencyException,
    RequestBuildException,
    TimeoutException,
)
from requestforge.fetcher import BodyTokenFetcher, HeaderTokenFetcher, HttpTokenFetcher
from requestforge.models import HttpMethod, HttpResponse
from requestforge.token_manager import InMemoryTokenStorage
from requestforge.tokens import TokenData

FORM = "application/x-www-form-urlencoded"
APP = {"app_token": TokenData("app-abc")}


@pytest.fixture
def server() -> Iterator[Loopback]:
    """An endpoint that answers with a token in the body and in a header."""
    answer = json_reply({"access_token": "abc"}, Authorization="Bearer abc")
    with Loopback(answer) as server:
        yield server


class TestReferences:
    def test_tokens_of_earlier_steps_are_filled_in(self, server: Loopback) -> None:
        """In headers and data, in a format, at any depth, for each fetch anew."""
        step = BodyTokenFetcher(
            *("user_token", server.url, "/token"),
            content_type="json",
            request_headers={"Authorization": StepToken("app_token", "Bearer {}")},
            request_data={"a": StepToken("app_token"), "b": [{"c": (StepToken("x", "<{}>"),)}]},
        )
        for number in (1, 2):
            step.fetch({"app_token": TokenData(f"app-{number}"), "x": TokenData("{}")})
        received = server.requests[1]
        assert received.headers["authorization"] == "Bearer app-2"
        assert received.json == {"a": "app-2", "b": [{"c": ["<{}>"]}]}

    def test_they_join_the_dependencies(self) -> None:
        """After those that were given, each once."""
        step = HeaderTokenFetcher(
            *("user_token", "https://auth.example.com", "/token"),
            request_headers={"A": StepToken("app"), "B": StepToken("device"), "C": "plain"},
            request_data={"d": [StepToken("late"), StepToken("app")]},
            depends_on=["device"],
        )
        assert step.depends_on == ["device", "app", "late"]
        assert step.describe()["depends_on"] == ["device"]

    @pytest.mark.parametrize("context", [None, {}, {"other": TokenData("a")}])
    @pytest.mark.parametrize("place", ["request_headers", "request_data"])
    def test_a_missing_token_stops_the_fetch(
        self, server: Loopback, place: str, context: dict[str, TokenData] | None
    ) -> None:
        """A DependencyException, with nothing sent."""
        step = BodyTokenFetcher(
            "user_token", server.url, "/token", **{place: {"X": StepToken("app_token")}}
        )
        with pytest.raises(
            DependencyException, match=r"'user_token' needs .* 'app_token'"
        ) as caught:
            step.fetch(context)
        assert caught.value.service_name == "user_token"
        assert server.requests == []

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            (("",), ValueError),
            (("app", ""), ValueError),
            (("app", "Bearer"), ValueError),
            (("app", "{} {}"), ValueError),
            (("app", "{0}"), ValueError),
            (("app", "{!r}"), ValueError),
            (("app", "{token} {}"), ValueError),
            (("app", "{{}}"), ValueError),
            (("app", "{} }"), ValueError),
            ((7,), TypeError),
            (("app", None), TypeError),
        ],
        ids=repr,
    )
    def test_impossible_references_are_refused(
        self, arguments: tuple[Any, ...], error: type[Exception]
    ) -> None:
        """A format has one place for the token, and nothing that looks like another."""
        with pytest.raises(error, match="StepToken"):
            StepToken(*arguments)

    def test_a_pipeline_serves_them(self, server: Loopback) -> None:
        """The common chain needs no subclass."""
        app = BodyTokenFetcher("app_token", server.url, "/app")
        user = BodyTokenFetcher(
            "user_token", server.url, "/user", request_headers={"X-App": StepToken("app_token")}
        )
        TokenFetchPipeline([app, user], InMemoryTokenStorage()).execute()
        assert [(r.path, r.headers.get("x-app")) for r in server.requests] == [
            ("/app", None),
            ("/user", "abc"),
        ]


class TestSubclasses:
    def test_headers_and_data_can_be_overridden(self, server: Loopback) -> None:
        """`super()` gives what was configured, references filled in; what is returned is sent."""
        built: list[object] = []

        class UserTokenFetcher(HeaderTokenFetcher):
            def _build_request_headers(
                self, context: dict[str, TokenData] | None
            ) -> dict[str, str]:
                headers = super()._build_request_headers(context)
                built.append(dict(headers))
                if context and "app_token" in context:
                    headers["X-App-Token"] = context["app_token"].access_token
                return headers

            def _build_request_data(self, context: dict[str, TokenData] | None) -> dict[str, Any]:
                data = super()._build_request_data(context)
                built.append(dict(data))
                return {**data, "nonce": "1"}

        step = UserTokenFetcher(
            *("user_token", server.url, "/login", "POST"),
            {"X-Ref": StepToken("app_token")},
            {"user": "bob"},
        )
        step.fetch(APP)
        step.fetch(APP)
        assert built == [{"X-Ref": "app-abc"}, {"user": "bob"}] * 2
        assert server.requests[1].headers["x-app-token"] == "app-abc"
        assert server.requests[1].form == {"user": "bob", "nonce": "1"}

    def test_steps_without_settings_build_empty_ones(self) -> None:
        """An override may add to what `super()` gives without looking."""

        class Custom(BodyTokenFetcher):
            def parts(self) -> tuple[dict[str, str], dict[str, Any]]:
                return self._build_request_headers(None), self._build_request_data(None)

        step = Custom("app_token", "https://auth.example.com", "/token")
        assert step.parts() == ({}, {})
        assert step.parts()[1] is not step.parts()[1]


class Custom(HttpTokenFetcher):
    """A subclass that does all but the sending itself."""

    name = "custom"

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        """The body of the answer for a token."""
        return TokenData(self.ask("POST", "/x").text)

    def ask(self, *args: Any, **kwargs: Any) -> HttpResponse:  # noqa: ANN401 - passed on
        """What a subclass can do."""
        return self._make_request(*args, **kwargs)


class TestMakeRequest:
    def test_it_gives_any_answer(self) -> None:
        """Status, headers and body, of failures, too; headers are found in any case."""
        with Loopback(reply(418, b"teapot", X_Pot="yes")) as server:
            url = f"{server.url}/x"
            answer = Custom(server.url).ask("POST", "/x", data={"a": "b"})
        assert (answer.status_code, answer.text, answer.headers["x-POT"]) == (418, "teapot", "yes")
        assert answer.url == url
        assert answer.elapsed_ms > 0
        assert answer.request.method is HttpMethod.POST

    @pytest.mark.parametrize(
        ("given", "header", "body"),
        [
            ({"data": {"a": "b"}}, FORM, b"a=b"),
            ({"json_data": {"a": 1}}, "application/json", b'{"a": 1}'),
            ({"json_data": [1]}, "application/json", b"[1]"),
            ({"headers": {"CONTENT-TYPE": "text/plain"}, "data": "hi"}, "text/plain", b"hi"),
            ({}, None, b""),
        ],
    )
    def test_its_body(
        self, server: Loopback, given: dict[str, Any], header: str | None, body: bytes
    ) -> None:
        """A form, JSON, or whatever the caller says that it is."""
        Custom(server.url).ask("POST", "/x", **given)
        received = server.requests[0]
        assert (received.headers.get("content-type"), received.body) == (header, body)

    @pytest.mark.parametrize("given", ["data", "json_data"])
    def test_a_get_has_all_data_in_the_query(self, server: Loopback, given: str) -> None:
        """No data are dropped."""
        Custom(server.url).ask("GET", "/x", **{given: {"a": "b"}})
        assert server.requests[0].query == {"a": "b"}

    def test_headers_add_to_those_of_the_constructor(self, server: Loopback) -> None:
        """A header of the same name in any case takes the other's place."""
        step = Custom(server.url, headers={"X-One": "1", "X-Two": "2"})
        step.ask("POST", "/x", headers={"x-two": "two"})
        received = server.requests[0]
        assert (received.headers["x-one"], received.headers["x-two"]) == ("1", "two")

    def test_two_bodies_are_refused(self, server: Loopback) -> None:
        """Neither is dropped silently."""
        with pytest.raises(RequestBuildException, match="not both"):
            Custom(server.url).ask("POST", "/x", data={"a": "b"}, json_data={"c": 1})

    @pytest.mark.parametrize("method", ["PUT", "", None, 7])
    def test_other_methods_are_refused(self, server: Loopback, method: Any) -> None:  # noqa: ANN401
        """GET and POST, in any case."""
        with pytest.raises(ValueError, match="must be GET or POST"):
            Custom(server.url).ask(method, "/x")

    def test_failures_of_the_line_are_the_clients_errors(self, server: Loopback) -> None:
        """They are not wrapped: the subclass decides what they mean."""
        server.answer = takes_over(server.stall())
        step = Custom(server.url, timeout=0.2)
        with pytest.raises(TimeoutException):
            step.fetch()
