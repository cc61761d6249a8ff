"""Each hostile server speaks plain HTTP, and TLS."""

import ssl

import pytest


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    """What the server speaks TLS with; None: it does not."""
    if request.param == "plain":
        return None
    context: ssl.SSLContext = request.getfixturevalue("server_tls")
    return context


@pytest.fixture(autouse=True)
def _surroundings(plain_environment: None) -> None:
    """All of these tests meet their servers directly."""
