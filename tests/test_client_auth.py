"""HttpClient with a token manager: what a refused token sets in motion."""
# ruff: noqa: ANN401 - stand-ins for what the interfaces describe

import io
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from client_server import Reply, Seen, Server
from doubles import Clock
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfig, HttpClientConfigBuilder
from requestforge.events import RequestReplayed, RequestSent, ResponseReceived
from requestforge.exceptions import AuthenticationException, ConnectionException
from requestforge.hooks import TokenAuthHook
from requestforge.instrumentation import observe, use_clock
from requestforge.interfaces import AuthRetryStrategyInterface, TokenProviderInterface
from requestforge.models import HttpRequest, HttpResponse, RequestContext
from requestforge.retry import (
    ExponentialAuthRetryStrategy,
    NoAuthRetryStrategy,
    SimpleAuthRetryStrategy,
)
from requestforge.token_manager import TokenManager
from requestforge.tokens import TokenData


class Issuer(TokenProviderInterface):
    """Issues `token-1`, `token-2` and so on; it can fail."""

    def __init__(self) -> None:
        self.issued = 0
        self.failure: Exception | None = None

    @property
    def service_name(self) -> str:
        return "issuer"

    def fetch_token(self) -> TokenData:
        if self.failure is not None:
            raise self.failure
        self.issued += 1
        return TokenData(f"token-{self.issued}")

    def refresh_token(self, current_token: TokenData) -> TokenData:
        return self.fetch_token()


class Api(Server):
    """A server that takes some tokens, and refuses all others with 401."""

    def __init__(self) -> None:
        super().__init__()
        self.accepts = {"Bearer token-1"}
        self.refusal = Reply(401)

    def answer(self, seen: Seen) -> Reply:
        reply = super().answer(seen)
        return reply if seen.headers["Authorization"] in self.accepts else self.refusal

    @property
    def tokens(self) -> list[str]:
        """The Authorization headers, as they came."""
        return [seen.headers["Authorization"] for seen in self.seen]


@pytest.fixture
def api() -> Iterator[Api]:
    """A server that accepts the first token until told otherwise."""
    with Api() as server:
        yield server


@pytest.fixture
def issuer() -> Issuer:
    """Where tokens come from."""
    return Issuer()


Open = Callable[..., HttpClient]


@pytest.fixture
def open_client(api: Api, issuer: Issuer) -> Iterator[Open]:
    """Makes a client of that server with tokens of that issuer."""
    clients = []

    def open_client(
        strategy: AuthRetryStrategyInterface | None = None, *, path: str = "", **options: Any
    ) -> HttpClient:
        builder = HttpClientConfigBuilder().with_base_url(api.url + path)
        builder.with_token_auth(TokenManager(issuer), strategy, **options)
        clients.append(HttpClient(builder.build()))
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


def revoke(api: Api) -> None:
    """Have the server take the second token only."""
    api.accepts = {"Bearer token-2"}


def test_a_request_carries_the_token(api: Api, issuer: Issuer, open_client: Open) -> None:
    """The manager's token is sent, and fetched once."""
    client = open_client()
    assert [client.get("/").status_code for _ in range(2)] == [200, 200]
    assert api.tokens == ["Bearer token-1"] * 2
    assert issuer.issued == 1


class TestRefresh:
    def test_a_refused_token_is_refreshed_and_the_request_replayed(
        self, api: Api, issuer: Issuer, open_client: Open
    ) -> None:
        """After a 401 the same request is sent again with a new token, once."""
        client = open_client()
        client.get("/")
        revoke(api)
        response = client.post("/users", json_data={"a": 1}, params={"b": "2"})
        assert response.status_code == 200
        assert api.tokens == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]
        refused, replayed = api.seen[1:]
        assert (refused.method, refused.path, refused.body) == (
            replayed.method,
            replayed.path,
            replayed.body,
        )
        assert issuer.issued == 2

    def test_the_second_refusal_is_the_answer(
        self, api: Api, issuer: Issuer, open_client: Open
    ) -> None:
        """A request whose new token is refused, too, ends in that 401."""
        api.accepts = set()
        assert open_client().get("/").status_code == 401
        assert api.tokens == ["Bearer token-1", "Bearer token-2"]
        assert issuer.issued == 2

    def test_a_strategy_may_allow_more_replays(self, api: Api) -> None:
        """`max_retries` of the auth strategy bounds the replays, with its delays between them."""
        api.accepts = {"Bearer token-3"}
        strategy = ExponentialAuthRetryStrategy(2, base_delay=1, jitter=False)
        clock = Clock()
        with use_clock(clock):
            manager = TokenManager(Issuer(), reject_interval=timedelta(0))
            builder = HttpClientConfigBuilder().with_base_url(api.url)
            with HttpClient(builder.with_token_auth(manager, strategy).build()) as client:
                assert client.get("/").status_code == 200
        assert len(api.seen) == 3
        assert clock.slept == [1, 2]

    @pytest.mark.parametrize(
        "strategy",
        [NoAuthRetryStrategy(), SimpleAuthRetryStrategy(0), SimpleAuthRetryStrategy(1, 0, [])],
        ids=["none", "no replays", "no statuses"],
    )
    def test_a_strategy_may_allow_none(
        self, api: Api, issuer: Issuer, open_client: Open, strategy: AuthRetryStrategyInterface
    ) -> None:
        """A strategy without replays leaves the 401 as it is."""
        api.accepts = set()
        assert open_client(strategy).get("/").status_code == 401
        assert (len(api.seen), issuer.issued) == (1, 1)

    def test_a_strategy_cannot_replay_more_often_than_it_says(
        self, api: Api, issuer: Issuer
    ) -> None:
        """`max_retries` bounds the replays even of a strategy that always says yes."""

        class Eager(SimpleAuthRetryStrategy):
            def should_retry(self, response: HttpResponse, attempt: int) -> bool:
                return True

        api.accepts = set()
        manager = TokenManager(issuer, reject_interval=timedelta(0))
        builder = HttpClientConfigBuilder().with_base_url(api.url)
        with HttpClient(builder.with_token_auth(manager, Eager(1)).build()) as client:
            assert client.get("/").status_code == 401
        assert len(api.seen) == 2

    @pytest.mark.parametrize(("codes", "sent"), [(None, 1), ([401, 403], 2)])
    def test_403_refreshes_only_where_the_strategy_says_so(
        self, api: Api, open_client: Open, codes: list[int] | None, sent: int
    ) -> None:
        """A 403 is an answer like any other unless it is configured."""
        api.refusal = Reply(403)
        api.accepts = {"Bearer token-2"}
        open_client(SimpleAuthRetryStrategy(auth_error_codes=codes)).get("/")
        assert len(api.seen) == sent

    @pytest.mark.parametrize(
        ("challenge", "sent"),
        [
            pytest.param('Bearer realm="x", error="insufficient_scope"', 1, id="scope"),
            pytest.param("bearer error=invalid_request", 1, id="request"),
            pytest.param('Basic realm="a", Bearer error="invalid_request"', 1, id="second"),
            pytest.param('Bearer error="invalid_token"', 2, id="token"),
            pytest.param('Bearer realm="x"', 2, id="no error"),
            pytest.param('Bearer error_description="insufficient_scope"', 2, id="description"),
            pytest.param('Digest error="invalid_request"', 2, id="other scheme"),
            pytest.param('Bearer realm="\\"error=\\"", x="error=invalid_request"', 2, id="quoted"),
        ],
    )
    def test_what_no_token_could_help_is_not_refreshed(
        self, api: Api, open_client: Open, challenge: str, sent: int
    ) -> None:
        """A Bearer challenge about scope or request leaves the 401 as it is (RFC 6750)."""
        api.accepts = set()
        api.refusal = Reply(401, {"WWW-Authenticate": challenge})
        assert open_client().get("/").status_code == 401
        assert len(api.seen) == sent

    def test_a_body_that_is_gone_leaves_the_401(
        self, api: Api, issuer: Issuer, open_client: Open
    ) -> None:
        """A body that cannot be read again is not replayed, but the next request is served."""
        client = open_client()
        client.get("/")
        revoke(api)
        assert client.post("/", data=iter([b"once"])).status_code == 401
        assert client.post("/", data=iter([b"again"])).status_code == 200
        assert [seen.body for seen in api.seen] == [b"", b"once", b"again"]
        assert issuer.issued == 2

    def test_a_file_is_read_again_from_where_it_stood(self, api: Api, open_client: Open) -> None:
        """A replay sends the whole of a file, not what is left of it."""
        api.accepts = {"Bearer token-2"}
        file = io.BytesIO(b"skipped and sent")
        file.seek(8)
        open_client().post("/", data=file)
        assert [seen.body for seen in api.seen] == [b"and sent", b"and sent"]

    def test_a_failed_refresh_leaves_the_401(
        self, api: Api, issuer: Issuer, open_client: Open, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A refresh that fails is logged, without secrets, and the 401 is the answer."""
        client = open_client()
        client.get("/")
        api.accepts = set()
        issuer.failure = RuntimeError("no; Bearer canary")
        assert client.get("/").status_code == 401
        assert len(api.seen) == 2
        assert "RuntimeError" in caplog.text
        assert "canary" not in caplog.text

    def test_a_token_that_was_never_accepted_is_not_refreshed_again_at_once(
        self, api: Api, issuer: Issuer, open_client: Open
    ) -> None:
        """For `reject_interval` a token that came from a refresh is not refreshed, then it is."""
        api.accepts = set()
        clock = Clock()
        with use_clock(clock):
            client = open_client()
            for _ in range(5):
                assert client.get("/").status_code == 401
            assert (issuer.issued, len(api.seen)) == (2, 6)
            clock.advance(seconds=11)
            client.get("/")
            assert issuer.issued == 3

    def test_a_token_that_was_accepted_is_refreshed_at_once(
        self, api: Api, issuer: Issuer, open_client: Open
    ) -> None:
        """Once an answer has accepted a refreshed token, its refusal is news."""
        with use_clock(Clock()):
            client = open_client()
            for number in range(1, 5):
                api.accepts = {f"Bearer token-{number}"}
                assert client.get("/").status_code == 200
            assert issuer.issued == 4

    def test_many_threads_with_one_revoked_token_fetch_one(
        self, api: Api, issuer: Issuer, open_client: Open
    ) -> None:
        """32 threads whose token was revoked get 32 answers for one fetch."""
        client = open_client()
        client.get("/")
        revoke(api)
        refused = threading.Barrier(32, timeout=30)

        def rule(seen: Seen) -> Reply:
            if seen.headers["Authorization"] == "Bearer token-1":
                refused.wait()
            return Reply()

        api.rules["/together"] = rule
        with ThreadPoolExecutor(32) as pool:
            answers = [pool.submit(client.get, "/together") for _ in range(32)]
            assert [answer.result().status_code for answer in answers] == [200] * 32
        assert issuer.issued == 2

    def test_replays_are_counted_and_told(self, api: Api, open_client: Open) -> None:
        """`metadata["auth_retry"]` and RequestReplayed count replays; the attempt is the same."""
        api.accepts = {"Bearer token-2"}
        events: list[Any] = []
        contexts: list[RequestContext] = []
        client = open_client()
        hook: Any = client.auth_hook
        before = hook.before_request
        hook.before_request = lambda request, context: (
            contexts.append(context),
            before(request, context),
        )[1]
        with observe(events.append):
            client.get("/")
        own = [e for e in events if isinstance(e, RequestSent | ResponseReceived | RequestReplayed)]
        assert [type(event) for event in own] == [
            RequestSent,
            ResponseReceived,
            RequestReplayed,
            RequestSent,
            ResponseReceived,
        ]
        assert (own[2].status_code, own[2].replay) == (401, 1)
        assert {event.attempt for event in own} == {0}
        assert contexts[-1].metadata["auth_retry"] == 1
        assert "token-" not in repr(events)
        assert "token-" not in repr(contexts[-1])


class TestWithoutOurCredential:
    def test_a_401_elsewhere_does_not_refresh(
        self, api: Api, issuer: Issuer, open_client: Open
    ) -> None:
        """An origin that the token does not go to cannot refuse it."""
        api.accepts = set()
        client = open_client()
        assert client.get(f"http://localhost:{api.port}/").status_code == 401
        assert (api.tokens, issuer.issued) == ([None], 0)

    def test_a_401_after_a_redirect_elsewhere_does_not_refresh(
        self, api: Api, issuer: Issuer, open_client: Open
    ) -> None:
        """An origin that a redirect led to has not seen the token."""
        api.rules["/from"] = Reply(302, {"Location": f"http://localhost:{api.port}/to"})
        assert open_client().get("/from").status_code == 401
        assert (api.tokens, issuer.issued) == (["Bearer token-1", None], 1)

    def test_auth_of_the_request_stands_in_its_place(
        self, api: Api, issuer: Issuer, open_client: Open
    ) -> None:
        """A request with its own `auth` gets no token, and its 401 no refresh."""
        assert open_client().get("/", auth=("ada", "pw")).status_code == 401
        assert (api.tokens, issuer.issued) == (["Basic YWRhOnB3"], 0)

    def test_a_hook_that_adds_nothing_refreshes_nothing(self, api: Api, issuer: Issuer) -> None:
        """Where the hook left the request alone its 401 is the answer."""

        class Shy(TokenAuthHook):
            def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
                return request

        config = HttpClientConfig(api.url, auth_hook=Shy(TokenManager(issuer)))
        with HttpClient(config) as client:
            assert client.get("/", headers={"X-One": "1"}).status_code == 401
        assert (len(api.seen), issuer.issued) == (1, 0)


class TestExcludedPaths:
    @pytest.mark.parametrize(
        ("excluded", "url"),
        [
            pytest.param("/login", "/login", id="path"),
            pytest.param("login/", "/login", id="slashes"),
            pytest.param("/login", "/login/?next=%2Fusers#top", id="query and fragment"),
            pytest.param("/login", "/a/.././log%69n", id="dots and escapes"),
            pytest.param("/a/", "/a/login/..", id="dots at the end"),
            pytest.param("/a%2Fb", "/a%2fb", id="escape of a reserved character"),
            pytest.param("/v1/login", "/login", id="in full"),
            pytest.param("/login", "{url}/v1/login", id="absolute, below the base"),
            pytest.param("/v1/login", "{url}/v1/login", id="absolute, in full"),
            pytest.param("/login", "{url}/login", id="absolute, beside the base"),
            pytest.param("/", "/", id="base"),
        ],
    )
    def test_an_excluded_path_gets_no_token(
        self, api: Api, issuer: Issuer, open_client: Open, excluded: str, url: str
    ) -> None:
        """A path is excluded in full or below the base URL, however it is written."""
        client = open_client(path="/v1", excluded_paths=[excluded])
        client.get(url.format(url=api.url))
        assert (api.tokens, issuer.issued) == ([None], 0)

    @pytest.mark.parametrize("url", ["/Login", "/login/x", "/v2/login", "{url}/v1x/login"])
    def test_other_paths_get_one(self, api: Api, open_client: Open, url: str) -> None:
        """Upper and lower case differ, and so do longer paths."""
        open_client(path="/v1", excluded_paths=["/login"]).get(url.format(url=api.url))
        assert api.tokens == ["Bearer token-1"]

    @pytest.mark.parametrize(
        ("url", "tokens"),
        [("/public/a/b", [None]), ("/PUBLIC/a", ["Bearer token-1"])],
        ids=["matching", "other case"],
    )
    def test_patterns_exclude_what_they_match(
        self, api: Api, open_client: Open, url: str, tokens: list[str | None]
    ) -> None:
        """`excluded_path_patterns` are shell patterns, case-sensitive."""
        open_client(path="/v1", excluded_path_patterns=["/public/*"]).get(url)
        assert api.tokens == tokens

    def test_a_star_in_a_path_is_warned_of(
        self, api: Api, open_client: Open, caplog: pytest.LogCaptureFixture
    ) -> None:
        """In `excluded_paths` a star stands for itself, which is warned of."""
        client = open_client(excluded_paths=["/public/*"])
        assert [r.levelno for r in caplog.records] == [logging.WARNING]
        client.get("/public/a")
        client.get("/public/*")
        assert api.tokens == ["Bearer token-1", None]


class TestFailingHooks:
    @pytest.mark.parametrize("method", ["should_authenticate", "before_request"])
    def test_an_auth_hook_that_fails_sends_nothing(
        self, api: Api, issuer: Issuer, method: str
    ) -> None:
        """What an auth hook raises is an AuthenticationException, without secrets."""

        def fail(*_: object) -> Any:
            msg = "no; token=canary"
            raise LookupError(msg)

        hook = TokenAuthHook(TokenManager(issuer))
        setattr(hook, method, fail)
        client = HttpClient(HttpClientConfig(api.url, auth_hook=hook))
        with pytest.raises(AuthenticationException, match="TokenAuthHook") as caught:
            client.get("/")
        assert api.seen == []
        error = caught.value
        assert isinstance(error.__cause__, LookupError)
        assert "canary" not in f"{error} {error.__cause__} {error.__context__}"

    @pytest.mark.parametrize("method", ["should_authenticate", "before_request"])
    def test_its_own_authentication_exception_passes(
        self, api: Api, issuer: Issuer, method: str
    ) -> None:
        """An AuthenticationException of the hook is raised as it is."""
        raised = AuthenticationException("no", None, {"request": "its own"}, "step")

        def fail(*_: object) -> Any:
            raise raised

        hook = TokenAuthHook(TokenManager(issuer))
        setattr(hook, method, fail)
        client = HttpClient(HttpClientConfig(api.url, auth_hook=hook))
        with pytest.raises(AuthenticationException) as caught:
            client.get("/")
        assert caught.value is raised
        assert raised.context == {"request": "its own"}

    def test_a_hook_that_gives_no_request_sends_nothing(self, api: Api, issuer: Issuer) -> None:
        """Forgetting to return the request is a failure of the hook."""
        hook: Any = TokenAuthHook(TokenManager(issuer))
        hook.before_request = lambda *_: None
        client = HttpClient(HttpClientConfig(api.url, auth_hook=hook))
        with pytest.raises(AuthenticationException, match="NoneType"):
            client.get("/")

    def test_no_token_is_the_managers_error(self, api: Api, issuer: Issuer) -> None:
        """Without a token nothing is sent, and the provider's failure tells why."""
        issuer.failure = ConnectionException("no way")
        config = HttpClientConfigBuilder().with_base_url(api.url)
        client = HttpClient(config.with_token_auth(TokenManager(issuer)).build())
        with pytest.raises(AuthenticationException) as caught:
            client.get("/")
        assert isinstance(caught.value.__cause__, ConnectionException)
        assert api.seen == []

    @pytest.mark.parametrize(
        ("method", "status"), [("is_auth_error", 401), ("refresh_rejected", 401), ("accepted", 200)]
    )
    def test_a_failure_after_the_answer_does_not_hide_it(
        self,
        api: Api,
        issuer: Issuer,
        caplog: pytest.LogCaptureFixture,
        method: str,
        status: int,
    ) -> None:
        """A hook that fails once there is an answer is logged, and the answer stands."""

        def fail(*_: object) -> Any:
            msg = "no; token=canary"
            raise LookupError(msg)

        api.accepts = {"Bearer token-2"}
        hook = TokenAuthHook(TokenManager(issuer))
        setattr(hook, method, fail)
        with HttpClient(HttpClientConfig(api.url, auth_hook=hook)) as client:
            assert client.get("/").status_code == status
        assert "LookupError" in caplog.text
        assert "canary" not in caplog.text


class Duck:
    """An auth hook of release 1.0.0 that extends no interface; it changes headers in place."""

    def __init__(self, *, strategy: AuthRetryStrategyInterface | None) -> None:
        self.retry_strategy = strategy
        self.number = 1

    def should_authenticate(self, request: HttpRequest) -> bool:
        return request.method.value == "GET"

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        headers: Any = request.headers
        headers["Authorization"] = f"Bearer token-{self.number}"
        return request

    def is_auth_error(self, response: HttpResponse) -> bool:
        return response.status_code == 401

    def refresh_auth(self) -> bool:
        self.number += 1
        return self.number < 4


class TestDuckTypedHooks:
    @pytest.mark.parametrize(
        ("strategy", "statuses"),
        [(SimpleAuthRetryStrategy(), [200, 200, 401, 401]), (None, [401, 401, 401, 401])],
        ids=["replays", "no strategy"],
    )
    def test_they_are_asked_to_refresh(
        self,
        api: Api,
        strategy: AuthRetryStrategyInterface | None,
        statuses: list[int],
    ) -> None:
        """A hook that only has the methods of 1.0.0 is refreshed by them."""
        hook: Any = Duck(strategy=strategy)
        config = HttpClientConfig(api.url, auth_hook=hook)
        own = {"X-One": "1"}
        with HttpClient(config) as client:
            found = []
            for accepted in ("token-2", "token-2", "token-9", "token-9"):
                api.accepts = {f"Bearer {accepted}"}
                found.append(client.get("/", headers=own).status_code)
        assert found == statuses
        assert own == {"X-One": "1"}

    def test_they_decide_on_requests(self, api: Api) -> None:
        """A request that the hook does not want goes without its credential."""
        hook: Any = Duck(strategy=None)
        with HttpClient(HttpClientConfig(api.url, auth_hook=hook)) as client:
            client.post("/", headers={"X-One": "1"})
        assert api.tokens == [None]
