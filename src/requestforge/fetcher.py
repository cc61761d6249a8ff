"""Steps that get their token by HTTP, from the body or from a header of the answer."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from requestforge._references import StepValue
from requestforge._token_endpoint.replies import token_in_body, token_in_header
from requestforge._token_endpoint.requests import FORM, JSON, is_token
from requestforge._token_endpoint.steps import EndpointFetcher, HttpTokenFetcher
from requestforge.interfaces import RetryStrategyInterface
from requestforge.models import HttpMethod, HttpResponse
from requestforge.tokens import AnswerKeys, TokenData

__all__ = ["BodyTokenFetcher", "HeaderTokenFetcher", "HttpTokenFetcher"]

_FORMS = frozenset({"form", FORM})
_JSONS = frozenset({"json", JSON})


class HeaderTokenFetcher(EndpointFetcher):
    """A step whose token is in a header of the answer.

    Args:
        name: name of the step, unique in its pipeline.
        base_url: absolute http or https URL, or a StepValue for it or a part of it.
        endpoint: path below it, or a StepValue.
        method: GET or POST.
        request_headers: headers to send; values may be a StepToken or a StepValue.
        request_data: data to send, as a form, or by GET in the query; values may be, or hold, a
            StepToken or a StepValue.
        token_header: name of the header with the token.
        token_type: type of the token, taken away where the header's value starts with it.
        ttl: how long a token is used, at most, from sending; None: until it is invalidated.
        timeout: seconds for one attempt, from connecting to the last byte of the answer.
        verify_ssl: whether to verify certificates, or the path of a CA bundle.
        depends_on: names of the steps whose tokens the fetch needs, beside those referred to.
        retry_strategy: when a failed attempt is made again; None: never.
        require_tls: whether http to other machines and unverified certificates, which are else
            warned of, are refused.

    Raises:
        ValueError: an argument that cannot be used; it names the step and the argument.
        TypeError: a `ttl` that is no timedelta, or an argument of a type that cannot be used.
    """

    def __init__(  # noqa: PLR0917 - a published signature
        self,
        name: str,
        base_url: str | StepValue,
        endpoint: str | StepValue,
        method: HttpMethod | str = HttpMethod.POST,
        request_headers: Mapping[str, Any] | None = None,
        request_data: Mapping[str, Any] | None = None,
        token_header: str = "Authorization",
        token_type: str = "Bearer",
        ttl: timedelta | None = None,
        timeout: float = 30.0,
        verify_ssl: bool | str = True,
        depends_on: Iterable[str] | None = None,
        *,
        retry_strategy: RetryStrategyInterface | None = None,
        require_tls: bool = False,
    ) -> None:
        super().__init__(locals())
        if not is_token(token_header):
            raise ValueError(
                f"token_header of {self._whose()} is {token_header!r}, "
                "which is no name of a header."
            )
        _check_type("token_type", token_type, self._whose())
        self._token_header = token_header
        self._token_type = token_type

    def _read_token(self, response: HttpResponse, sent_at: datetime) -> TokenData:
        """The token in the header."""
        return token_in_header(response, self._token_header, self._token_type, sent_at=sent_at)


class BodyTokenFetcher(EndpointFetcher):
    """A step whose token is in the JSON body of the answer (RFC 6749 section 5.1).

    A `..._field` is a key of the body's object, or keys joined by points: `data.tokens.access`.

    Args:
        name: name of the step, unique in its pipeline.
        base_url: absolute http or https URL, or a StepValue for it or a part of it.
        endpoint: path below it, or a StepValue.
        method: GET or POST.
        request_headers: headers to send; values may be a StepToken or a StepValue.
        request_data: data to send; values may be, or hold, a StepToken or a StepValue.
        content_type: how a POST sends them: "form" or "json", or the media type of either.
        token_field: field of the access token.
        token_type_field: field of its type.
        expires_in_field: field of its lifetime in seconds.
        refresh_token_field: field of the refresh token.
        default_token_type: type of a token where the answer has none.
        ttl: how long a token is used, at most, from sending; None: as long as the server says,
            else until it is invalidated.
        timeout: seconds for one attempt, from connecting to the last byte of the answer.
        verify_ssl: whether to verify certificates, or the path of a CA bundle.
        depends_on: names of the steps whose tokens the fetch needs, beside those referred to.
        retry_strategy: when a failed attempt is made again; None: never.
        require_tls: whether http to other machines and unverified certificates, which are else
            warned of, are refused.

    Raises:
        ValueError: an argument that cannot be used; it names the step and the argument.
        TypeError: a `ttl` that is no timedelta, or an argument of a type that cannot be used.
    """

    def __init__(  # noqa: PLR0917 - a published signature
        self,
        name: str,
        base_url: str | StepValue,
        endpoint: str | StepValue,
        method: HttpMethod | str = HttpMethod.POST,
        request_headers: Mapping[str, Any] | None = None,
        request_data: Mapping[str, Any] | None = None,
        content_type: str = "form",
        token_field: str = "access_token",
        token_type_field: str | None = "token_type",
        expires_in_field: str | None = "expires_in",
        refresh_token_field: str | None = "refresh_token",
        default_token_type: str = "Bearer",
        ttl: timedelta | None = None,
        timeout: float = 30.0,
        verify_ssl: bool | str = True,
        depends_on: Iterable[str] | None = None,
        *,
        retry_strategy: RetryStrategyInterface | None = None,
        require_tls: bool = False,
    ) -> None:
        super().__init__(locals())
        kind = str(content_type).lower()
        if kind not in _FORMS | _JSONS:
            raise ValueError(
                f"content_type of {self._whose()} must be 'form' or 'json', not {content_type!r}."
            )
        _check_type("default_token_type", default_token_type, self._whose())
        self._sends_json = kind in _JSONS
        self._keys = AnswerKeys(
            token_field, token_type_field, expires_in_field, refresh_token_field
        )
        self._default_type = default_token_type

    def _read_token(self, response: HttpResponse, sent_at: datetime) -> TokenData:
        """The token in the body."""
        return token_in_body(response, self._keys, sent_at=sent_at, default_type=self._default_type)

    def _send(self, headers: Mapping[str, str], data: object) -> HttpResponse:
        if self._sends_json:
            return self._make_request(
                self._method, self._filled_endpoint(), headers=headers, json_data=data
            )
        return super()._send(headers, data)


def _check_type(argument: str, value: object, whose: str) -> None:
    if value != "" and not is_token(value):
        raise ValueError(
            f"{argument} of {whose} is {value!r}, which is no scheme of an Authorization header."
        )
