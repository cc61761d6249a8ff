"""Multi-step token authentication for HTTP clients.

PYTEST_DONT_REWRITE: nothing here asserts, so pytest need not rewrite it.
"""

from requestforge._references import (
    StepToken,
    StepValue,
)
from requestforge.client import (
    HttpClient,
    create_client,
    http_client,
)
from requestforge.config import (
    HttpClientConfig,
    HttpClientConfigBuilder,
    TokenData,
)
from requestforge.exceptions import (
    AuthenticationException,
    BadRequestException,
    CapacityException,
    CircuitOpenException,
    ConnectionException,
    DependencyException,
    ForbiddenException,
    HttpClientException,
    HttpStatusException,
    InsecureTransportWarning,
    MaxRetryConnectionException,
    MaxRetryException,
    MaxRetryTimeoutException,
    NotFoundException,
    RequestBuildException,
    ResponseParseException,
    ServerErrorException,
    SSLException,
    TimeoutException,
    TokenRefreshException,
    TokenStorageException,
    UnauthorizedException,
)
from requestforge.fetcher import (
    BodyTokenFetcher,
    HeaderTokenFetcher,
    HttpTokenFetcher,
)
from requestforge.hooks import (
    ApiKeyAuthHook,
    AuthorizationHook,
    BasicAuthHook,
    CompositeAuthHook,
    CorrelationIdHook,
    IdempotencyKeyHook,
    LoggingErrorHook,
    LoggingRequestHook,
    LoggingResponseHook,
    RateLimitResponseHook,
    TokenAuthHook,
    TraceparentHook,
)
from requestforge.interfaces import (
    AuthHookInterface,
    AuthRetryStrategyInterface,
    ErrorHookInterface,
    HttpClientInterface,
    HttpSessionInterface,
    RequestHookInterface,
    ResponseHookInterface,
    RetryStrategyInterface,
    TokenFetcherInterface,
    TokenManagerInterface,
    TokenProviderInterface,
    TokenStorageInterface,
)
from requestforge.models import (
    FetchContext,
    HttpMethod,
    HttpRequest,
    HttpResponse,
    RequestContext,
    StreamResponse,
)
from requestforge.pipelines import (
    PipelineTokenProvider,
    TokenFetchPipeline,
)
from requestforge.retry import (
    CircuitBreaker,
    CircuitBreakerRetryStrategy,
    ConditionalAuthRetryStrategy,
    ExponentialAuthRetryStrategy,
    ExponentialBackoffRetryStrategy,
    NoAuthRetryStrategy,
    NoRetryStrategy,
    SimpleAuthRetryStrategy,
    SimpleRetryStrategy,
)
from requestforge.token_manager import (
    BaseOAuth2TokenProvider,
    ClientCredentialsTokenProvider,
    DjangoCacheTokenStorage,
    EncryptedTokenStorage,
    FileTokenStorage,
    InMemoryTokenStorage,
    PasswordGrantTokenProvider,
    RedisTokenStorage,
    TokenManager,
)
from requestforge.utils import (
    to_curl,
)

__all__ = [
    "ApiKeyAuthHook",
    "AuthHookInterface",
    "AuthRetryStrategyInterface",
    "AuthenticationException",
    "AuthorizationHook",
    "BadRequestException",
    "BaseOAuth2TokenProvider",
    "BasicAuthHook",
    "BodyTokenFetcher",
    "CapacityException",
    "CircuitBreaker",
    "CircuitBreakerRetryStrategy",
    "CircuitOpenException",
    "ClientCredentialsTokenProvider",
    "CompositeAuthHook",
    "ConditionalAuthRetryStrategy",
    "ConnectionException",
    "CorrelationIdHook",
    "DependencyException",
    "DjangoCacheTokenStorage",
    "EncryptedTokenStorage",
    "ErrorHookInterface",
    "ExponentialAuthRetryStrategy",
    "ExponentialBackoffRetryStrategy",
    "FetchContext",
    "FileTokenStorage",
    "ForbiddenException",
    "HeaderTokenFetcher",
    "HttpClient",
    "HttpClientConfig",
    "HttpClientConfigBuilder",
    "HttpClientException",
    "HttpClientInterface",
    "HttpMethod",
    "HttpRequest",
    "HttpResponse",
    "HttpSessionInterface",
    "HttpStatusException",
    "HttpTokenFetcher",
    "IdempotencyKeyHook",
    "InMemoryTokenStorage",
    "InsecureTransportWarning",
    "LoggingErrorHook",
    "LoggingRequestHook",
    "LoggingResponseHook",
    "MaxRetryConnectionException",
    "MaxRetryException",
    "MaxRetryTimeoutException",
    "NoAuthRetryStrategy",
    "NoRetryStrategy",
    "NotFoundException",
    "PasswordGrantTokenProvider",
    "PipelineTokenProvider",
    "RateLimitResponseHook",
    "RedisTokenStorage",
    "RequestBuildException",
    "RequestContext",
    "RequestHookInterface",
    "ResponseHookInterface",
    "ResponseParseException",
    "RetryStrategyInterface",
    "SSLException",
    "ServerErrorException",
    "SimpleAuthRetryStrategy",
    "SimpleRetryStrategy",
    "StepToken",
    "StepValue",
    "StreamResponse",
    "TimeoutException",
    "TokenAuthHook",
    "TokenData",
    "TokenFetchPipeline",
    "TokenFetcherInterface",
    "TokenManager",
    "TokenManagerInterface",
    "TokenProviderInterface",
    "TokenRefreshException",
    "TokenStorageException",
    "TokenStorageInterface",
    "TraceparentHook",
    "UnauthorizedException",
    "__version__",
    "create_client",
    "http_client",
    "to_curl",
]


def __getattr__(name: str) -> str:
    """The version, read from the package's metadata when it is asked for."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Its import costs more than all of this library, and next to nobody asks.
    from importlib import metadata  # noqa: PLC0415

    return metadata.version("requestforge")
