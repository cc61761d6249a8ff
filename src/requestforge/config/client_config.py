"""HttpClientConfig: what a client is made of, checked and read-only."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any, Self, TypeVar

from requestforge._fork import importing
from requestforge._redaction import mask_headers, mask_url
from requestforge.config.checks import SEQUENCES, check_type, checked
from requestforge.config.proxies import mask_proxies
from requestforge.config.reading import read_mapping, read_toml
from requestforge.config.tls import mask_tls
from requestforge.interfaces import (
    AuthHookInterface,
    ErrorHookInterface,
    RequestHookInterface,
    ResponseHookInterface,
    RetryStrategyInterface,
)

_Part = TypeVar("_Part")


@dataclass(frozen=True, slots=True, repr=False)
class HttpClientConfig:
    """What a client is made of.

    A field that is a mapping holds the arguments of the builder method of its name; those that
    are left out get their defaults, and the copy that is kept is read-only. Timeouts above ten
    years are ten years.

    It can be pickled and copied if its hooks, its strategy and its TLS settings can. A pickle
    holds its credentials.

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
        connect_timeout: seconds to connect; None: `default_timeout`.
        read_timeout: seconds to wait for each part of the answer; None: `default_timeout`.
        total_timeout: seconds for a request with all that belongs to it, retries and waits
            included; None: no such end.
        cookies: whether the client keeps the cookies of answers, for all its threads.
        raise_for_status: whether an answer with status 400 or above is raised.
        allowed_origins: origins, beyond that of `base_url`, that credentials may go to.
        redaction: sensitive names beyond the built-in ones.
        credential_headers: default headers that are credentials, whatever their names say.
        circuit_breaker: `failure_threshold`, `recovery_timeout` and `half_open_max_calls` of a
            CircuitBreaker; None: none.
        retry_budget: `ratio` and `per_second`: retries of an origin beyond it are not made;
            None: none.
        rate_limit: `per_second`, `burst` and `max_wait` for the requests to an origin; None: none.
        bulkhead: `max_concurrent` and `max_wait` for the requests of the client; None: none.
        idempotency_key: header that gives each POST and PATCH a random key; None: none.
        max_response_size: how many decoded bytes an answer may have; None: any number.
        tls: `ca`, `client_cert`, `min_version` and `ssl_context`; None: as `verify_ssl` says.
        proxies: URL of the proxy by scheme; None: as the environment says.
        environment: `proxies` and `ca`: whether those settings of the environment count; None:
            both do.

    Raises:
        ValueError: a timeout that is not positive and finite, a `max_redirects` or a pool size
            that is negative or no whole number, or an allowed origin that is none; a query or a
            fragment in `base_url`; a header that cannot be sent; a text where a sequence of texts
            belongs; a mapping with a key that is unknown, missing or has a
            wrong value; a file of `tls` that does not exist; any other value that cannot be meant.
        TypeError: a field of 1.0.0 that is of another wrong type, or a hook or strategy without
            a method that is called.
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
    connect_timeout: float | None = None
    read_timeout: float | None = None
    total_timeout: float | None = None
    cookies: bool = True
    raise_for_status: bool = False
    allowed_origins: Sequence[str] = ()
    redaction: Sequence[str] = ()
    credential_headers: Sequence[str] = ()
    circuit_breaker: Mapping[str, Any] | None = None
    retry_budget: Mapping[str, Any] | None = None
    rate_limit: Mapping[str, Any] | None = None
    bulkhead: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    max_response_size: int | None = None
    tls: Mapping[str, Any] | None = None
    proxies: Mapping[str, str] | None = None
    environment: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Copy and check."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        for name, value in checked(given).items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """A configuration out of plain values, such as those of a settings file.

        Its keys are the fields. Besides, `retry` holds the arguments of the builder's
        `with_retry`. In a text at any depth, keys aside, `${NAME}` stands for the environment
        variable of that name, and `$${` for `${`. A default header with a variable in it counts
        as a credential: it is masked, and goes where the client's credentials may go.

        Hooks, strategies and an `ssl_context` can be passed as objects, but not as text.

        Raises:
            ValueError: a key is unknown, a variable is not set, or a value cannot be meant.
            TypeError: it is no mapping.
        """
        check_type("mapping", mapping, Mapping)
        return read_mapping(cls, [each.name for each in fields(cls)], mapping)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str], table: str = "requestforge") -> Self:
        """The same, out of a table of a TOML file.

        Args:
            path: of the file.
            table: its name, dotted for a table within others: `tool.requestforge`.

        Raises:
            ValueError: the file is no TOML or lacks the table; otherwise as `from_mapping`.
            OSError: the file cannot be read.
        """
        return read_toml(cls, [each.name for each in fields(cls)], path, table)

    def __copy__(self) -> Self:
        """This one, since it cannot be changed."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A configuration with copies of its hooks and strategies.

        Raises:
            TypeError: one of them, or an `ssl_context`, cannot be copied.
        """
        return _restored(type(self), self._parts(lambda part: deepcopy(part, memo), "copied"))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """How it is pickled.

        Raises:
            TypeError: a hook, a strategy or an `ssl_context` cannot be pickled.
        """
        return _restored, (type(self), self._parts(_pickled, "pickled"))

    def _parts(self, way: Callable[[Any], Any], done: str) -> dict[str, Any]:
        parts = {}
        for each in fields(self):
            try:
                parts[each.name] = way(getattr(self, each.name))
            except TypeError as error:
                problem = str(error).rstrip(".")
                raise TypeError(
                    f"The configuration cannot be {done} because of its {each.name}: {problem}. "
                    "Make that part anew where it is needed, and put it in with "
                    "dataclasses.replace or the builder."
                ) from error
        return parts

    def __repr__(self) -> str:
        """The fields, without credentials; hooks and strategies by their types."""
        extra = frozenset((*self.redaction, *self.credential_headers))
        shown: dict[str, object] = {
            "base_url": mask_url(self.base_url, extra),
            "default_headers": mask_headers(self.default_headers, extra),
            "retry_strategy": _kind(self.retry_strategy),
            "auth_hook": _kind(self.auth_hook),
            "tls": mask_tls(self.tls),
            "proxies": mask_proxies(self.proxies),
        }
        for name in SEQUENCES[:3]:
            shown[name] = tuple(map(_kind, getattr(self, name)))
        values = (
            f"{each.name}={_plain(shown.get(each.name, getattr(self, each.name)))!r}"
            for each in fields(self)
        )
        return f"{type(self).__name__}({', '.join(values)})"


def _restored(kind: type[_Part], parts: Mapping[str, Any]) -> _Part:
    # Not by the constructor: what was checked once need not hold here, such as that a file exists.
    config = object.__new__(kind)
    for name, value in parts.items():
        object.__setattr__(config, name, value)
    return config


def _pickled(part: _Part) -> _Part:
    """The part as it is, if `pickle` does not call it of a type that cannot be pickled."""
    # Here, since few configurations are pickled.
    with importing:
        import pickle  # noqa: PLC0415

    # Other failures are left to the pickler that asks, which may know more than `pickle` does.
    with suppress(pickle.PicklingError, AttributeError):
        pickle.dumps(part)
    return part


def _kind(value: object) -> str | None:
    return None if value is None else type(value).__name__


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else value
