"""TokenManager over a provider that keeps nothing: the manager caches its token."""

import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from doubles import (
    BasicStorage,
    Clock,
    CountingProvider,
    FlakyStorage,
    JsonStorage,
    RecordingStorage,
    recorded,
)
from requestforge import (
    AuthenticationException,
    InMemoryTokenStorage,
    TokenData,
    TokenManager,
    TokenStorageException,
)
from requestforge.events import RefreshFailed
from requestforge.instrumentation import observe, use_clock

pytestmark = pytest.mark.compat


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until the test moves it."""
    with use_clock(Clock()) as clock:
        yield clock


STORAGES = pytest.mark.parametrize(
    "storage",
    [
        pytest.param(lambda: None, id="own"),
        pytest.param(InMemoryTokenStorage, id="in memory"),
        pytest.param(RecordingStorage, id="shared"),
        pytest.param(JsonStorage, id="json"),
        pytest.param(BasicStorage, id="four methods"),
    ],
)


@STORAGES
def test_a_token_is_cached_until_it_ends(storage: Callable[[], object], clock: Clock) -> None:
    """get_token fetches once, and again at the end of use."""
    provider = CountingProvider()
    manager = TokenManager(provider, storage())
    for _ in range(3):
        assert manager.get_token().access_token == "token-1"
    clock.advance(seconds=3569)
    assert manager.get_token().access_token == "token-1"
    clock.advance(seconds=1)
    assert manager.get_token().access_token == "token-2"
    assert provider.calls == ["token", "token"]


@STORAGES
def test_an_expired_token_is_refreshed_by_its_refresh_token(
    storage: Callable[[], object], clock: Clock
) -> None:
    """A cached token with a refresh token is refreshed, not fetched."""
    provider = CountingProvider(refresh_token="r")
    manager = TokenManager(provider, storage())
    manager.get_token()
    clock.advance(hours=2)
    assert manager.get_token().access_token == "again-2"
    assert provider.calls == ["token", "again"]


def test_the_key_names_the_service() -> None:
    """The token lives under auth_token:<service_name>, so managers can share a storage."""
    storage = BasicStorage()
    one = TokenManager(CountingProvider(name="one"), storage)
    two = TokenManager(CountingProvider(name="two"), storage)
    one.get_token()
    two.get_token()
    assert set(storage.tokens) == {"auth_token:one", "auth_token:two"}


def test_managers_of_one_service_share_the_token() -> None:
    """A second manager on the same storage and service finds the token."""
    storage = InMemoryTokenStorage()
    provider = CountingProvider()
    assert (
        TokenManager(provider, storage).get_token() == TokenManager(provider, storage).get_token()
    )
    assert provider.calls == ["token"]


def test_managers_without_a_storage_share_nothing() -> None:
    """Each manager has a storage of its own by default."""
    provider = CountingProvider()
    TokenManager(provider).get_token()
    assert TokenManager(provider).get_token().access_token == "token-2"


@STORAGES
def test_refresh_of_the_cached_token_fetches(storage: Callable[[], object]) -> None:
    """A rejected token that is the cached one is replaced."""
    manager = TokenManager(CountingProvider(), storage())
    rejected = manager.get_token()
    assert manager.refresh(rejected).access_token == "token-2"
    assert manager.get_token().access_token == "token-2"


@STORAGES
@pytest.mark.parametrize(
    "like", [lambda token: token, lambda token: TokenData(token.access_token)], ids=["it", "text"]
)
def test_refresh_of_another_token_gives_the_cached_one(
    storage: Callable[[], object], like: Callable[[TokenData], TokenData]
) -> None:
    """A rejected token that is not the cached one, by its text, costs no fetch."""
    provider = CountingProvider()
    manager = TokenManager(provider, storage())
    old = manager.get_token()
    new = manager.refresh(like(old))
    assert new.access_token == "token-2"
    assert manager.refresh(like(old)) == new
    assert manager.refresh(TokenData("never seen")) == new
    assert provider.calls == ["token", "token"]


@STORAGES
def test_refresh_of_an_ended_token_fetches_once(
    storage: Callable[[], object], clock: Clock
) -> None:
    """A rejected token that has ended costs one fetch, even if the provider repeats itself."""
    provider = CountingProvider()
    provider.text = "same"
    manager = TokenManager(provider, storage())
    rejected = manager.get_token()
    clock.advance(hours=2)
    assert manager.refresh(rejected).access_token == "same"
    assert provider.calls == ["token", "token"]


def test_refresh_uses_the_refresh_token() -> None:
    """A rejected token is refreshed by its refresh token."""
    provider = CountingProvider(refresh_token="r")
    manager = TokenManager(provider)
    assert manager.refresh(manager.get_token()).access_token == "again-2"


@STORAGES
def test_force_refresh_fetches_in_any_case(storage: Callable[[], object]) -> None:
    """force_refresh fetches whatever is cached."""
    manager = TokenManager(CountingProvider(), storage())
    assert manager.force_refresh().access_token == "token-1"
    assert manager.force_refresh().access_token == "token-2"
    assert manager.get_token().access_token == "token-2"


@STORAGES
def test_invalidate_token_deletes_the_entry(storage: Callable[[], object]) -> None:
    """After invalidate_token the next call fetches, without the refresh token."""
    provider = CountingProvider(refresh_token="r")
    manager = TokenManager(provider, storage())
    manager.get_token()
    manager.invalidate_token()
    assert manager.get_token().access_token == "token-2"


def test_invalidate_token_that_fails_says_so() -> None:
    """A storage that cannot delete is a TokenStorageException; the token is not served again."""
    storage = FlakyStorage("delete")
    manager = TokenManager(CountingProvider(), storage)
    manager.get_token()
    with pytest.raises(TokenStorageException):
        manager.invalidate_token()
    assert manager.get_token().access_token == "token-2"


@pytest.mark.parametrize("call", ["refresh", "force_refresh"])
def test_a_failing_refresh_leaves_the_cached_token(call: str) -> None:
    """Refresh and force_refresh replace on success only."""
    provider = CountingProvider()
    manager = TokenManager(provider)
    token = manager.get_token()
    provider.failures = [LookupError("down")]
    with pytest.raises(LookupError, match="down"):
        manager.refresh(token) if call == "refresh" else manager.force_refresh()
    assert manager.get_token() == token


def test_a_failing_refresh_is_told() -> None:
    """Observers hear of a refresh that failed."""
    provider = CountingProvider()
    manager = TokenManager(provider)
    provider.failures = [LookupError("down")]
    with recorded() as events, pytest.raises(LookupError):
        manager.force_refresh()
    assert [event.step for event in events if isinstance(event, RefreshFailed)] == ["shop"]


class OddError(Exception):
    """An error that cannot be copied."""

    def __reduce__(self) -> object:
        raise TypeError


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(LookupError("down"), id="builtin"),
        pytest.param(AuthenticationException("no", service_name="x"), id="the library's"),
        pytest.param(OddError(), id="one that cannot be copied"),
    ],
)
def test_a_providers_exception_propagates(error: Exception) -> None:
    """The caller gets the very exception that the provider raised in its thread."""
    provider = CountingProvider()
    manager = TokenManager(provider)
    for call in (manager.get_token, manager.force_refresh, lambda: manager.refresh(TokenData("x"))):
        provider.failures = [error]
        with pytest.raises(type(error)) as caught:
            call()
        assert caught.value is error
        assert caught.value.__context__ is None


def test_waiters_get_what_can_be_had_of_an_odd_exception() -> None:
    """Of an exception that cannot be copied a waiter gets the library's, which is caused by it."""
    provider = CountingProvider()
    error = OddError("down")
    waiting, fetching = threading.Event(), threading.Event()

    def fail() -> TokenData:
        fetching.set()
        assert waiting.wait(20)
        raise error

    provider.fetch_token = fail
    manager = TokenManager(provider)
    caught: list[Exception] = []

    def call() -> None:
        try:
            manager.get_token()
        except Exception as own:  # noqa: BLE001 - whatever it is, it is looked at below
            caught.append(own)

    threads = [threading.Thread(target=call) for _ in range(2)]
    with observe(lambda _: waiting.set() if fetching.is_set() else None):
        threads[0].start()
        assert fetching.wait(20)
        threads[1].start()
        for thread in threads:
            thread.join(20)
    [own] = [each for each in caught if each is error]
    [other] = [each for each in caught if each is not error]
    assert own is error
    assert isinstance(other, AuthenticationException)
    assert other.__cause__ is error


def test_what_ends_a_thread_passes_through() -> None:
    """A KeyboardInterrupt of the provider reaches the caller."""
    provider = CountingProvider()
    manager = TokenManager(provider)
    provider.failures = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        manager.get_token()
    assert manager.get_token().access_token == "token-2"


def test_a_provider_that_asks_its_manager_is_told_so() -> None:
    """A provider that needs its own manager's token gets a clear error, not a deadlock."""
    provider = CountingProvider()
    manager = TokenManager(provider)
    provider.fetch_token = manager.get_token
    with pytest.raises(AuthenticationException, match="own fetch"):
        manager.get_token()


def test_a_provider_that_gives_no_token_is_a_failure() -> None:
    """What is no TokenData is refused."""
    provider = CountingProvider()
    provider.fetch_token = lambda: "token"
    with pytest.raises(TypeError, match="TokenData"):
        TokenManager(provider).get_token()


def test_a_bare_provider_will_do() -> None:
    """A provider without base class needs three members; newer ones are not asked for."""
    provider = SimpleNamespace(
        service_name="bare",
        fetch_token=lambda: TokenData("fetched", refresh_token="r"),
        refresh_token=lambda token: TokenData(f"{token.access_token} again"),
        caches_tokens=True,
        refresh=pytest.fail,
        invalidate=pytest.fail,
    )
    manager = TokenManager(provider)
    assert manager.get_token().access_token == "fetched"
    assert manager.refresh(manager.get_token()).access_token == "fetched again"
    manager.invalidate_token()
    assert manager.get_token().access_token == "fetched"
    manager.close()


def test_a_provider_that_caches_is_the_home_of_its_token() -> None:
    """caches_tokens sends every call to the provider."""

    class Caching(CountingProvider):
        caches_tokens = True

        def refresh(self, rejected: TokenData | None = None) -> TokenData:
            return TokenData(f"refreshed {rejected and rejected.access_token}")

        def invalidate(self) -> None:
            self.calls.append("invalidate")

    provider = Caching()
    storage = RecordingStorage()
    manager = TokenManager(provider, storage)
    assert manager.get_token().access_token == "token-1"
    assert manager.get_token().access_token == "token-2"
    assert manager.refresh(TokenData("x")).access_token == "refreshed x"
    assert manager.force_refresh().access_token == "refreshed None"
    manager.invalidate_token()
    assert provider.calls[-1] == "invalidate"
    assert storage.calls == []


def test_a_service_needs_a_name() -> None:
    """A provider without a service name cannot be told from others in a storage."""
    with pytest.raises(ValueError, match="empty name"):
        TokenManager(CountingProvider(name=""))
