"""The OAuth 2 providers: what they send, and which grant they use when."""

import base64
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import unquote_plus

import pytest

from doubles import START, Clock
from granting import OLD, Endpoint, client, grants, user
from loopback import Loopback, Received
from requestforge import instrumentation
from requestforge.token_manager import (
    ClientCredentialsTokenProvider,
    TokenManager,
)
from requestforge.tokens import TokenData


@pytest.fixture
def endpoint() -> Endpoint:
    """What the server answers."""
    return Endpoint()


@pytest.fixture
def server(endpoint: Endpoint) -> Iterator[Loopback]:
    """A server with that endpoint."""
    with Loopback(endpoint) as server:
        yield server


class TestClientCredentials:
    def test_the_client_is_in_the_form(self, server: Loopback) -> None:
        """Grant, client and scope are fields of a form."""
        token = client(server, scope="read write").fetch_token()
        assert token.access_token == "t1"
        received = server.requests[0]
        assert (received.method, received.path) == ("POST", "/token")
        assert received.headers["content-type"] == "application/x-www-form-urlencoded"
        assert "authorization" not in received.headers
        assert received.form == {
            "grant_type": "client_credentials",
            "client_id": "app-id",
            "client_secret": "app-secret",
            "scope": "read write",
        }

    def test_the_client_is_in_a_header(self, server: Loopback) -> None:
        """By HTTP Basic both parts are form-encoded first (RFC 6749 section 2.3.1)."""
        provider = ClientCredentialsTokenProvider(
            f"{server.url}/token", "app:id é", "s%c+r t", "billing", auth_method="header"
        )
        provider.fetch_token()
        provider.refresh_token(OLD)
        for received in server.requests:
            scheme, _, encoded = received.headers["authorization"].partition(" ")
            user, _, secret = base64.b64decode(encoded).decode().partition(":")
            assert (scheme, user, secret) == ("Basic", "app%3Aid+%C3%A9", "s%25c%2Br+t")
            assert (unquote_plus(user), unquote_plus(secret)) == ("app:id é", "s%c+r t")
            assert "client_id" not in received.form
            assert "client_secret" not in received.form

    def test_other_auth_methods_are_refused(self, server: Loopback) -> None:
        """A ValueError names the service and what there is."""
        with pytest.raises(ValueError, match="auth_method of 'billing' must be 'body' or 'header'"):
            client(server, auth_method="query")

    def test_extra_fields_override(self, server: Loopback) -> None:
        """What is given beyond the standard fields takes their place."""
        extra = {"audience": "api", "scope": "all", "client_id": "other", "grant_type": "custom"}
        provider = client(server, scope="some", grant_type="mine", extra_params=extra)
        provider.fetch_token()
        assert server.requests[0].form == {"client_secret": "app-secret", **extra}

    def test_the_grant_can_be_named(self, server: Loopback) -> None:
        """`grant_type` is sent as it is."""
        client(server, grant_type="urn:example:machine").fetch_token()
        assert server.requests[0].form["grant_type"] == "urn:example:machine"

    def test_a_public_client_sends_no_secret(self, server: Loopback) -> None:
        """An empty secret is left out."""
        ClientCredentialsTokenProvider(f"{server.url}/token", "app-id", "", "s").fetch_token()
        assert "client_secret" not in server.requests[0].form

    def test_a_refresh_token_is_used(self, server: Loopback) -> None:
        """Extra fields go along, but do not make it another grant."""
        extra = {"audience": "api", "grant_type": "custom", "refresh_token": "x"}
        token = client(server, scope="read", extra_params=extra).refresh_token(OLD)
        assert (token.access_token, token.refresh_token) == ("t1", "r1")
        assert server.requests[0].form == {
            "grant_type": "refresh_token",
            "refresh_token": "r0",
            "client_id": "app-id",
            "client_secret": "app-secret",
            "audience": "api",
        }

    def test_without_a_refresh_token_the_grant_is_used(self, server: Loopback) -> None:
        """There is nothing to refresh with."""
        client(server).refresh_token(TokenData("old"))
        assert grants(server) == ["client_credentials"]

    def test_an_answer_without_refresh_token_keeps_the_old_one(
        self, server: Loopback, endpoint: Endpoint
    ) -> None:
        """A server need not rotate."""
        endpoint.rotates = False
        assert client(server).refresh_token(OLD).refresh_token == "r0"

    def test_lifetimes_count_from_sending(self, endpoint: Endpoint) -> None:
        """What the exchange takes is not added to the token's life."""
        with instrumentation.use_clock(Clock()) as clock:

            def slowly(received: Received) -> bytes:
                clock.advance(seconds=5)
                return endpoint(received)

            with Loopback(slowly) as server:
                token = client(server).fetch_token()
        assert token.issued_at == START
        assert token.expires_at == START + timedelta(seconds=60)

    def test_a_closed_provider_stays_usable(self, server: Loopback) -> None:
        """`close` releases the connection."""
        provider = client(server)
        provider.fetch_token()
        provider.close()
        provider.fetch_token()
        assert server.connections == 2


class TestPassword:
    def test_it_logs_in(self, server: Loopback) -> None:
        """User and password go with the client."""
        user(server, scope="read", extra_params={"device": "d1"}).fetch_token()
        assert server.requests[0].form == {
            "grant_type": "password",
            "username": "bob",
            "password": "bobs-password",
            "client_id": "app-id",
            "client_secret": "app-secret",
            "scope": "read",
            "device": "d1",
        }

    def test_afterwards_it_uses_its_refresh_token(self, server: Loopback) -> None:
        """The password is sent once; each refresh token buys the next."""
        provider = user(server)
        tokens = [provider.fetch_token().access_token for _ in range(3)]
        assert tokens == ["t1", "t2", "t3"]
        assert grants(server) == ["password", "r1", "r2"]

    def test_a_refresh_token_that_is_not_rotated_is_used_again(
        self, server: Loopback, endpoint: Endpoint
    ) -> None:
        """An answer without one keeps the old one."""
        provider = user(server)
        provider.fetch_token()
        endpoint.rotates = False
        assert provider.fetch_token().refresh_token == "r1"
        provider.fetch_token()
        assert grants(server) == ["password", "r1", "r1"]

    def test_without_a_refresh_token_it_logs_in_again(
        self, server: Loopback, endpoint: Endpoint
    ) -> None:
        """There is no other way."""
        endpoint.rotates = False
        provider = user(server)
        provider.fetch_token()
        provider.fetch_token()
        assert grants(server) == ["password", "password"]

    def test_the_password_follows_a_refused_refresh_token(
        self, server: Loopback, endpoint: Endpoint
    ) -> None:
        """It is not tried twice."""
        provider = user(server)
        provider.fetch_token()
        endpoint.refused = {"refresh_token"}
        assert provider.fetch_token().access_token == "t2"
        endpoint.refused = set()
        provider.fetch_token()
        assert grants(server) == ["password", "r1", "password", "r2"]

    def test_the_refresh_token_of_the_current_token_goes_first(
        self, server: Loopback, endpoint: Endpoint
    ) -> None:
        """The caller's token is refreshed; each refresh token is redeemed once."""
        provider = user(server)
        current = provider.fetch_token()
        current = provider.refresh_token(current)
        provider.refresh_token(OLD)
        endpoint.refused = {"refresh_token"}
        provider.refresh_token(current)
        assert grants(server) == ["password", "r1", "r0", "r2", "r3", "password"]

    def test_threads_do_not_share_a_refresh_token(self) -> None:
        """One redeems it, the others log in."""
        barrier = threading.Barrier(4)
        endpoint = Endpoint()

        def together(received: Received) -> bytes:
            if server.requests and len(server.requests) > 1:
                barrier.wait(10)
            return endpoint(received)

        with Loopback(together) as server:
            provider = user(server)
            provider.fetch_token()
            threads = [threading.Thread(target=provider.fetch_token) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
            assert sorted(grants(server)) == ["password"] * 4 + ["r1"]

    @pytest.mark.compat
    def test_a_forked_child_logs_in_for_itself(self, server: Loopback) -> None:
        """The refresh token stays with the parent."""
        provider = user(server)
        provider.fetch_token()
        child = os.fork()
        if child == 0:
            try:
                provider.fetch_token()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        provider.fetch_token()
        assert grants(server) == ["password", "password", "r1"]

    def test_a_manager_refreshes(self, server: Loopback) -> None:
        """TokenManager uses the refresh token of what it has cached."""
        with TokenManager(user(server)) as manager:
            assert manager.get_token().access_token == "t1"
            assert manager.force_refresh().access_token == "t2"
            assert manager.get_token().access_token == "t2"
        assert grants(server) == ["password", "r1"]
