"""The watchdog: one thread that hangs up on exchanges that outlive their deadline."""

import heapq
import itertools
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from requestforge._fork import renew_after_fork
from requestforge.instrumentation import real_monotonic

_FEW = 64
_LONGEST_PAUSE = 3600.0


class Line(Protocol):
    """A connection that can be hung up."""

    watch: "Watch | None"

    def sockets(self) -> Iterable[socket.socket]:
        """What it reads from and writes to at the moment."""
        ...


class Watch:
    """The watchdog's eye on one exchange.

    Args:
        seconds: real seconds from now to the deadline.

    Attributes:
        seconds: as given.
        end: the deadline in real monotonic seconds.
        expired: whether the deadline has passed while the exchange was under way.
        over: whether the exchange has ended.
        line: the connection that the exchange uses at the moment.
    """

    __slots__ = ("end", "expired", "line", "over", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end = real_monotonic() + seconds
        self.expired = False
        self.over = False
        self.line: Line | None = None

    def remaining(self) -> float:
        """Real seconds to the deadline, 0 once it has passed."""
        return 0.0 if self.expired else max(0.0, self.end - real_monotonic())

    def follow(self, line: Line) -> None:
        """Note that the exchange goes over this connection from now on.

        Raises:
            TimeoutError: the deadline has passed.
        """
        with _watchdog.lock:
            if not self.expired:
                self.line, line.watch = line, self
                return
        msg = "The time allowed for the exchange is over."
        raise TimeoutError(msg)


def start_watch(seconds: float) -> Watch:
    """Hang up, after that many real seconds, on what the watch then follows."""
    watch = Watch(seconds)
    _watchdog.add(watch)
    return watch


def end_watch(watch: Watch) -> None:
    """The exchange is over: leave its connection alone from now on."""
    with _watchdog.lock:
        watch.over = True
        line, watch.line = watch.line, None
        if line is not None:
            line.watch = None


def let_go(line: Line) -> None:
    """Take the connection from its exchange, before another may get it."""
    with _watchdog.lock:
        watch, line.watch = line.watch, None
        if watch is not None:
            watch.line = None


class _Watchdog:
    """Deadlines in a heap, and the daemon thread that waits for the next one."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Start anew: the thread, and nearly all exchanges, are those of the parent."""
        # Reentrant, since the garbage collector may give a connection back at any point.
        self.lock = threading.RLock()
        self._sooner = threading.Condition(self.lock)
        self._heap: list[tuple[float, int, Watch]] = []
        self._most = _FEW
        self._thread: threading.Thread | None = None

    def add(self, watch: Watch) -> None:
        """Hang up at the deadline of the watch, unless it is over by then."""
        with self.lock:
            if len(self._heap) >= self._most:
                # Most exchanges end long before their deadline; the heap must not keep them all.
                self._heap = [entry for entry in self._heap if not entry[2].over]
                heapq.heapify(self._heap)
                self._most = max(_FEW, 2 * len(self._heap))
            heapq.heappush(self._heap, (watch.end, next(self._numbers), watch))
            if self._thread is None:
                self._start()
            elif self._heap[0][2] is watch:
                self._sooner.notify()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="requestforge-watchdog", daemon=True)
        # An interpreter that is shutting down starts no thread; the socket's timeouts remain.
        with suppress(RuntimeError):
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        with self.lock:
            while True:
                while self._heap and self._heap[0][2].over:
                    heapq.heappop(self._heap)
                pause = self._heap[0][0] - real_monotonic() if self._heap else _LONGEST_PAUSE
                if pause > 0:
                    self._sooner.wait(min(pause, _LONGEST_PAUSE))
                else:
                    _hang_up(heapq.heappop(self._heap)[2])


def _hang_up(watch: Watch) -> None:
    """Wake whoever reads from or writes to the connection; the caller holds the lock."""
    watch.expired = True
    if watch.line is not None:
        for sock in watch.line.sockets():
            # Not the shutdown of an SSLSocket, which would pull its TLS state from under the
            # thread that reads. One that is closed or not yet connected has nothing to shut.
            with suppress(OSError, TypeError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


_watchdog = _Watchdog()
