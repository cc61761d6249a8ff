"""Several auth hooks as one."""

import logging
from collections.abc import Callable, Iterable
from typing import Literal, get_args

from requestforge.hooks.headers import IdempotencyKeyHook
from requestforge.interfaces import AuthHookInterface, AuthRetryStrategyInterface
from requestforge.models import HttpRequest, HttpResponse, RequestContext
from requestforge.tokens import TokenData

_log = logging.getLogger("requestforge")

Choice = Literal["first_match", "all"]
"""Which of the hooks put their credential on a request."""

_USED = "used_auth_hooks"


class CompositeAuthHook(AuthHookInterface):
    """Puts the credentials of several hooks on requests.

    Args:
        hooks: the hooks, in order.
        strategy: "first_match": of the hooks that want to authenticate a request, the first one
            does; "all": each one does.
        retry_strategy: when a refused request is sent again; None: when the strategy of one of the
            hooks says so.

    Raises:
        ValueError: unknown strategy.
    """

    def __init__(
        self,
        hooks: Iterable[AuthHookInterface],
        strategy: Choice = "first_match",
        retry_strategy: AuthRetryStrategyInterface | None = None,
    ) -> None:
        if strategy not in get_args(Choice):
            raise ValueError(f"strategy must be 'first_match' or 'all', not {strategy!r}.")
        self._hooks = tuple(hooks)
        self._uses_all = strategy == "all"
        strategies = [s for hook in self._hooks if (s := hook.retry_strategy) is not None]
        if retry_strategy is None and strategies:
            retry_strategy = _AnyOf(strategies)
        self._retry_strategy = retry_strategy

    @property
    def retry_strategy(self) -> AuthRetryStrategyInterface | None:
        """When a refused request is sent again with a renewed credential; None: never."""
        return self._retry_strategy

    @property
    def header_names(self) -> frozenset[str]:
        """The headers that carry the credentials, as far as the hooks tell."""
        return frozenset[str]().union(*map(header_names, self._hooks))

    def should_authenticate(self, request: HttpRequest) -> bool:
        """Whether one of the hooks wants to authenticate the request."""
        return any(hook.should_authenticate(request) for hook in self._hooks)

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        """The request with the credential of the first hook that wants to, or of all that do."""
        used = [hook for hook in self._hooks if hook.should_authenticate(request)]
        used = used if self._uses_all else used[:1]
        context.metadata.setdefault(_USED, {})[id(self)] = used
        for hook in used:
            request = hook.before_request(request, context)
        return request

    def is_auth_error(self, response: HttpResponse) -> bool:
        """Whether one of the hooks takes the answer for a refusal."""
        return any(_says(hook, lambda h: h.is_auth_error(response)) for hook in self._hooks)

    def refresh_auth(self) -> bool:
        """Have the hooks renew their credentials, in order, until one succeeds."""
        return any(_says(hook, lambda h: h.refresh_auth()) for hook in self._hooks)

    def refresh_rejected(self, context: RequestContext) -> bool:
        """The same, for the credentials that this request was refused with."""
        return any(_says(hook, lambda h: has_renewed(h, context)) for hook in self._used(context))

    def accepted(self, context: RequestContext) -> None:
        """Tell the hooks that this request was not refused."""
        for hook in self._used(context):
            _says(hook, lambda h: tell_accepted(h, context))

    def invalidate_auth(self) -> None:
        """Give up the credentials of all hooks.

        Raises:
            Exception: whatever the first hook that failed has raised, after all were asked.
        """
        failures = []
        for hook in self._hooks:
            try:
                hook.invalidate_auth()
            except Exception as error:  # noqa: BLE001 - a hook may raise anything
                failures.append(error)
        if failures:
            raise failures[0]

    def get_token(self) -> TokenData | None:
        """The credential of the first hook that has one."""
        tokens = (hook.get_token() for hook in self._hooks)
        return next((token for token in tokens if token is not None), None)

    def _used(self, context: RequestContext) -> list[AuthHookInterface]:
        used: dict[int, list[AuthHookInterface]] = context.metadata.get(_USED, {})
        return used.get(id(self), list(self._hooks))


class _AnyOf(AuthRetryStrategyInterface):
    """Replays where one of several strategies does, after the longest of their delays."""

    def __init__(self, strategies: Iterable[AuthRetryStrategyInterface]) -> None:
        self._strategies = tuple(strategies)

    @property
    def max_retries(self) -> int:
        return max(strategy.max_retries for strategy in self._strategies)

    def should_retry(self, response: HttpResponse, attempt: int) -> bool:
        return any(strategy.should_retry(response, attempt) for strategy in self._strategies)

    def get_delay(self, attempt: int) -> float:
        return max(strategy.get_delay(attempt) for strategy in self._strategies)

    def is_auth_error(self, response: HttpResponse) -> bool:
        return any(strategy.is_auth_error(response) for strategy in self._strategies)


def _says(hook: AuthHookInterface, question: Callable[[AuthHookInterface], object]) -> bool:
    """What a hook answers; no if it fails, so that the others are still asked."""
    try:
        return bool(question(hook))
    except Exception as error:  # noqa: BLE001 - a hook may raise anything
        # Not its text, which may hold the hook's credential.
        _log.warning(
            "%s, one of several auth hooks, failed: %s.", type(hook).__name__, type(error).__name__
        )
        return False


def header_names(hook: object) -> frozenset[str]:
    """The headers that carry a hook's credential, as far as it tells."""
    if isinstance(hook, CompositeAuthHook):
        return hook.header_names
    if isinstance(hook, IdempotencyKeyHook):  # its header tells requests apart and opens nothing
        return frozenset()
    name = getattr(hook, "header_name", None)
    return frozenset({name}) if isinstance(name, str) else frozenset()


def has_renewed(hook: AuthHookInterface, context: RequestContext) -> bool:
    """Have a hook renew the credential that was refused; whether there is a new one."""
    known: object = hook
    if isinstance(known, AuthHookInterface):
        return known.refresh_rejected(context)
    return hook.refresh_auth()  # of release 1.0.0, without the interface


def tell_accepted(hook: object, context: RequestContext) -> None:
    """Tell a hook that its renewed credential was not refused, if it listens."""
    if isinstance(hook, AuthHookInterface):
        hook.accepted(context)
