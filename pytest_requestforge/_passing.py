"""How the time passes that a fake server takes to answer in process."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from requestforge import instrumentation

__all__ = ["pass_time", "ruling"]


class Advancing(Protocol):
    """What is asked of a Clock."""

    def advance(self, seconds: float = 0) -> object:
        """Move on."""
        ...


_clocks: list[Advancing] = []


@contextmanager
def ruling(clock: Advancing) -> Iterator[None]:
    """Within the block the time of the test passes by that clock."""
    _clocks.append(clock)
    try:
        yield
    finally:
        _clocks.remove(clock)


def pass_time(seconds: float) -> None:
    """Let the time pass that a fake server takes: by the innermost clock, or else for real."""
    if _clocks:
        _clocks[-1].advance(seconds)
    else:
        instrumentation.sleep(seconds)
