"""The retry strategies: which failures are tried again, and after how many seconds."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requestforge.exceptions import (
    AuthenticationException,
    ConnectionException,
    HttpClientException,
    SSLException,
    TimeoutException,
    status_exception,
)
from requestforge.interfaces import AuthRetryStrategyInterface, RetryStrategyInterface
from requestforge.models import HttpMethod, HttpRequest, HttpResponse, RequestContext
from requestforge.retry import (
    ConditionalAuthRetryStrategy,
    ExponentialAuthRetryStrategy,
    ExponentialBackoffRetryStrategy,
    NoAuthRetryStrategy,
    NoRetryStrategy,
    SimpleAuthRetryStrategy,
    SimpleRetryStrategy,
)

REQUEST = HttpRequest(HttpMethod.GET, "https://api.example.com/")
RETRYABLE = {408, 429, 500, 502, 503, 504}
STATUSES = (200, 301, 400, 401, 403, 404, 408, 409, 425, 429, 500, 501, 502, 503, 504, 599)


def at(attempt: int) -> RequestContext:
    """A request whose attempt of that number, counted from 0, has failed."""
    return RequestContext(REQUEST, attempt=attempt, max_retries=3)


def answer(status: int) -> HttpResponse:
    """An answer of that status."""
    return HttpResponse(status, {}, b"", 1.0, REQUEST.url, REQUEST)


def retried(strategy: RetryStrategyInterface) -> set[int]:
    """The statuses that the strategy retries."""
    return {
        status
        for status in STATUSES
        if strategy.should_retry(at(0), status_exception(status, "failed"))
    }


class TestRequests:
    def test_no_retry_retries_nothing(self) -> None:
        """NoRetryStrategy gives up at once, whatever happened."""
        strategy = NoRetryStrategy(max_retry_after=5)
        assert strategy.max_retries == 0
        assert not strategy.should_retry(at(0), TimeoutException("late"))
        assert strategy.get_delay(at(0)) == 0.0
        assert (strategy.retry_non_idempotent, strategy.max_retry_after) == (False, 5.0)
        assert retried(strategy) == set()

    @pytest.mark.parametrize(
        ("failure", "simple", "exponential"),
        [
            pytest.param(TimeoutException("a"), True, True, id="timeout"),
            pytest.param(ConnectionException("a"), True, True, id="connection"),
            pytest.param(SSLException("a"), False, False, id="TLS"),
            pytest.param(HttpClientException("a"), True, False, id="other of the library"),
            pytest.param(OSError("a"), True, False, id="foreign"),
            pytest.param(AuthenticationException("a"), False, False, id="authentication"),
        ],
    )
    def test_default_failures(self, failure: Exception, *, simple: bool, exponential: bool) -> None:
        """Simple takes any failure but those of TLS, exponential those of the line alone."""
        assert SimpleRetryStrategy().should_retry(at(0), failure) is simple
        assert ExponentialBackoffRetryStrategy().should_retry(at(0), failure) is exponential

    @pytest.mark.parametrize("kind", [SimpleRetryStrategy, ExponentialBackoffRetryStrategy])
    def test_given_types_count_alone(
        self, kind: Callable[..., SimpleRetryStrategy | ExponentialBackoffRetryStrategy]
    ) -> None:
        """Of failures other than statuses, those of the given types are retried."""
        strategy = kind(retryable_exceptions={KeyError, AuthenticationException, SSLException})
        assert strategy.should_retry(at(0), KeyError("a"))
        assert strategy.should_retry(at(0), SSLException("a"))
        assert not strategy.should_retry(at(0), TimeoutException("a"))
        assert not strategy.should_retry(at(0), AuthenticationException("never"))
        assert retried(strategy) == RETRYABLE

    @pytest.mark.parametrize("kind", [SimpleRetryStrategy, ExponentialBackoffRetryStrategy])
    def test_no_types_mean_no_failures(
        self, kind: Callable[..., SimpleRetryStrategy | ExponentialBackoffRetryStrategy]
    ) -> None:
        """An empty set is none, not the default."""
        strategy = kind(retryable_exceptions=set())
        assert not strategy.should_retry(at(0), TimeoutException("a"))

    def test_statuses_are_judged_by_themselves(self) -> None:
        """Statuses follow the default set, the given one, or none, whatever the types say."""
        assert retried(SimpleRetryStrategy()) == RETRYABLE
        assert retried(ExponentialBackoffRetryStrategy()) == RETRYABLE
        assert retried(ExponentialBackoffRetryStrategy(retryable_status_codes=[409])) == {409}
        assert retried(ExponentialBackoffRetryStrategy(retryable_status_codes=())) == set()
        only_timeouts = ExponentialBackoffRetryStrategy(retryable_exceptions=[TimeoutException])
        assert only_timeouts.is_retryable_status(503)
        assert not only_timeouts.is_retryable_status(501)

    @pytest.mark.parametrize("kind", [SimpleRetryStrategy, ExponentialBackoffRetryStrategy])
    def test_retries_are_limited(
        self, kind: Callable[..., SimpleRetryStrategy | ExponentialBackoffRetryStrategy]
    ) -> None:
        """After `max_retries` retries the failure stands."""
        strategy = kind(max_retries=2)
        asked = [strategy.should_retry(at(n), TimeoutException("late")) for n in range(4)]
        assert asked == [True, True, False, False]
        assert strategy.max_retries == 2

    def test_the_last_retry_is_known(self) -> None:
        """`is_max_retry` tells when there are no more."""
        strategy = ExponentialBackoffRetryStrategy(max_retries=2)
        assert [strategy.is_max_retry(at(n)) for n in range(3)] == [False, False, True]

    def test_simple_delays_are_fixed(self) -> None:
        """Each retry waits as long as the one before."""
        strategy = SimpleRetryStrategy(delay=0.25)
        assert [strategy.get_delay(at(n)) for n in range(3)] == [0.25] * 3

    def test_what_the_client_asks_for_is_kept(self) -> None:
        """The opt-in for POST, and the longest Retry-After, are attributes."""
        for kind in (NoRetryStrategy, SimpleRetryStrategy, ExponentialBackoffRetryStrategy):
            assert (kind().retry_non_idempotent, kind().max_retry_after) == (False, 60.0)
            opted = kind(retry_non_idempotent=True, max_retry_after=1)
            assert (opted.retry_non_idempotent, opted.max_retry_after) == (True, 1.0)

    @pytest.mark.parametrize(
        ("wrong", "name"),
        [
            pytest.param({"max_retries": -1}, "max_retries", id="negative count"),
            pytest.param({"max_retries": 1.5}, "max_retries", id="broken count"),
            pytest.param({"max_retries": True}, "max_retries", id="no count"),
            pytest.param({"base_delay": -0.1}, "base_delay", id="negative delay"),
            pytest.param({"base_delay": True}, "base_delay", id="no number"),
            pytest.param({"max_delay": math.inf}, "max_delay", id="endless"),
            pytest.param({"multiplier": math.nan}, "multiplier", id="NaN"),
            pytest.param({"max_retry_after": "60"}, "max_retry_after", id="text"),
            pytest.param({"jitter": "half"}, "jitter", id="jitter"),
        ],
    )
    def test_impossible_settings_are_refused(self, wrong: dict[str, object], name: str) -> None:
        """A ValueError at construction names the argument."""
        with pytest.raises(ValueError, match=name):
            ExponentialBackoffRetryStrategy(**wrong)  # type: ignore[arg-type]


class TestBackoff:
    def test_delays_grow_up_to_the_limit(self) -> None:
        """Without jitter each delay is `multiplier` times the one before, at most `max_delay`."""
        strategy = ExponentialBackoffRetryStrategy(
            base_delay=0.5, max_delay=3, multiplier=2, jitter=False
        )
        assert [strategy.get_delay(at(n)) for n in range(5)] == [0.5, 1, 2, 3, 3]
        assert strategy.longest_delay == 3

    @pytest.mark.parametrize("jitter", [True, False, "equal", "decorrelated"])
    def test_no_base_delay_means_no_delay(self, jitter: object) -> None:
        """A `base_delay` of 0 gives 0, however often it is multiplied."""
        strategy = ExponentialBackoffRetryStrategy(base_delay=0, jitter=jitter)  # type: ignore[arg-type]
        assert {strategy.get_delay(at(n)) for n in (0, 1, 5, 100_000)} == {0.0}

    @given(
        attempt=st.integers(0, 10**6),
        base=st.floats(0, 1e6),
        most=st.floats(0, 1e6),
        multiplier=st.floats(0, 1e3),
        jitter=st.sampled_from([True, False, "equal", "decorrelated"]),
    )
    def test_no_delay_passes_the_limit(
        self, attempt: int, base: float, most: float, multiplier: float, jitter: object
    ) -> None:
        """Whatever the settings and the attempt, a delay is between 0 and `max_delay`."""
        strategy = ExponentialBackoffRetryStrategy(
            base_delay=base,
            max_delay=most,
            multiplier=multiplier,
            jitter=jitter,  # type: ignore[arg-type]
        )
        assert 0 <= strategy.get_delay(at(attempt)) <= most

    @pytest.mark.parametrize(
        ("jitter", "lowest", "highest"),
        [
            pytest.param(True, 0, 4, id="full"),
            pytest.param("equal", 2, 4, id="equal"),
            pytest.param("decorrelated", 1, 27, id="decorrelated"),
        ],
    )
    def test_jitter_spreads_over_its_range(
        self, jitter: object, lowest: float, highest: float
    ) -> None:
        """The third delay, 4 s without jitter, lies in the range, and fills both of its halves."""
        strategy = ExponentialBackoffRetryStrategy(jitter=jitter)  # type: ignore[arg-type]
        delays = [strategy.get_delay(at(2)) for _ in range(2000)]
        assert lowest <= min(delays) < (lowest + highest) / 2 < max(delays) <= highest


class TestAuth:
    def test_none_is_replayed(self) -> None:
        """NoAuthRetryStrategy knows an auth error, and lets it stand."""
        strategy = NoAuthRetryStrategy()
        assert strategy.max_retries == 0
        assert not strategy.should_retry(answer(401), 0)
        assert strategy.get_delay(0) == 0.0
        assert strategy.is_auth_error(answer(401))
        assert not NoAuthRetryStrategy(auth_error_codes=()).is_auth_error(answer(401))

    @pytest.mark.parametrize(
        "kind",
        [SimpleAuthRetryStrategy, ExponentialAuthRetryStrategy, ConditionalAuthRetryStrategy],
    )
    def test_a_refused_credential_is_replayed(
        self, kind: Callable[..., AuthRetryStrategyInterface]
    ) -> None:
        """A status in the codes is an auth error, and is replayed up to `max_retries` times."""
        strategy = kind(max_retries=2)
        assert [strategy.should_retry(answer(401), n) for n in range(3)] == [True, True, False]
        assert not strategy.should_retry(answer(403), 0)
        assert strategy.max_retries == 2
        forbidden = kind(auth_error_codes={403})
        assert forbidden.should_retry(answer(403), 0)
        assert not forbidden.is_auth_error(answer(401))
        assert not kind(auth_error_codes=[]).should_retry(answer(401), 0)

    def test_default_counts(self) -> None:
        """One replay, or two with backoff."""
        assert SimpleAuthRetryStrategy().max_retries == 1
        assert ExponentialAuthRetryStrategy().max_retries == 2
        assert ConditionalAuthRetryStrategy().max_retries == 1

    def test_delays(self) -> None:
        """A fixed delay, or one that grows."""
        assert SimpleAuthRetryStrategy(delay=2).get_delay(7) == 2
        assert ConditionalAuthRetryStrategy(delay=3).get_delay(7) == 3
        growing = ExponentialAuthRetryStrategy(jitter=False)
        assert [growing.get_delay(n) for n in range(5)] == [0.5, 1, 2, 4, 5]
        assert all(ExponentialAuthRetryStrategy().get_delay(1) <= 1 for _ in range(100))

    def test_callables_decide(self) -> None:
        """Both callables are given the answer; what they say goes, within `max_retries`."""
        strategy = ConditionalAuthRetryStrategy(
            should_retry_func=lambda response: response.status_code == 419,
            is_auth_error_func=lambda response: response.status_code == 440,
        )
        assert strategy.should_retry(answer(419), 0)
        assert not strategy.should_retry(answer(419), 1)
        assert not strategy.should_retry(answer(440), 0)
        assert strategy.is_auth_error(answer(440))
        assert not strategy.is_auth_error(answer(401))

    def test_an_auth_error_is_worth_a_replay(self) -> None:
        """Without a callable of its own the replay follows what is an auth error."""
        strategy = ConditionalAuthRetryStrategy(is_auth_error_func=lambda r: r.status_code == 440)
        assert strategy.should_retry(answer(440), 0)
        assert not strategy.should_retry(answer(401), 0)
