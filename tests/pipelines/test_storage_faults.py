"""Storages that fail on reading, writing or deleting."""

import logging
from collections.abc import Callable, Iterable

import pytest

from doubles import (
    Clock,
    CountingStep,
    FlakyStorage,
    RecordingStorage,
    SixFieldStorage,
    faults,
    recorded,
)
from requestforge import (
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
    TokenStorageException,
)
from requestforge.events import (
    StepCached,
    StepFetched,
    StepInvalidated,
    StepMissed,
    StorageFailed,
)
from requestforge.instrumentation import observe

pytestmark = pytest.mark.compat

SHARED = pytest.mark.parametrize("shared", [True, False], ids=["shared", "unshared"])


@SHARED
def test_a_failed_read_is_a_miss(app: CountingStep, user: CountingStep, shared: bool) -> None:
    """A storage that cannot be read costs a fetch, no error, and is told of."""
    storage = FlakyStorage("get", shared=shared)
    pipeline = TokenFetchPipeline([app, user], storage, "shop")
    with recorded() as events:
        assert pipeline.execute().access_token == "user-1"
    assert {operation for operation, _ in faults(events)} <= {"read", "write"}
    assert ("read", "") in faults(events)
    assert [e.reason for e in events if isinstance(e, StepMissed)] == ["empty", "empty"]


@SHARED
def test_a_storage_that_is_down_keeps_tokens_in_this_process(
    app: CountingStep, user: CountingStep, shared: bool, clock: Clock
) -> None:
    """With reads and writes failing each step is fetched once, and again when it ends."""
    storage = FlakyStorage("get", "set", shared=shared)
    pipeline = TokenFetchPipeline([app, user], storage)
    for _ in range(3):
        assert pipeline.execute().access_token == "user-1"
    clock.advance(minutes=30)
    assert pipeline.execute().access_token == "user-2"
    assert (app.fetches, user.fetches) == (1, 2)


def test_the_text_of_a_fault_is_not_logged(
    app: CountingStep, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault is logged with its type, and told with its text less credentials."""
    storage = FlakyStorage("get")
    storage.error = OSError("redis://user:s3cr3t@cache failed, password=s3cr3t")
    with recorded() as events, caplog.at_level(logging.DEBUG):
        TokenFetchPipeline([app], storage).execute()
    assert "OSError" in caplog.text
    assert all("failed, password=" in e.error for e in events if isinstance(e, StorageFailed))
    assert "s3cr3t" not in caplog.text + repr(events)


def test_a_missing_extra_is_told_at_once(app: CountingStep) -> None:
    """A storage whose library is not installed says so to the caller."""
    storage = FlakyStorage("get")
    storage.error = ImportError("pip install 'requestforge[redis]'")
    with pytest.raises(ImportError, match="pip install"):
        TokenFetchPipeline([app], storage).execute()


def test_one_key_that_cannot_be_read_is_a_miss(app: CountingStep, user: CountingStep) -> None:
    """Beside an unreadable record, a key whose reading fails is a miss, too."""

    class Mixed(RecordingStorage):
        def get_many(self, keys: Iterable[str]) -> dict[str, TokenData]:
            return {key: token for key in keys if (token := self.get(key)) is not None}

        def get(self, key: str) -> TokenData | None:
            if broken and key == "app":
                raise ValueError
            if broken and key == "user":
                raise OSError
            return super().get(key)

    broken = False
    storage = Mixed(shared=False)
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()
    broken = True
    with recorded() as events:
        assert pipeline.execute().access_token == "user-2"
    assert {("read", "app"), ("read", "user")} <= set(faults(events))
    assert app.fetches == 2


@SHARED
def test_a_failed_write_keeps_the_token_in_this_process(
    app: CountingStep, user: CountingStep, shared: bool
) -> None:
    """The token is returned, served on, and told of."""
    storage = FlakyStorage("set", shared=shared)
    pipeline = TokenFetchPipeline([app, user], storage)
    with recorded() as events:
        assert pipeline.execute().access_token == "user-1"
    assert faults(events) == [("write", "app"), ("write", "user")]
    assert [type(e) for e in events].count(StepFetched) == 2
    with recorded() as events:
        assert pipeline.execute().access_token == "user-1"
    assert [type(e) for e in events] == [StepCached, StepCached]
    assert storage.tokens == {}
    assert TokenFetchPipeline([app, user], storage).execute().access_token == "user-1"


@SHARED
def test_a_kept_token_ends_like_any_other(app: CountingStep, shared: bool, clock: Clock) -> None:
    """What is kept in this process is served until its end."""
    storage = FlakyStorage("set", shared=shared)
    pipeline = TokenFetchPipeline([app], storage)
    pipeline.execute()
    clock.advance(hours=1)
    assert pipeline.execute().access_token == "app-2"


@SHARED
def test_a_kept_token_replaces_the_one_it_was_fetched_for(app: CountingStep, shared: bool) -> None:
    """A forced fetch that cannot be stored is served before the old token, which is stored."""
    storage = FlakyStorage(shared=shared)
    pipeline = TokenFetchPipeline([app], storage)
    pipeline.execute()
    storage.broken = {"set"}
    assert pipeline.execute(force_refresh=True).access_token == "app-2"
    assert pipeline.execute().access_token == "app-2"
    storage.broken = set()
    assert pipeline.execute(force_refresh=True).access_token == "app-3"
    assert pipeline.execute().access_token == "app-3"
    assert storage.tokens["app"].access_token == "app-3"


def test_a_kept_token_gives_way_to_another_process(app: CountingStep) -> None:
    """A token that another process stored after the storage works again is served instead."""
    storage = FlakyStorage("set")
    pipeline = TokenFetchPipeline([app], storage)
    pipeline.execute()
    other = RecordingStorage()
    TokenFetchPipeline([CountingStep("app")], other).execute()
    storage.tokens.update(other.tokens)
    assert pipeline.execute().generation == other.tokens["app"].generation


@SHARED
def test_a_kept_token_is_given_up_by_an_invalidation(app: CountingStep, shared: bool) -> None:
    """An invalidation reaches what is kept in this process only."""
    storage = FlakyStorage("set", shared=shared)
    pipeline = TokenFetchPipeline([app], storage)
    pipeline.execute()
    storage.broken = set()
    with recorded() as events:
        pipeline.invalidate_step("app")
    assert [e.generation is not None for e in events if isinstance(e, StepInvalidated)] == [True]
    assert pipeline.execute().access_token == "app-2"


@SHARED
def test_a_kept_token_goes_when_its_successor_is_not_to_be_cached(
    app: CountingStep, shared: bool
) -> None:
    """A kept token does not outlive a forced fetch whose token is not cached."""
    storage = FlakyStorage("set", shared=shared)
    pipeline = TokenFetchPipeline([app], storage)
    pipeline.execute()
    app.expires_in = 0
    assert pipeline.execute(force_refresh=True).access_token == "app-2"
    assert pipeline.execute().access_token == "app-3"


def test_a_kept_token_that_is_invalidated_during_its_fetch_is_not_kept(app: CountingStep) -> None:
    """A fetch that is neither stored nor current any more is not kept either."""
    storage = FlakyStorage("set")
    pipeline = TokenFetchPipeline([app], storage)

    def invalidated() -> None:
        with pytest.raises(TokenStorageException):
            pipeline.invalidate_step("app")

    app.during = invalidated
    assert pipeline.execute().access_token == "app-1"
    app.during = None
    assert pipeline.execute().access_token == "app-2"


def test_a_token_whose_write_fails_in_another_epoch_is_not_kept(app: CountingStep) -> None:
    """A write that fails while the step is invalidated leaves nothing in this process."""
    storage = FlakyStorage()
    pipeline = TokenFetchPipeline([app], storage)
    write = storage.set

    def failing(key: str, token: TokenData) -> None:
        storage.set = write
        pipeline.invalidate_step(key)
        del token
        raise OSError

    storage.set = failing
    assert pipeline.execute().access_token == "app-1"
    assert pipeline.execute().access_token == "app-2"


def test_a_token_kept_while_another_is_read_is_served_from_then_on(app: CountingStep) -> None:
    """A pipeline that read the old token at that very moment does not go on with it."""

    class ReadOnly(InMemoryTokenStorage):
        down = False

        def compare_and_set(self, key: str, token: TokenData, generation: str | None) -> bool:
            if self.down:
                raise OSError
            return super().compare_and_set(key, token, generation)

    storage = ReadOnly()
    pipeline, other = (TokenFetchPipeline([app], storage) for _ in range(2))
    other.execute()
    storage.down = True
    calls = iter([lambda: other.execute(force_refresh=True)])
    with observe(lambda _: next(calls, str)()):
        assert pipeline.execute().access_token == "app-1"
    assert pipeline.execute().access_token == "app-2"


def test_a_read_that_failed_does_not_hide_the_record_for_long(app: CountingStep) -> None:
    """What was read as a miss is used again once the storage can be read."""
    storage = FlakyStorage()
    pipeline = TokenFetchPipeline([app], storage)
    first = pipeline.execute()
    storage.broken = {"get", "set"}
    assert pipeline.execute().access_token == "app-2"
    storage.broken = set()
    assert pipeline.execute().generation in {
        first.generation,
        storage.tokens["app"].generation,
    }


class Blinking(FlakyStorage):
    """A storage whose batched reads of those numbers fail, counted from `reads`."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__(shared=shared)
        self.reads = 0
        self.blind: set[int] = set()

    def get_many(self, keys: Iterable[str]) -> dict[str, TokenData]:
        self.reads += 1
        if self.reads in self.blind:
            raise self.error
        return super().get_many(keys)

    def fail_reads(self, *numbers: int) -> None:
        """Have the next reads of those numbers fail."""
        self.reads, self.blind = 0, set(numbers)


@SHARED
def test_a_dead_token_is_replaced_though_it_could_not_be_read(
    app: CountingStep, shared: bool, clock: Clock
) -> None:
    """A token fetched after reads that failed is cached, once the storage works again."""
    storage = Blinking(shared=shared)
    pipeline = TokenFetchPipeline([app], storage)
    pipeline.execute()
    clock.advance(hours=1)
    storage.fail_reads(1, 2)
    for _ in range(2):
        assert pipeline.execute().access_token == "app-2"
    assert storage.tokens["app"].access_token == "app-2"


@SHARED
def test_a_living_token_that_could_not_be_read_is_not_replaced(
    app: CountingStep, shared: bool
) -> None:
    """It may be newer than the one fetched meanwhile."""
    storage = Blinking(shared=shared)
    pipeline = TokenFetchPipeline([app], storage)
    pipeline.execute()
    storage.fail_reads(1, 2)
    assert pipeline.execute().access_token == "app-2"
    assert pipeline.execute().access_token == "app-1"


@SHARED
def test_a_token_read_once_is_replaced_though_the_second_reading_failed(
    app: CountingStep, shared: bool
) -> None:
    """A forced fetch replaces what its call has read, whatever becomes of the flight's reading."""
    storage = Blinking(shared=shared)
    pipeline = TokenFetchPipeline([app], storage)
    pipeline.execute()
    storage.fail_reads(2)
    assert pipeline.execute(force_refresh=True).access_token == "app-2"
    assert pipeline.execute().access_token == "app-2"
    storage.fail_reads(2)
    app.expires_in = 0
    assert pipeline.execute(force_refresh=True).access_token == "app-3"
    assert "app" not in storage.tokens


@SHARED
def test_a_refresh_whose_second_reading_failed_replaces_the_rejected_token(
    app: CountingStep, shared: bool
) -> None:
    """A reading that failed is no sign that somebody else has refreshed the token."""
    storage = Blinking(shared=shared)
    provider = PipelineTokenProvider(TokenFetchPipeline([app], storage), "shop")
    rejected = provider.fetch_token()
    storage.fail_reads(2)
    with recorded() as events:
        assert provider.refresh(rejected).access_token == "app-2"
    assert faults(events) == [("read", "")]
    assert provider.fetch_token().access_token == "app-2"
    assert app.fetches == 2


@SHARED
def test_a_refresh_does_not_start_over_for_a_storage_that_went_down(
    app: CountingStep, shared: bool
) -> None:
    """It reads the storage a few times, each of which may take until a timeout, and fetches."""
    storage = Blinking(shared=shared)
    provider = PipelineTokenProvider(TokenFetchPipeline([app], storage), "shop")
    rejected = provider.fetch_token()
    storage.fail_reads(*range(2, 100))
    assert provider.refresh(rejected).access_token == "app-2"
    assert storage.reads <= 5
    assert app.fetches == 2


def test_a_fault_is_warned_of_once(app: CountingStep, caplog: pytest.LogCaptureFixture) -> None:
    """The log has one warning for each storage and operation; observers are told each time."""
    pipelines = [TokenFetchPipeline([app], FlakyStorage("get", "set"), "shop") for _ in range(2)]
    with recorded() as events, caplog.at_level(logging.INFO, "requestforge"):
        for pipeline in pipelines:
            for _ in range(3):
                pipeline.execute(force_refresh=True)
    assert len(faults(events)) > 12
    assert sorted(record.getMessage() for record in caplog.records) == [
        f"The token storage failed on a {operation} of {what} (OSError)."
        for operation, what in (
            [("read", "pipeline 'shop'")] * 2 + [("write", "step 'app' of pipeline 'shop'")] * 2
        )
    ]


# Deleting


@SHARED
def test_a_failed_delete_is_raised_and_counts_in_this_process(
    app: CountingStep, user: CountingStep, shared: bool
) -> None:
    """All steps are tried and count as invalidated here; then TokenStorageException."""
    storage = FlakyStorage(shared=shared)
    pipeline = TokenFetchPipeline([app, user], storage, "shop")
    pipeline.execute()
    storage.broken = {"delete"}
    with (
        recorded() as events,
        pytest.raises(TokenStorageException, match="'app', 'user'") as caught,
    ):
        pipeline.invalidate_step("app")
    assert caught.value.__cause__ is storage.error
    assert caught.value.original_exception is storage.error
    assert faults(events) == [("delete", "app"), ("delete", "user")]
    assert [e.step for e in events if isinstance(e, StepInvalidated)] == ["app", "user"]
    assert pipeline.execute().access_token == "user-2"
    assert pipeline.execute().access_token == "user-2"


@SHARED
def test_one_failed_delete_leaves_the_others_deleted(
    app: CountingStep, user: CountingStep, shared: bool
) -> None:
    """The steps after one that fails are invalidated as ever."""
    storage = FlakyStorage("delete", shared=shared)
    storage.broken_keys = {"app"}
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()
    with pytest.raises(TokenStorageException, match="tokens of 'app'"):
        pipeline.invalidate_all()
    assert "user" not in storage.tokens
    assert pipeline.execute().access_token == "user-2"


class FlakySixFieldStorage(SixFieldStorage):
    """A storage that keeps six fields, and fails as told."""

    def __init__(self, *, shared: bool = True) -> None:
        super().__init__(shared=shared)
        self.broken: set[str] = set()

    def set(self, key: str, token: TokenData) -> None:
        if "set" in self.broken:
            raise OSError
        super().set(key, token)

    def delete(self, key: str) -> None:
        if "delete" in self.broken:
            raise OSError
        super().delete(key)


@pytest.mark.parametrize("broken", ["delete", "set", "both"])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(FlakyStorage, id="shared"),
        pytest.param(lambda: FlakyStorage(shared=False), id="unshared"),
        pytest.param(FlakySixFieldStorage, id="six fields"),
        pytest.param(lambda: FlakySixFieldStorage(shared=False), id="six fields, unshared"),
    ],
)
def test_a_tombstone_holds_until_the_next_token(
    make: Callable[[], FlakyStorage], broken: str, app: CountingStep
) -> None:
    """Whatever of the invalidation failed, the old token is served by no pipeline here."""
    storage = make()
    pipeline = TokenFetchPipeline([app], storage)
    pipeline.execute()
    storage.broken = {"delete", "set"} if broken == "both" else {broken}
    if broken == "set" and not storage.shared:
        pipeline.invalidate_step("app")
    else:
        with pytest.raises(TokenStorageException):
            pipeline.invalidate_step("app")
    other = TokenFetchPipeline([app], storage)
    assert other.execute().access_token == "app-2"
    assert pipeline.execute().access_token == "app-2"
    storage.broken = set()
    pipeline.invalidate_step("app")
    assert pipeline.execute().access_token == "app-3"
    assert other.execute().access_token == "app-3"


def test_invalidating_again_ends_the_fault(app: CountingStep) -> None:
    """Once the storage works, an invalidation reaches it."""
    storage = FlakyStorage("delete")
    pipeline = TokenFetchPipeline([app], storage)
    pipeline.execute()
    with pytest.raises(TokenStorageException):
        pipeline.invalidate_all()
    storage.broken = set()
    pipeline.invalidate_all()
    assert "app" not in storage.tokens


def test_a_token_not_to_be_cached_whose_predecessor_cannot_be_deleted(app: CountingStep) -> None:
    """A deletion that fails after a fetch is told of, not raised."""
    storage = FlakyStorage()
    pipeline = TokenFetchPipeline([app], storage)
    pipeline.execute()
    storage.broken = {"delete"}
    app.expires_in = 0
    with recorded() as events:
        assert pipeline.execute(force_refresh=True).access_token == "app-2"
    assert faults(events) == [("delete", "app")]


def test_a_refresh_goes_on_where_the_storage_cannot_delete(
    app: CountingStep, user: CountingStep
) -> None:
    """The old tokens that a refresh gives up are invalid here, deleted or not."""
    storage = FlakyStorage()
    provider = PipelineTokenProvider(TokenFetchPipeline([app, user], storage), "shop")
    old = provider.fetch_token()
    storage.broken = {"delete"}
    assert provider.refresh(old).access_token == "user-2"
    assert provider.fetch_token().access_token == "user-2"
