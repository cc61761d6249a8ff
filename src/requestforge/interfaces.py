"""The roles that a user of the library may implement."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from requestforge.models import HttpMethod, HttpRequest, HttpResponse, RequestContext
from requestforge.tokens import TokenData

__all__ = [
    "AuthHookInterface",
    "AuthRetryStrategyInterface",
    "ErrorHookInterface",
    "HttpClientInterface",
    "HttpSessionInterface",
    "RequestHookInterface",
    "ResponseHookInterface",
    "RetryStrategyInterface",
    "TokenFetcherInterface",
    "TokenManagerInterface",
    "TokenProviderInterface",
    "TokenStorageInterface",
]

RETRYABLE_STATUS_CODES = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that another attempt may better."""

_log = logging.getLogger("requestforge")


class TokenStorageInterface(ABC):
    """Where tokens live. Four methods make a storage; the others have defaults built on them."""

    shared: bool = True
    """Whether other processes may see and change what it holds."""

    content_version: int | None = None
    """A count of its changes; nothing need be read again while it stands still. None: untold."""

    @abstractmethod
    def get(self, key: str) -> TokenData | None:
        """The token that was set, expired or not; None if there is none."""

    @abstractmethod
    def set(self, key: str, token: TokenData) -> None:
        """Keep the token, in place of any other under that key."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the token, if there is one."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether an entry is present, expired or not."""

    def get_many(self, keys: Iterable[str]) -> dict[str, TokenData]:
        """The tokens of those keys that have one."""
        found = ((key, self.get(key)) for key in keys)
        return {key: token for key, token in found if token is not None}

    def content_of(self, keys: tuple[str, ...]) -> Mapping[str, TokenData]:
        """As `get_many`, not to be changed; the same object as before: it holds what it held."""
        return self.get_many(keys)

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove the tokens of those keys."""
        for key in keys:
            self.delete(key)

    def compare_and_delete(self, key: str, generation: str | None) -> bool:
        """Remove the token if it has that generation; whether that is so. Not atomic here."""
        current = self.get(key)
        if current is None or current.generation != generation:
            return False
        self.delete(key)
        return True

    def compare_and_set(self, key: str, token: TokenData, generation: str | None) -> bool:
        """Set the token if the present one has that generation; whether that is so.

        A generation of None stands for: there is no token. Not atomic here.
        """
        current = self.get(key)
        if (None if current is None else current.generation) != generation:
            return False
        self.set(key, token)
        return True

    def lock(
        self,
        key: str,  # noqa: ARG002 - names of the interface
        lease: timedelta,  # noqa: ARG002
        wait: timedelta,  # noqa: ARG002
    ) -> AbstractContextManager[bool] | None:
        """A lock on the key that reaches as far as the storage does; None: it cannot lock.

        Entering gives True once the lock is held, False if another still holds it after `wait`, and
        raises if the lock service fails. It ends with the block, or after `lease` if its holder has
        died. Leaving releases only one's own.
        """
        return None

    def close(self) -> None:  # noqa: B027 - closing is optional
        """Release what the storage holds open."""


class TokenFetcherInterface(ABC):
    """A step: it knows how to fetch one token, given those of earlier steps."""

    # For fetchers of this library. True: `fetch`, too, redeems a refresh token, and must not be
    # called while the storage, which may hold a later one, cannot be read.
    _fetch_redeems: bool = False
    # True: `refresh` has tried all other grants before it fails.
    _refresh_is_final: bool = False

    @property
    def _value_names(self) -> Iterable[str]:
        """For fetchers of this library: the values of a tenant that a fetch needs."""
        return ()

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the step, unique in its pipeline."""

    @abstractmethod
    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        """A new token; `context`: the tokens of earlier steps by name, None if there are none."""

    @property
    def depends_on(self) -> list[str]:
        """Names of the steps whose tokens `fetch` needs."""
        return []

    @property
    def ttl(self) -> timedelta | None:
        """How long a token is used, at most, from the start of its fetch; None: no limit."""
        return None

    @property
    def fetch_timeout(self) -> timedelta:
        """The longest that `fetch` takes; 30 seconds unless overridden."""
        return timedelta(seconds=30)

    def on_fetch_error(self, error: Exception, context: dict[str, TokenData] | None = None) -> None:  # noqa: ARG002 - for overriders
        """Hear of a failed fetch, once; logs it unless overridden."""
        # The type alone: the text of a foreign error may hold anything.
        _log.error("Step %r failed: %s.", self.name, type(error).__name__)

    def refresh(self, expired: TokenData, context: dict[str, TokenData] | None = None) -> TokenData:  # noqa: ARG002 - for overriders
        """A new token in place of one that has a refresh token; fetches unless overridden.

        An override redeems `expired.refresh_token`. An error caused by the HttpStatusException of
        an `invalid_grant` has the pipeline drop that and call `fetch`. A TokenRefreshException says
        that `fetch` would need a user, and is given to the caller. After others the token stays.
        """
        return self.fetch(context)

    def close(self) -> None:  # noqa: B027 - closing is optional
        """Release what the step holds open; it stays usable."""


class TokenProviderInterface(ABC):
    """A source of tokens for a TokenManager."""

    caches_tokens: bool = False
    """True: the provider keeps its tokens itself, and the manager keeps none."""

    @property
    @abstractmethod
    def service_name(self) -> str:
        """Name of the service that the tokens are for."""

    @abstractmethod
    def fetch_token(self) -> TokenData:
        """A usable token."""

    @abstractmethod
    def refresh_token(self, current_token: TokenData) -> TokenData:
        """A new token in place of the current one."""

    def refresh(self, rejected: TokenData | None = None) -> TokenData:
        """A token other than the rejected one; None: a new one in any case."""
        return self.fetch_token() if rejected is None else self.refresh_token(rejected)

    def invalidate(self) -> None:  # noqa: B027 - only providers that cache have something to do
        """Give up cached tokens."""

    def close(self) -> None:  # noqa: B027 - closing is optional
        """Release what the provider holds open."""


class TokenManagerInterface(ABC):
    """What an auth hook asks for tokens."""

    @abstractmethod
    def __init__(
        self, provider: TokenProviderInterface, storage: TokenStorageInterface | None = None
    ) -> None:
        """Manage the provider's tokens; subclasses may call this to keep both arguments."""
        self._provider = provider
        self._storage = storage

    @abstractmethod
    def get_token(self) -> TokenData:
        """A usable token, cached if possible."""

    @abstractmethod
    def invalidate_token(self) -> None:
        """Give up the cached token."""

    @abstractmethod
    def force_refresh(self) -> TokenData:
        """A newly fetched token."""

    def refresh(self, rejected: TokenData) -> TokenData:  # noqa: ARG002 - for overriders
        """A token other than the rejected one."""
        return self.force_refresh()

    def accepted(self, token: TokenData) -> None:  # noqa: B027 - optional
        """Hear that an answer has accepted the token."""

    def close(self) -> None:  # noqa: B027 - closing is optional
        """Release what the manager holds open."""


class HttpSessionInterface(ABC):
    """Something that is closed, at the end of a block at the latest."""

    @abstractmethod
    def close(self) -> None:
        """Release what it holds open."""

    @abstractmethod
    def __enter__(self) -> Self:
        """Give itself."""

    @abstractmethod
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""


class HttpClientInterface(ABC):
    """A client: one method per verb, and `request` for them all."""

    @abstractmethod
    def request(self, request: HttpRequest) -> HttpResponse:
        """Send the request and give its answer."""

    @abstractmethod
    def get(self, url: str, **kwargs: Any) -> HttpResponse:  # noqa: ANN401 - fields of HttpRequest
        """GET the URL."""

    @abstractmethod
    def post(self, url: str, **kwargs: Any) -> HttpResponse:  # noqa: ANN401
        """POST to the URL."""

    @abstractmethod
    def put(self, url: str, **kwargs: Any) -> HttpResponse:  # noqa: ANN401
        """PUT to the URL."""

    @abstractmethod
    def patch(self, url: str, **kwargs: Any) -> HttpResponse:  # noqa: ANN401
        """PATCH the URL."""

    @abstractmethod
    def delete(self, url: str, **kwargs: Any) -> HttpResponse:  # noqa: ANN401
        """DELETE the URL."""

    def head(self, url: str, **kwargs: Any) -> HttpResponse:  # noqa: ANN401
        """HEAD of the URL."""
        return self.request(HttpRequest(HttpMethod.HEAD, url, **kwargs))

    def options(self, url: str, **kwargs: Any) -> HttpResponse:  # noqa: ANN401
        """OPTIONS of the URL."""
        return self.request(HttpRequest(HttpMethod.OPTIONS, url, **kwargs))


class RetryStrategyInterface(ABC):
    """Decides whether a failed attempt is made again, and when."""

    retry_non_idempotent: bool = False
    """Whether POST and PATCH are retried, too."""

    max_retry_after: float = 60.0
    """The longest Retry-After, in seconds, that is waited for."""

    @property
    @abstractmethod
    def max_retries(self) -> int:
        """How many retries a request may have."""

    @abstractmethod
    def should_retry(self, context: RequestContext, exception: Exception) -> bool:
        """Whether the attempt that failed so is made again."""

    @abstractmethod
    def get_delay(self, context: RequestContext) -> float:
        """Seconds to wait before the next attempt."""

    def is_retryable_status(self, code: int) -> bool:
        """Whether an answer of that status counts as a failed attempt."""
        return code in RETRYABLE_STATUS_CODES

    def before_attempt(self, context: RequestContext) -> None:  # noqa: B027 - optional
        """Hear of an attempt; raising refuses it."""

    def after_attempt(self, context: RequestContext, outcome: HttpResponse | BaseException) -> None:  # noqa: B027 - optional
        """Hear how an attempt ended."""


class AuthRetryStrategyInterface(ABC):
    """Decides which answers refuse a credential, and how often to try a refreshed one."""

    @property
    @abstractmethod
    def max_retries(self) -> int:
        """How many replays a request may have."""

    @abstractmethod
    def should_retry(self, response: HttpResponse, attempt: int) -> bool:
        """Whether to replay; `attempt` counts the replays made so far."""

    @abstractmethod
    def get_delay(self, attempt: int) -> float:
        """Seconds to wait before the replay."""

    @abstractmethod
    def is_auth_error(self, response: HttpResponse) -> bool:
        """Whether the answer refuses the credential."""


class RequestHookInterface(ABC):
    """Called before each attempt; may change the request."""

    @abstractmethod
    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        """The request to send; raising stops it."""


class ResponseHookInterface(ABC):
    """Called with each answer; may change it."""

    @abstractmethod
    def after_response(self, response: HttpResponse, context: RequestContext) -> HttpResponse:
        """The answer to go on with."""


class ErrorHookInterface(ABC):
    """Called with each failed attempt."""

    @abstractmethod
    def on_error(self, exception: Exception, context: RequestContext) -> None:
        """Hear of the failure."""


class AuthHookInterface(RequestHookInterface):
    """Puts a credential on requests, and renews it when an answer refuses it."""

    @property
    @abstractmethod
    def retry_strategy(self) -> AuthRetryStrategyInterface | None:
        """When to refresh and replay; None: never."""

    @abstractmethod
    def should_authenticate(self, request: HttpRequest) -> bool:
        """Whether the request gets the credential."""

    @abstractmethod
    def is_auth_error(self, response: HttpResponse) -> bool:
        """Whether the answer refuses the credential."""

    @abstractmethod
    def refresh_auth(self) -> bool:
        """Renew the credential; whether that worked."""

    @abstractmethod
    def invalidate_auth(self) -> None:
        """Give up the credential."""

    @abstractmethod
    def get_token(self) -> TokenData | None:
        """The credential, or None."""

    def refresh_rejected(self, context: RequestContext) -> bool:  # noqa: ARG002 - for overriders
        """Renew the credential that this request was refused with; True: replay it."""
        return self.refresh_auth()

    def accepted(self, context: RequestContext) -> None:
        """Hear that a refreshed credential was not refused."""
