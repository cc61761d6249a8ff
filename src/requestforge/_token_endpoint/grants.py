"""What the steps that get their token by a grant of OAuth 2.0 have in common."""

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from typing import Any

from requestforge._origins import origin_of
from requestforge._redaction import mask_url
from requestforge._references import StepToken, StepValue, fill, secret_values
from requestforge._token_endpoint.addresses import check_transport, shown
from requestforge._token_endpoint.client_auth import ClientAuth, MutualTls, Public
from requestforge._token_endpoint.descriptions import Description
from requestforge._token_endpoint.replies import no_token, status_error, token_in_body
from requestforge._token_endpoint.requests import merged_headers, secrets_of, write_request
from requestforge._token_endpoint.retries import Strategy, send_with_retries
from requestforge._token_endpoint.steps import Context, EndpointFetcher
from requestforge._transport.token_transport import TokenTransport
from requestforge.events import ScopeReduced
from requestforge.exceptions import HttpClientException, RequestBuildException
from requestforge.instrumentation import emit, now, observers
from requestforge.models import HttpMethod, HttpRequest, HttpResponse
from requestforge.tokens import AnswerKeys, TokenData, with_effective_expiry

Text = str | StepToken | StepValue
"""A text, or what stands for one."""

Texts = Text | Iterable[str] | None
"""One text, or several."""

Answer = tuple[HttpResponse, datetime]
"""A successful answer, and the instant before its request was sent."""

_KEYS = AnswerKeys()
_PASSED_ON = ("name", "ttl", "depends_on", "timeout", "verify_ssl", "retry_strategy")
_COPIED = ("audience", "depends_on", "extra_params", "resource", "scope")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")  # RFC 3986 section 4.3
# They make a request the grant that it is.
_REDEMPTION = frozenset({"grant_type", "refresh_token"})
# Some servers answer with a form unless they are asked for JSON.
_HEADERS = {"Accept": "application/json"}


class GrantFetcher(EndpointFetcher):
    """A step that asks a token endpoint (RFC 6749 section 3.2), as a client.

    Args:
        scope: the arguments of the subclass's constructor by name, as `locals()` gives them in its
            first line.
        fields: the fields of the form that make the grant.
        secrets: names of the arguments that nobody may see.
    """

    _callers_level = 5
    # Whether the scope is asked for with each refresh token, too; else it is what was granted.
    _repeats_scope = False

    def __init__(self, scope: Mapping[str, Any], fields: Mapping[str, Any], *secrets: str) -> None:
        given = {
            name: _kept(name, value)
            for name, value in scope.items()
            if name not in {"self", "__class__"}
        }
        whose = f"Step {given['name']!r}"
        check_url("token_url", given["token_url"], whose)
        auth: ClientAuth = Public() if given["client_auth"] is None else given["client_auth"]
        _check_client(given["client_id"], auth, given["token_url"], whose)
        if not isinstance(given["extra_params"], dict | None):
            raise TypeError(f"extra_params of {whose} must be a mapping or None.")
        extra = given["extra_params"] or {}
        targets = {
            "audience": _texts("audience", given["audience"], whose),
            "resource": _resources(given["resource"], whose),
        }
        asked = {"scope": _scope(given["scope"], whose), **targets, **extra}
        super().__init__(
            {
                **{name: given[name] for name in _PASSED_ON},
                "base_url": given["token_url"],
                "endpoint": "",
                "method": HttpMethod.POST,
                "request_headers": _HEADERS,
                "request_data": {**fields, **asked},
                "require_tls": False,
            }
        )
        self._client_id: str = given["client_id"]
        self._client_auth = auth
        if isinstance(auth, MutualTls):
            self._transport = TokenTransport(given["verify_ssl"], auth.cert)
        again = {**targets, **extra} if not self._repeats_scope else asked
        self._repeated = {
            name: deepcopy(value) for name, value in again.items() if name not in _REDEMPTION
        }
        self._require_scopes = bool(given["require_scopes"])
        self._given = given
        self._secret_names = frozenset(secrets)

    def describe(self) -> Mapping[str, Any]:
        """The arguments of the constructor by name, and the endpoint's `url`; its `repr` masks."""
        facts = {
            **self._given,
            **{name: deepcopy(self._given[name]) for name in _COPIED},
            "url": shown(self._base_url),
        }
        return Description(facts, self._secret_names)

    def refresh(self, expired: TokenData, context: Context = None) -> TokenData:
        """A new token by the refresh token of this one (RFC 6749 section 6).

        An answer without a refresh token leaves the old one in force.

        Args:
            expired: a token with a refresh token.
            context: the tokens of earlier steps by name.

        Raises:
            DependencyException: the request refers to a step whose token is not in the context;
                nothing was sent.
            AuthenticationException: there was no answer, or none with a token; `service_name` is
                the name of the step.
        """
        return self._redeemed(expired.refresh_token or "", context)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}, {mask_url(shown(self._base_url))!r})"

    def _redeemed(self, refresh_token: str, context: Context) -> TokenData:
        """A token by the refresh grant; its refresh token is the one to redeem next."""
        data = fill(self._repeated, context, self._name)
        data |= {"grant_type": "refresh_token", "refresh_token": refresh_token}
        outcome = self._outcome(self._build_request_headers(context), data, context)
        if not isinstance(outcome, TokenData):
            raise no_token(self._name, outcome) from outcome
        return outcome if outcome.refresh_token else replace(outcome, refresh_token=refresh_token)

    def _outcome(
        self,
        headers: Mapping[str, str],
        data: Any,  # noqa: ANN401 - a form
        context: Context,
    ) -> TokenData | HttpClientException | ValueError:
        try:
            url = self._filled_base()
            if url is not self._base_url:
                check_transport(url, self._verify_ssl, require_tls=False)
        except RequestBuildException as error:
            return error
        answer = self._answer(url, headers, data, context, self._retry_strategy)
        return self._token_in(answer) if isinstance(answer, tuple) else answer

    def _answer(
        self,
        url: str,
        headers: Mapping[str, str],
        data: Mapping[str, Any],
        context: Context,
        strategy: Strategy | None,
    ) -> Answer | HttpClientException:
        """The answer to a form that the client is added to, or why there is none with a 2xx."""
        sent: list[tuple[Mapping[str, str], Mapping[str, Any]]] = []

        def send() -> HttpResponse:
            # Made for each attempt: a server takes no assertion twice.
            own = self._client_auth.credentials(self._client_id, token_url)
            fields = {name: value() if callable(value) else value for name, value in data.items()}
            sent.append((merged_headers(headers, own.headers), {**own.fields, **fields}))
            written = write_request(HttpMethod.POST, url, *sent[-1])
            return self._transport.send(
                written.method, written.url, written.headers or {}, written.data, self._timeout
            )

        token_url = self._filled_base()
        request = HttpRequest(HttpMethod.POST, url, headers=dict(headers))
        try:
            response, sent_at = send_with_retries(send, request, strategy)
        except HttpClientException as error:
            return error
        if response.is_success:
            return response, sent_at
        return status_error(response, secrets_of(url, *sent[-1], context) | secret_values())

    def _token_in(self, answer: Answer) -> TokenData | ValueError:
        """The token in the body, if it is what was asked for."""
        response, sent_at = answer
        try:
            token = self._read_token(response, sent_at)
        except ValueError as error:
            return error
        return with_effective_expiry(token, self._ttl, sent_at)

    def _read_token(self, response: HttpResponse, sent_at: datetime) -> TokenData:
        token = token_in_body(response, _KEYS, sent_at=sent_at)
        if token.token_type.lower() != "bearer":
            raise ValueError(
                "The token is of another type than Bearer, the only one that these grants are used "
                "for here (RFC 6750)."
            )
        missing = self._missing(token)
        if missing and self._require_scopes:
            raise ValueError(f"The server did not grant the scope {' '.join(missing)!r}.")
        if missing and observers:
            emit(ScopeReduced(at=now(), pipeline="", step=self._name, missing=missing))
        return token

    def _missing(self, token: TokenData) -> tuple[str, ...]:
        """The scopes that were asked for and not granted."""
        asked = self._request_data.get("scope")
        if isinstance(asked, StepValue):
            asked = asked.filled()
        if token.scope is None or not isinstance(asked, str):  # RFC 6749 section 5.1: all granted
            return ()
        granted = token.scope.split()
        return tuple(dict.fromkeys(each for each in asked.split() if each not in granted))


def _kept(name: str, value: Any) -> Any:  # noqa: ANN401
    """An argument that the caller cannot change any more."""
    if name == "extra_params" and isinstance(value, Mapping):
        return deepcopy(dict(value))
    is_many = name in _COPIED and isinstance(value, Iterable) and not isinstance(value, str)
    return list(value) if is_many else value


def check_text(argument: str, value: object, whose: str) -> None:
    """See to it that an argument is a text, or stands for one.

    Raises:
        ValueError: it is empty.
        TypeError: it is something else.
    """
    if not isinstance(value, str | StepToken | StepValue):
        kind = type(value).__name__
        raise TypeError(f"{argument} of {whose} must be a string, not {kind}.")
    if not value:
        raise ValueError(f"{argument} of {whose} is empty.")


def check_url(argument: str, url: object, whose: str) -> None:
    """See to it that an argument is the URL of an endpoint.

    Raises:
        ValueError: it is none.
    """
    if isinstance(url, str) and (origin_of(url) is None or not url.isprintable()):
        raise ValueError(
            f"{argument} of {whose} is {mask_url(url)!r}; it must be an absolute http or https URL."
        )


def check_certificate(argument: str, url: object, auth: object, whose: str) -> None:
    """See to it that a client with a certificate can show it at an endpoint.

    Raises:
        ValueError: it cannot, without TLS.
    """
    if isinstance(auth, MutualTls) and str(url).lower().startswith("http:"):
        raise ValueError(f"{argument} of {whose} must be an https URL: MutualTls is a part of TLS.")


def _check_client(client_id: object, auth: object, token_url: object, whose: str) -> None:
    if not isinstance(client_id, str) or not client_id:
        raise ValueError(f"client_id of {whose} must be a non-empty string.")
    if isinstance(auth, type) or not callable(getattr(auth, "credentials", None)):
        raise TypeError(
            f"client_auth of {whose} must be one of those in requestforge.oauth2 or None, not "
            f"{f'the class {auth.__name__}' if isinstance(auth, type) else type(auth).__name__}."
        )
    check_certificate("token_url", token_url, auth, whose)


def _texts(argument: str, value: Any, whose: str) -> Any:  # noqa: ANN401 - texts or references
    """One value, or a list of several."""
    if value is None or isinstance(value, str | StepToken | StepValue):
        return value
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError(f"{argument} of {whose} must be a string or several.")
    return value


def _scope(value: Any, whose: str) -> Any:  # noqa: ANN401
    scopes = _texts("scope", value, whose)
    # None of them is as if nobody had asked for any (RFC 6749 section 3.2).
    return (" ".join(scopes) if isinstance(scopes, list) else scopes) or None


def _resources(value: Any, whose: str) -> Any:  # noqa: ANN401
    resources = _texts("resource", value, whose)
    for resource in resources if isinstance(resources, list) else [resources]:
        if not isinstance(resource, str):
            continue
        if not _URI.match(resource) or "#" in resource:
            raise ValueError(
                f"resource of {whose} is {mask_url(resource)!r}; it must be an absolute URI "
                "without a fragment (RFC 8707 section 2)."
            )
    return resources
