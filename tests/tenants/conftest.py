"""The clock that the tests of tenants share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from doubles import Clock
from requestforge.instrumentation import use_clock

# What starts, holds and joins threads stands with the tests of races.
sys.path.append(str(Path(__file__).parents[1] / "races"))


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock that stands still until the test moves it."""
    with use_clock(Clock()) as clock:
        yield clock
