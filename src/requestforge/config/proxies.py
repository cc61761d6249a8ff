"""The proxies of a configuration."""

import re
from collections.abc import Mapping

from requestforge._redaction import MASK, mask_url
from requestforge.config._kept import Kept

_PROXIED = re.compile(r"(https?|all)(://[^\s/]+)?")


def read_only_proxies(given: object) -> Mapping[str, str]:
    """A read-only copy of the proxies by scheme.

    Raises:
        ValueError: it is no mapping of schemes to URLs.
    """
    if not isinstance(given, Mapping):
        raise ValueError(  # noqa: TRY004 - a value of a file
            "proxies must be a mapping of 'http' or 'https' to the URL of a proxy, "
            f"not a {type(given).__name__}."
        )
    for scheme, url in given.items():
        if not isinstance(scheme, str) or not _PROXIED.fullmatch(scheme):
            raise ValueError(
                f"{scheme!r} in proxies is nothing that a proxy can stand before: write 'http', "
                "'https', 'all', or one of them with a host, such as 'https://api.example.com'."
            )
        if not isinstance(url, str) or not re.fullmatch(r"[^\s\x00-\x1f\x7f]+", url):
            raise ValueError(
                f"The proxy for {scheme!r} must be a URL, such as 'http://proxy.example.com:3128'."
            )
    return Kept(given)


def mask_proxies(proxies: Mapping[str, str] | None) -> dict[str, str] | None:
    """The proxies without user names and passwords."""
    return None if proxies is None else {name: _mask_proxy(url) for name, url in proxies.items()}


def _mask_proxy(url: str) -> str:
    login, at, rest = url.rpartition("@")
    if not at:
        return mask_url(url)
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", login)
    return f"{scheme[0] if scheme else ''}{MASK}@{mask_url(rest)}"
