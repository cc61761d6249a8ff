"""Each assertion passes on a good pipeline, and fails on the one that is broken in its way."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from pytest_requestforge import Clock, FakeAuth
from requestforge import (
    BodyTokenFetcher,
    InMemoryTokenStorage,
    StepToken,
    TokenFetchPipeline,
    instrumentation,
)
from requestforge.config import TokenData
from requestforge.events import StepInvalidated
from requestforge.exceptions import AuthenticationException

URL = "https://auth.example.com"
CANARY = "canary-secret-of-the-app"
HALF_AN_HOUR = timedelta(minutes=30)


def steps(
    *,
    user_ttl: timedelta | None = HALF_AN_HOUR,
    header: str = "X-App-Token",
    kind: type[BodyTokenFetcher] = BodyTokenFetcher,
) -> list[BodyTokenFetcher]:
    """A device token, an app token, and a user token that is bought with the app token."""
    return [
        BodyTokenFetcher("device_token", URL, "/device", ttl=timedelta(days=30)),
        kind("app_token", URL, "/app", request_data={"client_secret": CANARY}),
        BodyTokenFetcher(
            "user_token",
            URL,
            "/user",
            request_headers={header: StepToken("app_token")},
            ttl=user_ttl,
        ),
    ]


class Forgetful(InMemoryTokenStorage):
    """Broken: a token is stored under a key that nobody reads."""

    def set(self, key: str, token: TokenData) -> None:
        """Store it elsewhere."""
        super().set(f"wrong-{key}", token)

    def compare_and_set(self, key: str, *rest: Any, **how: Any) -> Any:  # noqa: ANN401
        """Store it elsewhere."""
        return super().compare_and_set(f"wrong-{key}", *rest, **how)


class Retrying(BodyTokenFetcher):
    """A step that tries once more."""

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        """The token, of the second attempt if need be."""
        with suppress(AuthenticationException):
            return super().fetch(context)
        return super().fetch(context)


class RetryingTwice(Retrying):
    """Broken: after a failure it fetches twice."""

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        """The token, and another one before it."""
        try:
            return BodyTokenFetcher.fetch(self, context)
        except AuthenticationException:
            BodyTokenFetcher.fetch(self, context)
            return BodyTokenFetcher.fetch(self, context)


class NoCascade(TokenFetchPipeline):
    """Broken: an invalidation clears the step alone."""

    def invalidate_step(self, step_name: str) -> None:
        """Fetch the step again, and nothing else."""
        at = instrumentation.now()
        instrumentation.emit(StepInvalidated(at=at, pipeline="", step=step_name, cause="call"))
        step = self.get_step(step_name)
        if isinstance(step, BodyTokenFetcher):
            step.fetch()


class TakesTooMuch(TokenFetchPipeline):
    """Broken: an invalidation clears everything."""

    def invalidate_step(self, step_name: str) -> None:
        """Clear all steps."""
        self.invalidate_all()


class Stale(TokenFetchPipeline):
    """Broken: an invalidation does nothing."""

    def invalidate_step(self, step_name: str) -> None:
        """Nothing."""


class NeverForced(TokenFetchPipeline):
    """Broken: `force_refresh` reads the cache."""

    def execute(self, force_refresh: bool = False) -> TokenData:
        """What is cached."""
        return super().execute()


class Stampede(TokenFetchPipeline):
    """Broken: each run has a cache of its own."""

    def execute(self, force_refresh: bool = False) -> TokenData:
        """Whatever a new pipeline fetches."""
        return TokenFetchPipeline(steps(), InMemoryTokenStorage()).execute(force_refresh)


class Eager(TokenFetchPipeline):
    """Broken: it fetches what is cached."""

    def execute(self, force_refresh: bool = False) -> TokenData:
        """All of it anew."""
        return super().execute(force_refresh=True)


class Telling(TokenFetchPipeline):
    """Broken: its error tells the secret."""

    def execute(self, force_refresh: bool = False) -> TokenData:
        """A token, or the error with a note."""
        try:
            return super().execute(force_refresh)
        except AuthenticationException as error:
            error.add_note(f"client_secret={CANARY}")
            raise


class Doubting(TokenFetchPipeline):
    """Broken: it looks at the first step once more."""

    def execute(self, force_refresh: bool = False) -> TokenData:
        """A run, and the first steps fetched once more."""
        token = super().execute(force_refresh)
        self.invalidate_step("device_token")
        super().execute()
        return token


def good(made: type[TokenFetchPipeline] = TokenFetchPipeline, **how: Any) -> TokenFetchPipeline:  # noqa: ANN401
    """A pipeline, broken by its kind or its steps, if at all."""
    return made(steps(**how), InMemoryTokenStorage())


class Scene(NamedTuple):
    """Whom an assertion is asked of, and when."""

    auth: FakeAuth
    clock: Clock
    pipeline: TokenFetchPipeline


def cascade(scene: Scene) -> None:
    """An invalidation takes the dependents, and no sibling."""
    scene.auth.assert_cascade(
        scene.pipeline, "app_token", clears={"user_token"}, keeps={"device_token"}
    )


def invalidated(scene: Scene) -> None:
    """What was invalidated is fetched again."""
    scene.pipeline.execute()
    scene.pipeline.invalidate_step("user_token")
    with scene.auth.expect_fetches(app_token=0, user_token=1):
        scene.pipeline.execute()


def expiry(scene: Scene) -> None:
    """A token is fetched anew when its time is over, and not before."""
    scene.pipeline.execute()
    scene.clock.advance(minutes=30)
    with scene.auth.expect_fetches(app_token=0, user_token=1):
        scene.pipeline.execute()


def expires_in(scene: Scene) -> None:
    """A token is used as long as its ttl."""
    scene.pipeline.execute()
    scene.clock.advance(60)
    scene.auth.assert_expires_in("user_token", timedelta(minutes=29))


def single_flight(scene: Scene) -> None:
    """Four threads cause one fetch a step."""
    app = scene.auth.endpoints["app_token"]
    with ThreadPoolExecutor(4) as pool, app.hold(n=4) as held:
        runs = [pool.submit(scene.pipeline.execute) for _ in range(4)]
        held.wait_for(1)
        held.release()
        for run in runs:
            run.result()
    scene.auth.assert_single_flight()


def hits(scene: Scene) -> None:
    """A second run is served from the cache."""
    scene.pipeline.execute()
    scene.pipeline.execute()
    scene.auth.assert_cache_hits(device_token=1, app_token=1, user_token=1)


def misses(scene: Scene) -> None:
    """Only the first run finds nothing."""
    scene.pipeline.execute()
    scene.pipeline.execute()
    scene.auth.assert_cache_misses(app_token=1)


def forced(scene: Scene) -> None:
    """A forced run fetches."""
    scene.pipeline.execute()
    scene.pipeline.execute(force_refresh=True)
    scene.auth.assert_fetch_counts(app_token=2)


def retried(scene: Scene) -> None:
    """A failure costs one more fetch."""
    scene.auth.endpoints["app_token"].fail()
    scene.pipeline.execute()
    scene.auth.assert_fetch_counts(app_token=2)


def order(scene: Scene) -> None:
    """The steps are fetched in their order."""
    scene.pipeline.execute()
    scene.auth.assert_fetch_order("device_token", "app_token", "user_token")


def silence(scene: Scene) -> None:
    """Another process's tokens are served from the storage."""
    scene.pipeline.execute()
    with scene.auth.expect_fetches():
        scene.pipeline.execute()


def header(scene: Scene) -> None:
    """The user token is bought with the app token."""
    with suppress(AuthenticationException):
        scene.pipeline.execute()
    scene.auth.assert_header_sent("user_token", "x-app-token", "app_token#1")


def secrecy(scene: Scene) -> None:
    """An error tells no secret, even where the server does."""
    scene.auth.endpoints["app_token"].echo_secrets()
    with pytest.raises(AuthenticationException) as caught:
        scene.pipeline.execute()
    scene.auth.assert_no_secrets(caught.value)


class Mutant(NamedTuple):
    """A broken pipeline, the scene that finds it out, and what the failure says first."""

    make: Callable[[], TokenFetchPipeline]
    scene: Callable[[Scene], None]
    headline: str
    good: Callable[[], TokenFetchPipeline] = good


MUTANTS = {
    "no cascade": Mutant(
        lambda: good(NoCascade),
        cascade,
        'invalidate_step("app_token") did not cascade as expected: user_token was kept',
    ),
    "cascade to siblings": Mutant(
        lambda: good(TakesTooMuch),
        cascade,
        'invalidate_step("app_token") did not cascade as expected: device_token was cleared',
    ),
    "stale after invalidate": Mutant(
        lambda: good(Stale),
        invalidated,
        "token fetch counts differ: user_token fetched 0 times, expected 1",
    ),
    "ttl ignored": Mutant(
        lambda: good(user_ttl=timedelta(days=1)),
        expires_in,
        "user_token should be used for 1740 s more, but its use ends in 86340 s",
    ),
    "off by one at expiry": Mutant(
        lambda: good(user_ttl=HALF_AN_HOUR + timedelta(seconds=1)),
        expiry,
        "token fetch counts differ: user_token fetched 0 times, expected 1",
    ),
    "off by one in the end": Mutant(
        lambda: good(user_ttl=HALF_AN_HOUR + timedelta(seconds=1)),
        expires_in,
        "user_token should be used for 1740 s more, but its use ends in 1741 s",
    ),
    "stampede": Mutant(
        lambda: good(Stampede),
        single_flight,
        "tokens were not fetched in single flight: device_token fetched 4 times, 3 of them "
        "needless; app_token fetched 4 times, 3 of them needless; user_token fetched 4 times, 3 of "
        "them needless",
    ),
    "wrong key": Mutant(
        lambda: TokenFetchPipeline(steps(), Forgetful()),
        hits,
        "token cache hits differ: device_token hit 0 times, expected 1; app_token hit 0 times, "
        "expected 1; user_token hit 0 times, expected 1",
    ),
    "wrong key, missed": Mutant(
        lambda: TokenFetchPipeline(steps(), Forgetful()),
        misses,
        "token cache misses differ: app_token missed 2 times, expected 1",
    ),
    "force_refresh reading the cache": Mutant(
        lambda: good(NeverForced),
        forced,
        "token fetch counts differ: app_token fetched 1 time, expected 2",
    ),
    "double fetch on retry": Mutant(
        lambda: good(kind=RetryingTwice),
        retried,
        "token fetch counts differ: app_token fetched 3 times, expected 2",
        lambda: good(kind=Retrying),
    ),
    "fetched twice": Mutant(
        lambda: good(Doubting),
        order,
        "token fetch order differs: fetched device_token, app_token, user_token, device_token, "
        "expected device_token, app_token, user_token",
    ),
    "cache not read": Mutant(
        lambda: good(Eager),
        silence,
        "tokens were fetched: device_token fetched 1 time, expected 0; app_token fetched 1 time, "
        "expected 0; user_token fetched 1 time, expected 0",
    ),
    "wrong header": Mutant(
        lambda: good(header="X-Device-Token"),
        header,
        "header x-app-token was not sent to user_token as expected: 1 request came without it, "
        "expected app_token#1",
    ),
    "telling error": Mutant(
        lambda: good(Telling),
        secrecy,
        "secrets show up: client_secret of app_token",
    ),
}


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock for the library alone."""
    with Clock(freeze=False) as clock:
        yield clock


@pytest.fixture
def auth(clock: Clock) -> Iterator[FakeAuth]:  # noqa: ARG001 - before the server
    """A fake auth server that knows the good pipeline."""
    with FakeAuth(URL, seed=7) as auth:
        auth.serve(good())
        yield auth


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
class TestMutants:
    def test_a_good_pipeline_passes(self, auth: FakeAuth, clock: Clock, mutant: Mutant) -> None:
        """The assertion holds."""
        mutant.scene(Scene(auth, clock, mutant.good()))

    def test_a_broken_one_fails(self, auth: FakeAuth, clock: Clock, mutant: Mutant) -> None:
        """The failure says in its first line what is wrong, and tells the story."""
        with pytest.raises(AssertionError) as caught:
            mutant.scene(Scene(auth, clock, mutant.make()))
        lines = str(caught.value).splitlines()
        assert lines[0] == mutant.headline
        assert lines[-1] == "  seed 7, transport inprocess"
        assert "  timeline (virtual time from 2030-01-01T00:" in str(caught.value)
        assert CANARY not in str(caught.value)
