"""The answer of a pipeline whose tokens are all cached, kept until it can change."""

import math
from collections.abc import Iterable

from requestforge.tokens import TokenData, monotonic_end, wall_end


class Snapshot:
    """The last token, with all that could end its use: two clocks, and a change of the storage."""

    __slots__ = ("monotonic_end", "source", "token", "version", "wall_end")

    def __init__(
        self,
        token: TokenData,
        version: int,
        wall_end: float,
        monotonic: tuple[float, object],
    ) -> None:
        self.token = token
        self.version = version
        self.wall_end = wall_end
        self.monotonic_end, self.source = monotonic


def take_snapshot(token: TokenData, tokens: Iterable[TokenData], version: int) -> Snapshot | None:
    """A snapshot that holds until the first of the tokens ends.

    None if their monotonic ends count by different sources, so that no one end is the earliest.
    """
    tokens = list(tokens)
    ends = [end for end in map(monotonic_end, tokens) if end[1] is not None]
    if any(source is not ends[0][1] for _, source in ends):
        return None
    monotonic = (min(end for end, _ in ends), ends[0][1]) if ends else (math.inf, None)
    return Snapshot(token, version, min(map(wall_end, tokens)), monotonic)
