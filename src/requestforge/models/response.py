"""An answer: with its whole body, or with one that is still to be read."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, cast

from requestforge._headers import Headers, retry_after
from requestforge._redaction import (
    NO_NAMES,
    also_sensitive,
    mask_body,
    mask_headers,
    mask_json,
    mask_object,
    mask_url,
)
from requestforge.exceptions import (
    HttpClientException,
    ResponseParseException,
    status_exception,
)
from requestforge.models.request import HttpRequest

__all__ = ["HttpResponse", "StreamResponse"]

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


class Body(Protocol):
    """A body that is read as it comes, and holds a connection until it is read or closed.

    It keeps the deadline of its exchange, and the size that a body may have.
    """

    def iter_bytes(self, chunk_size: int) -> Iterator[bytes]:
        """Its bytes in pieces, decoded as Content-Encoding says, which can be had once.

        Args:
            chunk_size: the most bytes of a piece; positive.

        Raises:
            TimeoutException: the time allowed for the exchange is over.
            ConnectionException: the connection broke.
            HttpClientException: the body is too long, not encoded as it says, read already, or
                closed.
        """
        ...

    def close(self) -> None:
        """Let go of the connection, whether all was read or not."""
        ...


class StreamResponse:
    """An answer whose body is read as it comes, within the block of `HttpClient.stream`.

    Args:
        response: the answer; its `content` is the body if `body` is None.
        body: what is still to be read.
    """

    __slots__ = ("_body", "_is_begun", "_response")

    def __init__(self, response: HttpResponse, body: Body | None = None) -> None:
        self._response = response
        self._body = body
        self._is_begun = False

    @property
    def status_code(self) -> int:
        """The status."""
        return self._response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, found by their names in any case."""
        return self._response.headers

    @property
    def url(self) -> str:
        """Where the answer came from, after redirects."""
        return self._response.url

    @property
    def request(self) -> HttpRequest:
        """What was asked for."""
        return self._response.request

    def iter_bytes(self, chunk_size: int = 65536) -> Iterator[bytes]:
        """The body in pieces, decoded as Content-Encoding says; once only, unless `read` was first.

        Args:
            chunk_size: bytes of a piece, at most.

        Raises:
            ValueError: `chunk_size` is not positive.
            TimeoutException: a piece did not come in time, or the total time is over.
            ConnectionException: the connection broke before the body was complete.
            HttpClientException: the body is longer than the client takes, is not encoded as it
                says, or was read before.
        """
        size: object = chunk_size
        if not isinstance(size, int) or size < 1:
            msg = f"chunk_size must be a positive number of bytes, not {chunk_size!r}."
            raise ValueError(msg)
        if self._body is None:
            content = self._response.content
            return (content[at : at + chunk_size] for at in range(0, len(content), chunk_size))
        if self._is_begun:
            msg = f"The body of the answer from {self.url} was read before: it comes once only."
            raise HttpClientException(msg)
        self._is_begun = True
        return self._body.iter_bytes(chunk_size)

    def read(self) -> HttpResponse:
        """The answer with its whole body.

        Raises:
            HttpClientException: as `iter_bytes`, of the same kinds.
        """
        if self._body is not None:
            content = b"".join(self.iter_bytes())
            self._response, self._body = replace(self._response, content=content), None
        return self._response

    def raise_for_status(self) -> Self:
        """This answer, unless its status is an error.

        Raises:
            HttpStatusException: the status is 400 or above; of the subclass that it has.
        """
        if self.status_code // 100 >= _CLIENT_ERROR:
            self.read().raise_for_status()
        return self

    def close(self) -> None:
        """Let go of the connection; what was not read is lost."""
        if self._body is not None:
            self._body.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._response!r})"


def mask_response(response: HttpResponse, extra: frozenset[str] = NO_NAMES) -> HttpResponse:
    """A copy without secrets in URL, headers, body and request."""
    return replace(
        response,
        url=mask_url(response.url, extra),
        headers=mask_headers(response.headers, extra),
        content=_masked_content(response.content, extra),
        request=cast("HttpRequest", mask_json(response.request, extra)),
    )


mask_object.register(HttpResponse, mask_response)


def _masked_content(content: bytes, extra: frozenset[str]) -> bytes:
    masked = mask_body(content, extra)
    return content if masked == content.decode("utf-8", "replace") else masked.encode()
