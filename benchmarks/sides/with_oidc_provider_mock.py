"""A provider of oidc-provider-mock."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import requests

with warnings.catch_warnings(record=True):  # of what it imports, which insists on them
    from oidc_provider_mock import run_server_in_thread

CLIENT = ("app", "secret")
BACK = "http://127.0.0.1/back"

# It would write a line for each request.
logging.getLogger("werkzeug").setLevel(logging.ERROR)


@contextmanager
def token() -> Iterator[Callable[[], bool]]:
    """A request for a token, by a refresh token of a user who has logged in."""
    with run_server_in_thread() as fake, requests.Session() as session:
        url = f"http://127.0.0.1:{fake.server_port}/oauth2"
        query = {
            "client_id": "app",
            "response_type": "code",
            "redirect_uri": BACK,
            "scope": "openid",
        }
        login = session.post(
            f"{url}/authorize", params=query, data={"sub": "alice"}, allow_redirects=False
        )
        code = parse_qs(urlsplit(login.headers["Location"]).query)["code"][0]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK}
        answer = session.post(f"{url}/token", data=form, auth=CLIENT).json()

        def refresh() -> bool:
            form = {"grant_type": "refresh_token", "refresh_token": answer["refresh_token"]}
            answer.update(session.post(f"{url}/token", data=form, auth=CLIENT).json())
            return "error" not in answer

        yield refresh


def server() -> Callable[[], bool]:
    """Its start and stop."""

    def start_and_stop() -> bool:
        with run_server_in_thread():
            return True

    return start_and_stop
