"""Requests to token endpoints: how they are written, and what in them is secret."""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, quote_plus, unquote, unquote_plus, urlencode, urlsplit

from requestforge._redaction import is_sensitive
from requestforge._references import StepToken, StepValue
from requestforge.exceptions import RequestBuildException
from requestforge.models import HttpMethod, HttpRequest
from requestforge.tokens import TokenData

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

_METHODS = (HttpMethod.GET, HttpMethod.POST)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
# Latin-1 without control characters, and without blanks at its ends (RFC 9110 section 5.5).
_HEADER_VALUE = re.compile(r"(?! )[\x20-\x7e\xa0-\xff]*(?<! )")

# Names of what is sent along with secrets, but is none itself.
_PUBLIC = frozenset(
    {
        "accept",
        "accept-language",
        "audience",
        "client_assertion_type",
        "client_id",
        "content-type",
        "grant_type",
        "requested_token_type",
        "resource",
        "response_type",
        "scope",
        "subject_token_type",
        "user-agent",
    }
)
_SHORTEST_SECRET = 8
_PAIR = 2


def is_token(value: object) -> bool:
    """Whether the value may be the name of a header or of an authentication scheme."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def method_of(value: object, whose: str = "a token request") -> HttpMethod:
    """The method, given as an HttpMethod or by its name in any case.

    Raises:
        ValueError: it is neither GET nor POST.
    """
    name = value.upper() if isinstance(value, str) else value
    if name not in _METHODS:
        raise ValueError(f"method of {whose} must be GET or POST, not {value!r}.")
    return HttpMethod(name)


def endpoint_url(base_url: str, endpoint: str) -> str:
    """The endpoint's URL, which is below the base URL whatever the endpoint looks like."""
    return f"{base_url.rstrip('/')}/{endpoint.lstrip('/')}" if endpoint else base_url


def write_request(
    method: HttpMethod,
    url: str,
    headers: Mapping[str, str],
    data: Any = None,  # noqa: ANN401 - what users give for a form or a JSON value
    json_data: Any = None,  # noqa: ANN401
) -> HttpRequest:
    """The request as it is sent, its body encoded; the data of a GET are in the query.

    Raises:
        RequestBuildException: a header, or the data, cannot be sent.
    """
    _check_headers(headers)
    if data and json_data:
        raise RequestBuildException("A request has one body: give `data` or `json_data`, not both.")
    if method is HttpMethod.GET:
        return HttpRequest(method, _with_query(url, _form(data or json_data)), headers=headers)
    body, media_type = (_json(json_data), JSON) if json_data else (_form(data), FORM)
    if body and not any(name.lower() == "content-type" for name in headers):
        headers = {**headers, "Content-Type": media_type}
    return HttpRequest(method, url, headers=headers, data=body or None)


def names_in_query(url: str) -> set[str]:
    """The names of the fields in a URL's query."""
    return {name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}


def merged_headers(*parts: Mapping[str, str]) -> dict[str, str]:
    """All the headers; of those with the same name in any case, the last."""
    merged = {str(name).lower(): (name, value) for part in parts for name, value in part.items()}
    return dict(merged.values())


def basic_credentials(user: str, password: str) -> str:
    """The Authorization header of a client (RFC 6749 section 2.3.1: both parts form-encoded).

    Raises:
        RequestBuildException: a part is no Unicode text.
    """
    with suppress(UnicodeError):
        pair = f"{quote_plus(user)}:{quote_plus(password)}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
    # Outside of the handler: that error quotes the secret.
    raise RequestBuildException("The client's id or its secret is text that is not Unicode.")


def secrets_of(
    url: str,
    headers: Mapping[str, str],
    data: object = None,
    context: Mapping[str, TokenData] | None = None,
) -> frozenset[str]:
    """What a message about the answer to such a request must not repeat."""
    parts = urlsplit(url)
    found = {
        *_secrets_in(headers),
        *_secrets_in(_fields(data)),
        *_secrets_in(_fields(parts.query)),
    }
    found |= {unquote(part) for part in (parts.username, parts.password) if part}
    for token in (context or {}).values():
        found |= {token.access_token, token.refresh_token or ""}
    return frozenset(found - {""})


def _check_headers(headers: Mapping[Any, Any]) -> None:
    for name, value in headers.items():
        if not is_token(name):
            raise RequestBuildException(f"{name!r} is no name of a header (RFC 9110).")
        if not isinstance(value, str):
            kind = type(value).__name__
            raise RequestBuildException(f"The header {name!r} must be a string, not {kind}.")
        if not _HEADER_VALUE.fullmatch(value):
            # The value is not shown: it may be a token.
            raise RequestBuildException(
                f"The header {name!r} holds a control character, a character beyond Latin-1, or "
                "blanks at its ends."
            )


def _with_query(url: str, query: str | bytes) -> str:
    text = query.decode("latin-1") if isinstance(query, bytes) else query
    url, _, _ = url.partition("#")
    return f"{url}{'&' if '?' in url else '?'}{text}" if text else url


def _form(data: Any) -> str | bytes:  # noqa: ANN401
    if not data or isinstance(data, str | bytes):
        return data or ""
    fields = []
    for name, value in _pairs(data):
        items = value if isinstance(value, list | tuple | set | frozenset) else (value,)
        fields += [(name, _scalar(name, item)) for item in items if item is not None]
    with suppress(UnicodeError):
        return urlencode(fields)
    # Outside of the handler: that error quotes the data.
    raise RequestBuildException("The request data hold text that is not Unicode.")


def _pairs(data: Any) -> list[tuple[str, Any]]:  # noqa: ANN401
    pairs = data.items() if isinstance(data, Mapping) else data
    with suppress(TypeError, ValueError):
        return [(name, value) for name, value in pairs]
    raise RequestBuildException(
        f"The request data are a {type(data).__name__}; a form or a query takes a mapping, pairs, "
        "or text."
    )


def _scalar(name: str, value: object) -> str | bytes:
    if isinstance(value, Mapping | list | tuple | StepToken | StepValue):
        raise RequestBuildException(
            f"The field {name!r} is a {type(value).__name__}, which a form or a query cannot hold: "
            "send it as JSON."
        )
    return value if isinstance(value, str | bytes) else str(value)


def _json(data: object) -> bytes:
    reason = ""
    try:
        return json.dumps(data, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        reason = type(error).__name__
    # Outside of the handler: that error may quote the data.
    raise RequestBuildException(f"The request data cannot be written as JSON ({reason}).")


def _fields(data: object) -> object:
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    return parse_qsl(text, keep_blank_values=True) if isinstance(text, str) else data


def _secrets_in(value: object, name: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _secrets_in(item, str(key))
    elif isinstance(value, tuple) and len(value) == _PAIR:  # a field of a form given as pairs
        yield from _secrets_in(value[1], str(value[0]))
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _secrets_in(item, name)
    elif isinstance(value, str | int):
        text = str(value)
        if is_sensitive(name):
            yield text
            yield from _parts_of_credentials(text)
        elif len(text) >= _SHORTEST_SECRET and name.lower() not in _PUBLIC:
            yield text


def _parts_of_credentials(value: str) -> Iterator[str]:
    """What follows the scheme of an Authorization header, and the password in it."""
    scheme, _, rest = value.partition(" ")
    yield rest
    if scheme.lower() == "basic":
        with suppress(binascii.Error, UnicodeError):
            password = base64.b64decode(rest).decode().partition(":")[2]
            yield password
            yield unquote_plus(password)
