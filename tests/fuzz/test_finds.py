"""What changed records have once done harm with."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import redis
from records import Forged, Kept

from doubles import recorded
from requestforge import EncryptedTokenStorage, RedisTokenStorage, TokenData
from requestforge.events import StorageFailed

KEY = bytes(32)


@pytest.mark.parametrize(
    "record",
    [
        pytest.param([], id="list"),
        pytest.param("text", id="text"),
        pytest.param({"access_token": "a"}, id="no generation"),
        pytest.param({"access_token": "a", "generation": 5}, id="number"),
        pytest.param(None, id="null"),
    ],
)
def test_what_is_sealed_and_no_record_counts_as_none(record: Any) -> None:  # noqa: ANN401 - JSON
    """A later release may seal what this one cannot read: that is a miss, and deleted."""
    forged = Forged("sealed")
    object.__setattr__(forged, "record", record)
    kept = Kept({})
    storage = EncryptedTokenStorage(kept, [KEY])
    storage.set("app", forged)
    kept.record["generation"] = "tag.epoch.nonce"

    with recorded() as events:
        assert storage.get("app") is None

    assert not storage.exists("app")
    assert [type(event) for event in events] == [StorageFailed]


def test_the_same_record_again_is_deleted_again(connect: Callable[..., redis.Redis]) -> None:
    """What cannot be read does not stay in Redis because it was once seen before."""
    client, prefix = connect(), uuid4().hex
    storage = RedisTokenStorage(client, key_prefix=prefix)
    storage.set("app", TokenData("token"))
    [name] = client.keys(f"*{prefix}*")

    for _ in range(2):
        client.set(name, b"torn")
        assert storage.get("app") is None
        assert client.get(name) is None
