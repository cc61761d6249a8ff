"""TokenManager, which keeps one service's token usable, and all that it may be made of."""

import threading
from copy import copy
from datetime import timedelta
from types import TracebackType
from typing import NoReturn, Self

from requestforge import instrumentation
from requestforge._token_endpoint.providers import (
    BaseOAuth2TokenProvider,
    ClientCredentialsTokenProvider,
    PasswordGrantTokenProvider,
)
from requestforge.exceptions import AuthenticationException, TokenRefreshException
from requestforge.interfaces import (
    TokenFetcherInterface,
    TokenManagerInterface,
    TokenProviderInterface,
    TokenStorageInterface,
)
from requestforge.pipelines import PipelineTokenProvider, TokenFetchPipeline
from requestforge.storage import (
    DjangoCacheTokenStorage,
    EncryptedTokenStorage,
    FileTokenStorage,
    InMemoryTokenStorage,
    RedisTokenStorage,
)
from requestforge.tokens import TokenData

__all__ = [
    "BaseOAuth2TokenProvider",
    "ClientCredentialsTokenProvider",
    "DjangoCacheTokenStorage",
    "EncryptedTokenStorage",
    "FileTokenStorage",
    "InMemoryTokenStorage",
    "PasswordGrantTokenProvider",
    "RedisTokenStorage",
    "TokenManager",
    "TokenRefreshException",
]


class TokenManager(TokenManagerInterface):
    """Keeps the token of a provider usable, for all threads that ask.

    A provider that keeps its tokens itself (a pipeline) is asked each time. The token of any
    other is cached under `auth_token:<service_name>` and fetched in single flight.

    Args:
        provider: where tokens come from.
        storage: where the token of a provider without a cache lives; None: in this manager.
        reject_interval: how long a token that a refresh gave is not refreshed again, if servers
            have only rejected it since.

    Raises:
        ValueError: a negative `reject_interval`, or a provider without a service name.
    """

    def __init__(
        self,
        provider: TokenProviderInterface,
        storage: TokenStorageInterface | None = None,
        *,
        reject_interval: timedelta = timedelta(seconds=10),
    ) -> None:
        if reject_interval < timedelta(0):
            msg = f"reject_interval must not be negative, but is {reject_interval}."
            raise ValueError(msg)
        self._provider = provider
        self._step = None if _caches(provider) else _ProviderStep(provider)
        home = provider if self._step is None else _caching(self._step, storage)
        self._home = home
        # What a pipeline's provider would ask is asked at once.
        self._pipeline = home.pipeline if type(home) is PipelineTokenProvider else None
        self._reject_interval = reject_interval.total_seconds()
        # The token of the last refresh, and the reading at which it came, until an answer accepts
        # it; and the last one to be accepted, which a slower thread may get from its refresh yet.
        self._unproven: tuple[TokenData, float, object] | None = None
        self._proven: TokenData | None = None

    def get_token(self) -> TokenData:
        """A usable token, cached if possible.

        Raises:
            Exception: whatever the provider raised.
        """
        try:
            if self._pipeline is not None:
                return self._pipeline.execute()
            return self._home.fetch_token()
        except AuthenticationException as error:
            failure = self._error_of(error)
        raise failure

    def refresh(self, rejected: TokenData) -> TokenData:
        """A token other than the rejected one, fetched once for all threads that ask.

        A token that came from a refresh within `reject_interval`, and has only been rejected
        since, is given back as it is: another one would fare no better.

        Raises:
            Exception: whatever the provider raised; the cached token stays.
        """
        unproven = self._unproven
        if unproven is not None:
            token, since, counted_by = unproven
            _, monotonic, source = instrumentation.reading()
            young = source is counted_by and monotonic - since < self._reject_interval
            if young and rejected.access_token == token.access_token:
                return rejected
        token = self._refreshed(rejected)
        if token.access_token != rejected.access_token and not self._is_tracked(token):
            self._unproven = (token, *instrumentation.reading()[1:])
        return token

    def accepted(self, token: TokenData) -> None:
        """Hear that an answer has accepted the token: the next rejection of it is news."""
        unproven = self._unproven
        if unproven is not None and unproven[0].access_token == token.access_token:
            self._proven = token
            self._unproven = None

    def force_refresh(self) -> TokenData:
        """A token that is fetched after this call, together with concurrent calls.

        Raises:
            Exception: whatever the provider raised; the cached token stays.
        """
        return self._refreshed(None)

    def invalidate_token(self) -> None:
        """Give up the cached token; a fetch under way is not cached.

        Raises:
            TokenStorageException: the storage could not delete it.
        """
        self._home.invalidate()

    def close(self) -> None:
        """Close the provider, if it can be closed."""
        close = getattr(self._provider, "close", None)
        if callable(close):
            close()

    def __enter__(self) -> Self:
        """Give the manager."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: flights and locks belong to one process."""
        msg = "A TokenManager cannot be pickled; make one in each process."
        raise TypeError(msg)

    def _refreshed(self, rejected: TokenData | None) -> TokenData:
        try:
            if self._step is not None and self._pipeline is not None:
                # A token of this provider is told by its text: others may have stored it.
                return self._pipeline.refresh(rejected, by_value=True)
            return self._home.refresh(rejected)
        except AuthenticationException as error:
            failure = self._error_of(error)
        raise failure

    def _error_of(self, failure: AuthenticationException) -> BaseException:
        """The provider's own error, where the failure is that of the step around it."""
        return failure if self._step is None else self._step.own_error(failure)

    def _is_tracked(self, token: TokenData) -> bool:
        """Whether another thread's refresh gave that token before, accepted since or not."""
        tracked = [self._proven, *(self._unproven or ())[:1]]
        return any(t is not None and t.access_token == token.access_token for t in tracked)


def _caches(provider: object) -> bool:
    """Whether the provider is the home of its tokens; a duck-typed one is not asked."""
    return isinstance(provider, TokenProviderInterface) and provider.caches_tokens is True


def _caching(step: "_ProviderStep", storage: TokenStorageInterface | None) -> PipelineTokenProvider:
    """A provider that caches the step's token, by a pipeline of that one step."""
    storage = InMemoryTokenStorage() if storage is None else storage
    pipeline = TokenFetchPipeline([step], storage, cache_key_prefix="auth_token")
    return PipelineTokenProvider(pipeline, step.name)


class _ProviderStep(TokenFetcherInterface):
    """A provider as the one step of a pipeline."""

    _refresh_is_final = True  # providers see themselves to what a refused refresh token leads to

    def __init__(self, provider: TokenProviderInterface) -> None:
        self._provider = provider
        self._thread = threading.local()

    @property
    def name(self) -> str:
        return self._provider.service_name

    @property
    def fetch_timeout(self) -> timedelta:
        """A refresh that is refused, and the grants that take its place: 30 seconds each."""
        return timedelta(seconds=90)

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:  # noqa: ARG002
        return self._provider.fetch_token()

    def refresh(
        self,
        expired: TokenData,
        context: dict[str, TokenData] | None = None,  # noqa: ARG002
    ) -> TokenData:
        return self._provider.refresh_token(expired)

    def on_fetch_error(
        self,
        error: Exception,
        context: dict[str, TokenData] | None = None,  # noqa: ARG002
    ) -> None:
        """Keep the error for the thread that it was raised in."""
        self._thread.error = error

    def own_error(self, failure: AuthenticationException) -> BaseException:
        """The provider's error: itself in the thread that it was raised in, elsewhere a copy."""
        own: BaseException | None = vars(self._thread).pop("error", None)
        cause: BaseException | None = failure.original_exception
        if cause is None:
            return failure
        if own is not None:  # as it is, though the pipeline may have had to mask it
            return own
        try:
            twin: BaseException = copy(cause)
        except Exception:  # noqa: BLE001 - an exception of odd making cannot be copied
            return failure
        twin.__cause__ = cause.__cause__
        return twin
