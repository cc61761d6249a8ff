"""What happens around a request: hooks that change it, and hooks that are told of its end."""

from requestforge.hooks.auth import ApiKeyAuthHook, BasicAuthHook, TokenAuthHook
from requestforge.hooks.headers import AuthorizationHook, CorrelationIdHook

__all__ = [
    "ApiKeyAuthHook",
    "AuthorizationHook",
    "BasicAuthHook",
    "CorrelationIdHook",
    "TokenAuthHook",
]
