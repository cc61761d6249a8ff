"""TokenAuth for httpx: the tokens of a pipeline on the requests of any client, sync or async."""

from collections.abc import (
    AsyncGenerator,
    Callable,
    Generator,
    ItemsView,
    Iterable,
    KeysView,
    ValuesView,
)
from functools import partial
from typing import TypeVar

from requestforge._origins import crosses, origin_of
from requestforge.contrib._signing import UNAUTHORIZED, Signature, Signer, Source

try:
    import anyio.to_thread  # httpx brings it
    import httpx
except ImportError as _error:
    msg = "requestforge.contrib.httpx needs httpx: pip install 'requestforge[httpx]'."
    raise ImportError(msg) from _error
from anyio.lowlevel import RunVar

__all__ = ["TokenAuth"]

_Result = TypeVar("_Result")

_AUTHORIZATION = "authorization"
_HOME = "requestforge.home"
"""The extension of a request that holds the URL that the caller asked for."""

_THREADS = 16


class TokenAuth(httpx.Auth):
    """Puts a token on requests, as `auth` of a request or a client.

    After a 401 the token is refreshed, once for all threads and tasks that it was refused to, and
    the request is sent once more, if its body can be read again. The token leaves with no redirect
    to another origin. One object may serve all clients, threads and event loops.

    In an AsyncClient tokens are had in threads, at most 16 for each event loop, and a task that is
    cancelled does not wait for them.

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
        self._limiter: RunVar[anyio.CapacityLimiter] = RunVar(f"requestforge.limiter.{id(self)}")

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign the request, and replay it if it is refused.

        Raises:
            AuthenticationException: there is no token, or no header can carry it.
            Exception: whatever the source raised.
        """
        dialogue = _Dialogue(self._signer, request)
        dialogue.begin()
        following: httpx.Request | None = request
        while following is not None:
            response = yield following
            dialogue.hear(response)
            following = dialogue.next_request(response)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Sign the request, and replay it if it is refused, without blocking the event loop.

        Raises:
            AuthenticationException: there is no token, or no header can carry it.
            Exception: whatever the source raised.
        """
        dialogue = _Dialogue(self._signer, request)
        await self._in_thread(dialogue.begin)
        following: httpx.Request | None = request
        while following is not None:
            response = yield following
            if self._signer.hears_at_once:
                dialogue.hear(response)
            else:
                await self._in_thread(partial(dialogue.hear, response))
            following = None
            if response.status_code == UNAUTHORIZED:
                following = await self._in_thread(partial(dialogue.next_request, response))

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        try:
            limiter = self._limiter.get()
        except LookupError:
            limiter = anyio.CapacityLimiter(_THREADS)
            self._limiter.set(limiter)
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)


class _Dialogue:
    """One request with the answers to it, until no other is to be sent."""

    def __init__(self, signer: Signer, request: httpx.Request) -> None:
        self._signer = signer
        self._request = request
        self._signature: Signature | None = None
        self._is_replayed = False
        self._is_resent = False

    def begin(self) -> None:
        """Sign the request, if the token may go where it leads."""
        request = self._request
        if self._is_addressed(request) and self._signer.may_sign(str(request.url)):
            self._sign(request, self._signer.signature())

    def hear(self, response: httpx.Response) -> None:
        """Tell the source of a token that was not refused, be it on the way to this answer."""
        signature = self._signature
        if signature is not None and any(
            answer.status_code != UNAUTHORIZED and self._carries(answer.request, signature)
            for answer in (*response.history, response)
        ):
            self._signer.accepted(signature)

    def next_request(self, refused: httpx.Response) -> httpx.Request | None:
        """What is sent after an answer with status 401, if anything; after others nothing is."""
        request, signature = refused.request, self._signature
        if signature is None or refused.status_code != UNAUTHORIZED:
            return None
        renewed: Signature | None = None
        if not self._carries(request, signature):
            renewed = self._for_hop(refused, signature)
        elif not self._is_replayed:
            self._is_replayed = True
            challenges = refused.headers.get("WWW-Authenticate")
            renewed = self._signer.renewed(signature, challenges)
        if renewed is None or not _can_be_read_again(request):
            return None
        self._sign(request, renewed)
        return request

    def _is_addressed(self, request: httpx.Request) -> bool:
        """Whether the caller has asked for this origin, and no redirect from another one."""
        url = str(request.url)
        home = request.extensions.get(_HOME, url)
        if not _is_within(home, url):
            home = ""
        # A copy, since callers may use one mapping for many requests.
        request.extensions = {**request.extensions, _HOME: home}
        return bool(home)

    def _sign(self, request: httpx.Request, signature: Signature) -> None:
        name = self._signer.header_name
        if name.lower() == _AUTHORIZATION:
            request.headers[name] = signature.value
        else:
            request.headers = _StayingHeaders(request.headers, name, signature.value)
        self._signature = signature

    def _carries(self, request: httpx.Request, signature: Signature) -> bool:
        carried: object = request.headers.get(self._signer.header_name)
        return carried == signature.value

    def _for_hop(self, refused: httpx.Response, signature: Signature) -> Signature | None:
        """The credential for what a redirect within the origin has led to without it."""
        urls = [str(each.request.url) for each in (*refused.history, refused)]
        is_within = all(_is_within(str(self._request.url), url) for url in urls)
        is_bare = self._signer.header_name not in refused.request.headers
        if self._is_resent or not (is_within and is_bare):
            return None
        self._is_resent = True
        return signature


class _StayingHeaders(httpx.Headers):
    """Headers with a credential that is not copied.

    A client copies the headers for each redirect that it follows, and drops nothing but
    Authorization for another origin.
    """

    def __init__(self, headers: httpx.Headers, name: str, value: str) -> None:
        others = httpx.Headers(headers)
        others.pop(name, None)
        super().__init__(others)
        self._credential = (name, value)

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """What is sent."""
        return self._whole.raw

    def keys(self) -> KeysView[str]:
        """All names."""
        return self._whole.keys()

    def values(self) -> ValuesView[str]:
        """All values."""
        return self._whole.values()

    def items(self) -> ItemsView[str, str]:
        """All names with their values."""
        return self._whole.items()

    def multi_items(self) -> list[tuple[str, str]]:
        """All names, each as often as it is there, with their values."""
        return self._whole.multi_items()

    def get_list(self, key: str, split_commas: bool = False) -> list[str]:
        """All values of a name."""
        return self._whole.get_list(key, split_commas=split_commas)

    def __getitem__(self, key: str) -> str:
        return self._whole[key]

    def __contains__(self, key: object) -> bool:
        return key in self._whole

    def __len__(self) -> int:
        return len(self._whole)

    @property
    def _whole(self) -> httpx.Headers:
        """The others, as they are now, and the credential."""
        whole = httpx.Headers(self)
        name, value = self._credential
        whole[name] = value
        return whole


def _is_within(home: str, url: str) -> bool:
    """Whether a URL is of the origin of another one."""
    before, after = origin_of(home), origin_of(url)
    if before is None or after is None:
        return home == url
    return not crosses(before, after)


def _can_be_read_again(request: httpx.Request) -> bool:
    """Whether the body can be sent once more; a file as the whole body cannot be put back."""
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        return True
    # The parts of a multipart body are read from their start whenever they are sent.
    parts = getattr(stream, "fields", None)
    return isinstance(parts, list) and all(
        isinstance(content, str | bytes) or (hasattr(content, "seekable") and content.seekable())
        for content in (getattr(part, "file", b"") for part in parts)
    )
