"""The work by urllib3."""

from collections.abc import Callable

import urllib3

HEADERS = {"Authorization": "Bearer token"}
DOCUMENT = {"name": "A name", "tags": ["one", "two"], "amount": 12.5}


def get(url: str) -> Callable[[], bool]:
    """A GET."""
    pool = urllib3.PoolManager(maxsize=20)
    url += "/items/1"
    return lambda: pool.request("GET", url, headers=HEADERS).status == 200


def post(url: str) -> Callable[[], bool]:
    """A POST of a JSON document."""
    pool = urllib3.PoolManager(maxsize=20)
    url += "/items"
    return lambda: pool.request("POST", url, headers=HEADERS, json=DOCUMENT).status == 200
