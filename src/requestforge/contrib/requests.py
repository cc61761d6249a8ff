"""TokenAuth for requests: the tokens of a pipeline on the requests of any session."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any
from urllib.parse import urljoin, urlparse

import requests
from requests.auth import AuthBase
from requests.cookies import extract_cookies_to_jar
from requests.exceptions import RequestException, UnrewindableBodyError
from requests.structures import CaseInsensitiveDict
from requests.utils import requote_uri, rewind_body

from requestforge import instrumentation
from requestforge._origins import crosses, origin_of
from requestforge._redaction import mask_headers
from requestforge.contrib._signing import UNAUTHORIZED, Signature, Signer, Source

__all__ = ["TokenAuth"]


class TokenAuth(AuthBase):
    """Puts a token on requests, as `auth=` of a request or `auth` of a session.

    After a 401 the token is refreshed, once for all threads that it was refused to, and the
    request is sent once more, if its body can be read again. The token leaves with no redirect to
    another origin. One object may serve all sessions and threads.

    Args:
        source: a TokenManager, a TokenFetchPipeline or a provider; the latter's tokens are cached
            in this object.
        header_name: the header that carries the token.
        header_prefix: what stands before the token; empty: nothing; None: the token's type.
        allowed_origins: the only origins that get the token; None: all that are asked.

    Raises:
        TypeError: the source gives no tokens, or a name, prefix or origin is no text.
        ValueError: no header can have that name or prefix, or an origin is none.
    """

    def __init__(
        self,
        source: Source,
        *,
        header_name: str = "Authorization",
        header_prefix: str | None = "Bearer",
        allowed_origins: Iterable[str] | None = None,
    ) -> None:
        self._signer = Signer(source, header_name, header_prefix, allowed_origins)

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        """The request with the token.

        Raises:
            AuthenticationException: there is no token, or no header can carry it.
            Exception: whatever the source raised.
        """
        if self._signer.may_sign(str(r.url)):
            signature = self._signer.signature()
            headers = _SignedHeaders(r.headers, self._signer.header_name, signature)
            headers.sign(signature)
            r.headers = headers
            if self._answered not in r.hooks["response"]:
                r.register_hook("response", self._answered)  # type: ignore[no-untyped-call]
        return r

    def _answered(self, response: requests.Response, **how: Any) -> requests.Response:  # noqa: ANN401 - arguments of `send`
        """The answer, or that to the replay."""
        request = response.request
        headers = request.headers
        if not isinstance(headers, _SignedHeaders):
            return response
        headers.begin()
        if headers.is_signed:
            if response.status_code != UNAUTHORIZED:
                self._signer.accepted(headers.signature)
            elif not headers.is_replayed:
                response = self._replayed(response, headers, how)
        headers.follow(response)
        return response

    def _replayed(
        self, refused: requests.Response, headers: "_SignedHeaders", how: Mapping[str, Any]
    ) -> requests.Response:
        """The answer to the request with another token, or the refused one if it is not sent."""
        challenges = refused.headers.get("WWW-Authenticate")
        signature = self._signer.renewed(headers.signature, challenges)
        request = refused.request
        if signature is None or not _is_rewound(request):
            return refused
        with suppress(RequestException, RuntimeError):
            refused.content  # noqa: B018 - read, so that the connection can be used again
        refused.close()
        # The session goes on with its own object, and history shows what was sent before.
        refused.request = request.copy()
        headers.sign(signature)
        headers.is_replayed = True
        _take_cookies(refused, request)
        started = instrumentation.monotonic()
        answer: requests.Response = refused.connection.send(request, **how)
        answer.elapsed = timedelta(seconds=instrumentation.monotonic() - started)
        answer.history.append(refused)
        if answer.status_code != UNAUTHORIZED:
            self._signer.accepted(signature)
        return answer


def _take_cookies(refused: requests.Response, request: Any) -> None:  # noqa: ANN401 - its jar has no public name
    """Have the request carry the cookies of the answer, unless it has some of its own."""
    jar = request._cookies  # noqa: SLF001 - as requests' own HTTPDigestAuth does
    extract_cookies_to_jar(jar, refused.request, refused.raw)  # type: ignore[no-untyped-call]
    request.prepare_cookies(jar)


class _SignedHeaders(CaseInsensitiveDict[Any]):
    """Headers that know which of them is the credential, and who may copy it.

    A session copies them for each redirect that it follows.
    """

    def __init__(self, headers: Mapping[str, Any], name: str, signature: Signature) -> None:
        self.name = name
        self.signature = signature
        self.is_replayed = False
        self._is_pinned = False
        self._is_hop = False
        # Where the answer redirects to: "" nowhere.
        self._follows = ""
        super().__init__(headers)

    @property
    def is_signed(self) -> bool:
        """Whether the credential is among them."""
        return bool(self.get(self.name) == self.signature.value)

    def sign(self, signature: Signature) -> None:
        """Put another credential in the place of the one there is."""
        self.signature = signature
        self.pop(self.name, None)
        self[self.name] = signature.value

    def begin(self) -> None:
        """Forget the last time that the request was sent."""
        self._follows = ""
        self.is_replayed = self._is_hop and self.is_replayed

    def follow(self, response: requests.Response) -> None:
        """Let the next copy be one for what the answer redirects to, if it does."""
        if response.is_redirect:
            self._follows = "within" if _stays(response) else "away"

    def copy(self) -> "_SignedHeaders":
        """A copy, without the credential if it is for another origin."""
        twin = _SignedHeaders(self, self.name, self.signature)
        if self._follows == "away" and self.is_signed:
            twin.pop(self.name)
        if self._follows:
            twin._is_hop, twin.is_replayed = True, self.is_replayed
            # A session puts a login of .netrc over the credential of each redirect.
            twin._is_pinned = self._follows == "within"
        return twin

    def __setitem__(self, key: str, value: object) -> None:
        if not (self._is_pinned and key.lower() == self.name.lower() and key in self):
            super().__setitem__(key, value)

    def __repr__(self) -> str:
        return str(mask_headers(dict(self.items()), frozenset({self.name})))


def _stays(response: requests.Response) -> bool:
    """Whether a redirect leads to the origin that it comes from, read as a session reads it."""
    try:
        location = response.headers["location"].encode("latin1").decode()
        if location.startswith("//"):
            location = f"{urlparse(response.url).scheme}:{location}"
        parsed = urlparse(location)
        location = requote_uri(parsed.geturl())
        target = location if parsed.netloc else urljoin(response.url, location)
    except (RequestException, ValueError):  # the session will find so, too
        return False
    before, after = origin_of(response.url), origin_of(target)
    return before is not None and after is not None and not crosses(before, after)


def _is_rewound(request: requests.PreparedRequest) -> bool:
    """Whether the body can be sent once more, and has been put back to where it stood."""
    body: object = request.body
    if body is None or isinstance(body, str | bytes | bytearray):
        return True
    try:
        rewind_body(request)
    except (UnrewindableBodyError, ValueError):  # no file, or one that is closed
        return False
    return True
