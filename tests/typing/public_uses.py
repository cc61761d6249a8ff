"""Each public name of the library, used as a user with a strict type checker would.

Nothing here is run: the type checker reads it, and an `ignore` that it does not need is an error.
"""

import ssl
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, Self, assert_type

import httpx
import requests

import requestforge
from requestforge import (
    ApiKeyAuthHook,
    AuthenticationException,
    AuthHookInterface,
    AuthorizationHook,
    AuthRetryStrategyInterface,
    BadRequestException,
    BaseOAuth2TokenProvider,
    BasicAuthHook,
    BodyTokenFetcher,
    CapacityException,
    CircuitBreaker,
    CircuitBreakerRetryStrategy,
    CircuitOpenException,
    ClientCredentialsTokenProvider,
    CompositeAuthHook,
    ConditionalAuthRetryStrategy,
    ConnectionException,
    CorrelationIdHook,
    DependencyException,
    DjangoCacheTokenStorage,
    EncryptedTokenStorage,
    ErrorHookInterface,
    ExponentialAuthRetryStrategy,
    ExponentialBackoffRetryStrategy,
    FetchContext,
    FileTokenStorage,
    ForbiddenException,
    HeaderTokenFetcher,
    HttpClient,
    HttpClientConfig,
    HttpClientConfigBuilder,
    HttpClientException,
    HttpClientInterface,
    HttpMethod,
    HttpRequest,
    HttpResponse,
    HttpSessionInterface,
    HttpStatusException,
    HttpTokenFetcher,
    IdempotencyKeyHook,
    InMemoryTokenStorage,
    InsecureTransportWarning,
    LoggingErrorHook,
    LoggingRequestHook,
    LoggingResponseHook,
    MaxRetryConnectionException,
    MaxRetryException,
    MaxRetryTimeoutException,
    NoAuthRetryStrategy,
    NoRetryStrategy,
    NotFoundException,
    PasswordGrantTokenProvider,
    PipelineTokenProvider,
    RateLimitResponseHook,
    RedisTokenStorage,
    RequestBuildException,
    RequestContext,
    RequestHookInterface,
    ResponseHookInterface,
    ResponseParseException,
    RetryStrategyInterface,
    ServerErrorException,
    SimpleAuthRetryStrategy,
    SimpleRetryStrategy,
    SSLException,
    StepToken,
    StepValue,
    StreamResponse,
    TimeoutException,
    TokenAuthHook,
    TokenData,
    TokenFetcherInterface,
    TokenFetchPipeline,
    TokenManager,
    TokenManagerInterface,
    TokenProviderInterface,
    TokenRefreshException,
    TokenStorageException,
    TokenStorageInterface,
    TraceparentHook,
    UnauthorizedException,
    create_client,
    http_client,
    to_curl,
)
from requestforge.contrib import httpx as for_httpx
from requestforge.contrib import requests as for_requests
from requestforge.contrib.logging import LoggingObserver
from requestforge.contrib.opentelemetry import OpenTelemetryObserver
from requestforge.contrib.prometheus import PrometheusObserver
from requestforge.events import (
    CircuitChanged,
    Event,
    LockUnavailable,
    RefreshFailed,
    RequestFailed,
    RequestLimited,
    RequestReplayed,
    RequestRetried,
    RequestSent,
    ResponseReceived,
    ScopeReduced,
    StepCached,
    StepFailed,
    StepFetched,
    StepInvalidated,
    StepMissed,
    StorageFailed,
    TokenReplaced,
)
from requestforge.instrumentation import (
    Clock,
    SystemClock,
    emit,
    monotonic,
    now,
    observe,
    sleep,
    use_clock,
)
from requestforge.oauth2 import (
    ClientCredentialsFetcher,
    ClientSecretBasic,
    ClientSecretPost,
    DeviceCodeFetcher,
    JwtBearerFetcher,
    MutualTls,
    PasswordFetcher,
    PrivateKeyJwt,
    RefreshTokenFetcher,
    TokenExchangeFetcher,
)
from requestforge.pipelines import StepState
from requestforge.retry import CircuitCounts, State

assert_type(requestforge.__version__, str)


def verbs(client: HttpClient) -> None:
    """Requests of all kinds."""
    assert_type(client.get("/users", params={"page": 2}, timeout=3), HttpResponse)
    assert_type(client.head("/users", headers={"X-One": "1"}), HttpResponse)
    assert_type(client.options("/users", None, {"X-One": "1"}, (3.05, 27)), HttpResponse)
    assert_type(client.post("/users", {"name": "Ada"}, auth=("user", "pw")), HttpResponse)
    assert_type(client.put("/users/1", json_data={"name": "Ada"}), HttpResponse)
    assert_type(client.patch("/users/1", data={"name": "Ada"}, timeout=None), HttpResponse)
    assert_type(client.delete("/users/1"), HttpResponse)
    assert_type(client.request(HttpRequest(HttpMethod.GET, "/users")), HttpResponse)
    client.get(7)  # type: ignore[arg-type]
    client.request("/users")  # type: ignore[arg-type]
    assert_type(client.session, requests.Session)
    assert_type(client.adapter, requests.adapters.BaseAdapter)
    assert_type(client.auth_hook, AuthHookInterface | None)
    client.refresh_environment()
    client.close()


def many(client: HttpClient) -> None:
    """Many requests at once."""
    asked = (HttpRequest("GET", f"/users/{number}") for number in range(3))
    results = client.request_many(asked, 5, ordered=True, on_progress=progress)
    for index, result in results:
        assert_type(index, int)
        if isinstance(result, HttpClientException):
            assert_type(result.message, str)
        else:
            assert_type(result, HttpResponse)
    results.close()


def progress(done: int, total: int | None) -> None:
    """Told of each that is done."""


def streams(client: HttpClient) -> bytes:
    """A body that is read bit by bit."""
    with client.stream("GET", "/large", params={"a": "b"}) as answer:
        assert_type(answer, StreamResponse)
        assert_type(answer.status_code, int)
        assert_type(answer.headers, Mapping[str, str])
        assert_type(answer.url, str)
        assert_type(answer.request, HttpRequest)
        assert_type(answer.raise_for_status(), StreamResponse)
        assert_type(answer.iter_bytes(), Iterator[bytes])
        return b"".join(answer.iter_bytes(chunk_size=1024)) + answer.read().content


def clients() -> None:
    """The ways to a client."""
    with HttpClient() as client:
        assert_type(client, HttpClient)
    with requests.Session() as session:
        HttpClient(HttpClientConfig("https://api.example"), session)
    with http_client("https://api.example", max_retries=2) as client:
        assert_type(client, HttpClient)
    made = create_client("https://api.example", 3.0, 2, {"X-One": "1"}, enable_logging=False)
    assert_type(made, HttpClient)
    roles: tuple[HttpClientInterface, HttpSessionInterface] = (made, made)
    del roles


def configurations(strategy: RetryStrategyInterface, hook: AuthHookInterface) -> HttpClientConfig:
    """Every setting."""
    builder = (
        HttpClientConfigBuilder()
        .with_base_url("https://api.example")
        .with_timeout(30)
        .with_timeouts(connect=3, read=10, total=60)
        .with_total_timeout(60)
        .with_headers({"X-One": "1"})
        .with_header("X-Two", "2")
        .with_bearer_token("token")
        .with_api_key("key", "X-Key")
        .with_verify_ssl("/etc/ssl/ca.pem")
        .with_redirects(allow=True, max_redirects=3)
        .with_pool_connection(5)
        .with_pool_maxsize(5)
        .with_pool(connections=5, maxsize=5)
        .with_retry(2, 0.5, 10, retry_non_idempotent=True, max_retry_after=30)
        .with_retry_strategy(strategy)
        .with_auth_hook(hook)
        .with_token_auth(TokenManager(Provider()), excluded_paths=["/login"])
        .with_api_key_auth("key", excluded_paths={"/login"})
        .with_basic_auth("user", "pw")
        .with_request_hook(CorrelationIdHook())
        .with_response_hook(RateLimitResponseHook())
        .with_error_hook(LoggingErrorHook())
        .with_logging(log_headers=True, log_body=True, sensitive_keys=["x-shoe"])
        .with_raise_for_status()
        .with_cookies(enabled=False)
        .with_allowed_origins("https://a.example", "https://b.example")
        .with_redaction("x-shoe")
        .with_circuit_breaker(5, recovery_timeout=30, half_open_max_calls=1)
        .with_retry_budget(ratio=0.1, per_second=1)
        .with_rate_limit(10, burst=5, max_wait=1.5)
        .with_bulkhead(10, max_wait=0)
        .with_idempotency_key()
        .with_max_response_size(1 << 20)
        .with_tls(ca="/ca.pem", client_cert=("/c.pem", "/k.pem"), min_version="1.3")
        .with_tls(ssl_context=ssl.create_default_context())
        .with_proxies({"https": "http://proxy.example:3128"})
        .with_environment(proxies=False, ca=True)
    )
    assert_type(builder, HttpClientConfigBuilder)
    config = builder.build()
    assert_type(config.default_headers, Mapping[str, str])
    assert_type(config.total_timeout, float | None)
    assert_type(config.max_response_size, int | None)
    assert_type(config.idempotency_key, str | None)
    assert_type(HttpClientConfig.from_mapping({"base_url": "https://a.example"}), HttpClientConfig)
    assert_type(HttpClientConfig.from_toml("client.toml", table="api"), HttpClientConfig)
    config.base_url = "https://b.example"  # type: ignore[misc]
    return config


def requests_and_answers(answer: HttpResponse) -> str:
    """The values that go in and come out."""
    asked = HttpRequest("post", "/users", {"X-One": "1"}, {"page": 2}, json_data={"a": 1})
    assert_type(asked.method, HttpMethod)
    assert_type(asked.with_headers({"X-Two": "2"}), HttpRequest)
    assert_type(asked.with_json_data([1]), HttpRequest)
    assert_type(asked.to_dict(), dict[str, Any])
    assert_type(asked.to_curl(mask_secrets=True), str)
    assert_type(to_curl(asked), str)
    assert_type(asked.get("url"), Any)
    assert_type(answer.content, bytes)
    assert_type(answer.headers, Mapping[str, str])
    assert_type(answer.elapsed_ms, float)
    assert_type(answer.encoding, str | None)
    assert_type(answer.is_success or answer.is_client_error or answer.is_server_error, bool)
    assert_type(answer.json(), Any)
    assert_type(answer.json_or_none(), Any)
    assert_type(answer.raise_for_status(), HttpResponse)
    answer.status_code = 200  # type: ignore[misc]
    return answer.text


def contexts(asked: HttpRequest, token: TokenData) -> None:
    """What hooks and fetchers are told."""
    context = RequestContext(asked, max_retries=3)
    assert_type(context.id, str)
    assert_type(context.deadline, float | None)
    assert_type(context.attempt, int)
    assert_type(context.is_retry, bool)
    assert_type(context.origin, str)
    context.metadata["mine"] = 1
    context.increment_attempt()
    failures: list[BaseException] = [*context.history]
    del failures
    fetching = FetchContext()
    fetching.add_token("login", token)
    assert_type(fetching.get_token("login"), TokenData | None)
    assert_type(fetching.get_token_value("login"), str | None)
    assert_type(fetching.has_token("login") and fetching.has_valid_token("login"), bool)


class Hook(RequestHookInterface, ResponseHookInterface, ErrorHookInterface):
    """A hook of all kinds."""

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        """Add a header."""
        return request.with_headers({"X-Attempt": str(context.attempt)})

    def after_response(self, response: HttpResponse, context: RequestContext) -> HttpResponse:
        """Leave it."""
        return response

    def on_error(self, exception: Exception, context: RequestContext) -> None:
        """Look at it."""


class AuthHook(AuthHookInterface):
    """An auth hook of a user's own."""

    @property
    def retry_strategy(self) -> AuthRetryStrategyInterface | None:
        """One replay."""
        return SimpleAuthRetryStrategy()

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        """Sign."""
        return request.with_headers({"X-Key": "key"})

    def should_authenticate(self, request: HttpRequest) -> bool:
        """Whether to sign."""
        return request.method is not HttpMethod.OPTIONS

    def is_auth_error(self, response: HttpResponse) -> bool:
        """Whether it was refused."""
        return response.status_code == 401

    def refresh_auth(self) -> bool:
        """Get another one."""
        return False

    def invalidate_auth(self) -> None:
        """Forget it."""

    def get_token(self) -> TokenData | None:
        """The token."""
        return None

    def refresh_rejected(self, context: RequestContext) -> bool:
        """Get another one than the one that was sent."""
        return super().refresh_rejected(context)

    def accepted(self, context: RequestContext) -> None:
        """It was accepted."""


def hooks(manager: TokenManagerInterface) -> list[RequestHookInterface]:
    """All hooks."""
    answers: list[ResponseHookInterface] = [
        LoggingResponseHook(log_headers=True, sensitive_keys=["pin"]),
        RateLimitResponseHook(),
        Hook(),
    ]
    errors: list[ErrorHookInterface] = [LoggingErrorHook(sensitive_keys=["pin"]), Hook()]
    del answers, errors
    auth: list[AuthHookInterface] = [
        TokenAuthHook(manager, NoAuthRetryStrategy(), "X-App-Token", None),
        ApiKeyAuthHook("key", "X-Key", excluded_paths=["/login"]),
        BasicAuthHook("user", "pw"),
        AuthHook(),
    ]
    assert_type(TokenAuthHook(manager).token_manager, TokenManagerInterface)
    return [
        CompositeAuthHook(auth, strategy="all"),
        LoggingRequestHook(log_headers=True, log_body=True, sensitive_keys=["pin"]),
        AuthorizationHook(lambda: "token"),
        CorrelationIdHook("X-Request-ID"),
        IdempotencyKeyHook(),
        TraceparentHook(),
        Hook(),
    ]


class Strategy(RetryStrategyInterface):
    """A retry strategy of a user's own."""

    retry_non_idempotent = True
    max_retry_after = 30.0

    @property
    def max_retries(self) -> int:
        """How often."""
        return 2

    def should_retry(self, context: RequestContext, exception: Exception) -> bool:
        """Whether."""
        return isinstance(exception, TimeoutException) or self.is_retryable_status(503)

    def get_delay(self, context: RequestContext) -> float:
        """After how many seconds."""
        return 0.5 * context.attempt

    def before_attempt(self, context: RequestContext) -> None:
        """Let it pass."""

    def after_attempt(self, context: RequestContext, outcome: object) -> None:
        """Note it."""


class AuthStrategy(AuthRetryStrategyInterface):
    """An auth strategy of a user's own."""

    @property
    def max_retries(self) -> int:
        """How often."""
        return 1

    def should_retry(self, response: HttpResponse, attempt: int) -> bool:
        """Whether."""
        return self.is_auth_error(response) and attempt < self.max_retries

    def get_delay(self, attempt: int) -> float:
        """After how many seconds."""
        return 0.0

    def is_auth_error(self, response: HttpResponse) -> bool:
        """Whether the credential was refused."""
        return response.status_code == 401


def strategies(context: RequestContext) -> list[AuthRetryStrategyInterface]:
    """All strategies."""
    breaking = CircuitBreakerRetryStrategy(3, 5, 30.0, 3, 1.0, retry_non_idempotent=True)
    assert_type(breaking.state == State.OPEN, bool)
    backoff = ExponentialBackoffRetryStrategy(
        3, 0.5, 30, 2, "decorrelated", [TimeoutException], {503}, max_retry_after=10
    )
    assert_type(backoff.is_max_retry(context), bool)
    known: list[RetryStrategyInterface] = [
        NoRetryStrategy(),
        SimpleRetryStrategy(3, 1, (ConnectionException, TimeoutException)),
        backoff,
        breaking,
        Strategy(),
    ]
    assert_type([strategy.get_delay(context) for strategy in known], list[float])
    return [
        NoAuthRetryStrategy([401, 403]),
        SimpleAuthRetryStrategy(1, 0.0, [401]),
        ExponentialAuthRetryStrategy(jitter="equal"),
        ConditionalAuthRetryStrategy(is_auth_error_func=lambda answer: answer.status_code == 419),
        AuthStrategy(),
    ]


def circuits() -> None:
    """A circuit alone."""
    breaker = CircuitBreaker(failure_threshold=5, recovery_timeout=30, half_open_max_calls=3)
    with breaker.guard("https://api.example"):
        breaker.record_failure("https://api.example")
    breaker.record_success()
    breaker.reset()
    assert_type(breaker.counts("https://api.example"), CircuitCounts)
    assert_type(breaker.state_of("https://api.example") == State.HALF_OPEN, bool)
    text: str = breaker.state
    del text


class Storage(TokenStorageInterface):
    """A storage of a user's own."""

    shared = False

    def __init__(self) -> None:
        self._tokens: dict[str, TokenData] = {}

    def get(self, key: str) -> TokenData | None:
        """The token."""
        return self._tokens.get(key)

    def set(self, key: str, token: TokenData) -> None:
        """Keep it."""
        self._tokens[key] = token

    def delete(self, key: str) -> None:
        """Forget it."""
        self._tokens.pop(key, None)

    def exists(self, key: str) -> bool:
        """Whether it is there."""
        return key in self._tokens

    def get_many(self, keys: Iterable[str]) -> dict[str, TokenData]:
        """All at once."""
        return {key: self._tokens[key] for key in keys if key in self._tokens}

    def delete_many(self, keys: Iterable[str]) -> None:
        """All at once."""
        super().delete_many(keys)

    def compare_and_delete(self, key: str, generation: str | None) -> bool:
        """Unless it has changed."""
        return super().compare_and_delete(key, generation)

    def compare_and_set(self, key: str, token: TokenData, generation: str | None) -> bool:
        """Unless it has changed."""
        return super().compare_and_set(key, token, generation)

    def lock(
        self, key: str, lease: timedelta, wait: timedelta
    ) -> AbstractContextManager[bool] | None:
        """It cannot lock."""
        return None

    def close(self) -> None:
        """Nothing to close."""


class Step(TokenFetcherInterface):
    """A step of a user's own."""

    @property
    def name(self) -> str:
        """The name."""
        return "app"

    @property
    def depends_on(self) -> list[str]:
        """The steps before."""
        return ["login"]

    @property
    def ttl(self) -> timedelta | None:
        """The lifetime."""
        return timedelta(minutes=5)

    @property
    def fetch_timeout(self) -> timedelta:
        """The longest fetch."""
        return timedelta(seconds=10)

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        """A token."""
        return TokenData((context or {})["login"].access_token)

    def refresh(self, expired: TokenData, context: dict[str, TokenData] | None = None) -> TokenData:
        """Another token."""
        return super().refresh(expired, context)

    def on_fetch_error(self, error: Exception, context: dict[str, TokenData] | None = None) -> None:
        """Note it."""

    def close(self) -> None:
        """Nothing to close."""


class Login(HttpTokenFetcher):
    """A step by HTTP of a user's own."""

    @property
    def name(self) -> str:
        """The name."""
        return "login"

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        """A token."""
        answer = self._make_request("POST", "/token", json_data={"user": "ada"})
        assert_type(answer, HttpResponse)
        return TokenData.from_response(answer.json())


def pipelines(storage: TokenStorageInterface) -> TokenManager:
    """From steps to a manager."""
    login = BodyTokenFetcher(
        *("login", "https://sso.example", "/token", HttpMethod.POST),
        request_data={"grant_type": "client_credentials"},
        retry_strategy=SimpleRetryStrategy(2),
        require_tls=True,
        ttl=timedelta(minutes=5),
    )
    assert_type(login.name, str)
    assert_type(login.ttl, timedelta | None)
    assert_type(login.depends_on, list[str])
    app = HeaderTokenFetcher(
        *("app", "https://app.example", "/token"),
        request_headers={"Authorization": StepToken("login", "Bearer {}")},
        token_header="X-App-Token",
    )
    pipeline = TokenFetchPipeline([login, app, Login("https://a.example"), Step()], storage, "shop")
    assert_type(pipeline.execute(force_refresh=True), TokenData)
    assert_type(pipeline.step_names, list[str])
    assert_type(pipeline.inspect(), list[StepState])
    assert_type(pipeline.inspect()[0].is_usable, bool)
    assert_type(pipeline.storage, TokenStorageInterface)
    pipeline.get_step("login")
    pipeline.invalidate_step("login")
    pipeline.invalidate_all()
    assert_type(pipeline.for_tenant("acme", username="bob"), TokenFetchPipeline)
    pipeline.for_tenant("acme", username=4711)  # type: ignore[arg-type]
    pipeline.invalidate_tenant("acme")
    user = StepValue("username", "user {}")
    HeaderTokenFetcher(
        "app", StepValue("base"), StepValue("path"), request_headers={"X-User": user}
    )
    with StepValue.given(username="bob"):
        assert_type(user.filled(), str)
    with pipeline:
        pass
    TokenFetchPipeline((login,), storage, lazy=True, wait_timeout=timedelta(seconds=5))
    TokenFetchPipeline((login,), storage, refresh_ahead=timedelta(minutes=5), failure_backoff=True)
    TokenFetchPipeline((login,), storage, refresh_ahead=300)  # type: ignore[arg-type]
    TokenFetchPipeline((login,), None)  # type: ignore[arg-type]
    provider = PipelineTokenProvider(pipeline, "shop", refresh_from_step="login")
    assert_type(provider.pipeline, TokenFetchPipeline)
    manager = TokenManager(provider, reject_interval=timedelta(seconds=5))
    assert_type(manager.get_token(), TokenData)
    assert_type(manager.refresh(manager.force_refresh()), TokenData)
    manager.accepted(manager.get_token())
    manager.invalidate_token()
    return manager


class Provider(TokenProviderInterface):
    """A provider of a user's own."""

    caches_tokens = False

    @property
    def service_name(self) -> str:
        """The name."""
        return "shop"

    def fetch_token(self) -> TokenData:
        """A token."""
        return TokenData("token", expires_at=datetime.now(UTC) + timedelta(hours=1))

    def refresh_token(self, current_token: TokenData) -> TokenData:
        """Another token."""
        return self.fetch_token()


class Sso(BaseOAuth2TokenProvider):
    """An OAuth 2 provider of a user's own."""

    def _do_fetch_token(self) -> TokenData:
        return TokenData("token", refresh_token="refresh")

    def _do_refresh_token(self, token: TokenData) -> TokenData:
        return TokenData("token", refresh_token=token.refresh_token)


class Manager(TokenManagerInterface):
    """A manager of a user's own."""

    def __init__(
        self, provider: TokenProviderInterface, storage: TokenStorageInterface | None = None
    ) -> None:
        self._provider = provider
        self._storage = storage

    def get_token(self) -> TokenData:
        """The token."""
        return self._provider.fetch_token()

    def invalidate_token(self) -> None:
        """Forget it."""

    def force_refresh(self) -> TokenData:
        """Another one."""
        return self._provider.fetch_token()


def grants(strategy: RetryStrategyInterface) -> list[TokenFetcherInterface]:
    """All standard grants, and all ways to authenticate a client."""
    url = "https://sso.example/token"
    return [
        ClientCredentialsFetcher("a", url, "id", client_auth=ClientSecretBasic("s"), scope="read"),
        PasswordFetcher(
            *("b", url, "id"), username="ada", password="pw", client_auth=ClientSecretPost("s")
        ),
        RefreshTokenFetcher(
            *("c", StepValue("url"), "id"),
            refresh_token=StepValue("refresh_token"),
            client_auth=PrivateKeyJwt("PEM", algorithm="ES256", audience=url),
            retry_strategy=strategy,
        ),
        JwtBearerFetcher("d", url, "id", assertion=lambda _: "jwt", client_auth=MutualTls("pem")),
        JwtBearerFetcher("e", url, "id", key="PEM", issuer="ada", subject="ada", audience=["x"]),
        TokenExchangeFetcher(
            *("f", url, "id"),
            subject_step="a",
            subject_token_type="urn:ietf:params:oauth:token-type:access_token",
            resource=("https://api.example.com",),
            require_scopes=True,
        ),
        DeviceCodeFetcher(
            *("g", url, "id"),
            device_url="https://sso.example/device",
            prompt=print,
            client_auth=MutualTls(("cert.pem", "key.pem")),
        ),
    ]


def providers() -> list[TokenProviderInterface]:
    """All providers."""
    return [
        Provider(),
        Sso("https://sso.example/token", "id", "secret", "sso"),
        ClientCredentialsTokenProvider(
            "https://sso.example/token", "id", "secret", "sso", scope="read", auth_method="header"
        ),
        PasswordGrantTokenProvider("https://sso.example", "id", "secret", "ada", "pw", "sso"),
    ]


def storages() -> list[TokenStorageInterface]:
    """All storages."""
    memory = InMemoryTokenStorage(max_entries=100)
    memory.clear()
    redis = RedisTokenStorage(
        url="redis://localhost",
        refresh_ttl=timedelta(days=7),
        max_staleness=timedelta(seconds=2),
    )
    files = EncryptedTokenStorage(
        FileTokenStorage("/tokens"), [EncryptedTokenStorage.generate_key()]
    )
    assert_type(files.shared, bool)
    django = DjangoCacheTokenStorage("default", key_prefix="token")
    return [memory, django, redis, files, Storage()]


def tokens() -> TokenData:
    """A token."""
    token = TokenData("token", "Bearer", None, None, "read", {"tenant": 7}, leeway=timedelta(0))
    assert_type(token.expires_at, datetime | None)
    assert_type(token.generation, str | None)
    assert_type(token.is_expired, bool)
    assert_type(token.authorization_header, str)
    assert_type(token.to_dict(), dict[str, Any])
    assert_type(TokenData.from_dict(token.to_dict()), TokenData)
    token.access_token = "other"  # type: ignore[misc]
    return token


def failures(client: HttpClient) -> object:  # noqa: C901, PLR0911, PLR0912 - one for each class
    """What can go wrong, the narrowest first."""
    warnings.simplefilter("ignore", InsecureTransportWarning)
    try:
        return client.get("/users").raise_for_status().json()
    except (BadRequestException, ForbiddenException, NotFoundException) as error:
        return assert_type(error.response_body, str | None)
    except UnauthorizedException as error:
        return assert_type(error.is_client_error, bool)
    except ServerErrorException as error:
        return assert_type(error.retry_after, float | None)
    except HttpStatusException as error:
        return assert_type(error.status_code, int)
    except (MaxRetryTimeoutException, MaxRetryConnectionException) as error:
        return assert_type(error.attempts, int)
    except MaxRetryException as error:
        return assert_type(error.history, tuple[BaseException, ...])
    except CircuitOpenException as error:
        return (assert_type(error.origin, str), assert_type(error.retry_after, float))
    except DependencyException as error:
        return assert_type(error.service_name, str | None)
    except TokenRefreshException as error:
        return assert_type(error.retry_at, datetime | None)
    except AuthenticationException as error:
        return error.service_name
    except (SSLException, ConnectionException, TimeoutException, CapacityException) as error:
        return assert_type(error.context, dict[str, Any])
    except (RequestBuildException, ResponseParseException, TokenStorageException) as error:
        return error.message
    except HttpClientException as error:
        return assert_type(error.original_exception, BaseException | None)


class StandingClock:
    """A clock of a user's own."""

    def now(self) -> datetime:
        """The instant."""
        return datetime(2030, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        """Seconds."""
        return 0.0

    def sleep(self, seconds: float) -> None:
        """Do not."""


class Observer:
    """An observer that knows all events."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to do."""

    def __call__(self, event: Event) -> None:
        """Look at it."""
        match event:
            case StepCached() | StepMissed() | StepInvalidated():
                assert_type(event.generation, str | None)
            case StepFetched() | StepFailed() | TokenReplaced() | RefreshFailed():
                assert_type(event.step, str)
            case ScopeReduced():
                assert_type(event.missing, tuple[str, ...])
            case StorageFailed() | LockUnavailable():
                assert_type(event.error, str)
            case RequestSent() | RequestReplayed():
                assert_type(event.attempt, int)
            case ResponseReceived():
                assert_type(event.seconds, float)
            case RequestFailed():
                assert_type(event.url, str)
            case RequestRetried() | RequestLimited():
                assert_type(event.wait, float)
            case CircuitChanged():
                assert_type(event.origin, str)
        assert_type(event.at, datetime)


def other_clients(manager: TokenManager, pipeline: TokenFetchPipeline) -> None:
    """Tokens for requests and httpx."""
    session = requests.Session()
    session.auth = for_requests.TokenAuth(manager, allowed_origins=["https://api.example.com"])
    requests.get("https://api.example.com", auth=for_requests.TokenAuth(pipeline), timeout=3)
    auth = for_httpx.TokenAuth(pipeline, header_name="X-Token", header_prefix=None)
    httpx.Client(auth=auth).get("https://api.example.com")
    httpx.AsyncClient(auth=auth)
    for_requests.TokenAuth(7)  # type: ignore[arg-type]
    for_httpx.TokenAuth(pipeline, "X-Token")  # type: ignore[call-arg]


def clocks_and_observers(event: Event) -> None:
    """Time and events."""
    clock: Clock = StandingClock()
    with (
        use_clock(clock),
        use_clock(SystemClock()),
        observe(Observer()),
        observe(LoggingObserver()),
        observe(OpenTelemetryObserver(None, meter_provider=None)),
        observe(PrometheusObserver(registry=None)),
    ):
        emit(event)
        sleep(monotonic())
        assert_type(now(), datetime)
