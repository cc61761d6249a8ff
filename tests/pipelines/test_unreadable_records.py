"""Records that nobody can read, or that belong elsewhere."""

import pickle

import pytest

from doubles import (
    CountingStep,
    FlakyStorage,
    JsonStorage,
    RecordingStorage,
    faults,
    recorded,
)
from requestforge import TokenData, TokenFetchPipeline
from requestforge.events import StepMissed
from requestforge.interfaces import TokenStorageInterface

pytestmark = pytest.mark.compat

SHARED = pytest.mark.parametrize("shared", [True, False], ids=["shared", "unshared"])


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "{}", '"x"', '{"access_token": 1}', '{"access_token":"x","leeway":-1}'],
)
@SHARED
def test_an_unreadable_record_is_a_miss_and_deleted(
    app: CountingStep, user: CountingStep, text: str, shared: bool
) -> None:
    """A record that the storage chokes on is deleted and fetched anew; the others are used."""
    storage = JsonStorage(shared=shared)
    pipeline = TokenFetchPipeline([app, user], storage, "shop")
    pipeline.execute()
    storage.texts["shop:app"] = text
    storage.calls.clear()
    with recorded() as events:
        assert pipeline.execute().access_token == "user-1"
    assert storage.made("delete")[0] == "shop:app"
    assert ("read", "app") in faults(events)
    assert [e.step for e in events if isinstance(e, StepMissed)] == ["app"]
    assert (app.fetches, user.fetches) == (2, 1)
    assert pipeline.execute().access_token == "user-1"
    assert app.fetches == 2


def test_an_unreadable_record_is_missed_as_such(app: CountingStep) -> None:
    """The reason of the miss is that the record was unreadable."""
    storage = JsonStorage()
    storage.texts["app"] = "{"
    with recorded() as events:
        TokenFetchPipeline([app], storage).execute()
    assert [e.reason for e in events if isinstance(e, StepMissed)] == ["unreadable"]


@pytest.mark.parametrize("record", [{"access_token": "x"}, "x", 7], ids=["dict", "text", "number"])
@SHARED
def test_a_record_that_is_no_token_is_a_miss_and_deleted(
    app: CountingStep, record: object, shared: bool
) -> None:
    """What a storage gives that is no TokenData is deleted and fetched anew."""
    storage = RecordingStorage(shared=shared)
    storage.tokens["app"] = record
    with recorded() as events:
        assert TokenFetchPipeline([app], storage).execute().access_token == "app-1"
    assert faults(events)[0] == ("read", "app")
    assert [e.reason for e in events if isinstance(e, StepMissed)] == ["unreadable"]
    assert storage.tokens["app"].access_token == "app-1"


def test_an_unreadable_record_that_cannot_be_deleted_is_a_miss(app: CountingStep) -> None:
    """A failing deletion of an unreadable record is told of, and nothing else."""
    storage = FlakyStorage("delete")
    storage.tokens["app"] = "x"
    with recorded() as events:
        assert TokenFetchPipeline([app], storage).execute().access_token == "app-1"
    assert {("read", "app"), ("delete", "app")} <= set(faults(events))


@SHARED
def test_a_record_of_another_key_is_a_miss_and_deleted(
    app: CountingStep, user: CountingStep, shared: bool
) -> None:
    """A record that was copied from another step's key is not served."""
    storage = RecordingStorage(shared=shared)
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()
    storage.tokens["app"] = storage.tokens["user"]
    with recorded() as events:
        pipeline.execute()
    assert ("read", "app") in faults(events)
    assert [(e.step, e.reason) for e in events if isinstance(e, StepMissed)] == [
        ("app", "unreadable")
    ]
    assert storage.tokens["app"].access_token == "app-2"


def test_a_foreign_record_that_cannot_be_deleted_is_a_miss(
    app: CountingStep, user: CountingStep
) -> None:
    """A failing deletion of a foreign record is told of."""
    storage = FlakyStorage()
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()
    storage.tokens["app"] = storage.tokens["user"]
    storage.broken = {"delete"}
    with recorded() as events:
        pipeline.execute()
    assert ("delete", "app") in faults(events)
    assert app.fetches == 2


def test_an_unreadable_epoch_is_deleted(app: CountingStep) -> None:
    """An epoch record that nobody can read is removed, and the step works on."""
    storage = JsonStorage()
    pipeline = TokenFetchPipeline([app], storage, "shop")
    pipeline.execute()
    storage.texts["shop:app#epoch"] = "{"
    with recorded() as events:
        pipeline.execute()
    assert ("read", "app") in faults(events)
    assert "shop:app#epoch" not in storage.texts


@SHARED
def test_a_record_that_cannot_be_unpickled_is_a_miss_and_deleted(
    app: CountingStep, user: CountingStep, shared: bool
) -> None:
    """A storage that pickles may choke on a record, too; the records beside it are used."""
    storage = PicklingStorage(shared=shared)
    pipeline = TokenFetchPipeline([app, user], storage, "shop")
    pipeline.execute()
    storage.pickles["shop:app"] = b"garbage"
    with recorded() as events:
        assert pipeline.execute().access_token == "user-1"
    assert ("read", "app") in faults(events)
    assert (app.fetches, user.fetches) == (2, 1)


class PicklingStorage(TokenStorageInterface):
    """Keeps pickles, as many caches do."""

    def __init__(self, *, shared: bool) -> None:
        self.shared = shared
        self.pickles: dict[str, bytes] = {}

    def get(self, key: str) -> TokenData | None:
        pickled = self.pickles.get(key)
        return None if pickled is None else pickle.loads(pickled)

    def set(self, key: str, token: TokenData) -> None:
        self.pickles[key] = pickle.dumps(token)

    def delete(self, key: str) -> None:
        self.pickles.pop(key, None)

    def exists(self, key: str) -> bool:
        return key in self.pickles
