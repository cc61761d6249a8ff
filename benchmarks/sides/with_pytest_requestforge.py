"""A fake auth server of pytest_requestforge."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import requests

from pytest_requestforge import FakeAuth

FORM = {"grant_type": "client_credentials", "client_id": "app", "client_secret": "secret"}


def token_in_process() -> AbstractContextManager[Callable[[], bool]]:
    """A request for a token, answered in process."""
    return token(FakeAuth())


def token_on_loopback() -> AbstractContextManager[Callable[[], bool]]:
    """A request for a token, over a socket."""
    return token(FakeAuth(transport="loopback"))


def jwt_in_process() -> AbstractContextManager[Callable[[], bool]]:
    """A request for a signed token of a whole provider, answered in process."""
    return jwt(FakeAuth())


def jwt_on_loopback() -> AbstractContextManager[Callable[[], bool]]:
    """A request for a signed token of a whole provider, over a socket."""
    return jwt(FakeAuth(transport="loopback"))


@contextmanager
def token(auth: FakeAuth) -> Iterator[Callable[[], bool]]:
    """A request for a token."""
    with auth, requests.Session() as session:
        url = auth.token("token", "POST /token", expires_in=3600, body=FORM).url
        yield lambda: "access_token" in session.post(url, data=FORM).json()


@contextmanager
def jwt(auth: FakeAuth) -> Iterator[Callable[[], bool]]:
    """A request for a signed token."""
    with auth, requests.Session() as session:
        url = auth.oauth2(clients={"app": "secret"}).url
        yield lambda: session.post(url, data=FORM).json()["access_token"].count(".") == 2
