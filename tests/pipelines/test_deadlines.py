"""Pipelines, fetchers and providers within the time that a request allows."""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from doubles import Clock, CountingProvider, CountingStep, recorded
from granting import client, user
from loopback import Loopback, in_turn, json_reply, reply, takes_over
from requestforge import (
    AuthenticationException,
    BodyTokenFetcher,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge._deadline import bounded
from requestforge.events import RefreshFailed, StepFailed, StepMissed
from requestforge.exceptions import HttpStatusException, TimeoutException
from requestforge.instrumentation import monotonic, real_monotonic
from requestforge.retry import SimpleRetryStrategy
from requestforge.tokens import TokenData

pytestmark = pytest.mark.compat

GOOD = json_reply({"access_token": "abc", "expires_in": 60})
SOON = 0.3
"""Seconds: the time that is allowed where it is to run out."""
LATE = 3.0
"""Seconds: what that takes at most, on a slow machine, too."""


@contextmanager
def runs_out() -> Iterator[None]:
    """A block with `SOON` seconds, which are over at its end, and not much more."""
    started = real_monotonic()
    with bounded(monotonic() + SOON):
        yield
    assert SOON * 0.9 <= real_monotonic() - started < LATE


def fetcher(server: Loopback, **options: object) -> BodyTokenFetcher:
    """A step of that server."""
    return BodyTokenFetcher("app", server.url, "/token", **options)


def causes(error: BaseException) -> list[type[BaseException]]:
    """The types of what an error came from, the nearest first."""
    found = []
    link = error.__cause__
    while link is not None:
        found.append(type(link))
        link = link.__cause__
    return found


class TestSteps:
    def test_no_step_is_begun_without_time(self, clock: Clock) -> None:
        """Once a step took all the time, the next one is not fetched, and named by the error."""
        app, later = CountingStep("app", takes=5), CountingStep("user", ["app"])
        pipeline = TokenFetchPipeline([app, later], InMemoryTokenStorage())
        with (
            recorded() as events,
            bounded(clock.monotonic() + 5),
            pytest.raises(AuthenticationException, match="time allowed") as caught,
        ):
            pipeline.execute()
        assert caught.value.service_name == "user"
        assert causes(caught.value) == [TimeoutException]
        assert (app.fetches, later.fetches, later.errors) == (1, 0, [])
        assert [e.step for e in events if isinstance(e, StepMissed | StepFailed)] == ["app"]
        assert pipeline.execute().access_token == "user-1"
        assert app.fetches == 1

    def test_a_cached_token_needs_no_time(self, clock: Clock) -> None:
        """What is cached is served after the deadline, too."""
        pipeline = TokenFetchPipeline([CountingStep("app")], InMemoryTokenStorage())
        first = pipeline.execute()
        with bounded(clock.monotonic() - 1):
            assert pipeline.execute() == first
            with recorded():
                assert pipeline.execute() == first

    def test_a_step_that_knows_no_deadline_is_not_cut(
        self, app: CountingStep, clock: Clock
    ) -> None:
        """A late token is given, and cached, like any other."""
        app.takes = 60
        pipeline = TokenFetchPipeline([app], InMemoryTokenStorage())
        with bounded(clock.monotonic() + 5):
            assert pipeline.execute().access_token == "app-1"
        assert pipeline.execute().access_token == "app-1"

    def test_a_late_timeout_is_told_once(self, app: CountingStep, clock: Clock) -> None:
        """A fetch that times out after the deadline fails for its caller as it fails always."""
        app.takes, app.failures = 60, [TimeoutException("Slow.")]
        pipeline = TokenFetchPipeline([app], InMemoryTokenStorage())
        with (
            recorded() as events,
            bounded(clock.monotonic() + 5),
            pytest.raises(AuthenticationException) as caught,
        ):
            pipeline.execute()
        assert caught.value.service_name == "app"
        assert caught.value.__cause__ is app.errors[0]
        assert len(app.errors) == len([e for e in events if isinstance(e, StepFailed)]) == 1

    def test_a_refresh_without_time_fails_and_keeps_the_token(self, clock: Clock) -> None:
        """The failure names the step, is told, and the old token stays."""
        app = CountingStep("app")
        manager = TokenManager(
            PipelineTokenProvider(TokenFetchPipeline([app], InMemoryTokenStorage()), "shop")
        )
        old = manager.get_token()
        with (
            recorded() as events,
            bounded(clock.monotonic()),
            pytest.raises(AuthenticationException) as caught,
        ):
            manager.refresh(old)
        assert caught.value.service_name == "app"
        assert [e.step for e in events if isinstance(e, RefreshFailed)] == ["app"]
        assert manager.get_token() == old
        assert app.fetches == 1


class TestFetchers:
    def test_nothing_is_sent_without_time(self) -> None:
        """A fetcher whose time is over does not even connect."""
        with Loopback(GOOD) as server, fetching(fetcher(server)) as fetch:
            with bounded(monotonic()), pytest.raises(AuthenticationException) as caught:
                fetch()
            assert caught.value.service_name == "app"
            assert causes(caught.value) == [TimeoutException]
            assert "Nothing was sent" in str(caught.value)
            assert server.connections == 0
            assert fetch().access_token == "abc"

    def test_a_stalled_answer_ends_at_the_deadline(self) -> None:
        """What is left of the time bounds an attempt with a longer timeout."""
        with Loopback(b"") as server, fetching(fetcher(server, timeout=30)) as fetch:
            server.answer = takes_over(server.stall())
            with pytest.raises(AuthenticationException) as caught, runs_out():
                fetch()
            assert causes(caught.value)[:1] == [TimeoutException]

    def test_a_dripping_body_ends_at_the_deadline(self) -> None:
        """So is the reading of the body."""
        with Loopback(b"") as server, fetching(fetcher(server, timeout=30)) as fetch:
            server.answer = takes_over(
                server.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"x")
            )
            with pytest.raises(AuthenticationException), runs_out():
                fetch()

    def test_a_shorter_timeout_stays(self) -> None:
        """An attempt with less time than there is left fails by its own timeout."""
        with Loopback(b"") as server, fetching(fetcher(server, timeout=SOON)) as fetch:
            server.answer = takes_over(server.stall())
            started = real_monotonic()
            with bounded(monotonic() + 60), pytest.raises(AuthenticationException) as caught:
                fetch()
            assert real_monotonic() - started < LATE
            assert causes(caught.value)[:1] == [TimeoutException]

    def test_an_answer_in_time_is_read(self) -> None:
        """With time enough a fetch is what it is without a deadline."""
        with Loopback(GOOD) as server, bounded(monotonic() + 10):
            assert fetcher(server, timeout=30).fetch().access_token == "abc"

    @pytest.mark.parametrize("left", [2, 1.5], ids=["as long", "longer"])
    def test_a_wait_past_the_deadline_is_not_begun(self, clock: Clock, left: float) -> None:
        """The failure at hand stands where the pause before a retry would use up all time."""
        with Loopback(in_turn(reply(503), GOOD)) as server:
            step = fetcher(server, retry_strategy=SimpleRetryStrategy(delay=2))
            with (
                bounded(clock.monotonic() + left),
                pytest.raises(AuthenticationException) as caught,
            ):
                step.fetch()
        assert isinstance(caught.value.__cause__, HttpStatusException)
        assert (clock.slept, len(server.requests)) == ([], 1)

    def test_a_wait_within_the_deadline_is_made(self, clock: Clock) -> None:
        """Where time is left after the pause there is another attempt."""
        with Loopback(in_turn(reply(503), GOOD)) as server:
            step = fetcher(server, retry_strategy=SimpleRetryStrategy(delay=2))
            with bounded(clock.monotonic() + 4):
                assert step.fetch().access_token == "abc"
        assert clock.slept == [2]

    def test_a_retry_after_a_cut_attempt_is_not_made(self) -> None:
        """An attempt that used up the time is the last one, without any pause, too."""
        with Loopback(b"") as server:
            server.answer = takes_over(server.stall())
            step = fetcher(server, retry_strategy=SimpleRetryStrategy(delay=0))
            with pytest.raises(AuthenticationException), runs_out():
                step.fetch()
            assert len(server.requests) == 1


class TestProviders:
    @pytest.mark.parametrize("make", [client, user], ids=["client", "user"])
    def test_a_stalled_token_request_ends_at_the_deadline(
        self, make: Callable[[Loopback], object]
    ) -> None:
        """A provider's request is bounded by what is left, too; its own error is raised."""
        with Loopback(b"") as server:
            server.answer = takes_over(server.stall())
            manager = TokenManager(make(server))
            with pytest.raises(AuthenticationException) as caught, runs_out():
                manager.get_token()
        assert caught.value.service_name == "billing"
        assert causes(caught.value)[:1] == [TimeoutException]

    def test_no_provider_is_asked_without_time(self, clock: Clock) -> None:
        """The error is an AuthenticationException that names the service."""
        provider = CountingProvider()
        manager = TokenManager(provider)
        with bounded(clock.monotonic()), pytest.raises(AuthenticationException) as caught:
            manager.get_token()
        assert caught.value.service_name == "shop"
        assert causes(caught.value) == [TimeoutException]
        assert provider.calls == []
        assert manager.get_token().access_token == "token-1"


@contextmanager
def fetching(step: BodyTokenFetcher) -> Iterator[Callable[[], TokenData]]:
    """The step's fetch; its connections are closed at the end."""
    try:
        yield step.fetch
    finally:
        step.close()


def test_the_error_of_a_late_step_can_be_pickled(clock: Clock) -> None:
    """Step and cause arrive on the other side."""
    pipeline = TokenFetchPipeline([CountingStep("app")], InMemoryTokenStorage())
    with bounded(clock.monotonic()), pytest.raises(AuthenticationException) as caught:
        pipeline.execute()
    twin = pickle.loads(pickle.dumps(caught.value))
    assert (str(twin), twin.service_name) == (str(caught.value), "app")
    assert causes(twin) == [TimeoutException]
