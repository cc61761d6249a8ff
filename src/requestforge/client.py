"""HttpClient: one request from the call to the answer."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from operator import attrgetter
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from requestforge import instrumentation
from requestforge._client.added_hooks import extra_hooks, idempotency_headers
from requestforge._client.arriving import Arrived
from requestforge._client.asking import Asking
from requestforge._client.credentials import Credentials, carries_credential
from requestforge._client.deadline import out_of_time, passes_deadline
from requestforge._client.exchanging import Exchanges
from requestforge._client.hook_calls import (
    Prepared,
    addressed,
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
from requestforge._client.limits import Limits
from requestforge._client.outgoing import Streams, check, frozen
from requestforge._client.retrying import (
    Failed,
    StrategyFailed,
    ask,
    calls_retryable,
    last_failure,
    status_failure,
    wait_before_retry,
)
from requestforge._client.targets import Targets
from requestforge._client.telling import Telling
from requestforge._client.verbs import Verbs
from requestforge._deadline import bounded
from requestforge._redaction import error_text
from requestforge._transport.opening import open_sessions
from requestforge.config import HttpClientConfig, HttpClientConfigBuilder
from requestforge.events import (
    RequestReplayed,
    RequestRetried,
)
from requestforge.exceptions import AuthenticationException, HttpClientException
from requestforge.interfaces import AuthHookInterface, HttpSessionInterface
from requestforge.models import (
    HttpMethod,
    HttpRequest,
    HttpResponse,
    RequestContext,
    StreamResponse,
)
from requestforge.retry import CircuitBreaker

if TYPE_CHECKING:
    from requestforge._transport.sessions import BaseAdapter, Session
else:
    # For those who evaluate the annotations: requests is not loaded before a client is made.
    BaseAdapter = Session = object

__all__ = ["HttpClient", "create_client", "http_client"]

_LOWEST_ERROR = 400

_max_retries = attrgetter("max_retries")


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
        self._config = config = HttpClientConfig() if config is None else config
        self._credentials = Credentials(config)
        self._targets = Targets(config.base_url)
        self._tell = Telling(self._targets, self._credentials.names)
        self._limits = Limits(config, self._tell)
        self._sessions = open_sessions(
            session,
            pool_connections=config.pool_connection,
            pool_maxsize=config.pool_maxsize,
            tls=config.tls,
            proxies=config.proxies,
            environment=config.environment,
            cookies=config.cookies,
        )
        self._exchanges = Exchanges(
            config, self._credentials, self._limits, self._tell, self._sessions
        )
        request_hooks = (*config.request_hooks, *extra_hooks(config))
        self._request_hooks = [(hook, carries_credential(hook)) for hook in request_hooks]
        self._response_hooks = config.response_hooks
        self._error_hooks = config.error_hooks
        self._keys = idempotency_headers(request_hooks)
        # Whether a credential may be new, so that its acceptance is news to the auth hook.
        self._may_be_new = hears_all_acceptances(config.auth_hook)

    def request(self, request: HttpRequest) -> HttpResponse:
        """Send the request and give its answer.

        Raises:
            RequestBuildException: the request is malformed, or a request hook failed; nothing was
                sent.
            CapacityException: no place or no turn within the longest wait; nothing was sent.
            CircuitOpenException: the circuit of the origin is open; nothing was sent.
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
        with Asking(request, self._credentials.names):
            context = self._context(request)
            with self._limits.place(context):
                return self._send(context, streams=False).response

    @contextmanager
    def stream(
        self,
        method: HttpMethod | str,
        url: str,
        **kwargs: Any,  # noqa: ANN401 - fields of HttpRequest
    ) -> Iterator[StreamResponse]:
        """A block that has the answer to a request while its body is still to be read.

        Retries and replays are over by then. The body of an error, status 400 or above, is read
        already.

        Args:
            method: an HttpMethod, or its name in any case.
            url: absolute, or relative to the base URL.
            kwargs: other fields of HttpRequest.

        Raises:
            TypeError: there is no such field.
            HttpClientException: as `request`, of the same kinds.
        """
        request = HttpRequest(method, url, **kwargs)
        with ExitStack() as held:
            with Asking(request, self._credentials.names):
                context = self._context(request)
                held.enter_context(self._limits.place(context))
                response, answer = self._send(context, streams=True)
            streamed = StreamResponse(response, answer.body)
            held.callback(streamed.close)
            yield streamed

    @property
    def session(self) -> "Session":
        """The `requests.Session` that this thread sends with."""
        return self._sessions.current

    @property
    def adapter(self) -> "BaseAdapter":
        """The adapter of `requests` that holds the connections of all threads."""
        return self._sessions.adapter(
            f"{self._config.base_url}/" if self._config.base_url else "https://"
        )

    @property
    def auth_hook(self) -> AuthHookInterface | None:
        """The hook that puts the credential on requests, if any."""
        return self._config.auth_hook

    @property
    def circuit_breaker(self) -> CircuitBreaker | None:
        """The circuits of `with_circuit_breaker`, if any."""
        return self._limits.breaker

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

    def _context(self, request: HttpRequest) -> RequestContext:
        if self._sessions.is_closed:
            raise HttpClientException("The client is closed; make another one.")
        check(request)
        return RequestContext(frozen(request))

    def _send(self, context: RequestContext, *, streams: bool) -> Arrived:
        total, strategy = self._config.total_timeout, self._config.retry_strategy
        if total is not None:
            context.deadline = instrumentation.monotonic() + total
        try:
            if strategy is not None:
                context.max_retries = ask(strategy, _max_retries, strategy)
            if context.deadline is None:
                return self._send_with_retries(context, streams=streams)
            with bounded(context.deadline):
                return self._send_with_retries(context, streams=streams)
        except StrategyFailed as error:
            failure = error.failure
        self._note(failure, context)
        raise failure from failure.original_exception

    def _send_with_retries(self, context: RequestContext, *, streams: bool) -> Arrived:
        strategy = self._config.retry_strategy
        original = context.request
        body = Streams(original)
        while True:
            outcome = self._attempt(context, body, streams=streams)
            if isinstance(outcome, Arrived):
                return outcome
            failure, arrived = outcome.failure, outcome.arrived
            wait = wait_before_retry(strategy, context, outcome, self._keys)
            if wait is not None and not self._may_retry(wait, context, body, outcome.body):
                wait = None
            if wait is None and arrived is not None and not self._raises(arrived.response):
                return arrived
            if arrived is not None:
                arrived.close()
            self._note(failure, context)
            if wait is None:
                raise last_failure(strategy, context, failure)
            reason = error_text(failure)
            self._tell(RequestRetried, context, outcome.request, wait=wait, reason=reason)
            if wait > 0:
                instrumentation.sleep(wait)
            context.increment_attempt()
            # Whatever hooks have made of it.
            context.request = original

    def _may_retry(self, wait: float, context: RequestContext, *bodies: Streams) -> bool:
        return (
            not passes_deadline(wait)
            and all(body.rewind() for body in bodies)
            and self._limits.may_retry(context.origin, wait)
        )

    def _note(self, failure: HttpClientException, context: RequestContext) -> None:
        context.history.append(failure)
        tell_error_hooks(self._error_hooks, failure, context)

    def _attempt(
        self, context: RequestContext, body: Streams, *, streams: bool
    ) -> Arrived | Failed:
        request = context.request
        try:
            try:
                prepared = self._through_request_hooks(context, body)
                request, body = prepared.request, prepared.body
                context.origin = prepared.target.text
                self._limits.take_turn(context)
            except HttpClientException as error:
                self._tell.of_failure(error, context, request)
                raise
            arrived = self._send_with_auth(prepared, context, streams=streams)
        except AuthenticationException as error:
            late = passes_deadline(0)
            return Failed(request, out_of_time(context, error) if late else error, body)
        except HttpClientException as error:
            return Failed(request, error, body)
        try:
            if self._response_hooks:
                response = through_response_hooks(self._response_hooks, arrived.response, context)
                arrived = Arrived(response, arrived.answer)
            response = arrived.response
            is_failure = self._raises(response) or calls_retryable(
                self._config.retry_strategy, response.status_code
            )
        except BaseException:
            arrived.close()
            raise
        return Failed(request, status_failure(response), body, arrived) if is_failure else arrived

    def _through_request_hooks(self, context: RequestContext, body: Streams) -> Prepared:
        if self._request_hooks:
            return through_request_hooks(
                self._request_hooks, context, body, self._credentials, self._targets
            )
        request = context.request
        target = self._targets.of(request.url)
        may_sign = self._credentials.may_go_to(target.origin)
        return Prepared(request, target, may_sign, body)

    def _send_with_auth(
        self, prepared: Prepared, context: RequestContext, *, streams: bool
    ) -> Arrived:
        hook = self._config.auth_hook
        asked = prepared.request
        if hook is None:
            return self._exchanges.send(prepared, context, asked, streams=streams)
        unsigned = addressed(prepared, self._targets)
        signed = self._signed(hook, unsigned, context)
        while True:
            arrived = self._exchanges.send(signed, context, asked, streams=streams)
            response, answer = arrived
            if answer.left_origin or not signed.is_signed:
                return arrived
            if not is_refused(hook, response):
                if self._may_be_new:
                    tell_accepted(hook, context)
                return arrived
            if not has_renewed(hook, context, signed, response):
                return arrived
            self._may_be_new = True
            # After a change of the method it was no more than a look at what came of the request.
            if answer.changed_method or not prepared.body.rewind():
                return arrived
            renewed = with_new_credential(hook, unsigned, context, self._credentials, self._targets)
            if renewed is None:
                return arrived
            arrived.close()
            signed, status = renewed, response.status_code
            replay = context.metadata["auth_retry"]
            self._tell(RequestReplayed, context, asked, status_code=status, replay=replay)

    def _signed(
        self, hook: AuthHookInterface, prepared: Prepared, context: RequestContext
    ) -> Prepared:
        try:
            if wants_credential(hook, prepared):
                return with_credential(hook, prepared, context, self._credentials, self._targets)
        except HttpClientException as error:
            self._tell.of_failure(error, context, prepared.request)
            raise
        return prepared

    def _raises(self, response: HttpResponse) -> bool:
        return self._config.raise_for_status and response.status_code >= _LOWEST_ERROR


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
