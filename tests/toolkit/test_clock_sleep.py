"""What a clock does to `time.sleep`."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from time import sleep as doze
from typing import Any

import pytest
import requests

from pytest_requestforge import Clock
from pytest_requestforge.fake_auth.loopback import Loopback
from requestforge import instrumentation

START = datetime(2030, 1, 1, tzinfo=UTC)


def test_the_users_own_sleep_takes_no_time() -> None:
    """`time.sleep` advances the clock, also where a module has imported it by name."""
    with Clock() as clock:
        time.sleep(60)
        doze(30)
        assert clock.now() == START + timedelta(seconds=90)
        assert clock.sleeps == [60, 30]


def test_threads_of_the_test_sleep_by_the_clock() -> None:
    """A thread that the test has started does not sleep for real either."""
    with Clock() as clock, ThreadPoolExecutor(1) as pool:
        pool.submit(time.sleep, 3600).result(timeout=10)
        assert clock.now() == START + timedelta(hours=1)


def test_other_threads_sleep_for_real() -> None:
    """A thread that was there before the clock neither moves it nor is hurried."""
    go = threading.Event()

    def nap() -> None:
        go.wait(10)
        time.sleep(0.01)

    bystander = threading.Thread(target=nap)
    bystander.start()
    with Clock() as clock:
        began = time.monotonic()
        go.set()
        bystander.join(10)
        assert time.monotonic() - began >= 0.01
        assert clock.now() == START
        assert clock.sleeps == []


def test_a_fake_server_sleeps_for_real() -> None:
    """What a fake server on a socket waits for is real, and does not move the clock."""

    def slow(_: object, start_response: Callable[..., object]) -> list[bytes]:
        time.sleep(0.01)
        start_response("204 No Content", [])
        return []

    with Clock() as clock:
        server = Loopback(slow)
        server.start()
        began = time.monotonic()
        assert requests.get(server.origin, timeout=10).status_code == 204
        assert time.monotonic() - began >= 0.01
        server.stop()
        assert clock.sleeps == []
        assert clock.now() == START


def test_the_standard_library_sleeps_for_real() -> None:
    """Waiting for a process with a timeout looks for its end at leisure, and takes no time."""
    with Clock() as clock:
        run = [sys.executable, "-c", "input()"]
        with subprocess.Popen(run, stdin=subprocess.PIPE) as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)
            process.communicate(b"\n", timeout=50)
        assert clock.sleeps == []
        assert clock.now() == START


@pytest.mark.parametrize("settings", [{"real_sleep": True}, {"freeze": False}], ids=str)
def test_sleep_can_be_left_alone(settings: dict[str, Any]) -> None:
    """On demand `time.sleep` is the real one, while the library's pauses take no time."""
    sleep = time.sleep
    with Clock(**settings) as clock:
        assert time.sleep is doze is sleep
        instrumentation.sleep(60)
        assert clock.sleeps == [60]


def test_sleep_is_real_again_afterwards() -> None:
    """Even where something has kept the function, it does not move a clock that was left."""
    real = time.sleep
    with Clock() as clock:
        kept = time.sleep
    kept(0)
    assert clock.sleeps == []
    assert time.sleep is doze is real


def test_the_inner_clock_sleeps() -> None:
    """Of two clocks that freeze, the inner one is slept by."""
    with Clock() as outer:
        with Clock() as inner:
            time.sleep(60)
        time.sleep(1)
    assert inner.sleeps == [60]
    assert outer.sleeps == [1]


def test_a_sleep_that_the_test_has_replaced_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own stand-in for `time.sleep` goes before the clock's."""
    with Clock():
        pass
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    with Clock() as clock:
        time.sleep(60)
        assert clock.sleeps == []
    assert naps == [60]
