"""What happened to the tokens, line by line, in the order and the time of the test's clock."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from pytest_requestforge._evidence import Evidence, Invalidation, Request
from requestforge.events import MissReason

__all__ = ["clock_time", "timeline"]

_LONGEST = 200
_HEAD = 50

_REASONS: dict[MissReason, str] = {
    "empty": "cache empty",
    "expired": "cached token expired",
    "invalidated": "cached token invalidated",
    "forced": "forced",
    "unreadable": "cached record unreadable",
}


def timeline(
    evidence: Evidence,
    limits: Mapping[str, int] | None = None,
    surplus: Collection[int] = (),
) -> list[str]:
    """Indented lines with a heading and a footer.

    Args:
        evidence: what was seen.
        limits: how many fetches of a step were right; those beyond are marked.
        surplus: numbers of requests that are marked as well.
    """
    start = _start(evidence)
    extra = _extra(evidence.requests, limits or {}) | set(surplus)
    if start is None:
        lines = ["  timeline: no request arrived, and nothing was invalidated"]
    else:
        since = start.isoformat(timespec="seconds").replace("+00:00", "Z")
        lines = [f"  timeline (virtual time from {since})"]
        lines += _aligned(list(_happenings(evidence, start, extra)))
    return [*lines, f"  {evidence.footer}"] if evidence.footer else lines


def clock_time(moment: datetime, evidence: Evidence) -> str:
    """The time of day, with the date unless it is the day on which the timeline starts."""
    start = _start(evidence)
    today = start is not None and start.date() == moment.date()
    return moment.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def _start(evidence: Evidence) -> datetime | None:
    """When the first thing happened, even if the clock was set back later."""
    requests, invalidations = evidence.history, evidence.invalidations
    if invalidations and (not requests or invalidations[0].after == 0):
        return invalidations[0].at
    return requests[0].at if requests else None


def _happenings(
    evidence: Evidence, start: datetime, extra: Collection[int]
) -> Iterator[Sequence[str]]:
    """The cells of each line, in order; an invalidation has fewer than a request."""
    waiting = list(evidence.invalidations)
    for request in evidence.requests:
        while waiting and waiting[0].after < request.number:
            yield _invalidation_cells(waiting.pop(0), start)
        notes = ", ".join(_notes(evidence, request))
        if request.number in extra:
            notes = f"{notes}  {_surplus(evidence, request)}".lstrip()
        yield (
            f"#{request.number}",
            _offset(request.at, start),
            request.call,
            request.answer,
            request.thread,
            notes,
        )
    for invalidation in waiting:
        yield _invalidation_cells(invalidation, start)


def _invalidation_cells(invalidation: Invalidation, start: datetime) -> Sequence[str]:
    where = f" at {invalidation.where}" if invalidation.where else ""
    text = f"{invalidation.what}{where}, cleared {', '.join(invalidation.steps)}"
    return "", _offset(invalidation.at, start), text


def _offset(moment: datetime, start: datetime) -> str:
    return f"{(moment - start).total_seconds():+.1f}s"


def _extra(requests: Sequence[Request], limits: Mapping[str, int]) -> set[int]:
    """The numbers of the requests that were one too many for their step."""
    left = dict(limits)
    extra = set()
    for request in requests:
        if request.step in left:
            left[request.step] -= 1
            if left[request.step] < 0:
                extra.add(request.number)
    return extra


def _surplus(evidence: Evidence, request: Request) -> str:
    """How needless a request was, by what was left of the token before."""
    before = evidence.last_issued(request.step, before=request.number)
    if before is None:
        return "<-- extra"
    if before.ends_at is None:
        return f"<-- extra: {before.issued} had no end"
    left = (before.ends_at - request.at).total_seconds()
    if left > 0:
        return f"<-- extra: {before.issued} had {_seconds(left)} s to live"
    return f"<-- extra: {before.issued} had ended {_seconds(-left)} s before"


def _seconds(seconds: float) -> str:
    return f"{round(seconds, 1):.10g}"


def _notes(evidence: Evidence, request: Request) -> Iterator[str]:
    why = _why(evidence, request)
    if why:
        yield why
    if request.sent:
        yield f"sent {', '.join(request.sent)}"


def _why(evidence: Evidence, request: Request) -> str:
    """Why the cache could not do instead of the request; empty if nobody knows."""
    step = request.step
    earlier = evidence.history[: request.number - 1]
    last = next((each.number for each in reversed(earlier) if each.step == step), 0)
    between = range(last, request.number)
    cleared = [
        each for each in evidence.invalidations if step in each.steps and each.after in between
    ]
    reasons = [
        each.reason for each in evidence.misses if each.step == step and each.after in between
    ]
    reason = reasons[-1] if reasons else None
    if cleared and reason in {None, "empty", "invalidated"}:
        return _cascade(cleared[-1], request, earlier)
    return _REASONS[reason] if reason else ""


def _cascade(cleared: Invalidation, request: Request, earlier: Sequence[Request]) -> str:
    """What the invalidation had to do with the request; empty where its own line says so."""
    root = cleared.steps[0]
    if root == request.step:
        return ""
    for each in earlier[cleared.after :]:
        if each.step == root:
            return f"cascade of #{each.number}"
    return f"cascade of {cleared.what}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines, each column as wide as its widest cell; the middle of a long story left out."""
    widths = [
        max((len(row[place]) for row in rows if place < len(row) - 1), default=0)
        for place in range(6)
    ]
    for place, row in enumerate(rows):
        if _HEAD <= place < len(rows) - (_LONGEST - _HEAD):
            if place == _HEAD:
                yield f"    ... {len(rows) - _LONGEST} lines left out"
            continue
        yield _line(row, widths)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    number, *cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
    return f"    {number} {'  '.join(cells)}".rstrip()
