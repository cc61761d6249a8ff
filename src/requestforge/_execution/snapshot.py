"""The answer of a pipeline whose tokens are all cached, kept until it can change."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from requestforge._execution.batches import Batch
from requestforge._execution.pauses import Window
from requestforge.instrumentation import before
from requestforge.tokens import TokenData, monotonic_end, wall_end

_NO_VERSION = -1


class Origin(NamedTuple):
    """Where tokens came from: a batch, and what a storage and its home told before it was read."""

    version: int | None
    changes: object
    batch: Batch


class Snapshot:
    """The last token, with all that could end its use: two clocks, and a change of the storage.

    The storage tells a change by its version, or else by the content of the next batch.
    """

    __slots__ = (
        "batch",
        "changes",
        "monotonic_end",
        "served",
        "source",
        "token",
        "version",
        "wall_end",
    )

    def __init__(
        self,
        served: Mapping[str, TokenData],
        origin: Origin,
        wall_end: float,
        monotonic: tuple[float, object],
    ) -> None:
        self.served = served
        *_, self.token = served.values()
        self.version = _NO_VERSION if origin.version is None else origin.version
        self.changes = origin.changes
        self.batch = origin.batch
        self.wall_end = wall_end
        self.monotonic_end, self.source = monotonic

    def holds_for(self, batch: Batch, changes: object) -> bool:
        """Whether it is what this batch gives as well."""
        return (
            batch.content is not None  # else tokens kept here alone may have come and gone
            and self.batch.content is batch.content
            and self.changes is changes
            and before(self.wall_end, self.monotonic_end, self.source)
        )


def take_snapshot(
    served: Mapping[str, TokenData], origin: Origin, looks: Iterable[Window] = ()
) -> Snapshot | None:
    """A snapshot that holds until the first of the tokens ends, or is to be looked at.

    None if their monotonic ends count by different sources, so that no one end is the earliest.

    Args:
        served: the tokens by step, that of the last step at the end.
        origin: where they came from.
        looks: the times after which to look at them.
    """
    tokens = served.values()
    windows = [*(Window(wall_end(each), *monotonic_end(each)) for each in tokens), *looks]
    ends = [(end, source) for _, end, source in windows if source is not None]
    if any(source is not ends[0][1] for _, source in ends):
        return None
    monotonic = (min(end for end, _ in ends), ends[0][1]) if ends else (math.inf, None)
    return Snapshot(served, origin, min(window.wall_end for window in windows), monotonic)
