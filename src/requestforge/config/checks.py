"""What the fields of a configuration may be, and what is kept of them."""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from requestforge._numbers import positive, whole
from requestforge._origins import is_origin
from requestforge._redaction import mask_url
from requestforge.config._kept import Kept
from requestforge.config.groups import GROUPS, completed
from requestforge.config.proxies import read_only_proxies
from requestforge.config.tls import checked_tls
from requestforge.hooks._values import checked_name, checked_value

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
_FLAGS = ("allow_redirects", "cookies", "raise_for_status")
# Ten years in seconds: what lies far beyond, no socket takes.
_LONGEST = 315_360_000.0
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "retry_strategy": ("max_retries", "should_retry", "get_delay"),
    "auth_hook": ("should_authenticate", "before_request"),
    "request_hooks": ("before_request",),
    "response_hooks": ("after_response",),
    "error_hooks": ("on_error",),
}


def checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are kept in another form than they were given, after a look at all of them.

    Raises:
        ValueError: a value cannot be meant.
        TypeError: a field is of a wrong type.
    """
    kept = _numbers(fields)
    _check_base_url(fields["base_url"])
    check_type("default_headers", fields["default_headers"], Mapping)
    for name in _FLAGS:
        if not isinstance(fields[name], bool):
            raise ValueError(f"{name} must be True or False, not {fields[name]!r}.")  # noqa: TRY004 - documented
    kept |= {name: _sequence(name, fields[name]) for name in SEQUENCES}
    _check_objects({**fields, **kept})
    _check_origins(kept["allowed_origins"])
    kept["default_headers"] = _headers(fields["default_headers"])
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


def _numbers(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The timeouts, ten years at most, after a look at all numbers."""
    timeouts = ["default_timeout"]
    timeouts += [name for name in _OPTIONAL_TIMEOUTS if fields[name] is not None]
    for name in timeouts:
        positive(name, fields[name])
    for name in _COUNTS:
        whole(name, fields[name])
    if fields["max_response_size"] is not None:
        whole("max_response_size", fields["max_response_size"], 1)
    return {name: min(fields[name], _LONGEST) for name in timeouts}


def _check_base_url(url: object) -> None:
    check_type("base_url", url, str)
    if not {"?", "#"}.isdisjoint(str(url)):
        raise ValueError(
            "base_url must not have a query or a fragment, since paths are put behind it: "
            "give a query with each request, as its params."
        )


def _headers(headers: Mapping[Any, Any]) -> Kept:
    for name, value in headers.items():
        known = checked_name("a name in default_headers", _decoded(name))
        checked_value(f"{known!r} in default_headers", _decoded(value))
    return Kept(headers)


def _decoded(text: object) -> object:
    return text.decode("latin-1") if isinstance(text, bytes) else text


def _check_objects(fields: Mapping[str, Any]) -> None:
    for name, needed in _NEEDED.items():
        value = fields[name]
        for each in value if isinstance(value, tuple) else () if value is None else (value,):
            missing = [member for member in needed if not _has(each, member)]
            if missing:
                raise TypeError(
                    f"{name} cannot be a {type(each).__name__}, which has no {missing[0]!r}."
                )


def _has(value: object, member: str) -> bool:
    # In its class, since asking the object may call a property.
    return hasattr(type(value), member) or hasattr(value, member)


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
            # In full or not at all: of a part, `from_mapping` cannot tell where it is from.
            shown = repr(origin) if mask_url(str(origin)) == origin else "A text"
            raise ValueError(
                f"{shown} in allowed_origins is no origin: "
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
    try:
        return checked_name("idempotency_key", value)
    except TypeError as error:
        raise ValueError(str(error)) from error


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
