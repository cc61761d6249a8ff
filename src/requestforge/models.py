"""The values that requests and answers, and the steps of a token's making, are told in."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Self, cast

from requestforge._curl import curl_command
from requestforge._headers import Headers, retry_after
from requestforge._portable import describe, plain
from requestforge._redaction import (
    NO_NAMES,
    also_sensitive,
    mask_auth,
    mask_body,
    mask_files,
    mask_form,
    mask_headers,
    mask_json,
    mask_object,
    mask_url,
)
from requestforge.exceptions import ResponseParseException, status_exception
from requestforge.tokens import TokenData

__all__ = [
    "FetchContext",
    "HttpMethod",
    "HttpRequest",
    "HttpResponse",
    "RequestContext",
]

_PREVIEW = 500
_CHARSET = r"""(?i);\s*charset\s*=\s*"?([^\s;"]+)"""

# The first digit of a status (RFC 9110 section 15).
_SUCCESS = 2
_CLIENT_ERROR = 4
_SERVER_ERROR = 5

_PHRASES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    _CLIENT_ERROR: "Client Error",
    _SERVER_ERROR: "Server Error",
}


class HttpMethod(str, Enum):  # noqa: UP042 - a StrEnum has another str()
    """A method of HTTP (RFC 9110 section 9, RFC 5789); made from its name in any case."""

    GET = "GET"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"
    HEAD = "HEAD"
    OPTIONS = "OPTIONS"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if isinstance(value, str) and value.upper() in cls.__members__:
            return cls[value.upper()]
        known = ", ".join(cls.__members__)
        msg = f"{value!r} is not an HTTP method that can be sent; these are: {known}."
        raise ValueError(msg)


@dataclass(frozen=True, slots=True, repr=False)
class HttpRequest:
    """A request as the caller asks for it.

    Args:
        method: an HttpMethod, or its name in any case.
        url: absolute, or relative to the client's base URL.
        headers: headers of this request.
        params: query of the URL: a mapping, pairs, or encoded text.
        data: body: form fields, bytes, text or a stream.
        json_data: body as a JSON value; `data` has precedence.
        files: parts of a multipart body, as `requests` takes them.
        timeout: seconds, or a pair of seconds to connect and to read.
        auth: a pair of user and password, or any auth object of `requests`.

    Raises:
        ValueError: unknown method.
    """

    method: HttpMethod
    url: str
    headers: Mapping[str, str] | None = None
    params: Any = None
    data: Any = None
    json_data: Any = None
    files: Any = None
    timeout: float | tuple[float | None, float | None] | None = None
    auth: Any = None

    if TYPE_CHECKING:
        # What the generated constructor takes for `method` is wider than what the field holds.
        def __init__(  # noqa: PLR0917 - the order is part of the API
            self,
            method: HttpMethod | str,
            url: str,
            headers: Mapping[str, str] | None = None,
            params: object = None,
            data: object = None,
            json_data: object = None,
            files: object = None,
            timeout: float | tuple[float | None, float | None] | None = None,
            auth: object = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        if type(self.method) is not HttpMethod:
            object.__setattr__(self, "method", HttpMethod(self.method))

    def with_headers(self, headers: Mapping[str, str]) -> Self:
        """A copy with these headers in place of any of the same names in any case."""
        new = {name.lower() for name in headers}
        kept = {n: value for n, value in (self.headers or {}).items() if n.lower() not in new}
        return replace(self, headers={**kept, **headers})

    def with_json_data(self, json_data: object) -> Self:
        """A copy with this JSON body."""
        return replace(self, json_data=json_data)

    def get(self, name: str, default: object = None) -> Any:  # noqa: ANN401 - as the fields are
        """The field of this name, or the default if there is none."""
        return getattr(self, name) if name in _REQUEST_FIELDS else default

    def to_dict(self) -> dict[str, Any]:
        """The nine fields by name, with their secrets."""
        return {name: getattr(self, name) for name in _REQUEST_FIELDS}

    def to_curl(self, mask_secrets: bool = False) -> str:
        """This request as one curl command, quoted for a POSIX shell.

        Warning:
            It shows passwords, tokens and other secrets, unless `mask_secrets` is set.
        """
        shown = (mask_request(self) if mask_secrets else self).to_dict()
        return curl_command(shown.pop("method").value, shown.pop("url"), **shown)

    def __hash__(self) -> int:
        return hash((self.method, self.url))

    def __repr__(self) -> str:
        masked = mask_request(self).to_dict()
        shown = (f"{name}={value!r}" for name, value in masked.items() if value is not None)
        return f"{type(self).__name__}({', '.join(shown)})"


_REQUEST_FIELDS = tuple(field.name for field in fields(HttpRequest))


@dataclass(frozen=True, slots=True, repr=False)
class HttpResponse:
    """An answer with its whole body.

    Args:
        status_code: the status.
        headers: kept as a read-only mapping that finds names in any case.
        content: the body, decoded as Content-Encoding says.
        elapsed_ms: milliseconds from sending to the answer.
        url: where the answer came from, after redirects.
        request: what was asked for.
        encoding: charset of the body, if known.
    """

    status_code: int
    headers: Mapping[str, str]
    content: bytes
    elapsed_ms: float
    url: str
    request: HttpRequest
    encoding: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.headers, Headers):
            object.__setattr__(self, "headers", Headers(self.headers or {}))

    @property
    def text(self) -> str:
        """The body in its charset, else in UTF-8; bytes that are none in it are replaced."""
        try:
            return self.content.decode(self._charset() or "utf-8", "replace")
        except (LookupError, ValueError):  # a charset that Python does not know, or no charset
            return self.content.decode("utf-8", "replace")

    @property
    def is_success(self) -> bool:
        """Whether the status is a 2xx."""
        return self.status_code // 100 == _SUCCESS

    @property
    def is_client_error(self) -> bool:
        """Whether the status is a 4xx."""
        return self.status_code // 100 == _CLIENT_ERROR

    @property
    def is_server_error(self) -> bool:
        """Whether the status is a 5xx."""
        return self.status_code // 100 == _SERVER_ERROR

    def json(self) -> Any:  # noqa: ANN401 - the JSON boundary
        """The body as JSON, in UTF-8, UTF-16 or UTF-32 (RFC 8259 section 8.1, RFC 4627 section 3).

        Raises:
            ResponseParseException: the body is no JSON; its `context["content_preview"]` has up
                to 500 characters of it.
        """
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError) as error:
            msg = f"The answer from {self.url} is not readable as JSON."
            preview = {"content_preview": self.text[:_PREVIEW]}
            with also_sensitive(self._names):
                raise ResponseParseException(msg, error, preview) from error

    def json_or_none(self) -> Any:  # noqa: ANN401 - the JSON boundary
        """The body as JSON, or None if it is none."""
        try:
            return self.json()
        except ResponseParseException:
            return None

    def raise_for_status(self) -> Self:
        """This answer, unless its status is an error.

        Raises:
            HttpStatusException: the status is 400 or above; of the subclass that it has.
        """
        if self.status_code // 100 < _CLIENT_ERROR:
            return self
        kind = _PHRASES.get(self.status_code) or _PHRASES.get(self.status_code // 100, "Error")
        msg = f"{kind}: {self.url} answered with status {self.status_code}."
        with also_sensitive(self._names):
            error = status_exception(self.status_code, msg, self.text)
        error.response = self
        error.retry_after = retry_after(self.headers)
        raise error

    @property
    def _names(self) -> frozenset[str]:
        """The sensitive names of the client that got it, beyond the built-in ones."""
        return cast("Headers", self.headers).names

    def _charset(self) -> str | None:
        if self.encoding:
            return self.encoding
        match = re.search(_CHARSET, self.headers.get("content-type", ""))
        return match[1] if match else None

    def __repr__(self) -> str:
        with also_sensitive(self._names):
            return (
                f"{type(self).__name__}(status_code={self.status_code!r}, "
                f"headers={self.headers!r}, content=<{len(self.content)} bytes>, "
                f"elapsed_ms={self.elapsed_ms!r}, url={mask_url(self.url)!r}, "
                f"request={self.request!r}, encoding={self.encoding!r})"
            )


@dataclass(slots=True, repr=False)
class RequestContext:
    """One request on its way, as hooks and strategies see it.

    Args:
        request: what is sent.
        attempt: number of this attempt, from 0.
        max_retries: how many retries there may be.
        metadata: notes of hooks and of the client.
        id: the same for all attempts.
        deadline: monotonic seconds at which the request has to be answered; None: no such end.
        history: the failures of the attempts so far.
    """

    request: HttpRequest
    attempt: int = 0
    max_retries: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: os.urandom(8).hex())
    deadline: float | None = None
    history: list[BaseException] = field(default_factory=list)

    def increment_attempt(self) -> None:
        """Count one attempt."""
        self.attempt += 1

    @property
    def is_retry(self) -> bool:
        """Whether an attempt was made before this one."""
        return self.attempt > 0

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(request={self.request!r}, attempt={self.attempt!r}, "
            f"max_retries={self.max_retries!r}, metadata={mask_json(self.metadata)!r}, "
            f"id={self.id!r}, deadline={self.deadline!r}, "
            f"history={[describe(error) for error in self.history]!r})"
        )


@dataclass(slots=True, repr=False)
class FetchContext:
    """The tokens of earlier steps by name, and notes.

    Args:
        tokens: token by step.
        metadata: notes.
    """

    tokens: dict[str, TokenData] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def get_token(self, name: str) -> TokenData | None:
        """The token of a step, or None."""
        return self.tokens.get(name)

    def get_token_value(self, name: str) -> str | None:
        """The access token of a step, or None."""
        token = self.tokens.get(name)
        return None if token is None else token.access_token

    def add_token(self, name: str, token: TokenData) -> None:
        """Keep the token of a step."""
        self.tokens[name] = token

    def has_token(self, name: str) -> bool:
        """Whether the step has a token."""
        return name in self.tokens

    def has_valid_token(self, name: str) -> bool:
        """Whether the step has a token that is not expired."""
        token = self.tokens.get(name)
        return token is not None and not token.is_expired

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(tokens={self.tokens!r}, metadata={mask_json(self.metadata)!r})"
        )


def mask_request(request: HttpRequest, extra: frozenset[str] = NO_NAMES) -> HttpRequest:
    """A copy of plain values without secrets; streams, files and auth objects are left out."""
    # Both may be of a wrong type, of which an error then tells.
    url: Any = request.url
    headers: Any = request.headers
    shown: dict[str, Any] = {
        "url": mask_url(url, extra) if isinstance(url, str) else plain(url),
        "headers": (mask_headers if isinstance(headers, Mapping) else mask_json)(headers, extra),
    }
    return replace(
        request,
        **shown,
        params=plain(mask_form(request.params, extra)),
        data=_masked_data(request.data, extra),
        json_data=plain(mask_json(request.json_data, extra)),
        files=mask_files(request.files),
        auth=mask_auth(request.auth),
    )


def mask_response(response: HttpResponse, extra: frozenset[str] = NO_NAMES) -> HttpResponse:
    """A copy without secrets in URL, headers, body and request."""
    return replace(
        response,
        url=mask_url(response.url, extra),
        headers=mask_headers(response.headers, extra),
        content=_masked_content(response.content, extra),
        request=cast("HttpRequest", mask_json(response.request, extra)),
    )


mask_object.register(HttpRequest, mask_request)
mask_object.register(HttpResponse, mask_response)


@mask_object.register
def _mask_token(token: TokenData, _extra: frozenset[str] = NO_NAMES) -> str:
    return repr(token)


def _masked_data(data: object, extra: frozenset[str]) -> object:
    if isinstance(data, str | bytes):
        return mask_body(data, extra)
    if data is None or isinstance(data, Mapping | list | tuple):
        return plain(mask_form(data, extra))
    return f"<{type(data).__name__}>"


def _masked_content(content: bytes, extra: frozenset[str]) -> bytes:
    masked = mask_body(content, extra)
    return content if masked == content.decode("utf-8", "replace") else masked.encode()
