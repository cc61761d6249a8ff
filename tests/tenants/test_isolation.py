"""Tenants of one pipeline never meet: flights, invalidation, repairs, and records gone astray."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from racing import Gate, Task, together
from tenancy import UserStep, chain, text

from doubles import CountingStep, FlakyStorage, JsonStorage, RecordingStorage, faults, recorded
from requestforge import (
    FileTokenStorage,
    InMemoryTokenStorage,
    RedisTokenStorage,
    TokenData,
    TokenFetchPipeline,
)
from requestforge.events import StepInvalidated
from requestforge.exceptions import TokenStorageException, UnauthorizedException
from requestforge.interfaces import TokenStorageInterface

USERS = [f"u{number}" for number in range(8)]


@pytest.fixture(params=[InMemoryTokenStorage, JsonStorage], ids=["in memory", "shared"])
def storage(request: pytest.FixtureRequest) -> TokenStorageInterface:
    """A storage of this process, and one that others share."""
    make: Callable[[], TokenStorageInterface] = request.param
    return make()


def users_of(step: UserStep) -> dict[str, int]:
    """How often the step was fetched for each user."""
    return {user: step.users.count(user) for user in step.users}


def test_each_tenant_is_fetched_once_for_all_threads(storage: TokenStorageInterface) -> None:
    """Threads share the flight of their tenant, each by a view of its own."""
    pipeline = chain(storage)
    turns = iter(USERS * 4)

    def call() -> tuple[str, str]:
        user = next(turns)
        return user, text(pipeline.for_tenant(user, username=user))

    for user, token in together(len(USERS) * 4, call):  # type: ignore[misc]
        assert token.startswith(f"user-{user}-")
    for name in pipeline.step_names:
        step = pipeline.get_step(name)
        assert isinstance(step, UserStep)
        assert users_of(step) == dict.fromkeys(USERS, 1)


def test_a_slow_tenant_keeps_no_other_waiting(storage: TokenStorageInterface) -> None:
    """While one tenant's fetch hangs, another one's goes on, and is invalidated."""
    step, gate = UserStep("app"), Gate()
    step.during = gate
    pipeline = TokenFetchPipeline([step], storage, "app")
    slow = Task(lambda: text(pipeline.for_tenant("slow", username="slow")))
    gate.until_reached()
    assert text(pipeline.for_tenant("fast", username="fast")) == "app-fast-2"
    pipeline.invalidate_tenant("fast")
    assert text(pipeline.for_tenant("fast", username="fast")) == "app-fast-3"
    gate.open()
    assert slow.result() == "app-slow-1"


def test_invalidation_reaches_one_tenant(storage: TokenStorageInterface) -> None:
    """Without its values, on the pipeline or a view; others are served from the cache."""
    pipeline = chain(storage)
    views = {user: pipeline.for_tenant(user, username=user) for user in ("a", "b", "c")}
    first = {user: text(view) for user, view in views.items()}
    with recorded() as events:
        pipeline.invalidate_tenant("a")
    told = [(e.pipeline, e.step) for e in events if isinstance(e, StepInvalidated)]
    assert told == [("app@a", "app"), ("app@a", "user")]
    views["b"].invalidate_step("user")
    pipeline.invalidate_all()  # the tokens without a tenant
    again = {user: text(view) for user, view in views.items()}
    assert {user for user in again if again[user] != first[user]} == {"a", "b"}
    app = pipeline.get_step("app")
    assert isinstance(app, UserStep)
    assert users_of(app) == {"a": 2, "b": 1, "c": 1}


def test_what_one_tenant_fetches_during_its_invalidation_is_not_cached(
    storage: TokenStorageInterface,
) -> None:
    """The fetch under way answers its own caller alone."""
    step, gate = UserStep("app"), Gate()
    step.during = gate
    pipeline = TokenFetchPipeline([step], storage, "app")
    before = Task(lambda: text(pipeline.for_tenant("a", username="a")))
    gate.until_reached()
    pipeline.invalidate_tenant("a")
    assert text(pipeline.for_tenant("a", username="a")) == "app-a-2"
    gate.open()
    assert before.result() == "app-a-1"
    assert text(pipeline.for_tenant("a", username="a")) == "app-a-2"


def test_a_chain_is_repaired_within_its_tenant(storage: TokenStorageInterface) -> None:
    """The upstream token that a server has revoked for one tenant is replaced for that one."""
    app, user = UserStep("app"), UserStep("user", ["app"])
    pipeline = TokenFetchPipeline([app, user], storage, "app")
    views = {name: pipeline.for_tenant(name, username=name) for name in ("a", "b")}
    for view in views.values():
        view.execute()
        view.invalidate_step("user")

    def revoked() -> None:
        given = (user.contexts[-1] or {})["app"].access_token
        if given == "app-a-1":
            raise UnauthorizedException

    user.during = revoked
    assert text(views["a"]) == "user-a-4"
    assert text(views["b"]) == "user-b-5"
    assert users_of(app) == {"a": 2, "b": 1}


def copied_in_memory(_: object) -> Iterator[tuple[TokenStorageInterface, Callable[..., None]]]:
    """A storage, and how one of its records gets under another key."""
    storage = InMemoryTokenStorage()
    yield storage, lambda source, key: storage.set(key, storage.get_many([source])[source])


def copied_as_json(_: object) -> Iterator[tuple[TokenStorageInterface, Callable[..., None]]]:
    """The same by the text of the record."""
    storage = JsonStorage()
    yield storage, lambda source, key: storage.texts.update({key: storage.texts[source]})


def copied_files(
    request: pytest.FixtureRequest,
) -> Iterator[tuple[TokenStorageInterface, Callable[..., None]]]:
    """The same with files."""
    folder: Path = request.getfixturevalue("tmp_path") / "tokens"
    storage = FileTokenStorage(folder)

    def copy(source: str, key: str) -> None:
        token = storage.get(source)
        assert token is not None
        old = {path: path.read_bytes() for path in folder.iterdir()}
        storage.delete(source)
        record = next(path for path in old if not path.exists())
        record.write_bytes(old[record])
        storage.set(key, TokenData("placeholder"))
        target = next(
            path
            for path in folder.iterdir()
            if path not in old and b"placeholder" in path.read_bytes()
        )
        shutil.copyfile(record, target)

    yield storage, copy


def copied_in_redis(
    request: pytest.FixtureRequest,
) -> Iterator[tuple[TokenStorageInterface, Callable[..., None]]]:
    """The same within a Redis."""
    server = request.getfixturevalue("own_redis")
    client = server.client()
    storage = RedisTokenStorage(client)

    def name(key: str) -> bytes:
        before = {each: client.dump(each) for each in client.scan_iter()}
        token = storage.get(key)
        storage.set(key, TokenData("another"))
        found = next(each for each in client.scan_iter() if client.dump(each) != before.get(each))
        storage.delete(key)
        if token is not None:
            client.restore(found, 0, before[found])
        return bytes(found)

    yield storage, lambda source, key: client.copy(name(source), name(key), replace=True)


@pytest.fixture(
    params=[copied_in_memory, copied_as_json, copied_files, copied_in_redis],
    ids=["in memory", "json", "files", "redis"],
)
def copying(
    request: pytest.FixtureRequest,
) -> Iterator[tuple[TokenStorageInterface, Callable[[str, str], None]]]:
    """A storage, and how one of its records gets under another key."""
    yield from request.param(request)


@pytest.mark.parametrize(
    ("source", "target"),
    [("app@a:app", "app@b:app"), ("app@a:app", "app:app"), ("app:app", "app@a:app")],
    ids=["other tenant", "no tenant", "tenant"],
)
def test_a_record_under_another_key_is_refused(
    copying: tuple[TokenStorageInterface, Callable[[str, str], None]], source: str, target: str
) -> None:
    """However it got there: it is told of, deleted and fetched anew."""
    storage, copy = copying
    step = CountingStep("app", expires_in=3600)
    pipeline = TokenFetchPipeline([step], storage, "app")
    views = {
        "app:app": pipeline,
        "app@a:app": pipeline.for_tenant("a"),
        "app@b:app": pipeline.for_tenant("b"),
    }
    assert text(views[source]) == "app-1"
    copy(source, target)
    with recorded() as events:
        assert text(views[target]) == "app-2"
    assert "read" in [operation for operation, _ in faults(events)]
    assert text(views[source]) == "app-1"
    assert text(views[target]) == "app-2"


@pytest.mark.parametrize("make", [InMemoryTokenStorage, JsonStorage], ids=["in memory", "shared"])
def test_a_prefix_that_makes_a_tenants_key_gets_no_token_of_the_tenant(
    make: Callable[[], TokenStorageInterface],
) -> None:
    """Pipelines whose keys are the same displace each other's tokens, and never serve them."""
    storage = make()
    step = CountingStep("login")
    tenants = TokenFetchPipeline([step], storage, "app")
    other = TokenFetchPipeline([CountingStep("login")], storage, "app@acme")
    odd = TokenFetchPipeline([CountingStep("x:login")], storage, "app")
    tenant, odder = tenants.for_tenant("acme"), TokenFetchPipeline([step], storage, "app@acme:x@y")
    assert text(tenant) == "login-1"
    own = other.execute()
    assert own.generation != tenant.execute().generation
    assert other.execute().generation != own.generation
    assert text(odd.for_tenant("acme")) == "x:login-1"
    assert text(odder) != "x:login-1"


def test_a_fetch_is_not_shared_by_those_who_have_but_a_key_in_common() -> None:
    """A pipeline whose prefix makes a tenant's key does not wait for the tenant's fetch."""
    storage, gate = InMemoryTokenStorage(), Gate()
    step = CountingStep("login")
    step.during = gate
    tenant = TokenFetchPipeline([step], storage, "app").for_tenant("acme")
    other = TokenFetchPipeline([CountingStep("login")], storage, "app@acme")
    slow = Task(tenant.execute)
    gate.until_reached()
    token = other.execute()
    gate.open()
    assert slow.result().generation != token.generation


def test_generations_tell_tenants_apart_by_128_bits() -> None:
    """Their first part is the same for one tenant and another one for each other tenant."""
    pipeline = TokenFetchPipeline([CountingStep("app")], InMemoryTokenStorage(), "app")
    tags = set()
    for number in range(2000):
        view = pipeline.for_tenant(f"t{number}")
        generations = [view.execute(force_refresh=True).generation or "" for _ in range(2)]
        first, second = (generation.partition(".")[0] for generation in generations)
        assert first == second
        assert len(first) * 6 >= 128
        tags.add(first)
    assert len(tags) == 2000


def test_a_failing_storage_keeps_tokens_of_tenants_apart() -> None:
    """What it fails to keep or to delete is kept, or given up, for its tenant alone."""
    storage = FlakyStorage("set")
    step = UserStep("app")
    pipeline = TokenFetchPipeline([step], storage, "app")
    a, b = (pipeline.for_tenant(user, username=user) for user in "ab")
    assert [text(a), text(b), text(a), text(b)] == ["app-a-1", "app-b-2"] * 2
    storage.broken = {"set", "delete"}
    with pytest.raises(TokenStorageException):
        pipeline.invalidate_tenant("a")
    assert [text(a), text(b)] == ["app-a-3", "app-b-2"]


def test_storages_of_1_0_0_serve_tenants() -> None:
    """A storage that keeps the basic fields alone tells tenants apart by their keys."""
    storage = RecordingStorage()
    pipeline = chain(storage)
    assert text(pipeline.for_tenant("a", username="a")) == "user-a-1"
    assert set(storage.tokens) == {"app@a:app", "app@a:user"}
