"""The hands of a test's clock: their own, or those of freezegun or time-machine."""

import inspect
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta, tzinfo
from types import FrameType, ModuleType
from typing import Any, NamedTuple, Protocol

import requests.sessions  # noqa: F401 - before a freeze, for the clock that it picks

from pytest_requestforge._extras import needed_by

__all__ = ["Hands", "OwnHands", "frozen", "is_frozen", "real_sleep", "sleeping_by"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = _EPOCH.replace(tzinfo=None)
_MONOTONIC = ("monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")
# They come off freezegun's ignore list: it takes whatever they call, such as the target of a
# thread, for theirs, and shows it the real time.
_HEEDED = ("threading", "queue", "multiprocessing", "_pytest")
# Where the threads of a fake server run.
_SERVER = "pytest_requestforge.fake_auth.loopback"


class Hands(Protocol):
    """What tells the time, and can be moved."""

    def now(self) -> datetime:
        """The time, aware UTC."""
        ...

    def move(self, by: timedelta) -> object:
        """Put it forward, or back."""
        ...


class OwnHands:
    """A time that nothing else shows."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        """The time, aware UTC."""
        return self._now

    def move(self, by: timedelta) -> None:
        """Put it forward, or back."""
        self._now += by


class _FreezegunHands:
    """The time that freezegun shows, in the innermost of several freezes."""

    def __init__(self, api: Any) -> None:  # noqa: ANN401 - the module freezegun.api
        self._api = api

    def now(self) -> datetime:
        since: timedelta = self._api.get_current_time() - _NAIVE_EPOCH
        # A real datetime plus something is a real one again.
        return _EPOCH + since

    def move(self, by: timedelta) -> None:
        self._api.freeze_factories[-1].move_to(self.now() + by)


class _TimeMachineHands:
    """The time to which time-machine has travelled."""

    def __init__(self, traveller: Any) -> None:  # noqa: ANN401 - it has no type of its own
        self._traveller = traveller

    def now(self) -> datetime:
        return _EPOCH + timedelta(microseconds=time.time_ns() // 1000)  # noqa: TID251 - as travelled

    def move(self, by: timedelta) -> None:
        self._traveller.shift(by)


def is_frozen() -> bool:
    """Whether freezegun or time-machine already rules the time."""
    api = sys.modules.get("freezegun.api")
    return _traveller() is not None or bool(api and api.freeze_factories)


@contextmanager
def frozen(start: datetime) -> Iterator[Hands]:
    """Freeze time at `start` within the block, or adopt a freeze that is there already.

    Monotonic time stays real, and so does the time by which pytest and requests measure.

    Raises:
        ImportError: freezegun is not installed.
    """
    traveller = _traveller()
    if traveller is not None:
        yield _TimeMachineHands(traveller)
        return
    with needed_by("A Clock that freezes time"):
        from freezegun import api, config  # noqa: PLC0415 - an optional dependency
    with ExitStack() as stack:
        settings = config.settings
        _set(stack, settings, "default_ignore_list", _heeding(settings.default_ignore_list))
        if api.freeze_factories:
            _adopt(stack, api)
        else:
            _start(stack, api, start)
        _show_local_times(stack, api)
        measuring = _modules("requests.sessions", "_pytest.timing")
        _replace(stack, measuring, {id(api.fake_time): api.real_time})
        yield _FreezegunHands(api)


@contextmanager
def sleeping_by(sleep: Callable[[float], object]) -> Iterator[None]:
    """Make `time.sleep` call `sleep` within the block, in this thread and in those to come.

    Threads that are there already, and those of a fake server, go on sleeping for real. So does
    the standard library where it sleeps on its own account: `subprocess` looks in that way whether
    a process has ended, and gives up by monotonic time, which stays real.
    """
    bystanders = frozenset(threading.enumerate()) - {threading.current_thread()}
    sleeper = _Sleeper(sleep, bystanders)
    with ExitStack() as stack:
        if not _sleepers:
            for module in _modules():
                for name in _names_of_sleep(module):
                    _set(stack, module, name, _sleep)
        _sleepers.append(sleeper)
        stack.callback(_sleepers.remove, sleeper)
        yield


class _Sleeper(NamedTuple):
    """What sleeps for the threads of a test, and the threads that are none of them."""

    sleep: Callable[[float], object]
    bystanders: frozenset[threading.Thread]


_SLEEP_FOR_REAL = ("pytest_requestforge", "_pytest.timing")
real_sleep = time.sleep  # noqa: TID251 - what the clock stands in for
_sleepers: list[_Sleeper] = []
# By name of a module: its id, how much it holds, and what it calls `time.sleep`.
_sleep_names: dict[str, tuple[int, int, Sequence[str]]] = {}


def _sleep(seconds: float, /) -> None:
    """Sleep by the innermost clock; once there is none, for real: some module may keep this."""
    sleeper = _sleepers[-1] if _sleepers else None
    if sleeper is None or threading.current_thread() in sleeper.bystanders or _is_foreign():
        real_sleep(seconds)
    else:
        sleeper.sleep(seconds)


def _is_foreign() -> bool:
    """Whether it is not the code under test that sleeps."""
    frames = _frames()
    return _is_stdlib(next(frames)) or any(_module(frame) == _SERVER for frame in frames)


def _frames() -> Iterator[FrameType]:
    """The callers of `time.sleep`, the innermost first."""
    frame = inspect.currentframe()
    while frame is not None:
        if _module(frame) != __name__:
            yield frame
        frame = frame.f_back


def _is_stdlib(frame: FrameType) -> bool:
    """Whether the standard library sleeps; a thread that was given `sleep` to run does not."""
    is_own = _module(frame).partition(".")[0] in sys.stdlib_module_names
    return is_own and "sleep" in frame.f_code.co_names


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def _names_of_sleep(module: ModuleType) -> Sequence[str]:
    """What the module calls `time.sleep`, noted for the next time: to look takes a while."""
    content = vars(module)
    noted = _sleep_names.get(module.__name__)
    if noted is None or noted[:2] != (id(module), len(content)):
        mocked = not module.__name__.startswith(_SLEEP_FOR_REAL)
        names = [name for name, value in list(content.items()) if mocked and value is real_sleep]
        _sleep_names[module.__name__] = noted = (id(module), len(content), names)
    return [name for name in noted[2] if content[name] is real_sleep]


def _start(stack: ExitStack, api: Any, start: datetime) -> None:  # noqa: ANN401
    # Before the start, so that no thread reads a frozen monotonic time and waits by it for years.
    for name in _MONOTONIC:
        _set(stack, api, f"fake_{name}", getattr(api, f"real_{name}"))
    _set(stack, api, "fake_localtime", _local_time(api))
    freezer = api.freeze_time(start)
    freezer.start()
    stack.callback(freezer.stop)


def _adopt(stack: ExitStack, api: Any) -> None:  # noqa: ANN401
    reals = {id(getattr(api, f"fake_{name}")): getattr(api, f"real_{name}") for name in _MONOTONIC}
    _replace(stack, _modules(), {**reals, id(api.fake_localtime): _local_time(api)})
    _set(stack, api, "ignore_lists", [tuple(_heeding(each)) for each in api.ignore_lists])


def _heeding(ignored: Iterable[str]) -> list[str]:
    return [name for name in ignored if not name.startswith(_HEEDED)]


def _local_time(api: Any) -> Callable[..., time.struct_time]:  # noqa: ANN401
    def fake_localtime(seconds: float | None = None, /) -> time.struct_time:
        # freezegun knows no daylight-saving time.
        return api.real_localtime(api.fake_time() if seconds is None else seconds)  # type: ignore[no-any-return]

    return fake_localtime


def _show_local_times(stack: ExitStack, api: Any) -> None:  # noqa: ANN401
    """Make naive datetimes local, as real ones are; freezegun's are UTC.

    A freeze that was given an offset keeps to it.
    """
    fake, real, hands = api.FakeDatetime, api.real_datetime, _FreezegunHands(api)
    old_now, old_from, old_timestamp = fake.now, fake.fromtimestamp, fake.timestamp
    old_today = api.FakeDate.today

    def naive(t: float) -> datetime:
        # Not by astimezone, which knows nothing of the hour that comes twice.
        local = real.fromtimestamp(t)
        return api.datetime_to_fakedatetime(local).replace(fold=local.fold)  # type: ignore[no-any-return]

    def now(_: type, tz: tzinfo | None = None) -> datetime:
        if tz is not None or api.tz_offsets[-1]:
            return old_now(tz)  # type: ignore[no-any-return]
        return naive(hands.now().timestamp())

    def fromtimestamp(_: type, t: float, tz: tzinfo | None = None) -> datetime:
        if tz is not None or api.tz_offsets[-1]:
            return old_from(t, tz)  # type: ignore[no-any-return]
        return naive(t)

    def timestamp(moment: datetime) -> float:
        if moment.tzinfo is not None or api.tz_offsets[-1]:
            return old_timestamp(moment)  # type: ignore[no-any-return]
        return real.timestamp(moment)  # type: ignore[no-any-return]

    def today(_: type) -> date:
        if api.tz_offsets[-1]:
            return old_today()  # type: ignore[no-any-return]
        return api.date_to_fakedate(hands.now().astimezone())  # type: ignore[no-any-return]

    _set(stack, fake, "now", classmethod(now))
    _set(stack, fake, "fromtimestamp", classmethod(fromtimestamp))
    _set(stack, fake, "timestamp", timestamp)
    _set(stack, api.FakeDate, "today", classmethod(today))


def _traveller() -> Any:  # noqa: ANN401 - what has travelled, or None
    module = sys.modules.get("time_machine")
    if module is None or not module.escape_hatch.is_travelling():
        return None
    # It is named otherwise in older releases.
    stack = getattr(module, "traveller_stack", None) or module.coordinates_stack
    return stack[-1]


def _modules(*names: str) -> list[ModuleType]:
    """The modules of those names that are loaded; without a name: all."""
    loaded: list[object] = (
        [sys.modules.get(name) for name in names] if names else list(sys.modules.values())
    )
    return [module for module in loaded if isinstance(module, ModuleType)]


def _replace(stack: ExitStack, modules: Iterable[ModuleType], new: Mapping[int, object]) -> None:
    """Put something else in place of objects, by their ids, wherever a module has them."""
    for module in modules:
        for name, value in list(vars(module).items()):
            if id(value) in new:
                _set(stack, module, name, new[id(value)])


def _set(stack: ExitStack, owner: object, name: str, value: object) -> None:
    """Set an attribute until the stack is closed."""
    stack.callback(setattr, owner, name, vars(owner)[name])
    setattr(owner, name, value)
