"""What a Recorder keeps of the library's events."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from doubles import CountingStep
from pytest_requestforge import Clock, Recorder
from requestforge import instrumentation
from requestforge.events import RequestSent, StepFailed, StepInvalidated, StepMissed
from requestforge.exceptions import AuthenticationException
from requestforge.instrumentation import emit, now
from requestforge.pipelines import TokenFetchPipeline
from requestforge.token_manager import InMemoryTokenStorage

HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock for the library alone."""
    with Clock(freeze=False) as clock:
        yield clock


@pytest.fixture
def recorder(clock: Clock) -> Iterator[Recorder]:  # noqa: ARG001 - it rules the events' times
    """A recorder that records."""
    with Recorder() as recorder:
        yield recorder


@pytest.fixture
def pipeline() -> TokenFetchPipeline:
    """A user token that is bought with an app token, beside a device token."""
    steps = [
        CountingStep("device_token"),
        CountingStep("app_token", ttl=HOUR),
        CountingStep("user_token", depends_on=["app_token"], ttl=HOUR / 2),
    ]
    return TokenFetchPipeline(steps, InMemoryTokenStorage())


def test_it_counts_what_the_library_did(
    recorder: Recorder, pipeline: TokenFetchPipeline, clock: Clock
) -> None:
    """Hits, misses with their reasons, fetches, and invalidations with their causes, by step."""
    pipeline.execute()
    pipeline.execute()
    clock.advance(minutes=30)
    pipeline.execute()
    pipeline.invalidate_step("app_token")
    pipeline.execute()
    assert recorder.hits == {"device_token": 3, "app_token": 2, "user_token": 1}
    assert recorder.misses == {
        "device_token": {"empty": 1},
        "app_token": {"empty": 1, "invalidated": 1},
        "user_token": {"empty": 1, "expired": 1, "invalidated": 1},
    }
    assert recorder.fetches == {"device_token": 1, "app_token": 2, "user_token": 3}
    assert recorder.invalidations == {"app_token": {"call": 1}, "user_token": {"cascade": 1}}


def test_a_failed_fetch_counts(recorder: Recorder) -> None:
    """A fetch is a fetch, whatever comes of it."""
    step = CountingStep("app_token")
    step.failure = ConnectionError("The server is down.")
    with pytest.raises(AuthenticationException):
        TokenFetchPipeline([step], InMemoryTokenStorage()).execute()
    assert recorder.fetches == {"app_token": 1}
    assert recorder.hits == {}
    missed, failed = recorder.events
    assert isinstance(missed, StepMissed)
    assert isinstance(failed, StepFailed)


def test_it_records_only_while_entered(pipeline: TokenFetchPipeline) -> None:
    """What happens before and after the block is not recorded; what was recorded stays."""
    recorder = Recorder()
    pipeline.execute()
    with recorder:
        pipeline.execute()
    pipeline.execute()
    assert recorder.hits == {"device_token": 1, "app_token": 1, "user_token": 1}


def test_a_mark_divides_the_events(recorder: Recorder, pipeline: TokenFetchPipeline) -> None:
    """`since` gives the events after a mark, in order."""
    pipeline.execute()
    mark = recorder.mark()
    pipeline.invalidate_step("user_token")
    (event,) = recorder.since(mark)
    assert isinstance(event, StepInvalidated)
    assert recorder.events[mark:] == [event]


def test_threads_lose_no_event(recorder: Recorder) -> None:
    """Events of several threads are all recorded."""
    pipeline = TokenFetchPipeline([CountingStep("app_token")], InMemoryTokenStorage())
    pipeline.execute()
    barrier = threading.Barrier(8)

    def execute() -> None:
        barrier.wait(10)
        for _ in range(20):
            pipeline.execute()

    threads = [threading.Thread(target=execute) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert recorder.hits == {"app_token": 160}


def line_of(recorder: Recorder, what: str) -> str:
    """The line of the timeline that has this text, without the outer blanks."""
    (line,) = [line for line in recorder.timeline().splitlines() if what in line]
    return line.strip()


def test_its_timeline_tells_of_the_fetches(
    recorder: Recorder, pipeline: TokenFetchPipeline, clock: Clock
) -> None:
    """A line for each fetch and invalidation, in the order and the time of the clock."""
    pipeline.execute()
    clock.advance(31)
    pipeline.invalidate_step("app_token")
    pipeline.execute(force_refresh=True)
    here = "test_recorder.py:"
    lines = recorder.timeline().splitlines()
    assert here in lines[4]
    lines[4] = lines[4].replace(lines[4][lines[4].index(here) : lines[4].index(",")], "HERE")
    assert lines == [
        "timeline (virtual time from 2030-01-01T00:00:00Z)",
        "  #1 +0.0s   fetch device_token  got device_token#1  MainThread  cache empty",
        "  #2 +0.0s   fetch app_token     got app_token#1     MainThread  cache empty",
        "  #3 +0.0s   fetch user_token    got user_token#1    MainThread  cache empty",
        '     +31.0s  invalidate_step("app_token") at HERE, cleared app_token, user_token',
        "  #4 +31.0s  fetch device_token  got device_token#2  MainThread  forced",
        "  #5 +31.0s  fetch app_token     got app_token#2     MainThread",
        "  #6 +31.0s  fetch user_token    got user_token#2    MainThread  cascade of #5",
    ]


def test_the_timeline_of_nothing_says_so(recorder: Recorder) -> None:
    """Where nothing happened, the timeline is one line."""
    assert recorder.timeline() == "timeline: no request arrived, and nothing was invalidated"


def test_the_timeline_tells_of_a_failure(recorder: Recorder) -> None:
    """A failed fetch shows the sanitised error."""
    instrumentation.emit(
        StepFailed(at=datetime(2030, 1, 1, tzinfo=UTC), pipeline="", step="app", error="401")
    )
    assert line_of(recorder, "#1") == "#1 +0.0s  fetch app  failed: 401  MainThread"


def invalidate_all(pipeline: TokenFetchPipeline) -> None:
    """Give up every token, here and nowhere else in this file."""
    pipeline.invalidate_all()


def test_a_call_that_invalidates_several_steps_is_one_line(
    recorder: Recorder, pipeline: TokenFetchPipeline
) -> None:
    """The line names the function that was called, its caller, and all that it cleared."""
    invalidate_all(pipeline)
    number = invalidate_all.__code__.co_firstlineno + 2
    assert line_of(recorder, "cleared") == (
        f"+0.0s  invalidate_all() at test_recorder.py:{number}, "
        "cleared device_token, app_token, user_token"
    )


def test_calls_from_the_same_place_are_lines_of_their_own(
    recorder: Recorder, pipeline: TokenFetchPipeline
) -> None:
    """A second call on the same line is told of as another one."""
    for _ in range(2):
        invalidate_all(pipeline)
    assert recorder.timeline().count("invalidate_all()") == 2


def invalidated(step: str, cause: str) -> StepInvalidated:
    """An event of the library's own doing."""
    at = datetime(2030, 1, 1, tzinfo=UTC)
    return StepInvalidated(at=at, pipeline="", step=step, cause=cause)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("causes", "line"),
    [
        pytest.param(["refresh", "refresh"], "refresh, cleared app, user", id="refresh"),
        pytest.param(["repair", "cascade"], "chain repair, cleared app, user", id="repair"),
        pytest.param(["cascade", "cascade"], "cascade, cleared app, user", id="cascade alone"),
    ],
)
def test_what_the_library_gives_up_itself_has_no_caller(
    recorder: Recorder, causes: list[str], line: str
) -> None:
    """Refreshes and repairs are told of by name."""
    for step, cause in zip(("app", "user"), causes, strict=True):
        instrumentation.emit(invalidated(step, cause))
    assert line_of(recorder, "cleared") == f"+0.0s  {line}"


def test_other_causes_are_lines_of_their_own(recorder: Recorder) -> None:
    """What was given up for different reasons does not stand on one line."""
    for step, cause in (("app", "refresh"), ("user", "repair"), ("device", "refresh")):
        instrumentation.emit(invalidated(step, cause))
    assert recorder.timeline().count("cleared") == 3


def test_a_cascade_belongs_to_the_call_of_its_thread(
    recorder: Recorder, pipeline: TokenFetchPipeline
) -> None:
    """Invalidations of two threads at a time do not mix."""
    other = threading.Thread(target=pipeline.invalidate_step, args=("device_token",))

    def meanwhile(_: object) -> None:
        if not other.ident:
            other.start()
            other.join(10)

    with instrumentation.observe(meanwhile):
        pipeline.invalidate_step("app_token")
    assert "cleared app_token, user_token" in line_of(recorder, '"app_token"')
    assert line_of(recorder, '"device_token"').endswith("cleared device_token")


@pytest.mark.parametrize(
    ("reason", "note"),
    [
        ("empty", "cache empty"),
        ("expired", "cached token expired"),
        ("invalidated", "cached token invalidated"),
        ("forced", "forced"),
        ("unreadable", "cached record unreadable"),
    ],
)
def test_the_timeline_tells_why_a_step_was_fetched(
    recorder: Recorder, reason: str, note: str
) -> None:
    """The reason of the last miss before a fetch stands beside it."""
    at = datetime(2030, 1, 1, tzinfo=UTC)
    for why in ("empty", reason):
        instrumentation.emit(
            StepMissed(at=at, pipeline="", step="app", reason=why)  # type: ignore[arg-type]
        )
    instrumentation.emit(StepFailed(at=at, pipeline="", step="app", error="no"))
    assert line_of(recorder, "#1").endswith(f"MainThread  {note}")


def test_a_dependent_without_its_upstream_names_the_call(
    recorder: Recorder, pipeline: TokenFetchPipeline
) -> None:
    """A step fetched after a cascade whose root was not fetched again names the call."""
    pipeline.execute()
    pipeline.invalidate_step("app_token")
    instrumentation.emit(
        StepFailed(
            at=instrumentation.now(), pipeline="", step="user_token", error="nobody asked the root"
        )
    )
    assert line_of(recorder, "#4").endswith('cascade of invalidate_step("app_token")')


def test_a_long_timeline_is_shortened(recorder: Recorder) -> None:
    """Of very many lines the first and the last are shown."""
    at = datetime(2030, 1, 1, tzinfo=UTC)
    for _ in range(205):
        instrumentation.emit(StepFailed(at=at, pipeline="", step="app", error="no"))
    lines = recorder.timeline().splitlines()
    assert len(lines) == 1 + 200 + 1
    assert lines[50].startswith("  #50")
    assert lines[51] == "  ... 5 lines left out"
    assert lines[52].startswith("  #56")
    assert lines[-1].startswith("  #205")


def test_a_library_function_may_be_a_threads_target(
    recorder: Recorder, pipeline: TokenFetchPipeline
) -> None:
    """Then the caller is whatever runs the thread."""
    thread = threading.Thread(target=pipeline.invalidate_all)
    thread.start()
    thread.join(10)
    assert "invalidate_all() at threading.py:" in line_of(recorder, "cleared")


def test_the_timeline_starts_with_what_happened_first(
    recorder: Recorder, pipeline: TokenFetchPipeline
) -> None:
    """Also if the clock is set back, and whatever comes later seems to be earlier."""
    with Clock(freeze=False) as clock:
        pipeline.execute()
        clock.move_to("2029-12-31T23:59:00Z")
        pipeline.invalidate_all()
    assert recorder.timeline().startswith("timeline (virtual time from 2030-01-01T00:00:00Z)")
    assert line_of(recorder, "fetch device_token").startswith("#1 +0.0s")
    assert "-60.0s" in line_of(recorder, "cleared")


def test_it_counts_the_retries_of_clients(recorder: Recorder) -> None:
    """By request, from the attempts that the library tells of; one without a retry is left out."""
    for url, attempts in (
        ("https://api.example.com/flaky", 3),
        ("https://api.example.com/fine", 1),
    ):
        for attempt in range(attempts):
            emit(RequestSent(at=now(), request_id="1", method="GET", url=url, attempt=attempt))
    assert recorder.retries == {"GET https://api.example.com/flaky": 2}
