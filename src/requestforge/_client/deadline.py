"""The moment by which a request has to be answered, whatever it takes."""

from requestforge._deadline import time_left
from requestforge.exceptions import TimeoutException
from requestforge.models import RequestContext


def passes_deadline(seconds: float) -> bool:
    """Whether a wait of that many seconds leaves no time to send anything after it."""
    left = time_left()
    return left is not None and left <= seconds


def stop_if_late(context: RequestContext) -> None:
    """Send nothing more once the time is over.

    Raises:
        TimeoutException: it is.
    """
    if passes_deadline(0):
        raise out_of_time(context)


def out_of_time(context: RequestContext, cause: BaseException | None = None) -> TimeoutException:
    """The error of a request whose time is over before its answer is there."""
    failure = TimeoutException(
        f"The time that {context.request.method.value} {context.request.url} may take in all is "
        "over, or would be before anything could be sent.",
        cause,
    )
    failure.__cause__ = cause
    return failure
