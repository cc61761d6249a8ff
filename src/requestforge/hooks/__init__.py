"""What happens around a request: hooks that change it, and hooks that are told how it went."""

from requestforge.hooks.auth import ApiKeyAuthHook, BasicAuthHook, TokenAuthHook
from requestforge.hooks.composite import CompositeAuthHook
from requestforge.hooks.headers import (
    AuthorizationHook,
    CorrelationIdHook,
    IdempotencyKeyHook,
    RateLimitResponseHook,
    TraceparentHook,
)
from requestforge.hooks.logging import LoggingErrorHook, LoggingRequestHook, LoggingResponseHook

__all__ = [
    "ApiKeyAuthHook",
    "AuthorizationHook",
    "BasicAuthHook",
    "CompositeAuthHook",
    "CorrelationIdHook",
    "IdempotencyKeyHook",
    "LoggingErrorHook",
    "LoggingRequestHook",
    "LoggingResponseHook",
    "RateLimitResponseHook",
    "TokenAuthHook",
    "TraceparentHook",
]
