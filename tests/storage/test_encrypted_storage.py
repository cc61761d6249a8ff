import base64
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canary import CANARY_ACCESS_TOKEN, CANARY_EXTRA, CANARY_REFRESH_TOKEN, assert_clean
from doubles import (
    BasicStorage,
    Clock,
    CountingStep,
    FlakyStorage,
    JsonStorage,
    RecordingStorage,
    SixFieldStorage,
    faults,
    recorded,
)
from pytest_requestforge.contracts import TokenStorageContract
from requestforge import (
    DjangoCacheTokenStorage,
    EncryptedTokenStorage,
    FileTokenStorage,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
    TokenStorageException,
    TokenStorageInterface,
)
from requestforge.events import StepMissed, StorageFailed
from requestforge.instrumentation import use_clock

pytestmark = pytest.mark.compat

DjangoCache = Callable[[str], Any]

KEY, OTHER_KEY = (bytes([number]) * 32 for number in range(2))
MOMENT = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECRET = TokenData.from_dict(
    {
        "access_token": CANARY_ACCESS_TOKEN,
        "token_type": "canary-type",
        "expires_at": "2030-01-01T13:00:00+00:00",
        "refresh_token": CANARY_REFRESH_TOKEN,
        "scope": "canary-scope",
        "extra": {"canary-name": CANARY_EXTRA},
        "issued_at": "2030-01-01T12:00:00+00:00",
        "leeway": 7.5,
        "generation": "tag.epoch.nonce",
    }
)


@pytest.fixture
def inner() -> JsonStorage:
    """A storage of which the tests see what it holds."""
    return JsonStorage()


@pytest.fixture
def storage(inner: JsonStorage) -> EncryptedTokenStorage:
    """An encrypted storage on it."""
    return EncryptedTokenStorage(inner, [KEY])


class TestContractInMemory(TokenStorageContract):
    @pytest.fixture
    def storage(self) -> TokenStorageInterface:
        """An encrypted storage in this process."""
        return EncryptedTokenStorage(InMemoryTokenStorage(), [KEY])


class TestContractInFiles(TokenStorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> TokenStorageInterface:
        """An encrypted storage in files."""
        return EncryptedTokenStorage(FileTokenStorage(tmp_path / "tokens"), [KEY])


@pytest.mark.parametrize("kind", ["database", "redis"])
class TestContractInDjango(TokenStorageContract):
    @pytest.fixture
    def storage(self, kind: str, django_cache: DjangoCache) -> TokenStorageInterface:
        """An encrypted storage in one of Django's caches."""
        django_cache(kind)
        return EncryptedTokenStorage(DjangoCacheTokenStorage(), [KEY])


class TestContractOnFourMethods(TokenStorageContract):
    @pytest.fixture
    def storage(self) -> TokenStorageInterface:
        """An encrypted storage on one without our base class."""
        return EncryptedTokenStorage(BasicStorage(), [KEY])


class TestConstruction:
    def test_imports_cryptography(self) -> None:
        """Cryptography is loaded when a storage is made, and no earlier."""
        code = (
            "import sys\n"
            "from requestforge import EncryptedTokenStorage, InMemoryTokenStorage\n"
            "key = EncryptedTokenStorage.generate_key()\n"
            "early = 'cryptography' in sys.modules\n"
            "EncryptedTokenStorage(InMemoryTokenStorage(), [key])\n"
            "sys.exit(early or 'cryptography' not in sys.modules)\n"
        )

        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_tells_how_to_install_cryptography(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without cryptography it says which extra to install."""
        monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)

        with pytest.raises(ImportError, match=r"pip install 'requestforge\[crypto\]'"):
            EncryptedTokenStorage(InMemoryTokenStorage(), [KEY])

    def test_makes_keys(self) -> None:
        """Each generated key is another one of 32 bytes, and is taken."""
        keys = [EncryptedTokenStorage.generate_key() for _ in range(10)]

        assert {len(key) for key in keys} == {32}
        assert len(set(keys)) == 10
        assert EncryptedTokenStorage(InMemoryTokenStorage(), iter(keys))

    @pytest.mark.parametrize("length", [0, 16, 24, 31, 33, 44])
    def test_refuses_keys_of_another_length(self, length: int) -> None:
        """A key that is not 32 bytes long is refused by its place in the ring."""
        with pytest.raises(ValueError, match=r"keys\[1\] must be 32 bytes long, but has") as caught:
            EncryptedTokenStorage(InMemoryTokenStorage(), [KEY, b"k" * length])

        assert f"has {length}." in str(caught.value)

    def test_refuses_an_empty_ring(self) -> None:
        """Without a key nothing can be sealed."""
        with pytest.raises(ValueError, match="at least one key"):
            EncryptedTokenStorage(InMemoryTokenStorage(), [])

    @pytest.mark.parametrize(
        ("keys", "kind"),
        [
            pytest.param(KEY, "int", id="one-key"),
            pytest.param("canary-text", "str", id="one-text"),
            pytest.param(["canary-text" * 3], "str", id="texts"),
        ],
    )
    def test_refuses_keys_of_another_type(self, keys: Any, kind: str) -> None:  # noqa: ANN401
        """What is no list of bytes is refused by its type, and not shown."""
        with pytest.raises(TypeError, match=rf"keys\[0\] is of type {kind}\.") as caught:
            EncryptedTokenStorage(InMemoryTokenStorage(), keys)

        assert_clean(caught.value)

    def test_shows_no_key(self, storage: EncryptedTokenStorage) -> None:
        """The repr names the inner storage, and its keys are neither shown nor pickled."""
        shown = EncryptedTokenStorage(InMemoryTokenStorage(), [b"canary-key-" + b"k" * 21])

        assert (
            repr(shown) == "EncryptedTokenStorage(InMemoryTokenStorage(max_entries=None), keys=***)"
        )
        assert_clean(repr(shown), str(shown))
        with pytest.raises(TypeError, match="holds keys"):
            pickle.dumps(storage)


class TestSealing:
    def test_hides_what_the_server_said(
        self, inner: JsonStorage, storage: EncryptedTokenStorage
    ) -> None:
        """The inner storage gets no token, type, scope, refresh token or extra, in no encoding."""
        storage.set("app", SECRET)
        storage.compare_and_set("user", SECRET, None)

        for text in inner.texts.values():
            decoded = base64.urlsafe_b64decode(json.loads(text)["access_token"])
            assert "canary" not in text
            assert b"canary" not in decoded
        kept = storage.get("app")
        assert kept is not None
        assert kept.to_dict() == SECRET.to_dict()

    def test_shows_what_housekeeping_needs(
        self, inner: JsonStorage, storage: EncryptedTokenStorage
    ) -> None:
        """The generation, the expiry, and whether there is a refresh token stay visible."""
        storage.set("app", SECRET)
        storage.set("user", replace(SECRET, refresh_token=None, expires_at=None))

        shown = {key: json.loads(text) for key, text in inner.texts.items()}
        assert shown["app"] | {"access_token": ""} == {
            "access_token": "",
            "token_type": "sealed",
            "expires_at": "2030-01-01T13:00:00+00:00",
            "refresh_token": "sealed",
            "scope": None,
            "extra": {},
            "issued_at": None,
            "leeway": 0.0,
            "generation": "tag.epoch.nonce",
        }
        assert (shown["user"]["refresh_token"], shown["user"]["expires_at"]) == (None, None)

    def test_differs_each_time(self, inner: JsonStorage, storage: EncryptedTokenStorage) -> None:
        """Sealing the same token again uses another nonce."""
        nonces = set()
        for _ in range(1000):
            storage.set("app", SECRET)
            sealed = json.loads(inner.texts["app"])["access_token"]
            nonces.add(base64.urlsafe_b64decode(sealed)[:12])

        assert len(nonces) == 1000

    def test_keeps_timeouts(self, django_cache: DjangoCache) -> None:
        """A cache keeps a sealed token as long as it would keep the token itself."""
        cache = django_cache("cache_backends.Counting")
        plain = DjangoCacheTokenStorage()
        tokens = [SECRET, replace(SECRET, refresh_token=None), replace(SECRET, expires_at=None)]

        with use_clock(Clock(MOMENT)):
            for each in (plain, EncryptedTokenStorage(plain, [KEY])):
                for token in tokens:
                    each.set("app", token)

        assert cache.timeouts[:3] == cache.timeouts[3:] == [3600 + 30 * 86_400, 3600, None]

    def test_lets_dead_tokens_be_collected(self) -> None:
        """A bounded storage lets a dead sealed token go before a living one."""
        storage = EncryptedTokenStorage(InMemoryTokenStorage(max_entries=2), [KEY])
        dead = TokenData("dead", expires_at=MOMENT - timedelta(hours=1))

        with use_clock(Clock(MOMENT)):
            for key, token in {"app": TokenData("a"), "old": dead, "user": TokenData("b")}.items():
                storage.set(key, token)

        assert [key for key in ("app", "old", "user") if storage.exists(key)] == ["app", "user"]

    def test_is_shared_by_threads(self) -> None:
        """16 threads seal and open with one ring at the same time."""
        storage = EncryptedTokenStorage(InMemoryTokenStorage(), [KEY])

        def use(thread: int) -> bool:
            token = TokenData(f"{thread}" * 1000)
            for _ in range(50):
                storage.set(f"app:{thread}", token)
                if storage.get(f"app:{thread}") != token:
                    return False
            return True

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(use, range(16)))


class TestKeyRing:
    def test_is_rotated(self, inner: JsonStorage) -> None:
        """The first key seals, and the older ones still open what they have sealed."""
        old = EncryptedTokenStorage(inner, [KEY])
        rotated = EncryptedTokenStorage(inner, [OTHER_KEY, KEY])
        old.set("app", TokenData("by the old key"))
        rotated.set("user", TokenData("by the new key"))

        assert rotated.get_many(["app", "user"]) == {
            "app": TokenData("by the old key"),
            "user": TokenData("by the new key"),
        }
        assert EncryptedTokenStorage(inner, [OTHER_KEY]).get("user") == TokenData("by the new key")
        assert old.get("user") is None

    def test_is_announced_first(self, inner: JsonStorage) -> None:
        """A key that is last in every ring before it is first in one is understood by all."""
        before = EncryptedTokenStorage(inner, [KEY, OTHER_KEY])
        after = EncryptedTokenStorage(inner, [OTHER_KEY, KEY])
        before.set("app", TokenData("before"))
        after.set("user", TokenData("after"))

        assert before.get("user") == TokenData("after")
        assert after.get("app") == TokenData("before")


def swapped(record: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The record of another key."""
    del record
    return other


UNREADABLE: dict[str, Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]] = {
    "another key's": swapped,
    "plain": lambda record, _: record | {"access_token": "a-plain-token"},
    "not ascii": lambda record, _: record | {"access_token": "жетон"},
    "empty": lambda record, _: record | {"access_token": ""},
    "short": lambda record, _: record | {"access_token": record["access_token"][:20]},
    "cut": lambda record, _: record | {"access_token": record["access_token"][:-8]},
    "longer": lambda record, _: record | {"access_token": record["access_token"] + "AAAA"},
    "other nonce": lambda record, _: (
        record | {"access_token": "A" * 16 + record["access_token"][16:]}
    ),
    "other generation": lambda record, _: record | {"generation": "tag.later.nonce"},
}


class TestUnreadableRecords:
    @pytest.mark.parametrize("change", UNREADABLE.values(), ids=UNREADABLE)
    def test_count_as_none(
        self,
        inner: JsonStorage,
        storage: EncryptedTokenStorage,
        change: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]],
    ) -> None:
        """What was not sealed for that key is none, goes, and is told of; others are found."""
        storage.set("user", TokenData("kept"))
        other = json.loads(inner.texts["user"])

        for read in (storage.get, lambda key: storage.get_many([key, "user"]).get(key)):
            storage.set("app", SECRET)
            inner.texts["app"] = json.dumps(change(json.loads(inner.texts["app"]), other))
            with recorded() as events:
                assert read("app") is None
            assert [(type(e), e.step, e.operation) for e in events] == [
                (StorageFailed, "app", "read")
            ]
            assert_clean(events)
            assert not inner.exists("app")
        assert storage.get_many(["user"]) == {"user": TokenData("kept")}

    def test_of_an_unknown_key_count_as_none(self, inner: JsonStorage) -> None:
        """A record that another ring has sealed is none, and goes."""
        EncryptedTokenStorage(inner, [OTHER_KEY]).set("app", SECRET)

        assert EncryptedTokenStorage(inner, [KEY]).get("app") is None
        assert not inner.exists("app")

    def test_are_deleted_alone(self, inner: JsonStorage, storage: EncryptedTokenStorage) -> None:
        """A token that comes in the place of an unreadable record meanwhile is not deleted."""

        class Slow(JsonStorage):
            def get(self, key: str) -> TokenData | None:
                token = super().get(key)
                if self.made("get") == ["app"]:
                    EncryptedTokenStorage(self, [KEY]).set("app", SECRET)
                return token

        slow = Slow()
        slow.set("app", TokenData("plain"))

        assert EncryptedTokenStorage(slow, [KEY]).get("app") is None
        assert EncryptedTokenStorage(slow, [KEY]).get("app") == SECRET

    def test_that_cannot_be_deleted_are_misses_all_the_same(self) -> None:
        """A failure to delete what is of no use harms nobody."""
        inner = FlakyStorage("delete")
        inner.tokens["app"] = TokenData("plain")
        storage = EncryptedTokenStorage(inner, [KEY])

        assert storage.get("app") is None
        assert storage.get_many(["app"]) == {}

    def test_are_fetched_anew(self, inner: JsonStorage, storage: EncryptedTokenStorage) -> None:
        """To a pipeline a record that was swapped with another's is a miss of both steps."""
        app, user = CountingStep("app"), CountingStep("user", ["app"])
        pipeline = TokenFetchPipeline([app, user], storage)
        pipeline.execute()
        inner.texts["app"], inner.texts["user"] = inner.texts["user"], inner.texts["app"]

        with recorded() as events:
            assert pipeline.execute().access_token == "user-2"

        assert faults(events) == [("read", "app"), ("read", "user")]
        assert [event.step for event in events if isinstance(event, StepMissed)] == ["app", "user"]
        assert pipeline.execute().access_token == "user-2"

    @given(
        place=st.floats(0, 1, exclude_max=True),
        byte=st.integers(1, 255),
        cut=st.booleans(),
    )
    @settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_are_told_by_any_byte(
        self,
        inner: JsonStorage,
        storage: EncryptedTokenStorage,
        place: float,
        byte: int,
        cut: bool,
    ) -> None:
        """No byte of a sealed token can be changed, and none left out, unnoticed."""
        storage.set("app", SECRET)
        record = json.loads(inner.texts["app"])
        blob = bytearray(base64.urlsafe_b64decode(record["access_token"]))
        at = int(place * len(blob))
        if cut:
            del blob[at:]
        else:
            blob[at] ^= byte
        sealed = base64.urlsafe_b64encode(blob).decode()
        inner.texts["app"] = json.dumps(record | {"access_token": sealed})

        assert storage.get("app") is None

    @given(data=st.data())
    @settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_in_files_give_a_token_or_none(self, tmp_path: Path, data: st.DataObject) -> None:
        """Whatever becomes of the file of a sealed record, it is the token or a miss."""
        storage = EncryptedTokenStorage(FileTokenStorage(tmp_path / "tokens"), [KEY])
        storage.set("app", SECRET)
        [file] = (tmp_path / "tokens").glob("*.json")
        content = bytearray(file.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(content) - 1))
            content[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        file.write_bytes(content)

        assert storage.get("app") in (None, SECRET)


class TestInnerStorage:
    @pytest.mark.parametrize(
        ("inner", "shared", "versioned"),
        [
            pytest.param(InMemoryTokenStorage(), False, True, id="memory"),
            pytest.param(JsonStorage(), True, False, id="shared"),
            pytest.param(BasicStorage(), True, False, id="four-methods"),
        ],
    )
    def test_says_how_far_it_reaches(self, inner: Any, shared: bool, versioned: bool) -> None:  # noqa: ANN401
        """Whether others share it, and its version, are those of the inner storage."""
        storage = EncryptedTokenStorage(inner, [KEY])
        before = storage.content_version
        storage.set("app", SECRET)

        assert storage.shared is shared
        assert (before is not None) is versioned
        assert (storage.content_version != before) is versioned

    def test_is_read_and_emptied_in_batches(
        self, inner: JsonStorage, storage: EncryptedTokenStorage
    ) -> None:
        """Many tokens are one batched command of the inner storage."""
        for key in ("app", "user"):
            storage.set(key, SECRET)
        inner.calls.clear()

        assert len(storage.get_many(["app", "user", "none"])) == 2
        storage.delete_many(["app", "user"])

        assert inner.made("get_many") == ["app,user,none"]
        assert inner.texts == {}

    def test_locks(self, tmp_path: Path) -> None:
        """Its lock is the inner storage's, or none."""
        files = FileTokenStorage(tmp_path / "tokens")
        long, now = timedelta(seconds=30), timedelta(0)

        with (
            EncryptedTokenStorage(files, [KEY]).lock("app", long, now) as first,
            files.lock("app", long, now) as second,
        ):
            assert (first, second) == (True, False)
        assert EncryptedTokenStorage(JsonStorage(), [KEY]).lock("app", long, now) is None

    def test_is_closed(self) -> None:
        """Closing closes the inner storage, if it can be closed."""

        class Closing(RecordingStorage):
            closed = 0

            def close(self) -> None:
                self.closed += 1

        inner = Closing()
        EncryptedTokenStorage(inner, [KEY]).close()
        EncryptedTokenStorage(BasicStorage(), [KEY]).close()

        assert inner.closed == 1

    def test_may_fail(self) -> None:
        """Its errors are passed on as they are."""
        inner = FlakyStorage("get", "set", "delete")
        inner.error = TokenStorageException("down")
        storage = EncryptedTokenStorage(inner, [KEY])

        for use in (storage.get, storage.delete, storage.exists, lambda k: storage.set(k, SECRET)):
            with pytest.raises(TokenStorageException, match="down"):
                use("app")

    def test_may_lose_the_generation(self) -> None:
        """One that keeps six fields serves a pipeline as it does without encryption."""
        inner = SixFieldStorage()
        app, user = CountingStep("app"), CountingStep("user", ["app"])
        pipeline = TokenFetchPipeline([app, user], EncryptedTokenStorage(inner, [KEY]))
        provider = PipelineTokenProvider(pipeline, "shop")

        token = provider.fetch_token()
        assert provider.fetch_token() == token
        assert provider.refresh(token).access_token == "user-2"
        pipeline.invalidate_all()
        assert provider.fetch_token().access_token == "user-3"
        assert provider.fetch_token().access_token == "user-3"


@pytest.fixture(params=["memory", "files", "shared"])
def each(request: pytest.FixtureRequest, tmp_path: Path) -> EncryptedTokenStorage:
    """An encrypted storage of each kind."""
    kinds: dict[str, Callable[[], TokenStorageInterface]] = {
        "memory": InMemoryTokenStorage,
        "files": lambda: FileTokenStorage(tmp_path / "tokens"),
        "shared": JsonStorage,
    }
    return EncryptedTokenStorage(kinds[request.param](), [KEY])


class TestPipelines:
    def test_cache(self, each: EncryptedTokenStorage) -> None:
        """A pipeline finds its tokens again until their end."""
        app = CountingStep("app", expires_in=3600)
        pipeline = TokenFetchPipeline([app], each, "shop")
        with use_clock(Clock(MOMENT)) as clock:
            for _ in range(3):
                assert pipeline.execute().access_token == "app-1"
            clock.advance(hours=1)
            assert pipeline.execute().access_token == "app-2"
            assert pipeline.execute(force_refresh=True).access_token == "app-3"
            assert pipeline.execute().access_token == "app-3"

    def test_invalidate(self, each: EncryptedTokenStorage) -> None:
        """An invalidation is kept, also from a fetch that was under way."""
        app = CountingStep("app")
        pipeline = TokenFetchPipeline([app], each, "shop")
        app.during = lambda: pipeline.invalidate_step("app")
        assert pipeline.execute().access_token == "app-1"
        app.during = None
        assert pipeline.execute().access_token == "app-2"
        assert pipeline.execute().access_token == "app-2"

    def test_share_epochs(self, tmp_path: Path) -> None:
        """An invalidation through one storage object reaches a pipeline on another."""
        pipelines = [
            TokenFetchPipeline(
                [CountingStep("app")],
                EncryptedTokenStorage(FileTokenStorage(tmp_path / "tokens"), [KEY]),
                "shop",
            )
            for _ in range(2)
        ]
        tokens = [pipeline.execute() for pipeline in pipelines]
        assert tokens[0].generation == tokens[1].generation

        pipelines[0].invalidate_step("app")

        assert pipelines[1].execute().generation != tokens[0].generation
