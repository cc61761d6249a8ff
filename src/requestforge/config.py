"""HttpClientConfig, what a client is made of, and the builder that puts one together."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field

from requestforge.interfaces import (
    AuthHookInterface,
    ErrorHookInterface,
    RequestHookInterface,
    ResponseHookInterface,
)
from requestforge.tokens import TokenData

__all__ = ["HttpClientConfig", "HttpClientConfigBuilder", "TokenData"]


@dataclass(frozen=True, slots=True, repr=False)
class HttpClientConfig:
    """What a client is made of.

    Args:
        base_url: start of every URL that is not absolute; empty: none.
        default_timeout: seconds to connect, and seconds without a byte of the answer.
        default_headers: headers of every request; kept as a read-only copy.
        verify_ssl: False: certificates are not checked; a path: of a CA bundle.
        allow_redirects: whether redirects are followed.
        max_redirects: how many redirects one request may have.
        auth_hook: puts a credential on requests, and renews it.
        request_hooks: called before each attempt, in order.
        response_hooks: called with each answer, in order.
        error_hooks: called with each failure, in order.
        pool_connection: number of hosts whose connections are kept.
        pool_maxsize: number of connections that are kept for each host.
        raise_for_status: whether an answer with status 400 or above is raised.
        allowed_origins: origins beyond that of `base_url` that credentials may go to.
        redaction: sensitive names beyond the built-in ones.
        credential_headers: names of default headers that are credentials, whatever they are called.

    Raises:
        ValueError: a timeout that is not positive and finite, a negative `max_redirects`, or an
            allowed origin that is none.
    """

    base_url: str = ""
    default_timeout: float = 30.0
    default_headers: Mapping[str, str] = field(default_factory=dict)
    verify_ssl: bool | str = True
    allow_redirects: bool = True
    max_redirects: int = 10
    auth_hook: AuthHookInterface | None = None
    request_hooks: tuple[RequestHookInterface, ...] = ()
    response_hooks: tuple[ResponseHookInterface, ...] = ()
    error_hooks: tuple[ErrorHookInterface, ...] = ()
    pool_connection: int = 10
    pool_maxsize: int = 20
    _: KW_ONLY
    raise_for_status: bool = False
    allowed_origins: tuple[str, ...] = ()
    redaction: tuple[str, ...] = ()
    credential_headers: tuple[str, ...] = ()
