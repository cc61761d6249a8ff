"""What one batched read of a storage gave, before it is judged what that is worth."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple


class Batch(NamedTuple):
    """One batched read.

    `landings`: how many flights had landed before; `epochs`: what was known here of the steps'
    epochs before; `keys`: what was asked for; `content`: what the storage gave, None if it failed;
    `unreadable`: keys that it could not read.
    """

    landings: int
    epochs: Sequence[tuple[str | None, bool]]
    keys: tuple[str, ...]
    content: Mapping[str, object] | None
    unreadable: AbstractSet[str]
