"""Providers that get tokens from an OAuth 2 server by a grant of RFC 6749."""

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from requestforge import instrumentation
from requestforge._fork import renew_after_fork
from requestforge._origins import origin_of
from requestforge._portable import describe, without_secrets
from requestforge._redaction import mask_url
from requestforge._token_endpoint.replies import no_token, status_error, token_in_body
from requestforge._token_endpoint.requests import basic_credentials, secrets_of, write_request
from requestforge._transport.insecure import insecurity, warn_once
from requestforge._transport.token_transport import TokenTransport
from requestforge.exceptions import (
    AuthenticationException,
    ConnectionException,
    HttpClientException,
    HttpStatusException,
    RequestBuildException,
    TimeoutException,
    TokenRefreshException,
)
from requestforge.interfaces import RETRYABLE_STATUS_CODES, TokenProviderInterface
from requestforge.models import HttpMethod
from requestforge.tokens import AnswerKeys, TokenData

_TIMEOUT = 30.0
_CALLERS_LEVEL = 3
_AUTH_METHODS = ("body", "header")


class BaseOAuth2TokenProvider(TokenProviderInterface):
    """Tokens of one client from one token endpoint; subclasses say by which grant.

    Override `_do_fetch_token`, and `_do_refresh_token` where the standard refresh grant (RFC 6749
    section 6) is not what the server takes.

    Args:
        token_url: absolute URL of the token endpoint.
        client_id: the client.
        client_secret: its secret; empty for a public client.
        service_name: name of the service that the tokens are for.
        scope: scopes to ask for, separated by blanks.
        extra_params: further fields to send; they override the standard ones.

    Raises:
        ValueError: `token_url` is no absolute http or https URL.
    """

    def __init__(  # noqa: PLR0917 - a published signature
        self,
        token_url: str,
        client_id: str,
        client_secret: str,
        service_name: str,
        scope: str | None = None,
        extra_params: Mapping[str, str] | None = None,
    ) -> None:
        origin = origin_of(token_url)
        if origin is None or not token_url.isprintable():
            raise ValueError(
                f"token_url of {service_name!r} is {mask_url(token_url)!r}; it must be an absolute "
                "http or https URL."
            )
        reason = insecurity(origin, verify=True)
        if reason is not None:
            warn_once(origin, reason, stacklevel=_CALLERS_LEVEL)
        self._token_url = token_url
        self._client_id = client_id
        self._client_secret = client_secret
        self._service_name = service_name
        self._scope = scope
        self._extra_params = dict(extra_params or {})
        self._auth_method = "body"
        self._transport = TokenTransport()

    @property
    def service_name(self) -> str:
        """Name of the service that the tokens are for."""
        return self._service_name

    def fetch_token(self) -> TokenData:
        """A new token.

        Raises:
            TokenRefreshException: a refresh token was refused, and so was what is left.
            AuthenticationException: there is none; `service_name` is that of the provider.
        """
        try:
            return self._do_fetch_token()
        except AuthenticationException:  # one of them is a ValueError
            raise
        except (KeyError, ValueError) as error:
            failure = _unreadable(self._service_name, error)
        raise failure from failure.original_exception

    def refresh_token(self, current_token: TokenData) -> TokenData:
        """A new token, by the current one's refresh token, or as by `fetch_token` if that fails.

        Where the server sends no new refresh token the old one is kept.

        Raises:
            TokenRefreshException: the refresh token was refused, and so was what is left.
            AuthenticationException: there is no token; `service_name` is that of the provider.
        """
        if not current_token.refresh_token:
            return self.fetch_token()
        try:
            return _keeping_refresh_token(
                self._do_refresh_token(current_token), current_token.refresh_token
            )
        except Exception as error:  # noqa: BLE001 - an override may raise anything
            refusal = error
        return self._granted_after(refusal, self.fetch_token)

    def close(self) -> None:
        """Release the connections; the next request opens new ones."""
        self._transport.close()

    @abstractmethod
    def _do_fetch_token(self) -> TokenData:
        """A new token by the provider's own grant.

        Raises:
            AuthenticationException: there is none.
        """

    def _do_refresh_token(self, token: TokenData) -> TokenData:
        """A new token by the refresh token of this one, which has one.

        Raises:
            AuthenticationException: there is none.
        """
        fields = {"grant_type": "refresh_token", "refresh_token": token.refresh_token}
        # They make the request the grant that it is.
        extra = {name: value for name, value in self._extra_params.items() if name not in fields}
        return self._request_token({**fields, **extra})

    def _granted_after(self, refusal: Exception, grant: Callable[[], TokenData]) -> TokenData:
        """A token by what is left after a refresh token has brought none.

        Raises:
            TokenRefreshException: the refresh token was refused, and so was what is left.
            AuthenticationException: there is no token now.
        """
        try:
            return grant()
        except TokenRefreshException:  # of another refresh token, and says so
            raise
        except AuthenticationException as error:
            failure = error
        if _is_transient(refusal) or _is_transient(failure):
            raise failure
        raise TokenRefreshException(
            f"The refresh token of {self._service_name!r} was refused, and no grant that needs no "
            f"user is left: {failure.message}",
            failure,
            service_name=self._service_name,
        ) from failure

    def _request_token(self, fields: Mapping[str, str | None]) -> TokenData:
        """The endpoint's token for a form of these fields, which the client is added to."""
        try:
            headers, client = self._credentials()
        except RequestBuildException as error:
            raise no_token(self._service_name, error) from error
        outcome = self._outcome(headers, {**client, **fields})
        if isinstance(outcome, TokenData):
            return outcome
        raise no_token(self._service_name, outcome) from outcome

    def _credentials(self) -> tuple[dict[str, str], dict[str, str | None]]:
        """The headers, and the fields, that show who the client is."""
        if self._auth_method == "header":
            basic = basic_credentials(self._client_id, self._client_secret)
            return {"Authorization": basic}, {}
        return {}, {"client_id": self._client_id, "client_secret": self._client_secret or None}

    def _outcome(
        self, headers: Mapping[str, str], form: Mapping[str, str | None]
    ) -> TokenData | HttpClientException | ValueError:
        sent_at = instrumentation.now()
        try:
            request = write_request(HttpMethod.POST, self._token_url, headers, form)
            response = self._transport.send(
                request.method, request.url, request.headers or {}, request.data, _TIMEOUT
            )
        except HttpClientException as error:
            return error
        if not response.is_success:
            return status_error(response, secrets_of(self._token_url, headers, form))
        try:
            return token_in_body(response, AnswerKeys(), sent_at=sent_at)
        except ValueError as error:
            return error


class ClientCredentialsTokenProvider(BaseOAuth2TokenProvider):
    """Tokens of a client for itself (RFC 6749 section 4.4).

    Args:
        token_url: absolute URL of the token endpoint.
        client_id: the client.
        client_secret: its secret.
        service_name: name of the service that the tokens are for.
        scope: scopes to ask for, separated by blanks.
        grant_type: the grant's name.
        extra_params: further fields to send; they override the standard ones.
        auth_method: how the client shows who it is: "body": by fields of the form; "header": by
            HTTP Basic (RFC 6749 section 2.3.1).

    Raises:
        ValueError: another `auth_method`, or a `token_url` that is no absolute URL.
    """

    def __init__(  # noqa: PLR0917 - a published signature
        self,
        token_url: str,
        client_id: str,
        client_secret: str,
        service_name: str,
        scope: str | None = None,
        grant_type: str = "client_credentials",
        extra_params: Mapping[str, str] | None = None,
        auth_method: str = "body",
    ) -> None:
        if auth_method not in _AUTH_METHODS:
            raise ValueError(
                f"auth_method of {service_name!r} must be 'body' or 'header', not {auth_method!r}."
            )
        super().__init__(token_url, client_id, client_secret, service_name, scope, extra_params)
        self._grant_type = grant_type
        self._auth_method = auth_method

    def _do_fetch_token(self) -> TokenData:
        fields = {"grant_type": self._grant_type, "scope": self._scope}
        return self._request_token({**fields, **self._extra_params})


class PasswordGrantTokenProvider(BaseOAuth2TokenProvider):
    """Tokens of a user whose password the program knows (RFC 6749 section 4.3).

    It logs in once; later tokens come by its refresh token, and by the password only if that
    fails. This grant is a legacy: RFC 9700 section 2.4 advises against it.

    Args:
        token_url: absolute URL of the token endpoint.
        client_id: the client.
        client_secret: its secret; empty for a public client.
        username: the user.
        password: the user's password.
        service_name: name of the service that the tokens are for.
        scope: scopes to ask for, separated by blanks.
        extra_params: further fields to send; they override the standard ones.

    Raises:
        ValueError: `token_url` is no absolute http or https URL.
    """

    def __init__(  # noqa: PLR0917 - a published signature
        self,
        token_url: str,
        client_id: str,
        client_secret: str,
        username: str,
        password: str,
        service_name: str,
        scope: str | None = None,
        extra_params: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(token_url, client_id, client_secret, service_name, scope, extra_params)
        self._username = username
        self._password = password
        # At most one refresh token. Taking it out is atomic, so that no two threads redeem it.
        self._held: deque[str] = deque(maxlen=1)
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Leave the refresh token to the parent: a server may take its second use for a theft."""
        self._held.clear()

    def _do_fetch_token(self) -> TokenData:
        try:
            held = TokenData("", refresh_token=self._held.pop())
        except IndexError:
            return self._log_in()
        try:
            return self._do_refresh_token(held)
        except (AuthenticationException, KeyError, ValueError) as error:
            refusal = error
        return self._granted_after(refusal, self._log_in)

    def _log_in(self) -> TokenData:
        fields = {
            "grant_type": "password",
            "username": self._username,
            "password": self._password,
            "scope": self._scope,
        }
        return self._holding(self._request_token({**fields, **self._extra_params}))

    def _do_refresh_token(self, token: TokenData) -> TokenData:
        with suppress(ValueError):
            self._held.remove(token.refresh_token or "")
        renewed = super()._do_refresh_token(token)
        return self._holding(_keeping_refresh_token(renewed, token.refresh_token))

    def _holding(self, token: TokenData) -> TokenData:
        if token.refresh_token:
            self._held.append(token.refresh_token)
        return token


def _keeping_refresh_token(token: TokenData, old: str | None) -> TokenData:
    return token if token.refresh_token else replace(token, refresh_token=old)


def _unreadable(name: str, error: KeyError | ValueError) -> AuthenticationException:
    """The error for what an override could not read, as it is or with its text alone."""
    # Those that say more, as of the JSON decoder, hold what they could not read.
    is_plain = type(error) in {KeyError, ValueError}
    cause = without_secrets(error if is_plain else ValueError(describe(error)))
    return AuthenticationException(
        f"No token for {name!r}. {describe(cause)}", cause, service_name=name
    )


def _is_transient(error: BaseException) -> bool:
    """Whether the failure may be another one, or none, the next time."""
    cause = error.__cause__ if isinstance(error, AuthenticationException) else error
    if isinstance(cause, HttpStatusException):
        return cause.status_code in RETRYABLE_STATUS_CODES
    return isinstance(cause, TimeoutException | ConnectionException)
