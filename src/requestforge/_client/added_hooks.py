"""The hooks that a client calls because of other fields of its configuration."""

from collections.abc import Iterable

from requestforge.config import HttpClientConfig
from requestforge.hooks import IdempotencyKeyHook
from requestforge.interfaces import RequestHookInterface

_STANDARD_KEY = "idempotency-key"


def extra_hooks(config: HttpClientConfig) -> tuple[RequestHookInterface, ...]:
    """The request hooks that other fields of the configuration stand for."""
    if config.idempotency_key is None:
        return ()
    return (IdempotencyKeyHook(config.idempotency_key),)


def idempotency_headers(hooks: Iterable[object]) -> frozenset[str]:
    """Headers, in lower case, with which any request can be repeated."""
    keys = (hook.header_name for hook in hooks if isinstance(hook, IdempotencyKeyHook))
    return frozenset({_STANDARD_KEY, *map(str.lower, keys)})
