"""A prepared request as the transport takes it."""

from dataclasses import replace

from requestforge._client.credentials import Credentials
from requestforge._client.hook_calls import Prepared
from requestforge._client.outgoing import DefaultHeaders, timeouts, unauthorized
from requestforge._deadline import time_left
from requestforge._origins import has_userinfo
from requestforge._transport.call import Call
from requestforge.config import HttpClientConfig
from requestforge.exceptions import RequestBuildException


class Calls:
    """Makes the calls of one client.

    Args:
        config: the client's.
        credentials: the client's.
    """

    def __init__(self, config: HttpClientConfig, credentials: Credentials) -> None:
        self._config = config
        self._credentials = credentials
        self._timeouts = (
            config.connect_timeout or config.default_timeout,
            config.read_timeout or config.default_timeout,
        )
        self._defaults = DefaultHeaders(credentials.default_headers(may_sign=True))
        self._public_defaults = DefaultHeaders(credentials.default_headers(may_sign=False))
        self._max_redirects = config.max_redirects if config.allow_redirects else None

    def call(self, prepared: Prepared, *, streams: bool) -> Call:
        """The call of a request.

        Args:
            prepared: the request as hooks have left it.
            streams: whether the body of the answer is left unread.

        Raises:
            RequestBuildException: the request is malformed, or would carry a credential to where
                it may not go.
        """
        request, target = prepared.request, prepared.target
        credentials = self._credentials
        may_sign = prepared.may_sign
        if prepared.is_signed and not may_sign:
            raise RequestBuildException(
                f"The auth hook has turned the request to {target.url}, where the client's "
                "credentials may not go: allow this origin, or have a request hook turn it."
            )
        if credentials.exist and "@" in target.url and has_userinfo(target.url):
            raise RequestBuildException(
                f"{target.url} holds a user name or password, and the client has credentials of "
                "its own: give them as the `auth` of the request."
            )
        defaults = self._defaults if may_sign else self._public_defaults
        if request.auth is not None:
            defaults = DefaultHeaders(unauthorized(credentials.default_headers(may_sign=may_sign)))
            if "authorization" in prepared.credentials:
                request = replace(request, headers=unauthorized(request.headers or {}))
        return Call(
            method=request.method.value,
            url=target.url,
            headers=defaults.merged(request),
            params=request.params,
            data=request.data,
            json_data=request.json_data,
            files=request.files,
            auth=request.auth,
            timeout=timeouts(request, self._timeouts),
            verify=self._config.verify_ssl,
            max_redirects=self._max_redirects,
            is_credential=lambda name: name in prepared.credentials or credentials.include(name),
            uses_session_login=may_sign,
            uses_found_login=not credentials.exist,
            rewind=prepared.body.rewind,
            seconds=time_left(),
            max_size=self._config.max_response_size,
            streams=streams,
        )
