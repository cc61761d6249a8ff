"""What the tests of refresh tokens share."""

from collections.abc import Iterator

import pytest
from rotating import Family

from doubles import Clock
from pytest_requestforge import FakeAuth
from requestforge.instrumentation import use_clock


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock that the test moves."""
    with use_clock(Clock()) as clock:
        yield clock


@pytest.fixture
def family() -> Iterator[Family]:
    """A user's tokens at a provider on a loopback socket."""
    with FakeAuth(transport="loopback", unused_faults="ignore") as auth:
        yield Family(auth)
