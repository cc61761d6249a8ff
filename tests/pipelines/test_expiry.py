"""When a token's use ends: ttl and server lifetime, together and alone."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles import START, Clock, CountingStep, JsonStorage, RecordingStorage
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
        pytest.param(
            3600, timedelta(hours=3), HOUR - timedelta(seconds=30), id="server is earlier"
        ),
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


def test_natural_expiry_of_an_upstream_leaves_its_dependents(storage: object, clock: Clock) -> None:
    """An upstream is renewed without its dependents, which are renewed when they end."""
    app = CountingStep("app", ttl=timedelta(minutes=15))
    user = CountingStep("user", ["app"], ttl=HOUR)
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()
    clock.advance(minutes=20)
    assert pipeline.execute().access_token == "user-1"
    assert (app.fetches, user.fetches) == (2, 1)


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
