"""One of the requests of an exchange, from the session's arguments to its answer."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import requests
from requests.auth import HTTPBasicAuth
from requests.cookies import RequestsCookieJar
from requests.utils import get_auth_from_url

from requestforge._portable import describe, without_secrets
from requestforge._transport.blame import blamed_proxy
from requestforge._transport.call import Call
from requestforge._transport.environment import Environment
from requestforge._transport.redirects import Hop
from requestforge._transport.tls import TlsSettings
from requestforge._transport.uploads import sendable
from requestforge.exceptions import (
    AuthenticationException,
    HttpClientException,
    RequestBuildException,
)

_OF_THE_BODY = frozenset({"content-length", "content-type", "transfer-encoding"})
_OF_THE_ORIGIN = frozenset({"cookie", "host"})


class Sending:
    """One of the requests of an exchange.

    It is its own auth object: `requests` calls it when all else is prepared, and then adds neither
    what the session has for a login, nor the netrc file, nor the URL.

    Args:
        session: what sends.
        call: what to send.
        hop: where to, and with which method.
        environment: what holds for that origin.
        tls: what the client was told of TLS.
        is_first: whether no redirect has led here.
        keeps_body: whether the body goes along.
        left_origin: whether credentials stay behind.

    Attributes:
        url: where it goes, as prepared.
        is_prepared: whether all of it could be prepared.
        may_see_cookies: whether an auth object of the caller sees what is prepared.
    """

    __slots__ = (
        *("_call", "_environment", "_headers", "_hidden", "_hop", "_is_first", "_keeps_body"),
        *("_left_origin", "_session", "_tls", "_uses_session_login"),
        *("is_prepared", "may_see_cookies", "url"),
    )

    def __init__(
        self,
        session: requests.Session,
        call: Call,
        hop: Hop,
        environment: Environment,
        tls: TlsSettings,
        *,
        is_first: bool,
        keeps_body: bool,
        left_origin: bool,
    ) -> None:
        self._session = session
        self._call = call
        self._hop = hop
        self._environment = environment
        self._tls = tls
        self._is_first = is_first
        self._keeps_body = keeps_body
        self._left_origin = left_origin
        self._uses_session_login = call.uses_session_login and not left_origin
        self._headers = self._kept_headers()
        self._hidden: Any = None
        self.url = hop.url
        self.is_prepared = False
        self.may_see_cookies = bool(call.auth or session.auth)

    def response(self, timeout: tuple[float, float], *, streams: bool) -> requests.Response:
        """Send the request and give its answer.

        Args:
            timeout: seconds to connect and to read.
            streams: whether the body of the answer is left unread.
        """
        call, is_first, keeps_body = self._call, self._is_first, self._keeps_body
        cert: Any = self._tls.client_cert
        data = self._data() if keeps_body and call.data is not None else None
        try:
            response = self._session.request(
                method=self._hop.method,
                url=self._hop.url,
                params=call.params if is_first else None,
                data=data,
                json=call.json_data if keeps_body else None,
                files=call.files if keeps_body else None,
                headers=self._headers,
                auth=self,
                timeout=timeout,
                allow_redirects=False,
                proxies=dict(self._environment.proxies),
                verify=self._verify(),
                cert=cert,
                stream=streams,
                hooks=self._hooks(),
            )
        except requests.exceptions.InvalidJSONError as error:
            # A copy: the error itself holds the request, and so its credentials.
            failure = self.failure(ValueError(str(error)))
        else:
            if self._hidden is not None:
                response.headers = self._hidden
            return response
        raise failure from failure.original_exception

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        """Take away what may not be sent to this place, and add the login that may."""
        call, hop, session = self._call, self._hop, self._session
        if session.params and not (self._is_first and self._uses_session_login):
            prepared.prepare_url(hop.url, call.params if self._is_first else None)
        if not self._uses_session_login:
            self._take_session_login(prepared)
        if call.auth is not None and not self._has_login():
            # That of the session; what the caller gave for this request alone wins.
            prepared.headers.pop("Authorization", None)
        if not self._left_origin and (self.may_see_cookies or self._may_find_login(prepared)):
            prepared = self._logged_in(prepared)
        if "Content-Length" in prepared.headers and "Transfer-Encoding" in prepared.headers:
            # With both, no two servers agree on where the body ends (RFC 9112 section 6.1).
            del prepared.headers["Transfer-Encoding"]
        self.url = prepared.url or hop.url
        self.is_prepared = True
        return prepared

    def blamed_proxy(self, error: BaseException) -> str | None:
        """The proxy that has caused the error, as it can be shown; None: none has."""
        if not self.is_prepared:
            return None
        proxies = {**self._session.proxies, **self._environment.proxies}
        return blamed_proxy(error, self.url, proxies)

    def failure(self, error: Exception) -> HttpClientException:
        """The library's error for one of the values, iterators and hooks of the caller."""
        cause = without_secrets(error)
        if self.is_prepared:
            return HttpClientException(
                f"The exchange with {self._hop.url} failed: {describe(error)}.", cause
            )
        return RequestBuildException(
            f"The request to {self._hop.url} cannot be built from its query and body: "
            f"{describe(error)}.",
            cause,
        )

    def _data(self) -> Any:  # noqa: ANN401 - as requests takes it
        try:
            return sendable(self._call.data)
        except Exception as error:  # noqa: BLE001 - a file of the caller may raise anything
            failure = self.failure(error)
        raise failure from failure.original_exception

    def _hooks(self) -> dict[str, Any] | None:
        """The session's hooks for answers, and after them the one that hides a Location."""
        if getattr(self._session, "prepares_no_redirect", False) is True:
            return None
        hooks = getattr(self._session, "hooks", None)
        own = hooks.get("response") if isinstance(hooks, dict) else None
        return {"response": [*([own] if callable(own) else own or ()), self._hide_location]}

    def _hide_location(self, response: requests.Response, **_: object) -> None:
        """Keep requests from preparing the next request of a redirect, which may fail."""
        if response.is_redirect:
            self._hidden = response.headers
            response.headers = self._hidden.copy()
            del response.headers["Location"]

    def _kept_headers(self) -> Mapping[str, str]:
        headers = self._call.headers
        if self._keeps_body and not self._left_origin:
            return headers
        dropped = set() if self._keeps_body else set(_OF_THE_BODY)
        if self._left_origin:
            dropped |= _OF_THE_ORIGIN
            dropped.update(filter(self._call.is_credential, _lower(headers)))
        return {name: value for name, value in headers.items() if name.lower() not in dropped}

    def _take_session_login(self, prepared: requests.PreparedRequest) -> None:
        own = _lower(self._headers)
        for name in list(prepared.headers):
            if name.lower() not in own and self._call.is_credential(name.lower()):
                del prepared.headers[name]
        if "cookie" not in own:
            # A cookie that was set by hand, without a domain, would go everywhere.
            cookies = RequestsCookieJar()
            for cookie in self._session.cookies:
                if cookie.domain:
                    cookies.set_cookie(cookie)
            prepared.prepare_cookies(cookies)

    def _logged_in(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        login = self._login(prepared)
        if login is None:
            return prepared
        try:
            signed: object = login(prepared)
        except HttpClientException:
            raise
        except Exception as error:  # noqa: BLE001 - an auth object may raise anything
            failure = AuthenticationException(
                f"The auth object of the request to {self._hop.url} failed: {describe(error)}.",
                without_secrets(error),
            )
        else:
            if isinstance(signed, requests.PreparedRequest):
                return signed
            failure = AuthenticationException(
                f"The auth object of the request to {self._hop.url} has to return the request "
                f"that it was called with, and not a {type(signed).__name__}."
            )
        raise failure from failure.original_exception

    def _login(
        self, prepared: requests.PreparedRequest
    ) -> Callable[[requests.PreparedRequest], requests.PreparedRequest] | None:
        auth = self._call.auth
        if auth is None and not self._has_login():
            auth = self._session.auth if self._uses_session_login else None
            if not auth and self._may_find_login(prepared):
                auth = self._found_login()
        if auth is None:
            return None
        if isinstance(auth, tuple) and len(auth) == 2:  # noqa: PLR2004 - a pair
            return HTTPBasicAuth(*map(_latin_or_utf8, auth))
        if callable(auth):
            login: Callable[[requests.PreparedRequest], requests.PreparedRequest] = auth
            return login
        raise RequestBuildException(
            "The auth of the request is neither a pair of user and password nor an auth object."
        )

    def _has_login(self) -> bool:
        """Whether the caller has given an Authorization for this request."""
        return "authorization" in _lower(self._headers)

    def _may_find_login(self, prepared: requests.PreparedRequest) -> bool:
        return self._call.uses_found_login and "Authorization" not in prepared.headers

    def _found_login(self) -> tuple[str, str] | None:
        login = get_auth_from_url(self._call.url)
        return login if any(login) else self._environment.login

    def _verify(self) -> bool | str:
        if self._call.verify is not True:
            return self._call.verify
        of_session = self._session.verify
        if self._tls.ca is None and of_session is not True and of_session is not None:
            return of_session
        return self._tls.ca or self._environment.ca_bundle or True


def _lower(names: Iterable[str]) -> set[str]:
    return {name.lower() for name in names}


def _latin_or_utf8(text: Any) -> Any:  # noqa: ANN401 - whatever requests takes
    """Text as requests encodes it, in latin-1, or in UTF-8 (RFC 7617 section 2.1) if it must."""
    if not isinstance(text, str):
        return text
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()
