"""The errors of the library, one root for all, and its one warning."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol, Self, cast

from requestforge._portable import PortableException, describe
from requestforge._redaction import (
    also_sensitive,
    mask_body,
    mask_json,
    mask_text,
    names_also_sensitive,
)

__all__ = [
    "AuthenticationException",
    "BadRequestException",
    "CapacityException",
    "CircuitOpenException",
    "ConnectionException",
    "DependencyException",
    "ForbiddenException",
    "HttpClientException",
    "HttpStatusException",
    "InsecureTransportWarning",
    "MaxRetryConnectionException",
    "MaxRetryException",
    "MaxRetryTimeoutException",
    "NotFoundException",
    "RequestBuildException",
    "ResponseParseException",
    "SSLException",
    "ServerErrorException",
    "TimeoutException",
    "TokenRefreshException",
    "TokenStorageException",
    "UnauthorizedException",
]

# The first digit of a status (RFC 9110 section 15).
_CLIENT_ERROR = 4
_SERVER_ERROR = 5


class HttpClientException(PortableException):
    """Root of all errors of the library.

    It can be pickled and copied with its attributes and its cause. Credentials that can be told in
    the message or the context are masked on construction, those of an original exception in `str`
    and in a pickle.

    Args:
        message: what happened, where, and what to do.
        original_exception: the exception that this one wraps.
        context: further data on the failure; kept as a copy.
    """

    def __init__(
        self,
        message: str,
        original_exception: BaseException | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        self.message: str = mask_text(str(message))
        super().__init__(self.message)
        self.original_exception = original_exception
        self.context: dict[str, Any] = cast("dict[str, Any]", mask_json(context or {}))
        names = names_also_sensitive()
        if names:
            self._names = names

    def __str__(self) -> str:
        if self.original_exception is None:
            return self.message
        with also_sensitive(self._names):
            return f"{self.message} | Original: {describe(self.original_exception)}"

    def __copy__(self) -> Self:
        twin = super().__copy__()
        twin.context = dict(self.context)
        return twin


class TimeoutException(HttpClientException):
    """No answer within the time allowed."""


class ConnectionException(HttpClientException):
    """The connection could not be made, or broke."""


class SSLException(ConnectionException):
    """The TLS handshake failed, or the peer's certificate was refused."""


class ResponseParseException(HttpClientException):
    """A body is not what it was read as; `context["content_preview"]` shows its start."""


class RequestBuildException(HttpClientException):
    """The request is malformed, or a hook failed to prepare it; nothing was sent."""


class TokenStorageException(HttpClientException):
    """A token storage failed to delete what an invalidation had given up."""


class CapacityException(HttpClientException):
    """No room under a rate limit or bulkhead within the longest wait; nothing was sent."""


class MaxRetryException(HttpClientException):
    """The retries are used up; the last failure is the cause.

    Args:
        message: what happened.
        attempts: the first try and all retries.
        original_exception: the failure of the last attempt.
        context: further data on the failure.

    Attributes:
        history: the failures of all attempts, the first one first.
    """

    def __init__(
        self,
        message: str,
        attempts: int,
        original_exception: BaseException | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, original_exception, context)
        self.attempts = attempts
        self.history: tuple[BaseException, ...] = ()


class MaxRetryTimeoutException(MaxRetryException, TimeoutException):
    """The retries are used up, and the last attempt timed out."""


class MaxRetryConnectionException(MaxRetryException, ConnectionException):
    """The retries are used up, and the last attempt got no connection."""


class CircuitOpenException(HttpClientException):
    """The circuit of an origin is open; nothing was sent.

    Args:
        message: what happened.
        original_exception: the exception that this one wraps.
        context: further data on the failure.
        origin: scheme, host and port that the circuit guards.
        retry_after: seconds to the next probe.
    """

    def __init__(
        self,
        message: str,
        original_exception: BaseException | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        origin: str = "",
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(message, original_exception, context)
        self.origin = origin
        self.retry_after = retry_after


class AuthenticationException(HttpClientException):
    """No token could be had.

    Args:
        message: what happened; of a server's answer at most the status and the RFC 6749 fields
            `error` and `error_description`.
        original_exception: the exception that this one wraps.
        context: further data on the failure.
        service_name: the service, or the step of a pipeline, that failed.

    Attributes:
        retry_at: the instant (aware UTC) before which no new fetch is tried; None: no such instant.
    """

    def __init__(
        self,
        message: str,
        original_exception: BaseException | None = None,
        context: Mapping[str, Any] | None = None,
        service_name: str | None = None,
    ) -> None:
        super().__init__(message, original_exception, context)
        self.service_name = service_name
        self.retry_at: datetime | None = None


class TokenRefreshException(AuthenticationException):
    """A refresh token was refused, and what is left needs a user."""


class DependencyException(AuthenticationException, ValueError):
    """A step has to be fetched without the token of a step that it depends on."""


class StatusResponse(Protocol):
    """What the error of an answer shows of it: the members of an HttpResponse."""

    @property
    def status_code(self) -> int:
        """The status."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, by names in any case."""
        ...

    @property
    def content(self) -> bytes:
        """The body."""
        ...

    @property
    def text(self) -> str:
        """The body as text."""
        ...

    @property
    def url(self) -> str:
        """Where the answer came from."""
        ...

    def json(self) -> Any:  # noqa: ANN401 - the JSON boundary
        """The body as JSON."""
        ...


class HttpStatusException(HttpClientException):
    """An answer with an error status.

    Args:
        message: what happened.
        status_code: the status of the answer.
        response_body: the body's text; it is never part of `str`.
        original_exception: the exception that this one wraps.
        context: further data on the failure.

    Attributes:
        response: the answer, where there is one to show.
        retry_after: seconds that the server asks to wait (Retry-After), or None.
    """

    def __init__(
        self,
        message: str,
        status_code: int,
        response_body: str | None = None,
        original_exception: BaseException | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, original_exception, context)
        self.status_code = status_code
        self.response_body = response_body
        self.response: StatusResponse | None = None
        self.retry_after: float | None = None

    @property
    def is_client_error(self) -> bool:
        """Whether the status is a 4xx."""
        return self.status_code // 100 == _CLIENT_ERROR

    @property
    def is_server_error(self) -> bool:
        """Whether the status is a 5xx."""
        return self.status_code // 100 == _SERVER_ERROR

    def _masked_state(self) -> dict[str, object]:
        state = super()._masked_state()
        if self.response_body is not None:
            state["response_body"] = mask_body(self.response_body)
        return state


class BadRequestException(HttpStatusException):
    """Status 400."""

    def __init__(
        self,
        message: str = "Bad Request",
        response_body: str | None = None,
        original_exception: BaseException | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, 400, response_body, original_exception, context)


class UnauthorizedException(HttpStatusException):
    """Status 401."""

    def __init__(
        self,
        message: str = "Unauthorized",
        response_body: str | None = None,
        original_exception: BaseException | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, 401, response_body, original_exception, context)


class ForbiddenException(HttpStatusException):
    """Status 403."""

    def __init__(
        self,
        message: str = "Forbidden",
        response_body: str | None = None,
        original_exception: BaseException | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, 403, response_body, original_exception, context)


class NotFoundException(HttpStatusException):
    """Status 404."""

    def __init__(
        self,
        message: str = "Not Found",
        response_body: str | None = None,
        original_exception: BaseException | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, 404, response_body, original_exception, context)


class ServerErrorException(HttpStatusException):
    """A status from 500 to 599."""

    def __init__(
        self,
        message: str = "Server Error",
        status_code: int = 500,
        response_body: str | None = None,
        original_exception: BaseException | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, status_code, response_body, original_exception, context)


class InsecureTransportWarning(UserWarning):
    """Credentials travel over a transport that others can read or change."""


def status_exception(
    status_code: int, message: str, response_body: str | None = None
) -> HttpStatusException:
    """The error for an answer of this status, of the class that the status has."""
    kind = _BY_STATUS.get(status_code)
    if kind is not None:
        return kind(message, response_body)
    if status_code // 100 == _SERVER_ERROR:
        return ServerErrorException(message, status_code, response_body)
    return HttpStatusException(message, status_code, response_body)


_BY_STATUS: dict[int, Callable[[str, str | None], HttpStatusException]] = {
    400: BadRequestException,
    401: UnauthorizedException,
    403: ForbiddenException,
    404: NotFoundException,
}
