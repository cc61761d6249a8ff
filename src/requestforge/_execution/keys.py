"""Where a step's token lives in a storage, and the ids of its fetches."""

import hashlib
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from urllib.parse import quote

EPOCH_SUFFIX = "#epoch"
"""What the key of a step's epoch ends in."""

_EPOCH = re.compile("[0-9a-f]{12}")

_TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """A step's place in the storage: its key, and a digest that marks its tokens.

    The digest is of whose token it is. It tells a tenant's from that of another pipeline whose
    prefix makes the same key, so in this process it stands for the entry, not the key.
    """

    step: str
    key: str
    tag: str

    @classmethod
    def of(cls, prefix: str, step: str) -> "Entry":
        """The entry of a step in the pipeline with that prefix."""
        key = f"{prefix}:{step}" if prefix else step
        return cls(step, key, _digest(key, b""))

    @classmethod
    def of_tenant(cls, prefix: str, tenant: str, step: str) -> "Entry":
        """The entry of a step for one tenant of the pipeline with that prefix."""
        whose = tenant_prefix(prefix, tenant)
        # With lengths: a prefix and a step may hold whatever separates the parts of a key.
        parts = f"{len(prefix)},{len(whose)}:{whose}:{step}"
        return cls(step, f"{whose}:{step}", _digest(parts, b"tenant"))

    def new_generation(self, epoch: str, nonce: str) -> str:
        """The id of a fetch in that epoch: `tag.epoch.nonce`."""
        return f"{self.tag}.{epoch}.{nonce}"

    def owns(self, generation: str | None) -> bool:
        """Whether a generation is one of this step's."""
        return generation is not None and generation.startswith(f"{self.tag}.")


def tenant_prefix(prefix: str, tenant: str) -> str:
    """The prefix of a tenant's keys.

    The tenant's own part holds no '@', ':' or '#', and is another one for each tenant: what is not
    an unreserved character of RFC 3986 is percent-encoded, half of a surrogate pair as well.
    """
    return f"{prefix}@{quote(tenant, safe='', errors='surrogatepass')}"


def epoch_id(text: str) -> str:
    """The id in an epoch's record; where that is none of ours, a digest of what it holds.

    The id becomes a part of generations, and so of events: nothing else may get there.
    """
    return text if _EPOCH.fullmatch(text) else _digest(text, b"epoch")


def epoch_of(generation: str | None) -> str:
    """The epoch that a generation names; empty for an id of another make."""
    parts = (generation or "").split(".")
    return parts[1] if len(parts) == 3 else ""  # noqa: PLR2004 - tag, epoch, nonce


def _digest(text: str, kind: bytes) -> str:
    """A text of 22 characters that no other `text` of that kind has, by any means known."""
    data = text.encode(errors="surrogatepass")
    digest = hashlib.blake2b(data, digest_size=_TAG_BYTES, person=kind).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
