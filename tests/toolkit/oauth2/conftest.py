"""The provider that the tests of its rules share."""

import pytest
from oauth2_site import SETTINGS, Site

from pytest_requestforge import Clock, FakeAuth


@pytest.fixture
def site(rf_fake_auth: FakeAuth, rf_clock: Clock) -> Site:
    """A provider with the usual clients and users, in process."""
    return Site(rf_fake_auth, rf_fake_auth.oauth2("/oauth2", **SETTINGS), rf_clock)
