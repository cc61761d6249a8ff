"""The OAuth 2 providers: how they fail, and what is left to try then."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from doubles import START, Clock
from fetching import SECRET
from granting import OLD, REFUSED, Endpoint, client, grants, user
from loopback import Loopback, in_turn, json_reply, reply, shown_by
from requestforge import instrumentation
from requestforge.exceptions import (
    AuthenticationException,
    ConnectionException,
    DependencyException,
    HttpStatusException,
    InsecureTransportWarning,
    TokenRefreshException,
)
from requestforge.token_manager import (
    BaseOAuth2TokenProvider,
    ClientCredentialsTokenProvider,
    PasswordGrantTokenProvider,
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


def failure_of(call: Callable[[], object]) -> Any:  # noqa: ANN401 - attributes are looked at
    """The AuthenticationException that the call ends in, checked for secrets."""
    with pytest.raises(AuthenticationException) as caught:
        call()
    assert caught.value.service_name == "billing"
    shown = shown_by(caught.value)
    for secret in ("app-secret", "bobs-password", "r0", SECRET):
        assert secret not in shown
    return caught.value


class TestFailures:
    @pytest.mark.parametrize("make", [client, user])
    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(reply(500), id="status"),
            pytest.param(reply(302, Location="/elsewhere"), id="redirect"),
            pytest.param(json_reply({"error_description": "app-secret is wrong"}, 400), id="echo"),
            pytest.param(reply(200, f"<html>{SECRET}".encode()), id="HTML"),
            pytest.param(json_reply({"token": SECRET}), id="no token"),
            pytest.param(reply(200, b"x" * 1_100_000), id="too long"),
            pytest.param(lambda _: None, id="no answer"),
        ],
    )
    def test_no_token_is_an_authentication_exception(
        self,
        make: Callable[..., BaseOAuth2TokenProvider],
        answer: Any,  # noqa: ANN401
    ) -> None:
        """With the service's name and a cause, and without secrets."""
        with Loopback(in_turn(answer)) as server:
            error = failure_of(make(server).fetch_token)
        assert error.message.startswith("No token for 'billing'. ")
        assert error.__cause__ is error.original_exception is not None
        assert len(server.requests) == 1

    def test_a_password_is_not_repeated(self) -> None:
        """What the server says of it is shown without it."""
        with Loopback(json_reply({"error_description": "bobs-password is wrong"}, 400)) as server:
            assert "status 400: *** is wrong." in failure_of(user(server).fetch_token).message

    def test_the_wait_that_a_server_asks_for_is_told(self) -> None:
        """Retry-After becomes `retry_at`."""
        with (
            instrumentation.use_clock(Clock()),
            Loopback(reply(429, Retry_After="30")) as server,
        ):
            assert failure_of(client(server).fetch_token).retry_at == START + timedelta(seconds=30)

    def test_a_grant_follows_a_failed_refresh(self, server: Loopback, endpoint: Endpoint) -> None:
        """Whatever the refresh failed of, there is another way."""
        endpoint.refused = {"refresh_token"}
        assert client(server).refresh_token(OLD).access_token == "t1"
        assert grants(server) == ["r0", "client_credentials"]

    @pytest.mark.parametrize("make", [client, user])
    def test_all_grants_refused(self, make: Callable[..., BaseOAuth2TokenProvider]) -> None:
        """A refused refresh token, and no grant that works: TokenRefreshException."""
        with Loopback(REFUSED) as server:
            error = failure_of(lambda: make(server).refresh_token(OLD))
        assert type(error) is TokenRefreshException
        assert "no grant that needs no user is left" in error.message
        assert type(error.__cause__) is AuthenticationException

    def test_a_users_grants_refused(self, server: Loopback, endpoint: Endpoint) -> None:
        """Who has logged in, and is refused by refresh token and password: the same."""
        provider = user(server)
        provider.fetch_token()
        endpoint.refused = {"refresh_token", "password"}
        error = failure_of(provider.fetch_token)
        assert type(error) is TokenRefreshException
        assert type(error.__cause__) is AuthenticationException
        assert type(failure_of(provider.fetch_token)) is AuthenticationException
        assert grants(server) == ["password", "r1", "password", "password"]

    @pytest.mark.parametrize(
        "answers", [(REFUSED, reply(503)), (reply(503), REFUSED)], ids=["login", "refresh"]
    )
    def test_a_user_whose_login_may_work_later(self, server: Loopback, answers: Any) -> None:  # noqa: ANN401
        """While refresh token or password may work the next time there is no verdict."""
        provider = user(server)
        provider.fetch_token()
        server.answer = in_turn(*answers)
        assert type(failure_of(provider.fetch_token)) is AuthenticationException

    def test_the_verdict_on_another_refresh_token_stands(
        self, server: Loopback, endpoint: Endpoint
    ) -> None:
        """A user whose two refresh tokens are refused, and the password, is told so once."""
        provider = user(server)
        provider.fetch_token()
        endpoint.refused = {"refresh_token", "password"}
        error = failure_of(lambda: provider.refresh_token(OLD))
        assert type(error) is TokenRefreshException
        assert error.message.count("no grant that needs no user") == 1
        assert grants(server) == ["password", "r0", "r1", "password"]

    @pytest.mark.parametrize(
        ("answers", "cause"),
        [
            pytest.param((REFUSED, reply(503)), HttpStatusException, id="then unavailable"),
            pytest.param((REFUSED, lambda _: None), ConnectionException, id="then no answer"),
            pytest.param((reply(503), REFUSED), HttpStatusException, id="unavailable first"),
        ],
    )
    def test_a_passing_failure_is_no_verdict(self, answers: Any, cause: type[Exception]) -> None:  # noqa: ANN401
        """While one of the two may work the next time, the grant's own error is raised."""
        with Loopback(in_turn(*answers)) as server:
            error = failure_of(lambda: client(server).refresh_token(OLD))
        assert type(error) is AuthenticationException
        assert isinstance(error.__cause__, cause)

    @pytest.mark.parametrize("url", ["", "/token", "ftp://a/token", "https://a/\ntoken"])
    def test_impossible_urls_are_refused(self, url: str) -> None:
        """A ValueError at construction names the service."""
        with pytest.raises(ValueError, match="token_url of 'billing'"):
            ClientCredentialsTokenProvider(url, "app-id", "app-secret", "billing")

    def test_an_insecure_url_is_warned_of(self) -> None:
        """Plain http to another machine, as for steps."""
        with pytest.warns(InsecureTransportWarning, match="oauth.example.com"):
            ClientCredentialsTokenProvider("http://oauth.example.com/t", "a", "b", "billing")


class TestSubclasses:
    def test_grants_can_be_overridden(self) -> None:
        """The base class says when, a subclass how."""

        class Custom(BaseOAuth2TokenProvider):
            def _do_fetch_token(self) -> TokenData:
                return TokenData("fetched")

            def _do_refresh_token(self, token: TokenData) -> TokenData:
                if token.access_token == "broken":
                    raise OSError("no matter what")
                return TokenData(f"refreshed by {token.refresh_token}")

        provider = Custom("https://auth.example.com/t", "app-id", "app-secret", "billing")
        assert provider.service_name == "billing"
        assert provider.fetch_token().access_token == "fetched"
        assert provider.refresh_token(TokenData("old")).access_token == "fetched"
        assert provider.refresh_token(OLD) == TokenData("refreshed by r0", refresh_token="r0")
        broken = TokenData("broken", refresh_token="r0")
        assert provider.refresh_token(broken).access_token == "fetched"

    @pytest.mark.parametrize(
        ("answer", "cause"),
        [
            pytest.param("{}", KeyError, id="no token"),
            pytest.param('{"access_token": 7}', ValueError, id="wrong type"),
            pytest.param(f"<html>{SECRET}", ValueError, id="no JSON"),
        ],
    )
    def test_what_an_override_cannot_read_is_an_authentication_exception(
        self, answer: str, cause: type[Exception]
    ) -> None:
        """Neither a fetch nor a refresh ends in the error of the answer's reader itself."""

        class Custom(BaseOAuth2TokenProvider):
            def _do_fetch_token(self) -> TokenData:
                return TokenData.from_response(json.loads(answer))

            def _do_refresh_token(self, token: TokenData) -> TokenData:
                return self._do_fetch_token()

        provider = Custom("https://auth.example.com/t", "app-id", "app-secret", "billing")
        error = failure_of(provider.fetch_token)
        assert error.message.startswith(f"No token for 'billing'. {cause.__name__}: ")
        assert type(error.__cause__) is cause
        assert error.__cause__ is error.original_exception
        assert type(failure_of(lambda: provider.refresh_token(OLD))) is TokenRefreshException

    def test_a_password_follows_a_refresh_that_an_override_cannot_read(
        self, server: Loopback
    ) -> None:
        """A user whose refresh token buys an unreadable answer is logged in anew."""

        class Custom(PasswordGrantTokenProvider):
            def _do_refresh_token(self, token: TokenData) -> TokenData:
                return TokenData.from_response({})

        provider = Custom(
            *(f"{server.url}/token", "app-id", "app-secret", "bob", "bobs-password", "billing")
        )
        assert [provider.fetch_token().access_token for _ in range(2)] == ["t1", "t2"]
        assert grants(server) == ["password", "password"]

    def test_an_unmet_dependency_of_an_override_stays_one(self) -> None:
        """An error of the library is not told anew, be it a ValueError, too."""

        class Custom(BaseOAuth2TokenProvider):
            def _do_fetch_token(self) -> TokenData:
                raise DependencyException("Log in first.", service_name="billing")

        provider = Custom("https://auth.example.com/t", "app-id", "app-secret", "billing")
        assert type(failure_of(provider.fetch_token)) is DependencyException

    def test_a_provider_that_needs_a_user_says_so(self, server: Loopback) -> None:
        """Without a grant of its own, a refused refresh token is the end."""
        server.answer = REFUSED

        class Custom(BaseOAuth2TokenProvider):
            def _do_fetch_token(self) -> TokenData:
                raise AuthenticationException("Log in first.", service_name="billing")

        provider = Custom(f"{server.url}/token", "app-id", "app-secret", "billing")
        error = failure_of(lambda: provider.refresh_token(OLD))
        assert type(error) is TokenRefreshException
        assert "Log in first." in error.message


def test_a_secret_that_is_not_unicode_is_an_authentication_exception() -> None:
    """Half a surrogate pair cannot be sent by HTTP Basic; the error does not show the secret."""
    provider = ClientCredentialsTokenProvider(
        "https://auth.example.com", "app", "canary-\udc80", "billing", auth_method="header"
    )
    with pytest.raises(AuthenticationException, match="not Unicode") as caught:
        provider.fetch_token()
    assert caught.value.service_name == "billing"
    assert "canary" not in shown_by(caught.value)
