"""Redis read once for a while: `max_staleness`."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from doubles import START, Clock, CountingStep
from redis_servers import RedisServer
from requestforge import EncryptedTokenStorage, RedisTokenStorage, TokenData, TokenFetchPipeline
from requestforge.events import Event, StepCached
from requestforge.exceptions import TokenStorageException
from requestforge.instrumentation import observe, use_clock
from requestforge.interfaces import TokenStorageInterface

SECOND = timedelta(seconds=1)


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock that stands still until it is moved."""
    with use_clock(Clock()) as clock:
        yield clock


def make(storage: TokenStorageInterface) -> TokenFetchPipeline:
    """A pipeline of two steps."""
    return TokenFetchPipeline([CountingStep("app"), CountingStep("user", ["app"])], storage, "shop")


@pytest.fixture(params=["plain", "encrypted"])
def storage(
    request: pytest.FixtureRequest, own_redis: RedisServer, clock: Clock
) -> TokenStorageInterface:
    """A storage that is content with what it knew a second ago."""
    del clock
    storage = RedisTokenStorage(url=own_redis.url, max_staleness=SECOND)
    return storage if request.param == "plain" else EncryptedTokenStorage(storage, [bytes(32)])


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest, own_redis: RedisServer) -> TokenFetchPipeline:
    """The pipeline in another process: with a storage of its own."""
    storage: TokenStorageInterface = RedisTokenStorage(url=own_redis.url)
    if "encrypted" in request.node.name:
        storage = EncryptedTokenStorage(storage, [bytes(32)])
    return make(storage)


@pytest.fixture
def pipeline(storage: TokenStorageInterface) -> TokenFetchPipeline:
    """A pipeline whose tokens came from the cache in the last call."""
    pipeline = make(storage)
    for _ in range(3):
        pipeline.execute()
    return pipeline


def test_hits_cost_no_command(pipeline: TokenFetchPipeline, own_redis: RedisServer) -> None:
    """Within the time a hit asks the server nothing, whether or not somebody observes."""
    own_redis.forget_commands()
    events: list[Event] = []

    pipeline.execute()
    with observe(events.append):
        pipeline.execute()

    assert own_redis.commands() == {"config|resetstat": 1}
    assert [event.step for event in events if isinstance(event, StepCached)] == ["app", "user"]


def test_an_invalidation_elsewhere_is_seen_in_time(
    pipeline: TokenFetchPipeline, elsewhere: TokenFetchPipeline, clock: Clock
) -> None:
    """What another process has invalidated is served until the time has passed, and no longer."""
    elsewhere.invalidate_all()
    clock.advance(seconds=0.999)
    assert pipeline.execute().access_token == "user-1"

    clock.advance(seconds=0.001)

    assert pipeline.execute().access_token == "user-2"


@pytest.mark.parametrize(
    "move",
    [
        pytest.param(lambda clock: clock.suspend(seconds=1), id="asleep"),
        pytest.param(
            lambda clock: (clock.advance(seconds=1), clock.set_back(hours=1)), id="set-back"
        ),
    ],
)
def test_the_time_is_over_on_either_clock(
    pipeline: TokenFetchPipeline,
    elsewhere: TokenFetchPipeline,
    clock: Clock,
    move: Callable[[Clock], object],
) -> None:
    """A machine that slept, or whose clock was set back, does not stretch the time."""
    elsewhere.invalidate_all()
    move(clock)

    assert pipeline.execute().access_token == "user-2"


def test_the_time_is_over_with_the_clock_that_it_was_measured_by(own_redis: RedisServer) -> None:
    """A clock of a test that ran years ahead, and is gone, does not stretch the time to there."""
    ahead = Clock(monotonic=0.0)
    with use_clock(Clock(START - timedelta(days=1000))):
        pipeline = make(RedisTokenStorage(url=own_redis.url, max_staleness=SECOND))
        with use_clock(ahead):
            for _ in range(3):
                pipeline.execute()
        make(RedisTokenStorage(url=own_redis.url)).invalidate_all()

        assert pipeline.execute().access_token == "user-2"


def test_a_quiet_server_is_asked_once_in_the_time(
    pipeline: TokenFetchPipeline, own_redis: RedisServer, clock: Clock
) -> None:
    """After the time one command finds that all is as it was, and the next calls go without."""
    clock.advance(seconds=1)
    own_redis.forget_commands()

    assert {pipeline.execute().access_token for _ in range(5)} == {"user-1"}

    assert own_redis.commands() == {"mget": 1, "config|resetstat": 1}


def test_changes_of_ones_own_count_at_once(
    pipeline: TokenFetchPipeline, storage: TokenStorageInterface
) -> None:
    """What is invalidated, deleted or stored by the storage object is seen by the next call."""
    make(storage).invalidate_step("user")
    assert pipeline.execute().access_token == "user-2"

    pipeline.execute()
    storage.delete("shop:user")
    assert pipeline.execute().access_token == "user-3"

    pipeline.execute()
    storage.set("shop:user", TokenData("by hand"))
    assert pipeline.execute().access_token == "by hand"


def test_a_change_that_fails_counts_at_once(
    pipeline: TokenFetchPipeline, own_redis: RedisServer
) -> None:
    """An invalidation that a dead server could not take holds in this process all the same."""
    own_redis.kill()
    with pytest.raises(TokenStorageException):
        pipeline.invalidate_step("user")

    token = pipeline.execute()

    assert token.access_token == "user-2"


def test_a_refused_token_is_looked_up_anew(
    pipeline: TokenFetchPipeline, elsewhere: TokenFetchPipeline
) -> None:
    """A refresh asks the server: a token that another process has renewed is taken, not fetched."""
    refused = pipeline.execute()
    renewed = elsewhere.refresh(refused)

    assert renewed.generation != refused.generation
    assert pipeline.execute().generation == refused.generation
    assert pipeline.refresh(refused).generation == renewed.generation


def test_a_fetch_looks_anew(
    pipeline: TokenFetchPipeline, elsewhere: TokenFetchPipeline, storage: TokenStorageInterface
) -> None:
    """Whoever is about to fetch sees what others have fetched in the meantime."""
    pipeline.invalidate_all()
    fetched = elsewhere.execute()

    assert make(storage).execute().generation == fetched.generation


@pytest.mark.parametrize(
    ("max_staleness", "error", "text"),
    [
        pytest.param(
            1.0, TypeError, "must be a timedelta or None, but is of type float", id="type"
        ),
        pytest.param(timedelta(0), ValueError, "must be positive, but is 0:00:00", id="zero"),
        pytest.param(-SECOND, ValueError, "must be positive", id="negative"),
    ],
)
def test_what_is_no_time_is_refused(
    max_staleness: object, error: type[Exception], text: str
) -> None:
    """`max_staleness` is a positive timedelta."""
    with pytest.raises(error, match=text):
        RedisTokenStorage(url="redis://127.0.0.1", max_staleness=max_staleness)  # type: ignore[arg-type]


def test_it_is_off_unless_asked_for(redis_url: str) -> None:
    """Without it nothing says that the server need not be asked."""
    assert RedisTokenStorage(url=redis_url).content_version is None
