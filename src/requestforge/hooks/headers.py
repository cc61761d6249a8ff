"""Hooks that put a header on each request, and one that reads headers of answers."""

from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from requestforge._headers import Headers
from requestforge.interfaces import RequestHookInterface, ResponseHookInterface
from requestforge.models import HttpRequest, HttpResponse, RequestContext


class AuthorizationHook(RequestHookInterface):
    """Puts `Authorization: Bearer …` on requests.

    A client sends it only where its credentials may go.

    Args:
        token_provider: called for each attempt; a falsy result leaves the request as it is.
    """

    def __init__(self, token_provider: Callable[[], str | None]) -> None:
        self._token_provider = token_provider

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:  # noqa: ARG002
        """The request with the token that the provider gives."""
        token = self._token_provider()
        return request.with_headers({"Authorization": f"Bearer {token}"}) if token else request


class CorrelationIdHook(RequestHookInterface):
    """Puts a random id on requests, the same on retries; an id that the caller set stays.

    Args:
        header_name: the header that carries it.
    """

    def __init__(self, header_name: str = "X-Correlation-ID") -> None:
        self._header_name = header_name

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        """The request with its id, which `metadata["correlation_id"]` has, too."""
        given = Headers(request.headers or {}).get(self._header_name)
        if given:
            context.metadata["correlation_id"] = given
            return request
        correlation_id = context.metadata.setdefault("correlation_id", str(uuid4()))
        return request.with_headers({self._header_name: correlation_id})


class RateLimitResponseHook(ResponseHookInterface):
    """Notes what an answer says of its server's rate limit.

    `metadata` gets `rate_limit_remaining` and `rate_limit_reset`, whole numbers, from the headers
    X-RateLimit-Remaining and X-RateLimit-Reset.
    """

    def after_response(self, response: HttpResponse, context: RequestContext) -> HttpResponse:
        """The answer as it is."""
        for name in ("Remaining", "Reset"):
            with suppress(KeyError, ValueError):
                context.metadata[f"rate_limit_{name.lower()}"] = int(
                    response.headers[f"X-RateLimit-{name}"]
                )
        return response
