"""What msal gets from a provider behind TLS on loopback, since it asks nobody without."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from wsgiref.simple_server import WSGIRequestHandler, make_server

import msal
import pytest
import requests
import trustme
from oauth2_site import APP, REDIRECT, SETTINGS, query

from pytest_requestforge import FakeAuth
from pytest_requestforge.fake_auth.oauth2 import OAuth2Provider

Tls = tuple[OAuth2Provider, requests.Session]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def over_tls() -> Iterator[tuple[FakeAuth, trustme.CA]]:
    """A FakeAuth on a server of the standard library, behind TLS, and its authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with make_server("localhost", 0, None, handler_class=_Quiet) as server:
        auth = FakeAuth(f"https://localhost:{server.server_port}", seed=1)
        server.set_app(auth.app)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield auth, authority
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def tls() -> Iterator[Tls]:
    """A provider behind TLS, without which msal asks nobody, and a session that trusts it."""
    with (
        over_tls() as (auth, authority),
        authority.cert_pem.tempfile() as bundle,
        requests.Session() as session,
    ):
        session.trust_env, session.verify = False, bundle
        yield auth.oauth2("/tenant", interval=0, **SETTINGS), session


class TestMsal:
    def test_client_credentials(self, tls: Tls) -> None:
        """A confidential client gets a token, and has it from its cache then."""
        idp, session = tls
        client = msal.ConfidentialClientApplication(
            APP[0], APP[1], oidc_authority=idp.issuer, http_client=session
        )

        first = client.acquire_token_for_client(["read"])
        second = client.acquire_token_for_client(["read"])

        assert (first["token_source"], second["token_source"]) == ("identity_provider", "cache")
        assert second["access_token"] == first["access_token"]

    @pytest.mark.filterwarnings("ignore:response_mode='form_post' is recommended")
    def test_code_with_pkce_and_refresh(self, tls: Tls) -> None:
        """A public client signs a user in, and renews silently."""
        idp, session = tls
        client = msal.PublicClientApplication("spa", oidc_authority=idp.issuer, http_client=session)
        flow = client.initiate_auth_code_flow(["read"], redirect_uri=REDIRECT)
        response = query(idp.authorize(flow["auth_uri"], sub="alice"))

        tokens = client.acquire_token_by_auth_code_flow(flow, response)
        assert tokens["id_token_claims"]["sub"] == "alice"

        (account,) = client.get_accounts()
        renewed = client.acquire_token_silent(["read"], account, force_refresh=True)
        assert renewed["access_token"] != tokens["access_token"]

    def test_device_code(self, tls: Tls) -> None:
        """A device shows its code, and gets its tokens."""
        idp, session = tls
        client = msal.PublicClientApplication("spa", oidc_authority=idp.issuer, http_client=session)
        flow = client.initiate_device_flow(["read"])
        idp.approve(flow["user_code"], sub="bob")

        assert client.acquire_token_by_device_flow(flow)["id_token_claims"]["sub"] == "bob"
