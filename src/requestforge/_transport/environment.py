"""What holds for an origin beyond its requests: proxies, certificates to trust, a login."""

import os
from collections.abc import Mapping
from typing import NamedTuple

from requests import Session
from requests.adapters import DEFAULT_CA_BUNDLE_PATH
from requests.utils import get_environ_proxies, get_netrc_auth, select_proxy

from requestforge._origins import origin_of

_AFTER_SCHEME = len("https://")
_MOST_ORIGINS = 256


class Environment(NamedTuple):
    """What holds for one origin.

    Attributes:
        proxies: proxy by scheme; an empty one stands for none, whatever the session may say.
        ca_bundle: path of the certificates to trust; None: the usual ones.
        login: user and password in the netrc file.
    """

    proxies: Mapping[str, str]
    ca_bundle: str | None
    login: tuple[str, str] | None


class Environments:
    """What holds for each origin; the environment is read once for each, until it is forgotten.

    Args:
        supplied: the caller's session, which may not trust the environment.
        proxies: the client's own proxies by scheme, or scheme and host; they come first.
        counts: whether `proxies` and `ca` of the environment count; None: both do.
    """

    def __init__(
        self,
        supplied: Session | None,
        proxies: Mapping[str, str] | None,
        counts: Mapping[str, bool] | None,
    ) -> None:
        self._supplied = supplied
        self._proxies = dict(proxies or {})
        self._counts = {"proxies": True, "ca": True} if counts is None else counts
        self._known: dict[str, Environment] = {}

    def of(self, url: str) -> Environment:
        """What holds for the origin of this absolute URL."""
        end = url.find("/", _AFTER_SCHEME)
        # It begins with the authority, which parsing every URL would cost more to find.
        start = url if end < 0 else url[:end]
        known = self._known.get(start)
        if known is None:
            if len(self._known) >= _MOST_ORIGINS:
                self._known.clear()
            known = self._known[start] = self._read(str(origin_of(url)))
        return known

    def forget(self) -> None:
        """Read the environment anew from now on."""
        self._known.clear()

    def _read(self, origin: str) -> Environment:
        scheme = origin.partition(":")[0]
        own = select_proxy(origin, self._proxies)
        proxies = {scheme: own} if own else {}
        if self._supplied is not None and not self._supplied.trust_env:
            return Environment(proxies, None, None)
        if not proxies and self._counts["proxies"]:
            proxies = get_environ_proxies(origin, no_proxy=None)
        elif not proxies and self._supplied is not None:
            # It would look in the environment for what it is not told.
            proxies = {scheme: select_proxy(origin, self._supplied.proxies) or ""}
        return Environment(proxies, self._ca_bundle(), get_netrc_auth(origin))

    def _ca_bundle(self) -> str | None:
        if self._counts["ca"]:
            return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        return DEFAULT_CA_BUNDLE_PATH
