"""Storages that tell whether they still hold the same, so that it need not be read again."""

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from requestforge import (
    DjangoCacheTokenStorage,
    EncryptedTokenStorage,
    FileTokenStorage,
    InMemoryTokenStorage,
    RedisTokenStorage,
)
from requestforge.events import Event, StorageFailed
from requestforge.instrumentation import observe
from requestforge.interfaces import TokenStorageInterface
from requestforge.tokens import TokenData

KEYS = ("shop:app", "shop:user", "shop:gone")
TOKEN = TokenData("secret", expires_at=datetime(2099, 1, 1, tzinfo=UTC))


@pytest.fixture(params=["redis", "file", "django", "encrypted-file", "encrypted-memory"])
def storage(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    redis_url: str,
    django_cache: Callable[[str], object],
) -> TokenStorageInterface:
    """A storage with two tokens."""
    django_cache("locmem")
    make: dict[str, Callable[[], TokenStorageInterface]] = {
        "redis": lambda: RedisTokenStorage(url=redis_url, key_prefix=uuid4().hex),
        "file": lambda: FileTokenStorage(tmp_path),
        "django": lambda: DjangoCacheTokenStorage(key_prefix=uuid4().hex),
        "encrypted-file": lambda: EncryptedTokenStorage(FileTokenStorage(tmp_path), [bytes(32)]),
        "encrypted-memory": lambda: EncryptedTokenStorage(InMemoryTokenStorage(), [bytes(32)]),
    }
    storage = make[request.param]()
    for key in KEYS[:2]:
        storage.set(key, TOKEN)
    return storage


def test_is_that_of_get_many(storage: TokenStorageInterface) -> None:
    """`content_of` gives what `get_many` gives, whose answer is the caller's to change."""
    first = storage.get_many(KEYS)
    first.clear()

    assert (
        dict(storage.content_of(KEYS)) == storage.get_many(KEYS) == dict.fromkeys(KEYS[:2], TOKEN)
    )


def test_is_one_object_while_it_is_the_same(
    storage: TokenStorageInterface, request: pytest.FixtureRequest
) -> None:
    """What is held unchanged is the same object, where the innermost storage can tell."""
    same = storage.content_of(KEYS) is storage.content_of(KEYS)

    assert same is ("encrypted-memory" not in request.node.name)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda storage: storage.delete(KEYS[0]), id="deleted"),
        pytest.param(lambda storage: storage.set(KEYS[2], TOKEN), id="added"),
        pytest.param(lambda storage: storage.set(KEYS[1], TokenData("new")), id="replaced"),
        pytest.param(
            lambda storage: storage.set(
                KEYS[1],
                TokenData("secret", expires_at=TOKEN.expires_at, leeway=timedelta(seconds=1)),
            ),
            id="equal-but-in-its-leeway",
        ),
    ],
)
def test_is_another_object_after_a_change(
    storage: TokenStorageInterface, change: Callable[[TokenStorageInterface], object]
) -> None:
    """Any change of any record makes it another object, with what is there now."""
    before = storage.content_of(KEYS)
    held = dict(before)
    change(storage)
    after = storage.content_of(KEYS)

    assert after is not before
    assert dict(before) == held
    assert {key: token.to_dict() for key, token in after.items()} == {
        key: token.to_dict() for key in KEYS if (token := storage.get(key)) is not None
    }


def test_is_remembered_for_so_many_keys(storage: TokenStorageInterface) -> None:
    """Reads of ever other keys do not fill the memory: the first are forgotten."""
    first = storage.content_of(KEYS)
    for number in range(1000):
        storage.content_of((KEYS[0], f"tenant:{number}"))

    assert storage.content_of(KEYS) is not first


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_does_not_travel(
    tmp_path: Path, copied: Callable[[FileTokenStorage], FileTokenStorage]
) -> None:
    """A copy of a storage holds none of the tokens that were read by the original."""
    storage = FileTokenStorage(tmp_path)
    storage.set("user", TOKEN)
    read = storage.content_of(("user",))

    assert b"secret" not in pickle.dumps(storage)
    assert copied(storage).content_of(("user",)) is not read


def test_that_cannot_be_read_is_told_each_time(redis_servers: Callable[..., object]) -> None:
    """A record that is no token, and that cannot be deleted, is a failure at every read."""
    server = redis_servers()
    storage = RedisTokenStorage(url=server.url)  # type: ignore[attr-defined]
    storage.set("user", TOKEN)
    storage.content_of(("user", "app"))
    client: redis.Redis = server.client()  # type: ignore[attr-defined]
    client.set("{token:}app", "no token")
    client.config_set("min-replicas-to-write", 1)
    events: list[Event] = []
    with observe(events.append):
        for _ in range(2):
            assert storage.content_of(("user", "app")).keys() == {"user"}

    assert [type(event) for event in events] == [StorageFailed] * 2
