"""What the library told of itself: its events, counted and asked about."""

import inspect
import threading
from collections import Counter
from collections.abc import Sized
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from types import FrameType, TracebackType
from typing import NamedTuple, Self

from pytest_requestforge._evidence import START, Evidence, Hit, Invalidation, Mark, Miss, Request
from pytest_requestforge._witness import Witness
from requestforge.events import (
    Event,
    InvalidationCause,
    MissReason,
    RequestSent,
    StepCached,
    StepFailed,
    StepFetched,
    StepInvalidated,
    StepMissed,
)
from requestforge.instrumentation import now, observe

__all__ = ["Recorder"]

_FETCHES = (StepFetched, StepFailed)


class Recorder(Witness):
    """Records the library's events while it is entered; a context manager.

    Args:
        journal: the requests that a fake server noted, to order the events among them.
    """

    def __init__(self, journal: Sized | None = None) -> None:
        self._journal = journal
        # Appending is atomic, so that threads need no lock.
        self._seen: list[_Seen] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start to record."""
        self._stack.enter_context(observe(self._note))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop recording; what was recorded stays."""
        self._stack.close()

    @property
    def events(self) -> list[Event]:
        """Every event, in order."""
        return self.since(0)

    def mark(self) -> int:
        """The place where the events end now, for `since`."""
        return len(self._seen)

    def since(self, mark: int) -> list[Event]:
        """The events that came after that mark."""
        return [seen.event for seen in self._seen[mark:]]

    @property
    def hits(self) -> dict[str, int]:
        """How often each step was served from the cache."""
        return dict(Counter(each.step for each in self.events if isinstance(each, StepCached)))

    @property
    def misses(self) -> dict[str, dict[MissReason, int]]:
        """How often, and for which reason, the cache had nothing usable for each step."""
        counts: dict[str, dict[MissReason, int]] = {}
        for event in self.events:
            if isinstance(event, StepMissed):
                reasons = counts.setdefault(event.step, {})
                reasons[event.reason] = reasons.get(event.reason, 0) + 1
        return counts

    @property
    def fetches(self) -> dict[str, int]:
        """How often each step was fetched, failures included."""
        return dict(Counter(each.step for each in self.events if isinstance(each, _FETCHES)))

    @property
    def invalidations(self) -> dict[str, dict[InvalidationCause, int]]:
        """How often, and by which cause, each step's token was given up."""
        counts: dict[str, dict[InvalidationCause, int]] = {}
        for event in self.events:
            if isinstance(event, StepInvalidated):
                causes = counts.setdefault(event.step, {})
                causes[event.cause] = causes.get(event.cause, 0) + 1
        return counts

    @property
    def retries(self) -> dict[str, int]:
        """How often each request of a client, such as "GET https://host/path", was tried again."""
        sent = (each for each in self.events if isinstance(each, RequestSent) and each.attempt)
        return dict(Counter(f"{each.method} {each.url}" for each in sent))

    def moment(self) -> Mark:
        """Now, for `evidence`."""
        return Mark(requests=sum(self.fetches.values()), events=self.mark())

    def evidence(self, since: Mark = START) -> Evidence:
        """What was seen since that moment."""
        history: list[Request] = []
        served: list[Hit] = []
        misses: list[Miss] = []
        invalidations = _Invalidations()
        uses: dict[str, datetime | None] = {}
        before = 0
        for place, seen in enumerate(self._seen):
            event = seen.event
            if isinstance(event, _FETCHES):
                history.append(_fetch(event, seen, history))
            if isinstance(event, StepFetched | StepCached):
                uses[event.step] = event.ends_at
            elif isinstance(event, StepInvalidated):
                uses.pop(event.step, None)
            after = len(history) if seen.after is None else seen.after
            if place < since.events:
                before = len(history)
            elif isinstance(event, StepCached):
                served.append(Hit(step=event.step, at=event.at, after=after))
            elif isinstance(event, StepMissed):
                misses.append(Miss(step=event.step, reason=event.reason, after=after))
            elif isinstance(event, StepInvalidated):
                invalidations.add(event, seen, after)
        return Evidence(
            history=history,
            since=before,
            fetched=Counter(each.step for each in history[before:] if each.step),
            told=None,
            served=served,
            misses=misses,
            invalidations=invalidations.told(),
            uses=uses,
            now=now(),
            ends="use ends",
            footer="",
        )

    def _note(self, event: Event) -> None:
        after = None if self._journal is None else len(self._journal)
        call = _call() if isinstance(event, StepInvalidated) and event.cause == "call" else None
        self._seen.append(_Seen(event, after, threading.current_thread(), call))


class _Call(NamedTuple):
    """Who called the library: the function that was called, and "file:line" of the caller."""

    function: str
    where: str


class _Seen(NamedTuple):
    """An event, how many entries the journal had, and who caused it."""

    event: Event
    after: int | None
    thread: threading.Thread
    call: _Call | None


@dataclass
class _Group:
    """Tokens that one thread gave up for one reason."""

    seen: _Seen
    event: StepInvalidated
    after: int
    steps: list[str]

    def takes(self, event: StepInvalidated, seen: _Seen, after: int) -> bool:
        """Whether the event tells of one more token of the group, and if so, adds it."""
        same = (event.cause, seen.call, after) == (self.event.cause, self.seen.call, self.after)
        if event.step in self.steps or not (same or event.cause == "cascade"):
            return False
        self.steps.append(event.step)
        return True

    def told(self) -> Invalidation:
        """The group as one happening."""
        call = self.seen.call
        if call is None:
            what = {"refresh": "refresh", "repair": "chain repair"}.get(self.event.cause, "cascade")
        elif call.function == "invalidate_step":
            what = f'invalidate_step("{self.event.step}")'
        else:
            what = f"{call.function}()"
        return Invalidation(
            at=self.event.at,
            after=self.after,
            what=what,
            where=call.where if call else "",
            steps=self.steps,
        )


class _Invalidations:
    """Invalidations, grouped as they happened."""

    def __init__(self) -> None:
        self._groups: list[_Group] = []
        self._last: dict[threading.Thread, _Group] = {}

    def add(self, event: StepInvalidated, seen: _Seen, after: int) -> None:
        """Add an event to the last group of its thread, or to a new one."""
        last = self._last.get(seen.thread)
        if last is None or not last.takes(event, seen, after):
            group = _Group(seen, event, after, [event.step])
            self._groups.append(group)
            self._last[seen.thread] = group

    def told(self) -> list[Invalidation]:
        """All groups, in order."""
        return [group.told() for group in self._groups]


def _fetch(event: StepFetched | StepFailed, seen: _Seen, history: list[Request]) -> Request:
    """The fetch as the next request of the history."""
    token = None
    if isinstance(event, StepFailed):
        answer = f"failed: {event.error}"
    else:
        got = sum(each.step == event.step and each.issued is not None for each in history)
        token = f"{event.step}#{got + 1}"
        answer = f"got {token}"
    return Request(
        number=len(history) + 1,
        step=event.step,
        at=event.at,
        call=f"fetch {event.step}",
        answer=answer,
        thread=seen.thread.name,
        issued=token,
        ends_at=event.ends_at,
        asked=event.pipeline,
    )


def _call() -> _Call:
    """The call into the library that this thread is in, and where the caller is."""
    frame = inspect.currentframe()
    function = ""
    while frame is not None and _is_own(frame):
        if not _module(frame).startswith("pytest_"):
            function = frame.f_code.co_name
        frame = frame.f_back
    where = "" if frame is None else f"{PurePath(frame.f_code.co_filename).name}:{frame.f_lineno}"
    return _Call(function, where)


def _module(frame: FrameType) -> str:
    """Name of the package that the frame's code is in."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _is_own(frame: FrameType) -> bool:
    return _module(frame) in {"requestforge", "pytest_requestforge"}
