"""What was seen of tokens: requests, cache hits and misses, invalidations."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from requestforge.events import MissReason

__all__ = ["START", "Evidence", "Hit", "Invalidation", "Mark", "Miss", "Request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that arrived, or a fetch that the library told of.

    Attributes:
        number: its place among all requests, from 1.
        step: the step whose token it asked for; None: it asked for no token.
        at: when (aware UTC).
        call: what was asked, such as "POST /v1/app/token".
        answer: what came of it, such as "200 issued app_token#1".
        thread: name of the thread that sent or served it.
        issued: label of the token that it gave.
        ends_at: when that token ends (aware UTC); None: never.
        sent: labels of the tokens that it carried.
        asked: what tells it from a request for another's token, such as that of another tenant.
        refused: labels of the tokens that it carried in vain.
        is_faulty: whether a fault struck it, so that its token may not have arrived.
    """

    number: int
    step: str | None
    at: datetime
    call: str
    answer: str
    thread: str
    issued: str | None = None
    ends_at: datetime | None = None
    sent: Sequence[str] = ()
    asked: str = ""
    refused: Sequence[str] = ()
    is_faulty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A token that came from the cache; `after`: how many requests came before."""

    step: str
    at: datetime
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """A look into the cache that found nothing usable; `after`: how many requests came before."""

    step: str
    reason: MissReason
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalidation:
    """Tokens given up together.

    Attributes:
        at: when (aware UTC).
        after: how many requests came before.
        what: what gave them up, such as `invalidate_step("app_token")`.
        where: "file:line" of the caller; empty if it was the library itself.
        steps: in the order in which they were given up.
    """

    at: datetime
    after: int
    what: str
    where: str
    steps: Sequence[str]


@dataclass(frozen=True, slots=True)
class Mark:
    """An instant: how many requests and events there had been."""

    requests: int
    events: int


START = Mark(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a witness saw since a mark.

    Attributes:
        history: every request, those before the mark included.
        since: how many of them came before the mark.
        fetched: the fetches of each step.
        told: the same as told by the library, where another witness decides; else None.
        served: every token that came from the cache.
        misses: every miss.
        invalidations: every invalidation.
        uses: the end of use of each step's last token as the library told it; None: without end.
        now: when this was seen (aware UTC).
        ends: what the end of a token is called: "expires" or "use ends".
        footer: what is worth knowing about the witness, such as its seed.
    """

    history: Sequence[Request]
    since: int
    fetched: Mapping[str, int]
    told: Mapping[str, int] | None
    served: Sequence[Hit]
    misses: Sequence[Miss]
    invalidations: Sequence[Invalidation]
    uses: Mapping[str, datetime | None]
    now: datetime
    ends: str
    footer: str

    @property
    def requests(self) -> Sequence[Request]:
        """The requests since the mark."""
        return self.history[self.since :]

    @property
    def hits(self) -> Mapping[str, int]:
        """How often each step was served from the cache."""
        return Counter(hit.step for hit in self.served)

    @property
    def missed(self) -> Mapping[str, int]:
        """How often the cache had nothing usable for each step."""
        return Counter(miss.step for miss in self.misses)

    @property
    def invalidated(self) -> frozenset[str]:
        """The steps whose tokens were given up."""
        return frozenset(step for each in self.invalidations for step in each.steps)

    def last_issued(self, step: str | None, before: int | None = None) -> Request | None:
        """The last request that gave a token of the step.

        Args:
            step: name of the step.
            before: only requests before the one with this number.
        """
        earlier = self.history if before is None else self.history[: before - 1]
        for request in reversed(earlier):
            if request.step == step and request.issued is not None:
                return request
        return None
