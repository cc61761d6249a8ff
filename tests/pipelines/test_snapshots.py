"""What a pipeline remembers of a call in which every token came from the cache."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from doubles import Clock, CountingStep, FlakyTellingStorage, RecordingStorage, TellingStorage
from requestforge import InMemoryTokenStorage, TokenData, TokenFetchPipeline
from requestforge.events import Event, StepCached
from requestforge.exceptions import TokenStorageException
from requestforge.instrumentation import observe, use_clock


class OtherProcess(TellingStorage):
    """Another process on the same server: it knows what that holds, and no more."""

    def __init__(self, storage: TellingStorage) -> None:
        super().__init__()
        self.texts = storage.texts


@pytest.fixture
def storage() -> TellingStorage:
    """A storage that tells whether its content is the same, and that other processes share."""
    return TellingStorage()


@pytest.fixture
def pipeline(
    clock: Clock, app: CountingStep, user: CountingStep, storage: TellingStorage
) -> TokenFetchPipeline:
    """Two cached steps, whose tokens came from the cache in the last call."""
    del clock  # it stands still
    pipeline = TokenFetchPipeline([app, user], storage, "shop")
    for _ in range(3):
        pipeline.execute()
    return pipeline


def elsewhere(storage: TellingStorage, user: CountingStep) -> TokenFetchPipeline:
    """The same pipeline in another process."""
    steps = [CountingStep("app", ttl=timedelta(hours=1)), user]
    return TokenFetchPipeline(steps, OtherProcess(storage), "shop")


def test_a_hit_is_one_read(pipeline: TokenFetchPipeline, storage: TellingStorage) -> None:
    """A call whose tokens are all cached reads the storage once, and nothing else."""
    storage.calls.clear()

    assert pipeline.execute().access_token == "user-1"

    [(call, keys)] = storage.calls
    assert call == "get_many"
    assert set(keys.split(",")) == {"shop:app#epoch", "shop:user#epoch", "shop:app", "shop:user"}


def test_a_token_that_another_process_renews_is_seen(
    pipeline: TokenFetchPipeline, storage: TellingStorage
) -> None:
    """Another token in the storage is served at once, also one with the same text."""
    other = elsewhere(storage, CountingStep("user", ["app"], ttl=timedelta(minutes=20)))

    renewed = other.execute(force_refresh=True)

    assert renewed.access_token == "user-1"
    assert pipeline.execute().generation == renewed.generation


@pytest.mark.parametrize("step", ["app", "user"])
def test_an_invalidation_elsewhere_is_seen(
    pipeline: TokenFetchPipeline, storage: TellingStorage, user: CountingStep, step: str
) -> None:
    """What another process has invalidated is not served any more."""
    elsewhere(storage, user).invalidate_step(step)

    assert pipeline.execute().access_token == "user-2"


def test_a_new_epoch_alone_is_seen(
    pipeline: TokenFetchPipeline, storage: TellingStorage, user: CountingStep
) -> None:
    """A record that comes back after its invalidation, by a late writer, is not served."""
    late = dict(storage.texts)
    elsewhere(storage, user).invalidate_step("user")
    storage.texts["shop:user"] = late["shop:user"]

    assert pipeline.execute().access_token == "user-2"


@pytest.mark.parametrize("key", ["shop:app", "shop:user"])
def test_a_record_that_is_gone_is_fetched(
    pipeline: TokenFetchPipeline, storage: TellingStorage, app: CountingStep, key: str
) -> None:
    """A record that the storage has lost is fetched, of the last step or of an earlier one."""
    del storage.texts[key]

    token = pipeline.execute()

    assert (app.fetches, token.access_token) in {(2, "user-1"), (1, "user-2")}
    assert key in storage.texts


@pytest.mark.parametrize(
    "move",
    [
        pytest.param(lambda clock: clock.advance(minutes=31), id="both-clocks"),
        pytest.param(lambda clock: clock.suspend(minutes=31), id="the-wall-clock"),
        pytest.param(
            lambda clock: (clock.set_back(minutes=31), clock.advance(minutes=31)),
            id="the-monotonic-clock",
        ),
    ],
)
def test_a_token_that_has_ended_is_fetched(
    clock: Clock, pipeline: TokenFetchPipeline, move: Callable[[Clock], object]
) -> None:
    """The end of the first token ends it, on whichever clock it comes, with the records as ever."""
    move(clock)

    assert pipeline.execute().access_token == "user-2"


def test_another_clock_leaves_the_wall_clock_to_decide(pipeline: TokenFetchPipeline) -> None:
    """Monotonic seconds of a clock that is put in place mean nothing to tokens of another one."""
    with use_clock(Clock(monotonic=1e9)) as other:
        assert pipeline.execute().access_token == "user-1"
        other.advance(minutes=31)
        assert pipeline.execute().access_token == "user-2"


def test_a_forced_call_fetches(pipeline: TokenFetchPipeline) -> None:
    """`force_refresh` is not answered from what was remembered."""
    assert pipeline.execute(force_refresh=True).access_token == "user-2"


@pytest.mark.usefixtures("clock")
def test_an_invalidation_that_the_storage_fails_to_take_counts_here(
    app: CountingStep, user: CountingStep
) -> None:
    """The records are unchanged then, and yet they are not served in this process."""
    storage = FlakyTellingStorage()
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()
    pipeline.execute()
    storage.broken = {"set", "delete"}
    with pytest.raises(TokenStorageException):
        pipeline.invalidate_step("user")

    assert pipeline.execute().access_token == "user-2"


@pytest.mark.usefixtures("clock")
def test_a_storage_that_cannot_be_read_gives_nothing(app: CountingStep, user: CountingStep) -> None:
    """What was remembered does not stand in for a read that fails."""
    storage = FlakyTellingStorage()
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()
    pipeline.execute()
    storage.broken = {"get"}

    assert pipeline.execute().access_token == "user-2"


@pytest.mark.usefixtures("clock")
def test_one_outage_does_not_bring_back_the_tokens_of_another() -> None:
    """What was kept while the storage could not be read, and was given up, is not served again."""
    storage = FlakyTellingStorage()
    storage.broken = {"get", "set", "delete"}
    user = CountingStep("user", ttl=timedelta(minutes=30))
    pipeline = TokenFetchPipeline([user], storage)
    for _ in range(3):
        assert pipeline.execute().access_token == "user-1"
    storage.broken = set()
    pipeline.execute(force_refresh=True)
    pipeline.invalidate_all()
    storage.broken = {"get"}

    assert pipeline.execute().access_token == "user-3"


@pytest.mark.parametrize("kind", [TellingStorage, InMemoryTokenStorage])
@pytest.mark.usefixtures("clock")
def test_observers_hear_of_every_hit(
    app: CountingStep, user: CountingStep, kind: Callable[[], TellingStorage]
) -> None:
    """A remembered answer tells of the same hits, in the order of the steps, as any other."""
    pipeline = TokenFetchPipeline([app, user], kind(), "shop")
    for _ in range(2):
        pipeline.execute()
    events: list[Event] = []
    with observe(events.append):
        pipeline.execute()

    assert [event.step for event in events if isinstance(event, StepCached)] == ["app", "user"]
    assert len(events) == 2


@pytest.mark.usefixtures("clock")
def test_a_subclass_that_reads_in_its_own_way_is_asked_so(
    app: CountingStep, user: CountingStep
) -> None:
    """An override of `get_many` alone sees every read of a pipeline."""

    class Own(TellingStorage):
        hidden = False

        def get_many(self, keys: object) -> dict[str, TokenData]:
            return {} if self.hidden else super().get_many(keys)  # type: ignore[arg-type]

    storage = Own()
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()
    pipeline.execute()
    storage.hidden = True

    assert pipeline.execute().access_token == "user-2"


@pytest.mark.usefixtures("clock")
def test_a_storage_that_cannot_tell_is_read_in_full(app: CountingStep, user: CountingStep) -> None:
    """A storage of the interface's own `content_of` serves hits all the same."""
    storage = RecordingStorage()
    pipeline = TokenFetchPipeline([app, user], storage)

    assert {pipeline.execute().access_token for _ in range(4)} == {"user-1"}
    assert storage.content_of(("user",)) == storage.get_many(["user"])
