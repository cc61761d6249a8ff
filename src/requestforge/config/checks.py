"""What the fields of a configuration may be, and what is kept of them."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from requestforge._numbers import positive, whole
from requestforge._origins import is_origin
from requestforge._redaction import mask_url
from requestforge.config.groups import GROUPS, completed
from requestforge.config.proxies import read_only_proxies
from requestforge.config.tls import checked_tls

SEQUENCES = (
    "request_hooks",
    "response_hooks",
    "error_hooks",
    "allowed_origins",
    "redaction",
    "credential_headers",
)
"""The fields that hold several values, hooks first."""

_OPTIONAL_TIMEOUTS = ("connect_timeout", "read_timeout", "total_timeout")
_COUNTS = ("max_redirects", "pool_connection", "pool_maxsize")
_FLAGS = ("allow_redirects", "raise_for_status")
# RFC 9110 section 5.6.2: a token, which the name of a header is.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are kept in another form than they were given, after a look at all of them.

    Raises:
        ValueError: a value cannot be meant.
        TypeError: a field is of a wrong type.
    """
    _check_numbers(fields)
    check_type("base_url", fields["base_url"], str)
    check_type("default_headers", fields["default_headers"], Mapping)
    for name in _FLAGS:
        if not isinstance(fields[name], bool):
            raise ValueError(f"{name} must be True or False, not {fields[name]!r}.")  # noqa: TRY004 - documented
    kept: dict[str, Any] = {name: _sequence(name, fields[name]) for name in SEQUENCES}
    _check_origins(kept["allowed_origins"])
    kept["default_headers"] = MappingProxyType(dict(fields["default_headers"]))
    kept["verify_ssl"] = _verify_ssl(fields["verify_ssl"])
    for name, read in _OPTIONAL.items():
        if fields[name] is not None:
            kept[name] = read(fields[name])
    _check_certificates(kept["verify_ssl"], kept.get("tls"))
    return kept


def check_type(name: str, value: object, kind: type) -> None:
    """Refuse a value that is not of this type.

    Raises:
        TypeError: it is of another type.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, not a {type(value).__name__}.")


def _check_numbers(fields: Mapping[str, Any]) -> None:
    positive("default_timeout", fields["default_timeout"])
    for name in _OPTIONAL_TIMEOUTS:
        if fields[name] is not None:
            positive(name, fields[name])
    for name in _COUNTS:
        whole(name, fields[name])
    if fields["max_response_size"] is not None:
        whole("max_response_size", fields["max_response_size"], 1)


def _sequence(name: str, values: object) -> tuple[Any, ...]:
    if isinstance(values, str):
        raise ValueError(f"{name} must be a sequence of texts, not the text {values!r}.")  # noqa: TRY004 - documented
    if not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence, not a {type(values).__name__}.")
    return tuple(values)


def _check_origins(origins: Iterable[object]) -> None:
    for origin in origins:
        check_type("an allowed origin", origin, str)
        if not is_origin(str(origin)):
            raise ValueError(
                f"{mask_url(str(origin))!r} in allowed_origins is no origin: "
                "write scheme, host and port alone, such as 'https://api.example.com'."
            )


def _verify_ssl(value: object) -> bool | str:
    if isinstance(value, bool):
        return value
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    # An empty path, or 0, would switch the check off without a word of it.
    if not isinstance(path, str) or not path:
        raise ValueError(
            f"verify_ssl must be True, False or the path of a CA bundle, not {value!r}: "
            "False alone switches the check of certificates off."
        )
    return path


def _header_name(value: object) -> str:
    if not isinstance(value, str) or not _HEADER_NAME.fullmatch(value):
        raise ValueError(
            f"idempotency_key must be the name of a header, such as 'Idempotency-Key', "
            f"not {value!r}."
        )
    return value


def _check_certificates(verify_ssl: bool | str, tls: Mapping[str, Any] | None) -> None:
    if isinstance(verify_ssl, str) and tls and (tls["ca"] or tls["ssl_context"]):
        raise ValueError(
            "verify_ssl and tls both say which certificates to trust: name them in one place."
        )


_OPTIONAL: Mapping[str, Callable[[object], object]] = {
    "idempotency_key": _header_name,
    "tls": checked_tls,
    "proxies": read_only_proxies,
    **{name: partial(completed, name) for name in GROUPS},
}
"""The fields that may be None, and what is kept of another value."""
