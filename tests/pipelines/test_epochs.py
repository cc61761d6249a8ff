"""Storages that other processes see: epochs fence what was fetched before an invalidation."""

from collections.abc import Callable, Iterable
from datetime import timedelta

import pytest

from doubles import Clock, CountingStep, JsonStorage, RecordingStorage, SixFieldStorage, recorded
from requestforge import PipelineTokenProvider, TokenData, TokenFetchPipeline
from requestforge.events import StepMissed

pytestmark = pytest.mark.compat


class Processes:
    """Two pipelines whose storage objects hold the same records, as in two processes.

    Args:
        kind: the class of the storages.
    """

    def __init__(self, kind: type[RecordingStorage]) -> None:
        self.storages = [kind(), kind()]
        for attribute in ("tokens", "texts"):
            if hasattr(self.storages[0], attribute):
                setattr(self.storages[1], attribute, getattr(self.storages[0], attribute))
        self.steps = [
            [CountingStep("app", ttl=timedelta(hours=1)), CountingStep("user", ["app"])]
            for _ in range(2)
        ]
        self.ours, self.theirs = (
            TokenFetchPipeline(steps, storage)
            for steps, storage in zip(self.steps, self.storages, strict=True)
        )

    @property
    def fetches(self) -> list[int]:
        """Fetches of each step, ours and theirs together."""
        return [one.fetches + other.fetches for one, other in zip(*self.steps, strict=True)]


@pytest.fixture(params=[RecordingStorage, JsonStorage], ids=["objects", "json"])
def processes(request: pytest.FixtureRequest) -> Processes:
    """Two processes on one storage."""
    return Processes(request.param)


def test_processes_share_tokens(processes: Processes) -> None:
    """What one process fetched the other uses."""
    assert processes.ours.execute() == processes.theirs.execute()
    assert processes.fetches == [1, 1]


def test_an_invalidation_reaches_the_other_process(processes: Processes) -> None:
    """What one process invalidates the other fetches anew."""
    first = processes.theirs.execute()
    processes.ours.invalidate_step("app")
    with recorded() as events:
        second = processes.theirs.execute()
    assert second.generation != first.generation
    assert [e.reason for e in events if isinstance(e, StepMissed)] == ["invalidated"] * 2
    assert processes.ours.execute().generation == second.generation
    assert processes.fetches == [2, 2]


@pytest.mark.parametrize("kind", [RecordingStorage, JsonStorage, SixFieldStorage])
def test_a_fetch_under_way_elsewhere_is_not_cached(kind: type[RecordingStorage]) -> None:
    """What another process fetches while we invalidate goes to its caller alone."""
    processes = Processes(kind)
    processes.steps[1][1].during = lambda: processes.ours.invalidate_step("app")
    assert processes.theirs.execute().access_token == "user-1"
    processes.steps[1][1].during = None
    assert not processes.storages[0].exists("user")
    processes.theirs.execute()
    assert processes.steps[1][1].fetches == 2


@pytest.mark.parametrize("kind", [RecordingStorage, JsonStorage, SixFieldStorage])
def test_a_token_stored_while_the_epoch_changes_is_removed(kind: type[RecordingStorage]) -> None:
    """A writer that finds another epoch after its write deletes what it wrote."""
    processes = Processes(kind)
    storage = processes.storages[1]
    write = storage.set

    def late(key: str, token: TokenData) -> None:
        if key == "app":
            storage.set = write
            processes.ours.invalidate_step("app")
        write(key, token)

    storage.set = late
    processes.theirs.execute()
    upstream = processes.steps[1][1].contexts[-1]["app"]
    assert upstream.access_token == "app-2"
    processes.theirs.execute()
    assert processes.steps[1][0].fetches == 2


def test_a_record_of_another_epoch_is_a_miss(processes: Processes) -> None:
    """A record that came back after an invalidation, from a backup say, is not served."""
    processes.ours.execute()
    storage = processes.storages[0]
    old = storage.get("app")
    processes.ours.invalidate_step("app")
    storage.set("app", old)
    with recorded() as events:
        processes.theirs.execute()
    missed = [e.reason for e in events if isinstance(e, StepMissed)]
    assert missed == ["invalidated", "invalidated"]
    assert processes.fetches == [2, 2]


def test_a_new_token_takes_the_place_of_one_of_another_epoch(processes: Processes) -> None:
    """An outdated record is replaced by the next fetch."""
    processes.ours.execute()
    storage = processes.storages[0]
    old = storage.get("app")
    processes.ours.invalidate_step("app")
    storage.set("app", old)
    processes.ours.execute()
    assert storage.get("app").generation != old.generation
    processes.theirs.execute()
    assert processes.fetches == [2, 2]


def test_an_outdated_record_goes_with_a_fetch_that_is_not_cached(processes: Processes) -> None:
    """A fetch whose token is not cached removes the outdated record that it found."""
    processes.ours.execute()
    storage = processes.storages[0]
    old = storage.get("app")
    processes.ours.invalidate_step("app")
    storage.set("app", old)
    processes.steps[0][0].expires_in = 0
    processes.ours.execute()
    assert not storage.exists("app")


def test_renewal_changes_no_epoch(processes: Processes, clock: Clock) -> None:
    """Expiry, force_refresh and the first fetch leave the epochs alone, invalidation does not."""
    processes.ours.execute()
    clock.advance(hours=1)
    processes.ours.execute()
    processes.ours.execute(force_refresh=True)
    assert not [key for key in processes.storages[0].made("set") if "#" in key]
    processes.ours.invalidate_step("user")
    assert [key for key in processes.storages[0].made("set") if "#" in key] == ["user#epoch"]


def test_an_epoch_is_a_token_for_30_days(clock: Clock) -> None:
    """The epoch's record is a TokenData whose access token is its id, with 30 days to live."""
    storage = RecordingStorage()
    pipeline = TokenFetchPipeline([CountingStep("app")], storage, "shop")
    pipeline.invalidate_step("app")
    epoch = storage.tokens["shop:app#epoch"]
    assert epoch.access_token
    assert epoch.expires_at == clock.now() + timedelta(days=30)
    pipeline.invalidate_step("app")
    assert storage.tokens["shop:app#epoch"].access_token != epoch.access_token


def test_an_unshared_storage_holds_no_epoch() -> None:
    """Where no other process looks, the epoch is kept in this one."""
    storage = RecordingStorage(shared=False)
    pipeline = TokenFetchPipeline([CountingStep("app")], storage)
    pipeline.invalidate_step("app")
    pipeline.execute()
    assert set(storage.tokens) == {"app"}


def test_an_epoch_that_has_ended_costs_one_fetch(processes: Processes) -> None:
    """When the storage drops an epoch after its 30 days, the step is fetched anew once."""
    processes.ours.invalidate_step("app")
    processes.ours.execute()
    for key in ("app#epoch", "user#epoch"):
        processes.storages[0].delete(key)
    processes.ours.execute()
    processes.theirs.execute()
    assert processes.fetches == [2, 2]


def test_an_epoch_counts_as_long_as_the_storage_holds_it(
    processes: Processes, clock: Clock
) -> None:
    """The storage's own timeout is housekeeping: an epoch it still holds is an epoch."""
    processes.ours.invalidate_step("user")
    clock.advance(days=31)
    processes.ours.execute()
    processes.theirs.execute()
    assert processes.fetches == [1, 1]


def test_a_newer_token_of_another_process_is_not_replaced(processes: Processes) -> None:
    """A slow fetch does not store over what another process has stored meanwhile."""
    slow = processes.steps[0][0]
    slow.during = processes.theirs.execute
    processes.ours.execute()
    slow.during = None
    stored = processes.storages[0].get("app")
    assert stored.generation == processes.steps[1][1].contexts[0]["app"].generation
    assert processes.ours.execute() == processes.theirs.execute()


def test_a_refresh_of_what_another_process_has_refreshed_costs_nothing(
    processes: Processes,
) -> None:
    """A rejected token that another process has replaced is not refreshed again."""
    ours, theirs = (PipelineTokenProvider(p, "x") for p in (processes.ours, processes.theirs))
    old = ours.fetch_token()
    new = theirs.refresh(old)
    assert ours.refresh(old).generation == new.generation
    assert processes.fetches == [2, 2]


def test_a_repair_reaches_the_other_process(processes: Processes) -> None:
    """What a repair gives up is given up everywhere."""
    processes.ours.execute()
    processes.ours.invalidate_step("user")
    error = LookupError("invalid_token")
    processes.steps[0][1].failures = [error]
    token = processes.ours.execute()
    assert token.access_token == "user-3"
    assert processes.theirs.execute().generation == token.generation
    assert processes.fetches == [2, 3]


def test_an_invalidation_by_a_process_that_restarted_counts(processes: Processes) -> None:
    """The epoch is read from the storage, not remembered from an earlier process."""
    processes.ours.invalidate_all()
    processes.ours.execute()
    restarted = type(processes.storages[0])()
    for attribute in ("tokens", "texts"):
        if hasattr(restarted, attribute):
            setattr(restarted, attribute, getattr(processes.storages[0], attribute))
    step = CountingStep("user", ["app"])
    pipeline = TokenFetchPipeline([CountingStep("app"), step], restarted)
    assert pipeline.execute() == processes.ours.execute()
    assert step.fetches == 0


@pytest.mark.parametrize("reads", [1, 2, 3, 4])
def test_an_invalidation_between_any_two_reads_is_noticed(processes: Processes, reads: int) -> None:
    """Whenever another process invalidates, the next caller gets what was fetched after it."""
    storage = processes.storages[0]
    read: Callable[[Iterable[str]], dict[str, TokenData]] = storage.get_many
    left = iter(range(reads))

    def counting(keys: Iterable[str]) -> dict[str, TokenData]:
        found = read(keys)
        if next(left, None) == reads - 1:
            processes.theirs.invalidate_step("app")
        return found

    storage.get_many = counting
    processes.ours.execute()
    before = processes.fetches
    token = processes.ours.execute()
    [upstream] = [c["app"] for c in processes.steps[0][1].contexts[-1:]]
    assert token.access_token == f"user-{processes.steps[0][1].fetches}"
    assert upstream.access_token == f"app-{processes.steps[0][0].fetches}"
    assert max(processes.fetches) <= 2
    assert min(before) >= 1
