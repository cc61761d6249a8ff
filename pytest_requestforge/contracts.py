"""TokenStorageContract: what every token storage has to do, as a test class to inherit."""

# ruff: noqa: S101 - pytest explains the assertions of this package as those of a test

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime, timedelta, timezone
from typing import Any, ParamSpec

import pytest

from requestforge.config import TokenData
from requestforge.instrumentation import now
from requestforge.interfaces import TokenStorageInterface

__all__ = ["TokenStorageContract"]

P = ParamSpec("P")

_NOW = timedelta(0)
_LONG = timedelta(seconds=30)
_ODD_KEYS = [
    "app:user",
    "app:User",
    "app:user ",
    "app:user#epoch",
    "app@caf%C3%A9:user",
    "app:two words",
    "app/../user",
    "app:line\nbreak",
    "app:nul\x00",
    "app:пользователь",
    f"app:{'long' * 200}",
    f"app:{'long' * 200}er",
]


class TokenStorageContract:
    """The tests of a token storage. Inherit them, and override the fixture `storage`.

    A storage that passes them can take the place of any other. Those on locks are skipped where
    `lock` gives None.

    Example::

        class TestMyStorage(TokenStorageContract):
            @pytest.fixture
            def storage(self, tmp_path):
                return MyStorage(tmp_path)
    """

    @pytest.fixture
    def storage(self) -> TokenStorageInterface:
        """An empty storage; override it."""
        msg = f"{type(self).__name__} must override the fixture 'storage' to give an empty storage."
        raise NotImplementedError(msg)

    def test_knows_nothing_at_first(self, storage: TokenStorageInterface) -> None:
        """A key that was never set has no token and does not exist."""
        assert storage.get("app:user") is None
        assert not storage.exists("app:user")

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({}, id="token-alone"),
            pytest.param({"expires_at": timedelta(hours=1)}, id="living"),
            pytest.param({"expires_at": timedelta(hours=-1)}, id="expired"),
            pytest.param({"expires_at": timedelta(days=400)}, id="long-living"),
            pytest.param(
                {"expires_at": timedelta(hours=1), "refresh_token": "buys the next"}, id="refresh"
            ),
            pytest.param(
                {"token_type": "", "scope": "read write", "extra": {"a": [1, {"b": None}]}},
                id="answer",
            ),
            pytest.param(
                {
                    "expires_at": timedelta(hours=1),
                    "issued_at": timedelta(microseconds=1),
                    "leeway": 2.5,
                    "generation": "first",
                },
                id="provenance",
            ),
            pytest.param({"extra": {"имя": "значение \N{SNOWMAN}"}}, id="not-ascii"),
            pytest.param({"extra": {"long": "x" * 100_000}}, id="long"),
        ],
    )
    def test_gives_what_was_set(
        self, storage: TokenStorageInterface, fields: dict[str, Any]
    ) -> None:
        """A token comes back with every field and its generation, expired or not."""
        token = _token("wanted", **fields)

        storage.set("app:user", token)

        assert storage.exists("app:user")
        _assert_same(storage.get("app:user"), token)
        _assert_same(storage.get_many(["app:user"])["app:user"], token)

    @pytest.mark.parametrize(
        "expires_at",
        [
            pytest.param(datetime.max, id="last-day"),  # noqa: DTZ901 - naive on purpose
            pytest.param(datetime(2999, 1, 1, 12), id="naive"),  # noqa: DTZ001
            pytest.param(
                datetime(2999, 1, 1, 12, tzinfo=timezone(timedelta(hours=5.5))), id="other-zone"
            ),
        ],
    )
    def test_leaves_the_expiry_as_it_is(
        self, storage: TokenStorageInterface, expires_at: datetime
    ) -> None:
        """An expiry keeps its zone, or stays without one."""
        storage.set("app:user", TokenData("wanted", expires_at=expires_at))

        kept = storage.get("app:user")

        assert kept is not None
        assert kept.expires_at is not None
        assert kept.expires_at.isoformat() == expires_at.isoformat()

    def test_set_replaces(self, storage: TokenStorageInterface) -> None:
        """Setting a key again leaves the later token alone."""
        storage.set("app:user", _token("earlier", refresh_token="buys the next"))
        storage.set("app:user", _token("later"))

        _assert_same(storage.get("app:user"), _token("later"))

    def test_keeps_odd_keys_apart(self, storage: TokenStorageInterface) -> None:
        """Each key has a token of its own, whatever characters it holds and however many."""
        for number, key in enumerate(_ODD_KEYS):
            storage.set(key, _token(f"token {number}"))

        kept = {key: storage.get(key) for key in _ODD_KEYS}

        assert kept == {key: _token(f"token {n}") for n, key in enumerate(_ODD_KEYS)}
        assert storage.get_many(_ODD_KEYS) == kept

    def test_delete_removes_one(self, storage: TokenStorageInterface) -> None:
        """Deleting takes one token away, and an unknown key does no harm."""
        storage.set("app:user", _token("gone"))
        storage.set("app:device", _token("kept"))

        storage.delete("app:user")
        storage.delete("app:user")

        assert storage.get("app:user") is None
        assert not storage.exists("app:user")
        _assert_same(storage.get("app:device"), _token("kept"))

    def test_get_many_gives_hits(self, storage: TokenStorageInterface) -> None:
        """A batched read gives the tokens of those keys that have one, for any iterable of keys."""
        storage.set("app:user", _token("one"))
        storage.set("app:device", _token("two"))

        found = storage.get_many(iter(["app:user", "app:unknown", "app:device"]))

        assert found == {"app:user": _token("one"), "app:device": _token("two")}
        assert storage.get_many([]) == {}

    def test_delete_many_removes_those(self, storage: TokenStorageInterface) -> None:
        """A batched delete takes those tokens away and no others, for any iterable of keys."""
        for key in ("app:user", "app:device", "app:kept"):
            storage.set(key, _token(key))

        storage.delete_many(iter(["app:user", "app:unknown", "app:device"]))
        storage.delete_many([])

        assert [k for k in ("app:user", "app:device", "app:kept") if storage.exists(k)] == [
            "app:kept"
        ]

    @pytest.mark.parametrize(
        ("present", "asked", "done"),
        [
            pytest.param({"generation": "a"}, "a", True, id="same"),
            pytest.param({"generation": "a"}, "b", False, id="other"),
            pytest.param({"generation": "a"}, None, False, id="there-is-one"),
            pytest.param(None, None, True, id="there-is-none"),
            pytest.param(None, "a", False, id="gone"),
        ],
    )
    def test_compare_and_set(
        self,
        storage: TokenStorageInterface,
        present: dict[str, str] | None,
        asked: str | None,
        done: bool,
    ) -> None:
        """A token is replaced only if it is the one that the caller knows."""
        before = _kept(storage, present)
        after = _token("new", generation="c")

        assert storage.compare_and_set("app:user", after, asked) is done

        _assert_same(storage.get("app:user"), after if done else before)

    @pytest.mark.parametrize(
        ("present", "asked", "done"),
        [
            pytest.param({"generation": "a"}, "a", True, id="same"),
            pytest.param({"generation": "a"}, "b", False, id="other"),
            pytest.param({"generation": "a"}, None, False, id="there-is-one"),
            pytest.param(None, "a", False, id="gone"),
        ],
    )
    def test_compare_and_delete(
        self,
        storage: TokenStorageInterface,
        present: dict[str, str] | None,
        asked: str | None,
        done: bool,
    ) -> None:
        """A token is removed only if it is the one that the caller knows."""
        before = _kept(storage, present)

        assert storage.compare_and_delete("app:user", asked) is done

        _assert_same(storage.get("app:user"), None if done else before)

    def test_shared_by_threads(self, storage: TokenStorageInterface) -> None:
        """Eight threads that use it at once find what each of them has set."""

        def use(thread: int) -> bool:
            key = f"app:{thread}"
            for turn in range(10):
                storage.set(key, _token(f"{thread} {turn}"))
                if storage.get(key) != _token(f"{thread} {turn}"):
                    return False
            storage.delete(key)
            return not storage.exists(key)

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(use, range(8)))

    def test_shows_no_secret(self, storage: TokenStorageInterface) -> None:
        """Its repr and str hold no token."""
        storage.set("app:user", _token("canary-access", refresh_token="canary-refresh"))

        assert "canary" not in repr(storage) + str(storage)

    def test_lock_excludes(self, storage: TokenStorageInterface) -> None:
        """Of two that want the lock of a key one has it, and the other is told after its wait."""
        with _lock(storage, _LONG, _NOW) as first:
            second = _in_another_thread(_try_lock, storage, timedelta(milliseconds=50))

        assert (first, second) == (True, False)

    def test_lock_is_released(self, storage: TokenStorageInterface) -> None:
        """The lock is free again after its block, also after one that raised."""
        with pytest.raises(ZeroDivisionError), _lock(storage, _LONG, _NOW):
            _ = 1 / 0

        assert _in_another_thread(_try_lock, storage, _NOW)
        assert _in_another_thread(_try_lock, storage, _NOW)

    def test_lock_concerns_its_key(self, storage: TokenStorageInterface) -> None:
        """A lock leaves the locks of other keys free, and the record of its own key alone."""
        with _lock(storage, _LONG, _NOW):
            assert _in_another_thread(_try_lock, storage, _NOW, "app:device")
            assert not storage.exists("app:user")
            storage.set("app:user", _token("kept"))

        _assert_same(storage.get("app:user"), _token("kept"))

    def test_lock_ends_with_its_lease(self, storage: TokenStorageInterface) -> None:
        """A lock that outlives its lease passes to another, and its first holder cannot free it."""
        with ThreadPoolExecutor(1) as heir, ExitStack() as held:
            with _lock(storage, timedelta(seconds=1), _NOW):
                inherited = _lock(storage, _LONG, timedelta(seconds=10))
                assert heir.submit(held.enter_context, inherited).result()

            still_free = _in_another_thread(_try_lock, storage, _NOW)
            heir.submit(held.close).result()

        assert not still_free


def _token(access_token: str, **fields: Any) -> TokenData:  # noqa: ANN401 - fields of a record
    for name in ("expires_at", "issued_at"):
        if name in fields:
            fields[name] = now() + fields[name]
    return TokenData.from_dict({"access_token": access_token, **fields})


def _kept(storage: TokenStorageInterface, fields: dict[str, str] | None) -> TokenData | None:
    if fields is None:
        return None
    token = _token("old", **fields)
    storage.set("app:user", token)
    return token


def _assert_same(kept: TokenData | None, token: TokenData | None) -> None:
    # Not their texts alone: `==` leaves out issued_at, leeway and generation.
    assert kept == token
    assert (kept and kept.to_dict()) == (token and token.to_dict())


def _lock(
    storage: TokenStorageInterface, lease: timedelta, wait: timedelta, key: str = "app:user"
) -> AbstractContextManager[bool]:
    lock = storage.lock(key, lease, wait)
    if lock is None:
        pytest.skip(f"{type(storage).__name__} cannot lock.")
    return lock


def _try_lock(storage: TokenStorageInterface, wait: timedelta, key: str = "app:user") -> bool:
    with _lock(storage, _LONG, wait, key) as acquired:
        return acquired


def _in_another_thread(call: Callable[P, bool], *args: P.args, **kwargs: P.kwargs) -> bool:
    # A lock may belong to its thread, which could then take it twice.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call, *args, **kwargs).result()
