"""The clock and the steps that the tests of renewals and of backoff share."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from doubles import Clock, CountingStep
from requestforge.instrumentation import use_clock

# What starts, holds and joins threads stands with the tests of races.
sys.path.append(str(Path(__file__).parents[1] / "races"))


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock that stands still until the test moves it."""
    with use_clock(Clock()) as clock:
        yield clock


@pytest.fixture
def app() -> CountingStep:
    """A step whose token lives for an hour."""
    return CountingStep("app", ttl=timedelta(hours=1))


@pytest.fixture
def user() -> CountingStep:
    """The step that needs the first, with a token of the same life."""
    return CountingStep("user", ["app"], ttl=timedelta(hours=1))


@pytest.fixture(autouse=True)
def _no_renewal_is_left() -> Iterator[None]:
    """No thread of a renewal outlives its test."""
    yield
    from renewing import settle  # noqa: PLC0415 - found by the path above

    settle()
