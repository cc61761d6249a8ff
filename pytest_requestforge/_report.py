"""How a failed assertion reads."""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from pytest_requestforge._evidence import Evidence
from pytest_requestforge._timeline import clock_time, timeline

__all__ = ["Column", "failure", "times"]


class Column(NamedTuple):
    """A column of the table: its head, its cell for some steps, and the cell of all others."""

    head: str
    cells: Mapping[str, object]
    otherwise: object = 0


def failure(
    headline: str,
    evidence: Evidence,
    columns: Sequence[Column],
    *,
    limits: Mapping[str, int] | None = None,
    surplus: Collection[int] = (),
    info: str | None = None,
) -> str:
    """The text of a failed assertion.

    Args:
        headline: what is wrong.
        evidence: what was seen.
        columns: what the table shows of each step besides its last token, the judged one first.
        limits: how many fetches of a step were right; the timeline marks those beyond.
        surplus: numbers of requests that it marks as well.
        info: the caller's own text.
    """
    return "\n".join(
        [
            headline,
            *([] if info is None else [f"  {info}"]),
            *_table(evidence, columns),
            *_disagreement(evidence, columns[0].cells),
            *timeline(evidence, limits, surplus),
        ]
    )


def times(count: int, one: str = "time", many: str = "times") -> str:
    """The count with its noun, such as "2 times"."""
    return f"{count} {one if count == 1 else many}"


def _table(evidence: Evidence, columns: Sequence[Column]) -> list[str]:
    heads = [column.head for column in columns]
    rows = [("step", heads, "last token")]
    for step in _steps(evidence, columns):
        cells = [str(column.cells.get(step, column.otherwise)) for column in columns]
        rows.append((step, cells, _last_token(evidence, step)))
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
    fetched = (each.step for each in evidence.requests if each.step in evidence.fetched)
    known = chain(fetched, evidence.hits, *(column.cells for column in columns))
    return [step for step in dict.fromkeys(known) if step is not None]


def _last_token(evidence: Evidence, step: str) -> str:
    request = evidence.last_issued(step)
    if request is None:
        return "-"
    if request.ends_at is None:
        return f"{request.issued} (no end)"
    return f"{request.issued} ({evidence.ends} {clock_time(request.ends_at, evidence)})"


def _disagreement(evidence: Evidence, judged: Mapping[str, object]) -> list[str]:
    """Where the library's word on fetches differs from the witness that decides."""
    told = evidence.told
    if told is None:
        return []
    counts = {
        step: (evidence.fetched.get(step, 0), told.get(step, 0))
        for step in dict.fromkeys((*evidence.fetched, *judged))
    }
    differ = [
        f"{step}: {times(arrived, 'request', 'requests')} arrived, "
        f"the library tells of {times(fetched, 'fetch', 'fetches')}"
        for step, (arrived, fetched) in counts.items()
        if arrived != fetched
    ]
    return [f"  witnesses disagree: {'; '.join(differ)}"] if differ else []
