"""Hooks that put a credential on requests: tokens of a manager, API keys, Basic authentication."""

import logging
from base64 import b64encode
from collections.abc import Iterable

from requestforge._portable import describe
from requestforge.hooks._paths import ExcludedPaths
from requestforge.hooks._values import checked_credential, checked_name, checked_value
from requestforge.interfaces import (
    AuthHookInterface,
    AuthRetryStrategyInterface,
    TokenManagerInterface,
)
from requestforge.models import HttpRequest, HttpResponse, RequestContext
from requestforge.retry import SimpleAuthRetryStrategy
from requestforge.tokens import TokenData

_log = logging.getLogger("requestforge")

_SENT = "sent_tokens"
_UNAUTHORIZED = 401


class _HeaderAuthHook(AuthHookInterface):
    """Puts a credential into a header, but for the excluded paths."""

    def __init__(
        self,
        header_name: str,
        retry_strategy: AuthRetryStrategyInterface | None,
        excluded: ExcludedPaths,
    ) -> None:
        self._header_name = header_name
        self._retry_strategy = retry_strategy
        self._excluded = excluded

    @property
    def retry_strategy(self) -> AuthRetryStrategyInterface | None:
        """When a refused request is sent again with a renewed credential; None: never."""
        return self._retry_strategy

    @property
    def header_name(self) -> str:
        """The header that carries the credential."""
        return self._header_name

    def should_authenticate(self, request: HttpRequest) -> bool:
        """Whether the path of the request is not excluded."""
        return not self._excluded.cover(request.url)

    def is_auth_error(self, response: HttpResponse) -> bool:
        """Whether the strategy, or without one the status 401, calls the answer a refusal."""
        strategy = self._retry_strategy
        return (
            response.status_code == _UNAUTHORIZED
            if strategy is None
            else strategy.is_auth_error(response)
        )


class TokenAuthHook(_HeaderAuthHook):
    """Puts the token of a manager on requests.

    Args:
        token_manager: where the token comes from.
        retry_strategy: when a refused request is sent again with a refreshed token; None: once,
            after a 401.
        auth_header_name: the header that carries the token.
        auth_header_prefix: what stands before the token; empty: nothing; None: the token's type.
        excluded_paths: paths that get no token; a slash at the end does not matter.
        excluded_path_patterns: shell patterns of paths that get no token, case-sensitive.

    Raises:
        TypeError: name or prefix of the header is no text.
        ValueError: no header can have that name or prefix, or a text stands where several belong.
    """

    def __init__(  # noqa: PLR0917 - a published signature
        self,
        token_manager: TokenManagerInterface,
        retry_strategy: AuthRetryStrategyInterface | None = None,
        auth_header_name: str = "Authorization",
        auth_header_prefix: str | None = "Bearer",
        excluded_paths: Iterable[str] | None = None,
        excluded_path_patterns: Iterable[str] | None = None,
    ) -> None:
        if auth_header_prefix is not None:
            checked_value("auth_header_prefix", auth_header_prefix)
        super().__init__(
            checked_name("auth_header_name", auth_header_name),
            SimpleAuthRetryStrategy(1) if retry_strategy is None else retry_strategy,
            ExcludedPaths(excluded_paths, excluded_path_patterns),
        )
        self._token_manager = token_manager
        self._is_heard = isinstance(token_manager, TokenManagerInterface)
        self._prefix = auth_header_prefix

    @property
    def token_manager(self) -> TokenManagerInterface:
        """Where the token comes from."""
        return self._token_manager

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        """The request with the manager's token, unless its path is excluded.

        Raises:
            Exception: whatever the manager raised.
        """
        if not self.should_authenticate(request):
            return request
        token = self._token_manager.get_token()
        context.metadata.setdefault(_SENT, {})[id(self)] = token
        return request.with_headers({self._header_name: self._header_value(token)})

    def refresh_auth(self) -> bool:
        """Have a new token fetched; False if that failed, which is logged."""
        return self._is_refreshed(None)

    def refresh_rejected(self, context: RequestContext) -> bool:
        """Have the token of this request replaced; whether there is another one to try."""
        sent = self._sent(context)
        if sent is None or not self._is_heard:
            return self._is_refreshed(sent)
        try:
            token = self._token_manager.refresh(sent)
        except Exception as error:  # noqa: BLE001 - a manager may raise anything
            _log_failure(error, sent)
            return False
        return token.access_token != sent.access_token

    def accepted(self, context: RequestContext) -> None:
        """Tell the manager that the token of this request was not refused."""
        sent = self._sent(context)
        if sent is not None and self._is_heard:
            self._token_manager.accepted(sent)

    def invalidate_auth(self) -> None:
        """Give up the manager's token."""
        self._token_manager.invalidate_token()

    def get_token(self) -> TokenData:
        """The manager's token."""
        return self._token_manager.get_token()

    def _is_refreshed(self, sent: TokenData | None) -> bool:
        try:
            self._token_manager.force_refresh()
        except Exception as error:  # noqa: BLE001 - a manager may raise anything
            _log_failure(error, sent)
            return False
        return True

    def _sent(self, context: RequestContext) -> TokenData | None:
        """The token that this hook has put on the request last."""
        tokens: dict[int, TokenData] = context.metadata.get(_SENT, {})
        return tokens.get(id(self))

    def _header_value(self, token: TokenData) -> str:
        if self._prefix is None:
            return token.authorization_header
        return f"{self._prefix} {token.access_token}" if self._prefix else token.access_token


class _StaticAuthHook(_HeaderAuthHook):
    """Puts a credential on requests that never changes."""

    def __init__(
        self,
        header_name: str,
        token: TokenData,
        value: str,
        retry_strategy: AuthRetryStrategyInterface | None,
        excluded_paths: Iterable[str] | None,
    ) -> None:
        super().__init__(header_name, retry_strategy, ExcludedPaths(excluded_paths))
        self._token = token
        self._value = value

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:  # noqa: ARG002
        """The request with the credential, unless its path is excluded."""
        if not self.should_authenticate(request):
            return request
        return request.with_headers({self._header_name: self._value})

    def refresh_auth(self) -> bool:
        """False: there is nothing to renew it from."""
        return False

    def invalidate_auth(self) -> None:
        """Do nothing: there is no other credential."""

    def get_token(self) -> TokenData:
        """The credential as a token."""
        return self._token


class ApiKeyAuthHook(_StaticAuthHook):
    """Puts an API key on requests.

    Args:
        api_key: the key.
        header_name: the header that carries it.
        retry_strategy: asked which answers refuse the key; None: those with status 401.
        excluded_paths: paths that get no key; a slash at the end does not matter.

    Raises:
        TypeError: the key or the name of its header is no text.
        ValueError: the key is empty or cannot be sent, or no header can have that name; the key is
            not shown.
    """

    def __init__(
        self,
        api_key: str,
        header_name: str = "X-API-Key",
        retry_strategy: AuthRetryStrategyInterface | None = None,
        excluded_paths: Iterable[str] | None = None,
    ) -> None:
        checked_credential("api_key", api_key)
        checked_name("header_name", header_name)
        token = TokenData(api_key, token_type="ApiKey")
        super().__init__(header_name, token, api_key, retry_strategy, excluded_paths)


class BasicAuthHook(_StaticAuthHook):
    """Puts a user's name and password on requests (RFC 7617, in UTF-8).

    Args:
        username: the name; it cannot hold a colon.
        password: the password.
        retry_strategy: asked which answers refuse them; None: those with status 401.
        excluded_paths: paths that get no credential; a slash at the end does not matter.

    Raises:
        TypeError: the name or the password is no text.
        ValueError: the name holds a colon, or one of them cannot be encoded; neither is shown.
    """

    def __init__(
        self,
        username: str,
        password: str,
        retry_strategy: AuthRetryStrategyInterface | None = None,
        excluded_paths: Iterable[str] | None = None,
    ) -> None:
        token = TokenData(_basic(username, password), "Basic")
        super().__init__(
            "Authorization", token, token.authorization_header, retry_strategy, excluded_paths
        )


def _basic(username: object, password: object) -> str:
    encoded = []
    for name, value in (("username", username), ("password", password)):
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a text, not a {type(value).__name__}.")
        if name == "username" and ":" in value:
            raise ValueError(
                "username must not hold a colon, which ends it in Basic authentication (RFC 7617)."
            )
        # Checked by hand, since the error of `encode` holds the whole text.
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise ValueError(f"{name} cannot be encoded in UTF-8: it has half a character.")
        encoded.append(value.encode())
    return b64encode(b":".join(encoded)).decode()


def _log_failure(error: Exception, sent: TokenData | None) -> None:
    secrets = () if sent is None else (sent.access_token, sent.refresh_token or "")
    # Without its traceback, whose texts may hold a token.
    _log.warning("The rejected token was not replaced: %s.", describe(error, secrets))
