"""The work by httpx."""

from collections.abc import Callable

import httpx

HEADERS = {"Authorization": "Bearer token"}
DOCUMENT = {"name": "A name", "tags": ["one", "two"], "amount": 12.5}


def get(url: str) -> Callable[[], bool]:
    """A GET."""
    client = httpx.Client(headers=HEADERS, base_url=url)
    return lambda: client.get("/items/1").status_code == 200


def post(url: str) -> Callable[[], bool]:
    """A POST of a JSON document."""
    client = httpx.Client(headers=HEADERS, base_url=url)
    return lambda: client.post("/items", json=DOCUMENT).status_code == 200
