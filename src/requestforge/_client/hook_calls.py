"""How the hooks of a client are called, and what becomes of the errors that they raise."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from requestforge import instrumentation
from requestforge._client.challenges import is_past_refreshing
from requestforge._client.credentials import Credentials, carries_credential
from requestforge._client.outgoing import frozen
from requestforge._origins import resolve
from requestforge._portable import describe, without_secrets
from requestforge.exceptions import AuthenticationException, RequestBuildException
from requestforge.hooks import CompositeAuthHook, TokenAuthHook, composite
from requestforge.interfaces import (
    AuthHookInterface,
    ErrorHookInterface,
    RequestHookInterface,
    ResponseHookInterface,
)
from requestforge.models import HttpRequest, HttpResponse, RequestContext

_log = logging.getLogger("requestforge")

_REPLAYS = "auth_retry"


class Prepared(NamedTuple):
    """A request as hooks have left it.

    Attributes:
        request: the request.
        credentials: names, in lower case, of headers that a hook for credentials put there.
        is_signed: whether the auth hook has put its credential on the request.
    """

    request: HttpRequest
    credentials: frozenset[str] = frozenset()
    is_signed: bool = False

    @property
    def secrets(self) -> tuple[str, ...]:
        """What hooks for credentials put into headers, in full and without the scheme."""
        headers = _by_lower_name(self.request)
        values = [str(headers[name]) for name in self.credentials if name in headers]
        return (*values, *(value.partition(" ")[2] for value in values))


def through_request_hooks(
    hooks: Iterable[RequestHookInterface],
    context: RequestContext,
    credentials: Credentials,
    base_url: str,
) -> Prepared:
    """The request of the context after all request hooks.

    Raises:
        RequestBuildException: a hook failed.
    """
    # Copies, so that a hook that changes what it is given does not change the next attempt.
    request = frozen(context.request)
    added: frozenset[str] = frozenset()
    for hook in hooks:
        if not carries_credential(hook):
            request = _after(hook, request, context)[0]
        elif credentials.may_go_to(resolve(base_url, request.url)):
            request, names = _after(hook, request, context)
            added |= names
    if added and not credentials.may_go_to(resolve(base_url, request.url)):
        # A later hook has sent the request elsewhere.
        headers = request.headers or {}
        kept = {name: value for name, value in headers.items() if name.lower() not in added}
        return Prepared(replace(request, headers=kept))
    return Prepared(request, added)


def through_response_hooks(
    hooks: Iterable[ResponseHookInterface], response: HttpResponse, context: RequestContext
) -> HttpResponse:
    """The answer after all response hooks; one that fails is logged and left out."""
    for hook in hooks:
        try:
            changed: object = hook.after_response(response, context)
            response = changed if isinstance(changed, HttpResponse) else response
        except Exception as error:  # noqa: BLE001 - a hook may raise anything
            _log_failure("Response", hook, error)
    return response


def tell_error_hooks(
    hooks: Iterable[ErrorHookInterface], failure: Exception, context: RequestContext
) -> None:
    """Tell all error hooks of a failed attempt; one that fails is logged and left out."""
    for hook in hooks:
        try:
            hook.on_error(failure, context)
        except Exception as error:  # noqa: BLE001 - a hook may raise anything
            _log_failure("Error", hook, error)


def wants_credential(hook: AuthHookInterface, request: HttpRequest) -> bool:
    """Whether the hook would put its credential on this request.

    Raises:
        AuthenticationException: the hook failed.
    """
    try:
        return hook.should_authenticate(request)
    except AuthenticationException:
        raise
    except Exception as error:  # noqa: BLE001 - a hook may raise anything
        failure = _auth_failure(hook, error)
    raise failure from failure.original_exception


def with_credential(
    hook: AuthHookInterface, prepared: Prepared, context: RequestContext
) -> Prepared:
    """The request with the credential of an auth hook.

    Raises:
        AuthenticationException: the hook failed, or had no credential.
    """
    try:
        request, added, is_changed = _changed(hook, prepared.request, context)
    except AuthenticationException:
        raise
    except Exception as error:  # noqa: BLE001 - a hook may raise anything
        failure = _auth_failure(hook, error)
    else:
        return Prepared(request, prepared.credentials | added, is_changed)
    raise failure from failure.original_exception


def with_new_credential(
    hook: AuthHookInterface, prepared: Prepared, context: RequestContext
) -> Prepared | None:
    """The same for a replay, which is counted, after as long a pause as the hook's strategy says.

    None if the strategy or the hook failed, which is logged.
    """
    replays = _replays(context)
    try:
        delay = 0.0 if hook.retry_strategy is None else hook.retry_strategy.get_delay(replays)
        if delay > 0:
            instrumentation.sleep(delay)
        signed = with_credential(hook, prepared, context)
    except Exception as error:  # noqa: BLE001 - a strategy may raise anything
        _log_failure("Auth", hook, error)
        return None
    context.metadata[_REPLAYS] = replays + 1
    return signed


def is_refused(hook: AuthHookInterface, response: HttpResponse) -> bool:
    """Whether the hook takes the answer for a refusal of its credential; False if it fails."""
    try:
        return hook.is_auth_error(response)
    except Exception as error:  # noqa: BLE001 - a hook may raise anything
        _log_failure("Auth", hook, error)
        return False


def has_renewed(
    hook: AuthHookInterface, context: RequestContext, signed: Prepared, response: HttpResponse
) -> bool:
    """Have the hook renew the credential that was refused; whether there is a new one.

    It is not renewed where the hook's strategy, or what the answer says, speaks against a replay.

    Args:
        hook: the auth hook, which has called the answer a refusal.
        context: that of the request.
        signed: what was refused.
        response: the answer.
    """
    try:
        return _is_worth_renewing(hook, context, response) and composite.has_renewed(hook, context)
    except Exception as error:  # noqa: BLE001 - a hook may raise anything
        _log.warning(
            "%s could not renew the credential that was refused: %s.",
            type(hook).__name__,
            describe(error, signed.secrets),
        )
        return False


def hears_all_acceptances(hook: object) -> bool:
    """Whether the hook is to be told of each answer that accepts its credential.

    The tokens of a manager may have been refreshed by another client.
    """
    return isinstance(hook, TokenAuthHook | CompositeAuthHook)


def tell_accepted(hook: AuthHookInterface, context: RequestContext) -> None:
    """Tell the hook that its renewed credential was not refused."""
    try:
        composite.tell_accepted(hook, context)
    except Exception as error:  # noqa: BLE001 - a hook may raise anything
        _log_failure("Auth", hook, error)


def _is_worth_renewing(
    hook: AuthHookInterface, context: RequestContext, response: HttpResponse
) -> bool:
    strategy = hook.retry_strategy
    replays = _replays(context)
    return (
        strategy is not None
        and replays < strategy.max_retries
        and strategy.should_retry(response, replays)
        and not is_past_refreshing(response.headers.get("WWW-Authenticate", ""))
    )


def _replays(context: RequestContext) -> int:
    count: int = context.metadata.get(_REPLAYS, 0)
    return count


def _after(
    hook: RequestHookInterface, request: HttpRequest, context: RequestContext
) -> tuple[HttpRequest, frozenset[str]]:
    try:
        return _changed(hook, request, context)[:2]
    except Exception as error:  # noqa: BLE001 - a hook may raise anything
        failure = RequestBuildException(
            f"The request hook {type(hook).__name__} failed: {describe(error)}. Nothing was sent.",
            without_secrets(error),
        )
    raise failure from failure.original_exception


def _changed(
    hook: RequestHookInterface, request: HttpRequest, context: RequestContext
) -> tuple[HttpRequest, frozenset[str], bool]:
    """The request after a hook, the headers that it set, and whether it did anything at all."""
    # A copy of the headers, since a hook may change them in place.
    given = request if request.headers is None else replace(request, headers=dict(request.headers))
    result: object = hook.before_request(given, context)
    if not isinstance(result, HttpRequest):
        msg = f"before_request gave a {type(result).__name__}, not an HttpRequest"
        raise TypeError(msg)
    before = _by_lower_name(request)
    names = frozenset(
        name for name, value in _by_lower_name(result).items() if before.get(name) != value
    )
    return result, names, result is not given or bool(names)


def _by_lower_name(request: HttpRequest) -> dict[str, str]:
    return {name.lower(): value for name, value in (request.headers or {}).items()}


def _auth_failure(hook: AuthHookInterface, error: Exception) -> AuthenticationException:
    return AuthenticationException(
        f"The auth hook {type(hook).__name__} failed: {describe(error)}. Nothing was sent.",
        without_secrets(error),
    )


def _log_failure(kind: str, hook: object, error: Exception) -> None:
    # Without its traceback, whose texts may hold a credential.
    _log.warning("%s hook %s failed: %s.", kind, type(hook).__name__, describe(error))
