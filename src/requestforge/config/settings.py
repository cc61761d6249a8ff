"""What a builder has been told, and its methods for timeouts, limits, TLS and proxies."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from requestforge.config.checks import SEQUENCES

if TYPE_CHECKING:
    from ssl import SSLContext, TLSVersion
else:
    # For those who evaluate the annotations: OpenSSL is not loaded before it is needed.
    SSLContext = TLSVersion = object

_Path = str | os.PathLike[str]


class Settings:
    """Fields of a configuration, checked when it is built."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._headers: dict[str, str] = {}
        self._lists: dict[str, list[Any]] = {name: [] for name in SEQUENCES}

    def with_timeout(self, timeout: float) -> Self:
        """Seconds to connect, and seconds to wait for each part of the answer."""
        return self._set(default_timeout=timeout)

    def with_total_timeout(self, seconds: float) -> Self:
        """End each request, with its retries, waits and token fetches, after so many seconds."""
        return self._set(total_timeout=seconds)

    def with_timeouts(
        self,
        connect: float | None = None,
        read: float | None = None,
        total: float | None = None,
    ) -> Self:
        """Seconds to connect, to wait for each part, and in total; None leaves one as it is."""
        given = {"connect_timeout": connect, "read_timeout": read, "total_timeout": total}
        return self._set(**{name: value for name, value in given.items() if value is not None})

    def with_circuit_breaker(
        self,
        failure_threshold: int = 5,
        recovery_timeout: float = 30.0,
        half_open_max_calls: int = 3,
    ) -> Self:
        """Send nothing for so many seconds to an origin that has failed so often in a row."""
        return self._set(
            circuit_breaker={
                "failure_threshold": failure_threshold,
                "recovery_timeout": recovery_timeout,
                "half_open_max_calls": half_open_max_calls,
            }
        )

    def with_retry_budget(self, ratio: float = 0.2, per_second: float = 10.0) -> Self:
        """Retry no more of an origin's requests than this share of them, and so many a second."""
        return self._set(retry_budget={"ratio": ratio, "per_second": per_second})

    def with_rate_limit(
        self, per_second: float, burst: int = 1, max_wait: float | None = None
    ) -> Self:
        """Send no more requests to an origin than so many a second, and `burst` at once."""
        return self._set(
            rate_limit={"per_second": per_second, "burst": burst, "max_wait": max_wait}
        )

    def with_bulkhead(self, max_concurrent: int, max_wait: float | None = None) -> Self:
        """Have no more requests of the client under way at a time; wait so many seconds for it."""
        return self._set(bulkhead={"max_concurrent": max_concurrent, "max_wait": max_wait})

    def with_idempotency_key(self, header_name: str = "Idempotency-Key") -> Self:
        """Give each POST and PATCH a random key, so that it can be retried; see the hook."""
        return self._set(idempotency_key=header_name)

    def with_max_response_size(self, size: int) -> Self:
        """Refuse answers of more decoded bytes."""
        return self._set(max_response_size=size)

    def with_verify_ssl(self, verify: bool | _Path) -> Self:
        """Check certificates: False: not at all; a path: with that CA bundle."""
        return self._set(verify_ssl=verify)

    def with_tls(
        self,
        ca: _Path | None = None,
        client_cert: _Path | tuple[_Path, _Path] | tuple[_Path, _Path, str] | None = None,
        min_version: "TLSVersion | str | None" = None,
        ssl_context: "SSLContext | None" = None,
    ) -> Self:
        """Trust this CA (a file or folder), show this certificate, speak no older version.

        Args:
            ca: path of the certificates to trust; None: as `with_verify_ssl` says.
            client_cert: path of the client's certificate with its key, or (certificate, key), or
                (certificate, key, password of the key).
            min_version: "1.2", "1.3" or an `ssl.TLSVersion`.
            ssl_context: stands in the place of all of these.
        """
        return self._set(
            tls={
                "ca": ca,
                "client_cert": client_cert,
                "min_version": min_version,
                "ssl_context": ssl_context,
            }
        )

    def with_proxies(self, proxies: Mapping[str, str]) -> Self:
        """Send through these proxies: `{"https": "http://proxy.example.com:3128"}`."""
        return self._set(proxies=proxies)

    def with_environment(self, proxies: bool = True, ca: bool = True) -> Self:
        """Heed the environment's proxies and its CA bundle, or not."""
        return self._set(environment={"proxies": proxies, "ca": ca})

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

    def _set(self, **values: Any) -> Self:  # noqa: ANN401 - fields of any type
        self._fields |= values
        return self

    def _add(self, name: str, *values: object) -> Self:
        self._lists[name] += values
        return self
