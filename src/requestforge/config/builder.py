"""HttpClientConfigBuilder: puts a configuration together, step by step."""

from collections.abc import Iterable, Mapping
from typing import Self

from requestforge.config.checks import check_type
from requestforge.config.client_config import HttpClientConfig
from requestforge.config.settings import Settings
from requestforge.hooks import (
    ApiKeyAuthHook,
    BasicAuthHook,
    LoggingErrorHook,
    LoggingRequestHook,
    LoggingResponseHook,
    TokenAuthHook,
)
from requestforge.hooks._values import checked_credential, checked_name
from requestforge.interfaces import (
    AuthHookInterface,
    AuthRetryStrategyInterface,
    ErrorHookInterface,
    RequestHookInterface,
    ResponseHookInterface,
    RetryStrategyInterface,
    TokenManagerInterface,
)
from requestforge.retry import ExponentialBackoffRetryStrategy


class HttpClientConfigBuilder(Settings):
    """Puts an HttpClientConfig together; each method gives the builder back."""

    def build(self) -> HttpClientConfig:
        """The configuration as of now; the builder stays usable.

        Raises:
            ValueError: as HttpClientConfig.
            TypeError: as HttpClientConfig.
        """
        fields = {"default_headers": self._headers, **self._fields, **self._lists}
        return HttpClientConfig(**fields)

    def with_base_url(self, url: str) -> Self:
        """Start every URL that is not absolute with this one; a slash at its end goes.

        Raises:
            TypeError: it is no text.
        """
        check_type("base_url", url, str)
        return self._set(base_url=url.rstrip("/"))

    def with_headers(self, headers: Mapping[str, str]) -> Self:
        """Send these headers with every request, in place of any of the same names."""
        for name, value in headers.items():
            self.with_header(name, value)
        return self

    def with_header(self, name: str, value: str) -> Self:
        """Send this header with every request, in place of any of the same name.

        Raises:
            TypeError: its name is no text.
        """
        check_type("name", name, str)
        kept = {key: old for key, old in self._headers.items() if key.lower() != name.lower()}
        self._headers = {**kept, name: value}
        return self

    def with_bearer_token(self, token: str) -> Self:
        """Send `Authorization: Bearer <token>` wherever the client's credentials may go.

        Raises:
            TypeError: the token is no text.
            ValueError: it is empty or cannot be sent; it is not shown.
        """
        checked_credential("token", token)
        return self.with_header("Authorization", f"Bearer {token}")

    def with_api_key(self, api_key: str, header_name: str = "X-API-Key") -> Self:
        """Send the key in a header wherever the client's credentials may go.

        Raises:
            TypeError: the key or the name of its header is no text.
            ValueError: the key is empty or cannot be sent, or no header can have that name; the
                key is not shown.
        """
        checked_credential("api_key", api_key)
        checked_name("header_name", header_name)
        self._lists["credential_headers"].append(header_name)
        return self.with_header(header_name, api_key)

    def with_retry_strategy(self, strategy: RetryStrategyInterface) -> Self:
        """Ask this strategy whether a failed attempt is made again, and when."""
        return self._set(retry_strategy=strategy)

    def with_retry(
        self,
        max_retries: int = 3,
        base_delay: float = 1.0,
        max_delay: float = 60.0,
        *,
        retry_non_idempotent: bool = False,
        max_retry_after: float = 60.0,
    ) -> Self:
        """Retry with the delays of an ExponentialBackoffRetryStrategy; times are in seconds."""
        return self.with_retry_strategy(
            ExponentialBackoffRetryStrategy(
                max_retries,
                base_delay,
                max_delay,
                retry_non_idempotent=retry_non_idempotent,
                max_retry_after=max_retry_after,
            )
        )

    def with_auth_hook(self, auth_hook: AuthHookInterface) -> Self:
        """Have this hook put a credential on requests, in place of any other."""
        return self._set(auth_hook=auth_hook)

    def with_token_auth(  # noqa: PLR0917 - a published signature
        self,
        token_manager: TokenManagerInterface,
        auth_retry_strategy: AuthRetryStrategyInterface | None = None,
        auth_header_name: str = "Authorization",
        auth_header_prefix: str | None = "Bearer",
        excluded_paths: Iterable[str] | None = None,
        excluded_path_patterns: Iterable[str] | None = None,
    ) -> Self:
        """Put the manager's token on requests: the arguments are those of TokenAuthHook."""
        return self.with_auth_hook(
            TokenAuthHook(
                token_manager,
                auth_retry_strategy,
                auth_header_name,
                auth_header_prefix,
                excluded_paths,
                excluded_path_patterns,
            )
        )

    def with_api_key_auth(
        self,
        api_key: str,
        header_name: str = "X-API-Key",
        excluded_paths: Iterable[str] | None = None,
    ) -> Self:
        """Put an API key on requests, as ApiKeyAuthHook does."""
        return self.with_auth_hook(
            ApiKeyAuthHook(api_key, header_name, excluded_paths=excluded_paths)
        )

    def with_basic_auth(
        self, username: str, password: str, excluded_paths: Iterable[str] | None = None
    ) -> Self:
        """Put a user's name and password on requests, as BasicAuthHook does."""
        return self.with_auth_hook(BasicAuthHook(username, password, excluded_paths=excluded_paths))

    def with_request_hook(self, hook: RequestHookInterface) -> Self:
        """Call this hook, too, before each attempt."""
        return self._add("request_hooks", hook)

    def with_response_hook(self, hook: ResponseHookInterface) -> Self:
        """Call this hook, too, with each answer."""
        return self._add("response_hooks", hook)

    def with_error_hook(self, hook: ErrorHookInterface) -> Self:
        """Call this hook, too, with each failure."""
        return self._add("error_hooks", hook)

    def with_logging(
        self,
        log_headers: bool = False,
        log_body: bool = False,
        sensitive_keys: Iterable[str] | None = None,
    ) -> Self:
        """Log each request, answer and failure, as the three logging hooks do."""
        names = tuple(sensitive_keys or ())
        self._add("request_hooks", LoggingRequestHook(log_headers, log_body, names))
        self._add(
            "response_hooks", LoggingResponseHook(log_headers, log_body, sensitive_keys=names)
        )
        return self._add("error_hooks", LoggingErrorHook(sensitive_keys=names))

    def with_cookies(self, enabled: bool = True) -> Self:
        """Keep the cookies of answers and send them again, in all threads; or do neither."""
        return self._set(cookies=enabled)

    def with_raise_for_status(self, enabled: bool = True) -> Self:
        """Raise an answer with status 400 or above as its HttpStatusException."""
        return self._set(raise_for_status=enabled)

    def with_allowed_origins(self, *origins: str) -> Self:
        """Let credentials go to these origins, too, such as `https://api.example.com`."""
        return self._add("allowed_origins", *origins)

    def with_redaction(self, *names: str) -> Self:
        """Mask headers, query keys and fields of these names, too."""
        return self._add("redaction", *names)
