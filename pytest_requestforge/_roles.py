"""What the plugin asks of a fake auth server; for types alone."""

from collections.abc import Mapping, Sequence, Sized
from typing import Protocol

from pytest_requestforge._evidence import START, Evidence, Mark

__all__ = ["Entry", "Requests", "Server"]


class Entry(Protocol):
    """What is read of a request."""

    @property
    def step(self) -> str | None:
        """The step that it asked for."""
        ...

    @property
    def kind(self) -> str:
        """What it reached."""
        ...

    @property
    def fault(self) -> str | None:
        """The kind of fault that it met."""
        ...

    def facts(self) -> dict[str, object]:
        """All of it, as JSON can hold it."""
        ...


class Requests(Sized, Protocol):
    """What is asked of a journal."""

    def since(self, mark: int) -> Sequence[Entry]:
        """The requests after that mark."""
        ...


class Server(Protocol):
    """What is asked of a FakeAuth that runs."""

    @property
    def journal(self) -> Requests:
        """Its requests."""
        ...

    @property
    def transport(self) -> str:
        """How it is reached."""
        ...

    @property
    def seed(self) -> int:
        """What its tokens follow from."""
        ...

    @property
    def on_unused_fault(self) -> str:
        """What becomes of the test if a fault is left: "error", "warn" or "ignore"."""
        ...

    @property
    def strict(self) -> bool:
        """Whether an unmatched request fails the test."""
        ...

    def explain_unmatched(self, since: int = 0) -> str:
        """What to say of unmatched requests; "" without any."""
        ...

    def explain_unused_faults(self) -> str:
        """What to say of unused faults; "" without any."""
        ...

    def drop_unused_faults(self) -> None:
        """Let them strike no more."""
        ...

    def plan_fault(self, planned: tuple[str, str] | None) -> None:
        """Have a fault of a kind strike the next request for a step; None: none."""
        ...

    def secrets_in(self, text: str) -> Mapping[str, str]:
        """By what a secret is, the part of the text that shows it, masked."""
        ...

    def failures(self) -> Sequence[str]:
        """What the library said of fetches that failed."""
        ...

    def moment(self) -> Mark:
        """Now, for `evidence`."""
        ...

    def evidence(self, since: Mark = START) -> Evidence:
        """What was seen since that moment."""
        ...

    def timeline(self) -> str:
        """What happened."""
        ...

    def skew(self, seconds: float) -> None:
        """Set its clock ahead."""
        ...
