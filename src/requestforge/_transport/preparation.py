"""A request as requests prepares it, at a fraction of what that costs."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from requests import PreparedRequest, Request, Session
from requests.structures import CaseInsensitiveDict

from requestforge._transport.answers import QuickHeaders

# A URL that no step of requests' own preparation changes: a host without capitals, no leading zero
# in the port, a path without dot segments, no escapes, and nothing that has to be escaped.
_PLAIN_URL = re.compile(
    r"https?://[a-z0-9](?:[a-z0-9-]|\.(?=[a-z0-9]))*"
    r"(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}))?"
    r"(?:/(?!\.)[\w.~:$&+,;=!*'()-]*)+(?:\?[\w.~:$&+,;=!*'()/-]+)?",
    re.ASCII,
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_USUAL_VALUE = re.compile(r"(?:\S[^\r\n]*)?")
_NO_HOOKS: dict[str, list[Any]] = {"response": []}
_EMPTY_IF_FALSE = frozenset({dict, list, bytes, str})
_BODILESS = frozenset({"GET", "HEAD"})


def quickly_prepared(session: Session, request: Request) -> PreparedRequest | None:
    """What `Session.prepare_request` makes of the request; None: it has to be asked itself."""
    url, method = request.url, request.method
    if (
        type(url) is not str
        or type(method) is not str
        or "@" in url
        or request.cookies
        or request.hooks != _NO_HOOKS
        or session.hooks != _NO_HOOKS
        or session.trust_env
        or session.params
        or (headers := _headers(session.headers, request.headers)) is None
    ):
        return None
    prepared = PreparedRequest()
    prepared.method = method.upper()
    if request.params or not _PLAIN_URL.fullmatch(url):
        prepared.prepare_url(url, request.params)
    else:
        prepared.url = url
    prepared.headers = headers
    auth = session.auth if request.auth is None else request.auth
    # An auth object of others may ask for the jar, as that of Digest does.
    if getattr(session.cookies, "may_hold_some", True) or getattr(auth, "may_see_cookies", auth):
        prepared.prepare_cookies(session.cookies)
    data, files, json = request.data, request.files, request.json
    if data or type(data) not in _EMPTY_IF_FALSE or files or json is not None:
        prepared.prepare_body(data, files, json)
    elif prepared.method not in _BODILESS and "Content-Length" not in headers:
        headers["Content-Length"] = "0"
    if auth:
        prepared.prepare_auth(auth, url)
    return prepared


def _headers(
    of_session: Mapping[str, Any], of_request: Mapping[str, Any]
) -> CaseInsensitiveDict[Any] | None:
    """The headers of the request over those of the session, if all of them are usual ones."""
    if not isinstance(of_session, CaseInsensitiveDict) or not isinstance(of_request, Mapping):
        return None
    pairs = [*of_session.items(), *of_request.items()]
    for name, value in pairs:
        if (
            type(name) is not str
            or type(value) is not str
            or not _is_usual(name)
            or not _USUAL_VALUE.fullmatch(value)
        ):
            return None
    return QuickHeaders.of(pairs)


@lru_cache(maxsize=1024)
def _is_usual(name: str) -> bool:
    return _HEADER_NAME.fullmatch(name) is not None
