"""What one batched read of a storage gave, before it is judged what that is worth."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple


class Local(NamedTuple):
    """What is known of an epoch before the storage is read.

    `epoch`: the epoch, if it is known without the storage; `fenced`: whether a record of another
    may be older; `saves`: how many epochs this process had begun in the storage by then.
    """

    epoch: str | None
    fenced: bool
    saves: int = 0


class Batch(NamedTuple):
    """One batched read.

    `landings`: how many flights had landed before; `epochs`: what was known here of the steps'
    epochs before; `keys`: what was asked for; `content`: what the storage gave, None if it failed;
    `unreadable`: keys that it could not read.
    """

    landings: int
    epochs: Sequence[Local]
    keys: tuple[str, ...]
    content: Mapping[str, object] | None
    unreadable: AbstractSet[str]
