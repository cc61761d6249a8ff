"""What one run tells observers of its cache: each hit and each miss once, however it goes on."""

from requestforge._execution.records import Record
from requestforge._execution.reports import Reports
from requestforge.events import MissReason
from requestforge.tokens import TokenData


class Telling:
    """The reports of one run."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._hits: dict[str, str | None] = {}
        self._misses: set[str] = set()

    def hit(self, step: str, token: TokenData) -> None:
        """The token was served from the cache; a run that starts over serves it again."""
        if self._hits.get(step) != token.generation:
            self._hits[step] = token.generation
            self._reports.cached(step, token)

    def miss(self, step: str, first: Record, record: Record, *, forced: bool) -> None:
        """There was nothing to serve.

        Args:
            step: the step's name.
            first: what the run had read at the start.
            record: what was read last.
            forced: there was something, but it would not do.
        """
        if step in self._misses:
            return
        self._misses.add(step)
        if record.miss_reason == "empty" and first.usable is None:
            record = first  # it may have seen what that reading has removed
        reason: MissReason = "forced" if forced else record.miss_reason
        generation = record.token.generation if record.token else record.stored
        self._reports.missed(step, reason, record.token, generation)
