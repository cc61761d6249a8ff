"""HttpClient: circuits, the retry budget, the rate limit and the bulkhead around its requests."""
# ruff: noqa: ARG001 - a clock that only has to be there

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from client_server import Reply, Seen, Server
from doubles import Clock, CountingProvider, recorded
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.events import (
    CircuitChanged,
    RequestFailed,
    RequestLimited,
    RequestRetried,
    RequestSent,
    ResponseReceived,
)
from requestforge.exceptions import (
    CapacityException,
    CircuitOpenException,
    ConnectionException,
    HttpClientException,
    MaxRetryConnectionException,
)
from requestforge.instrumentation import use_clock
from requestforge.interfaces import ErrorHookInterface, RetryStrategyInterface
from requestforge.models import HttpResponse, RequestContext
from requestforge.retry import (
    CircuitBreakerRetryStrategy,
    ExponentialBackoffRetryStrategy,
    SimpleRetryStrategy,
)
from requestforge.token_manager import TokenManager

pytestmark = pytest.mark.compat


@pytest.fixture
def api() -> Iterator[Server]:
    """A server."""
    with Server() as server:
        yield server


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock that stands still, so that no wait takes time."""
    with use_clock(Clock()) as clock:
        yield clock


@pytest.fixture
def builder(api: Server) -> HttpClientConfigBuilder:
    """A configuration for that server."""
    return HttpClientConfigBuilder().with_base_url(api.url)


def statuses(client: HttpClient, count: int, path: str = "/") -> list[object]:
    """What so many GETs end in, one after the other: statuses, or types of exceptions."""
    ends: list[object] = []
    for _ in range(count):
        try:
            ends.append(client.get(path).status_code)
        except HttpClientException as error:
            ends.append(type(error))
    return ends


def broken(_: Seen) -> Reply:
    """Break the connection."""
    raise ConnectionError


class TestCircuit:
    """with_circuit_breaker."""

    def test_an_open_circuit_sends_nothing(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """After the failures in a row, requests are refused with the time to the next probe."""
        api.rules["/"] = Reply(503)
        with HttpClient(builder.with_circuit_breaker(3, 30.0).build()) as client:
            assert statuses(client, 3) == [503] * 3
            clock.advance(seconds=10)
            with pytest.raises(CircuitOpenException) as raised:
                client.get("/")
        assert (raised.value.origin, raised.value.retry_after) == (api.url, 20.0)
        assert raised.value.context["request"].url == "/"
        assert len(api.seen) == 3

    def test_a_probe_that_works_closes_it(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """After `recovery_timeout` probes are sent; enough successes close the circuit."""
        answers = iter([Reply(503)] * 2)
        api.rules["/"] = lambda _: next(answers, Reply())
        with HttpClient(builder.with_circuit_breaker(2, 30.0, 1).build()) as client:
            assert statuses(client, 3) == [503, 503, CircuitOpenException]
            clock.advance(seconds=30)
            assert statuses(client, 5) == [200] * 5

    def test_answers_below_500_are_successes(
        self, api: Server, builder: HttpClientConfigBuilder
    ) -> None:
        """4xx and 501 say that the origin works, and end a row of failures."""
        codes = iter([503, 404, 503, 429, 503, 501, 503])
        api.rules["/"] = lambda _: Reply(next(codes, 200))
        with HttpClient(builder.with_circuit_breaker(2).build()) as client:
            assert CircuitOpenException not in statuses(client, 8)

    def test_broken_connections_are_failures(
        self, api: Server, builder: HttpClientConfigBuilder
    ) -> None:
        """A reset counts as much as a 503."""
        api.rules["/"] = broken
        with HttpClient(builder.with_circuit_breaker(2).build()) as client:
            ends = statuses(client, 3)
        assert ends == [ConnectionException, ConnectionException, CircuitOpenException]

    def test_each_origin_has_its_circuit(
        self, api: Server, builder: HttpClientConfigBuilder
    ) -> None:
        """A failing origin does not keep requests from another."""
        with Server() as other, HttpClient(builder.with_circuit_breaker(1).build()) as client:
            api.rules["/"] = Reply(500)
            assert statuses(client, 2) == [500, CircuitOpenException]
            assert client.get(f"{other.url}/").status_code == 200
            assert client.circuit_breaker is not None
            assert client.circuit_breaker.state_of(api.url) == "open"
            assert client.circuit_breaker.state_of(other.url) == "closed"

    def test_without_one_there_is_none(self, builder: HttpClientConfigBuilder) -> None:
        """`circuit_breaker` is None where none is configured."""
        with HttpClient(builder.build()) as client:
            assert client.circuit_breaker is None

    def test_nothing_waits_for_an_open_circuit(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """A retry that the circuit would refuse is not waited for: the failure at hand stands."""
        api.rules |= {"/": broken, "/down": Reply(503)}
        config = builder.with_circuit_breaker(2).with_retry_strategy(SimpleRetryStrategy(5, 1.0))
        with HttpClient(config.build()) as client:
            assert statuses(client, 2) == [ConnectionException, CircuitOpenException]
            clock.advance(seconds=30)
            assert statuses(client, 1, "/down") == [503]
        assert (len(api.seen), clock.slept) == (3, [1.0])

    def test_a_long_wait_reaches_the_next_probe(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """A retry that comes when the circuit lets a probe pass is made."""
        replies = iter([Reply(503)])
        api.rules["/"] = lambda _: next(replies, Reply())
        strategy = SimpleRetryStrategy(5, 40.0)
        config = builder.with_circuit_breaker(1, 30.0).with_retry_strategy(strategy)
        with HttpClient(config.build()) as client:
            assert statuses(client, 1) == [200]
        assert clock.slept == [40.0]

    def test_each_exchange_counts_once_with_the_strategy(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """CircuitBreakerRetryStrategy counts exchanges, and refuses what comes after."""
        api.rules["/"] = broken
        strategy = CircuitBreakerRetryStrategy(max_retries=1, failure_threshold=3)
        with HttpClient(builder.with_retry_strategy(strategy).build()) as client:
            ends = statuses(client, 3)
        assert ends == [MaxRetryConnectionException, ConnectionException, CircuitOpenException]
        assert strategy.state == "open"
        assert strategy.state_of(api.url) == "open"
        assert len(api.seen) == 3

    def test_a_refusal_is_no_failure_of_the_strategys_circuit(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """With both a breaker and the strategy, what one refuses the other does not count."""
        api.rules["/"] = Reply(503)
        strategy = CircuitBreakerRetryStrategy(max_retries=0, failure_threshold=3)
        config = builder.with_retry_strategy(strategy).with_circuit_breaker(2)
        with HttpClient(config.build()) as client:
            assert statuses(client, 6) == [503, 503, *[CircuitOpenException] * 4]
        assert strategy.counts(api.url).failures == 2

    def test_the_first_answer_of_a_replay_counts_too(
        self, api: Server, builder: HttpClientConfigBuilder
    ) -> None:
        """A 401 and its replay are two exchanges: a failing replay counts."""
        codes = iter([401, 503, 401, 503])
        api.rules["/"] = lambda _: Reply(next(codes, 200))
        manager = TokenManager(CountingProvider())
        config = builder.with_token_auth(manager).with_circuit_breaker(1).build()
        with HttpClient(config) as client:
            assert statuses(client, 2) == [503, CircuitOpenException]

    def test_its_moves_are_told(self, api: Server, builder: HttpClientConfigBuilder) -> None:
        """Observers hear of the failure first, and then of the circuit."""
        api.rules["/"] = Reply(500)
        with recorded() as events, HttpClient(builder.with_circuit_breaker(1).build()) as client:
            client.get("/")
        assert [type(event) for event in events] == [RequestSent, ResponseReceived, CircuitChanged]
        change = events[-1]
        assert isinstance(change, CircuitChanged)
        assert (change.origin, change.before, change.after) == (api.url, "closed", "open")

    def test_at_half_open_few_of_many_callers_are_sent(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """Of 64 callers at once, `half_open_max_calls` reach the server; the others are refused."""
        api.rules["/"] = Reply(503)
        with HttpClient(builder.with_circuit_breaker(1, 30.0, 2).build()) as client:
            client.get("/")
            clock.advance(seconds=30)
            refused, others_are_refused = iter(range(1, 63)), threading.Event()

            def slow(_: Seen) -> Reply:
                return Reply(200 if others_are_refused.wait(10) else 500)

            def call(_: int) -> object:
                try:
                    return client.get("/").status_code
                except CircuitOpenException:
                    if next(refused) == 62:
                        others_are_refused.set()
                    return None

            api.rules["/"] = slow
            with ThreadPoolExecutor(64) as pool:
                ends = list(pool.map(call, range(64)))
        assert (ends.count(200), ends.count(None), len(api.seen)) == (2, 62, 3)

    def test_calls_do_not_wait_for_each_other(
        self, api: Server, builder: HttpClientConfigBuilder
    ) -> None:
        """The circuit's lock is not held while a request is under way."""
        together = threading.Barrier(8)

        def meet(_: Seen) -> Reply:
            together.wait(10)
            return Reply()

        api.rules["/"] = meet
        with (
            HttpClient(builder.with_circuit_breaker().build()) as client,
            ThreadPoolExecutor(8) as pool,
        ):
            ends = list(pool.map(lambda _: client.get("/").status_code, range(8)))
        assert ends == [200] * 8


class TestBudget:
    """with_retry_budget."""

    def test_retries_beyond_the_budget_are_not_made(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """When it is spent, what is at hand stands: an answer is returned."""
        api.rules["/"] = Reply(503)
        config = builder.with_retry_strategy(SimpleRetryStrategy(3, 0.0))
        with HttpClient(config.with_retry_budget(0.0, 0.1).build()) as client:
            assert statuses(client, 20) == [503] * 20
        assert 20 < len(api.seen) < 20 + 11

    def test_an_error_that_the_budget_left_alone_is_raised_as_itself(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """Without a retry it is no MaxRetryException."""
        api.rules["/"] = broken
        config = builder.with_retry_strategy(SimpleRetryStrategy(3, 0.0))
        with HttpClient(config.with_retry_budget(0.0, 0.0).build()) as client:
            assert statuses(client, 1) == [ConnectionException]
        assert len(api.seen) == 1

    def test_requests_pay_for_retries(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """Each request adds `ratio` of a retry."""
        config = builder.with_retry_strategy(SimpleRetryStrategy(3, 0.0))
        with HttpClient(config.with_retry_budget(0.5, 0.0).build()) as client:
            statuses(client, 4)
            api.rules["/down"] = Reply(503)
            statuses(client, 1, "/down")
        assert [seen.path for seen in api.seen].count("/down") == 3

    def test_a_refused_wait_spends_nothing(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """A Retry-After that is too long is no retry, and costs none."""
        replies = iter([Reply(503, {"Retry-After": "3600"})] * 3)
        api.rules["/"] = lambda _: next(replies, Reply(503))
        config = builder.with_retry_strategy(SimpleRetryStrategy(3, 0.0))
        with HttpClient(config.with_retry_budget(0.25, 0.0).build()) as client:
            assert statuses(client, 3) == [503] * 3
            assert len(api.seen) == 3
            statuses(client, 1)
        assert len(api.seen) == 5


class TestRate:
    """with_rate_limit."""

    def test_requests_keep_their_distance(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """Beyond the burst each request waits for its turn, which observers are told."""
        with (
            recorded() as events,
            HttpClient(builder.with_rate_limit(2, burst=2).build()) as client,
        ):
            statuses(client, 4)
        assert clock.slept == [0.5, 0.5]
        limited = [event for event in events if isinstance(event, RequestLimited)]
        assert [(event.wait, event.limit) for event in limited] == [(0.5, "rate")] * 2

    def test_a_wait_that_is_too_long_is_refused(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """CapacityException, and nothing sent, when a turn comes after `max_wait`."""
        with HttpClient(builder.with_rate_limit(0.1, max_wait=5.0).build()) as client:
            assert statuses(client, 2) == [200, CapacityException]
            clock.advance(seconds=6)
            assert statuses(client, 1) == [200]
        assert len(api.seen) == 2

    def test_it_is_not_retried(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """A refused turn is final, whatever the strategy."""
        config = builder.with_rate_limit(0.1, max_wait=5.0)
        with HttpClient(config.with_retry_strategy(SimpleRetryStrategy(3, 1.0)).build()) as client:
            assert statuses(client, 2) == [200, CapacityException]
        assert clock.slept == []

    def test_nothing_waits_for_a_turn_that_is_refused(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """A retry that would get no turn is not waited for: the answer at hand stands."""
        api.rules["/"] = Reply(503)
        config = builder.with_rate_limit(0.1, max_wait=2.0)
        config.with_retry_strategy(SimpleRetryStrategy(3, 1.0))
        with HttpClient(config.build()) as client:
            assert client.get("/").status_code == 503
        assert (len(api.seen), clock.slept) == (1, [])

    def test_a_retry_in_its_turn_is_made(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """A wait before the retry counts for its turn."""
        replies = iter([Reply(503)])
        api.rules["/"] = lambda _: next(replies, Reply())
        config = builder.with_rate_limit(0.1, max_wait=2.0)
        config.with_retry_strategy(SimpleRetryStrategy(3, 9.0))
        with HttpClient(config.build()) as client:
            assert client.get("/").status_code == 200
        assert clock.slept == [9.0, 1.0]

    def test_it_heeds_what_the_server_asks_for(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """After a 429 with Retry-After, other requests wait, too."""
        replies = iter([Reply(429, {"Retry-After": "7"})])
        api.rules["/"] = lambda _: next(replies, Reply())
        with HttpClient(builder.with_rate_limit(100).build()) as client:
            assert statuses(client, 2) == [429, 200]
        assert clock.slept == [7.0]

    def test_each_origin_has_its_own(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """Requests to one origin do not delay those to another."""
        with Server() as other, HttpClient(builder.with_rate_limit(1).build()) as client:
            client.get("/")
            client.get(f"{other.url}/")
        assert clock.slept == []

    def test_a_wait_past_the_deadline_is_not_begun(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """The request fails at once, and its turn goes to the next one."""
        config = builder.with_rate_limit(0.1).with_total_timeout(5.0).build()
        with HttpClient(config) as client:
            ends = [str(end) for end in statuses(client, 2)]
            clock.advance(seconds=10)
            assert statuses(client, 1) == [200]
        assert "TimeoutException" in ends[1]
        assert clock.slept == []


class TestBulkhead:
    """with_bulkhead."""

    def test_no_more_than_so_many_are_under_way(
        self, api: Server, builder: HttpClientConfigBuilder
    ) -> None:
        """Of many callers at once, `max_concurrent` are on the line."""
        under_way, most, lock = [0], [0], threading.Lock()

        def counted(_: Seen) -> Reply:
            with lock:
                under_way[0] += 1
                most[0] = max(most[0], under_way[0])
            with lock:
                under_way[0] -= 1
            return Reply()

        api.rules["/"] = counted
        with HttpClient(builder.with_bulkhead(3).build()) as client, ThreadPoolExecutor(16) as pool:
            ends = list(pool.map(lambda _: client.get("/").status_code, range(64)))
        assert (set(ends), most[0] <= 3) == ({200}, True)

    def test_one_too_many_is_refused(self, api: Server, builder: HttpClientConfigBuilder) -> None:
        """CapacityException once `max_wait` has passed, and nothing is sent."""
        inside, go = threading.Event(), threading.Event()

        def slow(_: Seen) -> Reply:
            inside.set()
            return Reply(200 if go.wait(10) else 500)

        api.rules["/"] = slow
        config = builder.with_bulkhead(1, max_wait=0.01).build()
        with HttpClient(config) as client, ThreadPoolExecutor(1) as pool:
            first = pool.submit(client.get, "/")
            assert inside.wait(10)
            with pytest.raises(CapacityException) as raised:
                client.get("/")
            go.set()
            assert first.result(10).status_code == 200
        assert raised.value.context["request"].url == "/"
        assert len(api.seen) == 1

    def test_a_wait_is_told(self, api: Server, builder: HttpClientConfigBuilder) -> None:
        """Who got a place after a wait is told of, with the wait."""
        inside, go = threading.Event(), threading.Event()

        def slow(_: Seen) -> Reply:
            inside.set()
            return Reply(200 if go.wait(10) else 500)

        api.rules["/"] = slow
        with (
            recorded() as events,
            HttpClient(builder.with_bulkhead(1).build()) as client,
            ThreadPoolExecutor(2) as pool,
        ):
            first = pool.submit(client.get, "/")
            assert inside.wait(10)
            second = pool.submit(client.get, "/")
            threading.Timer(0.05, go.set).start()
            assert (first.result(10).status_code, second.result(10).status_code) == (200, 200)
        limited = [event for event in events if isinstance(event, RequestLimited)]
        assert [event.limit for event in limited] == ["bulkhead"]
        assert limited[0].wait > 0

    def test_a_failure_frees_its_place(self, api: Server, builder: HttpClientConfigBuilder) -> None:
        """However a request ends, its place is free again."""
        api.rules["/"] = broken
        with HttpClient(builder.with_bulkhead(1, max_wait=0.0).build()) as client:
            assert statuses(client, 3) == [ConnectionException] * 3


class TestJudges:
    """Strategies that hear of each exchange."""

    def test_each_exchange_is_framed(
        self, api: Server, builder: HttpClientConfigBuilder, clock: Clock
    ) -> None:
        """`before_attempt` and `after_attempt` come in pairs, with the origin in the context."""
        heard: list[object] = []

        class Judge(ExponentialBackoffRetryStrategy):
            def before_attempt(self, context: RequestContext) -> None:
                heard.append(("before", context.origin))

            def after_attempt(
                self, context: RequestContext, outcome: HttpResponse | BaseException
            ) -> None:
                is_answer = isinstance(outcome, HttpResponse)
                heard.append(outcome.status_code if is_answer else type(outcome))

        codes = iter([broken, Reply(503)])
        rule: Any = codes

        def answer(seen: Seen) -> Reply:
            reply = next(rule, Reply())
            return reply(seen) if callable(reply) else reply

        api.rules["/"] = answer
        with HttpClient(builder.with_retry_strategy(Judge(3)).build()) as client:
            client.get("/")
        before = ("before", api.url)
        assert heard == [before, ConnectionException, before, 503, before, 200]

    def test_one_that_refuses_ends_the_request(
        self, api: Server, builder: HttpClientConfigBuilder
    ) -> None:
        """What `before_attempt` raises of the library's errors is raised; nothing is sent."""

        class Refusing(SimpleRetryStrategy):
            def before_attempt(self, context: RequestContext) -> None:
                msg = "not now"
                raise CapacityException(msg)

        with (
            HttpClient(builder.with_retry_strategy(Refusing()).build()) as client,
            pytest.raises(CapacityException, match="not now"),
        ):
            client.get("/")
        assert api.seen == []

    @pytest.mark.parametrize("method", ["before_attempt", "after_attempt", "get_delay"])
    def test_one_that_fails_ends_the_request_with_its_name(
        self, api: Server, builder: HttpClientConfigBuilder, method: str
    ) -> None:
        """Another error of a strategy becomes an HttpClientException, which error hooks hear."""
        api.rules["/"] = Reply(503)
        told: list[Exception] = []

        class Hook(ErrorHookInterface):
            def on_error(self, exception: Exception, context: RequestContext) -> None:
                told.append(exception)

        def fail(*_: object) -> None:
            raise LookupError

        kind = type("Failing", (SimpleRetryStrategy,), {method: fail})
        strategy: RetryStrategyInterface = kind()
        config = builder.with_retry_strategy(strategy).with_error_hook(Hook()).build()
        with HttpClient(config) as client, pytest.raises(HttpClientException) as raised:
            client.get("/")
        assert "Failing failed: LookupError" in str(raised.value)
        assert told == [raised.value]


def test_each_retry_is_told(api: Server, builder: HttpClientConfigBuilder, clock: Clock) -> None:
    """RequestRetried names the failed attempt, the wait and the reason."""
    replies = iter([Reply(503, {"Retry-After": "4"})])
    api.rules["/"] = lambda _: next(replies, Reply())
    config = builder.with_retry_strategy(SimpleRetryStrategy(3, 1.0)).build()
    with recorded() as events, HttpClient(config) as client:
        client.get("/")
    kinds = [RequestSent, ResponseReceived, RequestRetried, RequestSent, ResponseReceived]
    assert [type(event) for event in events] == kinds
    retried = events[2]
    assert isinstance(retried, RequestRetried)
    assert (retried.attempt, retried.wait) == (0, 4.0)
    assert "503" in retried.reason


def test_a_retry_after_a_broken_connection_is_told(
    api: Server, builder: HttpClientConfigBuilder, clock: Clock
) -> None:
    """The reason is the failure's text."""
    replies = iter([broken])

    def rule(seen: Seen) -> Reply:
        first = next(replies, None)
        return Reply() if first is None else first(seen)

    api.rules["/"] = rule
    config = builder.with_retry_strategy(SimpleRetryStrategy(3, 0.0)).build()
    with recorded() as events, HttpClient(config) as client:
        client.get("/")
    assert [type(event) for event in events][1:3] == [RequestFailed, RequestRetried]
    retried = events[2]
    assert isinstance(retried, RequestRetried)
    assert "onnection" in retried.reason
