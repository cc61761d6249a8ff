"""A server of pytest-httpserver, whose answers are the same to every request."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests
from pytest_httpserver import HTTPServer

FORM = {"grant_type": "client_credentials", "client_id": "app", "client_secret": "secret"}

# It would write a line for each request.
logging.getLogger("werkzeug").setLevel(logging.ERROR)


@contextmanager
def token() -> Iterator[Callable[[], bool]]:
    """A request for a token."""
    answer = {"access_token": "token", "expires_in": 3600}
    with HTTPServer() as fake, requests.Session() as session:
        fake.expect_request("/token", method="POST").respond_with_json(answer)
        url = fake.url_for("/token")
        yield lambda: "access_token" in session.post(url, data=FORM).json()


def server() -> Callable[[], bool]:
    """Its start and stop."""

    def start_and_stop() -> bool:
        with HTTPServer():
            return True

    return start_and_stop
