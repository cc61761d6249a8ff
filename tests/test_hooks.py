"""The hooks that come with the library, and how a client calls hooks."""
# ruff: noqa: ANN401 - stand-ins for what the interfaces describe

import copy
import logging
import pickle
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from client_server import Reply, Seen, Server
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfig, HttpClientConfigBuilder
from requestforge.exceptions import (
    AuthenticationException,
    ConnectionException,
    RequestBuildException,
)
from requestforge.hooks import (
    ApiKeyAuthHook,
    AuthorizationHook,
    BasicAuthHook,
    CompositeAuthHook,
    CorrelationIdHook,
    LoggingErrorHook,
    LoggingRequestHook,
    LoggingResponseHook,
    RateLimitResponseHook,
    TokenAuthHook,
)
from requestforge.interfaces import (
    AuthHookInterface,
    AuthRetryStrategyInterface,
    ErrorHookInterface,
    RequestHookInterface,
    ResponseHookInterface,
    TokenManagerInterface,
)
from requestforge.models import HttpMethod, HttpRequest, HttpResponse, RequestContext
from requestforge.retry import SimpleAuthRetryStrategy, SimpleRetryStrategy
from requestforge.tokens import TokenData

REQUEST = HttpRequest(HttpMethod.GET, "/users")


def answer(status: int = 200, **headers: str) -> HttpResponse:
    """An answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status, named, b"", 1.0, "https://a.example/users", REQUEST)


class Manager(TokenManagerInterface):
    """Has `token-1`, `token-2` and so on; it can fail."""

    def __init__(self, provider: Any = None, storage: Any = None) -> None:
        super().__init__(provider, storage)
        self.number = 1
        self.token_type = "Bearer"
        self.failure: Exception | None = None
        self.heard: list[object] = []

    def get_token(self) -> TokenData:
        return TokenData(f"token-{self.number}", self.token_type)

    def force_refresh(self) -> TokenData:
        self.heard.append("force_refresh")
        if self.failure is not None:
            raise self.failure
        self.number += 1
        return self.get_token()

    def refresh(self, rejected: TokenData) -> TokenData:
        self.heard.append(("refresh", rejected.access_token))
        if self.failure is not None:
            raise self.failure
        return self.get_token()

    def accepted(self, token: TokenData) -> None:
        self.heard.append(("accepted", token.access_token))

    def invalidate_token(self) -> None:
        self.heard.append("invalidate_token")


class DuckManager:
    """A manager of release 1.0.0 that extends no interface."""

    def __init__(self) -> None:
        self.number = 1

    def get_token(self) -> TokenData:
        return TokenData(f"token-{self.number}")

    def force_refresh(self) -> TokenData:
        self.number += 1
        return self.get_token()


@pytest.fixture
def api() -> Iterator[Server]:
    """A server."""
    with Server() as server:
        yield server


class TestTokenAuthHook:
    @pytest.mark.parametrize(
        ("prefix", "header"),
        [
            ("Bearer", "Bearer token-1"),
            ("Token", "Token token-1"),
            ("", "token-1"),
            (None, "MAC token-1"),
        ],
    )
    def test_the_prefix_stands_before_the_token(self, prefix: str | None, header: str) -> None:
        """A prefix is as given; an empty one is left out; None is the token's own type."""
        manager = Manager()
        manager.token_type = "MAC"
        hook = TokenAuthHook(manager, auth_header_name="X-Auth", auth_header_prefix=prefix)
        request = hook.before_request(REQUEST, RequestContext(REQUEST))
        assert request.headers == {"X-Auth": header}

    def test_it_shows_what_it_is_made_of(self) -> None:
        """Manager, token and strategy are there; without a strategy it replays once after a 401."""
        manager = Manager()
        strategy = SimpleAuthRetryStrategy(2)
        assert TokenAuthHook(manager, strategy).retry_strategy is strategy
        hook = TokenAuthHook(manager)
        assert hook.token_manager is manager
        assert hook.get_token() == TokenData("token-1")
        assert isinstance(hook.retry_strategy, SimpleAuthRetryStrategy)
        assert hook.retry_strategy.max_retries == 1
        assert [hook.is_auth_error(answer(status)) for status in (401, 403)] == [True, False]

    def test_an_excluded_path_is_left_alone_by_the_hook_itself(self) -> None:
        """Used without a client, as a request hook, it heeds its excluded paths, too."""
        hook = TokenAuthHook(Manager(), excluded_paths=["/users"])
        assert not hook.should_authenticate(REQUEST)
        assert hook.before_request(REQUEST, RequestContext(REQUEST)) is REQUEST

    @pytest.mark.parametrize("name", ["excluded_paths", "excluded_path_patterns"])
    def test_excluded_paths_are_several(self, name: str) -> None:
        """One text in the place of several is refused, not read letter by letter."""
        text: Any = "/public/*"
        with pytest.raises(ValueError, match=name):
            TokenAuthHook(Manager(), **{name: text})

    @pytest.mark.parametrize(
        ("url", "is_excluded"),
        [("/..//public", True), ("/a/..//public", False), ("/a/../public", True), ("/..", False)],
    )
    def test_paths_are_compared_as_they_are_sent(self, url: str, is_excluded: bool) -> None:
        """Dot segments are resolved as the transport resolves them, odd ones, too."""
        hook = TokenAuthHook(Manager(), excluded_paths=["/public"])
        assert hook.should_authenticate(HttpRequest("GET", url)) is not is_excluded

    def test_a_rejected_token_is_named_to_the_manager(self) -> None:
        """`refresh_rejected` names the token of that request, and is True if another is there."""
        manager = Manager()
        hook = TokenAuthHook(manager)
        context = RequestContext(REQUEST)
        hook.before_request(REQUEST, context)
        assert not hook.refresh_rejected(context)
        manager.number = 2
        assert hook.refresh_rejected(context)
        hook.accepted(context)
        assert manager.heard == [
            ("refresh", "token-1"),
            ("refresh", "token-1"),
            ("accepted", "token-1"),
        ]

    def test_two_hooks_on_one_request_know_their_tokens_apart(self) -> None:
        """Each hook names its own token, also where another has put one on the request."""
        first, second = Manager(), Manager()
        second.number = 7
        hooks = TokenAuthHook(first), TokenAuthHook(second, auth_header_name="X-Second")
        context = RequestContext(REQUEST)
        for hook in hooks:
            hook.before_request(REQUEST, context)
        hooks[0].refresh_rejected(context)
        hooks[1].refresh_rejected(context)
        assert (first.heard, second.heard) == ([("refresh", "token-1")], [("refresh", "token-7")])

    def test_without_a_token_on_the_request_it_forces_one(self) -> None:
        """A request that the hook has put no token on tells nothing of which one is bad."""
        manager = Manager()
        hook = TokenAuthHook(manager)
        assert hook.refresh_rejected(RequestContext(REQUEST))
        hook.accepted(RequestContext(REQUEST))
        assert manager.heard == ["force_refresh"]

    def test_a_manager_without_the_interface_is_forced(self) -> None:
        """A manager that only has the methods of 1.0.0 is asked for a new token."""
        manager: Any = DuckManager()
        hook = TokenAuthHook(manager)
        context = RequestContext(REQUEST)
        hook.before_request(REQUEST, context)
        assert hook.refresh_rejected(context)
        hook.accepted(context)
        assert manager.number == 2

    @pytest.mark.parametrize("method", ["refresh_auth", "refresh_rejected"])
    def test_a_failed_refresh_is_false_and_logged(
        self, method: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What the manager raises is logged without secrets."""
        manager = Manager()
        hook = TokenAuthHook(manager)
        context = RequestContext(REQUEST)
        hook.before_request(REQUEST, context)
        manager.failure = RuntimeError("token=canary")
        refresh: Callable[..., bool] = getattr(hook, method)
        assert refresh(*([context] if method == "refresh_rejected" else [])) is False
        assert "RuntimeError" in caplog.text
        assert "canary" not in caplog.text

    def test_refresh_and_invalidate_reach_the_manager(self) -> None:
        """`refresh_auth` forces one new token; `invalidate_auth` gives the cached one up."""
        manager = Manager()
        hook = TokenAuthHook(manager)
        assert hook.refresh_auth() is True
        hook.invalidate_auth()
        assert manager.heard == ["force_refresh", "invalidate_token"]


class TestStaticHooks:
    def test_an_api_key_is_sent_in_its_header(self) -> None:
        """The key goes into its header, and is a token of type "ApiKey"."""
        hook = ApiKeyAuthHook("key-1", "X-Key")
        assert hook.before_request(REQUEST, RequestContext(REQUEST)).headers == {"X-Key": "key-1"}
        assert hook.get_token() == TokenData("key-1", "ApiKey")

    def test_basic_is_user_and_password_in_utf_8(self) -> None:
        """RFC 7617: both in UTF-8, then base64."""
        hook = BasicAuthHook("Aladdin", "open sesame")
        request = hook.before_request(REQUEST, RequestContext(REQUEST))
        assert request.headers == {"Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}
        assert hook.get_token().token_type == "Basic"
        assert BasicAuthHook("test", "123£").get_token().access_token == "dGVzdDoxMjPCow=="

    @pytest.mark.parametrize(
        "hook",
        [
            ApiKeyAuthHook("canary", excluded_paths=["/login"]),
            BasicAuthHook("u", "canary", excluded_paths=["/login"]),
        ],
        ids=["api key", "basic"],
    )
    def test_there_is_nothing_to_renew(self, hook: Any) -> None:
        """They never renew, heed excluded paths, and do not show their secret."""
        login = HttpRequest("get", "https://a.example/login?x=1")  # type: ignore[arg-type]
        assert hook.refresh_auth() is False
        hook.invalidate_auth()
        assert not hook.should_authenticate(login)
        assert hook.before_request(login, RequestContext(login)) is login
        assert hook.is_auth_error(answer(401))
        assert hook.retry_strategy is None
        assert "canary" not in repr(hook)

    def test_a_strategy_decides_what_refuses_the_key(self) -> None:
        """With a strategy its statuses count."""
        hook = ApiKeyAuthHook("key", retry_strategy=SimpleAuthRetryStrategy(auth_error_codes=[403]))
        assert [hook.is_auth_error(answer(status)) for status in (401, 403)] == [False, True]

    def test_a_refused_key_is_the_answer(self, api: Server) -> None:
        """A client asks once: another try with the same key would be refused, too."""
        api.rules["/"] = Reply(401)
        hook = ApiKeyAuthHook("key", retry_strategy=SimpleAuthRetryStrategy())
        with HttpClient(HttpClientConfig(api.url, auth_hook=hook)) as client:
            assert client.get("/").status_code == 401
        assert len(api.seen) == 1


class TestHeaderHooks:
    @pytest.mark.parametrize(
        ("token", "headers"), [("t", {"Authorization": "Bearer t"}), ("", None), (None, None)]
    )
    def test_authorization_is_what_the_callable_gives(
        self, token: str | None, headers: dict[str, str] | None
    ) -> None:
        """A truthy result becomes a bearer token."""
        request = AuthorizationHook(lambda: token).before_request(REQUEST, RequestContext(REQUEST))
        assert request.headers == headers

    def test_a_correlation_id_is_the_same_on_retries(self, api: Server) -> None:
        """Each request has a UUID of its own, also on its retries."""
        left = iter([503, 200, 200])
        api.rules["/"] = lambda _: Reply(next(left))
        config = HttpClientConfig(
            api.url,
            retry_strategy=SimpleRetryStrategy(1, 0),
            request_hooks=[CorrelationIdHook("X-Id")],
        )
        with HttpClient(config) as client:
            client.get("/")
            client.get("/")
        first, again, second = (seen.headers["X-Id"] for seen in api.seen)
        assert first == again != second
        assert UUID(first).version == 4

    def test_a_correlation_id_of_the_caller_stays(self) -> None:
        """An id that is there already is noted, and sent as it is."""
        request = REQUEST.with_headers({"x-correlation-id": "own"})
        context = RequestContext(request)
        assert CorrelationIdHook().before_request(request, context) is request
        assert context.metadata == {"correlation_id": "own"}

    def test_rate_limits_are_noted(self) -> None:
        """Whole numbers are noted, and anything else is left out."""
        context = RequestContext(REQUEST)
        hook = RateLimitResponseHook()
        response = answer(X_RateLimit_Remaining="3", X_RateLimit_Reset="soon")
        assert hook.after_response(response, context) is response
        assert context.metadata == {"rate_limit_remaining": 3}
        hook.after_response(answer(X_RateLimit_Reset="1893456000"), context)
        assert context.metadata == {"rate_limit_remaining": 3, "rate_limit_reset": 1893456000}


class TestCompositeAuthHook:
    def test_the_first_that_wants_to_authenticates(self) -> None:
        """With "first_match" one hook puts its credential on the request."""
        hook = CompositeAuthHook(
            [
                ApiKeyAuthHook("a", "X-A", excluded_paths=["/users"]),
                ApiKeyAuthHook("b", "X-B"),
                ApiKeyAuthHook("c", "X-C"),
            ]
        )
        assert hook.should_authenticate(REQUEST)
        request = hook.before_request(REQUEST, RequestContext(REQUEST))
        assert request.headers == {"X-B": "b"}

    def test_all_that_want_to_authenticate(self) -> None:
        """With "all" each hook does that wants to."""
        hook = CompositeAuthHook(
            [
                ApiKeyAuthHook("a", "X-A", excluded_paths=["/users"]),
                ApiKeyAuthHook("b", "X-B"),
                ApiKeyAuthHook("c", "X-C"),
            ],
            "all",
        )
        request = hook.before_request(REQUEST, RequestContext(REQUEST))
        assert request.headers == {"X-B": "b", "X-C": "c"}

    def test_another_choice_is_refused(self) -> None:
        """An unknown strategy is a ValueError that names those there are."""
        unknown: Any = "last_match"
        with pytest.raises(ValueError, match="first_match"):
            CompositeAuthHook([], unknown)

    def test_nobody_wants_to(self) -> None:
        """Without a hook that wants to authenticate there is no credential."""
        hook = CompositeAuthHook([])
        assert not hook.should_authenticate(REQUEST)
        assert hook.get_token() is None
        assert hook.retry_strategy is None

    def test_the_hooks_that_were_used_are_renewed(self) -> None:
        """A refusal renews the credential that was refused, not those that were not sent."""
        idle, used = Manager(), Manager()
        hook = CompositeAuthHook(
            [TokenAuthHook(idle, excluded_paths=["/users"]), TokenAuthHook(used)]
        )
        context = RequestContext(REQUEST)
        hook.before_request(REQUEST, context)
        used.number = 2
        assert hook.refresh_rejected(context)
        hook.accepted(context)
        assert (idle.heard, used.heard) == ([], [("refresh", "token-1"), ("accepted", "token-1")])

    def test_hooks_without_the_interface_take_part(self) -> None:
        """A hook that only has the methods of 1.0.0 is renewed by them."""
        duck: Any = _Duck()
        hook = CompositeAuthHook([duck])
        context = RequestContext(REQUEST)
        hook.before_request(REQUEST, context)
        assert hook.refresh_rejected(context)
        hook.accepted(context)
        assert duck.refreshed == 1

    def test_everything_else_asks_the_hooks(self) -> None:
        """Refreshing stops at the first success, invalidating reaches all, any may refuse."""
        first, second = Manager(), Manager()
        hook = CompositeAuthHook([ApiKeyAuthHook("k"), TokenAuthHook(first), TokenAuthHook(second)])
        assert hook.refresh_auth() is True
        hook.invalidate_auth()
        assert first.heard == ["force_refresh", "invalidate_token"]
        assert second.heard == ["invalidate_token"]
        assert hook.is_auth_error(answer(401))
        assert not hook.is_auth_error(answer(403))
        assert hook.get_token() == TokenData("k", "ApiKey")

    def test_it_replays_where_one_of_the_hooks_would(self) -> None:
        """Without a strategy of its own those of the hooks decide together."""
        hooks = [
            ApiKeyAuthHook("a", retry_strategy=SimpleAuthRetryStrategy(2, 3.0, [401])),
            ApiKeyAuthHook("b", retry_strategy=SimpleAuthRetryStrategy(1, 5.0, [403])),
            ApiKeyAuthHook("c"),
        ]
        strategy = CompositeAuthHook(hooks).retry_strategy
        assert isinstance(strategy, AuthRetryStrategyInterface)
        assert strategy.max_retries == 2
        assert strategy.get_delay(0) == 5.0
        assert [strategy.should_retry(answer(403), attempt) for attempt in (0, 1)] == [True, False]
        assert [strategy.is_auth_error(answer(status)) for status in (401, 403, 404)] == [
            True,
            True,
            False,
        ]
        own = SimpleAuthRetryStrategy()
        assert CompositeAuthHook(hooks, retry_strategy=own).retry_strategy is own

    def test_a_client_replays_and_masks_by_it(self, api: Server) -> None:
        """Within a client it renews on a 401, and its headers count as credentials."""

        def rule(seen: Seen) -> Reply:
            return Reply(200 if seen.headers["X-Second"] == "token-2" else 401)

        class Renewing(Manager):
            def refresh(self, rejected: TokenData) -> TokenData:
                self.number = 2
                return super().refresh(rejected)

        api.rules["/"] = rule
        hook = CompositeAuthHook(
            [
                ApiKeyAuthHook("key", "X-First"),
                TokenAuthHook(Renewing(), auth_header_name="X-Second", auth_header_prefix=""),
            ],
            "all",
        )
        with HttpClient(HttpClientConfig(api.url, auth_hook=hook)) as client:
            assert client.get("/").status_code == 200
            with pytest.raises(RequestBuildException) as caught:
                client.get("/", timeout=-1, headers={"X-First": "canary", "X-Second": "canary"})
        assert caught.value.context["request"].headers == {"X-First": "***", "X-Second": "***"}


class _Duck:
    """An auth hook of release 1.0.0 that extends no interface."""

    retry_strategy = None

    def __init__(self) -> None:
        self.refreshed = 0

    def should_authenticate(self, request: HttpRequest) -> bool:
        return True

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        return request

    def refresh_auth(self) -> bool:
        self.refreshed += 1
        return True


class TestLoggingHooks:
    @pytest.fixture(autouse=True)
    def _at_debug(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, logger="requestforge")

    def test_a_request_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        """Method and URL at INFO; the id has eight characters and is the same on retries."""
        context = RequestContext(REQUEST)
        hook = LoggingRequestHook()
        assert hook.before_request(REQUEST, context) is REQUEST
        first = context.metadata["request_id"]
        hook.before_request(REQUEST, context)
        assert (len(first), context.metadata["request_id"]) == (8, first)
        assert context.metadata["start_time"] > 0
        record = caplog.records[0]
        assert (record.levelno, record.getMessage()) == (logging.INFO, f"[{first}] GET /users")
        assert len(caplog.records) == 2

    @pytest.mark.parametrize(
        ("fields", "shown"),
        [
            pytest.param(
                {"json_data": {"user": "ada", "pin": "canary"}}, "'user': 'ada'", id="json"
            ),
            pytest.param({"data": {"user": "ada", "pin": "canary"}}, "ada", id="form"),
            pytest.param({"data": b"user=ada&pin=canary"}, "user=ada", id="bytes"),
            pytest.param({"json_data": "x" * 600}, "x" * 400, id="long"),
        ],
    )
    def test_headers_and_body_are_logged_at_debug(
        self, caplog: pytest.LogCaptureFixture, fields: dict[str, Any], shown: str
    ) -> None:
        """Both are logged where asked for, with secrets masked, up to 500 characters."""
        headers = {"Authorization": "Bearer canary", "X-One": "1", "X-Shoe": "canary"}
        request = HttpRequest(HttpMethod.POST, "/users?token=canary", headers, **fields)
        hook = LoggingRequestHook(log_headers=True, log_body=True, sensitive_keys=["x_shoe"])
        hook.before_request(request, RequestContext(request))
        levels = [record.levelno for record in caplog.records]
        assert levels == [logging.INFO, logging.DEBUG, logging.DEBUG]
        assert "X-One" in caplog.records[1].getMessage()
        assert shown in caplog.records[2].getMessage()
        assert len(caplog.records[2].getMessage()) < 600
        assert "canary" not in caplog.text

    def test_nothing_is_made_that_nobody_reads(self, caplog: pytest.LogCaptureFixture) -> None:
        """Above INFO a request and its answer leave no record."""
        caplog.set_level(logging.WARNING, logger="requestforge")
        request_hook = LoggingRequestHook(log_headers=True, log_body=True)
        request_hook.before_request(REQUEST, RequestContext(REQUEST))
        response_hook = LoggingResponseHook(log_headers=True, log_body=True)
        response_hook.after_response(answer(200), RequestContext(REQUEST))
        assert caplog.records == []

    @pytest.mark.parametrize(
        ("status", "level"), [(201, "INFO"), (302, "WARNING"), (404, "WARNING"), (503, "WARNING")]
    )
    def test_an_answer_is_logged_by_its_status(
        self, caplog: pytest.LogCaptureFixture, status: int, level: str
    ) -> None:
        """A success at INFO, all else at WARNING, with duration and masked URL."""
        response = HttpResponse(status, {}, b"", 12.3, "https://a.example/?token=canary", REQUEST)
        context = RequestContext(REQUEST)
        assert LoggingResponseHook().after_response(response, context) is response
        assert [record.levelname for record in caplog.records] == [level]
        text = f"[{context.id[:8]}] {status} from https://a.example/?token=*** in 12 ms"
        assert caplog.records[0].getMessage() == text

    @pytest.mark.parametrize(("status", "is_logged"), [(200, False), (302, False), (400, True)])
    def test_the_body_of_errors_is_logged(
        self, caplog: pytest.LogCaptureFixture, status: int, is_logged: bool
    ) -> None:
        """Up to 500 characters of an error's body are logged, secrets masked."""
        body = b'{"why": "' + b"x" * 600 + b'", "token": "canary"}'
        response = HttpResponse(status, {"X-One": "1"}, body, 1, "https://a.example/", REQUEST)
        hook = LoggingResponseHook(log_headers=True, log_body=True, sensitive_keys=["x-one"])
        hook.after_response(response, RequestContext(REQUEST))
        assert ("xxx" in caplog.text) is is_logged
        assert caplog.text.count("x") < 520
        assert "canary" not in caplog.text
        assert "{'X-One': '***'}" in caplog.text

    def test_a_failure_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        """Type and text at ERROR, masked, with the id of the request."""
        context = RequestContext(REQUEST, metadata={"request_id": "12345678"})
        error = ConnectionException("reset; shoe=canary")
        LoggingErrorHook(sensitive_keys=["shoe"]).on_error(error, context)
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert caplog.records[0].getMessage() == (
            "[12345678] attempt 0 failed: ConnectionException: reset; shoe=***"
        )

    def test_a_client_tells_them_what_is_sensitive(
        self, api: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Hooks of `with_logging` mask the names of the configuration, too."""
        api.rules["/"] = Reply(503, {"X-Client": "canary"}, {"shoe": "canary", "why": "x"})
        config = (
            HttpClientConfigBuilder()
            .with_base_url(api.url)
            .with_logging(log_headers=True, log_body=True, sensitive_keys=["hat"])
            .with_redaction("shoe")
            .with_api_key("canary", "X-Client")
            .with_raise_for_status()
            .build()
        )
        with HttpClient(config) as client, pytest.raises(Exception, match="503"):
            client.post("/", {"shoe": "canary", "hat": "canary"}, headers={"X-Client": "canary"})
        names = [r.levelname for r in caplog.records if r.name.startswith("requestforge")]
        assert names == ["INFO", "DEBUG", "DEBUG", "WARNING", "WARNING", "DEBUG", "ERROR"]
        assert "canary" not in caplog.text


class _Failing(RequestHookInterface, ResponseHookInterface, ErrorHookInterface):
    """Fails wherever it is called."""

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        raise LookupError("no; token=canary")

    def after_response(self, response: HttpResponse, context: RequestContext) -> HttpResponse:
        raise LookupError("no; token=canary")

    def on_error(self, exception: Exception, context: RequestContext) -> None:
        raise LookupError("no; token=canary")


class TestHowHooksAreCalled:
    def test_a_failing_request_hook_stops_the_request(self, api: Server) -> None:
        """What it raises becomes a RequestBuildException without secrets; nothing is sent."""
        config = HttpClientConfig(api.url, request_hooks=[_Failing()])
        with HttpClient(config) as client, pytest.raises(RequestBuildException) as caught:
            client.get("/")
        error = caught.value
        assert "_Failing" in str(error)
        assert isinstance(error.__cause__, LookupError)
        assert "canary" not in f"{error} {error.__cause__} {error.__context__}"
        assert api.seen == []

    def test_failing_response_and_error_hooks_are_left_out(
        self, api: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        """They are logged without secrets; the next hook is called, and the outcome stands."""
        heard: list[object] = []

        class Hearing(ResponseHookInterface, ErrorHookInterface):
            def after_response(
                self, response: HttpResponse, context: RequestContext
            ) -> HttpResponse:
                heard.append(response.status_code)
                return response

            def on_error(self, exception: Exception, context: RequestContext) -> None:
                heard.append(type(exception).__name__)

        api.rules["/"] = Reply(404)
        config = HttpClientConfig(
            api.url,
            response_hooks=[_Failing(), Hearing()],
            error_hooks=[_Failing(), Hearing()],
            raise_for_status=True,
        )
        with HttpClient(config) as client, pytest.raises(Exception, match="404"):
            client.get("/")
        assert heard == [404, "NotFoundException"]
        assert caplog.text.count("LookupError") == 2
        assert "canary" not in caplog.text

    def test_response_hooks_may_change_the_answer(self, api: Server) -> None:
        """Each gets the answer of the one before; one that returns nothing changes nothing."""

        class Change(ResponseHookInterface):
            def __init__(self, status: int | None) -> None:
                self._status = status

            def after_response(
                self, response: HttpResponse, context: RequestContext
            ) -> HttpResponse:
                changed: Any = None
                if self._status is not None:
                    changed = HttpResponse(
                        response.status_code + self._status, {}, b"", 1, "", response.request
                    )
                return changed

        config = HttpClientConfig(api.url, response_hooks=[Change(1), Change(None), Change(3)])
        with HttpClient(config) as client:
            assert client.get("/").status_code == 204

    def test_request_hooks_come_before_the_auth_hook(self, api: Server) -> None:
        """Hooks run in order, and the auth hook sees what they have made of the request."""

        class Header(RequestHookInterface):
            def __init__(self, name: str) -> None:
                self._name = name

            def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
                seen = ",".join(request.headers or {})
                return request.with_headers({self._name: f"after {seen}"})

        class Last(ApiKeyAuthHook):
            def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
                return Header("X-Auth").before_request(request, context)

        config = HttpClientConfig(
            api.url, auth_hook=Last("k"), request_hooks=[Header("X-1"), Header("X-2")]
        )
        with HttpClient(config) as client:
            response = client.get("/", headers={"X-0": "0"})
        assert api.last.headers["X-2"] == "after X-0,X-1"
        assert api.last.headers["X-Auth"] == "after X-0,X-1,X-2"
        assert list(response.request.headers or {}) == ["X-0", "X-1", "X-2"]

    def test_hooks_may_copy_and_keep_requests(self, api: Server) -> None:
        """A request is a plain value for hooks, also below a base URL with a path."""
        kept: list[bytes] = []

        class Copying(ApiKeyAuthHook):
            def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
                request = copy.deepcopy(request)
                kept.append(pickle.dumps(request))
                return super().before_request(request, context)

        config = HttpClientConfig(f"{api.url}/v1", auth_hook=Copying("k"))
        with HttpClient(config) as client:
            response = client.get("/users")
        assert pickle.loads(kept[0]) == HttpRequest(HttpMethod.GET, "/users")
        assert pickle.loads(pickle.dumps(response)).request.url == "/users"
        assert (api.last.path, api.last.headers["X-API-Key"]) == ("/v1/users", "k")

    def test_an_auth_hook_that_was_written_for_1_0_0_works(self, api: Server) -> None:
        """A subclass with the abstract methods alone is refreshed by `refresh_auth`."""

        class Old(AuthHookInterface):
            number = 1

            @property
            def retry_strategy(self) -> AuthRetryStrategyInterface:
                return SimpleAuthRetryStrategy()

            def should_authenticate(self, request: HttpRequest) -> bool:
                return True

            def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
                return request.with_headers({"Authorization": f"Bearer {self.number}"})

            def is_auth_error(self, response: HttpResponse) -> bool:
                return response.status_code == 401

            def refresh_auth(self) -> bool:
                self.number += 1
                return True

            def invalidate_auth(self) -> None:
                raise AuthenticationException("not called")

            def get_token(self) -> TokenData | None:
                return None

        api.rules["/"] = lambda seen: Reply(200 if "2" in seen.headers["Authorization"] else 401)
        with HttpClient(HttpClientConfig(api.url, auth_hook=Old())) as client:
            assert client.get("/").status_code == 200
        assert len(api.seen) == 2
