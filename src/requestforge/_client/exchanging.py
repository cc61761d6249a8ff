"""One exchange of a client: a request that is ready, and its answer."""

from typing import TYPE_CHECKING

from requestforge import instrumentation
from requestforge._client.arriving import Arrived, response_of, whole
from requestforge._client.calls import Calls
from requestforge._client.credentials import Credentials
from requestforge._client.deadline import stop_if_late
from requestforge._client.hook_calls import Prepared
from requestforge._client.limits import Limits
from requestforge._client.telling import Telling
from requestforge.config import HttpClientConfig
from requestforge.events import RequestSent, ResponseReceived
from requestforge.exceptions import HttpClientException
from requestforge.models import HttpRequest, RequestContext

if TYPE_CHECKING:
    from requestforge._transport.sessions import Sessions

_LOWEST_ERROR = 400


class Exchanges:
    """The exchanges of one client.

    Args:
        config: the client's.
        credentials: the client's.
        limits: the client's; they hear how each exchange ends.
        tell: tells observers.
        sessions: what sends.
    """

    def __init__(
        self,
        config: HttpClientConfig,
        credentials: Credentials,
        limits: Limits,
        tell: Telling,
        sessions: "Sessions",
    ) -> None:
        self._calls = Calls(config, credentials)
        self._limits = limits
        self._tell = tell
        self._sessions = sessions

    def send(
        self, prepared: Prepared, context: RequestContext, asked: HttpRequest, *, streams: bool
    ) -> Arrived:
        """The answer to what is prepared.

        Args:
            prepared: the request with its credential.
            context: that of the request.
            asked: the request without it, as observers and callers see it.
            streams: whether the body of the answer is left unread, unless it is an error.

        Raises:
            HttpClientException: as `HttpClient.request`.
            StrategyFailed: as `ask`.
        """
        outcome: Arrived | BaseException
        try:
            stop_if_late(context)
            call = self._calls.call(prepared, streams=streams)
            permit = self._limits.enter(context)
        except HttpClientException as error:
            self._tell.of_failure(error, context, asked)
            raise
        try:
            if instrumentation.observers:
                self._tell(RequestSent, context, asked)
            started = instrumentation.monotonic()
            answer = self._sessions.exchange(call)
            if answer.status_code >= _LOWEST_ERROR:
                answer = whole(answer)
            seconds = instrumentation.monotonic() - started
            outcome = Arrived(response_of(answer, asked, seconds), answer)
            if instrumentation.observers:
                status = answer.status_code
                self._tell(ResponseReceived, context, asked, status_code=status, seconds=seconds)
        except BaseException as error:
            outcome = error
            self._tell.of_failure(error, context, asked)
            raise
        finally:
            self._limits.leave(context, permit, outcome)
        self._limits.heed(context.origin, outcome.response)
        return outcome
