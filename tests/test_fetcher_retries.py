"""Steps that try again, as their retry strategy says."""

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace

import pytest

from doubles import Clock
from fetching import refused
from loopback import Loopback, in_turn, json_reply, reply, takes_over
from requestforge import instrumentation
from requestforge.exceptions import CircuitOpenException, ConnectionException
from requestforge.fetcher import BodyTokenFetcher
from requestforge.interfaces import RetryStrategyInterface
from requestforge.models import HttpResponse, RequestContext
from requestforge.retry import (
    CircuitBreakerRetryStrategy,
    ExponentialBackoffRetryStrategy,
    NoRetryStrategy,
    SimpleRetryStrategy,
)

ENDPOINT = ("app_token", "https://auth.example.com", "/v1/app/token")
GOOD = json_reply({"access_token": "abc"})


def hang_up(_: object) -> None:
    """A script that ends the connection without an answer."""


@pytest.fixture(autouse=True)
def clock() -> Iterator[Clock]:
    """A clock that moves when somebody sleeps."""
    with instrumentation.use_clock(Clock()) as clock:
        yield clock


class TestRetries:
    def test_without_a_strategy_there_is_one_attempt(self, clock: Clock) -> None:
        """Nothing is tried again unasked."""
        with Loopback(in_turn(reply(503), GOOD)) as server:
            refused(BodyTokenFetcher("app_token", server.url, "/token"))
        assert (len(server.requests), clock.slept) == (1, [])

    def test_transient_failures_are_tried_again(self, clock: Clock) -> None:
        """A broken line and retryable statuses, POST included, with the strategy's delays."""
        broken = in_turn(hang_up, reply(503), reply(429), GOOD)
        with Loopback(broken) as server:
            step = BodyTokenFetcher(
                *("app_token", server.url, "/token"),
                request_data={"client_id": "app-id"},
                retry_strategy=ExponentialBackoffRetryStrategy(jitter=False),
            )
            assert step.fetch().access_token == "abc"
        assert clock.slept == [1, 2, 4]
        assert [received.form for received in server.requests] == [{"client_id": "app-id"}] * 4

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 501])
    def test_refusals_are_final(self, clock: Clock, status: int) -> None:
        """400, 401 and 403 are never tried again, even where the strategy says so."""
        codes = {400, 401, 403}
        strategy = ExponentialBackoffRetryStrategy(retryable_status_codes=codes)
        with Loopback(in_turn(reply(status), GOOD)) as server:
            refused(BodyTokenFetcher("a", server.url, "/token", retry_strategy=strategy))
        assert (len(server.requests), clock.slept) == (1, [])

    @pytest.mark.parametrize(
        "strategy", [NoRetryStrategy(), SimpleRetryStrategy(0)], ids=["none", "simple"]
    )
    def test_the_last_answer_is_the_error(
        self, clock: Clock, strategy: RetryStrategyInterface
    ) -> None:
        """A strategy that gives up leaves the failure as it is."""
        with Loopback(reply(503)) as server:
            step = BodyTokenFetcher("a", server.url, "/token", retry_strategy=strategy)
            assert refused(step).__cause__.status_code == 503
        assert clock.slept == []

    def test_retries_end(self, clock: Clock) -> None:
        """After the last one its failure is the cause."""
        strategy = SimpleRetryStrategy(2, 0.5)
        with Loopback(takes_over(hang_up)) as server:
            step = BodyTokenFetcher("a", server.url, "/token", retry_strategy=strategy)
            assert type(refused(step).__cause__) is ConnectionException
        assert (len(server.requests), clock.slept) == (3, [0.5, 0.5])

    def test_retry_after_is_heeded(self, clock: Clock) -> None:
        """The larger of the delay and Retry-After is waited for."""
        soon = "Tue, 01 Jan 2030 12:00:25 GMT"
        first, second = reply(429, Retry_After="7"), reply(503, Retry_After="1")
        third = reply(503, Retry_After=soon)
        strategy = SimpleRetryStrategy(delay=5)
        with Loopback(in_turn(first, second, third, GOOD)) as server:
            BodyTokenFetcher("a", server.url, "/token", retry_strategy=strategy).fetch()
        assert clock.slept == [7, 5, 13]

    def test_a_long_retry_after_ends_the_retries(self, clock: Clock) -> None:
        """Above `max_retry_after` the failure stands at once, and says how long."""
        strategy = SimpleRetryStrategy(max_retry_after=10)
        with Loopback(reply(429, Retry_After="11")) as server:
            step = BodyTokenFetcher("a", server.url, "/token", retry_strategy=strategy)
            assert refused(step).__cause__.retry_after == 11
        assert (len(server.requests), clock.slept) == (1, [])

    def test_what_cannot_be_sent_is_not_tried_again(self, clock: Clock) -> None:
        """A malformed request is malformed the next time, too."""
        with Loopback(GOOD) as server:
            step = BodyTokenFetcher(
                *("app_token", server.url, "/token"),
                request_headers={"X-Bad": "a\nb"},
                retry_strategy=SimpleRetryStrategy(),
            )
            refused(step)
        assert (server.requests, clock.slept) == ([], [])

    def test_strategies_of_any_class_work(self, clock: Clock) -> None:
        """An object with the three members of 1.0.0 will do; the usual statuses are retried."""

        class Duck:
            max_retries = 5

            def should_retry(self, context: RequestContext, exception: Exception) -> bool:
                seen.append((context.attempt, type(exception), len(context.history)))
                return True

            def get_delay(self, context: RequestContext) -> float:
                return -1.0 if context.attempt else 2.0

        seen: list[object] = []
        answers = in_turn(reply(500), hang_up, reply(503, Retry_After="61"))
        with Loopback(answers) as server:
            step = BodyTokenFetcher(
                *("a", server.url, "/token"),
                retry_strategy=Duck(),  # type: ignore[arg-type]
            )
            refused(step)
            assert step.fetch_timeout == timedelta(seconds=6 * 30 + 5 * 60)
        assert [entry[0] for entry in seen] == [0, 1, 2]  # type: ignore[index]
        assert clock.slept == [2, 0]

    def test_strategies_hear_of_attempts(self) -> None:
        """`before_attempt` may refuse one; `after_attempt` hears how the others ended."""
        heard: list[object] = []

        class Breaker(SimpleRetryStrategy):
            def before_attempt(self, context: RequestContext) -> None:
                if len(heard) == 2:
                    raise CircuitOpenException("The circuit is open.", retry_after=3)

            def after_attempt(
                self,
                context: RequestContext,
                outcome: HttpResponse | Exception,
            ) -> None:
                heard.append(getattr(outcome, "status_code", type(outcome)))

        strategy = Breaker(delay=0)
        with Loopback(in_turn(reply(500), hang_up, GOOD)) as server:
            step = BodyTokenFetcher("a", server.url, "/token", retry_strategy=strategy)
            error = refused(step)
        assert heard == [500, ConnectionException]
        assert type(error.__cause__) is CircuitOpenException

    @pytest.mark.parametrize("strategy", [True, False], ids=["interface", "any class"])
    def test_strategies_hear_of_attempts_that_were_torn_down(self, strategy: bool) -> None:
        """What is no failure of HTTP passes through, once the strategy has heard of it."""
        heard: list[object] = []

        class Listening(SimpleRetryStrategy):
            def after_attempt(
                self, context: RequestContext, outcome: HttpResponse | BaseException
            ) -> None:
                heard.append((context.origin, type(outcome)))

        class Torn(BodyTokenFetcher):
            def _make_request(self, *args: object, **kwargs: object) -> HttpResponse:
                raise KeyboardInterrupt

        listener = Listening() if strategy else SimpleNamespace(max_retries=1)
        step = Torn(*ENDPOINT, retry_strategy=listener)  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt):
            step.fetch()
        assert heard == ([("https://auth.example.com", KeyboardInterrupt)] if strategy else [])

    def test_a_circuit_breaker_counts_each_attempt_once(self, clock: Clock) -> None:
        """For the origin of the endpoint, which is refused once it has failed often enough."""
        strategy = CircuitBreakerRetryStrategy(max_retries=5, failure_threshold=3)
        with Loopback(reply(503)) as server:
            step = BodyTokenFetcher("a", server.url, "/token", retry_strategy=strategy)
            assert refused(step).__cause__.status_code == 503
            assert strategy.state_of(server.url) == "open"
            assert type(refused(step).__cause__) is CircuitOpenException
            assert len(server.requests) == 3
        assert len(clock.slept) == 2


class TestFetchTimeout:
    @pytest.mark.parametrize(
        ("strategy", "seconds"),
        [
            pytest.param(None, 8, id="one attempt"),
            pytest.param(NoRetryStrategy(), 8, id="no retries"),
            pytest.param(SimpleRetryStrategy(2, 0.5, max_retry_after=0), 25, id="fixed delay"),
            pytest.param(SimpleRetryStrategy(2, 0.5), 24 + 120, id="Retry-After"),
            pytest.param(
                ExponentialBackoffRetryStrategy(2, 1, 70), 24 + 140, id="longest of the backoff"
            ),
        ],
    )
    def test_it_covers_attempts_and_waits(
        self, strategy: RetryStrategyInterface | None, seconds: float
    ) -> None:
        """The timeout of each attempt, and the longest wait before each retry."""
        step = BodyTokenFetcher(*ENDPOINT, timeout=8, retry_strategy=strategy)
        assert step.fetch_timeout == timedelta(seconds=seconds)

    def test_it_is_a_timedelta_whatever_the_numbers(self) -> None:
        """Absurd settings give a long time, no error."""
        strategy = SimpleRetryStrategy(10**9, 10**9)
        step = BodyTokenFetcher(*ENDPOINT, retry_strategy=strategy)
        assert step.fetch_timeout == timedelta(days=365)
