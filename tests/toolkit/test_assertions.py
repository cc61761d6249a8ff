"""The assertions of the toolkit: what they accept, what they refuse, and how they say it."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
import requests

import pytest_requestforge
from doubles import CountingStep
from pytest_requestforge import Clock, FakeAuth, Recorder
from requestforge import instrumentation
from requestforge.config import TokenData
from requestforge.events import StepInvalidated
from requestforge.fetcher import BodyTokenFetcher
from requestforge.pipelines import TokenFetchPipeline
from requestforge.token_manager import InMemoryTokenStorage

URL = "https://auth.example.com"
CANARY = "canary-5e9d1f"


class WithAppToken(BodyTokenFetcher):
    """A step that sends the app token along."""

    def _build_request_headers(self, context: dict[str, TokenData] | None) -> dict[str, str]:
        tokens = context or {}
        headers = super()._build_request_headers(context)
        return {**headers, "X-App-Token": tokens["app_token"].access_token}


def make_pipeline() -> TokenFetchPipeline:
    """A device token, an app token, and a user token that is bought with the app token."""
    device = BodyTokenFetcher("device_token", URL, "/v1/device", ttl=timedelta(days=30))
    app = BodyTokenFetcher(
        "app_token", URL, "/v1/app/token", request_data={"client_secret": CANARY}
    )
    user = WithAppToken(
        "user_token",
        URL,
        "/v1/user/token",
        ttl=timedelta(minutes=30),
        depends_on=["app_token"],
    )
    return TokenFetchPipeline([device, app, user], InMemoryTokenStorage())


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock for the library alone."""
    with Clock(freeze=False) as clock:
        yield clock


@pytest.fixture
def pipeline() -> TokenFetchPipeline:
    """A pipeline of three steps."""
    return make_pipeline()


@pytest.fixture
def auth(clock: Clock, pipeline: TokenFetchPipeline) -> Iterator[FakeAuth]:  # noqa: ARG001
    """A fake auth server for the pipeline."""
    with FakeAuth(URL, seed=7) as auth:
        auth.serve(pipeline)
        yield auth


@pytest.fixture
def recorder(auth: FakeAuth) -> Iterator[Recorder]:  # noqa: ARG001 - its pipeline needs it
    """A recorder of the library's own word."""
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(params=["auth", "recorder"])
def witness(request: pytest.FixtureRequest) -> FakeAuth | Recorder:
    """Each of those who can be asked."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def failure_of(call: Callable[[], object]) -> str:
    """The text of the AssertionError that a call raises."""
    with pytest.raises(AssertionError) as caught:
        call()
    return str(caught.value)


def headline_of(call: Callable[[], object]) -> str:
    """Its first line."""
    return failure_of(call).splitlines()[0]


STORY = """\
token fetch counts differ: app_token fetched 2 times, expected 1
  after a while
  step            expected  fetched  cache hits   last token
  device_token           -        1           2   device_token#1 (expires 2030-01-31 00:00:00)
  app_token              1        2           1   app_token#2 (expires 01:00:31)
  user_token             -        2           1   user_token#2 (expires 00:30:31)
  timeline (virtual time from 2030-01-01T00:00:00Z)
    #1 +0.0s   POST /v1/device      200 issued device_token#1  MainThread  cache empty
    #2 +0.0s   POST /v1/app/token   200 issued app_token#1     MainThread  cache empty
    #3 +0.0s   POST /v1/user/token  200 issued user_token#1    MainThread  \
cache empty, sent app_token#1
       +31.0s  invalidate_step("app_token") at HERE, cleared app_token, user_token
    #4 +31.0s  POST /v1/app/token   200 issued app_token#2     MainThread  \
<-- extra: app_token#1 had 3569 s to live
    #5 +31.0s  POST /v1/user/token  200 issued user_token#2    MainThread  \
cascade of #4, sent app_token#2
  seed 7, transport inprocess"""


def test_a_failure_tells_the_whole_story(
    auth: FakeAuth, pipeline: TokenFetchPipeline, clock: Clock
) -> None:
    """A table of the steps, what happened when and why, and how to have it again."""
    pipeline.execute()
    pipeline.execute()
    clock.advance(31)
    pipeline.invalidate_step("app_token")
    pipeline.execute()
    text = failure_of(lambda: auth.assert_fetch_counts(app_token=1, info="after a while"))
    assert re.sub(r"test_assertions\.py:\d+", "HERE", text) == STORY


def test_a_recorder_tells_the_same_story(
    recorder: Recorder, pipeline: TokenFetchPipeline, clock: Clock
) -> None:
    """Without a server the fetches are what the library tells."""
    pipeline.execute()
    clock.advance(31)
    pipeline.execute(force_refresh=True)
    text = failure_of(lambda: recorder.assert_fetch_counts(app_token=1))
    assert text.splitlines()[:2] + text.splitlines()[3:5] == [
        "token fetch counts differ: app_token fetched 2 times, expected 1",
        "  step            expected  fetched  cache hits   last token",
        "  app_token              1        2           0   app_token#2 (use ends 01:00:01)",
        "  user_token             -        2           0   user_token#2 (use ends 00:30:31)",
    ]
    assert "forced  <-- extra: app_token#1 had 3539 s to live" in text


def test_a_failure_shows_no_secret(auth: FakeAuth, pipeline: TokenFetchPipeline) -> None:
    """Neither tokens nor what bought them stand in the text."""
    token = pipeline.execute()
    requests.post(f"{URL}/v1/app/token?client_secret={CANARY}", timeout=10)
    text = failure_of(auth.assert_no_fetches)
    assert token.access_token not in text
    assert CANARY not in text


def test_right_counts_pass(
    witness: FakeAuth | Recorder, pipeline: TokenFetchPipeline, clock: Clock
) -> None:
    """Every assertion passes where it is right; steps that are not named do not matter."""
    witness.assert_no_fetches()
    witness.assert_fetch_counts(app_token=0)
    pipeline.execute()
    pipeline.execute()
    clock.advance(minutes=30)
    pipeline.execute()
    witness.assert_fetch_counts(app_token=1, user_token=2)
    witness.assert_fetch_order("app_token", "user_token", "user_token")
    witness.assert_cache_hits(app_token=2, user_token=1)
    witness.assert_cache_misses(device_token=1, user_token=2)
    witness.assert_cascade(pipeline, "app_token", clears={"user_token"}, keeps={"device_token"})


@pytest.mark.parametrize(
    ("ask", "headline"),
    [
        pytest.param(
            lambda one: one.assert_fetch_counts(app_token=2, user_token=0, device_token=1),
            "token fetch counts differ: app_token fetched 1 time, expected 2; "
            "user_token fetched 1 time, expected 0",
            id="assert_fetch_counts",
        ),
        pytest.param(
            lambda one: one.assert_fetch_counts({"no-such-step": 1}),
            "token fetch counts differ: no-such-step fetched 0 times, expected 1",
            id="a step never fetched",
        ),
        pytest.param(
            lambda one: one.assert_no_fetches(),
            "tokens were fetched: device_token fetched 1 time, expected 0; "
            "app_token fetched 1 time, expected 0; user_token fetched 1 time, expected 0",
            id="assert_no_fetches",
        ),
        pytest.param(
            lambda one: one.assert_fetch_order("user_token", "app_token"),
            "token fetch order differs: fetched app_token, user_token, "
            "expected user_token, app_token",
            id="assert_fetch_order",
        ),
        pytest.param(
            lambda one: one.assert_fetch_order("other"),
            "token fetch order differs: fetched nothing, expected other",
            id="assert_fetch_order of nothing",
        ),
        pytest.param(
            lambda one: one.assert_cache_hits(app_token=2, user_token=1),
            "token cache hits differ: app_token hit 1 time, expected 2",
            id="assert_cache_hits",
        ),
        pytest.param(
            lambda one: one.assert_cache_misses(app_token=0),
            "token cache misses differ: app_token missed 1 time, expected 0",
            id="assert_cache_misses",
        ),
    ],
)
def test_wrong_counts_fail(
    witness: FakeAuth | Recorder,
    pipeline: TokenFetchPipeline,
    ask: Callable[[FakeAuth | Recorder], None],
    headline: str,
) -> None:
    """The first line of a failure says what was found, and what was expected."""
    pipeline.execute()
    pipeline.execute()
    assert headline_of(lambda: ask(witness)) == headline


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda one: one.assert_fetch_counts(app_token=9, info="INFO"), id="counts"),
        pytest.param(lambda one: one.assert_no_fetches(info="INFO"), id="none"),
        pytest.param(lambda one: one.assert_fetch_order("x", info="INFO"), id="order"),
        pytest.param(lambda one: one.assert_cache_hits(app_token=9, info="INFO"), id="hits"),
        pytest.param(lambda one: one.assert_cache_misses(app_token=9, info="INFO"), id="misses"),
    ],
)
def test_a_failure_has_the_callers_own_text(
    witness: FakeAuth | Recorder,
    pipeline: TokenFetchPipeline,
    ask: Callable[[FakeAuth | Recorder], None],
) -> None:
    """`info` stands below the first line."""
    pipeline.execute()
    assert failure_of(lambda: ask(witness)).splitlines()[1] == "  INFO"


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda one: one.assert_fetch_counts(), id="counts"),
        pytest.param(lambda one: one.assert_fetch_order(), id="order"),
        pytest.param(lambda one: one.assert_cache_hits(), id="hits"),
        pytest.param(lambda one: one.assert_cache_misses({}), id="misses"),
    ],
)
def test_an_assertion_on_nothing_is_an_error(
    witness: FakeAuth | Recorder, ask: Callable[[FakeAuth | Recorder], None]
) -> None:
    """An assertion that names no step could never fail."""
    with pytest.raises(TypeError, match="Name at least one step"):
        ask(witness)


def test_steps_that_are_no_identifiers_come_in_a_mapping(clock: Clock) -> None:
    """A mapping takes any name, also beside keywords, and also `info`."""
    with Recorder() as recorder:
        steps = [CountingStep("app-token"), CountingStep("info"), CountingStep("user")]
        TokenFetchPipeline(steps, InMemoryTokenStorage()).execute()
        clock.advance(1)
        recorder.assert_fetch_counts({"app-token": 1, "info": 1}, user=1)
        recorder.assert_cache_hits({"app-token": 0})
        recorder.assert_cache_misses({"app-token": 1})
        with recorder.expect_fetches({"app-token": 0}, user=0):
            pass
        assert "app-token fetched 1 time, expected 2; user fetched 1 time, expected 3" in (
            headline_of(lambda: recorder.assert_fetch_counts({"app-token": 2}, user=3))
        )


def test_a_block_counts_what_happens_within_it(
    witness: FakeAuth | Recorder, pipeline: TokenFetchPipeline
) -> None:
    """`expect_fetches` looks at its block alone, and blocks nest."""
    pipeline.execute()
    with witness.expect_fetches(app_token=1, user_token=2):
        with witness.expect_fetches(user_token=1):
            pipeline.invalidate_step("user_token")
            pipeline.execute()
        with witness.expect_fetches():
            pipeline.execute()
        pipeline.invalidate_step("app_token")
        pipeline.execute()


def test_a_block_with_other_fetches_fails(
    witness: FakeAuth | Recorder, pipeline: TokenFetchPipeline
) -> None:
    """The failure shows what happened within the block, as numbered from the start."""
    pipeline.execute()

    def block() -> None:
        with witness.expect_fetches(user_token=0, info="INFO"):
            pipeline.invalidate_step("user_token")
            pipeline.execute()

    text = failure_of(block)
    assert text.startswith(
        "token fetch counts differ: user_token fetched 1 time, expected 0\n  INFO\n"
    )
    assert "#3" not in text
    assert "#4" in text
    assert "<-- extra: user_token#1 had 1800 s to live" in text


def test_a_block_without_names_expects_silence(
    witness: FakeAuth | Recorder, pipeline: TokenFetchPipeline
) -> None:
    """`expect_fetches()` fails if any token is fetched."""

    def block() -> None:
        with witness.expect_fetches(info="INFO"):
            pipeline.execute()

    assert failure_of(block).startswith("tokens were fetched: device_token fetched 1 time")


def test_a_block_does_not_hide_its_own_error(auth: FakeAuth) -> None:
    """What goes wrong within the block comes out of it as it is."""
    with pytest.raises(ZeroDivisionError), auth.expect_fetches(app_token=9):
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("fetch", "note"),
    [
        pytest.param(lambda clock: clock.advance(60), "app#1 had 3540 s to live", id="alive"),
        pytest.param(
            lambda clock: clock.advance(3600.26), "app#1 had ended 0.3 s before", id="ended"
        ),
    ],
)
def test_an_extra_fetch_says_how_needless_it_was(
    clock: Clock, fetch: Callable[[Clock], object], note: str
) -> None:
    """It shows what was left of the token before."""
    with FakeAuth() as auth:
        auth.token("app", "POST /token", expires_in=3600)
        requests.post(f"{auth.url}/token", timeout=10)
        fetch(clock)
        requests.post(f"{auth.url}/token", timeout=10)
        assert f"MainThread  <-- extra: {note}\n" in failure_of(
            lambda: auth.assert_fetch_counts(app=1)
        )


def test_an_extra_fetch_of_a_token_without_end(clock: Clock) -> None:  # noqa: ARG001
    """A token that lives until it is revoked has no end to show."""
    with FakeAuth() as auth:
        auth.token("app", "POST /token")
        requests.post(f"{auth.url}/token", timeout=10)
        requests.post(f"{auth.url}/token", timeout=10)
        text = failure_of(lambda: auth.assert_fetch_counts(app=1))
        assert "app#2 (no end)" in text
        assert text.count("<-- extra: app#1 had no end") == 1


def test_the_first_fetch_can_be_extra(auth: FakeAuth, pipeline: TokenFetchPipeline) -> None:
    """Where no fetch is expected, the first one is marked."""
    pipeline.execute()
    assert failure_of(auth.assert_no_fetches).count("<-- extra\n") == 3


def test_a_step_without_a_token_has_none_to_show(auth: FakeAuth) -> None:
    """A dash stands for the last token of a step that got none."""
    requests.get(f"{URL}/v1/app/token", timeout=10)
    text = failure_of(lambda: auth.assert_fetch_counts(app_token=0))
    assert "  app_token           0        1           0   -\n" in text


def test_requests_of_others_count_and_are_told(
    auth: FakeAuth, pipeline: TokenFetchPipeline
) -> None:
    """The journal decides on fetches, whoever sent them; where the library disagrees, it says."""
    pipeline.execute()
    requests.post(f"{URL}/v1/app/token", data={"client_secret": CANARY}, timeout=10)
    auth.assert_fetch_counts(app_token=2)
    text = failure_of(lambda: auth.assert_fetch_counts(app_token=1))
    assert (
        "  witnesses disagree: app_token: 2 requests arrived, the library tells of 1 fetch\n"
    ) in text


def test_a_fetch_that_never_arrived_is_told(auth: FakeAuth) -> None:
    """A step that the library says it fetched, but not here, is shown as such."""
    TokenFetchPipeline([CountingStep("other")], InMemoryTokenStorage()).execute()
    text = failure_of(lambda: auth.assert_fetch_counts(other=1))
    assert (
        "  witnesses disagree: other: 0 requests arrived, the library tells of 1 fetch\n"
    ) in text
    assert "witnesses" not in failure_of(lambda: auth.assert_fetch_counts(app_token=1))


def test_refused_requests_count(auth: FakeAuth, pipeline: TokenFetchPipeline) -> None:
    """A request that reached the endpoint counts, whatever the answer."""
    auth.endpoints["app_token"].revoke_all()
    requests.post(f"{URL}/v1/app/token", data={"client_secret": "wrong"}, timeout=10)
    assert auth.fetch_counts == {"app_token": 1}
    pipeline.execute()
    auth.assert_fetch_counts(app_token=2)


def test_resources_are_in_the_timeline_but_are_no_fetches(
    auth: FakeAuth, pipeline: TokenFetchPipeline
) -> None:
    """A request for something else is shown, in full where it went to another host."""
    auth.resource("GET https://api.example.com/me", json={})
    requests.get("https://api.example.com/me", timeout=10)
    auth.assert_no_fetches()
    assert "#1 +0.0s  GET https://api.example.com/me  200" in auth.timeline()
    pipeline.execute()
    assert "GET" not in auth.fetch_counts


def test_fetch_counts_compare_like_a_dict(auth: FakeAuth, pipeline: TokenFetchPipeline) -> None:
    """Endpoints that nobody asked are left out."""
    assert auth.fetch_counts == {}
    pipeline.execute()
    assert auth.fetch_counts == {"device_token": 1, "app_token": 1, "user_token": 1}
    assert auth.fetch_counts != {"device_token": 1, "app_token": 2, "user_token": 1}


def test_a_request_that_waits_is_shown(auth: FakeAuth, pipeline: TokenFetchPipeline) -> None:
    """A request held at the server counts, and has no status yet."""
    with auth.endpoints["device_token"].hold(2):
        thread = threading.Thread(target=pipeline.execute)
        thread.start()
        until_counted(auth)
        text = failure_of(auth.assert_no_fetches)
        requests.post(f"{URL}/v1/device", timeout=10)
        thread.join(10)
    assert re.search(r"#1 \+0\.0s  POST /v1/device  [^0-9]", text)


def until_counted(auth: FakeAuth) -> None:
    """Return once a request has arrived."""
    pause = threading.Event()
    while not auth.fetch_counts:
        pause.wait(0.001)


class Keeps(TokenFetchPipeline):
    """Broken: an invalidation clears nothing."""

    def invalidate_step(self, step_name: str) -> None:
        """Do nothing."""


class TakesTooMuch(TokenFetchPipeline):
    """Broken: an invalidation clears everything."""

    def invalidate_step(self, step_name: str) -> None:
        """Clear all steps."""
        self.invalidate_all()


class Mute:
    """A pipeline of one's own, which tells nobody of its invalidations."""

    step_names = ("app", "user", "device")

    def __init__(self, auth: FakeAuth) -> None:
        self._auth = auth
        self._cache: set[str] = set()

    def execute(self) -> None:
        """Fetch what is not cached."""
        for name in self.step_names:
            if name not in self._cache:
                requests.post(f"{self._auth.url}/{name}", timeout=10)
                self._cache.add(name)

    def invalidate_step(self, step_name: str) -> None:
        """Clear the step, and the user token with the app token."""
        self._cache -= {"app", "user"} if step_name == "app" else {step_name}


def served(kind: type[TokenFetchPipeline], auth: FakeAuth) -> TokenFetchPipeline:
    """A pipeline of that kind with the steps that the auth server knows."""
    steps = [make_pipeline().get_step(name) for name in auth.endpoints]
    return kind([step for step in steps if step is not None], InMemoryTokenStorage())


def test_a_cascade_warms_the_cache_first(
    witness: FakeAuth | Recorder, pipeline: TokenFetchPipeline
) -> None:
    """A pipeline that never ran, or whose tokens are dead, can be asked as well."""
    witness.assert_cascade(pipeline, "user_token", keeps=["app_token", "device_token"])
    witness.assert_fetch_counts(app_token=1, user_token=2, device_token=1)


def test_a_lazy_pipeline_is_judged_by_what_it_tells(auth: FakeAuth) -> None:
    """A step that the next run does not need counts as cleared if it was invalidated."""
    pipeline = served(lambda *given: TokenFetchPipeline(*given, lazy=True), auth)  # type: ignore[arg-type]
    pipeline.execute(force_refresh=True)
    auth.assert_cascade(pipeline, "device_token", keeps={"app_token", "user_token"})
    auth.assert_fetch_counts(device_token=1)


def test_a_pipeline_of_ones_own_is_judged_by_its_fetches(clock: Clock) -> None:  # noqa: ARG001
    """Where nobody tells of invalidations, the next run's requests decide."""
    with FakeAuth() as auth:
        for name in Mute.step_names:
            auth.token(name, f"POST /{name}", expires_in=60)
        auth.assert_cascade(Mute(auth), "app", clears={"user"}, keeps={"device"})
        assert headline_of(lambda: auth.assert_cascade(Mute(auth), "app", keeps={"user"})) == (
            'invalidate_step("app") did not cascade as expected: user was cleared'
        )
        assert headline_of(lambda: auth.assert_cascade(Mute(auth), "app", clears={"device"})) == (
            'invalidate_step("app") did not cascade as expected: device was kept'
        )


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        pytest.param(Keeps, "app_token was kept, user_token was kept", id="no cascade"),
        pytest.param(TakesTooMuch, "device_token was cleared", id="cascade to siblings"),
    ],
)
def test_a_wrong_cascade_fails(auth: FakeAuth, kind: type[TokenFetchPipeline], wrong: str) -> None:
    """What was kept or cleared against expectation is named, with the fetches to prove it."""
    pipeline = served(kind, auth)
    text = failure_of(
        lambda: auth.assert_cascade(
            pipeline, "app_token", clears={"user_token"}, keeps={"device_token"}, info="INFO"
        )
    )
    lines = text.splitlines()
    assert lines[:3] == [
        f'invalidate_step("app_token") did not cascade as expected: {wrong}',
        "  INFO",
        "  step            expected  invalidated  fetched  cache hits   last token",
    ]


class Stale(TokenFetchPipeline):
    """Broken: an invalidation is told of, and does nothing."""

    def invalidate_step(self, step_name: str) -> None:
        """Only say so."""
        at = instrumentation.now()
        instrumentation.emit(StepInvalidated(at=at, pipeline="", step=step_name, cause="call"))


def test_a_cleared_token_that_is_still_served_fails(witness: FakeAuth | Recorder) -> None:
    """An invalidation that does not reach the storage is found out."""
    pipeline = Stale([CountingStep("app_token")], InMemoryTokenStorage())
    with pytest.raises(AssertionError, match="invalidated, and yet served from the cache"):
        witness.assert_cascade(pipeline, "app_token")


def test_a_token_that_is_never_cached_cannot_be_kept(recorder: Recorder) -> None:
    """A step that is fetched anyway is told apart from one that was cleared."""
    steps = [CountingStep("app"), CountingStep("user", ttl=timedelta(0))]
    pipeline = TokenFetchPipeline(steps, InMemoryTokenStorage())
    with pytest.raises(AssertionError, match="user was fetched without being invalidated"):
        recorder.assert_cascade(pipeline, "app", keeps={"user"})


@pytest.mark.parametrize(
    ("named", "message"),
    [
        pytest.param(
            {"clears": {"user"}}, "no step 'user'; it has device_token, app_token", id="?"
        ),
        pytest.param(
            {"clears": ["user_token"], "keeps": ["user_token"]}, "not both: user_token", id="both"
        ),
        pytest.param({"keeps": ["app_token"]}, "not both: app_token", id="keeps itself"),
    ],
)
def test_a_cascade_that_cannot_be_is_an_error(
    auth: FakeAuth, pipeline: TokenFetchPipeline, named: dict[str, Any], message: str
) -> None:
    """Names that the pipeline does not know, or named both ways, are refused before any fetch."""
    with pytest.raises(ValueError, match=message):
        auth.assert_cascade(pipeline, "app_token", **named)
    auth.assert_no_fetches()


@pytest.mark.parametrize(
    ("name", "arguments", "named"),
    [
        pytest.param("assert_fetch_counts", [{"app_token": 1}], {"user_token": 1}, id="counts"),
        pytest.param("assert_fetch_order", ["app_token", "user_token"], {}, id="order"),
        pytest.param("assert_cache_hits", [{"app_token": 0}], {"user_token": 0}, id="hits"),
        pytest.param("assert_cache_misses", [], {"user_token": 1}, id="misses"),
    ],
)
def test_each_assertion_is_a_function_as_well(
    witness: FakeAuth | Recorder,
    pipeline: TokenFetchPipeline,
    name: str,
    arguments: list[Any],
    named: dict[str, int],
) -> None:
    """The functions of the package take first what they ask."""
    ask = getattr(pytest_requestforge, name)
    pipeline.execute()
    ask(witness, *arguments, **named)
    pipeline.execute()
    pipeline.execute(force_refresh=True)
    assert failure_of(lambda: ask(witness, *arguments, **named, info="INFO")).splitlines()[1] == (
        "  INFO"
    )


def test_the_other_assertions_are_functions_as_well(
    witness: FakeAuth | Recorder, pipeline: TokenFetchPipeline
) -> None:
    """So are those without counts."""
    pytest_requestforge.assert_no_fetches(witness)
    block: AbstractContextManager[None] = pytest_requestforge.expect_fetches(witness, app_token=1)
    with block:
        pipeline.execute()
    pytest_requestforge.assert_cascade(
        witness, pipeline, "app_token", clears={"user_token"}, keeps={"device_token"}
    )
    assert "INFO" in failure_of(lambda: pytest_requestforge.assert_no_fetches(witness, info="INFO"))


def test_the_timeline_has_the_servers_reason(auth: FakeAuth) -> None:
    """A refused request shows its status, and why."""
    requests.post(f"{URL}/v1/user/token", timeout=10)
    assert re.search(r"#1 \+0\.0s  POST /v1/user/token  401 \w+", auth.timeline())
