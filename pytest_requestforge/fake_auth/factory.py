"""What the fixture `rf_fake_auth_factory` is."""

from typing import TYPE_CHECKING, Protocol

from pytest_requestforge.fake_auth.findings import Severity
from pytest_requestforge.fake_auth.transports import Transport

if TYPE_CHECKING:
    from pytest_requestforge.fake_auth import FakeAuth


class FakeAuthFactory(Protocol):
    """Starts a FakeAuth that lives as long as the test."""

    def __call__(
        self,
        base_url: str | None = None,
        *,
        transport: Transport | None = None,
        strict: bool | None = None,
        seed: int | None = None,
        unused_faults: Severity | None = None,
    ) -> "FakeAuth":
        """A FakeAuth; whatever is None comes from the marker, the options or the ini file."""
        ...
