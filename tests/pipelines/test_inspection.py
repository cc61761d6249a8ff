"""`TokenFetchPipeline.inspect`: what a storage holds, found without a change to it."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from canary import CANARY_ACCESS_TOKEN, assert_clean
from doubles import (
    START,
    Clock,
    CountingStep,
    FlakyStorage,
    JsonStorage,
    RecordingStorage,
    recorded,
)
from requestforge import (
    BodyTokenFetcher,
    DjangoCacheTokenStorage,
    EncryptedTokenStorage,
    FileTokenStorage,
    InMemoryTokenStorage,
    RedisTokenStorage,
    StepValue,
    TokenData,
    TokenFetchPipeline,
    TokenStorageException,
    TokenStorageInterface,
)
from requestforge.instrumentation import use_clock
from requestforge.pipelines import StepState


@pytest.fixture(autouse=True)
def clock() -> Iterator[Clock]:
    """A clock that stands still."""
    with use_clock(Clock()) as clock:
        yield clock


def shop(storage: TokenStorageInterface, **options: Any) -> TokenFetchPipeline:  # noqa: ANN401
    """A pipeline of two steps with lives of 100 and 50 s."""
    steps = CountingStep("app", expires_in=100), CountingStep("user", ["app"], expires_in=50)
    return TokenFetchPipeline(steps, storage, "shop", **options)


def states(pipeline: TokenFetchPipeline) -> list[str]:
    """The states of the steps."""
    return [each.state for each in pipeline.inspect()]


class TestStates:
    def test_what_is_missing_is_told(self) -> None:
        """An empty storage holds nothing for any step."""
        assert shop(InMemoryTokenStorage()).inspect() == [
            StepState(step="app", state="missing"),
            StepState(step="user", state="missing"),
        ]

    def test_a_fresh_token_is_described(self) -> None:
        """Its end of use, its generation, and whether a refresh token is with it."""
        app = CountingStep("app", expires_in=100, refresh_token="again")
        pipeline = TokenFetchPipeline([app], InMemoryTokenStorage())
        token = pipeline.execute()

        [state] = pipeline.inspect()

        assert state == StepState(
            step="app",
            state="fresh",
            ends_at=START + timedelta(seconds=90),
            generation=token.generation,
            has_refresh_token=True,
        )
        assert state.is_usable

    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [
            pytest.param(0, ["fresh", "fresh"], id="new"),
            pytest.param(40, ["fresh", "stale"], id="one is due"),
            pytest.param(46, ["fresh", "dead"], id="one has ended"),
            pytest.param(89, ["stale", "dead"], id="another is due"),
            pytest.param(90, ["dead", "dead"], id="both have ended"),
        ],
    )
    def test_a_token_grows_old(self, clock: Clock, seconds: int, expected: list[str]) -> None:
        """It is stale where `refresh_ahead` would renew it, and dead at the end of its use."""
        pipeline = shop(InMemoryTokenStorage(), refresh_ahead=timedelta(seconds=10))
        pipeline.execute()
        clock.advance(seconds=seconds)

        assert states(pipeline) == expected
        assert [s.is_usable for s in pipeline.inspect()] == [s != "dead" for s in expected]

    @pytest.mark.parametrize("storage", [InMemoryTokenStorage, RecordingStorage])
    def test_what_was_invalidated_is_told(self, storage: Callable[[], Any]) -> None:
        """Until the next fetch, the step and its dependents lack their tokens for that reason."""
        pipeline = shop(storage())
        pipeline.execute()
        pipeline.invalidate_step("app")

        assert states(pipeline) == ["invalidated", "invalidated"]
        pipeline.execute()
        assert states(pipeline) == ["fresh", "fresh"]

    def test_the_epoch_is_told(self) -> None:
        """Other processes see by it that there was an invalidation."""
        storage = RecordingStorage()
        shop(storage).invalidate_step("user")

        app, user = shop(storage).inspect()

        assert app.epoch is None
        assert user.epoch == storage.tokens["shop:user#epoch"].access_token

    def test_a_record_of_another_epoch_counts_as_invalidated(self) -> None:
        """What was written by one who did not know of an invalidation is not served."""
        storage = RecordingStorage()
        pipeline = shop(storage)
        pipeline.execute()
        old = dict(storage.tokens)
        pipeline.invalidate_all()
        storage.tokens.update(old)

        assert states(pipeline) == ["invalidated", "invalidated"]

    def test_a_refresh_token_may_outlive_its_token(self) -> None:
        """One that was refused is invalidated, and what buys the next one is still there."""
        storage = InMemoryTokenStorage()
        gone = datetime(1970, 1, 1, tzinfo=UTC)
        token = TokenData("app", expires_at=gone, leeway=timedelta(0), refresh_token="again")
        storage.set("shop:app", token)

        app, _ = shop(storage).inspect()

        assert (app.state, app.ends_at, app.has_refresh_token) == ("invalidated", None, True)

    def test_a_token_that_only_this_process_has_is_told(self) -> None:
        """A storage that cannot be written to leaves it usable here."""
        storage = FlakyStorage("set")
        pipeline = shop(storage)
        pipeline.execute()

        assert states(pipeline) == ["fresh", "fresh"]
        assert states(shop(FlakyStorage())) == ["missing", "missing"]


class TestChangesNothing:
    def test_it_reads_once(self) -> None:
        """One batched read, no write, no event, no fetch."""
        storage = RecordingStorage()
        pipeline = shop(storage)
        pipeline.execute()
        storage.calls.clear()

        with recorded() as events:
            pipeline.inspect()

        assert [name for name, _ in storage.calls] == ["get_many"]
        assert events == []

    def test_a_record_of_another_key_stays(self) -> None:
        """A record that was put under another step's key cannot be read there."""
        storage = RecordingStorage()
        pipeline = shop(storage)
        pipeline.execute()
        storage.tokens["shop:user"] = storage.tokens["shop:app"]
        before = dict(storage.tokens)

        with recorded() as events:
            assert states(pipeline) == ["fresh", "unreadable"]

        assert storage.tokens == before
        assert events == []

    def test_what_is_no_token_stays(self) -> None:
        """A storage of one's own may give anything."""
        storage: Any = RecordingStorage()
        storage.tokens["shop:app"] = "a text"

        assert states(shop(storage)) == ["unreadable", "missing"]
        assert storage.tokens == {"shop:app": "a text"}

    def test_what_a_storage_cannot_read_stays(self) -> None:
        """A storage may raise for it instead of deleting it."""
        storage = JsonStorage()
        pipeline = shop(storage)
        pipeline.execute()
        storage.texts["shop:app"] = "{"

        assert states(pipeline) == ["unreadable", "fresh"]
        assert storage.texts["shop:app"] == "{"
        assert pipeline.execute().access_token == "user-1"
        assert json.loads(storage.texts["shop:app"])["access_token"] == "app-2"

    def test_files_stay(self, tmp_path: Path) -> None:
        """A torn file is left for the next fetch."""
        pipeline = shop(FileTokenStorage(tmp_path / "tokens"))
        pipeline.execute()
        [file] = (tmp_path / "tokens").glob("shop_app-*.json")
        file.write_bytes(b"torn")

        self.check(pipeline, lambda: file.read_bytes() == b"torn")

    def test_entries_of_redis_stay(self, connect: Callable[..., redis.Redis]) -> None:
        """So is an entry of Redis, before and after it was looked at."""
        client = connect()
        pipeline = shop(RedisTokenStorage(client, key_prefix="looked-at"))
        pipeline.execute()
        [name] = client.keys("*looked-at*app")
        client.set(name, b"torn")

        self.check(pipeline, lambda: client.get(name) == b"torn")

    def test_entries_of_django_stay(self, django_cache: Callable[[str], Any]) -> None:
        """So is one of Django's cache."""
        cache = django_cache("locmem")
        pipeline = shop(DjangoCacheTokenStorage())
        pipeline.execute()
        cache.set("token:shop:app", "torn")

        self.check(pipeline, lambda: cache.get("token:shop:app") == "torn")

    def test_who_has_another_key_deletes_nothing(self) -> None:
        """An operator without the key ring of the servers does them no harm."""
        storage = RecordingStorage()
        served = shop(EncryptedTokenStorage(storage, [bytes(32)]))
        served.execute()
        other = shop(EncryptedTokenStorage(storage, [b"x" * 32]))

        with recorded() as events:
            assert states(other) == ["unreadable", "unreadable"]

        assert states(served) == ["fresh", "fresh"]
        assert events == []

    def check(self, pipeline: TokenFetchPipeline, stays: Callable[[], bool]) -> None:
        """The record of the first step is unreadable and stays; a fetch then replaces it."""
        with recorded() as events:
            assert states(pipeline) == ["unreadable", "fresh"]
            assert states(pipeline) == ["unreadable", "fresh"]
        assert stays()
        assert events == []
        pipeline.execute()
        assert not stays()
        assert states(pipeline) == ["fresh", "fresh"]


class TestFailures:
    @pytest.mark.parametrize(
        "error",
        [
            pytest.param(OSError(f"redis://user:{CANARY_ACCESS_TOKEN}@host is gone"), id="foreign"),
            pytest.param(TokenStorageException("It is down."), id="of a storage"),
        ],
    )
    def test_a_storage_that_fails_is_told(self, error: Exception) -> None:
        """There is one error for it, without a secret, and observers hear of nothing."""
        storage = FlakyStorage("get")
        storage.error = error

        with recorded() as events, pytest.raises(TokenStorageException) as caught:
            shop(storage).inspect()

        assert_clean(caught.value)
        assert events == []

    def test_a_storage_that_fails_at_one_key_is_told(self) -> None:
        """Also while the records are read one by one, since another cannot be understood."""

        class Failing(FlakyStorage):
            def get_many(self, keys: Any) -> dict[str, TokenData]:  # noqa: ANN401
                raise ValueError

        storage = Failing("get")

        with pytest.raises(TokenStorageException):
            shop(storage).inspect()

    def test_a_missing_library_is_told_as_such(self) -> None:
        """What has to be installed is no fault of the storage."""
        storage = FlakyStorage("get")
        storage.error = ImportError("pip install it")

        with pytest.raises(ImportError, match="pip install it"):
            shop(storage).inspect()

    def test_a_failed_look_leaves_later_reads_alone(self) -> None:
        """Afterwards what cannot be read is deleted again."""
        storage: Any = FlakyStorage("get")
        pipeline = shop(storage)
        with suppress(TokenStorageException):
            pipeline.inspect()
        storage.broken.clear()
        storage.tokens["shop:app"] = "a text"

        pipeline.execute()

        assert storage.tokens["shop:app"].access_token == "app-1"


class TestTenants:
    def test_a_tenant_needs_no_values(self) -> None:
        """Its tokens can be looked at and given up by its name alone."""
        login = {"user": StepValue("user")}
        app = BodyTokenFetcher("app", "https://auth.example.com", "/token", request_data=login)
        storage = InMemoryTokenStorage()
        pipeline = TokenFetchPipeline([app, CountingStep("user", ["app"])], storage, "shop")
        storage.set("shop@acme:app", TokenData("app"))
        storage.set("shop@acme:user", TokenData("user"))
        storage.set("shop@other:app", TokenData("app"))
        tenants = ["acme", "other"]

        def told() -> list[list[str]]:
            return [[each.state for each in pipeline.inspect(tenant)] for tenant in tenants]

        assert told() == [["fresh", "fresh"], ["fresh", "missing"]]
        assert states(pipeline) == ["missing", "missing"]
        pipeline.invalidate_tenant("acme", "user")
        assert told() == [["fresh", "invalidated"], ["fresh", "missing"]]
        pipeline.invalidate_tenant("acme", "app")
        assert told() == [["invalidated", "invalidated"], ["fresh", "missing"]]

    def test_a_view_can_be_looked_at(self) -> None:
        """It shows the tokens of its tenant, and knows of no tenants within it."""
        pipeline = shop(InMemoryTokenStorage())
        view = pipeline.for_tenant("acme")
        view.execute()

        assert view.inspect() == pipeline.inspect("acme")
        with pytest.raises(ValueError, match="tenant"):
            view.inspect("other")

    def test_an_unknown_step_of_a_tenant_is_refused(self) -> None:
        """The error names the steps."""
        with pytest.raises(ValueError, match="the steps are app, user"):
            shop(InMemoryTokenStorage()).invalidate_tenant("acme", "usr")


def test_the_storage_is_the_one_that_was_given() -> None:
    """Whoever operates a pipeline can tell what is behind it."""
    storage = InMemoryTokenStorage()

    assert shop(storage).storage is storage


def test_a_foreign_record_of_an_epoch_is_no_part_of_an_id() -> None:
    """A token that lies where an epoch should shows in no event, and ends no caching."""
    storage = RecordingStorage()
    pipeline = shop(storage)
    storage.tokens["shop:app#epoch"] = TokenData(f"{CANARY_ACCESS_TOKEN}.with.points")

    with recorded() as events:
        pipeline.execute()
        assert pipeline.execute().access_token == "user-1"

    assert_clean(*events, *pipeline.inspect())
    assert states(shop(storage)) == ["fresh", "fresh"]
