"""TokenAuth: the rules that hold in each library alike."""

import logging
import threading
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from adapters import THREADS, Guard, Library, pipeline, tokens

from canary import assert_clean
from client_server import Reply, Seen, Server
from doubles import CountingStep, recorded
from pytest_requestforge import FakeAuth
from requestforge import (
    AuthenticationException,
    BodyTokenFetcher,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    StepToken,
    TokenData,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.events import RefreshFailed
from requestforge.interfaces import TokenProviderInterface

CANARY = "canary-adapters-33b1"


class Numbered(TokenProviderInterface):
    """A provider whose n-th token is `token-<n>`."""

    service_name = "numbered"

    def __init__(self) -> None:
        self.fetches = 0

    def fetch_token(self) -> TokenData:
        self.fetches += 1
        return TokenData(f"token-{self.fetches}")

    def refresh_token(self, current_token: TokenData) -> TokenData:
        return self.fetch_token()


class PlainManager:
    """A manager by its methods alone."""

    def __init__(self) -> None:
        self.refreshes = 0

    def get_token(self) -> TokenData:
        return TokenData(f"token-{self.refreshes + 1}")

    def force_refresh(self) -> TokenData:
        self.refreshes += 1
        return self.get_token()


SOURCES: dict[str, Any] = {
    "manager": lambda: TokenManager(Numbered()),
    "pipeline": lambda: pipeline(CountingStep("token")),
    "pipeline provider": lambda: PipelineTokenProvider(pipeline(CountingStep("token")), "api"),
    "provider": Numbered,
    "plain manager": PlainManager,
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
def test_any_source_gives_tokens(make: Any, library: Library, api: Server) -> None:  # noqa: ANN401
    """A manager, a pipeline and a provider each give a token, and another one after a 401."""
    guard = api.rules["/orders"] = Guard("token-1")
    auth = library.auth(make())
    assert library.send("GET", f"{api.url}/orders", auth).status == 200
    guard.accepted = "token-2"
    answer = library.send("GET", f"{api.url}/orders", auth)
    assert (answer.status, answer.text, answer.history) == (200, "here", [401])
    assert tokens(api.seen) == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]


@pytest.mark.parametrize(
    ("options", "header", "value"),
    [
        ({}, "Authorization", "Bearer app-1"),
        ({"header_prefix": "Token"}, "Authorization", "Token app-1"),
        ({"header_prefix": ""}, "Authorization", "app-1"),
        ({"header_prefix": None}, "Authorization", "Bearer app-1"),
        ({"header_name": "X-App-Token", "header_prefix": ""}, "X-App-Token", "app-1"),
    ],
    ids=["default", "prefix", "bare", "type of the token", "header"],
)
def test_header_and_prefix(
    options: dict[str, Any], header: str, value: str, library: Library, api: Server
) -> None:
    """The token stands in the header asked for, behind the prefix asked for."""
    library.send("GET", api.url, library.auth(pipeline(CountingStep("app")), **options))
    assert api.last.headers.get_all(header) == [value]


def test_the_token_wins_over_a_header(library: Library, api: Server) -> None:
    """An Authorization header of the request gives way to the token."""
    auth = library.auth(pipeline(CountingStep("app")))
    library.send("GET", api.url, auth, headers={"authorization": "Bearer mine"})
    assert api.last.headers.get_all("Authorization") == ["Bearer app-1"]


@pytest.mark.parametrize("method", ["POST", "PUT"], ids=str.lower)
def test_a_refused_body_is_sent_again(method: str, library: Library, api: Server) -> None:
    """The replay is the same request with another token."""
    api.rules["/orders"] = Guard("app-2")
    auth = library.auth(pipeline(CountingStep("app")))
    answer = library.send(method, f"{api.url}/orders?page=2", auth, json={"id": 7})
    assert answer.status == 200
    first, second = api.seen
    assert (first.method, first.path, first.body) == (second.method, second.path, second.body)
    assert first.body.replace(b" ", b"") == b'{"id":7}'


def test_a_multipart_body_is_sent_again(library: Library, api: Server) -> None:
    """Parts in memory and open files go into the replay as they went into the request."""
    api.rules["/files"] = Guard("app-2")
    auth = library.auth(pipeline(CountingStep("app")))
    files = {"one": b"in memory", "two": BytesIO(b"in a file")}
    answer = library.send("POST", f"{api.url}/files", auth, files=files, data={"kind": "both"})
    assert answer.status == 200
    assert api.seen[0].body == api.seen[1].body
    assert b"in a file" in api.seen[1].body


def test_there_is_one_replay(library: Library, api: Server) -> None:
    """A token that is refused after its refresh, too, leaves the 401 to the caller."""
    step = CountingStep("app")
    api.rules["/"] = Guard("none of them")
    assert library.send("GET", f"{api.url}/", library.auth(pipeline(step))).status == 401
    assert tokens(api.seen) == ["Bearer app-1", "Bearer app-2"]


def test_a_young_token_is_not_refreshed_again(library: Library, api: Server) -> None:
    """A token of a refresh that nobody has accepted yet is not refreshed when it is refused."""
    step = CountingStep("app")
    auth = library.auth(pipeline(step))
    api.rules["/"] = Guard("none of them")
    for _ in range(3):
        assert library.send("GET", f"{api.url}/", auth).status == 401
    assert step.fetches == 2
    assert tokens(api.seen) == ["Bearer app-1", *["Bearer app-2"] * 3]


def test_an_accepted_token_is_refreshed_again(library: Library, api: Server) -> None:
    """Once an answer has accepted a refreshed token, the next refusal of it is news."""
    guard = api.rules["/"] = Guard("app-2")
    auth = library.auth(pipeline(CountingStep("app")))
    for accepted in ("app-2", "app-3"):
        guard.accepted = accepted
        assert library.send("GET", f"{api.url}/", auth).status == 200


def test_a_burst_of_refusals_is_one_fetch(library: Library, api: Server) -> None:
    """Of many requests with one revoked token each is served, and the token is fetched once."""
    step = CountingStep("app")
    auth = library.auth(pipeline(step))
    guard = api.rules["/"] = Guard("app-1")
    library.send("GET", f"{api.url}/", auth)
    guard.accepted = "app-2"
    barrier = threading.Barrier(THREADS)

    def wait_for_all(seen: Seen) -> None:
        if seen.headers["Authorization"] == "Bearer app-1":
            barrier.wait(10)

    guard.before = wait_for_all
    answers = library.burst(f"{api.url}/", auth)
    assert [answer.status for answer in answers] == [200] * THREADS
    assert step.fetches == 2


@pytest.mark.parametrize("error", ["insufficient_scope", "invalid_request"])
def test_some_challenges_are_past_help(error: str, library: Library, api: Server) -> None:
    """What another token would not change is not refreshed, and the 401 is the answer."""
    step = CountingStep("app")
    api.rules["/"] = Guard("app-2", challenge=f'Bearer realm="x", error="{error}"')
    assert library.send("GET", f"{api.url}/", library.auth(pipeline(step))).status == 401
    assert (step.fetches, len(api.seen)) == (1, 1)


def test_a_403_is_an_answer(library: Library, api: Server) -> None:
    """Nothing but a 401 has the token refreshed."""
    step = CountingStep("app")
    api.rules["/"] = Reply(403)
    assert library.send("GET", f"{api.url}/", library.auth(pipeline(step))).status == 403
    assert (step.fetches, len(api.seen)) == (1, 1)


def test_no_token_no_request(library: Library, api: Server) -> None:
    """The error of a source that has no token reaches the caller, and nothing is sent."""
    step = CountingStep("app")
    step.failure = OSError("The token server is down.")
    with pytest.raises(AuthenticationException) as caught:
        library.send("GET", api.url, library.auth(pipeline(step)))
    assert caught.value.service_name == "app"
    assert api.seen == []


def test_a_token_that_no_header_carries(library: Library, api: Server) -> None:
    """A token with a line break is an AuthenticationException that does not show it."""
    provider = PlainManager()
    provider.get_token = lambda: TokenData(f"{CANARY}\r\nX-Other: 1")  # type: ignore[method-assign]
    with pytest.raises(AuthenticationException, match="no header can carry") as caught:
        library.send("GET", api.url, library.auth(provider))
    assert_clean(caught.value)
    assert api.seen == []


def test_a_failed_refresh_leaves_the_401(
    library: Library, api: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """If the refresh fails, the caller gets the 401; the failure is logged and emitted."""
    step = CountingStep("app")
    auth = library.auth(pipeline(step))
    guard = api.rules["/"] = Guard("app-1")
    assert library.send("GET", f"{api.url}/", auth).status == 200
    guard.accepted = "app-2"
    step.failure = OSError(f"The token server is down: token={CANARY}")
    with recorded() as events, caplog.at_level(logging.WARNING, logger="requestforge"):
        answer = library.send("GET", f"{api.url}/", auth)
    assert (answer.status, answer.text) == (401, "refused")
    assert [event.step for event in events if isinstance(event, RefreshFailed)] == ["app"]
    assert "The rejected token was not replaced" in caplog.text
    assert_clean(caplog.records)


def test_a_manager_that_loses_its_token(
    library: Library, api: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """A source that says that it has refreshed, and then has no token, leaves the 401."""
    manager = PlainManager()
    auth = library.auth(manager)
    api.rules["/"] = Guard("token-9")

    def fail() -> TokenData:
        raise OSError(f"token={CANARY}")

    def lose() -> TokenData:
        manager.get_token = fail  # type: ignore[method-assign]
        return TokenData("gone")

    manager.force_refresh = lose  # type: ignore[method-assign]
    assert library.send("GET", f"{api.url}/", auth).status == 401
    assert "There is no token to replace the rejected one" in caplog.text
    assert_clean(caplog.records)


def test_allowed_origins_are_the_only_ones(
    library: Library, api: Server, elsewhere: Server
) -> None:
    """With `allowed_origins` the token goes nowhere else, and elsewhere a 401 changes nothing."""
    step = CountingStep("app")
    auth = library.auth(pipeline(step), allowed_origins=[api.url])
    elsewhere.rules["/"] = Guard("app-1")
    assert library.send("GET", f"{api.url}/", auth).status == 200
    assert library.send("GET", f"{elsewhere.url}/", auth).status == 401
    assert tokens(api.seen + elsewhere.seen) == ["Bearer app-1", None]
    assert step.fetches == 1


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"source": object()}, TypeError, "not object"),
        ({"source": TokenManager}, TypeError, "not TokenManager"),
        ({"allowed_origins": "https://a.example"}, TypeError, "not one text"),
        ({"allowed_origins": [b"https://a.example"]}, TypeError, "must be texts"),
        ({"allowed_origins": ["https://a.example/path"]}, ValueError, "is no origin"),
        ({"header_name": "X Token"}, ValueError, "header_name"),
        ({"header_prefix": "Bearer\n"}, ValueError, "header_prefix"),
    ],
    ids=["no source", "a class", "one text", "bytes", "a path", "name", "prefix"],
)
def test_bad_arguments(
    arguments: dict[str, Any], error: type[Exception], text: str, library: Library
) -> None:
    """What cannot work is refused at once."""
    with pytest.raises(error, match=text):
        library.auth(**{"source": Numbered(), **arguments})


def test_a_pipeline_caches_for_all(library: Library, api: Server) -> None:
    """Adapters of one pipeline share its tokens, and its invalidation reaches them."""
    step = CountingStep("app", expires_in=600)
    shared = TokenFetchPipeline([step], InMemoryTokenStorage())
    for _ in range(2):
        library.send("GET", api.url, library.auth(shared))
    shared.invalidate_step("app")
    library.send("GET", api.url, library.auth(shared))
    assert tokens(api.seen) == ["Bearer app-1", "Bearer app-1", "Bearer app-2"]


def test_a_manager_keeps_its_own_rules(library: Library, api: Server) -> None:
    """A manager without a `reject_interval` refreshes at each refusal."""
    provider = Numbered()
    auth = library.auth(TokenManager(provider, reject_interval=timedelta(0)))
    api.rules["/"] = Guard("none of them")
    for _ in range(2):
        library.send("GET", f"{api.url}/", auth)
    assert provider.fetches == 3


def test_a_chain_of_real_steps(library: Library, rf_fake_auth_server: FakeAuth) -> None:
    """Against a server that enforces its tokens: both steps, then a token that was revoked."""
    app = rf_fake_auth_server.token("app", "POST /app", body={"client_id": "shop"})
    user = rf_fake_auth_server.token("user", "POST /user", requires={"X-App-Token": app})
    rf_fake_auth_server.resource("GET /orders", needs=user, json=[7])
    url = rf_fake_auth_server.url
    chain = TokenFetchPipeline(
        [
            BodyTokenFetcher("app", url, "/app", request_data={"client_id": "shop"}),
            BodyTokenFetcher(
                "user", url, "/user", request_headers={"X-App-Token": StepToken("app")}
            ),
        ],
        InMemoryTokenStorage(),
    )
    auth = library.auth(chain)
    assert library.send("GET", f"{url}/orders", auth).history == []
    user.revoke()
    answer = library.send("GET", f"{url}/orders", auth)
    assert (answer.status, answer.history) == (200, [401])
