"""HttpClient: odd requests, hooks and strategies end in the library's errors, or do no harm."""
# ruff: noqa: ANN401 - values that are none of what the types say

import collections
import decimal
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from client_server import Reply, Seen, Server
from doubles import Clock, CountingProvider, recorded
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.events import RequestFailed, RequestLimited, RequestSent
from requestforge.exceptions import (
    AuthenticationException,
    CapacityException,
    CircuitOpenException,
    ConnectionException,
    HttpClientException,
    RequestBuildException,
)
from requestforge.hooks import ApiKeyAuthHook
from requestforge.instrumentation import observe, use_clock
from requestforge.interfaces import RequestHookInterface, ResponseHookInterface
from requestforge.models import HttpRequest, HttpResponse, RequestContext
from requestforge.retry import SimpleAuthRetryStrategy, SimpleRetryStrategy
from requestforge.token_manager import TokenManager


@pytest.fixture
def api() -> Iterator[Server]:
    """A server."""
    with Server() as server:
        yield server


@pytest.fixture(autouse=True)
def clock() -> Iterator[Clock]:
    """A clock that stands still, so that no wait takes time."""
    with use_clock(Clock()) as clock:
        yield clock


@pytest.fixture
def builder(api: Server) -> HttpClientConfigBuilder:
    """A configuration for that server."""
    return HttpClientConfigBuilder().with_base_url(api.url)


class Changing(RequestHookInterface):
    """A hook that does what a function says."""

    def __init__(self, change: Callable[[HttpRequest, RequestContext], Any]) -> None:
        self._change = change

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        changed: HttpRequest = self._change(request, context)
        return changed


def failing_once(status: int = 503) -> Callable[[Seen], Reply]:
    """A rule that fails the first time."""
    replies = iter([Reply(status)])
    return lambda _: next(replies, Reply())


def nested(depth: int) -> list[Any]:
    """A list in a list in a list and so on."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def in_a_circle() -> dict[str, Any]:
    """A dict that holds itself."""
    value: dict[str, Any] = {}
    value["itself"] = value
    return value


class TestBodies:
    """What is sent once more."""

    def test_a_stream_of_a_hook_is_rewound(
        self, api: Server, builder: HttpClientConfigBuilder
    ) -> None:
        """A retry sends the whole body again, although the caller gave none."""
        api.rules["/"] = failing_once()
        body = io.BytesIO(b"shared")
        hook = Changing(lambda request, _: replace(request, data=body))
        config = builder.with_request_hook(hook).with_retry_strategy(SimpleRetryStrategy(1, 0.0))
        with HttpClient(config.build()) as client:
            assert client.put("/").status_code == 200
        assert [seen.body for seen in api.seen] == [b"shared"] * 2

    def test_a_generator_of_a_hook_is_sent_once(
        self, api: Server, builder: HttpClientConfigBuilder
    ) -> None:
        """What cannot be rewound is not retried, and never as an empty body."""
        api.rules["/"] = failing_once()
        body = (part for part in [b"once"])
        hook = Changing(lambda request, _: replace(request, data=body))
        config = builder.with_request_hook(hook).with_retry_strategy(SimpleRetryStrategy(1, 0.0))
        with HttpClient(config.build()) as client:
            assert client.put("/").status_code == 503
        assert [seen.body for seen in api.seen] == [b"once"]


class TestSnapshots:
    """Each attempt starts from the original request."""

    @pytest.mark.parametrize(
        "kind",
        [
            pytest.param(dict, id="dict"),
            pytest.param(collections.OrderedDict, id="OrderedDict"),
            pytest.param(collections.UserDict, id="UserDict"),
            pytest.param(lambda value: collections.defaultdict(str, value), id="defaultdict"),
            pytest.param(CaseInsensitiveDict, id="CaseInsensitiveDict"),
        ],
    )
    @pytest.mark.parametrize("field", ["headers", "json_data", "params", "data"])
    def test_hooks_change_copies(
        self, api: Server, builder: HttpClientConfigBuilder, kind: Any, field: str
    ) -> None:
        """A hook that changes a value in place changes neither the caller's nor the next one."""
        api.rules["/"] = Reply(503)

        def change(request: HttpRequest, _: RequestContext) -> HttpRequest:
            getattr(request, field)["N"] += "*"
            return request

        config = builder.with_request_hook(Changing(change))
        strategy = SimpleRetryStrategy(2, 0.0, retry_non_idempotent=True)
        given = kind({"N": "n"})
        fields: dict[str, Any] = {"json_data": [1], field: given}
        with HttpClient(config.with_retry_strategy(strategy).build()) as client:
            client.request(HttpRequest("POST", "/", **fields))
        sent = {(seen.path, seen.headers["N"], seen.body) for seen in api.seen}
        assert (len(api.seen), len(sent), dict(given)) == (3, 1, {"N": "n"})

    def test_a_hook_that_changes_the_context_changes_one_attempt(
        self, api: Server, builder: HttpClientConfigBuilder
    ) -> None:
        """What a hook puts into `context.request` is gone with the attempt."""
        api.rules["/"] = Reply(503)

        def change(request: HttpRequest, context: RequestContext) -> HttpRequest:
            old = (request.headers or {}).get("X-N", "")
            context.request = request.with_headers({"X-N": f"{old}*"})
            return context.request

        config = builder.with_request_hook(Changing(change))
        with HttpClient(config.with_retry_strategy(SimpleRetryStrategy(2, 0.0)).build()) as client:
            client.get("/")
        assert [seen.headers["X-N"] for seen in api.seen] == ["*"] * 3


class TestRequests:
    """Requests that cannot be sent."""

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({"json_data": nested(5000)}, id="deep"),
            pytest.param({"json_data": in_a_circle()}, id="circle"),
            pytest.param({"data": in_a_circle()}, id="circle-form"),
            pytest.param({"timeout": 10**400}, id="huge-timeout"),
            pytest.param({"timeout": -(10**5000)}, id="huge-negative-timeout"),
            pytest.param({"timeout": decimal.Decimal("NaN")}, id="nan-timeout"),
            pytest.param({"timeout": timedelta(seconds=1)}, id="timedelta"),
            pytest.param({"headers": {5: "x", "A\n": "y"}}, id="header-name"),
            pytest.param({"url": None}, id="no-url"),
            pytest.param({"headers": ["A: b"]}, id="header-list"),
        ],
    )
    @pytest.mark.parametrize("auth", [None, ("user", "password")], ids=["bare", "auth"])
    def test_each_is_refused(
        self, api: Server, builder: HttpClientConfigBuilder, fields: dict[str, Any], auth: Any
    ) -> None:
        """RequestBuildException, and nothing is sent."""
        fields = {"url": "/", "auth": auth, **fields}
        with HttpClient(builder.build()) as client, pytest.raises(RequestBuildException):
            client.request(HttpRequest("POST", **fields))
        assert api.seen == []

    @pytest.mark.parametrize("request_", ["/path", None, {"url": "/"}])
    def test_what_is_none_is_refused(self, builder: HttpClientConfigBuilder, request_: Any) -> None:
        """RequestBuildException says what it was given."""
        with (
            HttpClient(builder.build()) as client,
            pytest.raises(RequestBuildException, match=f"not a {type(request_).__name__}"),
        ):
            client.request(request_)

    def test_a_closed_client_tells_of_the_request(self, builder: HttpClientConfigBuilder) -> None:
        """The error has the request, as every other one."""
        client = HttpClient(builder.build())
        client.close()
        with pytest.raises(HttpClientException, match="closed") as raised:
            client.get("/it")
        assert raised.value.context["request"].url == "/it"


class TestHooks:
    """Hooks that return nonsense."""

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({"url": None}, id="url"),
            pytest.param({"headers": ["A: b"]}, id="headers"),
        ],
    )
    def test_a_request_that_is_none_is_refused(
        self, api: Server, builder: HttpClientConfigBuilder, fields: dict[str, Any]
    ) -> None:
        """RequestBuildException, and nothing is sent; of an auth hook, too."""

        class Auth(ApiKeyAuthHook):
            def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
                return replace(request, **fields)

        hook = Changing(lambda request, _: replace(request, **fields))
        for config in (builder.with_request_hook(hook).build(),):
            with HttpClient(config) as client, pytest.raises(RequestBuildException):
                client.get("/")
        signed = HttpClientConfigBuilder().with_base_url(api.url).with_auth_hook(Auth("key"))
        with HttpClient(signed.build()) as client, pytest.raises(HttpClientException):
            client.get("/")
        assert api.seen == []

    @pytest.mark.parametrize(
        "fields", [{"status_code": "200"}, {"status_code": None}, {"content": None}], ids=repr
    )
    def test_an_answer_that_is_none_is_left_out(
        self, api: Server, builder: HttpClientConfigBuilder, fields: dict[str, Any]
    ) -> None:
        """The answer stays as it was before the hook."""

        class Spoiling(ResponseHookInterface):
            def after_response(
                self, response: HttpResponse, context: RequestContext
            ) -> HttpResponse:
                return replace(response, **fields)

        api.rules["/"] = Reply(404, body=b"gone")
        config = builder.with_response_hook(Spoiling()).with_retry(1)
        with HttpClient(config.build()) as client:
            response = client.get("/")
        assert (response.status_code, response.content) == (404, b"gone")

    def test_an_interrupt_in_a_response_hook_lets_the_stream_go(
        self, api: Server, builder: HttpClientConfigBuilder
    ) -> None:
        """The connection is not kept by an error that is."""

        class Interrupting(ResponseHookInterface):
            def after_response(
                self, response: HttpResponse, context: RequestContext
            ) -> HttpResponse:
                raise KeyboardInterrupt

        api.rules["/"] = Reply(body=b"x" * 1_000_000)
        with HttpClient(builder.with_response_hook(Interrupting()).build()) as client:
            with pytest.raises(KeyboardInterrupt), client.stream("GET", "/"):
                pytest.fail("the block was entered")
            assert api.wait_until_closed()

    @pytest.mark.parametrize(
        "error", [LookupError("no"), AuthenticationException("no")], ids=["foreign", "own"]
    )
    def test_an_auth_hook_that_cannot_say_ends_the_request(
        self, api: Server, builder: HttpClientConfigBuilder, error: Exception
    ) -> None:
        """AuthenticationException, and nothing is sent."""

        class Undecided(ApiKeyAuthHook):
            def should_authenticate(self, request: HttpRequest) -> bool:
                raise error

        with (
            HttpClient(builder.with_auth_hook(Undecided("key")).build()) as client,
            pytest.raises(AuthenticationException, match="no"),
        ):
            client.get("/")
        assert api.seen == []


class TestStrategies:
    """Strategies that return nonsense."""

    @pytest.mark.parametrize(
        "delay",
        [float("inf"), float("nan"), 10**400, "soon", None, decimal.Decimal("NaN")],
        ids=["inf", "nan", "huge", "text", "None", "Decimal"],
    )
    def test_a_delay_that_is_none_ends_the_request(
        self, api: Server, builder: HttpClientConfigBuilder, delay: Any
    ) -> None:
        """HttpClientException names the strategy; nothing is slept or sent again."""

        class Odd(SimpleRetryStrategy):
            def get_delay(self, context: RequestContext) -> float:
                odd: float = delay
                return odd

        api.rules["/"] = Reply(503)
        with (
            HttpClient(builder.with_retry_strategy(Odd()).build()) as client,
            pytest.raises(HttpClientException, match="Odd failed"),
        ):
            client.get("/")
        assert len(api.seen) == 1

    def test_a_delay_may_be_a_decimal(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """Any number will do."""

        class Exact(SimpleRetryStrategy):
            def get_delay(self, context: RequestContext) -> Any:
                return decimal.Decimal("1.5")

        api.rules["/"] = failing_once()
        with HttpClient(builder.with_retry_strategy(Exact()).build()) as client:
            assert client.get("/").status_code == 200
        assert clock.slept == [1.5]

    @pytest.mark.parametrize("key", [None, ""], ids=repr)
    def test_an_idempotency_key_that_is_none_is_none(
        self, api: Server, builder: HttpClientConfigBuilder, key: Any
    ) -> None:
        """A POST whose key was taken away is not repeated."""
        api.rules["/"] = Reply(503)
        with HttpClient(builder.with_retry(3).build()) as client:
            client.post("/", headers={"Idempotency-Key": key})
        assert len(api.seen) == 1


class TestDeadline:
    """Waits that would pass it."""

    def test_the_pause_before_a_replay_counts(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """A replay that would come too late is not made: the 401 stands."""
        api.rules["/"] = Reply(401)
        manager = TokenManager(CountingProvider())
        config = builder.with_token_auth(manager, SimpleAuthRetryStrategy(1, delay=3.0))
        with HttpClient(config.with_total_timeout(1.0).build()) as client:
            assert client.get("/").status_code == 401
        assert clock.slept == []

    def test_a_turn_past_it_is_not_retried(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """No retry is made for a turn that comes too late; what is at hand stands."""
        config = builder.with_rate_limit(0.1).with_total_timeout(2.0).with_retry(3, 0.1)
        with HttpClient(config.build()) as client:
            client.get("/")
            with pytest.raises(HttpClientException, match="may take in all"):
                client.get("/")
            clock.advance(seconds=10)
            api.rules["/"] = Reply(503)
            assert client.get("/").status_code == 503
        assert (len(api.seen), clock.slept) == (2, [])


class TestEvents:
    """What observers hear, and that they change nothing."""

    def test_they_do_not_make_a_request_fail(self, api: Server, clock: Clock) -> None:
        """A URL that only a hook makes whole is told of as it is."""
        hook = Changing(lambda request, _: replace(request, url=f"{api.url}/{request.url}"))
        config = HttpClientConfigBuilder().with_request_hook(hook).with_rate_limit(1).build()
        with recorded() as events, HttpClient(config) as client:
            client.get("it")
            assert client.get("it").status_code == 200
        urls = {event.url for event in events if isinstance(event, RequestLimited)}
        assert urls == {"it"}

    def test_a_request_that_was_never_sent_is_told(
        self, api: Server, builder: HttpClientConfigBuilder
    ) -> None:
        """RequestFailed comes for a failed hook, a refused turn, an open circuit, a lost token."""

        def fail(_: HttpRequest, __: RequestContext) -> HttpRequest:
            raise LookupError

        provider = CountingProvider()
        provider.failures.append(AuthenticationException("no token"))
        api.rules["/"] = Reply(500)
        configs = {
            RequestBuildException: HttpClientConfigBuilder().with_request_hook(Changing(fail)),
            CapacityException: HttpClientConfigBuilder().with_rate_limit(1, max_wait=0.1),
            CircuitOpenException: HttpClientConfigBuilder().with_circuit_breaker(1),
            AuthenticationException: HttpClientConfigBuilder().with_token_auth(
                TokenManager(provider)
            ),
        }
        for kind, config in configs.items():
            with HttpClient(config.with_base_url(api.url).build()) as client:
                if kind in {CapacityException, CircuitOpenException}:
                    client.get("/")
                with recorded() as events, pytest.raises(kind):
                    client.get("/")
            told = [type(event) for event in events if isinstance(event, RequestFailed)]
            assert told == [RequestFailed], kind
            assert RequestSent not in map(type, events), kind

    def test_an_interrupt_gives_its_permit_back(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """A probe that an observer's interrupt ends does not keep the next one out."""
        api.rules["/"] = Reply(500)

        class Interrupt(BaseException):
            pass

        def observer(event: object) -> None:
            if isinstance(event, RequestSent):
                raise Interrupt

        with HttpClient(builder.with_circuit_breaker(1, 30.0, 1).build()) as client:
            client.get("/")
            clock.advance(seconds=30)
            with observe(observer), pytest.raises(Interrupt):
                client.get("/")
            api.rules["/"] = Reply()
            assert client.get("/").status_code == 200


class TestRedirectsAndCircuits:
    """Whose failure it is."""

    def test_a_dead_target_is_no_failure_of_the_first_origin(
        self, api: Server, builder: HttpClientConfigBuilder
    ) -> None:
        """An origin that answers with a redirect works, wherever that leads."""
        with Server() as gone:
            dead = gone.url
        api.rules["/away"] = Reply(302, {"Location": f"{dead}/"})
        with HttpClient(builder.with_circuit_breaker(1).build()) as client:
            for _ in range(2):
                with pytest.raises(ConnectionException):
                    client.get("/away")
            assert client.get("/").status_code == 200

    def test_an_error_elsewhere_is_no_failure_of_the_first_origin(
        self, api: Server, builder: HttpClientConfigBuilder
    ) -> None:
        """A 500 of the place that a redirect led to counts for no circuit but its own."""
        with Server() as other, HttpClient(builder.with_circuit_breaker(1).build()) as client:
            other.rules["/"] = Reply(500)
            api.rules["/away"] = Reply(302, {"Location": f"{other.url}/"})
            assert [client.get("/away").status_code for _ in range(2)] == [500, 500]
