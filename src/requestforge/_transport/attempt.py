"""One attempt at an exchange: its deadline, and the library's errors in place of foreign ones."""

from threading import local
from types import TracebackType
from typing import Self

from requestforge._origins import origin_of
from requestforge._transport.errors import is_of_transport, timed_out, translated
from requestforge._transport.watchdog import Watch, end_watch, start_watch
from requestforge.exceptions import HttpClientException


class _Current(local):
    attempt: "Attempt | None" = None


_current = _Current()


def current_attempt() -> "Attempt | None":
    """The attempt that this thread is in."""
    return _current.attempt


class Attempt:
    """A block that sends requests and reads their answers, as far as somebody reads them.

    Within it, connections of a `TransportAdapter` that this thread uses are hung up at the
    deadline, whether they wait for the header, the body, or its next byte. Errors of requests,
    urllib3 and the operating system leave it as errors of the library. Those of a redirect to
    another origin have that in `context["redirected_to"]`.

    Args:
        url: what is asked for.
        seconds: real seconds from entering to the deadline; None: there is none.

    Attributes:
        url: what is asked for at the moment.
        proxy: by way of which proxy, once that is to blame; as it can be shown.
        goes_on: whether the block is entered again, to read more of an answer, unless it has
            ended in an error. The deadline holds all the while.
    """

    __slots__ = ("_outer", "_seconds", "_start", "goes_on", "proxy", "url", "watch")

    def __init__(self, url: str, seconds: float | None = None) -> None:
        self.url = self._start = url
        self.proxy: str | None = None
        self.goes_on = False
        self._seconds = seconds
        self._outer: Attempt | None = None
        self.watch: Watch | None = None

    def __enter__(self) -> Self:
        self._outer, _current.attempt = _current.attempt, self
        if self._seconds is not None and self.watch is None:
            self.watch = start_watch(self._seconds)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _current.attempt = self._outer
        if self.watch is None:
            if error is None:
                return
        elif not self.goes_on or error is not None:
            end_watch(self.watch)
        failure = self._failure(error)
        if failure is None:
            if isinstance(error, HttpClientException):
                self._tell_origin(error)
            return
        self._tell_origin(failure)
        try:
            raise failure from failure.original_exception
        finally:
            # The error in hand holds the request with its credentials, and stays behind.
            failure.__context__ = failure.original_exception

    def end(self) -> None:
        """Leave the connection alone from now on."""
        if self.watch is not None:
            end_watch(self.watch)

    def remaining(self) -> float | None:
        """Real seconds to the deadline, 0 once it has passed; None: there is none."""
        return None if self.watch is None else self.watch.remaining()

    def _failure(self, error: BaseException | None) -> HttpClientException | None:
        if error is not None and not is_of_transport(error):
            return None
        if self.watch is not None and self.watch.expired:
            return timed_out(self.watch.seconds, self.url)
        return None if error is None else translated(error, self.url, self.proxy)

    def _tell_origin(self, failure: HttpClientException) -> None:
        if self.url is not self._start:
            origin = origin_of(self.url)
            if origin != origin_of(self._start):
                failure.context["redirected_to"] = str(origin)
