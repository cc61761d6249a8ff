"""What a process remembers of keys: no more with each tenant, and still all that it must."""

import gc
import logging
import sys
from collections.abc import Callable
from datetime import timedelta

import pytest
from racing import Gate, Task
from tenancy import UserStep, text

from doubles import (
    Clock,
    CountingStep,
    FlakyStorage,
    JsonStorage,
    RecordingStorage,
    SixFieldStorage,
    recorded,
)
from requestforge import InMemoryTokenStorage, TokenData, TokenFetchPipeline
from requestforge.events import StepMissed
from requestforge.exceptions import TokenStorageException
from requestforge.interfaces import TokenStorageInterface

MANY = 9_000
"""More than twice the keys that a process remembers something of."""

HOUR = timedelta(hours=1)


def invalidate_many(pipeline: TokenFetchPipeline) -> None:
    """Make the process forget the invalidations before these."""
    for number in range(MANY):
        pipeline.invalidate_tenant(f"other {number}")


def blocks() -> int:
    """Blocks of memory in use; each object takes one at least."""
    gc.collect()
    return sys.getallocatedblocks()


STORAGES = {
    "in memory": InMemoryTokenStorage,
    "shared": JsonStorage,
    "json, unshared": lambda: JsonStorage(shared=False),
}


@pytest.mark.parametrize("make", STORAGES.values(), ids=STORAGES)
def test_invalidations_leave_no_trace_for_good(make: Callable[[], TokenStorageInterface]) -> None:
    """What a process notes of them is dropped again, whatever the number of tenants."""
    storage = make()
    pipeline = TokenFetchPipeline([CountingStep("app")], storage, "app")

    def go_through(names: range) -> int:
        for number in names:
            pipeline.invalidate_tenant(f"{number}")
        if isinstance(storage, JsonStorage):
            storage.calls.clear()
            storage.texts.clear()  # those of the epochs that a shared storage holds
        return blocks()

    go_through(range(MANY))
    first, second = go_through(range(MANY, 3 * MANY)), go_through(range(3 * MANY, 5 * MANY))
    # It is dropped by the thousands, so that the number at any one time varies.
    assert second - first < 1.5 * MANY, (second - first) / MANY


@pytest.mark.parametrize("make", STORAGES.values(), ids=STORAGES)
def test_dead_tokens_leave_no_trace_for_good(
    make: Callable[[], TokenStorageInterface], clock: Clock
) -> None:
    """A process that goes through many tenants remembers those alone whose tokens live."""
    storage, step = make(), CountingStep("app", expires_in=60)
    pipeline = TokenFetchPipeline([step], storage, "app")

    def go_through(names: range) -> int:
        for number in names:
            view = pipeline.for_tenant(f"{number:07}")
            view.execute()
            view.execute()
            clock.advance(seconds=1)
        if isinstance(storage, JsonStorage):
            storage.texts.clear()
            storage.calls.clear()
        step.contexts.clear()
        return blocks()

    go_through(range(500))
    first, second = go_through(range(500, 1_500)), go_through(range(1_500, 2_500))
    assert second - first < 1_000 / 2, (second - first) / 1_000


@pytest.mark.parametrize("make", [InMemoryTokenStorage, JsonStorage], ids=["in memory", "shared"])
def test_a_fetch_from_before_a_forgotten_invalidation_is_not_cached(
    make: Callable[[], TokenStorageInterface],
) -> None:
    """Its epoch is not taken for the present one again, however many keys came in between."""
    step, gate = UserStep("app"), Gate()
    step.during = gate
    pipeline = TokenFetchPipeline([step], make(), "app")
    view = pipeline.for_tenant("a", username="a")
    before = Task(lambda: text(view))
    gate.until_reached()
    pipeline.invalidate_tenant("a")
    invalidate_many(pipeline)
    assert text(view) == "app-a-2"
    gate.open()
    assert before.result() == "app-a-1"
    assert text(pipeline.for_tenant("a", username="a")) == "app-a-2"


@pytest.mark.parametrize("make", [InMemoryTokenStorage, JsonStorage], ids=["in memory", "shared"])
def test_nobody_joins_a_fetch_that_builds_on_an_invalidated_token(
    make: Callable[[], TokenStorageInterface],
) -> None:
    """A run that read a token before its invalidation, now forgotten, fetches for itself alone."""
    app, user = UserStep("app"), UserStep("user", ["app"])
    pipeline = TokenFetchPipeline([app, user], make(), "app")
    view = pipeline.for_tenant("a", username="a")
    view.execute()
    view.invalidate_step("user")
    gate = user.during = Gate()
    before = Task(lambda: text(pipeline.for_tenant("a", username="a")))
    gate.until_reached()
    pipeline.invalidate_tenant("a")
    invalidate_many(pipeline)
    later = Task(lambda: text(pipeline.for_tenant("a", username="a")))
    assert later.result() == "user-a-3"
    assert [(c or {})["app"].access_token for c in user.contexts] == [
        *("app-a-1", "app-a-1", "app-a-2"),
    ]
    gate.open()
    assert before.result() == "user-a-2"
    assert text(view) == "user-a-3"


@pytest.mark.parametrize("make", [InMemoryTokenStorage, JsonStorage], ids=["in memory", "shared"])
def test_the_living_are_served_whatever_is_forgotten(
    make: Callable[[], TokenStorageInterface],
) -> None:
    """Invalidations of others, however many, cost a tenant no fetch, before or after its own."""
    step = UserStep("app")
    pipeline = TokenFetchPipeline([step], make(), "app")
    names = ("never", "before")
    views = {name: pipeline.for_tenant(name, username=name) for name in names}
    pipeline.invalidate_tenant("before")
    for view in views.values():
        view.execute()
    invalidate_many(pipeline)
    for name in names:
        pipeline.for_tenant(name, username=name).execute()
        views[name].execute()
    assert step.fetches == len(names)


def test_a_token_that_could_not_be_deleted_stays_invalid() -> None:
    """Its epoch is not forgotten as long as the storage holds it."""
    storage = FlakyStorage(shared=False)
    pipeline = TokenFetchPipeline([UserStep("app")], storage, "app")
    view = pipeline.for_tenant("a", username="a")
    view.execute()
    storage.broken, storage.broken_keys = {"delete"}, {"app@a:app"}
    with pytest.raises(TokenStorageException):
        pipeline.invalidate_tenant("a")
    invalidate_many(pipeline)
    assert "app@a:app" in storage.tokens
    with recorded() as events:
        assert text(view) == "app-a-2"
    assert [event.reason for event in events if isinstance(event, StepMissed)] == ["invalidated"]


def test_a_slow_write_keeps_the_epochs_that_it_needs() -> None:
    """What began before an invalidation is not taken for newer, though it is stored much later."""

    class Slow(RecordingStorage):
        gate: Gate | None = None

        def compare_and_set(self, key: str, token: TokenData, generation: str | None) -> bool:
            if self.gate is not None and key == "app@a:app":
                self.gate()
            return super().compare_and_set(key, token, generation)

    storage, step = Slow(shared=False), UserStep("app")
    pipeline = TokenFetchPipeline([step], storage, "app")
    storage.gate = gate = Gate()
    slow = Task(lambda: text(pipeline.for_tenant("a", username="a")))
    gate.until_reached()
    pipeline.invalidate_tenant("a")
    invalidate_many(pipeline)
    gate.open()
    assert slow.result() == "app-a-1"
    assert text(pipeline.for_tenant("a", username="a")) == "app-a-2"
    invalidate_many(pipeline)
    assert text(pipeline.for_tenant("a", username="a")) == "app-a-2"


def test_a_storage_that_cannot_be_read_does_not_revive_a_forgotten_epoch() -> None:
    """A token fetched before an invalidation is not served while the storage is down."""
    storage, step = FlakyStorage(), UserStep("app")
    pipeline = TokenFetchPipeline([step], storage, "app")
    view = pipeline.for_tenant("a", username="a")
    gate = step.during = Gate()
    before = Task(lambda: text(view))
    gate.until_reached()
    pipeline.invalidate_tenant("a")
    invalidate_many(pipeline)
    storage.broken = {"get", "set", "delete"}
    gate.open()
    assert before.result() == "app-a-1"
    assert [text(view), text(view)] == ["app-a-2", "app-a-2"]


STALE_CLOCKS = {"json": JsonStorage, "six fields": SixFieldStorage}


@pytest.mark.parametrize("make", STALE_CLOCKS.values(), ids=STALE_CLOCKS)
def test_a_token_stays_dead_when_it_is_forgotten(
    make: Callable[[], JsonStorage], clock: Clock
) -> None:
    """The wall clock set back does not bring a token to life whose monotonic end has passed."""
    pipeline = TokenFetchPipeline([UserStep("app")], make(), "app")
    view = pipeline.for_tenant("a", username="a")
    assert [text(view), text(view)] == ["app-a-1"] * 2
    clock.advance(hours=2)
    for number in range(200):  # each has a look at some that it might forget
        other = pipeline.for_tenant(f"other {number}", username="b")
        assert text(other) == text(other)
    clock.set_back(hours=2)
    assert text(view) == "app-a-202"


def test_a_token_without_an_end_is_read_as_it_was_stored(clock: Clock) -> None:
    """Once a shared storage has shown that it keeps all of it, nothing of it need be known here."""
    step = UserStep("app", ttl=None)
    pipeline = TokenFetchPipeline([step], JsonStorage(), "app")
    view = pipeline.for_tenant("a", username="a")
    tokens = [view.execute() for _ in range(4)]
    assert {token.generation for token in tokens} == {tokens[0].generation}
    clock.advance(days=1000)
    assert text(view) == "app-a-1"
    view.execute(force_refresh=True)
    assert [text(view), text(view)] == ["app-a-2"] * 2


def test_tokens_of_another_process_are_judged_by_the_wall_clock(clock: Clock) -> None:
    """What was not born here is no dead token of one's own."""
    storage = JsonStorage()
    TokenFetchPipeline([UserStep("app")], storage, "app").for_tenant("a", username="a").execute()
    elsewhere = JsonStorage()  # another object, as another process has one
    elsewhere.texts = storage.texts
    step = UserStep("app")
    pipeline = TokenFetchPipeline([step], elsewhere, "app")
    assert text(pipeline.for_tenant("b", username="b")) == "app-b-1"
    assert text(pipeline.for_tenant("a", username="a")) == "app-a-1"
    clock.advance(minutes=59)
    assert text(pipeline.for_tenant("a", username="a")) == "app-a-1"


def test_a_storage_is_told_later_of_the_invalidations_that_it_missed() -> None:
    """Each one that works makes up for another, so that none is left over for good."""
    storage = FlakyStorage()
    pipeline = TokenFetchPipeline([UserStep("app")], storage, "app")
    for user in ("a", "b"):
        pipeline.for_tenant(user, username=user).execute()
    storage.broken = {"set", "delete"}
    for user in ("a", "b"):
        with pytest.raises(TokenStorageException):
            pipeline.invalidate_tenant(user)
    storage.broken = set()
    assert {"app@a:app", "app@b:app"} <= storage.tokens.keys()
    pipeline.invalidate_tenant("c")
    pipeline.invalidate_tenant("d")
    marks = {f"app@{name}:app#epoch" for name in "abcd"}
    assert storage.tokens.keys() == marks


def test_kept_tokens_are_forgotten_once_they_are_dead(clock: Clock) -> None:
    """Those of a storage that takes none are kept for as long as they live."""

    class Full(RecordingStorage):
        def set(self, key: str, token: TokenData) -> None:
            raise OSError(f"No room for {key} or {token}.")

    storage, step = Full(), UserStep("app")
    pipeline = TokenFetchPipeline([step], storage, "app")

    def go_through(names: range) -> int:
        for number in names:
            pipeline.for_tenant(f"{number:07}", username="u").execute()
            clock.advance(minutes=1)
        step.contexts.clear()
        step.users.clear()
        storage.calls.clear()
        return blocks()

    logging.disable()  # lest the records of its faults be kept, too
    try:
        go_through(range(5_000))
        first, second = go_through(range(5_000, 6_000)), go_through(range(6_000, 7_000))
    finally:
        logging.disable(logging.NOTSET)
    assert second - first < 1_000 / 2, (second - first) / 1_000


def test_a_bounded_storage_evicts_without_touching_the_living(clock: Clock) -> None:
    """Where tokens of tenants are dead, none that lives leaves for the tokens of new tenants."""
    long, short = CountingStep("long", ttl=10 * HOUR), CountingStep("short", ttl=HOUR)
    storage = InMemoryTokenStorage(max_entries=100)
    living = TokenFetchPipeline([long], storage, "living")
    dying = TokenFetchPipeline([short], storage, "dying")
    for number in range(50):
        living.for_tenant(f"{number}").execute()
    for turn in range(5):
        for number in range(50):
            dying.for_tenant(f"{turn} {number}").execute()
        clock.advance(hours=1)
    for number in range(50):
        living.for_tenant(f"{number}").execute()
    assert (long.fetches, short.fetches) == (50, 250)
