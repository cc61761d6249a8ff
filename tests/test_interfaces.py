"""The roles of users: what a class with the abstract methods alone gets by default."""

import logging
from datetime import timedelta

import pytest

from doubles import BasicStorage
from requestforge import (
    HttpMethod,
    HttpRequest,
    HttpResponse,
    RequestContext,
    TokenData,
    interfaces,
)
from requestforge.interfaces import (
    AuthHookInterface,
    HttpClientInterface,
    RetryStrategyInterface,
    TokenFetcherInterface,
    TokenManagerInterface,
    TokenProviderInterface,
    TokenStorageInterface,
)


class Storage(BasicStorage, TokenStorageInterface):
    """A storage with the four methods."""


class Fetcher(TokenFetcherInterface):
    """A step with name and fetch."""

    name = "app"

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        return TokenData(f"fetched with {context}")


class Provider(TokenProviderInterface):
    """A provider with the three members of the first release."""

    service_name = "shop"

    def fetch_token(self) -> TokenData:
        return TokenData("fetched")

    def refresh_token(self, current_token: TokenData) -> TokenData:
        return TokenData(f"refreshed {current_token.access_token}")


class Manager(TokenManagerInterface):
    """A manager with the members of the first release."""

    def __init__(self, provider: TokenProviderInterface, storage: object = None) -> None:
        super().__init__(provider, storage)

    def get_token(self) -> TokenData:
        return TokenData("got")

    def invalidate_token(self) -> None:
        pass

    def force_refresh(self) -> TokenData:
        return TokenData("forced")


class Client(HttpClientInterface):
    """A client that answers with the method it was asked for."""

    def request(self, request: HttpRequest) -> HttpResponse:
        self.asked = request
        return HttpResponse(204, {}, b"", 0.0, request.url, request)

    def get(self, url: str, **kwargs: object) -> HttpResponse:
        return self.request(HttpRequest(HttpMethod.GET, url, **kwargs))

    post = put = patch = delete = get


class Strategy(RetryStrategyInterface):
    """A retry strategy that never retries."""

    max_retries = 0

    def should_retry(self, context: RequestContext, exception: Exception) -> bool:
        del context, exception
        return False

    def get_delay(self, context: RequestContext) -> float:
        del context
        return 0.0


class Hook(AuthHookInterface):
    """An auth hook with the members of the first release."""

    retry_strategy = None
    works = True

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        del context
        return request

    def should_authenticate(self, request: HttpRequest) -> bool:
        del request
        return True

    def is_auth_error(self, response: HttpResponse) -> bool:
        return response.status_code == 401

    def refresh_auth(self) -> bool:
        return self.works

    def invalidate_auth(self) -> None:
        pass

    def get_token(self) -> TokenData | None:
        return None


@pytest.mark.parametrize("name", interfaces.__all__)
def test_an_interface_cannot_be_made(name: str) -> None:
    """Each role is abstract."""
    with pytest.raises(TypeError, match="abstract"):
        getattr(interfaces, name)()


@pytest.mark.parametrize(
    ("role", "methods"),
    [
        (TokenStorageInterface, {"get", "set", "delete", "exists"}),
        (TokenFetcherInterface, {"name", "fetch"}),
        (TokenProviderInterface, {"fetch_token", "refresh_token", "service_name"}),
        (TokenManagerInterface, {"__init__", "get_token", "invalidate_token", "force_refresh"}),
        (HttpClientInterface, {"request", "get", "post", "put", "patch", "delete"}),
        (interfaces.HttpSessionInterface, {"close", "__enter__", "__exit__"}),
        (RetryStrategyInterface, {"should_retry", "get_delay", "max_retries"}),
        (
            interfaces.AuthRetryStrategyInterface,
            {"max_retries", "should_retry", "get_delay", "is_auth_error"},
        ),
        (interfaces.RequestHookInterface, {"before_request"}),
        (interfaces.ResponseHookInterface, {"after_response"}),
        (interfaces.ErrorHookInterface, {"on_error"}),
        (
            AuthHookInterface,
            {
                "before_request",
                "should_authenticate",
                "is_auth_error",
                "refresh_auth",
                "invalidate_auth",
                "get_token",
                "retry_strategy",
            },
        ),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_the_abstract_members_are_those_of_the_first_release(role: type, methods: set[str]) -> None:
    """What users have implemented before is enough."""
    assert role.__abstractmethods__ == methods


# Storages


def test_a_storage_is_taken_for_shared() -> None:
    """Unless it says otherwise, other processes may see what a storage holds."""
    assert Storage().shared is True
    assert Storage().content_version is None


def test_batches_are_made_of_single_calls() -> None:
    """get_many gives the hits, delete_many deletes each key, known or not."""
    storage = Storage()
    storage.set("a", TokenData("1"))
    storage.set("b", TokenData("2"))
    assert storage.get_many(["a", "x", "b"]) == {"a": TokenData("1"), "b": TokenData("2")}
    assert storage.get_many(iter([])) == {}
    storage.delete_many(["a", "x"])
    assert not storage.exists("a")
    assert storage.exists("b")


def test_compare_and_set() -> None:
    """A token is set over the one of that generation; None stands for no entry."""
    storage = Storage()
    one = TokenData.from_dict({"access_token": "1", "generation": "g1"})
    two = TokenData.from_dict({"access_token": "2", "generation": "g2"})
    assert storage.compare_and_set("k", one, "g0") is False
    assert storage.compare_and_set("k", one, None) is True
    assert storage.compare_and_set("k", two, None) is False
    assert storage.get("k") is one
    assert storage.compare_and_set("k", two, "g1") is True
    assert storage.get("k") is two


def test_compare_and_delete() -> None:
    """A token is deleted if it has that generation."""
    storage = Storage()
    storage.set("k", TokenData.from_dict({"access_token": "1", "generation": "g1"}))
    assert storage.compare_and_delete("k", "g0") is False
    assert storage.exists("k")
    assert storage.compare_and_delete("k", "g1") is True
    assert not storage.exists("k")
    assert storage.compare_and_delete("k", "g1") is False


def test_a_storage_cannot_lock_by_default() -> None:
    """Lock gives None, and close does nothing."""
    storage = Storage()
    assert storage.lock("k", timedelta(seconds=1), timedelta(seconds=1)) is None
    storage.set("a", TokenData("1"))
    storage.close()
    assert storage.exists("a")


# Steps, providers, managers


def test_a_step_has_defaults(caplog: pytest.LogCaptureFixture) -> None:
    """A step needs nothing, has no ttl and 30 s, refreshes by fetching, and logs failures."""
    step = Fetcher()
    assert step.depends_on == []
    assert step.ttl is None
    assert step.fetch_timeout == timedelta(seconds=30)
    assert step.refresh(TokenData("x"), {}).access_token == "fetched with {}"
    step.on_fetch_error(LookupError("s3cr3t"))
    step.close()
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "'app'" in record.getMessage()
    assert "LookupError" in record.getMessage()
    assert "s3cr3t" not in caplog.text


def test_a_provider_has_defaults() -> None:
    """A provider keeps nothing, and refreshes a rejected token by refresh_token."""
    provider = Provider()
    assert provider.caches_tokens is False
    assert provider.refresh().access_token == "fetched"
    assert provider.refresh(TokenData("x")).access_token == "refreshed x"
    provider.invalidate()
    provider.close()


def test_a_manager_has_defaults() -> None:
    """Refresh is force_refresh; accepted and close do nothing."""
    manager = Manager(Provider())
    assert manager.refresh(TokenData("x")).access_token == "forced"
    manager.accepted(TokenData("x"))
    manager.close()


# Clients, strategies, hooks


@pytest.mark.parametrize(
    ("name", "method"), [("head", HttpMethod.HEAD), ("options", HttpMethod.OPTIONS)]
)
def test_a_client_has_head_and_options(name: str, method: HttpMethod) -> None:
    """Head and options go by way of request, with the fields of HttpRequest."""
    client = Client()
    getattr(client, name)("/path", headers={"X-A": "1"})
    assert (client.asked.method, client.asked.url) == (method, "/path")
    assert client.asked.headers == {"X-A": "1"}


@pytest.mark.parametrize("code", [200, 400, 401, 408, 425, 429, 500, 501, 502, 503, 504])
def test_a_strategy_has_defaults(code: int) -> None:
    """Six statuses are retryable, POST is not retried, and attempts are heard of in silence."""
    strategy = Strategy()
    assert strategy.is_retryable_status(code) is (code in {408, 429, 500, 502, 503, 504})
    assert strategy.retry_non_idempotent is False
    assert strategy.max_retry_after == 60.0
    context = RequestContext(HttpRequest(HttpMethod.GET, "/"))
    strategy.before_attempt(context)
    strategy.after_attempt(context, LookupError())


@pytest.mark.parametrize("works", [True, False])
def test_an_auth_hook_has_defaults(works: bool) -> None:
    """refresh_rejected is refresh_auth; accepted does nothing."""
    hook = Hook()
    hook.works = works
    context = RequestContext(HttpRequest(HttpMethod.GET, "/"))
    assert hook.refresh_rejected(context) is works
    hook.accepted(context)
