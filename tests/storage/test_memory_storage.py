import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest

from pytest_requestforge.contracts import TokenStorageContract
from requestforge.instrumentation import use_clock
from requestforge.storage import InMemoryTokenStorage
from requestforge.tokens import TokenData

_HOUR = timedelta(hours=1)


class _HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.moment = datetime(2030, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)

    def token(self, name: str, *, life: float | None = 60, **fields: Any) -> TokenData:  # noqa: ANN401
        """A token that is used for that many seconds from now; None: without end."""
        expires_at = None if life is None else self.moment + timedelta(seconds=life)
        return TokenData(name, expires_at=expires_at, leeway=timedelta(0), **fields)


@pytest.fixture
def clock() -> Iterator[_HandClock]:
    """The active clock, moved by hand."""
    with use_clock(_HandClock()) as clock:
        yield clock


def _generation(name: str) -> TokenData:
    return TokenData.from_dict({"access_token": f"token {name}", "generation": name})


class TestUnbounded(TokenStorageContract):
    @pytest.fixture
    def storage(self) -> InMemoryTokenStorage:
        """A storage without a limit."""
        return InMemoryTokenStorage()


class TestBounded(TokenStorageContract):
    @pytest.fixture
    def storage(self) -> InMemoryTokenStorage:
        """A storage with a limit that no test reaches."""
        return InMemoryTokenStorage(max_entries=100)


class TestConstruction:
    @pytest.mark.parametrize("max_entries", [0, -1])
    def test_refuses_no_room(self, max_entries: int) -> None:
        """A storage has room for at least one token."""
        with pytest.raises(ValueError, match=f"at least 1, but is {max_entries}"):
            InMemoryTokenStorage(max_entries=max_entries)

    @pytest.mark.parametrize("max_entries", [True, 2.0, "2"], ids=repr)
    def test_refuses_other_types(self, max_entries: Any) -> None:  # noqa: ANN401 - wrong on purpose
        """The number of entries is an int."""
        with pytest.raises(TypeError, match=f"of type {type(max_entries).__name__}"):
            InMemoryTokenStorage(max_entries=max_entries)

    def test_is_not_shared(self) -> None:
        """No other process sees what it holds."""
        assert InMemoryTokenStorage().shared is False

    def test_repr_tells_the_limit(self) -> None:
        """Its repr is how it was made."""
        assert repr(InMemoryTokenStorage(max_entries=5)) == "InMemoryTokenStorage(max_entries=5)"


@pytest.mark.parametrize("max_entries", [None, 5])
def test_clear_removes_all(max_entries: int | None) -> None:
    """Nothing is left after clear, and the storage goes on."""
    storage = InMemoryTokenStorage(max_entries=max_entries)
    storage.set("a", TokenData("a"))

    storage.clear()

    assert not storage.exists("a")
    storage.set("b", TokenData("b"))
    assert storage.get("b") == TokenData("b")


class TestVersion:
    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda s, key: s.set(key, TokenData("new")), id="set"),
            pytest.param(lambda s, key: s.delete(key), id="delete"),
            pytest.param(lambda s, key: s.delete_many([key]), id="delete_many"),
            pytest.param(
                lambda s, key: s.compare_and_set(key, TokenData("new"), "a"), id="compare_and_set"
            ),
            pytest.param(lambda s, key: s.compare_and_delete(key, "a"), id="compare_and_delete"),
            pytest.param(lambda s, _: s.clear(), id="clear"),
        ],
    )
    def test_never_stands_for_an_older_token(
        self, change: Callable[[InMemoryTokenStorage, str], object]
    ) -> None:
        """Whoever reads the version, then the token, in the midst of a change is not fooled."""
        storage = InMemoryTokenStorage()
        storage.set("key", _generation("a"))
        spy = _SpyKey("key", storage)
        spy.look()

        change(storage, spy)

        assert storage.get("key") != _generation("a")
        assert spy.outdated_but_valid() == []

    def test_tells_of_collected_garbage(self, clock: _HandClock) -> None:
        """A token that is collected in passing changes the version as a deleted one does."""
        storage = InMemoryTokenStorage()
        spies = [_SpyKey(f"short {number}", storage) for number in range(100)]
        for spy in spies:
            storage.set(spy, clock.token("short"))
        clock.advance(60)

        for number in range(100):
            storage.set(f"other {number}", clock.token("other"))

        collected = [spy for spy in spies if storage.get(str(spy)) is None]
        assert collected
        assert [spy.outdated_but_valid() for spy in collected] == [[]] * len(collected)

    def test_stands_still_without_a_change(self) -> None:
        """Reading, and changes that find nothing to change, leave the version alone."""
        storage = InMemoryTokenStorage()
        storage.set("a", _generation("a"))
        version = storage.content_version

        storage.get("a")
        storage.get_many(["a", "b"])
        storage.exists("a")
        storage.delete("b")
        storage.compare_and_set("a", _generation("b"), "other")
        storage.compare_and_delete("a", "other")

        assert storage.content_version == version

    def test_is_none_with_a_limit(self) -> None:
        """A bounded storage has no version, since reading has to be seen by it."""
        assert InMemoryTokenStorage(max_entries=5).content_version is None


class _SpyKey(str):
    """A key that looks at the storage, as a reader would, whenever the storage looks it up."""

    __slots__ = ("_seen", "_storage")

    def __new__(cls, key: str, storage: InMemoryTokenStorage) -> Self:
        spy = super().__new__(cls, key)
        spy._storage = storage
        spy._seen = []
        return spy

    def __hash__(self) -> int:
        self.look()
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)

    def look(self) -> None:
        version = self._storage.content_version
        self._seen.append((version, self._storage.get(str(self))))

    def outdated_but_valid(self) -> list[TokenData | None]:
        """Tokens seen under the present version that are not the present token."""
        present = self._storage.content_version, self._storage.get(str(self))
        return [t for v, t in self._seen if v == present[0] and t != present[1]]


class TestGarbage:
    def test_dead_tokens_are_collected(self, clock: _HandClock) -> None:
        """Dead tokens leave as others are written; those alive or to be refreshed stay."""
        storage = InMemoryTokenStorage()
        for number in range(1000):
            storage.set(f"short {number}", clock.token("short"))
        storage.set("long", clock.token("long", life=3600))
        storage.set("endless", clock.token("endless", life=None))
        storage.set("refresh", clock.token("refresh", refresh_token="buys the next"))
        clock.advance(60)

        for _ in range(1000):
            storage.set("other", clock.token("other"))

        assert sum(storage.exists(f"short {number}") for number in range(1000)) <= 64
        assert storage.exists("long")
        assert storage.exists("endless")
        assert storage.exists("refresh")

    def test_garbage_does_not_outgrow_the_living(self, clock: _HandClock) -> None:
        """With ever new keys, the storage stays in proportion to the tokens alive."""
        storage = InMemoryTokenStorage()
        for number in range(5000):
            storage.set(f"key {number}", clock.token("short", life=1))
            clock.advance(0.01)  # a hundred are alive at a time

        assert sum(storage.exists(f"key {number}") for number in range(5000)) <= 300

    def test_few_dead_tokens_stay(self, clock: _HandClock) -> None:
        """In a small storage a dead token can be looked at until it is replaced."""
        storage = InMemoryTokenStorage()
        dead = clock.token("short", life=-1)
        storage.set("dead", dead)

        for _ in range(100):
            storage.set("other", clock.token("other"))

        assert storage.get("dead") == dead


class TestLimit:
    @pytest.mark.parametrize(
        ("use", "gone"),
        [
            pytest.param(lambda _: None, "a", id="none"),
            pytest.param(lambda s: s.get("a"), "b", id="get"),
            pytest.param(lambda s: s.get_many(["a", "unknown", "b"]), "c", id="get_many"),
            pytest.param(lambda s: s.set("a", TokenData("again")), "b", id="set"),
            pytest.param(
                lambda s: s.compare_and_set("a", TokenData("again"), None), "b", id="compare"
            ),
            pytest.param(lambda s: s.exists("a"), "a", id="exists"),
            pytest.param(lambda s: s.get("unknown"), "a", id="miss"),
            pytest.param(lambda s: s.delete("c"), None, id="delete"),
        ],
    )
    def test_longest_unused_leaves(
        self, use: Callable[[InMemoryTokenStorage], object], gone: str | None
    ) -> None:
        """Beyond the limit the token leaves that was neither read nor written for longest."""
        storage = InMemoryTokenStorage(max_entries=3)
        for key in ("a", "b", "c"):
            storage.set(key, TokenData(key))
        deleted = {"c"} if gone is None else {gone}

        use(storage)
        storage.set("d", TokenData("d"))

        assert [k for k in ("a", "b", "c", "d") if not storage.exists(k)] == sorted(deleted)

    def test_dead_tokens_leave_first(self, clock: _HandClock) -> None:
        """Beyond the limit a dead token leaves, however lately used, before a living one."""
        storage = InMemoryTokenStorage(max_entries=3)
        storage.set("living", clock.token("living", life=3600))
        storage.set("replaced", clock.token("earlier", life=30))
        storage.set("replaced", clock.token("later", life=3600))
        storage.set("dead", clock.token("dead", life=60))
        clock.advance(60)
        storage.get("dead")

        storage.set("new", clock.token("new"))

        assert storage.exists("living")
        assert storage.exists("replaced")
        assert not storage.exists("dead")

    def test_refresh_token_keeps_its_place(self, clock: _HandClock) -> None:
        """A dead token that can be refreshed leaves in its turn only."""
        storage = InMemoryTokenStorage(max_entries=2)
        storage.set("living", clock.token("living", life=3600))
        storage.set("refresh", clock.token("dead", refresh_token="buys the next"))
        clock.advance(60)

        storage.set("new", clock.token("new"))

        assert not storage.exists("living")
        assert storage.exists("refresh")

    def test_replacing_takes_no_memory(self, clock: _HandClock) -> None:
        """A token that is replaced thousands of times leaves nothing behind."""
        storage = InMemoryTokenStorage(max_entries=3)
        tracemalloc.start()
        for life in range(5000):
            storage.set("key", clock.token("same", life=life))
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()

        assert size < 50_000
