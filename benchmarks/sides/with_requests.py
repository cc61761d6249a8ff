"""The work by a bare session of requests with a static header."""

from collections.abc import Callable

import requests

DOCUMENT = {"name": "A name", "tags": ["one", "two"], "amount": 12.5}


def session() -> requests.Session:
    """The session."""
    session = requests.Session()
    session.headers["Authorization"] = "Bearer token"
    return session


def get(url: str, ca: str | None = None, path: str = "/items/1") -> Callable[[], bool]:
    """A GET."""
    bare = session()
    bare.verify = ca or True
    url += path
    return lambda: bare.get(url).status_code == 200


def post(url: str) -> Callable[[], bool]:
    """A POST of a JSON document."""
    bare = session()
    url += "/items"
    return lambda: bare.post(url, json=DOCUMENT).status_code == 200


def connect(url: str, ca: str) -> Callable[[], bool]:
    """A GET over a new connection."""
    return get(url, ca, "/once")
