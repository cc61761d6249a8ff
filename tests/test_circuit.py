"""The circuit breaker on its own: what opens a circuit, what it refuses, and what closes it."""

import math
import pickle
from collections.abc import Iterator

import pytest

from doubles import Clock, recorded
from requestforge import CircuitBreaker, CircuitOpenException, instrumentation
from requestforge.events import CircuitChanged
from requestforge.exceptions import (
    AuthenticationException,
    CapacityException,
    ConnectionException,
    HttpClientException,
    MaxRetryTimeoutException,
    NotFoundException,
    RequestBuildException,
    ServerErrorException,
    SSLException,
    TimeoutException,
)
from requestforge.models import HttpMethod, HttpRequest, HttpResponse
from requestforge.retry import CircuitCounts, State

SHOP = "https://shop.example.com"
BANK = "https://bank.example.com"
STATUSES = (200, 204, 304, 400, 401, 404, 408, 429, 500, 501, 502, 503, 504, 505, 599)


@pytest.fixture(autouse=True)
def clock() -> Iterator[Clock]:
    """A clock that stands still until it is moved."""
    with instrumentation.use_clock(Clock()) as clock:
        yield clock


def answer(status: int) -> HttpResponse:
    """An answer of that status."""
    request = HttpRequest(HttpMethod.GET, SHOP)
    return HttpResponse(status, {}, b"", 1.0, SHOP, request)


def opened(*, probes: int = 3) -> CircuitBreaker:
    """A breaker whose circuit of SHOP has just opened, after one failure, for 30 seconds."""
    breaker = CircuitBreaker(1, 30, probes)
    breaker.record_failure(SHOP)
    return breaker


def is_refused(breaker: CircuitBreaker, origin: str = SHOP) -> bool:
    """Whether the circuit lets no call pass; one that it lets pass is not counted."""
    try:
        breaker.acquire(origin).leave(KeyboardInterrupt())
    except CircuitOpenException:
        return True
    return False


class TestOutcomes:
    def test_statuses(self) -> None:
        """500, 502, 503 and 504 are failures; any other answer is a success."""
        failing = set()
        for status in STATUSES:
            breaker = CircuitBreaker(failure_threshold=1)
            breaker.acquire(SHOP).leave(answer(status))
            if breaker.state_of(SHOP) == "open":
                failing.add(status)
        assert failing == {500, 502, 503, 504}

    @pytest.mark.parametrize(
        ("outcome", "failures"),
        [
            pytest.param(TimeoutException("late"), 2, id="timeout"),
            pytest.param(ConnectionException("reset"), 2, id="connection"),
            pytest.param(SSLException("expired"), 2, id="TLS"),
            pytest.param(MaxRetryTimeoutException("late", 3), 2, id="retries used up"),
            pytest.param(ServerErrorException(status_code=503), 2, id="status 503"),
            pytest.param(NotFoundException(), 0, id="status 404"),
            pytest.param(answer(404), 0, id="answer"),
            pytest.param(RequestBuildException("no URL"), 1, id="not built"),
            pytest.param(AuthenticationException("no token"), 1, id="no token"),
            pytest.param(CapacityException("no room"), 1, id="no room"),
            pytest.param(HttpClientException("too many redirects"), 1, id="other"),
            pytest.param(LookupError(), 1, id="foreign"),
            pytest.param(KeyboardInterrupt(), 1, id="cancelled"),
        ],
    )
    def test_what_counts(self, outcome: object, failures: int) -> None:
        """Of what follows a failure, one adds to it, a success resets it, the rest is neither."""
        breaker = CircuitBreaker()
        breaker.record_failure(SHOP)
        breaker.acquire(SHOP).leave(outcome)
        assert breaker.counts(SHOP) == CircuitCounts(failures=failures, successes=0, probes=0)

    @pytest.mark.parametrize(
        ("error", "failures"),
        [
            pytest.param(TimeoutException("late"), 2, id="timeout"),
            pytest.param(ServerErrorException(), 2, id="status 500"),
            pytest.param(NotFoundException(), 0, id="status 404"),
            pytest.param(HttpClientException("too many redirects"), 2, id="other"),
            pytest.param(LookupError(), 2, id="foreign"),
            pytest.param(RequestBuildException("no URL"), 1, id="not built"),
            pytest.param(CircuitOpenException("another one"), 1, id="another circuit"),
            pytest.param(KeyboardInterrupt(), 1, id="cancelled"),
        ],
    )
    def test_what_counts_of_a_block(self, error: BaseException, failures: int) -> None:
        """An exception that leaves a guarded block passes, and is a failure unless it says more."""
        breaker = CircuitBreaker()
        breaker.record_failure(SHOP)
        with pytest.raises(type(error)), breaker.guard(SHOP):
            raise error
        assert breaker.counts(SHOP).failures == failures

    def test_a_block_that_ends_is_a_success(self) -> None:
        """Leaving a guarded block without an exception resets the count."""
        breaker = CircuitBreaker()
        breaker.record_failure("")
        with breaker.guard():
            assert breaker.counts("").failures == 1
        assert breaker.counts("").failures == 0

    def test_a_call_is_counted_once(self) -> None:
        """Only the first report of a permit counts."""
        breaker = CircuitBreaker()
        permit = breaker.acquire(SHOP)
        for _ in range(3):
            permit.leave(TimeoutException("late"))
        assert breaker.counts(SHOP).failures == 1


class TestClosed:
    def test_failures_in_a_row_open_it(self, clock: Clock) -> None:
        """As many failures as `failure_threshold`, without a success among them, open a circuit."""
        breaker = CircuitBreaker(failure_threshold=3)
        states = []
        for failed in (True, True, False, True, True, True):
            breaker.acquire(SHOP).leave(answer(503 if failed else 200))
            states.append(breaker.state_of(SHOP))
            clock.advance(hours=1 if len(states) < 6 else 0)
        assert states == ["closed"] * 5 + ["open"]

    def test_calls_pass(self) -> None:
        """A closed circuit lets any number of calls pass at once."""
        breaker = CircuitBreaker(half_open_max_calls=1)
        for _ in range(100):
            breaker.acquire(SHOP)
        assert breaker.counts(SHOP) == CircuitCounts(failures=0, successes=0, probes=0)

    def test_each_origin_has_its_circuit(self) -> None:
        """What one origin does is not held against another one."""
        breaker = opened()
        assert is_refused(breaker, SHOP)
        assert not is_refused(breaker, BANK)
        assert not is_refused(breaker, "")
        assert (breaker.state_of(SHOP), breaker.state_of(BANK)) == ("open", "closed")

    def test_an_origin_has_one_spelling(self) -> None:
        """Any URL of an origin names its circuit."""
        breaker = CircuitBreaker()
        breaker.acquire(SHOP).leave(answer(503))
        breaker.record_failure("HTTPS://shop.example.com:443/")
        with pytest.raises(LookupError), breaker.guard("https://user:secret@Shop.example.com/cart"):
            raise LookupError
        assert breaker.counts(f"{SHOP}/orders?page=2").failures == 3
        assert breaker.state_of("payments") == "closed"


class TestOpen:
    def test_calls_are_refused(self, clock: Clock) -> None:
        """An open circuit refuses calls, and tells whose it is and when the next may be tried."""
        breaker = opened()
        clock.advance(seconds=10)
        with pytest.raises(CircuitOpenException) as caught:
            breaker.acquire(SHOP)
        error = pickle.loads(pickle.dumps(caught.value))
        assert (error.origin, error.retry_after) == (SHOP, 20)
        assert "https://shop.example.com has failed" in str(error)
        assert "in 20 s" in str(error)

    def test_a_block_is_not_entered(self, clock: Clock) -> None:
        """A guarded block does not run while the circuit is open."""
        breaker = CircuitBreaker(failure_threshold=1)
        entered = []

        @breaker.guard()
        def call() -> None:
            entered.append("entered")
            raise LookupError

        for error in (LookupError, CircuitOpenException, CircuitOpenException):
            with pytest.raises(error):
                call()
        assert entered == ["entered"]
        assert breaker.state_of("") == State.OPEN

    def test_reports_change_nothing(self, clock: Clock) -> None:
        """Neither a success nor a failure moves an open circuit, or puts the first probe off."""
        breaker = opened()
        clock.advance(seconds=29)
        breaker.record_failure(SHOP)
        breaker.record_success(SHOP)
        assert breaker.state_of(SHOP) == "open"
        clock.advance(seconds=1)
        assert breaker.state_of(SHOP) == "half_open"

    def test_a_late_report_changes_nothing(self, clock: Clock) -> None:
        """A call that began before the circuit opened counts neither then nor after it closed."""
        breaker = CircuitBreaker(failure_threshold=2, half_open_max_calls=1)
        late = [breaker.acquire(SHOP) for _ in range(4)]
        breaker.record_failure(SHOP)
        breaker.record_failure(SHOP)
        late.pop().leave(answer(200))
        assert breaker.state_of(SHOP) == "open"
        clock.advance(seconds=30)
        late.pop().leave(answer(200))
        assert breaker.counts(SHOP).successes == 0
        breaker.acquire(SHOP).leave(answer(200))
        for permit in late:
            permit.leave(answer(503))
        assert breaker.state_of(SHOP) == "closed"
        assert breaker.counts(SHOP).failures == 0

    @pytest.mark.parametrize("monotonic", [0.0, 5000.0])
    def test_another_clock_keeps_no_circuit_open(self, monotonic: float) -> None:
        """Readings of another clock do not compare: a probe finds out."""
        breaker = opened()
        with instrumentation.use_clock(Clock(monotonic=monotonic)):
            assert breaker.state_of(SHOP) == "half_open"
            assert not is_refused(breaker)


class TestHalfOpen:
    def test_a_few_probes_pass_at_once(self, clock: Clock) -> None:
        """`half_open_max_calls` calls pass, others are refused until one has reported."""
        breaker = opened(probes=2)
        clock.advance(seconds=30)
        first, _ = breaker.acquire(SHOP), breaker.acquire(SHOP)
        assert breaker.counts(SHOP) == CircuitCounts(failures=1, successes=0, probes=2)
        assert is_refused(breaker)
        first.leave(answer(200))
        assert breaker.counts(SHOP) == CircuitCounts(failures=1, successes=1, probes=1)
        assert not is_refused(breaker)

    def test_successes_close_it(self, clock: Clock) -> None:
        """As many successes as probes may pass at once close the circuit."""
        breaker = opened()
        clock.advance(seconds=30)
        states = []
        for _ in range(3):
            breaker.acquire(SHOP).leave(answer(404))
            states.append(breaker.state_of(SHOP))
        assert states == ["half_open", "half_open", "closed"]
        assert breaker.counts(SHOP) == CircuitCounts(failures=0, successes=0, probes=0)

    def test_one_failure_opens_it_again(self, clock: Clock) -> None:
        """A failed probe opens the circuit anew for all the time, whatever others report."""
        breaker = opened()
        clock.advance(seconds=31)
        first, second = breaker.acquire(SHOP), breaker.acquire(SHOP)
        first.leave(TimeoutException("late"))
        second.leave(answer(200))
        assert breaker.counts(SHOP).probes == 0
        clock.advance(seconds=29.9)
        assert is_refused(breaker)
        clock.advance(seconds=0.2)
        assert breaker.state_of(SHOP) == "half_open"
        assert breaker.counts(SHOP).successes == 0

    def test_a_cancelled_probe_makes_room(self, clock: Clock) -> None:
        """A probe that was cancelled counts as neither, and another one may pass."""
        breaker = opened(probes=1)
        clock.advance(seconds=30)
        with pytest.raises(GeneratorExit), breaker.guard(SHOP):
            raise GeneratorExit
        assert breaker.counts(SHOP) == CircuitCounts(failures=1, successes=0, probes=0)
        assert not is_refused(breaker)

    def test_a_probe_that_does_not_report_makes_room(self, clock: Clock) -> None:
        """After `recovery_timeout` a probe keeps nobody out any more."""
        breaker = opened(probes=1)
        clock.advance(seconds=30)
        breaker.acquire(SHOP)
        clock.advance(seconds=29)
        with pytest.raises(CircuitOpenException) as caught:
            breaker.acquire(SHOP)
        assert caught.value.retry_after == 1
        clock.advance(seconds=1)
        assert breaker.counts(SHOP).probes == 0
        breaker.acquire(SHOP).leave(answer(200))
        assert breaker.state_of(SHOP) == "closed"

    def test_a_probe_that_fails_late_opens_it_again(self, clock: Clock) -> None:
        """A probe that times out after `recovery_timeout` has failed like any other."""
        breaker = opened(probes=1)
        clock.advance(seconds=30)
        late = breaker.acquire(SHOP)
        clock.advance(seconds=30)
        next_one = breaker.acquire(SHOP)
        late.leave(TimeoutException("late"))
        assert breaker.state_of(SHOP) == "open"
        clock.advance(seconds=29)
        next_one.leave(answer(200))
        assert is_refused(breaker)
        clock.advance(seconds=1)
        next_one = breaker.acquire(SHOP)
        assert breaker.counts(SHOP) == CircuitCounts(failures=1, successes=0, probes=1)

    @pytest.mark.parametrize("seconds", [30, 45])
    def test_slow_successes_close_it(self, clock: Clock, seconds: int) -> None:
        """Probes that succeed after `recovery_timeout` count."""
        breaker = opened(probes=2)
        clock.advance(seconds=30)
        for _ in range(2):
            assert breaker.state_of(SHOP) == "half_open"
            slow = breaker.acquire(SHOP)
            clock.advance(seconds=seconds)
            slow.leave(answer(200))
        assert breaker.state_of(SHOP) == "closed"

    def test_without_recovery_timeout_it_never_refuses(self, clock: Clock) -> None:
        """With a `recovery_timeout` of 0 a circuit that opens is half-open at once."""
        breaker = CircuitBreaker(1, 0, 2)
        breaker.record_failure(SHOP)
        first, *others = [breaker.acquire(SHOP) for _ in range(9)]
        assert breaker.state_of(SHOP) == "half_open"
        first.leave(answer(503))
        assert not is_refused(breaker)
        for permit in others:
            permit.leave(answer(200))
        assert breaker.counts(SHOP).successes == 0
        for _ in range(2):
            assert breaker.state_of(SHOP) == "half_open"
            breaker.acquire(SHOP).leave(answer(200))
        assert breaker.state_of(SHOP) == "closed"


class TestByHand:
    def test_state_is_the_worst_of_all(self, clock: Clock) -> None:
        """`state` is open if any circuit is, else half-open if any is, else closed."""
        breaker = CircuitBreaker(1, 30, 1)
        assert [breaker.state] == [State.CLOSED] == ["closed"]
        breaker.record_failure(SHOP)
        breaker.record_success(BANK)
        assert [breaker.state] == [State.OPEN] == ["open"]
        clock.advance(seconds=30)
        assert [breaker.state] == [State.HALF_OPEN] == ["half_open"]
        breaker.record_failure(BANK)
        assert breaker.state == "open"
        breaker.reset(BANK)
        breaker.record_success(SHOP)
        assert breaker.state == "closed"

    def test_the_states_have_one_home(self) -> None:
        """`CircuitBreaker.State` is `State`, and prints as its text."""
        assert CircuitBreaker.State is State
        assert [str(state) for state in State] == ["closed", "open", "half_open"]

    def test_without_an_origin_all_are_meant(self, clock: Clock) -> None:
        """Without an origin, records and resets go to all circuits, also of origins to come."""
        breaker = CircuitBreaker(2, 30, 1)
        breaker.record_failure(SHOP)
        breaker.record_failure()
        assert (breaker.state_of(SHOP), breaker.counts(BANK).failures) == ("open", 1)
        breaker.record_failure()
        assert is_refused(breaker, BANK)
        clock.advance(seconds=30)
        assert breaker.state_of("https://new.example.com") == "half_open"
        breaker.record_success()
        assert breaker.state == "closed"
        breaker.record_failure()
        breaker.reset()
        assert {breaker.counts(each).failures for each in (SHOP, BANK, "")} == {0}

    def test_with_nothing_known_there_is_one_circuit(self, clock: Clock) -> None:
        """Used by hand alone, without origins, a breaker is one circuit, of which all is told."""
        breaker = CircuitBreaker(2, 30, 1)
        with recorded() as events:
            breaker.record_failure()
            assert (breaker.state, breaker.counts("").failures) == ("closed", 1)
            breaker.record_failure()
            assert (breaker.state, breaker.state_of("")) == ("open", "open")
            clock.advance(seconds=30)
            breaker.record_success()
        assert breaker.state == "closed"
        assert changes(events) == [
            ("", "closed", "open"),
            ("", "open", "half_open"),
            ("", "half_open", "closed"),
        ]

    def test_a_reset_forgets_what_is_under_way(self, clock: Clock) -> None:
        """Calls that began before a reset do not count after it."""
        breaker = opened()
        clock.advance(seconds=30)
        probe = breaker.acquire(SHOP)
        breaker.reset(SHOP)
        probe.leave(answer(503))
        assert breaker.state_of(SHOP) == "closed"
        assert breaker.counts(SHOP).failures == 0

    @pytest.mark.parametrize(
        "wrong",
        [
            pytest.param({"failure_threshold": 0}, id="no failure"),
            pytest.param({"failure_threshold": 2.5}, id="half a failure"),
            pytest.param({"half_open_max_calls": 0}, id="no probe"),
            pytest.param({"half_open_max_calls": True}, id="no count"),
            pytest.param({"recovery_timeout": -1}, id="negative"),
            pytest.param({"recovery_timeout": math.inf}, id="endless"),
            pytest.param({"recovery_timeout": "30"}, id="text"),
            pytest.param({"recovery_timeout": 10**400}, id="more than a float"),
            pytest.param({"recovery_timeout": -(10**400)}, id="less than a float"),
            pytest.param({"failure_threshold": 10**400}, id="more than a size"),
            pytest.param({"half_open_max_calls": -(10**9999)}, id="without a text"),
        ],
    )
    def test_impossible_settings_are_refused(self, wrong: dict[str, object]) -> None:
        """A ValueError at construction names the argument."""
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CircuitBreaker(**wrong)  # type: ignore[arg-type]

    @pytest.mark.parametrize("origin", [None, 5, b"https://user:CANARY@shop"])
    @pytest.mark.parametrize("use", ["guard", "state_of", "counts", "retry_after"])
    def test_an_origin_is_a_text(self, origin: object, use: str) -> None:
        """Anything else is refused with an error that names the argument, and not its value."""
        breaker = CircuitBreaker()
        with pytest.raises(TypeError, match="origin must be a str, not a") as caught:
            getattr(breaker, use)(origin).__enter__()
        assert "CANARY" not in str(caught.value)


class TestMemory:
    def test_only_so_many_origins_are_remembered(self) -> None:
        """Origins beyond a thousand take the places of those that work, then of closed ones."""
        breaker = CircuitBreaker(failure_threshold=2)
        breaker.record_failure(BANK)
        for _ in range(2):
            breaker.record_failure(SHOP)
        for number in range(3000):
            breaker.acquire(f"https://{number}.example.com").leave(answer(200))
        assert breaker.counts(BANK).failures == 1
        for number in range(1100):
            breaker.record_failure(f"https://{number}.example.com")
        assert breaker.counts(BANK).failures == 0
        assert breaker.state_of(SHOP) == "open"
        for number in range(1100):
            breaker.record_failure(f"https://{number}.example.org")
            breaker.record_failure(f"https://{number}.example.org")
        assert breaker.state_of(SHOP) == "closed"

    def test_a_report_for_a_forgotten_origin_is_dropped(self) -> None:
        """A call whose origin was forgotten meanwhile does not count."""
        breaker = CircuitBreaker()
        permit = breaker.acquire(SHOP)
        for number in range(1100):
            breaker.acquire(f"https://{number}.example.com")
        permit.leave(answer(503))
        assert breaker.counts(SHOP).failures == 0


def changes(events: list[object]) -> list[tuple[str, str, str]]:
    """Origin, state before and state after of each change among the events."""
    return [(e.origin, e.before, e.after) for e in events if isinstance(e, CircuitChanged)]


class TestEvents:
    def test_each_change_is_told(self, clock: Clock) -> None:
        """A CircuitChanged tells of each change of state, once it has happened."""
        breaker = CircuitBreaker(1, 30, 1)
        seen: list[tuple[object, State]] = []

        def look(event: object) -> None:
            seen.append((event, breaker.state_of(SHOP)))

        with instrumentation.observe(look):
            breaker.acquire(SHOP).leave(answer(503))
            clock.advance(seconds=30)
            breaker.acquire(SHOP).leave(answer(503))
            clock.advance(seconds=30)
            breaker.acquire(SHOP).leave(answer(200))
        assert changes([event for event, _ in seen]) == [
            (SHOP, "closed", "open"),
            (SHOP, "open", "half_open"),
            (SHOP, "half_open", "open"),
            (SHOP, "open", "half_open"),
            (SHOP, "half_open", "closed"),
        ]
        assert [state for _, state in seen] == ["open", "half_open", "open", "half_open", "closed"]
        last = seen[-1][0]
        assert isinstance(last, CircuitChanged)
        assert last.at == clock.now()

    def test_reading_the_state_tells_nothing(self, clock: Clock) -> None:
        """A look at a circuit changes nothing, so there is nothing to tell."""
        breaker = opened()
        clock.advance(seconds=30)
        with recorded() as events:
            assert (breaker.state, breaker.state_of(SHOP)) == ("half_open", "half_open")
            assert breaker.counts(SHOP).probes == 0
        assert events == []

    def test_an_observer_may_use_the_breaker(self) -> None:
        """What an observer changes is told after the change that it heard of."""
        breaker = CircuitBreaker(failure_threshold=1)
        heard: list[object] = []

        def close(event: object) -> None:
            heard.append(event)
            breaker.reset()
            heard.append("returned")

        with instrumentation.observe(close):
            breaker.record_failure(SHOP)
        assert [h if isinstance(h, str) else "event" for h in heard] == ["event", "returned"] * 2
        assert changes(heard) == [(SHOP, "closed", "open"), (SHOP, "open", "closed")]
        assert not is_refused(breaker)
