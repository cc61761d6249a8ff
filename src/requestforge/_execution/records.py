"""What a reading of the storage has shown of a step."""

from dataclasses import dataclass

from requestforge.events import MissReason
from requestforge.tokens import TokenData


@dataclass(slots=True)
class Record:
    """What was read for a step.

    `usable`: the token, if it may be served; `token`: the same if it has expired, too; `stored`:
    the generation that the storage holds, and that alone may be replaced; `unread`: the storage
    could not be read, and may hold anything.
    """

    epoch: str = ""
    usable: TokenData | None = None
    token: TokenData | None = None
    stored: str | None = None
    lacking: MissReason = "empty"
    unread: bool = False

    def holds(self, generation: str | None) -> bool:
        """Whether the token is the one of that fetch."""
        return self.token is not None and self.token.generation == generation

    @property
    def miss_reason(self) -> MissReason:
        """Why there is nothing usable."""
        return self.lacking if self.token is None else "expired"
