"""Answers of responses, which are the same to every request."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests
import responses

FORM = {"grant_type": "client_credentials", "client_id": "app", "client_secret": "secret"}


@contextmanager
def token() -> Iterator[Callable[[], bool]]:
    """A request for a token."""
    url = "https://auth.example.test/token"
    with responses.RequestsMock() as mock, requests.Session() as session:
        mock.post(url, json={"access_token": "token", "expires_in": 3600})
        yield lambda: "access_token" in session.post(url, data=FORM).json()
