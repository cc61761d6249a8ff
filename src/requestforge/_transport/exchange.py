"""One request of a client and its answer, by way of as many redirects as it takes."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import requests
from requests.auth import HTTPBasicAuth
from requests.cookies import RequestsCookieJar
from requests.utils import get_auth_from_url
from urllib3.exceptions import ClosedPoolError, ConnectTimeoutError, NewConnectionError

from requestforge._headers import Headers
from requestforge._origins import origin_of, without_userinfo
from requestforge._portable import describe, without_secrets
from requestforge._transport.attempt import Attempt
from requestforge._transport.call import Answer, Call
from requestforge._transport.environment import Environment
from requestforge._transport.redirects import REDIRECTS, Hop, next_hop
from requestforge.exceptions import (
    AuthenticationException,
    HttpClientException,
    RequestBuildException,
)

_OF_THE_BODY = frozenset({"content-length", "content-type", "transfer-encoding"})
_OF_THE_ORIGIN = frozenset({"cookie", "host"})


def exchange(
    session: requests.Session, environment: Callable[[str], Environment], call: Call
) -> Answer:
    """Send the request, follow redirects as far as it allows, and give the last answer.

    Args:
        session: what sends.
        environment: gives what the environment says of an origin.
        call: what to send.

    Raises:
        HttpClientException: there was no answer, or a redirect was refused; a TimeoutException or
            ConnectionException if the line was to blame, a RequestBuildException or an
            AuthenticationException if nothing could be sent.
    """
    hop = Hop(method=call.method, url=call.url, keeps_body=True, crosses=False)
    number, keeps_body, left_origin = 0, True, False
    while True:
        keeps_body = keeps_body and hop.keeps_body
        left_origin = left_origin or hop.crosses
        sending = _Sending(
            session,
            environment(str(origin_of(hop.url))),
            call,
            hop,
            is_first=number == 0,
            keeps_body=keeps_body,
            left_origin=left_origin,
        )
        response = sending.response()
        location = None if call.max_redirects is None else _location(response)
        if location is None:
            return _answer(
                response,
                sending.url,
                left_origin=left_origin,
                changed_method=hop.method != call.method,
            )
        if number == call.max_redirects:
            raise HttpClientException(
                f"{call.url} led to more than {call.max_redirects} redirects; the last one, from "
                f"{sending.url}, was not followed."
            )
        hop = next_hop(response.status_code, hop.method, sending.url, location)
        if keeps_body and hop.keeps_body and not call.rewind():
            raise HttpClientException(
                f"The redirect from {sending.url} was not followed: it asks for the body once "
                "more, which cannot be read again. Send bytes, or a file that can seek."
            )
        number += 1


class _Sending:
    """One of the requests of an exchange.

    It is its own auth object: `requests` calls it when all else is prepared, and then adds neither
    what the session has for a login, nor the netrc file, nor the URL.
    """

    def __init__(
        self,
        session: requests.Session,
        environment: Environment,
        call: Call,
        hop: Hop,
        *,
        is_first: bool,
        keeps_body: bool,
        left_origin: bool,
    ) -> None:
        self._session = session
        self._environment = environment
        self._call = call
        self._hop = hop
        self._is_first = is_first
        self._keeps_body = keeps_body
        self._left_origin = left_origin
        self._uses_session_login = call.uses_session_login and not left_origin
        self._headers = self._kept_headers()
        self._is_prepared = False
        self._hidden: Any = None
        self.url = hop.url

    def response(self) -> requests.Response:
        """Send the request and read the whole answer.

        An error for a request that never left has `context["sent"]` False.
        """
        left = True
        try:
            with Attempt(self._hop.url):
                try:
                    return self._send()
                except OSError as error:
                    left = not (self._is_first and _never_left(error))
                    raise
        except HttpClientException as error:
            if not left:
                error.context["sent"] = False
            raise
        except Exception as error:  # noqa: BLE001 - values, iterators and hooks of the caller
            failure = self._failure(error)
        raise failure from failure.original_exception

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        """Take away what may not be sent to this place, and add the login that may."""
        call, hop = self._call, self._hop
        if self._session.params and not (self._is_first and self._uses_session_login):
            prepared.prepare_url(hop.url, call.params if self._is_first else None)
        if not self._uses_session_login:
            self._take_session_login(prepared)
        if call.auth is not None and "authorization" not in _lower(self._headers):
            # That of the session; what the caller gave for this request alone wins.
            prepared.headers.pop("Authorization", None)
        prepared = self._logged_in(prepared)
        self.url = prepared.url or hop.url
        self._is_prepared = True
        return prepared

    def _send(self) -> requests.Response:
        call, hop = self._call, self._hop
        try:
            response = self._session.request(
                method=hop.method,
                url=hop.url,
                params=call.params if self._is_first else None,
                data=call.data if self._keeps_body else None,
                json=call.json_data if self._keeps_body else None,
                files=call.files if self._keeps_body else None,
                headers=self._headers,
                auth=self,
                timeout=call.timeout,
                allow_redirects=False,
                proxies=dict(self._environment.proxies),
                verify=self._verify(),
                stream=False,
                hooks=self._hooks(),
            )
        except requests.exceptions.InvalidJSONError as error:
            # A copy: the error itself holds the request, and so its credentials.
            failure = self._failure(ValueError(str(error)))
        else:
            if self._hidden is not None:
                response.headers = self._hidden
            return response
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

    def _kept_headers(self) -> dict[str, str]:
        call = self._call
        dropped = set() if self._keeps_body else set(_OF_THE_BODY)
        if self._left_origin:
            dropped |= _OF_THE_ORIGIN
            dropped.update(filter(call.is_credential, _lower(call.headers)))
        return {name: value for name, value in call.headers.items() if name.lower() not in dropped}

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
        login = None if self._left_origin else self._login(prepared)
        if login is None:
            return prepared
        try:
            return login(prepared)
        except HttpClientException:
            raise
        except Exception as error:  # noqa: BLE001 - an auth object may raise anything
            failure = AuthenticationException(
                f"The auth object of the request to {self._hop.url} failed: {describe(error)}.",
                without_secrets(error),
            )
        raise failure from failure.original_exception

    def _login(
        self, prepared: requests.PreparedRequest
    ) -> Callable[[requests.PreparedRequest], requests.PreparedRequest] | None:
        auth = self._call.auth
        if auth is None and "authorization" not in _lower(self._headers):
            auth = self._session.auth if self._uses_session_login else None
            if not auth and "Authorization" not in prepared.headers:
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

    def _found_login(self) -> tuple[str, str] | None:
        if not self._call.uses_found_login:
            return None
        login = get_auth_from_url(self._call.url)
        return login if any(login) else self._environment.login

    def _verify(self) -> bool | str:
        call, session = self._call, self._session
        if call.verify is not True:
            return call.verify
        if session.verify is not True and session.verify is not None:
            return session.verify
        return self._environment.ca_bundle or True

    def _failure(self, error: Exception) -> HttpClientException:
        cause = without_secrets(error)
        if self._is_prepared:
            return HttpClientException(
                f"The exchange with {self._hop.url} failed: {describe(error)}.", cause
            )
        return RequestBuildException(
            f"The request to {self._hop.url} cannot be built from its query and body: "
            f"{describe(error)}.",
            cause,
        )


def _never_left(error: BaseException) -> bool:
    """Whether the error, or what it wraps, says that there was no connection to send over."""
    kinds = (ClosedPoolError, ConnectTimeoutError, NewConnectionError, requests.ConnectTimeout)
    inner = getattr(error, "reason", None), getattr(error, "original_error", None), *error.args
    return isinstance(error, kinds) or any(
        isinstance(cause, Exception) and _never_left(cause) for cause in inner
    )


def _location(response: requests.Response) -> str | None:
    if response.status_code not in REDIRECTS:
        return None
    location = Headers(response.headers).get("Location")
    if location is None:
        return None
    # http.client reads headers as latin-1; what is not ASCII in them is mostly UTF-8.
    with suppress(UnicodeError):
        return location.encode("latin-1").decode()
    return location


def _answer(
    response: requests.Response, url: str, *, left_origin: bool, changed_method: bool
) -> Answer:
    headers = Headers(response.headers)
    named = "charset" in headers.get("Content-Type", "").lower()
    return Answer(
        status_code=response.status_code,
        headers=headers,
        content=response.content,
        url=without_userinfo(url),
        encoding=response.encoding if named else None,
        left_origin=left_origin,
        changed_method=changed_method,
    )


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
