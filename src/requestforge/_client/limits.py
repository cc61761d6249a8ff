"""What bounds the requests of one client: places, turns, circuits, and a budget for retries."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from requestforge import instrumentation
from requestforge._client.arriving import Arrived
from requestforge._client.deadline import out_of_time, passes_deadline
from requestforge._client.retrying import ask
from requestforge._client.telling import Telling
from requestforge._deadline import time_left
from requestforge._limits.budget import RetryBudget
from requestforge._limits.bulkhead import Bulkhead
from requestforge._limits.rate import RateLimiter
from requestforge.config import HttpClientConfig
from requestforge.events import RequestLimited
from requestforge.interfaces import RetryStrategyInterface
from requestforge.models import HttpResponse, RequestContext
from requestforge.retry import CircuitBreaker
from requestforge.retry.circuit import Permit

_ROOM = nullcontext()


class Limits:
    """The limits of one client, each of which may be absent.

    Args:
        config: the client's.
        tell: tells observers of waits.

    Attributes:
        breaker: the circuits of the origins, one each.
    """

    def __init__(self, config: HttpClientConfig, tell: Telling) -> None:
        self.breaker: CircuitBreaker | None = None
        self._bulkhead: Bulkhead | None = None
        self._rate: RateLimiter | None = None
        self._budget: RetryBudget | None = None
        if config.circuit_breaker is not None:
            self.breaker = CircuitBreaker(**config.circuit_breaker)
        if config.bulkhead is not None:
            self._bulkhead = Bulkhead(**config.bulkhead)
        if config.rate_limit is not None:
            self._rate = RateLimiter(**config.rate_limit)
        if config.retry_budget is not None:
            self._budget = RetryBudget(**config.retry_budget)
        self._judge = _judge(config.retry_strategy)
        self._tell = tell

    def place(self, context: RequestContext) -> AbstractContextManager[None]:
        """A block that takes one of the places that the bulkhead has.

        Entering raises CapacityException if none becomes free within the longest wait.
        """
        return _ROOM if self._bulkhead is None else self._taken(self._bulkhead, context)

    def take_turn(self, context: RequestContext) -> None:
        """Wait until the rate limit of the origin lets another request pass.

        Raises:
            CapacityException: that would take longer than the longest wait.
            TimeoutException: it would take longer than the time that is left.
        """
        if self._budget is not None and context.attempt == 0:
            self._budget.deposit(context.origin)
        if self._rate is None:
            return
        wait = self._rate.reserve(context.origin)
        if passes_deadline(wait):
            self._rate.cancel(context.origin)
            raise out_of_time(context)
        if wait > 0:
            self._tell(RequestLimited, context, context.request, wait=wait, limit="rate")
            instrumentation.sleep(wait)

    def enter(self, context: RequestContext) -> Permit | None:
        """Permission for one exchange, to be given back by `leave`.

        Raises:
            CircuitOpenException: the circuit of the origin is open.
            StrategyFailed: as `ask`.
        """
        judge = self._judge
        if judge is not None:
            ask(judge, judge.before_attempt, context)
        if self.breaker is None:
            return None
        try:
            return self.breaker.acquire(context.origin)
        except Exception as error:
            self._report(context, error)
            raise

    def leave(
        self, context: RequestContext, permit: Permit | None, outcome: Arrived | BaseException
    ) -> None:
        """Report how the exchange ended.

        Raises:
            StrategyFailed: as `ask`.
        """
        reported: HttpResponse | BaseException
        if isinstance(outcome, Arrived):
            reported, is_elsewhere = outcome.response, outcome.answer.left_origin
        else:
            reported, is_elsewhere = outcome, False
        if permit is not None:
            if is_elsewhere:
                # An origin that redirects works, whatever the place that it names answers.
                permit.end(failed=False)
            else:
                permit.leave(reported)
        self._report(context, reported)

    def heed(self, origin: str, response: HttpResponse) -> None:
        """Learn from the answer how fast the origin wants to be asked."""
        if self._rate is not None:
            self._rate.heed(origin, response.status_code, response.headers)

    def may_retry(self, origin: str, wait: float) -> bool:
        """Whether a retry after this wait would be sent and the budget has one, which it spends."""
        if self.breaker is not None and self.breaker.retry_after(origin) > wait:
            return False
        if self._rate is not None and not self._rate.admits(origin, wait, time_left()):
            return False
        return self._budget is None or self._budget.withdraw(origin)

    @contextmanager
    def _taken(self, bulkhead: Bulkhead, context: RequestContext) -> Iterator[None]:
        place = bulkhead.enter(time_left())
        try:
            wait = place.waited
            if wait > 0:
                self._tell(RequestLimited, context, context.request, wait=wait, limit="bulkhead")
            yield
        finally:
            place.leave()

    def _report(self, context: RequestContext, outcome: HttpResponse | BaseException) -> None:
        judge = self._judge
        if judge is not None:
            ask(judge, judge.after_attempt, context, outcome)


def _judge(strategy: object) -> RetryStrategyInterface | None:
    """The strategy, if it is one that wants to hear of exchanges."""
    if not isinstance(strategy, RetryStrategyInterface):
        return None
    kind, plain = type(strategy), RetryStrategyInterface
    is_deaf = (
        kind.before_attempt is plain.before_attempt and kind.after_attempt is plain.after_attempt
    )
    return None if is_deaf else strategy
