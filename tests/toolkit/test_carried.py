"""A FakeAuth that something else carries: any client of WSGI, or a server of one's own."""

from collections.abc import Iterator

import httpx
import pytest
import requests

from pytest_requestforge import FakeAuth
from pytest_requestforge.fake_auth import Loopback
from requestforge import BodyTokenFetcher, InMemoryTokenStorage, TokenFetchPipeline


@pytest.fixture
def auth() -> Iterator[FakeAuth]:
    """A FakeAuth that has no transport of its own."""
    with FakeAuth("https://auth.example.com/base", transport="wsgi", seed=7) as started:
        yield started


def test_a_client_of_wsgi_asks_it_without_a_socket(auth: FakeAuth) -> None:
    """All URLs are those of the base URL, and tokens are enforced."""
    app = auth.token("app_token", "POST /token", expires_in=60)
    me = auth.resource("GET https://api.example.com/me", needs=app)

    with httpx.Client(transport=httpx.WSGITransport(auth.app)) as client:
        bearer = f"Bearer {client.post(app.url).json()['access_token']}"
        accepted = client.get(me.url, headers={"Authorization": bearer})
        refused = client.get(me.url)

    assert app.url == "https://auth.example.com/base/token"
    assert me.url == "https://auth.example.com/me"
    assert (accepted.status_code, refused.status_code) == (200, 401)
    auth.assert_fetch_counts(app_token=1)


def test_a_provider_goes_by_the_base_url(auth: FakeAuth) -> None:
    """Its issuer is below it."""
    assert auth.oauth2().issuer == "https://auth.example.com/base/oauth2"


def test_requests_of_the_process_do_not_reach_it(auth: FakeAuth) -> None:
    """It takes the place of no network."""
    app = auth.token("app_token", "POST /token")

    with Loopback(auth.app) as carrier:
        answer = requests.post(f"{carrier.origin}/base/token", timeout=5)

    assert answer.status_code == 200
    assert app.url.startswith("https://")
    auth.assert_fetch_counts(app_token=1)


def test_pipelines_that_ask_elsewhere_are_refused(auth: FakeAuth) -> None:
    """`serve` cannot stand in for hosts that would really be asked."""
    step = BodyTokenFetcher("app_token", "https://other.example.com", "/token")

    with pytest.raises(ValueError, match=r"other\.example\.com"):
        auth.serve(TokenFetchPipeline([step], InMemoryTokenStorage()))


def test_faults_are_real_on_a_loopback(auth: FakeAuth) -> None:
    """A server of one's own that knows them has them reset the connection."""
    auth.token("app_token", "POST /token").reset()

    with Loopback(auth.app, "localhost") as carrier, pytest.raises(requests.ConnectionError):
        requests.post(f"{carrier.origin}/base/token", timeout=5)
