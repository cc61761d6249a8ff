"""Logging hooks of users, and long bodies in a log."""

import json
import logging
import time

import pytest

from client_server import Reply, Server
from requestforge import HttpClient, HttpClientConfigBuilder
from requestforge.hooks import LoggingErrorHook, LoggingRequestHook, LoggingResponseHook
from requestforge.models import HttpMethod, HttpRequest, HttpResponse, RequestContext

REQUEST = HttpRequest(HttpMethod.GET, "/users")


class CountingErrors(LoggingErrorHook):
    """Counts what it hears, and does without the constructor."""

    def __init__(self) -> None:
        self.heard = 0

    def on_error(self, exception: Exception, context: RequestContext) -> None:
        self.heard += 1
        super().on_error(exception, context)


class CountingRequests(LoggingRequestHook):
    """Counts requests."""

    sent = 0

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        self.sent += 1
        return super().before_request(request, context)


@pytest.mark.parametrize("names", [(), ("shoe",)], ids=["no names", "names"])
def test_a_client_calls_the_hooks_that_it_is_given(
    names: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Subclasses are called themselves, and mask the names of the configuration all the same."""
    requests, errors = CountingRequests(), CountingErrors()
    builder = HttpClientConfigBuilder().with_redaction(*names).with_raise_for_status()
    builder.with_request_hook(requests).with_error_hook(errors)
    caplog.set_level(logging.INFO, logger="requestforge")
    with Server() as api:
        api.rules["/"] = Reply(503)
        with HttpClient(builder.with_base_url(api.url).build()) as client:
            for _ in range(2):
                with pytest.raises(Exception, match="503"):
                    client.get("/?shoe=canary")
    assert (requests.sent, errors.heard) == (2, 2)
    assert ("shoe=***" in caplog.text) is bool(names)


def body_in_log(body: str, caplog: pytest.LogCaptureFixture) -> str:
    """What a logged error shows of its body."""
    response = HttpResponse(500, {}, body.encode(), 1.0, "https://a.example/", REQUEST)
    LoggingResponseHook(log_body=True).after_response(response, RequestContext(REQUEST))
    return caplog.records[-1].getMessage().partition("body: ")[2]


@pytest.mark.parametrize(
    "filler", [0, 65_400, 65_490, 65_500, 65_510, 65_520, 65_530, 65_536], ids=str
)
@pytest.mark.parametrize(
    "secret",
    [
        "https://ada:canary-of-some-length@a.example/",
        "ada:canary-of-some-length@a.example",
        '"token": "canary of some length",',
        "token=canary-of-some-length",
        "Bearer canary-of-some-length",
        "Authorization: canary-of-some-length",
    ],
    ids=["url", "userinfo", "json", "form", "scheme", "header"],
)
def test_no_part_of_a_secret_is_logged_wherever_a_body_is_cut(
    secret: str, filler: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Half of a secret at the end of what is looked at is not shown, either."""
    start = '"password": "' + "x" * filler + '" , '
    shown = body_in_log(start + secret + " and so on" * 10_000, caplog)
    assert shown.startswith('"password": ***')
    assert len(shown) <= 500
    assert "canary" not in shown
    assert "can" not in shown


def test_a_long_body_is_masked_no_further_than_needed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The start of a long answer is shown, at the cost of its start."""
    body = json.dumps([{"user": "ada", "token": "canary"}] * 200_000)
    before = time.process_time()
    shown = body_in_log(body, caplog)
    assert time.process_time() - before < 2
    assert shown.startswith('[{"user": "ada", "token": ***}')
    assert "canary" not in shown


def test_one_word_without_an_end_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Of a body that is one long word nobody can tell what it holds."""
    assert body_in_log("a:" + "canary" * 20_000 + "@a.example", caplog) == "***"
