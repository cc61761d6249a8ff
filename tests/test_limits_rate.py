"""The rate limiter: turns in the order of asking, and pauses that answers ask for."""

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles import START, Clock
from requestforge import CapacityException, instrumentation
from requestforge._headers import Headers
from requestforge._limits.rate import RateLimiter

SHOP = "https://shop.example.com"
BANK = "https://bank.example.com"
EPOCH = int(START.timestamp())


@pytest.fixture(autouse=True)
def clock() -> Iterator[Clock]:
    """A clock that stands still until it is moved."""
    with instrumentation.use_clock(Clock()) as clock:
        yield clock


def waits(limiter: RateLimiter, count: int, origin: str = SHOP) -> list[float]:
    """What so many requests at once have to wait."""
    return [round(limiter.reserve(origin), 6) for _ in range(count)]


def pause(status: int, **headers: str) -> float:
    """The wait of a request after an answer with those headers (`_` stands for `-`)."""
    limiter = RateLimiter(1000)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    limiter.heed(SHOP, status, Headers(given))
    assert limiter.reserve(BANK) == 0
    return limiter.reserve(SHOP)


class TestTurns:
    def test_turns_come_at_the_rate(self, clock: Clock) -> None:
        """Each request gets the turn after that of the one before."""
        limiter = RateLimiter(4)
        assert waits(limiter, 4) == [0, 0.25, 0.5, 0.75]
        clock.advance(seconds=0.5)
        assert waits(limiter, 2) == [0.5, 0.75]
        clock.advance(seconds=100)
        assert waits(limiter, 2) == [0, 0.25]

    def test_a_burst_may_go_at_once(self, clock: Clock) -> None:
        """After a pause `burst` requests go at once, and others at the rate."""
        limiter = RateLimiter(10, burst=3)
        assert waits(limiter, 5) == [0, 0, 0, 0.1, 0.2]
        clock.advance(seconds=0.4)
        assert waits(limiter, 3) == [0, 0, 0.1]
        clock.advance(hours=1)
        assert waits(limiter, 4) == [0, 0, 0, 0.1]

    @pytest.mark.parametrize("burst", [1, 2])
    def test_the_slowest_rate_of_all(self, burst: int) -> None:
        """Next to no requests a second are no error: after the burst the wait is years."""
        limiter = RateLimiter(5e-324, burst)
        assert waits(limiter, burst) == [0] * burst
        assert 1e8 < limiter.reserve(SHOP) < math.inf

    def test_each_origin_has_its_turns(self) -> None:
        """Requests to one origin do not wait for those to another."""
        limiter = RateLimiter(1)
        assert waits(limiter, 2, SHOP) == waits(limiter, 2, BANK) == [0, 1]

    def test_a_wait_that_is_too_long_is_refused(self, clock: Clock) -> None:
        """A turn beyond `max_wait` is a CapacityException, and is left to others."""
        limiter = RateLimiter(0.5, max_wait=3)
        assert waits(limiter, 2) == [0, 2]
        for _ in range(3):
            with pytest.raises(CapacityException, match=r"shop\.example\.com would .* wait 4 s"):
                limiter.reserve(SHOP)
        clock.advance(seconds=1)
        assert waits(limiter, 1) == [3]

    def test_without_a_wait_only_what_may_go_at_once_does(self, clock: Clock) -> None:
        """With a `max_wait` of 0 nobody waits, and roundings refuse nobody."""
        limiter = RateLimiter(10, burst=3, max_wait=0)
        assert waits(limiter, 3, "") == [0, 0, 0]
        with pytest.raises(CapacityException, match="the server"):
            limiter.reserve("")
        for _ in range(30):
            clock.advance(seconds=0.1)
            assert waits(limiter, 1, "") == [0]

    def test_a_turn_can_be_given_back(self) -> None:
        """The next request has the turn of one that is not sent."""
        limiter = RateLimiter(1)
        assert waits(limiter, 3) == [0, 1, 2]
        limiter.cancel(SHOP)
        assert waits(limiter, 2) == [2, 3]

    @given(
        steps=st.lists(st.sampled_from([0.0, 0.01, 0.1, 0.5, 3.0]), max_size=60),
        burst=st.integers(1, 5),
    )
    def test_the_rate_holds_over_any_time(self, steps: list[float], burst: int) -> None:
        """Of the requests in any stretch of time, none but `burst` exceed the rate; order stays."""
        with instrumentation.use_clock(Clock()) as clock:
            limiter, sent = RateLimiter(10, burst), []
            for step in steps:
                clock.advance(seconds=step)
                sent.append(clock.monotonic() + limiter.reserve(SHOP))
        assert sent == sorted(sent)
        for first in range(len(sent)):
            for last in range(first, len(sent)):
                allowed = (sent[last] - sent[first]) * 10 + burst
                assert last - first + 1 <= allowed + 1e-3

    def test_another_clock_begins_anew(self, clock: Clock) -> None:
        """Turns by a clock that is not active any more hold nobody up."""
        limiter = RateLimiter(0.1)
        limiter.heed(SHOP, 429, Headers({"Retry-After": "60"}))
        assert waits(limiter, 2) == [60, 70]
        with instrumentation.use_clock(Clock(monotonic=0.0)):
            assert waits(limiter, 2) == [0, 10]
        clock.advance(hours=1)
        assert waits(limiter, 1) == [0]

    def test_origins_beyond_a_thousand_are_forgotten(self) -> None:
        """The origin that was longest not asked for is forgotten."""
        limiter = RateLimiter(0.001, max_wait=0)
        assert waits(limiter, 1) == [0]
        for number in range(1000):
            assert waits(limiter, 1, f"https://{number}.example.com") == [0]
        assert waits(limiter, 1) == [0]

    @pytest.mark.parametrize(
        "wrong",
        [
            pytest.param({"per_second": 0}, id="no rate"),
            pytest.param({"per_second": math.inf}, id="endless rate"),
            pytest.param({"per_second": "10"}, id="text"),
            pytest.param({"per_second": True}, id="no number"),
            pytest.param({"burst": 0}, id="no burst"),
            pytest.param({"burst": 1.5}, id="half a request"),
            pytest.param({"burst": 10**400}, id="huge burst"),
            pytest.param({"per_second": 10**400}, id="huge rate"),
            pytest.param({"max_wait": -1}, id="negative"),
            pytest.param({"max_wait": math.nan}, id="NaN"),
        ],
    )
    def test_impossible_settings_are_refused(self, wrong: dict[str, object]) -> None:
        """A ValueError at construction names the argument."""
        settings: dict[str, object] = {"per_second": 10, **wrong}
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            RateLimiter(**settings)  # type: ignore[arg-type]


class TestPauses:
    @pytest.mark.parametrize(
        ("status", "headers", "seconds"),
        [
            pytest.param(429, {"Retry_After": "7"}, 7, id="Retry-After on 429"),
            pytest.param(503, {"retry_after": "7"}, 7, id="Retry-After on 503"),
            pytest.param(
                503, {"Retry_After": "Tue, 01 Jan 2030 12:00:09 GMT"}, 9, id="Retry-After date"
            ),
            pytest.param(301, {"Retry_After": "7"}, 0, id="Retry-After on another status"),
            pytest.param(429, {}, 0, id="429 alone"),
            pytest.param(429, {"Retry_After": "3600"}, 60, id="longest"),
            pytest.param(
                200, {"RateLimit_Remaining": "0", "RateLimit_Reset": "5"}, 5, id="RateLimit-Reset"
            ),
            pytest.param(
                200, {"RateLimit_Remaining": "1", "RateLimit_Reset": "5"}, 0, id="quota left"
            ),
            pytest.param(200, {"RateLimit_Remaining": "0"}, 0, id="no reset"),
            pytest.param(200, {"RateLimit_Reset": "5"}, 0, id="no remainder"),
            pytest.param(
                200,
                {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": " 2.5 "},
                2.5,
                id="X-RateLimit-Reset as a duration",
            ),
            pytest.param(
                403,
                {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": f"{EPOCH + 8}"},
                8,
                id="X-RateLimit-Reset as an instant",
            ),
            pytest.param(
                200,
                {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": f"{EPOCH * 1000 + 1500}"},
                1.5,
                id="X-RateLimit-Reset in milliseconds",
            ),
            pytest.param(
                200,
                {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": f"{EPOCH - 8}"},
                0,
                id="X-RateLimit-Reset in the past",
            ),
            pytest.param(200, {"RateLimit": '"default";r=0;t=30'}, 30, id="RateLimit"),
            pytest.param(200, {"RateLimit": '"default";r=50;t=30'}, 0, id="RateLimit, quota left"),
            pytest.param(
                200,
                {"RateLimit": '"a";r=5;t=50, "b,;r=0" ; r=0 ; t=20,"c";t=9;r=0'},
                20,
                id="RateLimit of several policies",
            ),
            pytest.param(200, {"RateLimit": "default;r=0;t=30"}, 30, id="RateLimit, name as token"),
            pytest.param(
                200,
                {"RateLimit": "limit=100, remaining=0, reset=12"},
                12,
                id="RateLimit in its earlier form",
            ),
            pytest.param(
                429,
                {"Retry_After": "2", "X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "40"},
                2,
                id="Retry-After before others",
            ),
            pytest.param(
                429,
                {"Retry_After": "soon", "X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "40"},
                40,
                id="Retry-After unreadable",
            ),
        ],
    )
    def test_answers_ask_for_pauses(
        self, status: int, headers: dict[str, str], seconds: float
    ) -> None:
        """A pause lasts as long as the headers of the answer say, 60 seconds at most."""
        assert pause(status, **headers) == pytest.approx(seconds, abs=1e-3)

    @pytest.mark.parametrize("reset", ["", "-5", "5s", "1e9", "NaN", "inf", "0x1", "\u0663", "5,5"])
    @pytest.mark.parametrize("remaining", ["0", "", "-0", "none", "0, 0", "\u0660"])
    def test_malformed_headers_are_ignored(self, remaining: str, reset: str) -> None:
        """What is no number is as if it were not there."""
        for name in ("RateLimit", "X_RateLimit"):
            for values in ((remaining, reset), (remaining, "5"), ("0", reset)):
                if values != ("0", "5"):
                    fields = dict(zip((f"{name}_Remaining", f"{name}_Reset"), values, strict=True))
                    assert pause(200, **fields) == 0

    @pytest.mark.parametrize(
        "value",
        [
            "",
            ",",
            ";",
            "=",
            '"',
            '"a;r=0;t=5',
            '"a";r;t',
            '"a";r=0',
            '"a";t=5',
            'r="0";t="5"',
            "x" * 9,
        ],
    )
    def test_malformed_policies_are_ignored(self, value: str) -> None:
        """A RateLimit that cannot be read asks for nothing."""
        assert pause(200, RateLimit=value) == 0

    @given(value=st.text(st.sampled_from('"\\;,=rt0 9a.')), status=st.sampled_from([200, 429]))
    def test_any_header_can_be_read(self, value: str, status: int) -> None:
        """Whatever a header says, the pause is between 0 and 60 seconds."""
        names = ("Retry_After", "RateLimit", "X_RateLimit_Remaining", "X_RateLimit_Reset")
        assert 0 <= pause(status, **dict.fromkeys(names, value)) <= 60

    def test_no_burst_comes_after_a_pause(self, clock: Clock) -> None:
        """After a pause that was asked for, requests come at the rate, in the order of asking."""
        limiter = RateLimiter(10, burst=5)
        limiter.heed(SHOP, 429, Headers({"Retry-After": "3"}))
        assert waits(limiter, 3) == [3, 3.1, 3.2]
        clock.advance(seconds=3)
        assert waits(limiter, 2) == [0.3, 0.4]
        clock.advance(seconds=60)
        assert waits(limiter, 6) == [0, 0, 0, 0, 0, 0.1]

    def test_a_pause_is_never_shortened(self, clock: Clock) -> None:
        """Of two pauses the one that ends later holds, and turns given back do not end it."""
        limiter = RateLimiter(10)
        for seconds in ("20", "3"):
            limiter.heed(SHOP, 429, Headers({"Retry-After": seconds}))
        clock.advance(seconds=1)
        assert waits(limiter, 1) == [19]
        limiter.cancel(SHOP)
        limiter.cancel(SHOP)
        assert waits(limiter, 1) == [19]

    def test_a_pause_may_be_longer_than_the_longest_wait(self) -> None:
        """A pause longer than `max_wait` refuses requests."""
        limiter = RateLimiter(10, max_wait=5)
        limiter.heed(SHOP, 503, Headers({"Retry-After": "6"}))
        with pytest.raises(CapacityException, match=r"wait 6 s.* longest wait, 5 s"):
            limiter.reserve(SHOP)
