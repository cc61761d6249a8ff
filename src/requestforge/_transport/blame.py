"""Whether it is a proxy that an exchange has failed at, and how that proxy is shown."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from requests.exceptions import InvalidSchema, InvalidURL, ProxyError
from requests.utils import select_proxy


def blamed_proxy(error: BaseException, url: str, proxies: Mapping[str, str]) -> str | None:
    """The proxy that has caused the error, without the login in its URL; None: none has.

    Args:
        error: raised by requests for a request that was prepared, so that its URL is sound.
        url: that of the request.
        proxies: by scheme, or scheme and host.
    """
    proxy = select_proxy(url, proxies)
    is_at_fault = isinstance(error, ProxyError | InvalidURL) or (
        isinstance(error, InvalidSchema) and "SOCKS" in str(error)
    )
    return _shown(proxy) if proxy and is_at_fault else None


def _shown(proxy: str) -> str:
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return "***"
    if not parts.hostname or "@" in parts.path + parts.query + parts.fragment:
        # A password with a slash in it ends the authority, and would be shown in part.
        return "***"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}"
