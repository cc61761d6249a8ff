"""Threads that a test starts, stops at gates and joins, each wait with a limit."""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Generic, TypeVar

import requestforge
from doubles import BasicStorage, CountingStep, RecordingStorage
from requestforge import InMemoryTokenStorage, TokenData
from requestforge.events import Event
from requestforge.instrumentation import observe
from requestforge.interfaces import TokenStorageInterface

T = TypeVar("T")

STORAGES: list[Callable[[], TokenStorageInterface | BasicStorage]] = [
    InMemoryTokenStorage,
    RecordingStorage,
    BasicStorage,
]
STORAGE_IDS = ["in memory", "shared", "four methods"]

TraceFunction = Callable[[FrameType, str, object], object]

_LIBRARY = str(Path(requestforge.__file__).parent)

LIMIT = 10.0
"""Seconds after which a wait counts as a hang."""


class Interrupt(BaseException):
    """An exception that is no Exception."""


class Task(Generic[T]):
    """A call under way in a thread of its own."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._results: list[T] = []
        self._errors: list[BaseException] = []
        self._lock = threading.Lock()
        self._told: list[threading.Event] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def result(self) -> T:
        """What the call gave; what it raised is raised here."""
        error = self.outcome()
        if isinstance(error, BaseException):
            raise error
        return error

    def error(self) -> BaseException:
        """What the call raised."""
        error = self.outcome()
        assert isinstance(error, BaseException), f"It gave {error!r} instead of an error."
        return error

    def outcome(self) -> T | BaseException:
        """What the call gave or raised."""
        self._thread.join(LIMIT)
        assert not self._thread.is_alive(), "The thread hangs."
        return (self._results or self._errors)[0]

    def tell(self, event: threading.Event) -> None:
        """Set the event once the call has ended."""
        with self._lock:
            self._told.append(event)
            if self._results or self._errors:
                event.set()

    def _run(self) -> None:
        try:
            self._results.append(self._call())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self._errors.append(error)
        with self._lock:
            for event in self._told:
                event.set()


def together(count: int, call: Callable[[], T]) -> list[T | BaseException]:
    """What `count` threads that call at the same time get or raise."""
    start = threading.Barrier(count)

    def run() -> T:
        start.wait(LIMIT)
        return call()

    tasks = [Task(run) for _ in range(count)]
    return [task.outcome() for task in tasks]


class Gate:
    """A place where the first threads to pass wait until the test lets them on.

    Args:
        holds: how many of them; later ones pass.
    """

    def __init__(self, holds: int = 1) -> None:
        self._lock = threading.Lock()
        self._holds = holds
        self._reached = threading.Event()
        self._reached_or_ended = threading.Event()
        self._opened = threading.Event()

    def __call__(self) -> None:
        """Wait here, if this thread is one of those to be held."""
        with self._lock:
            held = self._holds > 0
            self._holds -= 1
        if held:
            self._reached.set()
            self._reached_or_ended.set()
            assert self._opened.wait(LIMIT), "The gate was never opened."

    def until_reached(self) -> None:
        """Return once a thread waits here."""
        assert self._reached.wait(LIMIT), "No thread came to the gate."

    def reached_before(self, task: "Task[object]") -> bool:
        """Whether a thread came here, once one did or the task ended."""
        task.tell(self._reached_or_ended)
        assert self._reached_or_ended.wait(LIMIT), "No thread came to the gate, nor to its end."
        return self._reached.is_set()

    def open(self) -> None:
        """Let all threads on."""
        self._opened.set()


class Watch:
    """An observer that keeps all events, and lets a test wait for some."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def of(self, kind: type[T], step: str | None = None) -> list[T]:
        """The events of that kind, of all steps or of one."""
        return [
            event
            for event in list(self.events)
            if isinstance(event, kind) and step in (None, getattr(event, "step", None))
        ]

    def until(self, count: int, kind: type[object], step: str | None = None) -> None:
        """Return once that many such events have come."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.of(kind, step)) >= count, LIMIT)
        assert came, f"{len(self.of(kind, step))} of {count} {kind.__name__} came."


@contextmanager
def watched() -> Iterator[Watch]:
    """A Watch of what happens within the block."""
    with observe(Watch()) as watch:
        yield watch


class ScriptedStorage(RecordingStorage):
    """A storage on a dict, which several may share as processes do, with calls at set moments.

    Args:
        tokens: what it holds; None: a dict of its own.
        shared: what it says of itself.
        loses: whether it loses the generation, as one that keeps the six fields of 1.0.0 does.
    """

    def __init__(
        self,
        tokens: dict[str, TokenData] | None = None,
        *,
        shared: bool = True,
        loses: bool = False,
    ) -> None:
        super().__init__(shared=shared)
        self._loses = loses
        if tokens is not None:
            self.tokens = tokens
        self._scripts: list[tuple[str, str, Callable[[], object]]] = []
        self._in: dict[int, Callable[[], object]] = {}
        self.moments = 0

    def once(self, moment: str, key: str, call: Callable[[], object]) -> None:
        """Call back at the next such moment, such as `"before set"` or `"after get_many"`.

        `get_many` is told by each of its keys.
        """
        self._scripts.append((moment, key, call))

    def in_moments(self, count: int, call: Callable[[], object]) -> None:
        """Call back after so many further moments, whatever they are."""
        self._in[self.moments + count] = call

    def get(self, key: str) -> TokenData | None:
        self._at("before get", key)
        token = super().get(key)
        self._at("after get", key)
        return token

    def set(self, key: str, token: TokenData) -> None:
        self._at("before set", key)
        super().set(key, replace(token) if self._loses else token)
        self._at("after set", key)

    def delete(self, key: str) -> None:
        self._at("before delete", key)
        super().delete(key)
        self._at("after delete", key)

    def get_many(self, keys: Iterable[str]) -> dict[str, TokenData]:
        keys = list(keys)
        self._at("before get_many", *keys)
        found = super().get_many(keys)
        self._at("after get_many", *keys)
        return found

    def _at(self, moment: str, *keys: str) -> None:
        self.moments += 1
        call = self._in.pop(self.moments, None)
        if call is not None:
            call()
        for script in list(self._scripts):
            if script[0] == moment and script[1] in keys:
                self._scripts.remove(script)
                script[2]()


def at_line(number: int, call: Callable[[], T], then: Callable[[], object]) -> T:
    """Make a call, and in the middle of it another: before that line of the library's code is run.

    Lines count from 1, in the order in which they are run, and so do entries of functions.
    """
    left = number

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        nonlocal left
        if not frame.f_code.co_filename.startswith(_LIBRARY):
            return None
        if event in {"call", "line"}:
            left -= 1
            if left == 0:
                then()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return call()
    finally:
        sys.settrace(before)


def interrupted(number: int, call: Callable[[], object]) -> bool:
    """Make a call, and raise Interrupt in the middle of it, as the handler of a signal does.

    That is at the entry of a function, or at the end of a call of a built-in one: where Python
    looks for signals. Such moments of the library's code count from 1. Gives whether there was
    that moment.
    """
    left = number

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        if event in {"call", "c_return"} and frame.f_code.co_filename.startswith(_LIBRARY):
            left -= 1
            if left == 0:
                raise Interrupt

    sys.setprofile(profile)
    try:
        with suppress(Interrupt):
            call()
    finally:
        sys.setprofile(None)
    return left <= 0


def chain() -> list[CountingStep]:
    """Three steps, each built on the one before it."""
    return [
        CountingStep("device"),
        CountingStep("app", ["device"]),
        CountingStep("user", ["app"]),
    ]


def fetches(steps: list[CountingStep]) -> list[int]:
    """How often each step was fetched."""
    return [step.fetches for step in steps]


def values(outcomes: Iterable[TokenData | BaseException]) -> set[object]:
    """The access tokens, and whatever else there is."""
    return {each.access_token if isinstance(each, TokenData) else each for each in outcomes}


def pair() -> tuple[CountingStep, CountingStep]:
    """An app token, and a user token built on it."""
    return CountingStep("app"), CountingStep("user", ["app"])


def app_behind(user: CountingStep, token: TokenData) -> str:
    """The app token that the fetch of this user token was given."""
    number = int(token.access_token.removeprefix("user-"))
    context = user.contexts[number - 1]
    assert context is not None
    return context["app"].access_token
