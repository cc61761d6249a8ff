"""How the hooks of a client are called, and what becomes of the errors that they raise."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple, cast

from requestforge import instrumentation
from requestforge._client.challenges import is_past_refreshing
from requestforge._client.credentials import Credentials
from requestforge._client.deadline import passes_deadline
from requestforge._client.outgoing import Streams, check, frozen, has_same_body
from requestforge._client.retrying import seconds
from requestforge._client.targets import Targets
from requestforge._origins import Target
from requestforge._portable import describe, without_secrets
from requestforge.exceptions import AuthenticationException, RequestBuildException
from requestforge.hooks import (
    ApiKeyAuthHook,
    BasicAuthHook,
    CompositeAuthHook,
    TokenAuthHook,
    composite,
)
from requestforge.interfaces import (
    AuthHookInterface,
    ErrorHookInterface,
    RequestHookInterface,
    ResponseHookInterface,
)
from requestforge.models import HttpRequest, HttpResponse, RequestContext
from requestforge.models.request import with_others

_log = logging.getLogger("requestforge")

_REPLAYS = "auth_retry"
# They change nothing but one header, and that in a copy.
_OWN = (TokenAuthHook, ApiKeyAuthHook, BasicAuthHook)


class Prepared(NamedTuple):
    """A request as hooks have left it.

    Attributes:
        request: the request.
        target: where it leads.
        may_sign: whether the client's credentials may go there.
        body: what has to be rewound before it is sent once more.
        credentials: names, in lower case, of headers that a hook for credentials put there.
        is_signed: whether the auth hook has put its credential on the request.
    """

    request: HttpRequest
    target: Target
    may_sign: bool
    body: Streams
    credentials: frozenset[str] = frozenset()
    is_signed: bool = False

    @property
    def secrets(self) -> tuple[str, ...]:
        """What hooks for credentials put into headers, in full and without the scheme."""
        headers = _by_lower_name(self.request)
        values = [str(headers[name]) for name in self.credentials if name in headers]
        return (*values, *(value.partition(" ")[2] for value in values))


def through_request_hooks(
    hooks: Iterable[tuple[RequestHookInterface, bool]],
    context: RequestContext,
    body: Streams,
    credentials: Credentials,
    targets: Targets,
) -> Prepared:
    """The request of the context after all request hooks.

    Args:
        hooks: each with whether what it adds is a credential of the client.
        context: that of the request.
        body: what has to be rewound of that request.
        credentials: those of the client.
        targets: those of the client.

    Raises:
        RequestBuildException: a hook failed, or the URL is malformed.
    """
    # Copies, so that a hook that changes what it is given does not change the next attempt.
    original = context.request
    request = frozen(original)
    added: frozenset[str] = frozenset()
    for hook, carries in hooks:
        if not carries:
            request = _after(hook, request, context)
        elif credentials.may_go_to(_target(request, targets).origin):
            before = _by_lower_name(request)
            request = _after(hook, request, context)
            added |= _changed(before, request)
    target = _target(request, targets)
    may_sign = credentials.may_go_to(target.origin)
    if added and not may_sign:
        # A later hook has sent the request elsewhere.
        headers = request.headers or {}
        kept = {name: value for name, value in headers.items() if name.lower() not in added}
        request, added = replace(request, headers=kept), frozenset()
    if not has_same_body(request, original):
        body = Streams(request)
    return Prepared(request, target, may_sign, body, added)


def through_response_hooks(
    hooks: Iterable[ResponseHookInterface], response: HttpResponse, context: RequestContext
) -> HttpResponse:
    """The answer after all response hooks; one that fails is logged and left out."""
    for hook in hooks:
        try:
            changed: object = hook.after_response(response, context)
            if changed is not response and isinstance(changed, HttpResponse):
                response = _checked(changed)
        except Exception as error:  # noqa: BLE001 - a hook may raise anything
            _log_failure("Response", hook, error)
    return response


def _checked(response: HttpResponse) -> HttpResponse:
    status: object = response.status_code
    content: object = response.content
    if not isinstance(status, int) or not isinstance(content, bytes):
        msg = (
            f"after_response gave an answer whose status is a {type(status).__name__} and whose "
            f"content is {type(content).__name__}, not int and bytes"
        )
        raise TypeError(msg)
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


def addressed(prepared: Prepared, targets: Targets) -> Prepared:
    """The request, whose URL tells auth hooks both its paths where there are two."""
    request = prepared.request
    url = targets.addressed(request.url, prepared.target)
    if url is request.url:
        return prepared
    return prepared._replace(request=replace(request, url=url))


def wants_credential(hook: AuthHookInterface, prepared: Prepared) -> bool:
    """Whether the hook would put its credential on this request, and it may go where that leads.

    Raises:
        AuthenticationException: the hook failed.
    """
    if prepared.request.auth is not None or not prepared.may_sign:
        return False
    if type(hook) in _OWN:
        return True  # they look themselves, and then leave it alone
    try:
        return hook.should_authenticate(prepared.request)
    except AuthenticationException:
        raise
    except Exception as error:  # noqa: BLE001 - a hook may raise anything
        failure = _auth_failure(hook, error)
    raise failure from failure.original_exception


def with_credential(
    hook: AuthHookInterface,
    prepared: Prepared,
    context: RequestContext,
    credentials: Credentials,
    targets: Targets,
) -> Prepared:
    """The request with the credential of an auth hook.

    Raises:
        AuthenticationException: the hook failed, or had no credential.
    """
    try:
        request, added, is_changed = _signed(hook, prepared.request, context)
    except AuthenticationException:
        raise
    except Exception as error:  # noqa: BLE001 - a hook may raise anything
        failure = _auth_failure(hook, error)
    else:
        added |= prepared.credentials
        if type(hook) in _OWN:
            return Prepared(request, prepared.target, True, prepared.body, added, is_changed)  # noqa: FBT003
        target = _target(request, targets)
        may_sign = credentials.may_go_to(target.origin)
        return Prepared(request, target, may_sign, Streams(request), added, is_changed)
    raise failure from failure.original_exception


def with_new_credential(
    hook: AuthHookInterface,
    prepared: Prepared,
    context: RequestContext,
    credentials: Credentials,
    targets: Targets,
) -> Prepared | None:
    """The same for a replay, which is counted, after as long a pause as the hook's strategy says.

    None if the strategy or the hook failed, which is logged, or the pause would take all the time
    that is left.
    """
    replays = _replays(context)
    try:
        strategy = hook.retry_strategy
        delay = 0.0 if strategy is None else seconds(strategy.get_delay(replays))
        if passes_deadline(delay):
            return None
        if delay > 0:
            instrumentation.sleep(delay)
        signed = with_credential(hook, prepared, context, credentials, targets)
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


def _target(request: HttpRequest, targets: Targets) -> Target:
    check(request)
    return targets.of(request.url)


def _replays(context: RequestContext) -> int:
    count: int = context.metadata.get(_REPLAYS, 0)
    return count


def _after(
    hook: RequestHookInterface, request: HttpRequest, context: RequestContext
) -> HttpRequest:
    try:
        return _result(hook, request, context)
    except Exception as error:  # noqa: BLE001 - a hook may raise anything
        failure = RequestBuildException(
            f"The request hook {type(hook).__name__} failed: {describe(error)}. Nothing was sent.",
            without_secrets(error),
        )
    raise failure from failure.original_exception


def _signed(
    hook: AuthHookInterface, request: HttpRequest, context: RequestContext
) -> tuple[HttpRequest, frozenset[str], bool]:
    """The request after an auth hook, the headers that it set, and whether it did anything."""
    if type(hook) in _OWN:
        signed = _result(hook, request, context)
        is_signed = signed is not request
        name = cast("TokenAuthHook", hook).header_name.lower()
        return signed, frozenset({name} if is_signed else ()), is_signed
    # A copy of the headers, since a hook may change them in place.
    headers = request.headers
    given = request if headers is None else with_others(request, dict(headers), request.json_data)
    signed = _result(hook, given, context)
    names = _changed(_by_lower_name(request), signed)
    return signed, names, signed is not given or bool(names)


def _result(
    hook: RequestHookInterface, request: HttpRequest, context: RequestContext
) -> HttpRequest:
    result: object = hook.before_request(request, context)
    if not isinstance(result, HttpRequest):
        msg = f"before_request gave a {type(result).__name__}, not an HttpRequest"
        raise TypeError(msg)
    return result


def _changed(before: dict[str, str], request: HttpRequest) -> frozenset[str]:
    """Names, in lower case, of the headers that are not as before."""
    after = _by_lower_name(request)
    return frozenset(name for name, value in after.items() if before.get(name) != value)


def _by_lower_name(request: HttpRequest) -> dict[str, str]:
    return {str(name).lower(): value for name, value in (request.headers or {}).items()}


def _auth_failure(hook: AuthHookInterface, error: Exception) -> AuthenticationException:
    return AuthenticationException(
        f"The auth hook {type(hook).__name__} failed: {describe(error)}. Nothing was sent.",
        without_secrets(error),
    )


def _log_failure(kind: str, hook: object, error: Exception) -> None:
    # Without its traceback, whose texts may hold a credential.
    _log.warning("%s hook %s failed: %s.", kind, type(hook).__name__, describe(error))
