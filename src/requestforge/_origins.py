"""Origins: where a URL leads, and what a client makes of the URLs that it is given."""

import re
from functools import lru_cache
from typing import NamedTuple, Self

from requestforge.exceptions import RequestBuildException

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HIGHEST_PORT = 65535

_SCHEME_AND_AUTHORITY = re.compile(r"(https?)://([^/?#]*)", re.IGNORECASE)
# Narrower than RFC 3986 on purpose: parsers disagree about what is left out here ('\\', blanks,
# percent-encoded hosts), and one of them decides where the request goes.
_HOST_AND_PORT = re.compile(
    r"(\[[0-9a-f:.]+\]|[^\x00-\x20\x7f\s\"%/:<>?@\[\\\]^`{|}]+)(?::([0-9]{0,5}))?",
    re.IGNORECASE,
)
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class AddressedUrl(str):
    """A URL as it was asked for, which knows where it leads and where its base ends."""

    __slots__ = ("absolute", "base_url")
    absolute: str
    base_url: str

    def __new__(cls, url: str, absolute: str, base_url: str) -> Self:
        self = super().__new__(cls, url)
        self.absolute = absolute
        self.base_url = base_url
        return self

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Copied and pickled as the plain URL."""
        return str, (str(self),)

    @property
    def paths(self) -> tuple[str, ...]:
        """Its path in full, and its path below the base URL if it has one."""
        full = normal_path(self.absolute)
        base = normal_path(self.base_url).rstrip("/")
        below = full.removeprefix(base)
        is_below = origin_of(self.absolute) == origin_of(self.base_url) and full != below
        return (full, below) if is_below and below.startswith("/") else (full,)


class Origin(NamedTuple):
    """Scheme, host and port, the port of the scheme filled in (RFC 6454 section 4)."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        if self.port == _DEFAULT_PORTS[self.scheme]:
            return f"{self.scheme}://{self.host}"
        return f"{self.scheme}://{self.host}:{self.port}"


class Target(NamedTuple):
    """Where a request leads.

    Attributes:
        url: absolute.
        origin: of that URL.
        text: the origin as it is written.
    """

    url: str
    origin: Origin
    text: str


def origin_of(url: str) -> Origin | None:
    """Where a URL leads; None if it is no absolute http(s) URL, or one that can be misread."""
    found = _SCHEME_AND_AUTHORITY.match(url)
    if found is None or "\\" in found[2]:
        return None
    return _origin(found[1].lower(), found[2].rpartition("@")[2])


def is_origin(url: str) -> bool:
    """Whether a URL names an origin and nothing else, but for a '/' at its end."""
    found = _SCHEME_AND_AUTHORITY.match(url)
    return (
        found is not None
        and url[found.end() :] in {"", "/"}
        and not re.search(r"[@*]", found[2])
        and origin_of(url) is not None
    )


def has_userinfo(url: str) -> bool:
    """Whether an absolute http(s) URL holds a user name or a password."""
    found = _SCHEME_AND_AUTHORITY.match(url)
    return found is not None and "@" in found[2]


def without_userinfo(url: str) -> str:
    """An absolute http(s) URL less the user name and password in it."""
    found = _SCHEME_AND_AUTHORITY.match(url)
    if found is None or "@" not in found[2]:
        return url
    return f"{found[1]}://{found[2].rpartition('@')[2]}{url[found.end() :]}"


def crosses(before: Origin, after: Origin) -> bool:
    """Whether going from one to the other leaves an origin.

    The step from http to https of one host on their default ports is none.
    """
    if before == after:
        return False
    upgraded = before._replace(scheme="https", port=_DEFAULT_PORTS["https"])
    return before[::2] != ("http", _DEFAULT_PORTS["http"]) or after != upgraded


def resolve(base_url: str, url: str) -> Target:
    r"""Where a URL leads that was asked for.

    An absolute http(s) URL stays as it is. Everything else is a path below `base_url`, also
    what a browser would take for another host: `//host`, `/\host`, `https:host`.

    Raises:
        RequestBuildException: there is no base URL to add to, or the URL can be misread.
    """
    if _CONTROL.search(url):
        raise RequestBuildException("The URL holds a control character; percent-encode it.")
    if _SCHEME_AND_AUTHORITY.match(url):
        absolute = str(url)
    elif base_url:
        absolute = f"{base_url.rstrip('/')}/{url.lstrip('/')}"
    else:
        raise RequestBuildException(
            f"The URL {url!r} is relative and the client has no base URL: "
            "give it one, or ask for an absolute URL."
        )
    origin = origin_of(absolute)
    if origin is None:
        raise RequestBuildException(
            f"{absolute!r} is no http or https URL with a plain host and port: "
            "correct it, or the client's base URL."
        )
    return Target(absolute, origin, _text(origin))


def normal_path(url: str) -> str:
    """The path of a URL, absolute or not, in one spelling.

    It starts with one slash and has no query, no fragment, no dot segments and no escapes of
    unreserved characters (RFC 3986 section 6.2.2).
    """
    found = _SCHEME_AND_AUTHORITY.match(url)
    path = re.split(r"[?#]", url[found.end() :] if found else url, maxsplit=1)[0]
    segments = ("/" + _ESCAPE.sub(_decoded, path).lstrip("/")).split("/")
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            # As urllib3 sends it: beyond the root it takes the slash before the path away, too.
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if not kept or kept[0]:
        kept.insert(0, "")
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/".join(kept)


def _decoded(escape: re.Match[str]) -> str:
    char = chr(int(escape[1], 16))
    return char if _UNRESERVED.fullmatch(char) else escape[0].upper()


@lru_cache(maxsize=512)
def _text(origin: Origin) -> str:
    return str(origin)


@lru_cache(maxsize=512)
def _origin(scheme: str, host_and_port: str) -> Origin | None:
    found = _HOST_AND_PORT.fullmatch(host_and_port)
    if found is None:
        return None
    port = int(found[2] or _DEFAULT_PORTS[scheme])
    if port > _HIGHEST_PORT:
        return None
    # Beyond ASCII, what is equal is a matter of IDNA tables; hosts are the same only as written.
    host = found[1].lower() if found[1].isascii() else found[1]
    return Origin(scheme, host, port)
