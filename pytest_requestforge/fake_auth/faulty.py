"""How a test lets endpoints fail."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from pytest_requestforge.fake_auth import faults
from pytest_requestforge.fake_auth.faults import Chaos, Fault, make_fault


@dataclass(eq=False, repr=False)
class Faulty:
    """Something whose next answers may go wrong, each method for one of them.

    Faults strike in the order in which they were called for; `times` lets one strike repeatedly, as
    in `app.fail(503, retry_after=2).times(2)`. After the last the service is normal. One that is
    never used fails the test.

    In process a pause passes by the clock of the test, so that it takes no time under `Clock`; on a
    socket it is real.

    Attributes:
        faults: all that were called for, used or not.
    """

    faults: list[Fault] = field(default_factory=list, init=False)

    def fail(
        self,
        status: int = 503,
        *,
        retry_after: float | timedelta | None = None,
        error: str | None = None,
    ) -> Fault:
        """Answer with an error.

        Args:
            status: from 400 to 599.
            retry_after: seconds, or a timedelta, that the answer asks the client to wait.
            error: code in the body (RFC 6749 section 5.2); None: one that fits the status.

        Raises:
            ValueError: the status is none of an error, `retry_after` is negative, or no header
                could hold the code.
        """
        return self._add(faults.fail(status, retry_after=retry_after, error=error))

    def reset(self) -> Fault:
        """Reset the connection instead of answering; the request is lost."""
        return self._add(faults.reset())

    def hang(self) -> Fault:
        """Answer nothing until the client gives up.

        In process a client without a timeout, which would wait for ever, gives up at once.
        """
        return self._add(faults.hang())

    def slow(self, seconds: float = 0.5) -> Fault:
        """Answer rightly, after so many seconds.

        Raises:
            ValueError: the number is not above 0.
        """
        return self._add(faults.slow(seconds))

    def drip(self, *, bytes_per_second: float = 50) -> Fault:
        """Answer rightly, but send the body byte by byte.

        Raises:
            ValueError: the rate is not above 0.
        """
        return self._add(faults.drip(bytes_per_second))

    def truncate(self) -> Fault:
        """Answer rightly, but break off in the middle of the body."""
        return self._add(faults.truncate())

    def garbage(self) -> Fault:
        """Answer 200 with bytes that are called JSON and are not."""
        return self._add(faults.garbage())

    def html(self, status: int = 200) -> Fault:
        """Answer with a page for people, as a proxy or portal does.

        Raises:
            ValueError: the status is none of an answer.
        """
        return self._add(faults.html(status))

    def empty(self, status: int = 200) -> Fault:
        """Answer without a body.

        Raises:
            ValueError: the status is none of an answer.
        """
        return self._add(faults.empty(status))

    def redirect(self, url: str | None = None, *, status: int = 307) -> Fault:
        """Send the client elsewhere.

        Args:
            url: where; None: to the very place that it asked.
            status: of the answer.

        Raises:
            ValueError: the status is none of a redirect, or no header could hold the URL.
        """
        return self._add(faults.redirect(url, status))

    def echo_secrets(self, *, status: int = 400) -> Fault:
        """Answer with an error that repeats the request, its secrets included.

        Raises:
            ValueError: the status is none of an error.
        """
        return self._add(faults.echo_secrets(status))

    def next_fault(self) -> Fault | None:
        """The fault of the next request; None: it is served."""
        return next((fault for fault in self.faults if fault.left), None)

    def _add(self, fault: Fault) -> Fault:
        self.faults.append(fault)
        return fault


class Endpoint(Protocol):
    """What is asked of an endpoint."""

    @property
    def name(self) -> str:
        """That of its step."""

    def next_fault(self) -> Fault | None:
        """Its own fault."""


class Faults:
    """The faults that strike an endpoint without being its own: planned ones, and chaos."""

    def __init__(self) -> None:
        self.chaos: Chaos | None = None
        self._planned: tuple[str, Fault] | None = None

    def plan(self, planned: tuple[str, str] | None) -> None:
        """Have a fault of that kind strike the next request to the endpoints of that name.

        Raises:
            ValueError: there is no such kind.
        """
        self._planned = None if planned is None else (planned[0], make_fault(planned[1]))

    def strike(self, endpoint: Endpoint) -> Fault | None:
        """The fault of the endpoint's next request; None: it is served."""
        own = endpoint.next_fault()
        if own is not None:
            return own
        if self._planned is not None:
            name, fault = self._planned
            if name == endpoint.name and fault.left:
                return fault
        return None if self.chaos is None else self.chaos.fault(endpoint)
