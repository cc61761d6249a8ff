"""Where a step's token lives in a storage, and the ids of its fetches."""

import hashlib
import secrets
from dataclasses import dataclass

EPOCH_SUFFIX = "#epoch"
"""What the key of a step's epoch ends in."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A step's place in the storage: its key, and a digest of the key that marks its tokens."""

    step: str
    key: str
    tag: str

    @classmethod
    def of(cls, prefix: str, step: str) -> "Entry":
        """The entry of a step in the pipeline with that prefix."""
        key = f"{prefix}:{step}" if prefix else step
        return cls(step, key, hashlib.blake2b(key.encode(), digest_size=6).hexdigest())

    def new_generation(self, epoch: str) -> str:
        """The id of a fetch in that epoch: `tag.epoch.nonce`."""
        return f"{self.tag}.{epoch}.{secrets.token_hex(8)}"

    def owns(self, generation: str | None) -> bool:
        """Whether a generation is one of this step's."""
        return generation is not None and generation.startswith(f"{self.tag}.")


def epoch_of(generation: str | None) -> str:
    """The epoch that a generation names; empty for an id of another make."""
    parts = (generation or "").split(".")
    return parts[1] if len(parts) == 3 else ""  # noqa: PLR2004 - tag, epoch, nonce
