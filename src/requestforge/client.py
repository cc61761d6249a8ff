"""HttpClient: one request from the call to the answer."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from requestforge import instrumentation
from requestforge._client.credentials import Credentials
from requestforge._client.hook_calls import (
    Prepared,
    has_renewed,
    hears_all_acceptances,
    is_refused,
    tell_accepted,
    tell_error_hooks,
    through_request_hooks,
    through_response_hooks,
    wants_credential,
    with_credential,
    with_new_credential,
)
from requestforge._client.outgoing import Streams, frozen, headers_to_send, timeouts, unauthorized
from requestforge._client.retrying import (
    Failed,
    StrategyFailed,
    ask,
    calls_retryable,
    last_failure,
    status_failure,
    wait_before_retry,
)
from requestforge._client.verbs import Verbs
from requestforge._origins import AddressedUrl, has_userinfo, normal_path, resolve
from requestforge._redaction import also_sensitive, error_text, mask_url
from requestforge._transport.call import Answer, Call
from requestforge._transport.opening import open_sessions
from requestforge.config import HttpClientConfig, HttpClientConfigBuilder
from requestforge.events import RequestFailed, RequestReplayed, RequestSent, ResponseReceived
from requestforge.exceptions import (
    HttpClientException,
    RequestBuildException,
)
from requestforge.hooks.logging import MaskingHook
from requestforge.interfaces import (
    AuthHookInterface,
    HttpSessionInterface,
    RetryStrategyInterface,
)
from requestforge.models import HttpRequest, HttpResponse, RequestContext, mask_request

if TYPE_CHECKING:
    from requestforge._transport.sessions import BaseAdapter, Session
else:
    # For those who evaluate the annotations: requests is not loaded before a client is made.
    BaseAdapter = Session = object

__all__ = ["HttpClient", "create_client", "http_client"]

_LOWEST_ERROR = 400

_Hook = TypeVar("_Hook")


class HttpClient(Verbs, HttpSessionInterface):
    """Sends requests, puts a credential on them, and renews it when an answer refuses it.

    Any number of threads may share one. Answers are given back whatever their status, unless the
    configuration says otherwise.

    Args:
        config: what the client is made of; None: the defaults.
        session: a `requests.Session` to send with, which stays the caller's to close; None: one of
            the client's own for each thread, with one cookie jar for all.
    """

    def __init__(
        self, config: HttpClientConfig | None = None, session: "Session | None" = None
    ) -> None:
        self._config = HttpClientConfig() if config is None else config
        self._credentials = Credentials(self._config)
        self._base_has_path = normal_path(self._config.base_url) != "/"
        self._sessions = open_sessions(
            session,
            pool_connections=self._config.pool_connection,
            pool_maxsize=self._config.pool_maxsize,
        )
        self._request_hooks = self._masking(self._config.request_hooks)
        self._response_hooks = self._masking(self._config.response_hooks)
        self._error_hooks = self._masking(self._config.error_hooks)
        # Whether a refused credential was ever renewed.
        self._has_renewed = False

    def request(self, request: HttpRequest) -> HttpResponse:
        """Send the request and give its answer.

        Raises:
            RequestBuildException: the request is malformed, or a request hook failed; nothing was
                sent.
            AuthenticationException: no credential could be had; nothing was sent.
            TimeoutException: no answer in time.
            SSLException: the TLS handshake failed, or the certificate was refused.
            ConnectionException: the connection could not be made, or broke.
            MaxRetryException: the retries are used up; it is a TimeoutException or a
                ConnectionException, too, if the last attempt ended in one.
            HttpStatusException: with `raise_for_status`, the status is 400 or above.
            HttpClientException: any other failure, such as a redirect that was not followed, or
                the client is closed.
        """
        if self._sessions.is_closed:
            raise HttpClientException("The client is closed; make another one.")
        strategy = self._config.retry_strategy
        with also_sensitive(self._credentials.names):
            try:
                limit = 0 if strategy is None else ask(strategy, lambda: strategy.max_retries)
                return self._send_with_retries(RequestContext(frozen(request), max_retries=limit))
            except HttpClientException as error:
                if "request" not in error.context:
                    error.context["request"] = mask_request(request)
                raise

    @property
    def session(self) -> "Session":
        """The `requests.Session` that this thread sends with."""
        return self._sessions.current

    @property
    def adapter(self) -> "BaseAdapter":
        """The adapter of `requests` that holds the connections of all threads."""
        return self._sessions.adapter(self._config.base_url or "https://")

    @property
    def auth_hook(self) -> AuthHookInterface | None:
        """The hook that puts the credential on requests, if any."""
        return self._config.auth_hook

    def refresh_environment(self) -> None:
        """Read proxies, CA bundle and netrc anew, which else happens once for each origin."""
        self._sessions.forget_environment()

    def close(self) -> None:
        """Close the connections of all threads, but not a session that was supplied."""
        self._sessions.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        msg = "An HttpClient cannot be pickled; make one in each process from its configuration."
        raise TypeError(msg)

    def _masking(self, hooks: Iterable[_Hook]) -> tuple[_Hook, ...]:
        """The hooks, of which those that mask know the names that are sensitive here."""
        names = self._credentials.names
        return tuple(h.masking(names) if isinstance(h, MaskingHook) else h for h in hooks)

    def _send_with_retries(self, context: RequestContext) -> HttpResponse:
        strategy = self._config.retry_strategy
        streams = Streams(context.request)
        while True:
            try:
                outcome = self._attempt(context)
                if isinstance(outcome, HttpResponse):
                    return outcome
                wait = wait_before_retry(strategy, context, outcome)
            except StrategyFailed as error:
                failure = error.failure
                break
            if wait is not None and not streams.rewind():
                wait = None
            if wait is None and outcome.response is not None and not self._raises(outcome.response):
                return outcome.response
            context.history.append(outcome.failure)
            tell_error_hooks(self._error_hooks, outcome.failure, context)
            if wait is None:
                raise last_failure(strategy, context, outcome.failure)
            if wait > 0:
                instrumentation.sleep(wait)
            context.increment_attempt()
        context.history.append(failure)
        tell_error_hooks(self._error_hooks, failure, context)
        raise failure from failure.original_exception

    def _attempt(self, context: RequestContext) -> HttpResponse | Failed:
        config = self._config
        prepared = Prepared(context.request)
        try:
            if self._request_hooks:
                prepared = through_request_hooks(
                    self._request_hooks, context, self._credentials, config.base_url
                )
            response = self._send_with_auth(prepared, context)
        except HttpClientException as error:
            return Failed(prepared.request, error)
        response = through_response_hooks(self._response_hooks, response, context)
        if self._raises(response) or calls_retryable(config.retry_strategy, response.status_code):
            return Failed(prepared.request, status_failure(response), response)
        return response

    def _send_with_auth(self, prepared: Prepared, context: RequestContext) -> HttpResponse:
        hook = self._config.auth_hook
        request = self._addressed(prepared.request)
        if hook is None or not self._may_sign(hook, request):
            return self._send_once(prepared, context, prepared.request)[0]
        streams = Streams(request)
        unsigned = prepared._replace(request=request)
        may_be_new = self._has_renewed or hears_all_acceptances(hook)
        signed = with_credential(hook, unsigned, context)
        while True:
            response, answer = self._send_once(signed, context, prepared.request)
            if answer.left_origin or not signed.is_signed:
                return response
            if not is_refused(hook, response):
                if may_be_new:
                    tell_accepted(hook, context)
                return response
            if not has_renewed(hook, context, signed, response):
                return response
            may_be_new = self._has_renewed = True
            # After a change of the method it was no more than a look at what came of the request.
            if answer.changed_method or not streams.rewind():
                return response
            renewed = with_new_credential(hook, unsigned, context)
            if renewed is None:
                return response
            signed, status = renewed, response.status_code
            replay = context.metadata["auth_retry"]
            self._tell(RequestReplayed, context, request, status_code=status, replay=replay)

    def _send_once(
        self, prepared: Prepared, context: RequestContext, asked: HttpRequest
    ) -> tuple[HttpResponse, Answer]:
        """The answer, as callers get it and as the transport has it."""
        call = _call(self._config, self._credentials, prepared)
        strategy = self._config.retry_strategy
        judge = strategy if isinstance(strategy, RetryStrategyInterface) else None
        if judge is not None:
            ask(judge, lambda: judge.before_attempt(context))
        self._tell(RequestSent, context, asked)
        started = instrumentation.monotonic()
        try:
            answer = self._sessions.exchange(call)
        except HttpClientException as error:
            self._tell(RequestFailed, context, asked, error=error_text(error))
            if judge is not None:
                failed = error
                ask(judge, lambda: judge.after_attempt(context, failed))
            raise
        seconds = instrumentation.monotonic() - started
        response = HttpResponse(
            status_code=answer.status_code,
            headers=answer.headers,
            content=answer.content,
            elapsed_ms=seconds * 1000,
            url=answer.url,
            request=asked,
            encoding=answer.encoding,
        )
        self._tell(
            ResponseReceived, context, asked, status_code=answer.status_code, seconds=seconds
        )
        if judge is not None:
            ask(judge, lambda: judge.after_attempt(context, response))
        return response, answer

    def _may_sign(self, hook: AuthHookInterface, request: HttpRequest) -> bool:
        return (
            request.auth is None
            and self._credentials.may_go_to(resolve(self._config.base_url, request.url))
            and wants_credential(hook, request)
        )

    def _addressed(self, request: HttpRequest) -> HttpRequest:
        """The request, whose URL tells auth hooks both its paths where there are two."""
        if self._config.auth_hook is None or not self._base_has_path:
            return request
        base_url = self._config.base_url
        url = AddressedUrl(request.url, resolve(base_url, request.url), base_url)
        return replace(request, url=url)

    def _raises(self, response: HttpResponse) -> bool:
        return self._config.raise_for_status and response.status_code >= _LOWEST_ERROR

    def _tell(
        self,
        kind: type[Any],
        context: RequestContext,
        request: HttpRequest,
        **more: Any,  # noqa: ANN401 - fields of the event
    ) -> None:
        if instrumentation.observers:
            url = resolve(self._config.base_url, request.url)
            instrumentation.emit(
                kind(
                    at=instrumentation.now(),
                    request_id=context.id,
                    method=request.method.value,
                    url=mask_url(url, self._credentials.names),
                    attempt=context.attempt,
                    **more,
                )
            )


def create_client(  # noqa: PLR0917 - a published signature
    base_url: str = "",
    timeout: float = 30.0,
    max_retries: int = 3,
    headers: Mapping[str, str] | None = None,
    enable_logging: bool = True,
    auth_hook: AuthHookInterface | None = None,
) -> HttpClient:
    """A client that retries with exponential backoff.

    Args:
        base_url: start of every URL that is not absolute; empty: none.
        timeout: seconds to connect, and seconds to wait for each part of the answer.
        max_retries: how often an attempt that failed is made again, at most.
        headers: headers of every request.
        enable_logging: whether requests, answers and failures are logged.
        auth_hook: puts a credential on requests, and renews it.

    Raises:
        ValueError: as HttpClientConfig, and for a negative `max_retries`.
    """
    builder = HttpClientConfigBuilder().with_base_url(base_url).with_timeout(timeout)
    builder.with_retry(max_retries).with_headers(headers or {})
    if enable_logging:
        builder.with_logging()
    if auth_hook is not None:
        builder.with_auth_hook(auth_hook)
    return HttpClient(builder.build())


@contextmanager
def http_client(base_url: str = "", **kwargs: Any) -> Iterator[HttpClient]:  # noqa: ANN401
    """A client of `create_client`, with the same arguments, that is closed after the block."""
    with create_client(base_url, **kwargs) as client:
        yield client


def _call(config: HttpClientConfig, credentials: Credentials, prepared: Prepared) -> Call:
    request = prepared.request
    url = resolve(config.base_url, request.url)
    may_sign = credentials.may_go_to(url)
    if prepared.is_signed and not may_sign:
        raise RequestBuildException(
            f"The auth hook has turned the request to {url}, where the client's credentials "
            "may not go: allow this origin, or have a request hook turn it."
        )
    if credentials.exist and has_userinfo(url):
        raise RequestBuildException(
            f"{url} holds a user name or password, and the client has credentials of its own: "
            "give them as the `auth` of the request."
        )
    defaults = credentials.default_headers(url)
    if request.auth is not None:
        defaults = unauthorized(defaults)
        if "authorization" in prepared.credentials:
            request = replace(request, headers=unauthorized(request.headers or {}))
    return Call(
        method=request.method.value,
        url=url,
        headers=headers_to_send(defaults, request),
        params=request.params,
        data=request.data,
        json_data=request.json_data,
        files=request.files,
        auth=request.auth,
        timeout=timeouts(request, config.default_timeout),
        verify=config.verify_ssl,
        max_redirects=config.max_redirects if config.allow_redirects else None,
        is_credential=lambda name: name in prepared.credentials or credentials.include(name),
        uses_session_login=may_sign,
        uses_found_login=not credentials.exist,
        rewind=Streams(request).rewind,
    )
