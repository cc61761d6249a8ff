"""The grant that a user allows on another device."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from requestforge._references import StepValue
from requestforge._token_endpoint.addresses import check_transport
from requestforge._token_endpoint.client_auth import ClientAuth
from requestforge._token_endpoint.device import LONGEST_WAIT, decided, read_codes
from requestforge._token_endpoint.grants import GrantFetcher, Texts, check_certificate, check_url
from requestforge._token_endpoint.replies import no_token, refused_grant
from requestforge._token_endpoint.steps import Context
from requestforge.exceptions import AuthenticationException, HttpClientException
from requestforge.interfaces import RetryStrategyInterface
from requestforge.tokens import TokenData

__all__ = ["DeviceCodeFetcher"]

_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


class DeviceCodeFetcher(GrantFetcher):
    """A step whose token a user allows on another device, with a browser (RFC 8628).

    `fetch` shows the user where to go and what to type there, and waits for their decision: as long
    as the server allows, at most 30 minutes. The user is asked once: later tokens come by the
    refresh token. Once the server refuses that, it is a TokenRefreshException, and the next call
    asks the user again.

    Args:
        name: name of the step, unique in its pipeline.
        token_url: absolute URL of the token endpoint.
        client_id: the client.
        device_url: absolute URL of the device authorization endpoint.
        prompt: called with the user's code and the URI where they type it.
        client_auth: how the client shows who it is; None: it cannot, and sends its id alone.
        scope: scopes to ask for, separated by blanks, or several.
        audience: whom the token is for; one or several, under the name that some servers know.
        resource: URI of what the token is for, one or several (RFC 8707).
        extra_params: further fields to send; they override the standard ones.
        require_scopes: whether a grant of fewer scopes than were asked for is a failure.
        ttl: how long a token is used, at most, from the start of the fetch; None: as long as the
            server says.
        depends_on: names of the steps whose tokens the fetch needs, beside those referred to.
        timeout: seconds for one attempt, from connecting to the last byte of the answer.
        verify_ssl: whether to verify certificates, or the path of a CA bundle.
        retry_strategy: when a failed request for the codes, or of a refresh, is made again; None:
            never.

    Raises:
        ValueError: an argument that cannot be used; it names the step and the argument.
        TypeError: an argument of a type that cannot be used.
    """

    _refresh_is_final = True

    def __init__(
        self,
        name: str,
        token_url: str | StepValue,
        client_id: str,
        *,
        device_url: str,
        prompt: Callable[[str, str], object],
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
        whose = f"Step {name!r}"
        check_url("device_url", str(device_url), whose)
        if not callable(prompt):
            raise TypeError(f"prompt of {whose} must be callable, not {type(prompt).__name__}.")
        super().__init__(given, {})
        check_certificate("device_url", device_url, client_auth, whose)
        check_transport(device_url, verify_ssl, require_tls=False, stacklevel=3)
        self._device_url = device_url
        self._prompt = prompt

    @property
    def fetch_timeout(self) -> timedelta:
        """The longest that `fetch` takes: the time that a user has, and two requests."""
        last_poll = timedelta(seconds=LONGEST_WAIT + self._timeout)
        return super().fetch_timeout + last_poll

    def fetch(self, context: Context = None) -> TokenData:
        """A new token, once the user has allowed it.

        Args:
            context: the tokens of earlier steps by name.

        Raises:
            DependencyException: the request refers to a step whose token is not in the context;
                nothing was sent.
            AuthenticationException: the user has refused, or not decided in time, or an endpoint
                gave no usable answer; `service_name` is the name of the step.
        """
        headers = self._build_request_headers(context)
        asked = self._build_request_data(context)
        outcome = self._allowed(headers, asked, context)
        if isinstance(outcome, TokenData):
            return outcome
        raise no_token(self._name, outcome) from outcome

    def refresh(self, expired: TokenData, context: Context = None) -> TokenData:
        """A new token by the refresh token of this one.

        Args:
            expired: a token with a refresh token.
            context: the tokens of earlier steps by name.

        Raises:
            DependencyException: the request refers to a step whose token is not in the context.
            TokenRefreshException: the server refuses the refresh token.
            AuthenticationException: there was no answer, or none with a token; `service_name` is
                the name of the step.
        """
        try:
            return super().refresh(expired, context)
        except AuthenticationException as error:
            failure = refused_grant(error)
            if failure is None:
                raise
        raise failure from failure.original_exception

    def _allowed(
        self, headers: Mapping[str, str], asked: Mapping[str, Any], context: Context
    ) -> TokenData | HttpClientException | ValueError:
        answer = self._answer(self._device_url, headers, asked, context, self._retry_strategy)
        if not isinstance(answer, tuple):
            return answer
        try:
            codes = read_codes(answer[0])
        except ValueError as error:
            return error
        self._prompt(codes.user_code, codes.uri)
        data = {"grant_type": _DEVICE_CODE, "device_code": codes.device_code}
        url = self._filled_base()
        answer = decided(codes, lambda: self._answer(url, headers, data, context, None))
        return self._token_in(answer) if isinstance(answer, tuple) else answer
