"""A request as the caller asks for it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

from requestforge._curl import curl_command
from requestforge._portable import plain
from requestforge._redaction import (
    NO_NAMES,
    mask_auth,
    mask_body,
    mask_files,
    mask_form,
    mask_headers,
    mask_json,
    mask_object,
    mask_url,
)

__all__ = ["HttpMethod", "HttpRequest", "mask_request"]

# The search for secrets takes 0.2 s for each million: an error must not wait for that.
_LONGEST_SHOWN = 131_072


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

    def with_headers(self, headers: Mapping[str, str]) -> "HttpRequest":
        """A copy with these headers in place of any of the same names in any case."""
        kept = self.headers or {}
        if kept:
            new = {name.lower() for name in headers}
            kept = {name: value for name, value in kept.items() if name.lower() not in new}
        return with_others(self, {**kept, **headers}, self.json_data)

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


def with_others(
    request: HttpRequest, headers: Mapping[str, str] | None, json_data: object
) -> HttpRequest:
    """A copy with these headers and this JSON body in place of its own."""
    if type(request) is not HttpRequest:
        return replace(request, headers=headers, json_data=json_data)
    # What `replace` does, in half the time; clients make such copies for each request.
    return HttpRequest(
        request.method,
        request.url,
        headers,
        request.params,
        request.data,
        json_data,
        request.files,
        request.timeout,
        request.auth,
    )


def mask_request(request: HttpRequest, extra: frozenset[str] = NO_NAMES) -> HttpRequest:
    """A copy without secrets; streams, files, auth objects and long bodies are left out."""
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


mask_object.register(HttpRequest, mask_request)


def _masked_data(data: object, extra: frozenset[str]) -> object:
    if isinstance(data, str | bytes):
        is_short = len(data) <= _LONGEST_SHOWN
        return mask_body(data, extra) if is_short else f"<{type(data).__name__}, {len(data)} long>"
    if data is None or isinstance(data, Mapping | list | tuple):
        return plain(mask_form(data, extra))
    return f"<{type(data).__name__}>"
