"""The clock, the storages and the two steps that the tests of pipelines share."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from doubles import (
    BasicStorage,
    Clock,
    CountingStep,
    JsonStorage,
    RecordingStorage,
    SixFieldStorage,
    TellingStorage,
)
from requestforge import InMemoryTokenStorage
from requestforge.instrumentation import use_clock

STORAGES = {
    "in memory": InMemoryTokenStorage,
    "in memory, bounded": lambda: InMemoryTokenStorage(max_entries=1000),
    "shared": RecordingStorage,
    "unshared": lambda: RecordingStorage(shared=False),
    "json": JsonStorage,
    "json, unshared": lambda: JsonStorage(shared=False),
    "telling": TellingStorage,
    "telling, unshared": lambda: TellingStorage(shared=False),
    "four methods": BasicStorage,
    "six fields": SixFieldStorage,
    "six fields, unshared": lambda: SixFieldStorage(shared=False),
}


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock that stands still until the test moves it."""
    with use_clock(Clock()) as clock:
        yield clock


@pytest.fixture(params=STORAGES.values(), ids=STORAGES.keys())
def storage(request: pytest.FixtureRequest) -> object:
    """One of each kind of storage."""
    make: Callable[[], object] = request.param
    return make()


@pytest.fixture
def app() -> CountingStep:
    """The first step."""
    return CountingStep("app", ttl=timedelta(hours=1))


@pytest.fixture
def user() -> CountingStep:
    """The step that needs the first."""
    return CountingStep("user", ["app"], ttl=timedelta(minutes=30))
