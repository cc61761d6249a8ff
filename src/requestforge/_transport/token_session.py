"""A session of requests for token endpoints: no redirects, no netrc, no cookies, short answers."""

from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy

import requests
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url

from requestforge._origins import without_userinfo
from requestforge._transport.adapter import TransportAdapter
from requestforge._transport.attempt import Attempt
from requestforge.exceptions import HttpClientException
from requestforge.instrumentation import monotonic
from requestforge.models import HttpMethod, HttpRequest, HttpResponse

_LARGEST_ANSWER = 1024 * 1024
_CHUNK = 16 * 1024


class TokenSession(requests.Session):
    """One pool of connections to token endpoints.

    Args:
        verify: whether to verify certificates, or the path of a CA bundle.
        cert: the certificate to show: the path of a file with its key, or the paths of both.
    """

    def __init__(self, verify: bool | str, cert: str | tuple[str, str] | None) -> None:
        super().__init__()
        self.verify = verify
        self.cert = cert
        adapter = TransportAdapter()
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        # With an `auth` of its own a session asks neither .netrc nor the URL for credentials.
        self.auth = _userinfo_unless_authorized
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))

    def exchange(
        self,
        method: HttpMethod,
        url: str,
        headers: Mapping[str, str],
        body: str | bytes | None,
        timeout: float,
    ) -> HttpResponse:
        """The answer, whatever its status; arguments and errors are those of `TokenTransport`."""
        started = monotonic()
        with Attempt(url, timeout):
            prepared = self.prepare_request(
                requests.Request(method.value, url, headers=dict(headers), data=body)
            )
            settings = self.merge_environment_settings(
                prepared.url, {}, stream=True, verify=self.verify, cert=self.cert
            )
            with self.send(prepared, timeout=timeout, allow_redirects=False, **settings) as answer:
                content = _content(answer)
        return HttpResponse(
            status_code=answer.status_code,
            headers=answer.headers,
            content=content,
            elapsed_ms=(monotonic() - started) * 1000,
            url=without_userinfo(answer.url),
            request=HttpRequest(method, url, headers=headers, data=body, timeout=timeout),
        )

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: requests would read a redirect's whole body, and parse where it leads."""


def _userinfo_unless_authorized(request: requests.PreparedRequest) -> requests.PreparedRequest:
    user, password = get_auth_from_url(request.url or "")
    if user and "Authorization" not in request.headers:
        HTTPBasicAuth(user, password)(request)
    return request


def _content(answer: requests.Response) -> bytes:
    parts = []
    size = 0
    for part in answer.iter_content(_CHUNK):
        size += len(part)
        if size > _LARGEST_ANSWER:
            msg = f"The answer is longer than {_LARGEST_ANSWER} bytes, the most that is read."
            raise HttpClientException(msg)
        parts.append(part)
    return b"".join(parts)
