"""What the tests of the adapters share."""

from collections.abc import Iterator

import pytest
from adapters import LIBRARIES, Library

from client_server import Server


@pytest.fixture(autouse=True)
def _surroundings(plain_environment: None) -> None:
    """No proxy stands between."""


@pytest.fixture
def api() -> Iterator[Server]:
    """The server that is asked."""
    with Server() as server:
        yield server


@pytest.fixture
def elsewhere() -> Iterator[Server]:
    """A server of another origin."""
    with Server() as server:
        yield server


@pytest.fixture(params=LIBRARIES.values(), ids=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Library:
    """Each library in turn."""
    library: Library = request.param
    return library
