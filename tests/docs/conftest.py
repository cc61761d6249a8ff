"""What the tests of the reference page share."""

import pytest
from reference_page import Endpoints, Page

from pytest_requestforge import FakeAuth


@pytest.fixture
def page() -> Page:
    """A page of which nothing has run yet."""
    return Page()


@pytest.fixture
def endpoints(rf_fake_auth: FakeAuth) -> Endpoints:
    """Defines the endpoints that an example talks to."""
    return Endpoints(rf_fake_auth)
