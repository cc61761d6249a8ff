"""HttpClientConfig, what a client is made of, and the builder that puts one together."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from types import MappingProxyType
from typing import Any, Self

from requestforge._origins import is_origin
from requestforge._redaction import mask_headers, mask_url
from requestforge.hooks import (
    ApiKeyAuthHook,
    BasicAuthHook,
    LoggingErrorHook,
    LoggingRequestHook,
    LoggingResponseHook,
    TokenAuthHook,
)
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
from requestforge.tokens import TokenData

__all__ = ["HttpClientConfig", "HttpClientConfigBuilder", "TokenData"]


@dataclass(frozen=True, slots=True, repr=False)
class HttpClientConfig:
    """What a client is made of.

    Args:
        base_url: start of every URL that is not absolute; empty: none.
        default_timeout: seconds to connect, and seconds to wait for each part of the answer.
        default_headers: headers of every request; kept as a read-only copy.
        verify_ssl: False: certificates are not checked; a path: that of a CA bundle.
        allow_redirects: whether redirects are followed.
        max_redirects: how many redirects one request may have.
        retry_strategy: whether a failed attempt is made again, and when; None: never.
        auth_hook: puts a credential on requests, and renews it.
        request_hooks: called before each attempt, in order.
        response_hooks: called with each answer, in order.
        error_hooks: called with each failure, in order.
        pool_connection: number of origins whose connections are kept.
        pool_maxsize: number of connections that are kept for each origin.
        raise_for_status: whether an answer with status 400 or above is raised.
        allowed_origins: origins, beyond that of `base_url`, that credentials may go to.
        redaction: sensitive names beyond the built-in ones.
        credential_headers: default headers that are credentials, whatever their names say.

    Raises:
        ValueError: a timeout that is not positive and finite, a `max_redirects` or a pool size
            that is negative or no whole number, or an allowed origin that is none; a text where a
            sequence of texts belongs.
        TypeError: a field of another wrong type.
    """

    base_url: str = ""
    default_timeout: float = 30.0
    default_headers: Mapping[str, str] = field(default_factory=dict)
    verify_ssl: bool | str = True
    allow_redirects: bool = True
    max_redirects: int = 10
    retry_strategy: RetryStrategyInterface | None = None
    auth_hook: AuthHookInterface | None = None
    request_hooks: Sequence[RequestHookInterface] = ()
    response_hooks: Sequence[ResponseHookInterface] = ()
    error_hooks: Sequence[ErrorHookInterface] = ()
    pool_connection: int = 10
    pool_maxsize: int = 20
    _: KW_ONLY
    raise_for_status: bool = False
    allowed_origins: Sequence[str] = ()
    redaction: Sequence[str] = ()
    credential_headers: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Copy and check."""
        timeout: object = self.default_timeout
        is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
        if not is_number or not 0 < self.default_timeout < math.inf:
            raise ValueError(
                f"default_timeout must be a positive, finite number of seconds, not {timeout!r}."
            )
        for name in ("max_redirects", "pool_connection", "pool_maxsize"):
            number: object = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise ValueError(f"{name} must be a whole number, 0 or more, not {number!r}.")
        _check_type("base_url", self.base_url, str)
        _check_type("default_headers", self.default_headers, Mapping)
        for name in _SEQUENCES:
            value = getattr(self, name)
            if isinstance(value, str):
                raise ValueError(f"{name} must be a sequence of texts, not the text {value!r}.")  # noqa: TRY004 - documented
            _check_type(name, value, Iterable)
            object.__setattr__(self, name, tuple(value))
        for origin in self.allowed_origins:
            _check_type("an allowed origin", origin, str)
            if not is_origin(origin):
                raise ValueError(
                    f"{mask_url(str(origin))!r} in allowed_origins is no origin: "
                    "write scheme, host and port alone, such as 'https://api.example.com'."
                )
        headers = MappingProxyType(dict(self.default_headers))
        object.__setattr__(self, "default_headers", headers)

    def __repr__(self) -> str:
        """The fields, without credentials; hooks and strategies by their types."""
        extra = frozenset((*self.redaction, *self.credential_headers))
        shown = {
            "base_url": mask_url(self.base_url, extra),
            "default_headers": mask_headers(self.default_headers, extra),
            "retry_strategy": _kind(self.retry_strategy),
            "auth_hook": _kind(self.auth_hook),
            "request_hooks": tuple(map(_kind, self.request_hooks)),
            "response_hooks": tuple(map(_kind, self.response_hooks)),
            "error_hooks": tuple(map(_kind, self.error_hooks)),
        }
        values = (
            f"{field.name}={shown.get(field.name, getattr(self, field.name))!r}"
            for field in fields(self)
        )
        return f"{type(self).__name__}({', '.join(values)})"


_SEQUENCES = (
    "request_hooks",
    "response_hooks",
    "error_hooks",
    "allowed_origins",
    "redaction",
    "credential_headers",
)


class HttpClientConfigBuilder:
    """Puts an HttpClientConfig together; each method gives the builder back."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._headers: dict[str, str] = {}
        self._lists: dict[str, list[Any]] = {name: [] for name in _SEQUENCES}

    def build(self) -> HttpClientConfig:
        """The configuration as of now; the builder stays usable.

        Raises:
            ValueError: as HttpClientConfig.
        """
        fields = {"default_headers": self._headers, **self._fields, **self._lists}
        return HttpClientConfig(**fields)

    def with_base_url(self, url: str) -> Self:
        """Start every URL that is not absolute with this one; a slash at its end goes.

        Raises:
            TypeError: it is no text.
        """
        _check_type("base_url", url, str)
        return self._set(base_url=url.rstrip("/"))

    def with_timeout(self, timeout: float) -> Self:
        """Seconds to connect, and seconds to wait for each part of the answer."""
        return self._set(default_timeout=timeout)

    def with_headers(self, headers: Mapping[str, str]) -> Self:
        """Send these headers with every request, in place of any of the same names."""
        for name, value in headers.items():
            self.with_header(name, value)
        return self

    def with_header(self, name: str, value: str) -> Self:
        """Send this header with every request, in place of any of the same name."""
        kept = {key: old for key, old in self._headers.items() if key.lower() != name.lower()}
        self._headers = {**kept, name: value}
        return self

    def with_bearer_token(self, token: str) -> Self:
        """Send `Authorization: Bearer <token>` wherever the client's credentials may go."""
        return self.with_header("Authorization", f"Bearer {token}")

    def with_api_key(self, api_key: str, header_name: str = "X-API-Key") -> Self:
        """Send the key in a header wherever the client's credentials may go."""
        self._lists["credential_headers"].append(header_name)
        return self.with_header(header_name, api_key)

    def with_verify_ssl(self, verify: bool | str) -> Self:
        """Check certificates: False: not at all; a path: with that CA bundle."""
        return self._set(verify_ssl=verify)

    def with_redirects(self, allow: bool = True, max_redirects: int = 10) -> Self:
        """Follow redirects, up to that many for one request."""
        return self._set(allow_redirects=allow, max_redirects=max_redirects)

    def with_pool_connection(self, pool_connection: int = 10) -> Self:
        """Keep connections to that many origins."""
        return self._set(pool_connection=pool_connection)

    def with_pool_maxsize(self, pool_maxsize: int = 20) -> Self:
        """Keep that many connections to each origin."""
        return self._set(pool_maxsize=pool_maxsize)

    def with_pool(self, connections: int = 10, maxsize: int = 20) -> Self:
        """Keep `maxsize` connections to each of so many origins."""
        return self._set(pool_connection=connections, pool_maxsize=maxsize)

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

    def with_raise_for_status(self, enabled: bool = True) -> Self:
        """Raise an answer with status 400 or above as its HttpStatusException."""
        return self._set(raise_for_status=enabled)

    def with_allowed_origins(self, *origins: str) -> Self:
        """Let credentials go to these origins, too, such as `https://api.example.com`."""
        return self._add("allowed_origins", *origins)

    def with_redaction(self, *names: str) -> Self:
        """Mask headers, query keys and fields of these names, too."""
        return self._add("redaction", *names)

    def _set(self, **values: Any) -> Self:  # noqa: ANN401 - fields of any type
        self._fields |= values
        return self

    def _add(self, name: str, *values: object) -> Self:
        self._lists[name] += values
        return self


def _check_type(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, not a {type(value).__name__}.")


def _kind(value: object) -> str | None:
    return None if value is None else type(value).__name__
