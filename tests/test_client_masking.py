"""HttpClient: names that are configured as sensitive are masked wherever the client shows them."""

import logging
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from client_server import Reply, Server
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.exceptions import (
    HttpClientException,
    RequestBuildException,
    ResponseParseException,
    ServerErrorException,
)
from requestforge.hooks import (
    ApiKeyAuthHook,
    CompositeAuthHook,
    LoggingErrorHook,
    TokenAuthHook,
)
from requestforge.instrumentation import observe
from requestforge.interfaces import AuthHookInterface, ResponseHookInterface, TokenManagerInterface
from requestforge.models import HttpRequest, HttpResponse, RequestContext
from requestforge.tokens import TokenData

Build = Callable[[HttpClientConfigBuilder], HttpClientConfigBuilder]

BUILDS = [
    pytest.param(lambda b: b.with_redaction("session_ref"), id="redaction"),
    pytest.param(lambda b: b.with_logging(sensitive_keys=["session_ref"]), id="logging"),
    pytest.param(
        lambda b: b.with_error_hook(LoggingErrorHook(sensitive_keys=["session-ref"])), id="hook"
    ),
    pytest.param(lambda b: b.with_auth_hook(ApiKeyAuthHook("k", "session_ref")), id="api key"),
]


@pytest.fixture
def api() -> Iterator[Server]:
    """A server."""
    with Server() as server:
        yield server


def shown(error: HttpClientException) -> str:
    """All that an error shows of itself."""
    texts = [str(error), repr(error), repr(vars(error)), repr(getattr(error, "response", None))]
    return " ".join(texts) + pickle.dumps(error).decode("latin-1")


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("status", [200, 302, 500])
def test_a_configured_name_is_masked_everywhere(
    api: Server, build: Build, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors, their pickles, events, answers and the records of urllib3 hide its values."""
    headers = {"Location": "/?session_ref=canary"} if status == 302 else {}
    api.rules["/"] = Reply(status, {**headers, "Session-Ref": "canary"})
    builder = build(HttpClientConfigBuilder()).with_base_url(api.url)
    events: list[object] = []
    caplog.set_level(logging.DEBUG)
    with (
        HttpClient(builder.with_redirects(max_redirects=1).build()) as client,
        observe(events.append),
    ):
        try:
            response = client.put(
                "/?session_ref=canary",
                params={"session_ref": "canary"},
                headers={"Session-Ref": "canary"},
                json_data={"session_ref": "canary"},
            )
        except HttpClientException as error:
            seen = shown(error)
            assert status == 302
        else:
            seen = repr(response)
            if status == 500:
                with pytest.raises(ServerErrorException) as caught:
                    response.raise_for_status()
                seen += shown(caught.value)
                assert "canary" not in str(pickle.loads(pickle.dumps(caught.value)))
            with pytest.raises(ResponseParseException) as unread:
                response.json()
            seen += shown(unread.value)
    assert "canary" not in seen
    assert "canary" not in repr(events)
    assert "canary" not in caplog.text
    assert "urllib3" in caplog.text
    assert "canary" in api.last.path


def test_the_failure_of_a_hook_is_masked_too(api: Server, caplog: pytest.LogCaptureFixture) -> None:
    """The logged failure of a response hook hides the values of configured names."""

    class Failing(ResponseHookInterface):
        def after_response(self, response: HttpResponse, context: RequestContext) -> HttpResponse:
            msg = "session_ref=canary"
            raise RuntimeError(msg)

    builder = HttpClientConfigBuilder().with_base_url(api.url).with_redaction("session_ref")
    with HttpClient(builder.with_response_hook(Failing()).build()) as client:
        client.get("/")
    assert "RuntimeError" in caplog.text
    assert "canary" not in caplog.text


def test_retries_of_urllib3_are_logged_without_secrets(
    api: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The adapter of a supplied session may retry, and its records are masked, too."""
    caplog.set_level(logging.DEBUG)
    api.rules["/"] = Reply(500)
    session = requests.Session()
    retries = Retry(1, status_forcelist=[500], backoff_factor=0)
    session.mount("http://", HTTPAdapter(max_retries=retries))
    config = HttpClientConfigBuilder().with_base_url(api.url).build()
    with HttpClient(config, session) as client, pytest.raises(HttpClientException):
        client.get("/?access_token=canary")
    assert any(record.name == "urllib3.util.retry" for record in caplog.records)
    assert "canary" not in caplog.text


class Manager(TokenManagerInterface):
    """Its token is refused, and it quotes the token when it fails to get another one."""

    def __init__(self) -> None:
        self.token = TokenData("canary-raw", refresh_token="canary-refresh")

    def get_token(self) -> TokenData:
        return self.token

    def invalidate_token(self) -> None:
        """Do nothing."""

    def force_refresh(self) -> TokenData:
        msg = "cannot replace canary-raw by canary-refresh"
        raise RuntimeError(msg)


class DuckManager:
    """The same without the interface."""

    get_token = Manager.get_token
    force_refresh = Manager.force_refresh
    invalidate_token = Manager.invalidate_token
    __init__ = Manager.__init__


class RawHook(ApiKeyAuthHook):
    """Quotes its credential when it fails to renew it."""

    def __init__(self) -> None:
        super().__init__("Raw canary-raw", "Authorization", TokenAuthHook(Manager()).retry_strategy)

    def refresh_auth(self) -> bool:
        msg = "cannot renew canary-raw"
        raise RuntimeError(msg)


@pytest.mark.parametrize(
    "hook",
    [
        TokenAuthHook(Manager()),
        TokenAuthHook(DuckManager()),
        RawHook(),
        CompositeAuthHook([RawHook()]),
    ],
    ids=["manager", "duck", "custom", "composite"],
)
def test_a_failed_renewal_does_not_show_what_was_refused(
    api: Server, hook: AuthHookInterface, caplog: pytest.LogCaptureFixture
) -> None:
    """The token that was sent is masked in the logged failure, whatever it looks like."""
    api.rules["/"] = Reply(401)
    config = HttpClientConfigBuilder().with_base_url(api.url).with_auth_hook(hook).build()
    with HttpClient(config) as client:
        assert client.get("/").status_code == 401
    assert "RuntimeError" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    "wrong", [{"url": 5}, {"url": "http://a/", "headers": [("Authorization", "canary")]}]
)
def test_a_malformed_request_is_in_its_error(wrong: dict[str, Any]) -> None:
    """`context["request"]` shows, masked, even what cannot be sent."""
    with HttpClient() as client, pytest.raises(RequestBuildException) as caught:
        client.request(HttpRequest("GET", **wrong))
    request = caught.value.context["request"]
    assert request.url == wrong["url"]
    assert "canary" not in shown(caught.value)
