"""What happened in a test, as a picture has it: lanes, marks on them, and the lives of tokens."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypedDict

from pytest_requestforge._evidence import Evidence, Hit, Invalidation, Request
from pytest_requestforge._timeline import clock_time

__all__ = ["Life", "MarkOnLane", "Story", "story_of"]

_LONGEST = 400
_OVER = "ended"


class MarkOnLane(TypedDict):
    """Something that happened to one step.

    Attributes:
        kind: "fetch", "request", "refused", "fault", "hit", "invalidation" or "expiry".
        lane: number of the lane.
        place: number of the happening, from 0; several may share one.
        text: what to know of it.
    """

    kind: str
    lane: int
    place: int
    text: str


class Life(TypedDict):
    """The time in which a token could be used, from one happening to another.

    `is_over` says that its own end came, before the last of them.
    """

    lane: int
    begin: int
    end: int
    is_over: bool
    text: str


class Story(TypedDict):
    """All of it.

    Attributes:
        footer: what is worth knowing of the server.
        start: the first moment, in ISO 8601.
        lanes: names of the steps, and of requests that were for none.
        offsets: of each happening, in seconds from the start.
        marks: what happened.
        lives: how long tokens could be used.
        left_out: how many happenings are not told.
    """

    footer: str
    start: str
    lanes: list[str]
    offsets: list[float]
    marks: list[MarkOnLane]
    lives: list[Life]
    left_out: int


class _Happening(NamedTuple):
    """Something that happened, and its place in the order of all."""

    order: tuple[int, int, int]
    at: datetime
    what: Request | Hit | Invalidation


def story_of(evidence: Evidence) -> Story | None:
    """The story of what was seen; None: nothing was."""
    happenings = sorted(_happenings(evidence), key=lambda each: each.order)
    left_out = max(0, len(happenings) - _LONGEST)
    happenings = happenings[left_out:]
    if not happenings:
        return None
    start = happenings[0].at
    lanes = list(dict.fromkeys(lane for each in happenings for lane in _lanes(each.what)))
    places = {lane: number for number, lane in enumerate(lanes)}
    marks = [mark for place, each in enumerate(happenings) for mark in _marks(each, place, places)]
    lives = list(_lives(happenings, places, evidence))
    ended = [_expiry(life) for life in lives if life["is_over"]]
    return Story(
        footer=evidence.footer,
        start=start.isoformat(timespec="seconds").replace("+00:00", "Z"),
        lanes=lanes,
        offsets=[(each.at - start).total_seconds() for each in happenings],
        marks=marks + ended,
        lives=lives,
        left_out=left_out,
    )


def _happenings(evidence: Evidence) -> Iterator[_Happening]:
    for request in evidence.requests:
        yield _Happening((request.number, 0, 0), request.at, request)
    events: list[Invalidation | Hit] = [*evidence.invalidations, *evidence.served]
    for number, event in enumerate(events):
        yield _Happening((event.after, 1, number), event.at, event)


def _lanes(what: Request | Hit | Invalidation) -> Sequence[str]:
    if isinstance(what, Invalidation):
        return what.steps
    if isinstance(what, Hit):
        return [what.step]
    return [what.step or what.call]


def _marks(each: _Happening, place: int, lanes: Mapping[str, int]) -> Iterator[MarkOnLane]:
    for name in _lanes(each.what):
        kind, text = _told(each.what)
        yield MarkOnLane(kind=kind, lane=lanes[name], place=place, text=text)


def _told(what: Request | Hit | Invalidation) -> tuple[str, str]:
    """The kind of a mark, and its text."""
    if isinstance(what, Hit):
        return "hit", f"{what.step} served from the cache"
    if isinstance(what, Invalidation):
        where = f" at {what.where}" if what.where else ""
        return "invalidation", f"{what.what}{where}, cleared {', '.join(what.steps)}"
    sent = f", sent {', '.join(what.sent)}" if what.sent else ""
    text = f"#{what.number} {what.call}: {what.answer}{sent} ({what.thread})"
    if what.is_faulty:
        return "fault", text
    if what.issued is not None:
        return "fetch", text
    return ("refused" if what.step or what.refused else "request"), text


def _lives(
    happenings: Sequence[_Happening], lanes: Mapping[str, int], evidence: Evidence
) -> Iterator[Life]:
    """Each token's life until it ended, was given up or replaced, or until the end."""
    for begin, each in enumerate(happenings):
        request = each.what
        if not isinstance(request, Request) or request.issued is None or request.step is None:
            continue
        end, how = _end(happenings, begin, request)
        until = "" if request.ends_at is None else f" until {clock_time(request.ends_at, evidence)}"
        text = f"{request.issued}{until}, {how}"
        is_over = how == _OVER
        yield Life(lane=lanes[request.step], begin=begin, end=end, is_over=is_over, text=text)


def _end(happenings: Sequence[_Happening], begin: int, request: Request) -> tuple[int, str]:
    """Where the life of the request's token ends, and by what."""
    for place, each in enumerate(happenings[begin + 1 :], begin + 1):
        what = each.what
        if request.ends_at is not None and each.at >= request.ends_at:
            return place, _OVER
        if isinstance(what, Invalidation) and request.step in what.steps:
            return place, "given up"
        if isinstance(what, Request) and what.step == request.step and what.issued is not None:
            return place, "replaced"
    return len(happenings), "still good"


def _expiry(life: Life) -> MarkOnLane:
    return MarkOnLane(kind="expiry", lane=life["lane"], place=life["end"], text=life["text"])
