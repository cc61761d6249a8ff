"""Which headers of a client are credentials, and which origins they may go to."""

import logging
from collections.abc import Mapping

from requestforge._origins import Origin, origin_of
from requestforge._redaction import is_sensitive
from requestforge.config import HttpClientConfig
from requestforge.hooks import AuthorizationHook
from requestforge.hooks.composite import header_names
from requestforge.hooks.logging import MaskingHook
from requestforge.interfaces import AuthHookInterface

_log = logging.getLogger("requestforge")

_MOST_WARNED = 100


class Credentials:
    """The credentials of one client.

    Args:
        config: the client's.

    Attributes:
        exist: whether the client has any.
        names: sensitive names beyond the built-in ones.
    """

    def __init__(self, config: HttpClientConfig) -> None:
        hooks = (config.auth_hook, *config.request_hooks)
        told = frozenset[str]().union(*map(header_names, hooks))
        masking = (*config.request_hooks, *config.response_hooks, *config.error_hooks)
        keys = (hook.sensitive_keys for hook in masking if isinstance(hook, MaskingHook))
        names = told.union(config.redaction, config.credential_headers, *keys)
        self.names = frozenset(name for name in names if not is_sensitive(name))
        self._defaults = dict(config.default_headers)
        self._public_defaults = {
            name: value for name, value in self._defaults.items() if not self.include(name)
        }
        self.exist = (
            config.auth_hook is not None
            or any(map(carries_credential, config.request_hooks))
            or len(self._public_defaults) < len(self._defaults)
        )
        origins = map(origin_of, (config.base_url, *config.allowed_origins))
        self._origins = frozenset(origin for origin in origins if origin is not None)
        self._is_bound = bool(config.base_url or config.allowed_origins)
        self._warned: set[Origin] = set()

    def include(self, name: str) -> bool:
        """Whether a header of this name is a credential."""
        return is_sensitive(name, self.names)

    def may_go_to(self, origin: Origin) -> bool:
        """Whether the client's credentials may be sent there."""
        if self._is_bound:
            return origin in self._origins
        # So many in a log are enough: a crawler meets origins without end.
        if self.exist and origin not in self._warned and len(self._warned) < _MOST_WARNED:
            self._warned.add(origin)
            _log.warning(
                "The client's credentials go to %s, as to every origin that is asked for: "
                "with_base_url or with_allowed_origins would bind them.",
                origin,
            )
        return True

    def default_headers(self, *, may_sign: bool) -> Mapping[str, str]:
        """The client's default headers, with those that are credentials or without."""
        return self._defaults if may_sign else self._public_defaults


def carries_credential(hook: object) -> bool:
    """Whether what a request hook adds is a credential of the client."""
    return isinstance(hook, AuthorizationHook | AuthHookInterface)
