"""HttpClient: how often a refused request is replayed, who hears of it, and what may go wrong."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from client_server import Reply, Seen, Server
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.exceptions import (
    AuthenticationException,
    ConnectionException,
    HttpClientException,
)
from requestforge.hooks import ApiKeyAuthHook, CompositeAuthHook, TokenAuthHook
from requestforge.interfaces import (
    AuthHookInterface,
    AuthRetryStrategyInterface,
    ErrorHookInterface,
    TokenProviderInterface,
)
from requestforge.models import HttpRequest, HttpResponse, RequestContext
from requestforge.retry import (
    ConditionalAuthRetryStrategy,
    ExponentialBackoffRetryStrategy,
    SimpleAuthRetryStrategy,
    SimpleRetryStrategy,
)
from requestforge.token_manager import TokenManager
from requestforge.tokens import TokenData


class Issuer(TokenProviderInterface):
    """Issues `token-1`, `token-2` and so on."""

    service_name = "issuer"
    issued = 0

    def fetch_token(self) -> TokenData:
        self.issued += 1
        return TokenData(f"token-{self.issued}")

    def refresh_token(self, current_token: TokenData) -> TokenData:
        return self.fetch_token()


@pytest.fixture
def api() -> Iterator[Server]:
    """A server."""
    with Server() as server:
        yield server


Open = Callable[..., HttpClient]


@pytest.fixture
def open_client(api: Server) -> Iterator[Open]:
    """Makes a client of that server with an auth hook."""
    clients = []

    def open_client(hook: AuthHookInterface, strategy: Any = None) -> HttpClient:  # noqa: ANN401
        builder = HttpClientConfigBuilder().with_base_url(api.url).with_auth_hook(hook)
        if strategy is not None:
            builder.with_retry_strategy(strategy)
        clients.append(HttpClient(builder.build()))
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


def answers(api: Server, *statuses: int) -> None:
    """Have the server answer with these statuses, and then with the last one."""
    left = list(statuses)
    api.rules["/"] = lambda _: Reply(left.pop(0) if len(left) > 1 else left[0])


@pytest.mark.parametrize(("replays", "sent"), [(1, 3), (2, 5)])
def test_replays_are_counted_over_all_attempts(
    api: Server, open_client: Open, replays: int, sent: int
) -> None:
    """A request has the replays that the auth strategy allows, however often it is retried."""
    answers(api, 401, 503, 401, 503, 401)
    hook = TokenAuthHook(TokenManager(Issuer()), SimpleAuthRetryStrategy(replays))
    client = open_client(hook, SimpleRetryStrategy(3, 0))
    assert client.get("/").status_code == 401
    assert len(api.seen) == sent


def test_another_clients_answer_accepts_the_token(api: Server, open_client: Open) -> None:
    """A token that one client has refreshed may be accepted by an answer to another one."""
    manager = TokenManager(Issuer())
    first, second = (open_client(TokenAuthHook(manager)) for _ in range(2))

    def rule(seen: Seen) -> Reply:
        if len(api.seen) == 2:
            raise ConnectionError
        return Reply(200 if seen.headers["Authorization"] == accepted else 401)

    api.rules["/"] = rule
    accepted = "Bearer token-2"
    with pytest.raises(ConnectionException):
        first.get("/")
    assert second.get("/").status_code == 200
    accepted = "Bearer token-3"
    assert second.get("/").status_code == 200


class Listening(ApiKeyAuthHook):
    """Notes what its client tells it."""

    def __init__(self) -> None:
        super().__init__("key", retry_strategy=SimpleAuthRetryStrategy())
        self.heard: list[str] = []

    def refresh_auth(self) -> bool:
        self.heard.append("refresh")
        return True

    def accepted(self, context: RequestContext) -> None:
        self.heard.append("accepted")


def test_a_custom_hook_hears_of_renewed_credentials_alone(api: Server, open_client: Open) -> None:
    """A hook of other making is told of answers to a credential that it has renewed."""
    hook = Listening()
    client = open_client(hook)
    answers(api, 200, 401, 200)
    client.get("/")
    assert hook.heard == []
    client.get("/")
    client.get("/")
    assert hook.heard == ["refresh", "accepted", "accepted"]


def fail(*_: object) -> Any:  # noqa: ANN401
    """Fail as a callable of the user's may."""
    msg = "no such key"
    raise KeyError(msg)


class NoDelay(SimpleAuthRetryStrategy):
    def get_delay(self, attempt: int) -> float:
        """Fail."""
        fail()
        return 0.0


@pytest.mark.parametrize(
    "strategy",
    [
        ConditionalAuthRetryStrategy(should_retry_func=fail),
        ConditionalAuthRetryStrategy(is_auth_error_func=fail),
        NoDelay(),
    ],
    ids=["should_retry", "is_auth_error", "get_delay"],
)
def test_an_auth_strategy_that_fails_leaves_the_401(
    api: Server,
    open_client: Open,
    strategy: AuthRetryStrategyInterface,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What an auth strategy raises is logged, and the 401 is the answer."""
    answers(api, 401)
    client = open_client(TokenAuthHook(TokenManager(Issuer()), strategy))
    assert client.get("/").status_code == 401
    assert len(api.seen) == 1
    assert "KeyError" in caplog.text


def test_no_credential_for_the_replay_leaves_the_401(
    api: Server, open_client: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """A hook that fails after its refresh leaves the 401, which was no replay."""

    class Once(Listening):
        def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
            contexts.append(context)
            if self.heard:
                msg = "The vault is shut."
                raise AuthenticationException(msg)
            return super().before_request(request, context)

    contexts: list[RequestContext] = []
    answers(api, 401)
    assert open_client(Once()).get("/").status_code == 401
    assert "The vault is shut." in caplog.text
    assert "auth_retry" not in contexts[0].metadata


def test_what_was_carried_out_is_not_replayed(api: Server, open_client: Open) -> None:
    """A POST whose result is refused after a 303 is not made twice; the token is refreshed."""
    api.rules["/"] = Reply(303, {"Location": "/result"})
    api.rules["/result"] = Reply(401)
    issuer = Issuer()
    client = open_client(TokenAuthHook(TokenManager(issuer)))
    assert client.post("/", json_data={"buy": 1}).status_code == 401
    assert [seen.method for seen in api.seen] == ["POST", "GET"]
    assert issuer.issued == 2


@pytest.mark.parametrize(
    "method",
    ["should_retry", "get_delay", "before_attempt", "after_attempt", "is_retryable_status"],
)
@pytest.mark.parametrize("breaks", [False, True])
def test_a_retry_strategy_that_fails_ends_the_request(
    api: Server, method: str, breaks: bool
) -> None:
    """What a retry strategy raises is an HttpClientException caused by it, and is not retried."""

    class Noting(ErrorHookInterface):
        def on_error(self, exception: Exception, context: RequestContext) -> None:
            told.append(exception)

    def rule(_: Seen) -> Reply:
        if breaks and method != "is_retryable_status":
            raise ConnectionError
        return Reply(503)

    told: list[Exception] = []
    api.rules["/"] = rule
    strategy = type("Broken", (SimpleRetryStrategy,), {method: fail})(2, 0)
    builder = HttpClientConfigBuilder().with_base_url(api.url).with_retry_strategy(strategy)
    with (
        HttpClient(builder.with_error_hook(Noting()).build()) as client,
        pytest.raises(HttpClientException, match="Broken failed") as caught,
    ):
        client.get("/")
    assert type(caught.value) is HttpClientException
    assert isinstance(caught.value.__cause__, KeyError)
    assert told == [caught.value]
    assert len(api.seen) == (method != "before_attempt")


def test_a_strategys_own_refusal_passes(api: Server) -> None:
    """An error of the library that a strategy raises is raised as it is."""

    class Refusing(SimpleRetryStrategy):
        def should_retry(self, context: RequestContext, exception: Exception) -> bool:
            msg = "Not today."
            raise HttpClientException(msg)

    answers(api, 503)
    builder = HttpClientConfigBuilder().with_base_url(api.url)
    with (
        HttpClient(builder.with_retry_strategy(Refusing()).build()) as client,
        pytest.raises(HttpClientException, match=r"^Not today\.$"),
    ):
        client.get("/")


def test_retry_after_counts_with_any_retryable_status(api: Server) -> None:
    """The error that stands for a success that is retried tells its Retry-After."""

    class Noting(ErrorHookInterface):
        def on_error(self, exception: Exception, context: RequestContext) -> None:
            waits.append(getattr(exception, "retry_after", None))

    waits: list[float | None] = []
    replies = [Reply(202, {"Retry-After": "0"}), Reply(200)]
    api.rules["/"] = lambda _: replies.pop(0)
    builder = HttpClientConfigBuilder().with_base_url(api.url).with_error_hook(Noting())
    strategy = ExponentialBackoffRetryStrategy(1, 0, retryable_status_codes={202})
    with HttpClient(builder.with_retry_strategy(strategy).build()) as client:
        assert client.get("/").status_code == 200
    assert waits == [0.0]


class Broken(ApiKeyAuthHook):
    """Fails at everything but signing."""

    def __init__(self) -> None:
        super().__init__("key")

    is_auth_error = refresh_auth = accepted = invalidate_auth = fail  # type: ignore[assignment]


def test_a_broken_hook_among_several_stops_no_other(
    api: Server, open_client: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """A member of a CompositeAuthHook that fails leaves the others at work."""
    issuer = Issuer()
    token = TokenAuthHook(TokenManager(issuer))
    hook = CompositeAuthHook([Broken(), token], "all")
    answers(api, 401, 200)
    assert open_client(hook).get("/").status_code == 200
    assert issuer.issued == 2
    assert hook.refresh_auth()
    assert issuer.issued == 3
    assert "Broken" in caplog.text
    with pytest.raises(KeyError):
        hook.invalidate_auth()
    token.get_token()
    assert issuer.issued == 4
    refused = HttpResponse(401, {}, b"", 0.0, "http://a/", HttpRequest("GET", "/"))
    assert hook.is_auth_error(refused)
