"""What the adapters to HTTP libraries share: the token for a request, and what becomes of a 401."""

import logging
from collections.abc import Iterable
from typing import Any, NamedTuple

from requestforge._client.challenges import is_past_refreshing
from requestforge._origins import is_origin, origin_of
from requestforge._portable import describe
from requestforge.exceptions import AuthenticationException
from requestforge.hooks import TokenAuthHook
from requestforge.hooks._values import checked_value
from requestforge.interfaces import TokenManagerInterface, TokenProviderInterface
from requestforge.models import HttpMethod, HttpRequest, RequestContext
from requestforge.pipelines import PipelineTokenProvider, TokenFetchPipeline
from requestforge.token_manager import TokenManager

UNAUTHORIZED = 401

Source = TokenManagerInterface | TokenFetchPipeline | TokenProviderInterface
"""Where the tokens of an adapter come from."""

_log = logging.getLogger("requestforge")

# A hook signs requests of the library, and looks only at their paths.
_BLANK = HttpRequest(HttpMethod.GET, "/")


class Signature(NamedTuple):
    """The credential of one request.

    Attributes:
        value: of the header.
        context: where the hook notes the token.
    """

    value: str
    context: RequestContext

    def __repr__(self) -> str:
        return "Signature('***')"


class Signer:
    """Signs requests with the tokens of a source, where they may go.

    Args:
        source: a manager, a pipeline or a provider.
        header_name: the header that carries the token.
        header_prefix: what stands before the token; empty: nothing; None: the token's type.
        allowed_origins: the only origins that get the token; None: all.

    Raises:
        TypeError: the source gives no tokens, or a name, prefix or origin is no text.
        ValueError: no header can have that name or prefix, or an origin is none.
    """

    def __init__(
        self,
        source: Source,
        header_name: str,
        header_prefix: str | None,
        allowed_origins: Iterable[str] | None,
    ) -> None:
        manager = _manager(source)
        self.header_name = header_name
        self.hears_at_once = isinstance(manager, TokenManager)
        self._hook = TokenAuthHook(
            manager, auth_header_name=header_name, auth_header_prefix=header_prefix
        )
        self._origins = None if allowed_origins is None else _origins(allowed_origins)

    def may_sign(self, url: str) -> bool:
        """Whether a request that the caller sends there gets the token."""
        return self._origins is None or origin_of(url) in self._origins

    def signature(self) -> Signature:
        """A usable token as the value of the header.

        Raises:
            AuthenticationException: no header can carry the token.
            Exception: whatever the source raised.
        """
        context = RequestContext(_BLANK)
        signed = self._hook.before_request(_BLANK, context)
        value = (signed.headers or {})[self.header_name]
        try:
            return Signature(checked_value("The token", value), context)
        except ValueError:
            # Told here, since the errors of the libraries would show the token.
            msg = (
                "The token cannot be sent: no header can carry its characters. "
                "Nothing was sent; have the token server looked at."
            )
        raise AuthenticationException(msg)

    def renewed(self, refused: Signature, challenges: str | None) -> Signature | None:
        """Have the refused token replaced; None: another one would not help, or there is none.

        Args:
            refused: what the answer with status 401 has refused.
            challenges: its WWW-Authenticate header, all values joined by commas.
        """
        if is_past_refreshing(challenges or ""):
            return None
        try:
            return self.signature() if self._hook.refresh_rejected(refused.context) else None
        except Exception as error:  # noqa: BLE001 - a source may raise anything
            # Without its traceback, whose texts may hold a token.
            _log.warning("There is no token to replace the rejected one: %s.", describe(error))
            return None

    def accepted(self, signature: Signature) -> None:
        """Tell the source that the token was not refused."""
        self._hook.accepted(signature.context)


def _manager(source: Any) -> TokenManagerInterface:  # noqa: ANN401 - told by its methods
    if not isinstance(source, type):
        if callable(getattr(source, "get_token", None)):
            manager: TokenManagerInterface = source
            return manager
        if callable(getattr(source, "execute", None)):
            return TokenManager(PipelineTokenProvider(source, "pipeline"))
        if callable(getattr(source, "fetch_token", None)):
            return TokenManager(source)
    msg = (
        "source must be a TokenManager, a TokenFetchPipeline or a token provider, "
        f"not {source.__name__ if isinstance(source, type) else type(source).__name__}."
    )
    raise TypeError(msg)


def _origins(allowed: Iterable[str]) -> frozenset[object]:
    if isinstance(allowed, str):
        msg = "allowed_origins must be a list of origins, not one text."
        raise TypeError(msg)
    origins: tuple[Any, ...] = tuple(allowed)
    for origin in origins:
        if not isinstance(origin, str):
            msg = f"allowed_origins must be texts, not of the type {type(origin).__name__}."
            raise TypeError(msg)
        if not is_origin(origin):
            msg = (
                "A text in allowed_origins is no origin: "
                "write scheme, host and port alone, such as 'https://api.example.com'."
            )
            raise ValueError(msg)
    return frozenset(map(origin_of, origins))
