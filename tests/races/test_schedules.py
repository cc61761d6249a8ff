"""One process fetches, one reads, one invalidates: every order of what they do to a storage."""

import random
from collections.abc import Callable

import pytest
from schedules import AtomicStorage, OneByOneStorage, ProcessStorage, Records, Schedule, schedules

from doubles import CountingStep
from requestforge import TokenData, TokenFetchPipeline

KINDS = [AtomicStorage, ProcessStorage, OneByOneStorage]
KIND_IDS = ["atomic", "four methods", "key by key"]


class Step(CountingStep):
    """A step whose token says what it was built on, and when that was fetched first of all."""

    def __init__(self, name: str, depends_on: list[str], world: "World") -> None:
        super().__init__(name, depends_on)
        self._world = world

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        began = self._world.next_moment()
        self._world.records.schedule.turn()
        oldest = min([began, *(int(context[name].access_token) for name in self.depends_on)])
        return TokenData(str(oldest))


class World:
    """Processes on one storage; each token is a number: the moment of its oldest fetch.

    Args:
        kind: of the storage.
        warm: whether the tokens have been fetched before.
    """

    def __init__(self, kind: type[ProcessStorage], *, warm: bool) -> None:
        self.records = Records()
        self._moment = 0
        self._invalid_before = 0
        self._kind = kind
        self.writer, self.reader, self.invalidator = (self._process() for _ in range(3))
        if warm:
            self.reader.execute()

    def next_moment(self) -> int:
        """The number of this moment."""
        self._moment += 1
        return self._moment

    def invalidate(self) -> None:
        """Invalidate the first step; what was fetched before this began must not be served."""
        began = self.next_moment()
        self.invalidator.invalidate_step("app")
        self._invalid_before = began

    def read(self, pipeline: TokenFetchPipeline) -> None:
        """A token is no older than the last invalidation that had returned by then."""
        limit = self._invalid_before
        assert int(pipeline.execute().access_token) >= limit

    def run(self, schedule: Schedule, actors: dict[str, Callable[[], object]]) -> None:
        """Run them, and read in each process afterwards."""
        self.records.schedule = schedule
        schedule.run(actors)
        for pipeline in (self.writer, self.reader, self.invalidator, self._process()):
            self.read(pipeline)

    def _process(self) -> TokenFetchPipeline:
        steps = [Step("app", [], self), Step("user", ["app"], self)]
        return TokenFetchPipeline(steps, self._kind(self.records))


def play(kind: type[ProcessStorage], schedule: Schedule, *, warm: bool) -> list[int]:
    """Run one schedule, and give the choices that it had."""
    world = World(kind, warm=warm)
    world.run(
        schedule,
        {
            "writer": lambda: world.writer.execute(force_refresh=warm),
            "invalidator": world.invalidate,
            "reader": lambda: [world.read(world.reader) for _ in range(2)],
        },
    )
    return schedule.choices


@pytest.mark.parametrize("kind", KINDS, ids=KIND_IDS)
@pytest.mark.parametrize("warm", [False, True], ids=["empty", "warm"])
def test_no_order_serves_what_an_invalidation_has_ended(
    kind: type[ProcessStorage], warm: bool
) -> None:
    """With any two switches between the processes, nobody gets a token from before it."""

    def turns(switches: dict[int, int]) -> list[int]:
        try:
            return play(kind, Schedule(switches), warm=warm)
        except AssertionError as error:
            error.add_note(f"Switches: {switches}")
            raise

    assert schedules(2, turns) > 100


def test_a_batch_read_key_by_key_builds_on_nothing_outdated() -> None:
    """A late write of another process, between the reads of two epochs, leaves no token behind."""
    world = World(OneByOneStorage, warm=True)
    tokens = world.records.tokens
    late = tokens["app"]

    def interfere(key: str) -> None:
        if key == "app#epoch" and "app#epoch" not in tokens:
            world.invalidate()
            tokens["app"] = late  # by one that compared before the invalidation

    world.records.after_get = interfere
    world.reader.execute()
    world.read(world.reader)


@pytest.mark.parametrize("kind", KINDS, ids=KIND_IDS)
@pytest.mark.parametrize("warm", [False, True], ids=["empty", "warm"])
def test_no_wild_order_serves_what_an_invalidation_has_ended(
    kind: type[ProcessStorage], warm: bool
) -> None:
    """Nor with switches at every other turn."""
    for seed in range(150):
        chance = random.Random(seed)  # noqa: S311 - to be repeated
        switches = {turn: chance.randrange(2) for turn in range(200) if chance.random() < 0.5}
        play(kind, Schedule(switches), warm=warm)
