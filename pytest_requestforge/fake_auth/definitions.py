"""How the calls of a test become what an endpoint demands."""

from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import SplitResult, urlsplit

from pytest_requestforge.fake_auth.checks import Carries
from pytest_requestforge.fake_auth.endpoints import TokenEndpoint

_BEARER = "Bearer "


def located(at: str, base: SplitResult) -> tuple[str, SplitResult]:
    """Method and URL of an endpoint given as "METHOD /path" or "METHOD https://host/path".

    Raises:
        ValueError: it has another form, or a query.
    """
    method, _, place = at.partition(" ")
    url = base.geturl().rstrip("/") + place if place.startswith("/") else place
    if not method.isalpha() or "?" in url:
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
    return parts._replace(path=parts.path or "/")


def lifetime(expires_in: float | timedelta | None) -> timedelta | None:
    """The life of a token, given in seconds or as timedelta.

    Raises:
        ValueError: it is negative.
    """
    if expires_in is None:
        return None
    given = expires_in if isinstance(expires_in, timedelta) else timedelta(seconds=expires_in)
    if given < timedelta(0):
        raise ValueError(f"expires_in must not be negative, but is {expires_in!r}.")
    return given


def headers(
    requires: Mapping[str, TokenEndpoint | str], own: Mapping[str, TokenEndpoint]
) -> dict[str, object]:
    """What each header must hold; in `Authorization` a token stands behind its scheme.

    Args:
        requires: by name of the header, its value, or the endpoint of the token.
        own: the token endpoints that there are.

    Raises:
        ValueError: an endpoint is of another FakeAuth.
    """
    demanded: dict[str, object] = {}
    for name, value in requires.items():
        if isinstance(value, str):
            demanded[name] = value
        elif name.casefold() == "authorization":
            schemes = dict.fromkeys((_BEARER, f"{value.place.token_type} ".lstrip()))
            demanded[name] = Carries(_own(value, own), tuple(schemes))
        else:
            demanded[name] = Carries(_own(value, own))
    return demanded


def fields(body: Mapping[str, object], own: Mapping[str, TokenEndpoint]) -> dict[str, object]:
    """What each field must hold; endpoints stand for their tokens, at any depth.

    Raises:
        ValueError: an endpoint is of another FakeAuth.
    """
    return {name: _value(value, own) for name, value in body.items()}


def _value(value: object, own: Mapping[str, TokenEndpoint]) -> object:
    if isinstance(value, TokenEndpoint):
        return Carries(_own(value, own))
    if isinstance(value, Mapping):
        return fields(value, own)
    return [_value(item, own) for item in value] if isinstance(value, list | tuple) else value


def _own(endpoint: TokenEndpoint, own: Mapping[str, TokenEndpoint]) -> str:
    if own.get(endpoint.name) is not endpoint:
        raise ValueError(f"{endpoint!r} is of another FakeAuth, whose tokens are unknown here.")
    return endpoint.name
