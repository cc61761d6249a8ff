"""What the environment of the process says of an origin: proxies, certificates, a login."""

import os
from typing import NamedTuple

from requests.utils import get_environ_proxies, get_netrc_auth


class Environment(NamedTuple):
    """What the environment says of one origin.

    Attributes:
        proxies: proxy by scheme.
        ca_bundle: path of the certificates to trust; None: the usual ones.
        login: user and password in the netrc file.
    """

    proxies: dict[str, str]
    ca_bundle: str | None
    login: tuple[str, str] | None


NO_ENVIRONMENT = Environment({}, None, None)
"""What a session goes by that does not trust the environment."""


def read_environment(origin: str) -> Environment:
    """What the environment says of this origin at the moment."""
    return Environment(
        proxies=get_environ_proxies(origin, no_proxy=None),
        ca_bundle=os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE"),
        login=get_netrc_auth(origin),
    )
