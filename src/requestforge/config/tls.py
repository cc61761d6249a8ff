"""The TLS settings of a configuration: certificates to trust and to show, the oldest version."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from requestforge._fork import importing
from requestforge._redaction import MASK
from requestforge.config.groups import with_defaults

_DEFAULTS: Mapping[str, object] = {
    "ca": None,
    "client_cert": None,
    "min_version": None,
    "ssl_context": None,
}
_CERT_AND_KEY = 2


def checked_tls(given: object) -> Mapping[str, Any]:
    """The arguments of the builder's `with_tls`, paths as texts, the version as the enum.

    Raises:
        ValueError: an argument is unknown or cannot be meant, or a file does not exist.
    """
    tls = dict(with_defaults("tls", given, _DEFAULTS))
    if tls["ssl_context"] is not None:
        _check_context(tls)
    if tls["ca"] is not None:
        tls["ca"] = _path("ca", tls["ca"])
    if tls["client_cert"] is not None:
        tls["client_cert"] = _client_cert(tls["client_cert"])
    if tls["min_version"] is not None:
        tls["min_version"] = _version(tls["min_version"])
    return with_defaults("tls", tls, _DEFAULTS)


def mask_tls(tls: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The settings without the password of the client's key."""
    if tls is None:
        return None
    cert = tls["client_cert"]
    is_protected = isinstance(cert, tuple) and len(cert) > _CERT_AND_KEY
    return {**tls, "client_cert": (*cert[:_CERT_AND_KEY], MASK) if is_protected else cert}


def _check_context(tls: Mapping[str, Any]) -> None:
    # Here, since it loads OpenSSL, which no import of the library should wait for.
    with importing:
        import ssl  # noqa: PLC0415

    others = [name for name, value in tls.items() if value is not None and name != "ssl_context"]
    if others:
        raise ValueError(f"tls: ssl_context stands alone, so {others[0]} belongs into the context.")
    if not isinstance(tls["ssl_context"], ssl.SSLContext):
        raise ValueError(  # noqa: TRY004 - a value of a file
            "tls: ssl_context must be an ssl.SSLContext, "
            f"not a {type(tls['ssl_context']).__name__}: pass one to the builder's with_tls."
        )


def _client_cert(given: object) -> str | tuple[str, ...]:
    if isinstance(given, str | os.PathLike):
        return _path("client_cert", given)
    match given:
        case [cert, key]:
            return _path("client_cert", cert), _path("client_cert", key)
        case [cert, key, str() as password]:
            return _path("client_cert", cert), _path("client_cert", key), password
    raise ValueError(
        "tls: client_cert must be the path of a certificate with its key, "
        "or a pair of paths (certificate, key), with a password as the third if the key has one."
    )


def _path(name: str, given: object) -> str:
    path = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(path, str) or not path:
        raise ValueError(f"tls: {name} must be a path, not a {type(given).__name__}.")
    found = Path(path)
    if not (found.exists() if name == "ca" else found.is_file()):
        raise ValueError(f"tls: the file {path!r} of {name} does not exist.")
    return path


def _version(given: object) -> object:
    # As in `_check_context`.
    with importing:
        from ssl import TLSVersion  # noqa: PLC0415

    if isinstance(given, TLSVersion):
        return given
    named = {"1.2": TLSVersion.TLSv1_2, "1.3": TLSVersion.TLSv1_3}
    text = given.removeprefix("TLSv") if isinstance(given, str) else ""
    if text not in named:
        raise ValueError(
            f"tls: min_version must be '1.2', '1.3' or an ssl.TLSVersion, not {given!r}."
        )
    return named[text]
