"""Storages as objects: with four methods alone, with slots, let go, filled by others."""

import gc
import weakref

import pytest

from doubles import (
    BasicStorage,
    CountingStep,
)
from requestforge import (
    InMemoryTokenStorage,
    TokenData,
    TokenFetchPipeline,
)

pytestmark = pytest.mark.compat

SHARED = pytest.mark.parametrize("shared", [True, False], ids=["shared", "unshared"])


def test_four_methods_make_a_storage(app: CountingStep, user: CountingStep) -> None:
    """A storage without base class may be shared, so its epochs are stored in it."""
    storage = BasicStorage()
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()
    pipeline.invalidate_step("user")
    assert set(storage.tokens) == {"app", "user#epoch"}


def test_further_members_of_a_bare_storage_are_left_alone(app: CountingStep) -> None:
    """What is not of the interface is not called, whatever its name."""

    class Tempting(BasicStorage):
        shared = False
        version = 7

        def get_many(self, *args: object) -> object:
            raise AssertionError(args)

        lock = compare_and_set = compare_and_delete = delete_many = get_many

    pipeline = TokenFetchPipeline([app], Tempting())
    for _ in range(3):
        assert pipeline.execute().access_token == "app-1"
    pipeline.invalidate_all()
    assert pipeline.execute().access_token == "app-2"


def test_pipelines_on_one_bare_storage_share_what_is_known_of_it(app: CountingStep) -> None:
    """Two pipelines on a storage without base class share tokens and invalidations."""
    storage = BasicStorage()
    one, two = (TokenFetchPipeline([app], storage) for _ in range(2))
    one.execute()
    two.invalidate_all()
    assert one.execute() == two.execute()
    assert app.fetches == 2


def test_a_bounded_memory_may_lose_a_token(app: CountingStep, user: CountingStep) -> None:
    """A token that had to leave is fetched again."""
    storage = InMemoryTokenStorage(max_entries=1)
    pipeline = TokenFetchPipeline([app, user], storage)
    assert pipeline.execute().access_token == "user-1"
    assert pipeline.execute().access_token in {"user-1", "user-2"}
    assert app.fetches == 2


def test_a_storage_is_let_go_with_its_pipelines() -> None:
    """The library keeps no storage alive that nobody uses any more."""
    storage = InMemoryTokenStorage()
    pipeline = TokenFetchPipeline([CountingStep("app")], storage)
    pipeline.execute()
    gone = weakref.ref(storage)
    del storage, pipeline
    gc.collect()
    assert gone() is None


def test_a_storage_without_weak_references_is_shared_too() -> None:
    """Pipelines on a storage with slots alone know of each other's invalidations."""

    class Slotted(BasicStorage):
        __slots__ = ()

    class Strict:
        __slots__ = ("inner",)

        def __init__(self) -> None:
            self.inner = Slotted()

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

    storage = Strict()
    step = CountingStep("app")
    one, two = (TokenFetchPipeline([step], storage) for _ in range(2))
    one.execute()
    two.invalidate_all()
    assert one.execute().access_token == "app-2"
    assert two.execute().access_token == "app-2"


def test_what_fills_the_memory_between_two_executions_counts() -> None:
    """A token that was set in the in-memory storage by hand replaces the one served so far."""
    storage = InMemoryTokenStorage()
    pipeline = TokenFetchPipeline([CountingStep("app")], storage)
    pipeline.execute()
    pipeline.execute()
    storage.set("app", TokenData("mine"))
    assert pipeline.execute().access_token == "mine"
    storage.clear()
    assert pipeline.execute().access_token == "app-2"
