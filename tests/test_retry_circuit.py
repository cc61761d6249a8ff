"""CircuitBreakerRetryStrategy: retries under a circuit breaker, by hand and inside a client."""

import math
from collections.abc import Iterator

import pytest

from doubles import Clock
from loopback import Loopback, reply
from requestforge import (
    AuthenticationException,
    BodyTokenFetcher,
    CircuitBreakerRetryStrategy,
    CircuitOpenException,
    instrumentation,
)
from requestforge.exceptions import (
    ConnectionException,
    HttpClientException,
    NotFoundException,
    RequestBuildException,
    SSLException,
    TimeoutException,
    status_exception,
)
from requestforge.models import HttpMethod, HttpRequest, HttpResponse, RequestContext
from requestforge.retry import State

SHOP = "https://shop.example.com"
REQUEST = HttpRequest(HttpMethod.GET, SHOP)
LATE = TimeoutException("late")


@pytest.fixture(autouse=True)
def clock() -> Iterator[Clock]:
    """A clock that stands still until it is moved."""
    with instrumentation.use_clock(Clock()) as clock:
        yield clock


def by_hand(attempt: int = 0) -> RequestContext:
    """A request whose attempt of that number, counted from 0, has failed outside a client."""
    return RequestContext(REQUEST, attempt=attempt, max_retries=3)


def inside(attempt: int = 0) -> RequestContext:
    """The same inside a client, which says where the attempt went."""
    return RequestContext(REQUEST, attempt=attempt, max_retries=3, origin=SHOP)


def answer(status: int) -> HttpResponse:
    """An answer of that status."""
    return HttpResponse(status, {}, b"", 1.0, SHOP, REQUEST)


class TestRetries:
    @pytest.mark.parametrize(
        ("failure", "is_retried"),
        [
            pytest.param(LATE, True, id="timeout"),
            pytest.param(ConnectionException("reset"), True, id="connection"),
            pytest.param(SSLException("expired"), False, id="TLS"),
            pytest.param(status_exception(503, "busy"), True, id="503"),
            pytest.param(status_exception(429, "too many"), True, id="429"),
            pytest.param(NotFoundException(), False, id="404"),
            pytest.param(AuthenticationException("no token"), False, id="authentication"),
            pytest.param(HttpClientException("too many redirects"), False, id="other"),
        ],
    )
    def test_what_is_retried(self, failure: Exception, *, is_retried: bool) -> None:
        """Failures of the line, but those of TLS, and the retryable statuses."""
        assert CircuitBreakerRetryStrategy().should_retry(by_hand(), failure) is is_retried
        assert CircuitBreakerRetryStrategy().should_retry(inside(), failure) is is_retried

    def test_retries_are_limited(self) -> None:
        """After `max_retries` retries the failure stands."""
        strategy = CircuitBreakerRetryStrategy(max_retries=2)
        asked = [strategy.should_retry(inside(n), LATE) for n in range(4)]
        assert asked == [True, True, False, False]
        assert strategy.max_retries == 2

    def test_delays_grow_by_the_base_delay(self) -> None:
        """The delay before retry n is spread over all of [0, base_delay * (n + 1)]."""
        strategy = CircuitBreakerRetryStrategy(max_retries=4, base_delay=2)
        for attempt, longest in enumerate((2, 4, 6, 8)):
            delays = [strategy.get_delay(inside(attempt)) for _ in range(500)]
            assert 0 <= min(delays) < longest / 2 < max(delays) <= longest
        assert strategy.longest_delay == 8

    def test_what_the_client_asks_for_is_kept(self) -> None:
        """The opt-in for POST, and the longest Retry-After, are attributes."""
        strategy = CircuitBreakerRetryStrategy(retry_non_idempotent=True, max_retry_after=5)
        assert (strategy.retry_non_idempotent, strategy.max_retry_after) == (True, 5.0)

    @pytest.mark.parametrize(
        "wrong",
        [
            pytest.param({"max_retries": -1}, id="negative count"),
            pytest.param({"failure_threshold": 0}, id="no failure"),
            pytest.param({"recovery_timeout": math.nan}, id="NaN"),
            pytest.param({"half_open_max_calls": 0}, id="no probe"),
            pytest.param({"base_delay": "1"}, id="text"),
            pytest.param({"max_retry_after": -1}, id="negative"),
        ],
    )
    def test_impossible_settings_are_refused(self, wrong: dict[str, object]) -> None:
        """A ValueError at construction names the argument."""
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CircuitBreakerRetryStrategy(**wrong)  # type: ignore[arg-type]


class TestByHand:
    def test_each_call_counts_one_failure(self, clock: Clock) -> None:
        """Without an origin in the context, `should_retry` counts, and is False once it is open."""
        strategy = CircuitBreakerRetryStrategy(9, failure_threshold=3)
        assert [strategy.should_retry(by_hand(n), LATE) for n in range(4)] == [
            *(True, True, False, False),
        ]
        assert strategy.state == strategy.state_of("") == "open"
        clock.advance(seconds=30)
        assert strategy.state == "half_open"
        assert not strategy.should_retry(by_hand(), LATE)
        assert strategy.state == "open"

    @pytest.mark.parametrize(
        ("failure", "failures"),
        [
            pytest.param(OSError("foreign"), 2, id="foreign"),
            pytest.param(status_exception(500, "failed"), 2, id="500"),
            pytest.param(status_exception(429, "too many"), 0, id="429"),
            pytest.param(RequestBuildException("no URL"), 1, id="not sent"),
        ],
    )
    def test_what_counts(self, failure: Exception, failures: int) -> None:
        """An answer of another status is a success, and what was never sent is nothing."""
        strategy = CircuitBreakerRetryStrategy()
        strategy.record_failure()
        strategy.should_retry(by_hand(), failure)
        assert strategy.counts("").failures == failures

    def test_it_has_the_members_of_the_breaker(self, clock: Clock) -> None:
        """State, counts, records and resets are those of its breaker."""
        strategy = CircuitBreakerRetryStrategy(3, 2, 30, 1)
        assert strategy.State is State
        strategy.record_failure(SHOP)
        strategy.record_failure(SHOP)
        assert (strategy.state, strategy.state_of(SHOP)) == ("open", "open")
        assert strategy.counts(SHOP).failures == 2
        clock.advance(seconds=30)
        strategy.record_success()
        assert strategy.state == "closed"
        strategy.record_failure()
        strategy.reset()
        assert strategy.counts(SHOP).failures == 0


class TestInside:
    def test_each_exchange_counts_once(self) -> None:
        """The outcome of an exchange counts, by its origin; asking for a retry does not."""
        strategy = CircuitBreakerRetryStrategy()
        context = inside()
        for outcome in (LATE, answer(503), KeyboardInterrupt()):
            strategy.before_attempt(context)
            strategy.after_attempt(context, outcome)
            strategy.after_attempt(context, outcome)
            assert strategy.should_retry(context, LATE)
        assert strategy.counts(SHOP).failures == 2
        strategy.before_attempt(context)
        strategy.after_attempt(context, answer(404))
        assert strategy.counts(SHOP).failures == 0

    def test_an_open_circuit_refuses(self, clock: Clock) -> None:
        """An attempt is refused while the circuit of its origin is open, and none is retried."""
        strategy = CircuitBreakerRetryStrategy(failure_threshold=1)
        context = inside()
        strategy.before_attempt(context)
        strategy.after_attempt(context, LATE)
        assert not strategy.should_retry(context, LATE)
        with pytest.raises(CircuitOpenException) as caught:
            strategy.before_attempt(inside())
        assert (caught.value.origin, caught.value.retry_after) == (SHOP, 30)
        other = RequestContext(REQUEST, origin="https://bank.example.com")
        strategy.before_attempt(other)
        assert strategy.should_retry(other, LATE)
        clock.advance(seconds=30)
        strategy.before_attempt(context)
        assert strategy.counts(SHOP).probes == 1

    def test_exchanges_without_an_end_are_forgotten(self) -> None:
        """Of exchanges whose end nobody tells, only so many are kept; the first ones go first."""
        strategy = CircuitBreakerRetryStrategy()
        first = inside()
        strategy.before_attempt(first)
        for _ in range(5000):
            strategy.before_attempt(inside())
        strategy.after_attempt(first, LATE)
        assert strategy.counts(SHOP).failures == 0
        last = inside()
        strategy.before_attempt(last)
        strategy.after_attempt(last, LATE)
        assert strategy.counts(SHOP).failures == 1

    def test_a_fetcher_counts_each_of_its_attempts_once(self) -> None:
        """Inside a step that fetches, the circuit is that of the token endpoint's origin."""
        strategy = CircuitBreakerRetryStrategy(3, 2, base_delay=0)
        with Loopback(reply(503)) as server:
            step = BodyTokenFetcher("a", server.url, "/token", retry_strategy=strategy)
            with pytest.raises(AuthenticationException):
                step.fetch()
            assert strategy.counts(server.url).failures == 2
            with pytest.raises(AuthenticationException) as caught:
                step.fetch()
        assert type(caught.value.__cause__) is CircuitOpenException
