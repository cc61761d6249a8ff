"""What a FakeAuth finds wrong with a test, and the faults that it is to be hit by."""

import warnings
from collections.abc import Sequence
from typing import Literal

from pytest_requestforge.fake_auth.app import App
from pytest_requestforge.fake_auth.explain import explain
from pytest_requestforge.fake_auth.faults import CHAOS, Chaos, Fault
from pytest_requestforge.fake_auth.journal import Entry, Journal
from pytest_requestforge.recorder import Recorder
from requestforge.events import RefreshFailed, StepFailed

Severity = Literal["error", "warn", "ignore"]


class Findings:
    """Unmatched requests, unused faults, and chaos: what a test should not leave behind."""

    journal: Journal
    recorder: Recorder
    seed: int
    strict: bool
    on_unused_fault: Severity
    _app: App

    @property
    def unmatched(self) -> list[Entry]:
        """The requests that matched no endpoint."""
        return [entry for entry in self.journal if entry.kind == "unmatched"]

    @property
    def unused_faults(self) -> dict[str, list[Fault]]:
        """The faults that have not struck as often as they were called for, by endpoint."""
        found: dict[str, list[Fault]] = {}
        for endpoint in self._app.endpoints:
            left = [fault for fault in endpoint.faults if fault.left]
            if left:
                found.setdefault(endpoint.name, []).extend(left)
        return found

    def chaos(
        self, rate: float = 0.1, *, seed: int | None = None, kinds: Sequence[str] = CHAOS
    ) -> None:
        """Let faults strike at random, at every endpoint that is asked; a rate of 0 ends it.

        The faults of an endpoint's own go first. Which requests are struck follows from the seed
        and from their number at their endpoint, and not from the threads that send them.

        Args:
            rate: share of the requests that are struck, from 0 to 1.
            seed: of the dice; None: that of the server.
            kinds: of the faults, by the names of their methods.

        Raises:
            ValueError: the rate is outside 0 to 1, or a kind is unknown, or there is none.
        """
        self._app.faults.chaos = Chaos(rate, self.seed if seed is None else seed, kinds)

    def plan_fault(self, planned: tuple[str, str] | None) -> None:
        """Have a fault strike the next request for a step, once that has an endpoint.

        Args:
            planned: name of the step and kind of the fault; None: none strikes that was planned.

        Raises:
            ValueError: there is no such kind.
        """
        self._app.faults.plan(planned)

    def explain_unmatched(self, since: int = 0) -> str:
        """For each unmatched request the closest endpoint, and each difference; "" without any.

        Args:
            since: only of those that came after this mark of the journal.
        """
        late = [entry for entry in self.unmatched if entry.number > since]
        return explain(late, self._app.endpoints)

    def explain_unused_faults(self) -> str:
        """A line for each fault that was not used, or not as often as it might; "" without any."""
        told = [
            f"  {name}: {fault.told()}"
            for name, faults in self.unused_faults.items()
            for fault in faults
        ]
        if not told:
            return ""
        many = "1 fault has" if len(told) == 1 else f"{len(told)} faults have"
        return "\n".join([f"{many} not struck as called for:", *told])

    def judge(self, since: int) -> None:
        """Fail, where no test of pytest can, if the server has found something.

        Args:
            since: only unmatched requests that came after this mark of the journal count.

        Raises:
            AssertionError: it is strict and a request was unmatched, or a fault was not used.
        """
        said = [self.explain_unmatched(since) if self.strict else ""]
        unused = self.explain_unused_faults()
        self.drop_unused_faults()
        if self.on_unused_fault == "error":
            said.append(unused)
        elif unused and self.on_unused_fault == "warn":
            warnings.warn(unused, stacklevel=3)
        if any(said):
            raise AssertionError("\n".join(filter(None, said)))

    def drop_unused_faults(self) -> None:
        """Let the faults that are left strike no more."""
        for faults in self.unused_faults.values():
            for fault in faults:
                fault.drop()

    def header_values(self, number: int, name: str) -> list[str]:
        """What a request had in a header: as it was, and masked."""
        return self._app.headers_sent(number, name)

    def masked_header(self, name: str, value: str) -> str:
        """The value of a header with its secrets masked."""
        return self._app.masked_header(name, value)

    def secrets_in(self, text: str) -> dict[str, str]:
        """By what a secret is, the part of the text that shows it, masked."""
        return self._app.leaks.in_text(text)

    def failures(self) -> list[str]:
        """What the library said of fetches that failed."""
        events = self.recorder.events
        return [each.error for each in events if isinstance(each, StepFailed | RefreshFailed)]
