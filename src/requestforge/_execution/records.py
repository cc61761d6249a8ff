"""What a reading of the storage has shown of a step."""

from dataclasses import dataclass
from datetime import UTC, datetime

from requestforge.events import MissReason
from requestforge.tokens import TokenData

RETIRED = datetime(1970, 1, 1, tzinfo=UTC)
"""Expiry of a token that was given up, and is stored for its refresh token alone."""


@dataclass(slots=True)
class Record:
    """What was read for a step.

    `usable`: the token, if it may be served; `token`: the same if it has expired, too; `stored`:
    the generation that the storage holds, and that alone may be replaced; `present`: the same, or
    where the storage has lost it what else tells its token from others; `kept`: whether the token
    is one that the storage failed to keep; `unread`: the storage could not be read, and may hold
    anything; `redeemable`: whether the token's refresh token may be redeemed, since its successor
    can be stored.
    """

    epoch: str = ""
    usable: TokenData | None = None
    token: TokenData | None = None
    stored: str | None = None
    present: str | None = None
    lacking: MissReason = "empty"
    kept: bool = False
    unread: bool = False
    redeemable: bool = True

    def holds(self, generation: str | None) -> bool:
        """Whether the token is the one of that fetch."""
        return self.token is not None and self.token.generation == generation

    @property
    def own_generation(self) -> str | None:
        """The generation that the token has been, or is to be, stored with."""
        return self.token.generation if self.kept and self.token is not None else self.stored

    @property
    def miss_reason(self) -> MissReason:
        """Why there is nothing usable."""
        if self.token is None:
            return self.lacking
        return "invalidated" if self.token.expires_at == RETIRED else "expired"
