"""Hooks that put a header on each request, and one that reads headers of answers."""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

from requestforge.hooks._values import checked_name
from requestforge.interfaces import RequestHookInterface, ResponseHookInterface
from requestforge.models import HttpMethod, HttpRequest, HttpResponse, RequestContext

# RFC 9110 section 9.2.2.
_NOT_IDEMPOTENT = frozenset({HttpMethod.POST, HttpMethod.PATCH})

# W3C Trace Context, section 3.2: no id is all zeros, and version 00 ends with the flags.
_TRACEPARENT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
)


class AuthorizationHook(RequestHookInterface):
    """Puts `Authorization: Bearer …` on requests.

    A client sends it only where its credentials may go.

    Args:
        token_provider: called for each attempt; a falsy result leaves the request as it is.

    Raises:
        TypeError: the provider cannot be called.
    """

    def __init__(self, token_provider: Callable[[], str | None]) -> None:
        if not callable(token_provider):
            raise TypeError(
                "token_provider must be something that can be called for a token, "
                f"not a {type(token_provider).__name__}."
            )
        self._token_provider = token_provider

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:  # noqa: ARG002
        """The request with the token that the provider gives.

        Raises:
            TypeError: it gives no text.
            Exception: whatever the provider raised.
        """
        token: object = self._token_provider()
        if not token:
            return request
        if not isinstance(token, str):
            raise TypeError(
                f"The token provider must give a text or None, not a {type(token).__name__}."
            )
        return request.with_headers({"Authorization": f"Bearer {token}"})


class CorrelationIdHook(RequestHookInterface):
    """Puts a random id on requests, the same on retries; an id that the caller set stays.

    Args:
        header_name: the header that carries it.

    Raises:
        TypeError: its name is no text.
        ValueError: no header can have that name.
    """

    def __init__(self, header_name: str = "X-Correlation-ID") -> None:
        self._header_name = checked_name("header_name", header_name)

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        """The request with its id, which `metadata["correlation_id"]` has, too."""
        given = _header(request, self._header_name)
        if given:
            context.metadata["correlation_id"] = given
            return request
        correlation_id = context.metadata.setdefault("correlation_id", str(uuid4()))
        return request.with_headers({self._header_name: correlation_id})


class IdempotencyKeyHook(RequestHookInterface):
    """Puts a random key on each POST and PATCH, the same on retries; one of the caller stays.

    A server that knows the header does the work of a request once, however often it arrives, so a
    client retries requests with a key.

    Args:
        header_name: the header that carries it.

    Raises:
        TypeError: its name is no text.
        ValueError: no header can have that name.
    """

    def __init__(self, header_name: str = "Idempotency-Key") -> None:
        self._header_name = checked_name("header_name", header_name)

    @property
    def header_name(self) -> str:
        """The header that carries the key."""
        return self._header_name

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        """The request with its key, which `metadata["idempotency_key"]` has, too."""
        if request.method not in _NOT_IDEMPOTENT:
            return request
        if _header(request, self._header_name) is not None:
            return request
        key = context.metadata.setdefault("idempotency_key", str(uuid4()))
        return request.with_headers({self._header_name: key})


class TraceparentHook(RequestHookInterface):
    """Puts a `traceparent` on requests, so that the logs of servers can be read together.

    The trace id is random and the same on retries, the parent id is new for each attempt, and the
    flags say that the trace is sampled (W3C Trace Context). A valid header of the caller stays; in
    place of one that is not, a new trace begins, without the caller's `tracestate`.
    """

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        """The request in its trace, whose id `metadata["trace_id"]` has, too."""
        given = _header(request, "traceparent")
        if given is not None and _TRACEPARENT.fullmatch(given):
            return request
        kept = {
            name: value
            for name, value in (request.headers or {}).items()
            if name.lower() not in {"traceparent", "tracestate"}
        }
        trace_id = context.metadata.setdefault("trace_id", os.urandom(16).hex())
        kept["traceparent"] = f"00-{trace_id}-{os.urandom(8).hex()}-01"
        return replace(request, headers=kept)


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


def _header(request: HttpRequest, name: str) -> str | None:
    """The value of a header that the caller gave, by its name in any case."""
    wanted = name.lower()
    given = (request.headers or {}).items()
    return next((value for each, value in given if each.lower() == wanted), None)
