"""Steps that get no token: what their errors say, and what they never say."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from doubles import Clock
from fetching import SECRET, refused
from loopback import Loopback, json_reply, reply
from requestforge import instrumentation
from requestforge.exceptions import (
    AuthenticationException,
    ConnectionException,
    UnauthorizedException,
)
from requestforge.fetcher import BodyTokenFetcher, HeaderTokenFetcher
from requestforge.models import HttpResponse
from requestforge.tokens import TokenData

ENDPOINT = ("app_token", "https://auth.example.com", "/v1/app/token")
GOOD = json_reply({"access_token": "abc"})


class TestFailures:
    def test_a_status_is_told_with_the_oauth_error(self) -> None:
        """`error` and `error_description` explain the status; the cause has it, but no body."""
        answer = json_reply(
            {"error": "invalid_client", "error_description": "Unknown client.", "trace": SECRET},
            401,
        )
        with Loopback(answer) as server:
            error = refused(BodyTokenFetcher("app_token", server.url, "/token"))
        assert error.message == (
            "No token for 'app_token'. "
            "The endpoint answered with status 401: invalid_client: Unknown client."
        )
        cause = error.__cause__
        assert type(cause) is UnauthorizedException
        assert (cause.status_code, cause.response_body, cause.response) == (401, None, None)

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(reply(400), id="empty"),
            pytest.param(reply(400, f"<h1>{SECRET}</h1>".encode()), id="HTML"),
            pytest.param(reply(400, b"\xff\xfe"), id="binary"),
            pytest.param(reply(400, b"[" * 100_000), id="deep"),
            pytest.param(json_reply([SECRET], 400), id="array"),
            pytest.param(json_reply({"error": {"code": SECRET}}, 400), id="error as object"),
            pytest.param(json_reply({"error": None, "error_description": 7}, 400), id="numbers"),
            pytest.param(json_reply({"message": SECRET}, 400), id="other fields"),
        ],
    )
    def test_other_bodies_are_not_quoted(self, answer: bytes) -> None:
        """Of what is no OAuth error the status alone is told."""
        with Loopback(answer) as server:
            error = refused(BodyTokenFetcher("app_token", server.url, "/token"))
        assert error.message.endswith("The endpoint answered with status 400.")

    def test_a_challenge_tells_the_error(self) -> None:
        """Where the body has none, the error code of WWW-Authenticate is shown."""
        challenge = 'Bearer realm="x", error="invalid_token", error_description="dead"'
        with Loopback(reply(401, WWW_Authenticate=challenge)) as server:
            error = refused(BodyTokenFetcher("app_token", server.url, "/token"))
        assert error.message.endswith("status 401: invalid_token.")

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_redirects_are_failures(self, status: int) -> None:
        """Nothing is sent to where a redirect leads, and the place is not shown."""
        with Loopback(reply(status, GOOD, Location=f"/{SECRET}")) as server:
            error = refused(BodyTokenFetcher("app_token", server.url, "/token"))
        assert len(server.requests) == 1
        assert "redirect, which is not followed" in error.message
        assert error.__cause__.status_code == status

    @pytest.mark.parametrize("status", [201, 204, 299])
    def test_any_success_may_carry_a_token(self, status: int) -> None:
        """A 2xx is read; without a body there is no token in it."""
        good = {"X-Token": "abc"}
        with Loopback(reply(status, **good)) as server:
            step = HeaderTokenFetcher("app_token", server.url, "/token", token_header="X-Token")
            assert step.fetch().access_token == "abc"
            refused(BodyTokenFetcher("app_token", server.url, "/token"))

    def test_a_broken_line_is_the_cause(self) -> None:
        """The transport's error is chained, and its text is part of the message."""
        with Loopback(GOOD) as server:
            url = server.url
        error = refused(
            BodyTokenFetcher("app_token", url, "/token", request_data={"password": SECRET})
        )
        assert type(error.__cause__) is ConnectionException
        assert error.message == f"No token for 'app_token'. {error.__cause__.message}"

    def test_the_wait_that_a_server_asks_for_is_told(self) -> None:
        """Retry-After becomes `retry_at`, and the cause's `retry_after`."""
        with (
            instrumentation.use_clock(Clock()) as clock,
            Loopback(reply(503, Retry_After="90")) as server,
        ):
            error = refused(BodyTokenFetcher("app_token", server.url, "/token"))
        assert error.retry_at == clock.now() + timedelta(seconds=90)
        assert error.__cause__.retry_after == 90

    def test_a_date_beyond_the_calendar_is_a_long_wait(self) -> None:
        """A Retry-After that no instant can hold is cut to ten years, as a number of seconds is."""
        far = reply(503, Retry_After="Fri, 31 Dec 9999 23:59:59 -2359")
        with instrumentation.use_clock(Clock()) as clock, Loopback(far) as server:
            error = refused(BodyTokenFetcher("app_token", server.url, "/token"))
        assert error.retry_at == clock.now() + timedelta(days=3650)

    def test_without_retry_after_there_is_no_instant(self) -> None:
        """Nothing is made up."""
        with Loopback(reply(503)) as server:
            assert refused(BodyTokenFetcher("app_token", server.url, "/token")).retry_at is None

    def test_overriders_errors_pass(self) -> None:
        """An AuthenticationException of an override is not wrapped once more."""
        own = AuthenticationException("no device", service_name="app_token")

        class Custom(BodyTokenFetcher):
            def _make_request(self, *_args: object, **_kwargs: object) -> HttpResponse:
                raise own

        with pytest.raises(AuthenticationException) as caught:
            Custom(*ENDPOINT).fetch()
        assert caught.value is own


class TestEchoes:
    """A server may send back what it was sent; a message may not."""

    @pytest.mark.parametrize(
        ("data", "echo"),
        [
            ({"password": SECRET}, SECRET),
            ({"pin": 12345678}, "12345678"),
            ({"deep": [{"secret": "pw!"}]}, "pw!"),
            ({"device": SECRET}, SECRET),
        ],
        ids=["secret", "number", "nested", "harmless name"],
    )
    def test_data_are_masked(self, data: dict[str, Any], echo: str) -> None:
        """What stands under a secret's name, and any longer value."""
        assert told({"request_data": data, "content_type": "json"}, echo) == "***"

    @pytest.mark.parametrize(
        ("value", "echo"),
        [
            (f"Bearer {SECRET}", SECRET),
            ("Basic dXNlcjpjYW5hcnklMkJwdw==", "canary%2Bpw"),
            ("Basic dXNlcjpjYW5hcnklMkJwdw==", "canary+pw"),
            ("Basic ?", "Basic ?"),
        ],
    )
    def test_credentials_are_masked_in_their_parts(self, value: str, echo: str) -> None:
        """A scheme's credential, and the password in it, encoded or not."""
        assert told({"request_headers": {"Authorization": value}}, echo) == "***"

    def test_headers_are_masked(self) -> None:
        """Longer values of headers may be keys of a device."""
        assert told({"request_headers": {"X-Device-ID": SECRET}}, SECRET) == "***"

    def test_urls_are_masked(self) -> None:
        """The query of the endpoint is sent, too."""
        assert told({"endpoint": f"/token?code={SECRET}"}, SECRET) == "***"
        assert told({"method": "GET", "request_data": {"code": SECRET}}, SECRET) == "***"

    def test_public_values_are_shown(self) -> None:
        """What helps to find the fault and is no secret stays readable."""
        data = {"client_id": "my-app-id", "grant_type": "client_credentials", "user": "bob"}
        text = "my-app-id may not use client_credentials for bob"
        assert told({"request_data": data}, text) == text

    def test_descriptions_are_short_and_printable(self) -> None:
        """Control characters are blanks, and 200 characters are the most."""
        assert told({}, "line\r\nnext\x1b[31m") == "line  next [31m"
        assert 150 < len(told({}, "x" * 5000)) <= 200


def told(arguments: Mapping[str, Any], description: str) -> str:
    """What a message shows of an `error_description`."""
    context = {"first": TokenData("tok-3n", refresh_token="refr-3sh")}
    with Loopback(json_reply({"error_description": description}, 400)) as server:
        facts = {"name": "app_token", "base_url": server.url, "endpoint": "/token", **arguments}
        with pytest.raises(AuthenticationException) as caught:
            BodyTokenFetcher(**facts).fetch(context)
    return caught.value.message.removeprefix(
        "No token for 'app_token'. The endpoint answered with status 400: "
    ).removesuffix(".")
