"""What a redirect asks for, and whether it is followed: pure decisions."""

from typing import NamedTuple
from urllib.parse import urldefrag, urljoin

from requestforge._origins import crosses, origin_of, without_userinfo
from requestforge.exceptions import HttpClientException

_MOVED, _FOUND, _SEE_OTHER = 301, 302, 303
_SAME_REQUEST = frozenset({307, 308})
REDIRECTS = frozenset({_MOVED, _FOUND, _SEE_OTHER}) | _SAME_REQUEST
"""Statuses that, with a Location, name the place to ask next (RFC 9110 section 15.4)."""


class Hop(NamedTuple):
    """The next request of a redirect.

    Attributes:
        method: its method.
        url: its absolute URL, free of userinfo.
        keeps_body: whether the body goes along.
        crosses: whether it leaves the origin, and so must leave credentials behind.
    """

    method: str
    url: str
    keeps_body: bool
    crosses: bool


def next_hop(status: int, method: str, url: str, location: str) -> Hop:
    """The request that an answer with this status and Location asks for.

    Args:
        status: the answer's status, one of `REDIRECTS`.
        method: the method that was answered so.
        url: the absolute URL that was answered so.
        location: the text of the Location header.

    Raises:
        HttpClientException: the Location leads from https to http, or to no http(s) URL.
    """
    target = _target(url, location)
    before, after = origin_of(url), origin_of(target)
    if before is None or after is None:
        raise HttpClientException(
            f"The redirect from {url} was not followed: its Location is no http or https URL "
            "with a plain host and port."
        )
    if before.scheme == "https" and after.scheme == "http":
        raise HttpClientException(
            f"The redirect from {url} to {after} was not followed: it leads from https to http, "
            "where others can read and change what is sent. Ask for the https URL, or allow no "
            "redirects."
        )
    new_method = _method(status, method)
    return Hop(
        method=new_method,
        url=without_userinfo(target),
        keeps_body=new_method == method and status != _SEE_OTHER,
        crosses=crosses(before, after),
    )


def _target(url: str, location: str) -> str:
    try:
        target = urljoin(url, location.strip())
    except ValueError:  # such as a bracket that is never closed
        return ""
    if not urldefrag(target).fragment:
        # RFC 9110 section 10.2.2: the fragment of the URL asked for is inherited.
        target = urldefrag(target).url + (url[url.index("#") :] if "#" in url else "")
    return target


def _method(status: int, method: str) -> str:
    """The method as browsers, and requests after them, change it (RFC 9110 section 15.4)."""
    if status in _SAME_REQUEST or method == "HEAD":
        return method
    if status in {_FOUND, _SEE_OTHER} or method == "POST":
        return "GET"
    return method
