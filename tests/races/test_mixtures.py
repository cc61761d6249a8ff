"""Any mixture of calls by several threads."""

import itertools
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
from racing import STORAGE_IDS, STORAGES, Task, app_behind, fetches

from doubles import CountingStep
from requestforge import PipelineTokenProvider, TokenData, TokenFetchPipeline
from requestforge.interfaces import TokenStorageInterface

pytestmark = pytest.mark.compat


class StampedStep(CountingStep):
    """A step that notes at which count each of its fetches began, by token."""

    def __init__(self, name: str, depends_on: Sequence[str], count: Iterator[int]) -> None:
        super().__init__(name, depends_on)
        self._count = count
        self.began: dict[str, int] = {}

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        at = next(self._count)
        token = super().fetch(context)
        self.began[token.access_token] = at
        return token


class Mixture:
    """Random calls of two pipelines on one storage, by threads that check what they get."""

    def __init__(self, storage: TokenStorageInterface, *, lazy: bool) -> None:
        self.count = itertools.count()
        self.app = StampedStep("app", (), self.count)
        self.user = StampedStep("user", ["app"], self.count)
        steps = [self.app, self.user]
        self.pipelines = [TokenFetchPipeline(steps, storage, lazy=lazy) for _ in range(2)]
        # Step, and the counts at which the call began and ended.
        self.invalidations: list[tuple[str, int, int]] = []

    def act(self, number: int, choices: random.Random) -> None:
        """What one thread does."""
        pipeline = self.pipelines[number % 2]
        provider = PipelineTokenProvider(pipeline, "api", choices.choice([None, "app", "user"]))
        token = pipeline.execute()
        for _ in range(12):
            call = choices.choice(["execute", "execute", "force", "refresh", "app", "user"])
            since = next(self.count)
            if call in {"app", "user"}:
                pipeline.invalidate_step(call)
                self.invalidations.append((call, since, next(self.count)))
            elif call == "refresh":
                rejected, token = token, provider.refresh(token)
                assert token.generation != rejected.generation
            else:
                token = pipeline.execute(force_refresh=call == "force")
                self.check(token, since)
                assert call != "force" or self.user.began[token.access_token] > since

    def check(self, token: TokenData, since: int) -> None:
        """Neither the token nor what it was bought with is older than an invalidation."""
        for name, start, end in list(self.invalidations):
            if end < since:
                assert self.user.began[token.access_token] > start
                if name == "app":
                    assert self.app.began[app_behind(self.user, token)] > start


@pytest.fixture
def _quick_switches() -> Iterator[None]:
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_quick_switches")
@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
@pytest.mark.parametrize("seed", range(12))
def test_any_mixture_of_calls_keeps_its_promises(
    make_storage: Callable[[], TokenStorageInterface], lazy: bool, seed: int
) -> None:
    """Four threads that execute, force, refresh and invalidate at random: nothing old is served.

    Each fetch and each call notes when it began. A caller gets no token whose fetch, or whose
    upstream's fetch, began before an invalidation that ended before the call; a forced call gets
    one whose fetches began after it; a refresh does not give the rejected token back.
    """
    mixture = Mixture(make_storage(), lazy=lazy)

    def act(number: int) -> None:
        mixture.act(number, random.Random(10 * seed + number))  # noqa: S311 - to be replayed

    for task in [Task(partial(act, number)) for number in range(4)]:
        task.result()
    last = mixture.pipelines[0].execute()
    fetched = fetches([mixture.app, mixture.user])
    assert mixture.pipelines[1].execute() == last
    assert fetches([mixture.app, mixture.user]) == fetched
