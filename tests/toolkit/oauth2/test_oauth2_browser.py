"""People sign in at the pages of a provider, in a real browser."""

from collections.abc import Iterator

import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session
from oauth2_site import APP, SETTINGS

from browser import Page, browser
from pytest_requestforge import FakeAuth
from pytest_requestforge.fake_auth.oauth2 import OAuth2Provider


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A tab of a browser; it starts slowly, so the tests share it."""
    with browser() as tab:
        yield tab


@pytest.fixture
def idp(rf_fake_auth_server: FakeAuth) -> OAuth2Provider:
    """A provider on a socket."""
    return rf_fake_auth_server.oauth2(**SETTINGS)


def sign_in(page: Page, password: str, decision: str = "allow") -> None:
    """Alice fills in the form."""
    page.type("input[name=username]", "alice")
    page.type("input[name=password]", password)
    page.click(f"button[value={decision}]")


@pytest.fixture
def client(
    rf_fake_auth_server: FakeAuth, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OAuth2Session]:
    """A client whose users come back to a page of the same server."""
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    back = rf_fake_auth_server.resource("GET /callback", json="welcome back")
    with OAuth2Session(
        *APP, scope="openid", redirect_uri=back.url, code_challenge_method="S256"
    ) as session:
        yield session


def test_a_user_signs_in(page: Page, idp: OAuth2Provider, client: OAuth2Session) -> None:
    """RFC 6749 section 4.1: a wrong password first, then the right one, and back to the client."""
    verifier = "v" * 64
    url, _ = client.create_authorization_url(idp.parts["authorize"].url, code_verifier=verifier)

    page.open(url)
    assert page.run("document.title") == "Sign in"
    sign_in(page, "a-wrong-password")
    assert "User name or password is wrong." in page.run("document.body.innerText")
    sign_in(page, SETTINGS["users"]["alice"])

    assert "welcome back" in page.run("document.body.innerText")
    client.fetch_token(
        idp.url, authorization_response=page.run("location.href"), code_verifier=verifier
    )
    assert client.get(idp.parts["userinfo"].url).json() == {"sub": "alice"}


def test_a_user_denies(page: Page, idp: OAuth2Provider, client: OAuth2Session) -> None:
    """RFC 6749 section 4.1.2.1: the client is told."""
    url, _ = client.create_authorization_url(idp.parts["authorize"].url, code_verifier="v" * 64)

    page.open(url)
    page.click("button[value=deny]")

    assert "error=access_denied" in page.run("location.href")


def test_a_user_approves_a_device(page: Page, idp: OAuth2Provider) -> None:
    """RFC 8628 section 3.3: the complete URL has the code in its form already."""
    endpoint = idp.parts["device_authorization"].url
    codes = requests.post(endpoint, {"client_id": "spa"}, timeout=5).json()

    page.open(codes["verification_uri_complete"])
    sign_in(page, SETTINGS["users"]["alice"])

    assert "The device is signed in." in page.run("document.body.innerText")
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": codes["device_code"],
        "client_id": "spa",
    }
    assert requests.post(idp.url, form, timeout=5).status_code == 200
