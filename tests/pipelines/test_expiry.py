"""When a token's use ends: ttl, server lifetime, and clocks that misbehave."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from doubles import START, Clock, CountingStep, JsonStorage, RecordingStorage
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from requestforge import InMemoryTokenStorage, TokenData, TokenFetchPipeline
from requestforge.instrumentation import use_clock

pytestmark = pytest.mark.compat

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def one_step(token: TokenData, ttl: timedelta | None) -> CountingStep:
    """A step that always gives that token."""
    step = CountingStep("app", ttl=ttl)
    fetch = step.fetch

    def fixed(context: dict[str, TokenData] | None = None) -> TokenData:
        fetch(context)
        return token

    step.fetch = fixed
    return step


BEFORE = START - MINUTE

# What the fetch gives, the step's ttl, and (expires_at, issued_at, leeway) of what is returned.
TABLE = [
    pytest.param({}, None, (None, None, None), id="no expires_at, no ttl"),
    pytest.param(
        {"issued_at": BEFORE}, None, (None, BEFORE, None), id="no expires_at, no ttl, issued_at"
    ),
    pytest.param({}, HOUR, (START + HOUR, START, timedelta(0)), id="no expires_at, ttl"),
    pytest.param(
        {"issued_at": BEFORE, "leeway": MINUTE},
        HOUR,
        (START + HOUR, START, timedelta(0)),
        id="no expires_at, ttl, issued_at and leeway",
    ),
    pytest.param(
        {"expires_at": START + HOUR}, None, (START + HOUR, START, None), id="expires_at, no ttl"
    ),
    pytest.param(
        {"expires_at": START + HOUR, "issued_at": BEFORE, "leeway": MINUTE},
        None,
        (START + HOUR, BEFORE, MINUTE),
        id="expires_at, no ttl, issued_at and leeway",
    ),
    pytest.param(
        {"expires_at": START + HOUR}, DAY, (START + HOUR, START, None), id="expires_at before ttl"
    ),
    pytest.param(
        {"expires_at": START + HOUR + timedelta(seconds=30)},
        HOUR,
        (START + HOUR + timedelta(seconds=30), START, None),
        id="expires_at less margin is the end of the ttl",
    ),
    pytest.param(
        {"expires_at": START + HOUR + timedelta(seconds=30, microseconds=1)},
        HOUR,
        (START + HOUR, START, timedelta(0)),
        id="expires_at less margin is just after the ttl",
    ),
    pytest.param(
        {"expires_at": START + DAY}, HOUR, (START + HOUR, START, timedelta(0)), id="ttl before"
    ),
    pytest.param(
        {"expires_at": START + DAY, "issued_at": BEFORE, "leeway": MINUTE},
        HOUR,
        (START + HOUR, BEFORE, timedelta(0)),
        id="ttl before expires_at, issued_at and leeway",
    ),
    pytest.param({}, timedelta(0), (START, START, timedelta(0)), id="ttl 0"),
    pytest.param(
        {"expires_at": START + HOUR}, timedelta(0), (START, START, timedelta(0)), id="both, ttl 0"
    ),
    pytest.param(
        {"expires_at": START - HOUR},
        timedelta(0),
        (START, START, timedelta(0)),
        id="already dead, ttl 0",
    ),
    pytest.param(
        {"expires_at": START - HOUR}, HOUR, (START - HOUR, START, None), id="already dead, ttl"
    ),
    pytest.param(
        {"expires_at": datetime.max.replace(tzinfo=UTC)},
        timedelta.max,
        (datetime.max.replace(tzinfo=UTC), START, None),
        id="the last instant there is",
    ),
    pytest.param({}, timedelta.max, (None, None, None), id="a ttl beyond all calendars"),
    pytest.param(
        {"expires_at": datetime.min.replace(tzinfo=UTC)},
        None,
        (datetime.min.replace(tzinfo=UTC), START, None),
        id="the first instant there is",
    ),
]


@pytest.mark.parametrize(("fields", "ttl", "expected"), TABLE)
def test_the_token_returned_stored_and_passed_on(
    fields: dict[str, object],
    ttl: timedelta | None,
    expected: tuple[object, object, object],
    clock: Clock,
) -> None:
    """Ttl and server lifetime together make the expiry of the token, wherever it is seen."""
    del clock
    storage = RecordingStorage()
    user = CountingStep("user", ["app"])
    app = one_step(TokenData("app-1", **fields), ttl)
    TokenFetchPipeline([app, user], storage).execute()
    [context] = user.contexts
    token = context["app"]
    assert (token.expires_at, token.issued_at, token.leeway) == expected
    stored = storage.tokens.get("app")
    if token.expires_at is not None and token.expires_at <= START:
        assert stored is None
    else:
        assert stored == token
        assert (stored.issued_at, stored.leeway) == expected[1:]
    alone = TokenFetchPipeline([one_step(TokenData("app-1", **fields), ttl)], JsonStorage())
    returned = alone.execute()
    assert (returned.expires_at, returned.issued_at, returned.leeway) == expected


@pytest.mark.parametrize(
    ("expires_in", "ttl", "end"),
    [
        pytest.param(None, HOUR, HOUR, id="ttl is exact"),
        pytest.param(None, timedelta(seconds=5), timedelta(seconds=5), id="a short ttl is, too"),
        pytest.param(3600, None, HOUR - timedelta(seconds=30), id="margin of 30 s"),
        pytest.param(100, None, timedelta(seconds=90), id="margin of 10 %"),
        pytest.param(0.5, None, timedelta(seconds=0.45), id="margin of half a second's 10 %"),
        pytest.param(3600, timedelta(minutes=30), timedelta(minutes=30), id="the ttl is earlier"),
        pytest.param(3600, timedelta(hours=3), HOUR - timedelta(seconds=30), id="server is earlier"),
    ],
)
def test_a_token_is_served_until_its_end_of_use(
    expires_in: float | None, ttl: timedelta, end: timedelta, storage: object, clock: Clock
) -> None:
    """A token is served until just before its end, and fetched anew at it."""
    step = CountingStep("app", ttl=ttl, expires_in=expires_in)
    pipeline = TokenFetchPipeline([step], storage)
    pipeline.execute()
    clock.advance(seconds=end.total_seconds() - 0.001)
    assert pipeline.execute().access_token == "app-1"
    clock.advance(seconds=0.001)
    assert pipeline.execute().access_token == "app-2"
    assert pipeline.execute().access_token == "app-2"


def test_no_ttl_and_no_expiry_is_used_until_invalidated(storage: object, clock: Clock) -> None:
    """There is no default ttl."""
    step = CountingStep("app")
    pipeline = TokenFetchPipeline([step], storage)
    pipeline.execute()
    clock.advance(days=10_000)
    assert pipeline.execute().access_token == "app-1"
    pipeline.invalidate_step("app")
    assert pipeline.execute().access_token == "app-2"


def test_ttl_zero_is_fetched_by_every_execution(storage: object, clock: Clock) -> None:
    """A ttl of zero is never stored, and serves the call that fetched it."""
    del clock
    app = CountingStep("app", ttl=timedelta(0))
    user = CountingStep("user", ["app"])
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()
    pipeline.execute()
    assert (app.fetches, user.fetches) == (2, 1)
    assert user.contexts[0]["app"].access_token == "app-1"
    assert not storage.exists("app")


def test_a_server_lifetime_of_zero_serves_the_call_that_fetched_it(
    storage: object, clock: Clock
) -> None:
    """expires_in 0 is a token for one call."""
    del clock
    app = CountingStep("app", expires_in=0)
    user = CountingStep("user", ["app"], expires_in=0)
    pipeline = TokenFetchPipeline([app, user], storage)
    assert pipeline.execute().access_token == "user-1"
    assert pipeline.execute().access_token == "user-2"
    assert user.contexts[1]["app"].access_token == "app-2"


def test_life_counts_from_the_start_of_the_fetch(storage: object, clock: Clock) -> None:
    """A slow fetch uses up the life of its token."""
    step = CountingStep("app", ttl=timedelta(seconds=60), takes=20)
    pipeline = TokenFetchPipeline([step], storage)
    token = pipeline.execute()
    assert token.expires_at == START + timedelta(seconds=60)
    clock.advance(seconds=39)
    assert pipeline.execute().access_token == "app-1"
    clock.advance(seconds=1)
    assert pipeline.execute().access_token == "app-2"


def test_a_token_that_outlives_its_fetch_in_no_time_serves_its_caller(
    storage: object, clock: Clock
) -> None:
    """A token that is dead on arrival serves the call that fetched it, and is not cached."""
    del clock
    app = CountingStep("app", ttl=timedelta(seconds=10), takes=20)
    user = CountingStep("user", ["app"])
    pipeline = TokenFetchPipeline([app, user], storage)
    assert pipeline.execute().access_token == "user-1"
    assert user.contexts[0]["app"].access_token == "app-1"
    assert not storage.exists("app")


def test_an_upstream_that_dies_during_a_later_fetch_still_serves(clock: Clock) -> None:
    """A token just fetched satisfies its dependents, though it ends before they are fetched."""
    del clock
    app = CountingStep("app", ttl=timedelta(seconds=10))
    slow = CountingStep("slow", takes=20)
    user = CountingStep("user", ["app"])
    pipeline = TokenFetchPipeline([app, slow, user], InMemoryTokenStorage())
    pipeline.execute()
    assert user.contexts[0]["app"].access_token == "app-1"
    assert app.fetches == 1


def test_a_cached_upstream_that_dies_during_an_earlier_fetch_is_renewed(clock: Clock) -> None:
    """A cached token that ends while another step is fetched is not handed on dead."""
    slow = CountingStep("slow", ttl=timedelta(seconds=10))
    app = CountingStep("app", ttl=timedelta(seconds=25))
    user = CountingStep("user", ["app"], ttl=timedelta(seconds=10))
    pipeline = TokenFetchPipeline([slow, app, user], InMemoryTokenStorage())
    pipeline.execute()
    clock.advance(seconds=10)
    slow.takes = 20
    assert pipeline.execute().access_token == "user-2"
    assert user.contexts[1]["app"].access_token == "app-2"


def test_natural_expiry_of_an_upstream_leaves_its_dependents(
    storage: object, clock: Clock
) -> None:
    """An upstream is renewed without its dependents, which are renewed when they end."""
    app = CountingStep("app", ttl=timedelta(minutes=15))
    user = CountingStep("user", ["app"], ttl=HOUR)
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()
    clock.advance(minutes=20)
    assert pipeline.execute().access_token == "user-1"
    assert (app.fetches, user.fetches) == (2, 1)


# Clocks


def test_the_wall_clock_set_back_does_not_extend_a_life(storage: object, clock: Clock) -> None:
    """After the wall clock is set back two hours a token still ends after its ttl."""
    step = CountingStep("app", ttl=HOUR)
    pipeline = TokenFetchPipeline([step], storage)
    pipeline.execute()
    clock.set_back(hours=2)
    clock.advance(minutes=59, seconds=59)
    assert pipeline.execute().access_token == "app-1"
    clock.advance(seconds=1)
    assert pipeline.execute().access_token == "app-2"


def test_tokens_fetched_after_the_wall_clock_was_set_back_live_as_long(
    storage: object, clock: Clock
) -> None:
    """What is fetched under the new time lives by it."""
    step = CountingStep("app", ttl=HOUR)
    pipeline = TokenFetchPipeline([step], storage)
    pipeline.execute()
    clock.set_back(hours=2)
    clock.advance(hours=1)
    assert pipeline.execute().access_token == "app-2"
    clock.advance(minutes=59)
    assert pipeline.execute().access_token == "app-2"
    clock.advance(minutes=1)
    assert pipeline.execute().access_token == "app-3"


def test_the_wall_clock_decides_when_it_is_ahead(storage: object, clock: Clock) -> None:
    """A laptop that slept serves no dead token, though the monotonic clock stood still."""
    step = CountingStep("app", ttl=HOUR)
    pipeline = TokenFetchPipeline([step], storage)
    pipeline.execute()
    clock.suspend(hours=1)
    assert pipeline.execute().access_token == "app-2"


def test_only_the_wall_clock_counts_for_tokens_of_other_processes(clock: Clock) -> None:
    """A record that this process did not fetch has no monotonic end."""
    elsewhere = JsonStorage()
    TokenFetchPipeline([CountingStep("app", ttl=HOUR)], elsewhere).execute()
    storage = JsonStorage()
    storage.texts.update(elsewhere.texts)
    step = CountingStep("app", ttl=HOUR)
    pipeline = TokenFetchPipeline([step], storage)
    clock.set_back(hours=2)
    clock.advance(hours=2)
    assert pipeline.execute().access_token == "app-1"
    assert step.fetches == 0


def test_a_clock_put_in_place_makes_no_token_dead(storage: object) -> None:
    """The monotonic end counts only on the clock that it was read from."""
    step = CountingStep("app", ttl=HOUR)
    pipeline = TokenFetchPipeline([step], storage)
    with use_clock(Clock(monotonic=5.0)):
        pipeline.execute()
    with use_clock(Clock(monotonic=1e9)) as other:
        assert pipeline.execute().access_token == "app-1"
        other.advance(minutes=59)
        assert pipeline.execute().access_token == "app-1"
        other.advance(minutes=1)
        assert pipeline.execute().access_token == "app-2"


def test_a_clock_taken_away_makes_no_token_dead(storage: object) -> None:
    """Back on the clock of the machine, the wall clock decides about a token of another clock."""
    step = CountingStep("app", ttl=HOUR)
    pipeline = TokenFetchPipeline([step], storage)
    real = datetime.now(UTC)
    with use_clock(Clock(real, monotonic=-1e9)):
        pipeline.execute()
    assert pipeline.execute().access_token == "app-1"
    with use_clock(Clock(real, monotonic=-1e9)):
        assert pipeline.execute().access_token == "app-1"


@pytest.mark.parametrize(
    "freeze",
    [
        pytest.param(lambda at: freeze_time(at), id="freezegun"),
        pytest.param(lambda at: time_machine.travel(at, tick=False), id="time-machine"),
    ],
)
def test_tools_that_freeze_time_make_no_token_dead(
    freeze: Callable[[datetime], object], storage: object
) -> None:
    """Tokens live through a freeze and a thaw, and end when the frozen time says so."""
    step = CountingStep("app", ttl=HOUR)
    pipeline = TokenFetchPipeline([step], storage)
    now = datetime.fromtimestamp(time.time(), UTC)
    pipeline.execute()
    with freeze(now + timedelta(minutes=59)):
        assert pipeline.execute().access_token == "app-1"
        assert pipeline.execute().access_token == "app-1"
    assert pipeline.execute().access_token == "app-1"
    with freeze(now + timedelta(minutes=61)):
        assert pipeline.execute().access_token == "app-2"
        assert pipeline.execute().access_token == "app-2"
    assert pipeline.execute().access_token == "app-2"


def test_tokens_of_different_clocks_are_cached_together() -> None:
    """Tokens fetched under two clocks each end by the wall clock, and by their own one."""
    with ExitStack() as stack:
        first = stack.enter_context(use_clock(Clock(monotonic=0)))
        app, user = CountingStep("app", ttl=HOUR), CountingStep("user", ["app"], ttl=MINUTE)
        pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage())
        pipeline.execute()
        first.advance(minutes=1)
        with use_clock(Clock(first.now(), monotonic=7e6)) as second:
            for _ in range(3):
                assert pipeline.execute().access_token == "user-2"
            second.advance(seconds=59)
            assert pipeline.execute().access_token == "user-2"
            second.set_back(hours=1)
            second.advance(seconds=1)
            assert pipeline.execute().access_token == "user-3"
        assert pipeline.execute().access_token == "user-4"
    assert app.fetches == 1


def test_a_naive_expiry_is_local_time(monkeypatch: pytest.MonkeyPatch, storage: object) -> None:
    """A fetcher that gives a naive expires_at means local time."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        with use_clock(Clock()) as clock:
            local_end = (START + HOUR).astimezone().replace(tzinfo=None)
            assert local_end.hour == 18
            step = one_step(TokenData("local", expires_at=local_end), None)
            pipeline = TokenFetchPipeline([step], storage)
            assert pipeline.execute().expires_at == local_end
            clock.advance(minutes=59, seconds=29)
            pipeline.execute()
            assert step.fetches == 1
            clock.advance(seconds=1)
            pipeline.execute()
            assert step.fetches == 2
    finally:
        monkeypatch.undo()
        time.tzset()


SECONDS = st.one_of(
    st.none(), st.just(0.0), st.floats(0.001, 1e6, allow_nan=False), st.integers(1, 10**8)
)


@given(SECONDS, SECONDS)
def test_the_earlier_end_holds(ttl: float | None, expires_in: float | None) -> None:
    """Whatever ttl and lifetime, the token is served exactly until the earlier of the two ends."""
    ends = [ttl] if ttl is not None else []
    if expires_in is not None:
        lifetime = timedelta(seconds=expires_in)
        ends.append((lifetime - min(timedelta(seconds=30), lifetime / 10)).total_seconds())
    with use_clock(Clock()) as clock:
        step = CountingStep(
            "app", ttl=None if ttl is None else timedelta(seconds=ttl), expires_in=expires_in
        )
        pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
        pipeline.execute()
        if not ends:
            clock.advance(days=36500)
        elif (end := min(ends)) > 0.001:
            clock.advance(seconds=end - 0.0005)
            pipeline.execute()
            assert step.fetches == 1
        clock.advance(seconds=0.001)
        pipeline.execute()
        assert step.fetches == (2 if ends else 1)
