"""What a clock does to the time of everything else in the process."""

import asyncio
import multiprocessing.pool
import queue
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import _pytest.timing
import freezegun
import freezegun.api
import freezegun.config
import pytest
import requests.sessions
import time_machine

from pytest_requestforge import Clock, FakeAuth
from requestforge import instrumentation

START = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def real_time() -> float:
    """Seconds since 1970 that no tool freezes."""
    return time.clock_gettime(time.CLOCK_REALTIME)


@contextmanager
def by_freezegun() -> Iterator[Any]:
    """A freeze like that of pytest-freezer."""
    with freezegun.freeze_time("2025-05-05", ignore=["_pytest.runner"]) as freezer:
        yield freezer


@contextmanager
def by_time_machine() -> Iterator[Any]:
    """Time as time-machine's fixture leaves it."""
    with time_machine.travel(datetime(2025, 5, 5, tzinfo=UTC), tick=False) as traveller:
        yield traveller


both_tools = pytest.mark.parametrize(
    "tool",
    [pytest.param(by_freezegun, id="freezegun"), pytest.param(by_time_machine, id="machine")],
)
owned_and_adopted = pytest.mark.parametrize(
    "around", [pytest.param(ExitStack, id="own freeze"), pytest.param(by_freezegun, id="adopted")]
)


def test_the_users_own_time_agrees() -> None:
    """Every way to ask for the time gives the clock's."""
    with Clock() as clock:
        clock.advance(90.25)
        moment = START + timedelta(seconds=90.25)
        assert datetime.now(UTC) == clock.now() == moment
        assert time.time() == moment.timestamp()
        assert time.time_ns() == moment.timestamp() * 1e9
        assert time.gmtime()[:6] == (2030, 1, 1, 0, 1, 30)
        assert datetime.now().astimezone(UTC) == moment


def test_without_freeze_only_the_library_sees_it() -> None:
    """`freeze=False` leaves the time of everything else alone, `time.sleep` included."""
    sleep = time.sleep
    with Clock(freeze=False) as clock:
        assert time.sleep is sleep
        assert abs(time.time() - real_time()) < 60
        assert instrumentation.now() == clock.now() == START


def test_without_freeze_it_needs_no_freezegun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a clock that freezes asks for freezegun, and says how to install it."""
    monkeypatch.setitem(sys.modules, "freezegun", None)
    with Clock(freeze=False):
        assert instrumentation.now() == START
    clock = Clock()
    with pytest.raises(ImportError, match=r"freezegun.*pip install 'requestforge\[testing\]'"):
        clock.__enter__()
    assert abs(instrumentation.now().timestamp() - real_time()) < 60


def test_it_freezes_once_and_then_ticks() -> None:
    """However often the clock moves, there is one freeze, which the block's end takes away."""
    with Clock() as clock:
        for _ in range(3):
            clock.advance(60)
        clock.move_to(START + HOUR)
        assert len(freezegun.api.freeze_factories) == 1
        assert datetime.now(UTC) == START + HOUR
    assert not freezegun.api.freeze_factories
    assert abs(time.time() - real_time()) < 60


def test_a_freeze_of_the_test_within_it_is_followed() -> None:
    """Where the test freezes once more, the clock shows and moves that time."""
    with Clock() as clock:
        with freezegun.freeze_time("2031-05-05"):
            assert clock.now() == datetime(2031, 5, 5, tzinfo=UTC)
            clock.advance(60)
            assert datetime.now(UTC) == datetime(2031, 5, 5, 0, 1, tzinfo=UTC)
        assert clock.now() == START


def in_thread(ask: Callable[[], float]) -> float:
    """The answer of a plain thread."""
    answers: list[float] = []
    thread = threading.Thread(target=lambda: answers.append(ask()))
    thread.start()
    thread.join(10)
    return answers[0]


def as_thread_target(ask: Callable[[], float]) -> float:
    """The answer of a thread whose target is the function itself."""
    answers: queue.Queue[float] = queue.Queue()

    class Asking(threading.Thread):
        def run(self) -> None:
            answers.put(ask())

    Asking().start()
    return answers.get(timeout=10)


def in_timer(ask: Callable[[], float]) -> float:
    """The answer of a timer."""
    answers: queue.Queue[float] = queue.Queue()
    threading.Timer(0.0, lambda: answers.put(ask())).start()
    return answers.get(timeout=10)


def in_pool(ask: Callable[[], float]) -> float:
    """The answer of a future."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(ask).result(timeout=10)


def in_multiprocessing_pool(ask: Callable[[], float]) -> float:
    """The answer of a thread of multiprocessing."""
    with multiprocessing.pool.ThreadPool(1) as pool:
        return pool.apply(ask)


def in_event_loop(ask: Callable[[], float]) -> float:
    """The answer of a thread of asyncio."""
    return asyncio.run(asyncio.wait_for(asyncio.to_thread(ask), timeout=10))


@owned_and_adopted
@pytest.mark.parametrize(
    "ask_in",
    [
        in_thread,
        as_thread_target,
        in_timer,
        in_pool,
        in_multiprocessing_pool,
        in_event_loop,
    ],
)
def test_worker_threads_read_the_frozen_time(
    around: Callable[[], Any], ask_in: Callable[[Callable[[], float]], float]
) -> None:
    """Threads of every make see the clock's time, whatever library started them."""
    with around(), Clock(START) as clock:
        clock.advance(60)
        assert ask_in(time.time) == (START + timedelta(seconds=60)).timestamp()


@owned_and_adopted
@pytest.mark.parametrize(
    "name", ["threading", "queue", "multiprocessing.pool", "_pytest.runner", "_pytest.terminal"]
)
def test_code_called_by_an_ignored_module_reads_the_frozen_time(
    around: Callable[[], Any], name: str
) -> None:
    """What freezegun ignores by default, or pytest-freezer tells it to, is not ignored."""
    caller = ModuleType(name)
    exec("def call(what): return what()", vars(caller))  # noqa: S102 - a module of that name
    with around(), Clock(START):
        assert caller.call(time.time) == START.timestamp()


def test_freezeguns_settings_are_restored() -> None:
    """The ignore list, with what the user has added to it, is afterwards as it was."""
    freezegun.configure(extend_ignore_list=["_pytest.runner", "my_module"])
    try:
        before = list(freezegun.config.settings.default_ignore_list)
        with Clock():
            within = list(freezegun.config.settings.default_ignore_list)
        after = list(freezegun.config.settings.default_ignore_list)
    finally:
        freezegun.config.reset_config()
    assert after == before
    assert "my_module" in within
    assert not [name for name in within if name.startswith(("_pytest", "threading", "queue"))]


async def loop_time() -> float:
    """Seconds by which an event loop waits."""
    return asyncio.get_running_loop().time()


@owned_and_adopted
def test_monotonic_time_stays_real(around: Callable[[], Any]) -> None:
    """`monotonic` and `perf_counter` are the real functions, in other modules too."""
    names = ("monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")
    real = [getattr(time, name) for name in names]
    with around(), Clock():
        assert [getattr(time, name) for name in names] == real
        assert abs(asyncio.run(loop_time()) - time.clock_gettime(time.CLOCK_MONOTONIC)) < 60
    assert [getattr(time, name) for name in names] == real


@owned_and_adopted
def test_what_pytest_and_requests_measure_stays_real(around: Callable[[], Any]) -> None:
    """The clocks of pytest's durations and of `response.elapsed` are put back."""
    with around(), Clock():
        assert abs(_pytest.timing.time() - real_time()) < 60
        assert abs(requests.sessions.preferred_clock() - real_time()) < 60


def test_elapsed_of_a_response_is_real() -> None:
    """A request over a socket takes some time, and no decades."""
    with Clock(), FakeAuth(transport="loopback") as auth:
        auth.resource("GET /thing", json={})
        response = requests.get(f"{auth.url}/thing", timeout=10)
        assert timedelta(0) < response.elapsed < timedelta(seconds=60)
        assert response.ok


def test_timeouts_of_futures_work() -> None:
    """A future that is not done times out."""
    done = threading.Event()
    with Clock(), ThreadPoolExecutor(1) as pool:
        future = pool.submit(done.wait, 10)
        with pytest.raises(TimeoutError):
            future.result(timeout=0.01)
        done.set()
        assert future.result(timeout=10)


def test_timeouts_of_queues_work() -> None:
    """An empty queue times out."""
    with Clock(), pytest.raises(queue.Empty):
        queue.Queue[int]().get(timeout=0.01)


def test_timeouts_of_subprocesses_work() -> None:
    """A process that ends is waited for, one that does not times out."""
    with Clock():
        subprocess.run([sys.executable, "-c", ""], check=True, timeout=50)
        with (
            subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process,
            pytest.raises(subprocess.TimeoutExpired),
        ):
            process.wait(timeout=0.01)


def test_timeouts_of_asyncio_work() -> None:
    """What takes too long is cancelled."""
    with Clock(), pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(asyncio.Event().wait(), timeout=0.01))


def test_timeouts_of_socketserver_work() -> None:
    """A server that nobody calls times out, and one that serves can be shut down."""
    timed_out = []

    class Server(socketserver.TCPServer):
        timeout = 0.01

        def handle_timeout(self) -> None:
            timed_out.append(True)

    with Clock(), Server(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        server.handle_request()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        server.shutdown()
        thread.join(10)
        assert not thread.is_alive()
    assert timed_out == [True]


@both_tools
def test_a_freeze_that_is_there_is_adopted(tool: Callable[[], Any]) -> None:
    """The clock shows the time of a freeze around it and moves it, and does not freeze again."""
    with tool():
        with Clock() as clock:
            assert clock.now() == instrumentation.now() == datetime(2025, 5, 5, tzinfo=UTC)
            assert len(freezegun.api.freeze_factories) == (tool is by_freezegun)
            clock.advance(60)
            assert datetime.now(UTC) == datetime(2025, 5, 5, 0, 1, tzinfo=UTC)
            clock.move_to(START)
            assert datetime.now(UTC) == clock.now() == START
        assert datetime.now(UTC) == START


@both_tools
def test_a_start_moves_the_freeze_that_is_there(tool: Callable[[], Any]) -> None:
    """A start that is asked for holds for an adopted freeze, too."""
    with tool(), Clock("2031-05-05T12:00:00Z"):
        assert datetime.now(UTC) == datetime(2031, 5, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("tool", "move"),
    [
        pytest.param(by_freezegun, lambda tool: tool.tick(30.0), id="freezegun"),
        pytest.param(by_time_machine, lambda machine: machine.shift(30), id="machine"),
    ],
)
def test_moving_the_adopted_freeze_moves_the_clock(
    tool: Callable[[], Any], move: Callable[[Any], object]
) -> None:
    """What the test does by the other tool counts, for monotonic time as well."""
    with tool() as other, Clock() as clock:
        before = clock.monotonic()
        move(other)
        assert clock.now() == datetime(2025, 5, 5, 0, 0, 30, tzinfo=UTC)
        assert clock.monotonic() - before == 30
        clock.sleep(10)
        assert clock.monotonic() - before == 40


def test_the_outer_clock_gets_its_time_back() -> None:
    """What an inner clock has done to the time is undone when it is left."""
    with Clock() as outer:
        outer.advance(10)
        before = outer.monotonic()
        with Clock("2031-05-05T12:00:00Z") as inner:
            inner.advance(60)
        assert inner.now() == datetime(2031, 5, 5, 12, 1, tzinfo=UTC)
        assert outer.now() == datetime.now(UTC) == START + timedelta(seconds=10)
        assert outer.monotonic() == before


def test_the_adopted_freeze_is_left_as_it_was() -> None:
    """Freezegun's own ways are restored when the clock is left."""
    with by_freezegun():
        frozen = time.monotonic, time.localtime, list(freezegun.api.ignore_lists)
        with Clock():
            assert time.monotonic is not frozen[0]
        assert (time.monotonic, time.localtime, list(freezegun.api.ignore_lists)) == frozen


def test_the_server_can_be_ahead() -> None:
    """`skew` sets the clocks of the fake servers that are started apart from that of the client."""
    with Clock() as clock, FakeAuth() as auth:
        app = auth.token("app_token", "POST /token", expires_in=60)
        auth.resource("GET /thing", needs=app)
        token = requests.post(f"{auth.url}/token", timeout=10).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert requests.get(f"{auth.url}/thing", headers=headers, timeout=10).ok
        clock.skew(server=60)
        assert requests.get(f"{auth.url}/thing", headers=headers, timeout=10).status_code == 401
        clock.skew(server=-60)
        clock.advance(119)
        assert requests.get(f"{auth.url}/thing", headers=headers, timeout=10).ok
