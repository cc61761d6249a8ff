"""HttpClient: which failed attempts it makes again, when, and how the last one ends."""
# ruff: noqa: ANN401 - stand-ins for what the interfaces describe

import io
import pickle
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from client_server import Reply, Seen, Server
from doubles import Clock
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfig, HttpClientConfigBuilder
from requestforge.exceptions import (
    CircuitOpenException,
    ConnectionException,
    HttpClientException,
    HttpStatusException,
    MaxRetryConnectionException,
    MaxRetryException,
    MaxRetryTimeoutException,
    RequestBuildException,
    ServerErrorException,
    TimeoutException,
)
from requestforge.hooks import ApiKeyAuthHook
from requestforge.instrumentation import use_clock
from requestforge.interfaces import (
    ErrorHookInterface,
    RequestHookInterface,
    ResponseHookInterface,
    RetryStrategyInterface,
)
from requestforge.models import HttpRequest, HttpResponse, RequestContext
from requestforge.retry import ExponentialBackoffRetryStrategy, SimpleRetryStrategy


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


Open = Callable[..., HttpClient]


@pytest.fixture
def open_client(api: Server) -> Iterator[Open]:
    """Makes a client of that server."""
    clients = []

    def open_client(strategy: RetryStrategyInterface, **fields: Any) -> HttpClient:
        fields = {"base_url": api.url, **fields}
        clients.append(HttpClient(HttpClientConfig(retry_strategy=strategy, **fields)))
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


def failing(times: int, failure: Reply | None = None) -> Callable[[Seen], Reply]:
    """A rule that fails that often, by a broken connection unless it is a reply."""
    left = iter(range(times))

    def rule(_: Seen) -> Reply:
        if next(left, None) is None:
            return Reply()
        if failure is None:
            raise ConnectionError
        return failure

    return rule


class TestWhatIsRetried:
    @pytest.mark.parametrize("method", ["get", "head", "options", "put", "delete"])
    @pytest.mark.parametrize("failure", [None, Reply(503)], ids=["broken", "503"])
    def test_idempotent_methods_are(
        self, api: Server, open_client: Open, clock: Clock, method: str, failure: Reply | None
    ) -> None:
        """An attempt that failed is made again after the delay of the strategy."""
        api.rules["/"] = failing(2, failure)
        client = open_client(SimpleRetryStrategy(3, delay=2))
        assert getattr(client, method)("/").status_code == 200
        assert len(api.seen) == 3
        assert clock.slept == [2, 2]

    @pytest.mark.parametrize("method", ["post", "patch"])
    @pytest.mark.parametrize("failure", [None, Reply(503)], ids=["broken", "503"])
    @pytest.mark.parametrize(
        ("headers", "anyway", "sent"),
        [
            pytest.param(None, False, 1, id="plain"),
            pytest.param({"idempotency-key": "1"}, False, 2, id="with a key"),
            pytest.param(None, True, 2, id="told to"),
        ],
    )
    def test_others_are_only_where_that_is_safe(  # noqa: PLR0917 - given by name
        self,
        api: Server,
        open_client: Open,
        method: str,
        failure: Reply | None,
        headers: dict[str, str] | None,
        anyway: bool,
        sent: int,
    ) -> None:
        """POST and PATCH need an Idempotency-Key, or a strategy that says they may."""
        api.rules["/"] = failing(1, failure)
        client = open_client(SimpleRetryStrategy(retry_non_idempotent=anyway))
        try:
            getattr(client, method)("/", json_data={}, headers=headers)
        except ConnectionException:
            assert sent == 1
        assert len(api.seen) == sent

    def test_a_key_that_a_hook_adds_counts(self, api: Server, open_client: Open) -> None:
        """An Idempotency-Key is one whoever put it on the request."""

        class Key(RequestHookInterface):
            def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
                return request.with_headers({"Idempotency-Key": context.id})

        api.rules["/"] = failing(1)
        open_client(SimpleRetryStrategy(), request_hooks=[Key()]).post("/")
        first, second = (seen.headers["Idempotency-Key"] for seen in api.seen)
        assert first == second

    def test_what_was_never_sent_is_with_any_method(self, open_client: Open, clock: Clock) -> None:
        """A connection that was refused is tried again even for POST."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        client = open_client(SimpleRetryStrategy(2, delay=1))
        with pytest.raises(MaxRetryConnectionException) as caught:
            client.post(url, data=b"x")
        assert caught.value.attempts == 3
        assert clock.slept == [1, 1]

    @pytest.mark.parametrize("failure", [None, Reply(503)], ids=["broken", "503"])
    def test_a_body_that_is_gone_is_not(
        self, api: Server, open_client: Open, failure: Reply | None
    ) -> None:
        """A body that cannot be read again is not sent empty: the first failure stands."""
        api.rules["/"] = failing(1, failure)
        client = open_client(SimpleRetryStrategy(), raise_for_status=True)
        with pytest.raises(HttpClientException) as caught:
            client.put("/", data=iter([b"once"]))
        assert type(caught.value) in {ConnectionException, ServerErrorException}
        assert [seen.body for seen in api.seen] == [b"once"]

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({"data": io.BytesIO(b"skipped and sent")}, id="file"),
            pytest.param({"files": {"f": io.BytesIO(b"skipped and sent")}}, id="files"),
            pytest.param(
                {"files": [("f", ("name", io.BytesIO(b"skipped and sent")))]}, id="named files"
            ),
        ],
    )
    def test_files_are_read_again_from_where_they_stood(
        self, api: Server, open_client: Open, fields: dict[str, Any]
    ) -> None:
        """A retry sends the whole of a file, not what is left of it."""
        file = fields.get("data") or dict(fields["files"])["f"]
        (file[1] if isinstance(file, tuple) else file).seek(8)
        api.rules["/"] = failing(1)
        open_client(SimpleRetryStrategy()).put("/", **fields)
        for seen in api.seen:
            assert b"and sent" in seen.body
            assert b"skipped" not in seen.body

    def test_files_from_an_iterator_are_not_sent_again(
        self, api: Server, open_client: Open
    ) -> None:
        """An iterator of files is used up by the first attempt."""
        api.rules["/"] = failing(1)
        with pytest.raises(ConnectionException):
            open_client(SimpleRetryStrategy()).put("/", files=iter([("f", b"text")]))
        assert len(api.seen) == 1

    def test_a_delay_of_nothing_is_no_wait(
        self, api: Server, open_client: Open, clock: Clock
    ) -> None:
        """Without a delay the next attempt is made at once."""
        api.rules["/"] = failing(1)
        open_client(SimpleRetryStrategy(delay=0)).get("/")
        assert (len(api.seen), clock.slept) == (2, [])

    def test_each_attempt_starts_from_the_request_as_it_was(
        self, api: Server, open_client: Open
    ) -> None:
        """What hooks change in place is not there at the next attempt, nor in the caller's data."""

        class Grow(RequestHookInterface):
            def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
                request.json_data["items"].append(1)
                return request

        api.rules["/"] = failing(1)
        own: dict[str, Any] = {"items": []}
        open_client(SimpleRetryStrategy(), request_hooks=[Grow()]).put("/", json_data=own)
        assert [seen.body for seen in api.seen] == [b'{"items": [1]}'] * 2
        assert own == {"items": []}

    @pytest.mark.parametrize("timeout", [-1, "x"])
    def test_a_malformed_request_is_not(
        self, open_client: Open, clock: Clock, timeout: Any
    ) -> None:
        """A RequestBuildException is raised at once."""
        client = open_client(SimpleRetryStrategy(retryable_exceptions=[Exception]))
        with pytest.raises(RequestBuildException):
            client.get("/", timeout=timeout)
        assert clock.slept == []

    def test_statuses_that_the_strategy_does_not_name_are_not(
        self, api: Server, open_client: Open
    ) -> None:
        """A status counts as a failure only where the strategy calls it one."""
        api.rules["/"] = Reply(418)
        assert open_client(SimpleRetryStrategy()).get("/").status_code == 418
        strategy = ExponentialBackoffRetryStrategy(2, 0, retryable_status_codes=[418])
        assert open_client(strategy).get("/").status_code == 418
        assert len(api.seen) == 4

    def test_a_success_may_count_as_a_failure(self, api: Server, open_client: Open) -> None:
        """A strategy may wait for another status than, say, 202; the last answer is returned."""
        api.rules["/"] = Reply(202)
        strategy = ExponentialBackoffRetryStrategy(2, 0, retryable_status_codes=[202])
        client = open_client(strategy, raise_for_status=True)
        assert client.get("/").status_code == 202
        assert len(api.seen) == 3

    def test_a_strategy_may_know_only_the_methods_of_1_0_0(
        self, api: Server, open_client: Open
    ) -> None:
        """A strategy that extends no interface is asked about failures and the usual statuses."""

        class Old:
            max_retries = 2

            def should_retry(self, context: RequestContext, exception: Exception) -> bool:
                return context.attempt < 2 and isinstance(exception, HttpStatusException)

            def get_delay(self, context: RequestContext) -> float:
                return context.attempt

        api.rules["/"] = failing(2, Reply(429))
        strategy: Any = Old()
        assert open_client(strategy).get("/").status_code == 200
        api.rules["/"] = Reply(404)
        assert open_client(strategy).get("/").status_code == 404
        assert len(api.seen) == 4

    def test_a_strategy_cannot_retry_more_often_than_it_says(
        self, api: Server, open_client: Open
    ) -> None:
        """`max_retries` bounds the retries even of a strategy that always says yes."""

        class Eager(SimpleRetryStrategy):
            def should_retry(self, context: RequestContext, exception: Exception) -> bool:
                return True

        api.rules["/"] = Reply(503)
        assert open_client(Eager(2)).get("/").status_code == 503
        assert len(api.seen) == 3


class TestWaits:
    @pytest.mark.parametrize(
        ("retry_after", "waited"),
        [
            pytest.param("5", 5, id="longer"),
            pytest.param("1", 2, id="shorter"),
            pytest.param("Tue, 01 Jan 2030 12:00:30 GMT", 30, id="date"),
            pytest.param("soon", 2, id="nonsense"),
        ],
    )
    def test_the_longer_of_delay_and_retry_after(
        self, api: Server, open_client: Open, clock: Clock, retry_after: str, waited: float
    ) -> None:
        """A retry waits for the strategy's delay, or for what the server asks if that is more."""
        api.rules["/"] = failing(1, Reply(503, {"Retry-After": retry_after}))
        open_client(SimpleRetryStrategy(delay=2)).get("/")
        assert clock.slept == [waited]

    @pytest.mark.parametrize(("longest", "status"), [(60.0, 503), (100.0, 200)])
    def test_a_retry_after_beyond_the_limit_is_not_waited_for(
        self, api: Server, open_client: Open, clock: Clock, longest: float, status: int
    ) -> None:
        """Beyond `max_retry_after` the answer stands."""
        api.rules["/"] = failing(1, Reply(503, {"Retry-After": "61"}))
        client = open_client(SimpleRetryStrategy(max_retry_after=longest))
        assert client.get("/").status_code == status
        assert clock.slept == ([] if status == 503 else [61])

    def test_the_error_of_a_long_retry_after_tells_it(self, api: Server, open_client: Open) -> None:
        """The exception in the place of that answer has `retry_after`."""
        api.rules["/"] = Reply(503, {"Retry-After": "61"})
        client = open_client(SimpleRetryStrategy(), raise_for_status=True)
        with pytest.raises(HttpStatusException) as caught:
            client.get("/")
        assert caught.value.retry_after == 61


class TestTheEnd:
    def test_one_failure_is_raised_as_itself(self, api: Server, open_client: Open) -> None:
        """Without a retry the failure keeps its class."""
        api.rules["/"] = failing(1)
        with pytest.raises(ConnectionException) as caught:
            open_client(SimpleRetryStrategy(0)).get("/")
        assert type(caught.value) is ConnectionException

    def test_used_up_retries_are_told(self, api: Server, open_client: Open) -> None:
        """After the last retry the error is of two classes, and has all that went before."""
        api.rules["/"] = failing(9)
        with pytest.raises(MaxRetryException) as caught:
            open_client(SimpleRetryStrategy(2)).get("/?token=canary")
        error = caught.value
        assert type(error) is MaxRetryConnectionException
        assert error.attempts == 3
        assert [type(failure) for failure in error.history] == [ConnectionException] * 3
        assert error.original_exception is error.__cause__ is error.history[-1]
        assert "canary" not in f"{error} {error.context['request']!r}"
        twin = pickle.loads(pickle.dumps(error))
        assert (type(twin), twin.attempts, len(twin.history)) == (type(error), 3, 3)

    def test_a_last_timeout_is_a_timeout(self, open_client: Open) -> None:
        """MaxRetryTimeoutException is caught as a TimeoutException, too."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            with pytest.raises(TimeoutException) as caught:
                open_client(SimpleRetryStrategy(1)).get(url, timeout=0.02)
        assert type(caught.value) is MaxRetryTimeoutException

    def test_another_last_failure_is_a_plain_one(self, api: Server, open_client: Open) -> None:
        """What is neither a timeout nor a connection ends in MaxRetryException itself."""
        api.rules["/"] = Reply(302, {"Location": "/"})
        with pytest.raises(MaxRetryException) as caught:
            open_client(SimpleRetryStrategy(1), max_redirects=1).get("/")
        assert type(caught.value) is MaxRetryException

    def test_a_failure_that_is_not_retried_ends_the_retries(
        self, api: Server, open_client: Open
    ) -> None:
        """After some retries a failure of another kind is raised as itself."""
        api.rules["/"] = failing(1)

        def break_body(_: Seen) -> Reply:
            api.rules["/"] = Reply(200, {"Content-Encoding": "gzip"}, b"no gzip")
            raise ConnectionError

        api.rules["/"] = break_body
        strategy = SimpleRetryStrategy(3, retryable_exceptions=[ConnectionException])
        with pytest.raises(HttpClientException) as caught:
            open_client(strategy).get("/")
        assert type(caught.value) is HttpClientException
        assert len(api.seen) == 2

    @pytest.mark.parametrize("raises", [False, True])
    def test_a_last_error_status_is_returned_or_raised_as_itself(
        self, api: Server, open_client: Open, raises: bool
    ) -> None:
        """After the last retry an answer is an answer, or its HttpStatusException."""
        api.rules["/"] = Reply(503)
        client = open_client(SimpleRetryStrategy(2), raise_for_status=raises)
        if raises:
            with pytest.raises(HttpStatusException) as caught:
                client.get("/")
            assert caught.value.status_code == 503
        else:
            assert client.get("/").status_code == 503
        assert len(api.seen) == 3


class _Notes(RequestHookInterface, ResponseHookInterface, ErrorHookInterface):
    """Notes what it is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, object]] = []
        self.contexts: list[RequestContext] = []

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        self.calls.append(("request", context.attempt, request.url))
        self.contexts.append(context)
        return request

    def after_response(self, response: HttpResponse, context: RequestContext) -> HttpResponse:
        self.calls.append(("response", context.attempt, response.status_code))
        return response

    def on_error(self, exception: Exception, context: RequestContext) -> None:
        self.calls.append(("error", context.attempt, type(exception).__name__))


class TestHooksAndStrategies:
    def test_hooks_are_called_for_each_attempt(self, api: Server, open_client: Open) -> None:
        """Request hooks before each, response hooks after each answer, error hooks per failure."""
        notes = _Notes()
        replies = iter([None, Reply(503), Reply(200)])

        def rule(_: Seen) -> Reply:
            reply = next(replies)
            if reply is None:
                raise ConnectionError
            return reply

        api.rules["/"] = rule
        open_client(
            SimpleRetryStrategy(),
            request_hooks=[notes],
            response_hooks=[notes],
            error_hooks=[notes],
        ).get("/")
        assert notes.calls == [
            ("request", 0, "/"),
            ("error", 0, "ConnectionException"),
            ("request", 1, "/"),
            ("response", 1, 503),
            ("error", 1, "ServerErrorException"),
            ("request", 2, "/"),
            ("response", 2, 200),
        ]
        context = notes.contexts[-1]
        assert all(each is context for each in notes.contexts)
        assert (context.max_retries, context.is_retry) == (3, True)
        assert [type(failure).__name__ for failure in context.history] == [
            "ConnectionException",
            "ServerErrorException",
        ]

    @pytest.mark.parametrize(("raises", "errors"), [(False, 1), (True, 2)])
    def test_a_status_is_an_error_where_it_is_retried_or_raised(
        self, api: Server, open_client: Open, raises: bool, errors: int
    ) -> None:
        """Error hooks do not hear of an answer that is returned."""
        notes = _Notes()
        api.rules["/"] = Reply(503)
        client = open_client(SimpleRetryStrategy(1), error_hooks=[notes], raise_for_status=raises)
        try:
            client.get("/")
        except HttpStatusException:
            assert raises
        assert len(notes.calls) == errors

    def test_the_strategy_is_told_of_each_exchange(self, api: Server, open_client: Open) -> None:
        """`before_attempt` and `after_attempt` frame each exchange with its outcome."""
        told: list[object] = []

        class Listening(SimpleRetryStrategy):
            def before_attempt(self, context: RequestContext) -> None:
                told.append(context.attempt)

            def after_attempt(
                self, context: RequestContext, outcome: HttpResponse | Exception
            ) -> None:
                told.append(type(outcome).__name__)
                assert context.attempt == told[-2]

        api.rules["/"] = failing(1)
        open_client(Listening()).get("/")
        assert told == [0, "ConnectionException", 1, "HttpResponse"]

    def test_the_strategy_may_refuse_an_attempt(
        self, api: Server, open_client: Open, clock: Clock
    ) -> None:
        """What `before_attempt` raises ends the request; nothing is sent."""

        class Refusing(SimpleRetryStrategy):
            def before_attempt(self, context: RequestContext) -> None:
                raise CircuitOpenException("open", retry_after=3)

        hook = ApiKeyAuthHook("key")
        with pytest.raises(CircuitOpenException):
            open_client(Refusing(), auth_hook=hook).get("/")
        assert (api.seen, clock.slept) == ([], [])


def test_the_builder_makes_exponential_backoff(api: Server, clock: Clock) -> None:
    """`with_retry` retries with delays that grow, spread by full jitter."""
    api.rules["/"] = Reply(503)
    builder = HttpClientConfigBuilder().with_base_url(api.url)
    with HttpClient(builder.with_retry(2, base_delay=10, max_delay=15).build()) as client:
        assert client.get("/").status_code == 503
    assert len(api.seen) == 3
    first, second = clock.slept
    assert 0 <= first <= 10
    assert 0 <= second <= 15


def test_one_type_of_failures_may_be_given_alone(open_client: Open, clock: Clock) -> None:
    """`retryable_exceptions` takes one class in the place of a collection."""
    kind: Any = ConnectionException
    client = open_client(SimpleRetryStrategy(1, 2, kind))
    with pytest.raises(MaxRetryConnectionException):
        client.get("http://127.0.0.1:1/")
    assert clock.slept == [2]
