"""How a failed assertion and a timeline read."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import NamedTuple

from pytest_requestforge._evidence import Evidence, Invalidation, Request
from requestforge.events import MissReason

__all__ = ["Column", "failure", "times", "timeline"]


class Column(NamedTuple):
    """A column of the table: its head, what it shows of each step, and of all other steps."""

    head: str
    cells: Mapping[str, object]
    otherwise: object = 0


_LONGEST = 200
_HEAD = 50

_REASONS: dict[MissReason, str] = {
    "empty": "cache empty",
    "expired": "cached token expired",
    "invalidated": "cached token invalidated",
    "forced": "forced",
    "unreadable": "cached record unreadable",
}


def failure(
    headline: str,
    evidence: Evidence,
    columns: Sequence[Column],
    *,
    limits: Mapping[str, int] | None = None,
    info: str | None = None,
) -> str:
    """The text of a failed assertion.

    Args:
        headline: what is wrong.
        evidence: what was seen.
        columns: what the table shows of each step besides its last token.
        limits: how many fetches of a step were right; the timeline marks those beyond.
        info: the caller's own text.
    """
    told = [f"  {info}"] if info is not None else []
    return "\n".join(
        [
            headline,
            *told,
            *_table(evidence, columns),
            *_disagreement(evidence),
            *timeline(evidence, limits),
        ]
    )


def timeline(evidence: Evidence, limits: Mapping[str, int] | None = None) -> list[str]:
    """Lines that tell what happened when, with a heading and a footer."""
    firsts = [each.at for each in (*evidence.history[:1], *evidence.invalidations[:1])]
    lines = ["  timeline: no request arrived, and nothing was invalidated"]
    if firsts:
        start = min(firsts)
        since = start.isoformat(timespec="seconds").replace("+00:00", "Z")
        lines = [
            f"  timeline (virtual time from {since})",
            *_shortened(_happenings(evidence, start, limits or {})),
        ]
    return [*lines, f"  {evidence.footer}"] if evidence.footer else lines


def times(count: int, noun: str = "time") -> str:
    """The count with its noun, such as "2 times"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _table(evidence: Evidence, columns: Sequence[Column]) -> list[str]:
    steps = _steps(evidence, columns)
    rows = [("step", [column.head for column in columns], "last token")] + [
        (
            step,
            [str(column.cells.get(step, column.otherwise)) for column in columns],
            _last_token(evidence, step),
        )
        for step in steps
    ]
    widest = max(len(step) for step, _, _ in rows)
    widths = [max(map(len, cells)) for cells in zip(*(row[1] for row in rows), strict=True)]
    return [
        f"  {step:<{widest}}  "
        + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        + f"   {last}"
        for step, cells, last in rows
    ]


def _steps(evidence: Evidence, columns: Sequence[Column]) -> list[str]:
    """Each step once, in the order of their first fetch, then whatever else is known."""
    fetched = (request.step for request in evidence.requests if request.step in evidence.fetched)
    known = chain(fetched, evidence.hits, *(column.cells for column in columns))
    return [step for step in dict.fromkeys(known) if step is not None]


def _last_token(evidence: Evidence, step: str) -> str:
    request = evidence.last_issued(step)
    if request is None:
        return "-"
    if request.ends_at is None:
        return f"{request.issued} (no end)"
    same_day = request.ends_at.date() == evidence.history[0].at.date()
    moment = request.ends_at.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S")
    return f"{request.issued} ({evidence.ends} {moment})"


def _disagreement(evidence: Evidence) -> list[str]:
    """Where the library's word on fetches differs from the witness that decides."""
    told = evidence.told
    if told is None:
        return []
    differ = [
        f"{step}: {times(count, 'request')} arrived, the library tells of "
        f"{times(told.get(step, 0), 'fetch').replace('fetchs', 'fetches')}"
        for step, count in evidence.fetched.items()
        if told.get(step, 0) != count
    ]
    return [f"  witnesses disagree: {'; '.join(differ)}"] if differ else []
