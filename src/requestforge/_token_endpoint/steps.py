"""Steps that ask a server for their token, whatever the token is in."""

import logging
import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any

from requestforge._redaction import is_sensitive
from requestforge._references import StepValue, fill, secret_values, steps_in, values_in
from requestforge._token_endpoint.addresses import (
    check_transport,
    checked_base,
    filled_base,
    filled_endpoint,
    shown,
)
from requestforge._token_endpoint.descriptions import Description
from requestforge._token_endpoint.replies import no_token, status_error
from requestforge._token_endpoint.requests import (
    endpoint_url,
    merged_headers,
    method_of,
    names_in_query,
    secrets_of,
    write_request,
)
from requestforge._token_endpoint.retries import longest_fetch, send_with_retries
from requestforge._transport.insecure import insecurity, warn_once
from requestforge._transport.token_transport import TokenTransport
from requestforge.exceptions import AuthenticationException, HttpClientException
from requestforge.interfaces import RetryStrategyInterface, TokenFetcherInterface
from requestforge.models import HttpMethod, HttpRequest, HttpResponse
from requestforge.tokens import TokenData, with_effective_expiry

Context = dict[str, TokenData] | None
"""The tokens of earlier steps by name, or None if there are none."""

_log = logging.getLogger("requestforge")


class HttpTokenFetcher(TokenFetcherInterface):
    """A step that asks a server; a subclass gives it a `name`, and a `fetch` that asks.

    Args:
        base_url: absolute http or https URL, or a StepValue for it or a part of it.
        timeout: seconds for one attempt, from connecting to the last byte of the answer.
        verify_ssl: whether to verify certificates, or the path of a CA bundle.
        headers: sent with each request that has none of the same name.
        retry_strategy: when a failed attempt is made again; None: never.
        require_tls: whether http to other machines and unverified certificates, which are else
            warned of, are refused.

    Raises:
        ValueError: a base URL, timeout or transport that cannot be used.
        TypeError: a `verify_ssl` that is neither a bool nor a string.
    """

    # Of the call of the subclass's constructor, which a warning is about.
    _callers_level = 4

    def __init__(
        self,
        base_url: str | StepValue,
        timeout: float = 30.0,
        verify_ssl: bool | str = True,
        headers: Mapping[str, str] | None = None,
        *,
        retry_strategy: RetryStrategyInterface | None = None,
        require_tls: bool = False,
    ) -> None:
        whose = self._whose()
        origin = checked_base(base_url, whose)
        _check_timeout(timeout, whose)
        _check_verify(verify_ssl, whose)
        reason = None if origin is None else insecurity(origin, verify_ssl)
        if origin is not None and reason is not None:
            if require_tls:
                raise ValueError(f"{whose} has require_tls, but: {reason}")
            warn_once(origin, reason, stacklevel=self._callers_level)
        self._base_url = base_url
        self._verify_ssl = verify_ssl
        self._require_tls = require_tls
        self._timeout = float(timeout)
        self._headers = dict(headers or {})
        self._retry_strategy = retry_strategy
        self._transport = TokenTransport(verify_ssl)
        self._warned_names: set[str] = set()

    @property
    def fetch_timeout(self) -> timedelta:
        """The longest that `fetch` takes: all its attempts, and the longest waits between them."""
        request = HttpRequest(HttpMethod.POST, shown(self._base_url))
        return longest_fetch(self._timeout, request, self._retry_strategy)

    def close(self) -> None:
        """Release the connections; the next fetch opens new ones."""
        self._transport.close()

    def _make_request(
        self,
        method: HttpMethod | str,
        endpoint: str,
        headers: Mapping[str, str] | None = None,
        data: Any = None,  # noqa: ANN401 - what users give for a form or a JSON value
        json_data: Any = None,  # noqa: ANN401
    ) -> HttpResponse:
        """The server's answer, whatever its status.

        Args:
            method: GET or POST.
            endpoint: path below the base URL.
            headers: added to those of the constructor, or put in their place.
            data: a form: fields, or its text. A GET has it, like `json_data`, in the query.
            json_data: a JSON body.

        Raises:
            ValueError: another method.
            RequestBuildException: the request cannot be written; nothing was sent.
            TimeoutException: no complete answer within the timeout.
            SSLException: the TLS handshake failed, or the certificate was refused.
            ConnectionException: no connection, or one that broke.
            HttpClientException: the body is longer than 1 MiB, or not encoded as it says.
            DependencyException: the base URL is a value of a tenant, and there is none.
        """
        base_url = self._filled_base()
        if base_url is not self._base_url:
            check_transport(base_url, self._verify_ssl, require_tls=self._require_tls)
        url = endpoint_url(base_url, endpoint)
        sent = merged_headers(self._headers, headers or {})
        request = write_request(method_of(method), url, sent, data, json_data)
        if request.method is HttpMethod.GET:
            self._warn_of_secrets(names_in_query(request.url))
        return self._transport.send(
            request.method, request.url, request.headers or {}, request.data, self._timeout
        )

    def _whose(self) -> str:
        return type(self).__name__

    @property
    def _value_names(self) -> Iterable[str]:
        return values_in(self._base_url)

    def _filled_base(self) -> str:
        """The base URL, that of the tenant if it is a value."""
        if isinstance(self._base_url, str):
            return self._base_url
        return filled_base(self._base_url, self.name)

    def _warn_of_secrets(self, names: Iterable[str]) -> None:
        for name in sorted(names):
            if is_sensitive(name) and name not in self._warned_names:
                self._warned_names.add(name)
                _log.warning(
                    "%s sends %r in the query of a GET, where logs and proxies see it; use POST.",
                    self._whose(),
                    name,
                )


class EndpointFetcher(HttpTokenFetcher):
    """A step with one endpoint that gives its token; subclasses read it out of the answer.

    Args:
        scope: the arguments of the subclass's constructor by name, as `locals()` gives them there.
    """

    def __init__(self, scope: Mapping[str, Any]) -> None:
        arguments = {name: scope[name] for name in scope if name not in {"self", "__class__"}}
        self._name = _checked_name(arguments["name"])
        super().__init__(
            arguments["base_url"],
            arguments["timeout"],
            arguments["verify_ssl"],
            retry_strategy=arguments["retry_strategy"],
            require_tls=arguments["require_tls"],
        )
        whose = self._whose()
        self._method = method_of(arguments["method"], whose)
        self._endpoint: str | StepValue = arguments["endpoint"]
        self._request_headers = _copied("request_headers", arguments, whose)
        self._request_data = _copied("request_data", arguments, whose)
        self._ttl = _checked_ttl(arguments["ttl"], whose)
        self._depends_on = _checked_names(arguments["depends_on"], whose)
        self._arguments = arguments

    @property
    def name(self) -> str:
        """Name of the step."""
        return self._name

    @property
    def depends_on(self) -> list[str]:
        """Names of the steps that it was told to depend on, and of those that it refers to."""
        referred = (*steps_in(self._request_headers), *steps_in(self._request_data))
        return list(dict.fromkeys((*self._depends_on, *referred)))

    @property
    def ttl(self) -> timedelta | None:
        """How long a token is used, at most, from the start of its fetch; None: no limit."""
        return self._ttl

    def describe(self) -> Mapping[str, Any]:
        """The arguments of the constructor by name, and the endpoint's `url`; its `repr` masks."""
        facts = {
            **self._arguments,
            "method": self._method,
            "request_headers": deepcopy(self._request_headers),
            "request_data": deepcopy(self._request_data),
            "depends_on": list(self._depends_on),
            "url": endpoint_url(shown(self._base_url), shown(self._endpoint)),
        }
        # What was not given is not made up.
        facts.update({name: None for name, value in self._arguments.items() if value is None})
        return Description(facts)

    def fetch(self, context: Context = None) -> TokenData:
        """A new token from the endpoint.

        Args:
            context: the tokens of earlier steps by name.

        Raises:
            DependencyException: the request refers to a step whose token is not in the context, or
                to a value that the tenant lacks; nothing was sent.
            AuthenticationException: there was no answer, or none with a token; `service_name` is
                the name of the step.
        """
        headers = self._build_request_headers(context)
        data = self._build_request_data(context)
        outcome = self._outcome(headers, data, context)
        if isinstance(outcome, TokenData):
            return outcome
        raise no_token(self._name, outcome) from outcome

    def _build_request_headers(self, context: Context) -> dict[str, str]:
        """The headers to send: a new dict of `request_headers`, references filled in.

        Args:
            context: the tokens of earlier steps by name.

        Raises:
            DependencyException: the context lacks the token of a step that is referred to.
        """
        headers: dict[str, str] = fill(self._request_headers, context, self._name)
        return headers

    def _build_request_data(self, context: Context) -> dict[str, Any]:
        """The data to send: a copy of `request_data`, references filled in.

        Args:
            context: the tokens of earlier steps by name.

        Raises:
            DependencyException: the context lacks the token of a step that is referred to.
        """
        data: dict[str, Any] = fill(self._request_data, context, self._name)
        return data

    @property
    def _value_names(self) -> Iterable[str]:
        sent = (self._endpoint, self._request_headers, self._request_data)
        return (*super()._value_names, *values_in(sent))

    def _outcome(
        self, headers: Mapping[str, str], data: object, context: Context
    ) -> TokenData | HttpClientException | ValueError:
        try:
            request = HttpRequest(self._method, self._url(), headers=headers, data=data)
            response, sent_at = send_with_retries(
                lambda: self._send(headers, data), request, self._retry_strategy
            )
        except AuthenticationException:
            raise
        except HttpClientException as error:
            return error
        if not response.is_success:
            return status_error(response, self._secrets(headers, data, context))
        try:
            token = self._read_token(response, sent_at)
        except ValueError as error:
            return error
        return with_effective_expiry(token, self._ttl, sent_at)

    def _send(self, headers: Mapping[str, str], data: object) -> HttpResponse:
        return self._make_request(self._method, self._filled_endpoint(), headers=headers, data=data)

    @abstractmethod
    def _read_token(self, response: HttpResponse, sent_at: datetime) -> TokenData:
        """The token in a successful answer; ValueError if there is none."""

    def _secrets(
        self, headers: Mapping[str, str], data: object, context: Context
    ) -> frozenset[str]:
        sent = secrets_of(self._url(), merged_headers(self._headers, headers), data, context)
        return sent | secret_values()

    def _url(self) -> str:
        return endpoint_url(self._filled_base(), self._filled_endpoint())

    def _filled_endpoint(self) -> str:
        return filled_endpoint(self._endpoint, self._name)

    def _whose(self) -> str:
        return f"Step {self._name!r}"


def _check_timeout(timeout: object, whose: str) -> None:
    if (
        isinstance(timeout, bool)
        or not isinstance(timeout, int | float)
        or not 0 < timeout < math.inf
    ):
        raise ValueError(
            f"timeout of {whose} must be a finite number of seconds above 0, not {timeout!r}."
        )


def _check_verify(verify: object, whose: str) -> None:
    # requests takes whatever is false for False.
    if not isinstance(verify, bool | str):
        raise TypeError(
            f"verify_ssl of {whose} must be a bool or the path of a CA bundle, not "
            f"{type(verify).__name__}."
        )
    if verify == "":
        raise ValueError(
            f"verify_ssl of {whose} is an empty path; give that of a CA bundle, True or False."
        )


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"name of a step must be a string, not {type(name).__name__}.")
    if not name:
        raise ValueError("name of a step must not be empty.")
    return name


def _checked_ttl(ttl: object, whose: str) -> timedelta | None:
    if ttl is not None and not isinstance(ttl, timedelta):
        raise TypeError(f"ttl of {whose} must be a timedelta or None, not {type(ttl).__name__}.")
    if ttl is not None and ttl < timedelta(0):
        raise ValueError(f"ttl of {whose} must not be negative, but is {ttl}.")
    return ttl


def _checked_names(names: Iterable[str] | None, whose: str) -> list[str]:
    if isinstance(names, str):
        raise ValueError(  # noqa: TRY004 - as a pipeline has it
            f"depends_on of {whose} is the string {names!r}; write a list of names: [{names!r}]."
        )
    return list(names or ())


def _copied(argument: str, arguments: Mapping[str, Any], whose: str) -> dict[str, Any]:
    value = arguments[argument]
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{argument} of {whose} must be a mapping or None, not {type(value).__name__}."
        )
    return deepcopy(dict(value))
