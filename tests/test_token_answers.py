"""What a token endpoint's answer may say: the table of fields, and answers that nobody foresaw."""

import json
import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from doubles import START, Clock
from loopback import Loopback, json_reply, reply, shown_by
from requestforge import instrumentation
from requestforge.exceptions import AuthenticationException
from requestforge.fetcher import BodyTokenFetcher, HeaderTokenFetcher
from requestforge.tokens import TokenData

SECRET = "canary-c0ffee"
TEN_YEARS = 315_360_000


@pytest.fixture(autouse=True)
def clock() -> Iterator[Clock]:
    """A clock that stands still."""
    with instrumentation.use_clock(Clock()) as clock:
        yield clock


def token(**fields: Any) -> TokenData:  # noqa: ANN401 - JSON
    """The token in an answer with these fields."""
    return TokenData.from_response({"access_token": SECRET, **fields})


class TestExpiresIn:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            pytest.param(3600, 3600, id="number"),
            pytest.param(3600.5, 3600.5, id="broken number"),
            pytest.param("3600", 3600, id="text"),
            pytest.param(" 60 ", 60, id="blanks"),
            pytest.param("\t60\r\n", 60, id="white space"),
            pytest.param("3600.5", 3600.5, id="broken number as text"),
            pytest.param(0, 0, id="zero"),
            pytest.param("0", 0, id="zero as text"),
            pytest.param(TEN_YEARS, TEN_YEARS, id="ten years"),
            pytest.param(TEN_YEARS + 1, TEN_YEARS, id="more than ten years"),
            pytest.param(10**400, TEN_YEARS, id="more than a float holds"),
            pytest.param("9" * 5000, TEN_YEARS, id="more than Python parses"),
        ],
    )
    def test_a_lifetime_counts_from_the_request(self, value: object, seconds: float) -> None:
        """Seconds from `issued_at`, at most ten years."""
        got = token(expires_in=value)
        assert got.issued_at == START
        assert got.expires_at == START + timedelta(seconds=seconds)

    @pytest.mark.parametrize("fields", [{}, {"expires_in": None}], ids=["absent", "null"])
    def test_no_lifetime(self, fields: dict[str, Any]) -> None:
        """Without one the server grants no end."""
        assert token(**fields).expires_at is None

    @pytest.mark.parametrize(
        "value",
        [
            *(-1, -0.5, True, False, "", " ", "abc", "1_000", "1e3", "-1", "+1", "0x10", "1.2.3"),
            *("١٢٣", ".", "1 2", "\u00a060", math.nan, math.inf, -math.inf, [], [60], {}),
        ],
        ids=repr,
    )
    def test_nothing_else_is_a_lifetime(self, value: object) -> None:
        """The field is named, its value is not."""
        with pytest.raises(ValueError, match="'expires_in'") as caught:
            token(expires_in=value)
        assert not isinstance(value, str) or len(value) < 3 or value not in str(caught.value)


class TestAccessToken:
    @pytest.mark.parametrize("value", ["a", "a b", "!~", "x" * 100_000, "Bearer abc"])
    def test_printable_ascii_is_a_token(self, value: str) -> None:
        """Any string of U+0020 to U+007E without outer blanks."""
        assert TokenData.from_response({"access_token": value}).access_token == value

    @pytest.mark.parametrize(
        "value",
        [
            *("", " ", " a", "a ", "a\nb", "a\r", "\t", "a\x00b", "a\x7f", "ä", "\u2028", "\ud800"),
            *(None, True, 7, 1.5, [], ["a"], {}, {"value": "a"}),
        ],
        ids=repr,
    )
    def test_nothing_else_is_a_token(self, value: object) -> None:
        """No control character can get into a header; the value is not shown."""
        with pytest.raises(ValueError, match="'access_token'"):
            TokenData.from_response({"access_token": value})

    def test_a_missing_token_is_a_key_error(self) -> None:
        """An answer without the field is told from one with a bad value."""
        with pytest.raises(KeyError, match="access_token"):
            TokenData.from_response({"token_type": "Bearer"})


class TestOtherFields:
    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            *((v, v) for v in ("Bearer", "bearer", "DPoP", "", "x-y.z!#$%&'*+^_`|~")),
            (None, "Bearer"),
        ],
    )
    def test_token_types(self, value: object, kind: str) -> None:
        """A token of RFC 9110 in its own case; empty: none; null: the default."""
        assert token(token_type=value).token_type == kind

    def test_the_default_token_type(self) -> None:
        """An absent type is the default."""
        assert token().token_type == "Bearer"

    @pytest.mark.parametrize("value", ["a b", "Bearer ", "ä", "a\n", "a:b", 1, True, [], {}])
    def test_other_token_types_are_refused(self, value: object) -> None:
        """What cannot be a scheme of an Authorization header is none."""
        with pytest.raises(ValueError, match="'token_type'"):
            token(token_type=value)

    @pytest.mark.parametrize(("value", "kept"), [("r", "r"), ("", None), (None, None), ("ä", "ä")])
    def test_refresh_tokens(self, value: object, kept: str | None) -> None:
        """Any string; an empty one is none."""
        assert token(refresh_token=value).refresh_token == kept

    @pytest.mark.parametrize("value", [1, True, [], {}, ["r"]])
    def test_other_refresh_tokens_are_refused(self, value: object) -> None:
        """Other types are refused."""
        with pytest.raises(ValueError, match="'refresh_token'"):
            token(refresh_token=value)

    @pytest.mark.parametrize(
        ("value", "kept"), [("a b", "a b"), (["a", "b"], "a b"), ([], ""), (None, None)]
    )
    def test_scopes(self, value: object, kept: str | None) -> None:
        """A string, or an array that is joined by blanks."""
        assert token(scope=value).scope == kept

    @pytest.mark.parametrize("value", [1, True, {}, ["a", 1], [["a"]]])
    def test_other_scopes_are_refused(self, value: object) -> None:
        """Other types are refused."""
        with pytest.raises(ValueError, match="'scope'"):
            token(scope=value)

    def test_other_keys_go_into_extra(self) -> None:
        """What no field names is kept, and cannot be changed."""
        got = token(id_token="i", nested={"a": [1]}, expires_in=60)
        assert got.extra == {"id_token": "i", "nested": {"a": [1]}}
        with pytest.raises(TypeError, match="read-only"):
            got.extra["more"] = 1


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    """An endpoint that answers what a test tells it to."""
    with Loopback(reply()) as server:
        yield server


@pytest.fixture(scope="module")
def step(server: Loopback) -> BodyTokenFetcher:
    """A step that reads the body of the answer."""
    return BodyTokenFetcher("app_token", server.url, "/token", token_field="data.tokens.access")


def refused(step: BodyTokenFetcher | HeaderTokenFetcher) -> AuthenticationException:
    """The error of a step that gets no token; it names the step and shows no secret."""
    with pytest.raises(AuthenticationException) as caught:
        step.fetch()
    assert caught.value.service_name == step.name
    assert caught.value.__cause__ is caught.value.original_exception is not None
    assert SECRET not in shown_by(caught.value)
    return caught.value


class TestBodies:
    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b"", id="empty"),
            pytest.param(f'"{SECRET}"'.encode(), id="text"),
            pytest.param(f'["{SECRET}"]'.encode(), id="array"),
            pytest.param(b"null", id="null"),
            pytest.param(f"access_token={SECRET}".encode(), id="form"),
            pytest.param(f"<html>{SECRET}</html>".encode(), id="HTML"),
            pytest.param(f'{{"access_token": "{SECRET}"'.encode(), id="truncated"),
            pytest.param(f'{{"a": "{SECRET}", "a": "{SECRET}"}}'.encode(), id="duplicate keys"),
            pytest.param(f'{{"data": {{"a": 1, "a": "{SECRET}"}}}}'.encode(), id="inner duplicate"),
            pytest.param(f'{{"a": "{SECRET}", "b": NaN}}'.encode(), id="NaN"),
            pytest.param(f'{{"a": "{SECRET}", "b": -Infinity}}'.encode(), id="Infinity"),
            pytest.param(b"[" * 100_000 + b"]" * 100_000, id="deep arrays"),
            pytest.param(b'{"a":' * 100_000, id="deep objects"),
            pytest.param(SECRET.encode() + b"\xff\xfe\x00", id="binary"),
            pytest.param(json.dumps({"data": SECRET}).encode("utf-16"), id="UTF-16"),
            pytest.param(b'{"data": "\xe4"}', id="Latin-1"),
            pytest.param(json.dumps({"access_token": SECRET}).encode(), id="no such field"),
            pytest.param(json.dumps({"data": {"tokens": SECRET}}).encode(), id="no object"),
            pytest.param(json.dumps({"data": {"tokens": [SECRET]}}).encode(), id="no such path"),
            pytest.param(b'{"a": ' + b"9" * 5000 + b"}", id="number too long"),
        ],
    )
    def test_what_holds_no_token_is_refused(
        self, server: Loopback, step: BodyTokenFetcher, body: bytes
    ) -> None:
        """Whatever else a server sends is an AuthenticationException of the step."""
        server.answer = reply(body=body)
        refused(step)

    def test_a_byte_order_mark_is_skipped(self, server: Loopback, step: BodyTokenFetcher) -> None:
        """A leading BOM is tolerated."""
        body = json.dumps({"data": {"tokens": {"access": "abc"}}}).encode("utf-8-sig")
        server.answer = reply(body=body)
        assert step.fetch().access_token == "abc"

    def test_paths_lead_into_the_answer(self, server: Loopback) -> None:
        """Each field may be a path; a key that one enters is not copied to `extra`."""
        server.answer = json_reply(
            {
                "result": {"access": "abc", "kind": "MAC", "life": {"seconds": "60"}, "r": "ref"},
                "scope": ["a", "b"],
                "other": 1,
            }
        )
        step = BodyTokenFetcher(
            *("app_token", server.url, "/token"),
            token_field="result.access",
            token_type_field="result.kind",
            expires_in_field="result.life.seconds",
            refresh_token_field="result.r",
        )
        got = step.fetch()
        assert got == TokenData(
            "abc", "MAC", START + timedelta(60 / 86400), "ref", "a b", {"other": 1}
        )

    def test_a_literal_key_wins_over_a_path(self, server: Loopback, step: BodyTokenFetcher) -> None:
        """A key that is written like the path is the field."""
        server.answer = json_reply(
            {"data.tokens.access": "literal", "data": {"tokens": {"access": "path"}}}
        )
        got = step.fetch()
        assert got.access_token == "literal"
        assert got.extra == {"data": {"tokens": {"access": "path"}}}

    JSON = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
        ),
        max_leaves=8,
    )

    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "access_token": JSON,
                "token_type": JSON | st.just("Bearer"),
                "expires_in": JSON | st.from_regex(r"[ \d._e+-]{1,6}", fullmatch=True),
                "refresh_token": JSON,
                "scope": JSON,
                "more": JSON,
            },
        )
    )
    @example({"access_token": "abc", "expires_in": "1_0"})
    @example({"access_token": "abc", "expires_in": 1e308})
    def test_every_answer_ends_in_a_token_or_its_error(
        self, server: Loopback, answer: dict[str, object]
    ) -> None:
        """A token that can be sent and stored, or an AuthenticationException."""
        server.answer = json_reply(answer)
        step = BodyTokenFetcher("app_token", server.url, "/token")
        got, error = None, None
        try:
            got = step.fetch()
        except AuthenticationException as failure:
            error = failure
        step.close()
        if got is None:
            assert error is not None
            assert error.service_name == "app_token"
            return
        assert got.access_token.isascii()
        assert got.authorization_header.isprintable()
        assert TokenData.from_dict(json.loads(json.dumps(got.to_dict()))) == got
        assert got.expires_at is None or got.expires_at >= START

    @given(st.binary(max_size=200))
    def test_every_body_ends_in_a_token_or_its_error(
        self, server: Loopback, step: BodyTokenFetcher, body: bytes
    ) -> None:
        """Bytes of any kind are no reason for another error."""
        server.answer = reply(body=body)
        with pytest.raises(AuthenticationException):
            step.fetch()


class TestHeaders:
    @pytest.fixture
    def step(self, server: Loopback) -> HeaderTokenFetcher:
        """A step that reads a header of the answer."""
        return HeaderTokenFetcher(
            *("device_token", server.url, "/register"),
            token_header="X-Device-Token",
            token_type="Device",
        )

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            pytest.param("abc", "abc", id="bare"),
            pytest.param("Device abc", "abc", id="with its type"),
            pytest.param("dEVICE   abc", "abc", id="type in any case"),
            pytest.param("Bearer abc", "Bearer abc", id="another type"),
            pytest.param("Deviceabc", "Deviceabc", id="no type at all"),
        ],
    )
    def test_the_type_is_taken_away(
        self, server: Loopback, step: HeaderTokenFetcher, value: str, text: str
    ) -> None:
        """A leading type, in any case, is no part of the token; the header's case is no matter."""
        server.answer = reply(**{"x-DEVICE-token": value})
        got = step.fetch()
        assert got == TokenData(text, "Device")
        assert got.issued_at == START

    @pytest.mark.parametrize("value", ["", "Device", "Device ", "tök", "a\x7fb"])
    def test_what_is_no_token_is_refused(
        self, server: Loopback, step: HeaderTokenFetcher, value: str
    ) -> None:
        """An empty value, and one that no header may carry."""
        server.answer = reply(X_Device_Token=value)
        assert "'X-Device-Token'" in refused(step).message

    def test_a_missing_header_is_told(self, server: Loopback, step: HeaderTokenFetcher) -> None:
        """The error names the header."""
        server.answer = reply(X_Other=SECRET)
        assert "no header 'X-Device-Token'" in refused(step).message

    def test_without_a_type_nothing_is_taken_away(self, server: Loopback) -> None:
        """An empty type stands for a bare token."""
        server.answer = reply(Authorization="Bearer abc")
        step = HeaderTokenFetcher("app_token", server.url, "/login", token_type="")
        assert step.fetch() == TokenData("Bearer abc", "")


def test_fields_that_the_answer_does_not_have_may_be_none() -> None:
    """None for a field's name: the answer has no such field, and what looks like it is extra."""
    answer = json_reply({"access_token": "abc", "expires_in": 60, "refresh_token": "r"})
    with Loopback(answer) as server:
        step = BodyTokenFetcher(
            "app_token",
            server.url,
            "/token",
            expires_in_field=None,
            refresh_token_field=None,
            token_type_field=None,
        )
        token = step.fetch()
    assert token == TokenData("abc", extra={"expires_in": 60, "refresh_token": "r"})
