"""How the calls of a test become what an endpoint demands."""

import json
import re
from collections.abc import Container, Mapping
from datetime import timedelta
from urllib.parse import SplitResult, urlsplit

from pytest_requestforge.fake_auth.checks import Carries
from pytest_requestforge.fake_auth.endpoints import Server, TokenEndpoint

LONGEST = timedelta(days=1_000_000)
"""The longest life of a token, so that its end is a date."""

_BEARER = "Bearer "
# RFC 9110 section 5.1
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def located(at: str, base: SplitResult) -> tuple[str, SplitResult]:
    """Method and URL of an endpoint given as "METHOD /path" or "METHOD https://host/path".

    Raises:
        ValueError: it has another form, or a query.
    """
    method, _, place = at.partition(" ")
    url = base.geturl().rstrip("/") + place if place.startswith("/") else place
    if not method.isalpha() or not url or "?" in url:
        raise ValueError(
            f"An endpoint is given as 'METHOD /path' or 'METHOD https://host/path', without a "
            f"query, not as {at!r}."
        )
    return method.upper(), http_url(url)


def http_url(url: str) -> SplitResult:
    """The parts of an absolute URL.

    Raises:
        ValueError: it is no http(s) URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"A URL of a fake auth server is http(s)://host/path, not {url!r}.")
    return parts._replace(path=_without_dots(parts.path) or "/")


def step_name(name: str, taken: Container[str]) -> str:
    """The name of a further token endpoint.

    Raises:
        ValueError: it is empty or taken.
    """
    if not name:
        raise ValueError("A token endpoint needs a name, that of its step; this one is empty.")
    if name in taken:
        raise ValueError(f"There is a token endpoint {name!r} already; choose another name.")
    return name


def json_value(value: object) -> object:
    """The value, which can be the body of an answer.

    Raises:
        TypeError: JSON cannot hold it.
    """
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"json= is the body of the answer, which it cannot be: {error}.") from error
    return value


def lifetime(expires_in: float | timedelta | None) -> timedelta | None:
    """The life of a token, given in seconds or as timedelta.

    Raises:
        TypeError: it is neither.
        ValueError: it is negative, or leads beyond all dates.
    """
    if expires_in is None:
        return None
    if not isinstance(expires_in, int | float | timedelta):
        raise TypeError(
            f"expires_in is a number of seconds or a timedelta, not {type(expires_in).__name__}."
        )
    given = expires_in if isinstance(expires_in, timedelta) else _duration(expires_in)
    if given < timedelta(0):
        raise ValueError(f"expires_in must not be negative, but is {expires_in!r}.")
    if given > LONGEST:
        raise ValueError(f"expires_in is a million days at most, not {expires_in!r}.")
    return given


def header_name(name: str) -> str:
    """The name of a header.

    Raises:
        ValueError: no header can have it (RFC 9110 section 5.1).
    """
    if not _FIELD_NAME.fullmatch(name):
        raise ValueError(f"A header has a name such as X-App-Token, not {name!r}.")
    return name


def headers(requires: Mapping[str, TokenEndpoint | str], server: Server) -> dict[str, object]:
    """What each header must hold; in `Authorization` a token stands behind its scheme.

    Args:
        requires: by name of the header, its value, or the endpoint of the token.
        server: that the endpoints must belong to.

    Raises:
        TypeError: a value is neither.
        ValueError: an endpoint is of another FakeAuth, or a name is none of a header.
    """
    texts = {header_name(name): value for name, value in requires.items() if isinstance(value, str)}
    tokens = {name: value for name, value in requires.items() if not isinstance(value, str)}
    return {**texts, **token_headers(tokens, server)}


def token_headers(needed: Mapping[str, TokenEndpoint], server: Server) -> dict[str, object]:
    """The same for headers that all hold tokens.

    Raises:
        TypeError: something that is no endpoint is given for one.
        ValueError: an endpoint is of another FakeAuth, or a name is none of a header.
    """
    demanded: dict[str, object] = {}
    for name, endpoint in needed.items():
        step = _own(endpoint, server)
        if header_name(name).casefold() == "authorization":
            schemes = dict.fromkeys((_BEARER, f"{endpoint.place.token_type} ".lstrip()))
            demanded[name] = Carries(step, tuple(schemes))
        else:
            demanded[name] = Carries(step)
    return demanded


def fields(body: Mapping[str, object], server: Server) -> dict[str, object]:
    """What each field must hold; endpoints stand for their tokens, at any depth.

    Raises:
        ValueError: an endpoint is of another FakeAuth.
    """
    return {name: _value(value, server) for name, value in body.items()}


def _duration(seconds: float) -> timedelta:
    try:
        return timedelta(seconds=seconds)
    except (OverflowError, ValueError) as error:
        raise ValueError(
            f"expires_in is a number of seconds that a date can be away, not {seconds!r}."
        ) from error


def _value(value: object, server: Server) -> object:
    if isinstance(value, TokenEndpoint):
        return Carries(_own(value, server))
    if isinstance(value, Mapping):
        return fields(value, server)
    return [_value(item, server) for item in value] if isinstance(value, list | tuple) else value


def _own(endpoint: object, server: Server) -> str:
    if not isinstance(endpoint, TokenEndpoint):
        raise TypeError(
            f"A token is demanded by its endpoint, which token() and serve() give, "
            f"not by {type(endpoint).__name__}."
        )
    if endpoint.server is not server:
        raise ValueError(f"{endpoint!r} is of another FakeAuth, whose tokens are unknown here.")
    return endpoint.name


def _without_dots(path: str) -> str:
    """The path as clients send it (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    parts = path.split("/")
    for part in parts:
        if part == "..":
            del kept[max(1, len(kept) - 1) :]
        elif part != ".":
            kept.append(part)
    return "/".join(kept) + ("/" if parts[-1] in {".", ".."} else "")
