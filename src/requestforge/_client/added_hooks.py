"""The hooks of a client as it calls them, with those that its configuration asks for."""

from collections.abc import Iterable
from typing import TypeVar

from requestforge.config import HttpClientConfig
from requestforge.hooks import IdempotencyKeyHook
from requestforge.hooks.logging import MaskingHook
from requestforge.interfaces import RequestHookInterface

_Hook = TypeVar("_Hook")

_STANDARD_KEY = "idempotency-key"


def masking(hooks: Iterable[_Hook], names: frozenset[str]) -> tuple[_Hook, ...]:
    """The hooks, of which those that mask know these sensitive names, too."""
    return tuple(h.masking(names) if isinstance(h, MaskingHook) else h for h in hooks)


def extra_hooks(config: HttpClientConfig) -> tuple[RequestHookInterface, ...]:
    """The request hooks that other fields of the configuration stand for."""
    if config.idempotency_key is None:
        return ()
    return (IdempotencyKeyHook(config.idempotency_key),)


def idempotency_headers(hooks: Iterable[object]) -> frozenset[str]:
    """Headers, in lower case, with which any request can be repeated."""
    keys = (hook.header_name for hook in hooks if isinstance(hook, IdempotencyKeyHook))
    return frozenset({_STANDARD_KEY, *map(str.lower, keys)})
