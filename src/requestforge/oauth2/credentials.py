"""Grants that a client asks for by credentials of its own, of its user, or by a refresh token."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from requestforge._deadline import time_left
from requestforge._references import StepValue, fill
from requestforge._token_endpoint.client_auth import ClientAuth
from requestforge._token_endpoint.grants import GrantFetcher, Text, Texts, check_text
from requestforge._token_endpoint.replies import no_token, refused_grant
from requestforge._token_endpoint.spending import Spending
from requestforge._token_endpoint.steps import Context
from requestforge.exceptions import (
    AuthenticationException,
    TimeoutException,
    TokenRefreshException,
)
from requestforge.interfaces import RetryStrategyInterface
from requestforge.tokens import TokenData

__all__ = ["ClientCredentialsFetcher", "PasswordFetcher", "RefreshTokenFetcher"]


class ClientCredentialsFetcher(GrantFetcher):
    """A step whose token a client gets for itself (RFC 6749 section 4.4).

    Args:
        name: name of the step, unique in its pipeline.
        token_url: absolute URL of the token endpoint.
        client_id: the client.
        client_auth: how the client shows who it is; None: it cannot, and sends its id alone.
        scope: scopes to ask for, separated by blanks, or several.
        audience: whom the token is for; one or several, under the name that some servers know.
        resource: URI of what the token is for, one or several (RFC 8707).
        extra_params: further fields to send; they override the standard ones.
        require_scopes: whether a grant of fewer scopes than were asked for is a failure; else it
            is a ScopeReduced event.
        ttl: how long a token is used, at most, from sending; None: as long as the server says,
            else until it is invalidated.
        depends_on: names of the steps whose tokens the fetch needs, beside those referred to.
        timeout: seconds for one attempt, from connecting to the last byte of the answer.
        verify_ssl: whether to verify certificates, or the path of a CA bundle.
        retry_strategy: when a failed attempt is made again; None: never.

    Raises:
        ValueError: an argument that cannot be used; it names the step and the argument.
        TypeError: an argument of a type that cannot be used.
    """

    def __init__(
        self,
        name: str,
        token_url: str | StepValue,
        client_id: str,
        *,
        client_auth: ClientAuth | None = None,
        scope: Texts = None,
        audience: Texts = None,
        resource: Texts = None,
        extra_params: Mapping[str, Any] | None = None,
        require_scopes: bool = False,
        ttl: timedelta | None = None,
        depends_on: Iterable[str] | None = None,
        timeout: float = 30.0,
        verify_ssl: bool | str = True,
        retry_strategy: RetryStrategyInterface | None = None,
    ) -> None:
        super().__init__(dict(locals()), {"grant_type": "client_credentials"})


class PasswordFetcher(GrantFetcher):
    """A step whose token a user's password buys (RFC 6749 section 4.3).

    The password is sent for the first token, and again only where the server refuses its refresh
    token. This grant is a legacy: RFC 9700 section 2.4 says not to use it.

    Args:
        name: name of the step, unique in its pipeline.
        token_url: absolute URL of the token endpoint.
        client_id: the client.
        username: the user.
        password: the user's password.
        client_auth: how the client shows who it is; None: it cannot, and sends its id alone.
        scope: scopes to ask for, separated by blanks, or several.
        audience: whom the token is for; one or several, under the name that some servers know.
        resource: URI of what the token is for, one or several (RFC 8707).
        extra_params: further fields to send; they override the standard ones.
        require_scopes: whether a grant of fewer scopes than were asked for is a failure.
        ttl: how long a token is used, at most, from sending; None: as long as the server says.
        depends_on: names of the steps whose tokens the fetch needs, beside those referred to.
        timeout: seconds for one attempt, from connecting to the last byte of the answer.
        verify_ssl: whether to verify certificates, or the path of a CA bundle.
        retry_strategy: when a failed attempt is made again; None: never.

    Raises:
        ValueError: an argument that cannot be used; it names the step and the argument.
        TypeError: an argument of a type that cannot be used.
    """

    def __init__(
        self,
        name: str,
        token_url: str | StepValue,
        client_id: str,
        *,
        username: Text,
        password: Text,
        client_auth: ClientAuth | None = None,
        scope: Texts = None,
        audience: Texts = None,
        resource: Texts = None,
        extra_params: Mapping[str, Any] | None = None,
        require_scopes: bool = False,
        ttl: timedelta | None = None,
        depends_on: Iterable[str] | None = None,
        timeout: float = 30.0,
        verify_ssl: bool | str = True,
        retry_strategy: RetryStrategyInterface | None = None,
    ) -> None:
        given = dict(locals())
        for argument in ("username", "password"):
            check_text(argument, given[argument], f"Step {name!r}")
        fields = {"grant_type": "password", "username": username, "password": password}
        super().__init__(given, fields, "password")


class RefreshTokenFetcher(GrantFetcher):
    """A step that lives on a refresh token which it was given (RFC 6749 section 6).

    Where the server rotates refresh tokens, each new one is stored before its access token is used,
    and redeemed next. The storage has to last, therefore: the one that was given here is worth
    nothing by then. After an invalidation, with which the stored one goes, this process redeems the
    last one that it got.

    Args:
        name: name of the step, unique in its pipeline.
        token_url: absolute URL of the token endpoint.
        client_id: the client.
        refresh_token: the first one to redeem.
        client_auth: how the client shows who it is; None: it cannot, and sends its id alone.
        scope: scopes to ask for, separated by blanks, or several, none of them beyond those of the
            refresh token; None: all of these.
        audience: whom the token is for; one or several, under the name that some servers know.
        resource: URI of what the token is for, one or several (RFC 8707).
        extra_params: further fields to send.
        require_scopes: whether a grant of fewer scopes than were asked for is a failure.
        ttl: how long a token is used, at most, from sending; None: as long as the server says.
        depends_on: names of the steps whose tokens the fetch needs, beside those referred to.
        timeout: seconds for one attempt, from connecting to the last byte of the answer.
        verify_ssl: whether to verify certificates, or the path of a CA bundle.
        retry_strategy: when a failed attempt is made again; None: never.

    Raises:
        ValueError: an argument that cannot be used; it names the step and the argument.
        TypeError: an argument of a type that cannot be used.
    """

    _fetch_redeems = True
    _repeats_scope = True

    def __init__(
        self,
        name: str,
        token_url: str | StepValue,
        client_id: str,
        *,
        refresh_token: Text,
        client_auth: ClientAuth | None = None,
        scope: Texts = None,
        audience: Texts = None,
        resource: Texts = None,
        extra_params: Mapping[str, Any] | None = None,
        require_scopes: bool = False,
        ttl: timedelta | None = None,
        depends_on: Iterable[str] | None = None,
        timeout: float = 30.0,
        verify_ssl: bool | str = True,
        retry_strategy: RetryStrategyInterface | None = None,
    ) -> None:
        given = dict(locals())
        check_text("refresh_token", refresh_token, f"Step {name!r}")
        fields = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        super().__init__(given, fields, "refresh_token")
        self._given_token = refresh_token
        self._spending = Spending()

    def fetch(self, context: Context = None) -> TokenData:
        """A new token by the refresh token that was given, or by the last one that came of it.

        Raises:
            DependencyException: the request refers to a step whose token is not in the context.
            TokenRefreshException: the server refuses it, or has done so before.
            AuthenticationException: there was no answer, or none with a token; `service_name` is
                the name of the step.
        """
        try:
            return self._spend(None, context)
        except AuthenticationException as error:
            failure = refused_grant(error)
            if failure is None:
                raise
        raise failure from failure.original_exception

    def refresh(self, expired: TokenData, context: Context = None) -> TokenData:
        """A new token by the refresh token of this one.

        Args:
            expired: a token with a refresh token.
            context: the tokens of earlier steps by name.

        Raises:
            DependencyException: the request refers to a step whose token is not in the context.
            AuthenticationException: there was no answer, or none with a token; `service_name` is
                the name of the step.
        """
        return self._spend(expired.refresh_token or "", context)

    def _spend(self, refresh_token: str | None, context: Context) -> TokenData:
        """A token by that refresh token; None: by the one that is next."""
        seed = str(fill(self._given_token, context, self._name))
        longest, left = self.fetch_timeout.total_seconds(), time_left()
        wait = longest if left is None else max(0.0, min(longest, left))
        with self._spending.turn(seed, wait) as is_free:
            if not is_free:
                busy = TimeoutException("Another thread redeems its refresh token for too long.")
                raise no_token(self._name, busy) from busy
            spent = self._spending.next_of(seed) if refresh_token is None else refresh_token
            if spent is None:
                raise TokenRefreshException(
                    f"No token for {self._name!r}. The server has refused the refresh token "
                    "before; a new one is needed.",
                    service_name=self._name,
                )
            return self._spent(seed, spent, context)

    def _spent(self, seed: str, refresh_token: str, context: Context) -> TokenData:
        try:
            token = self._redeemed(refresh_token, context)
        except AuthenticationException as error:
            if refused_grant(error) is not None:
                self._spending.refuse(seed, refresh_token)
            raise
        self._spending.replace(seed, token.refresh_token or refresh_token)
        return token
