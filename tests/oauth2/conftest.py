"""The provider and the clock that the tests of the standard grants share."""

from collections.abc import Iterator

import pytest
from granting_server import CallingClock, Server

from pytest_requestforge import FakeAuth
from requestforge.instrumentation import use_clock


@pytest.fixture(params=["inprocess", "loopback"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A provider, in process and on a socket."""
    with FakeAuth("https://auth.example.com", transport=request.param) as auth:
        yield Server(auth)


@pytest.fixture
def clock() -> Iterator[CallingClock]:
    """A clock that stands still until it is moved."""
    with use_clock(CallingClock()) as clock:
        yield clock
