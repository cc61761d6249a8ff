"""Tools that record requests meet the servers of these tests directly."""

import pytest


@pytest.fixture(autouse=True)
def _surroundings(plain_environment: None) -> None:
    """No proxy stands between."""
