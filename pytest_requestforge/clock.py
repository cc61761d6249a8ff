"""The clock of a test: it stands still until it is moved, and makes every pause instant."""

import threading
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from pytest_requestforge._freezing import (
    Hands,
    OwnHands,
    frozen,
    is_frozen,
    real_sleep,
    sleeping_by,
)
from pytest_requestforge._passing import ruling
from pytest_requestforge._running import running
from requestforge.config import TokenData
from requestforge.events import Event, StepCached, StepFetched, TokenReplaced
from requestforge.instrumentation import observe, use_clock

__all__ = ["Clock"]

_START = datetime(2030, 1, 1, tzinfo=UTC)
_LONGEST_MARGIN = timedelta(seconds=30)


class Clock:
    """A clock that the test moves; a context manager, and a clock for `use_clock`.

    While it is entered, requestforge reads the time from it, and so does everything else in the
    process: `datetime.now()`, `time.time()` and their like are frozen, in all threads. Monotonic
    time stays real, so that asyncio, sockets and timeouts work. A freeze by freezegun or
    time-machine that is there already is adopted: the clock then shows and moves its time.

    A pause of the library, and `time.sleep` in the threads of the test, takes no time and advances
    the clock. Threads that were there before, those of a fake server, and the standard library
    itself, as in `subprocess.run(timeout=...)`, sleep for real.

    Clocks nest: the inner one goes on from the time of the outer one, which has it back afterwards.

    Args:
        start: what it shows at first, a datetime or a text in ISO 8601; naive: local time; None:
            2030-01-01T00:00:00Z, or the time of the freeze that it adopts.
        freeze: False: only requestforge reads this clock. freezegun is not needed then, and
            `time.sleep` is left alone.
        real_sleep: leave `time.sleep` alone.

    Raises:
        ImportError: when entered, if freezegun is needed and not installed.
    """

    def __init__(
        self,
        start: datetime | str | None = None,
        *,
        freeze: bool = True,
        real_sleep: bool = False,
    ) -> None:
        self._start = None if start is None else _aware(start)
        self._freeze = freeze
        self._real_sleep = real_sleep
        self._hands: Hands = OwnHands(self._start or _START)
        # How far monotonic time has come, and up to which time that counts.
        self._elapsed = timedelta()
        self._counted = self._hands.now()
        self._sleeps: list[float] = []
        self._ends: dict[str, datetime | None] = {}
        self._lock = threading.RLock()
        self._entered = False
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start to rule the time.

        Raises:
            RuntimeError: it does already.
        """
        if self._entered:
            raise RuntimeError("This Clock is entered already; a second one can be nested.")
        with ExitStack() as stack:
            if self._freeze:
                self._freeze_time(stack)
                if not self._real_sleep:
                    stack.enter_context(sleeping_by(self.sleep))
            stack.enter_context(observe(self._note))
            stack.enter_context(use_clock(self))
            stack.enter_context(ruling(self))
            self._stack = stack.pop_all()
        self._entered = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the time back; the clock keeps what it shows."""
        self._entered = False
        self._stack.close()

    @property
    def sleeps(self) -> list[float]:
        """The length of each pause of the code under test, in seconds."""
        return list(self._sleeps)

    def now(self) -> datetime:
        """The time that it shows (aware UTC)."""
        return self._hands.now()

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; the clock may be set back, these never go back."""
        with self._lock:
            return self._count().total_seconds()

    def sleep(self, seconds: float) -> None:
        """Advance by so many seconds, and let other threads run.

        Raises:
            ValueError: the number is negative.
        """
        if seconds < 0:
            raise ValueError(f"A sleep cannot take {seconds} seconds.")
        self._sleeps.append(seconds)
        self._move(timedelta(seconds=seconds))
        real_sleep(0)

    def advance(
        self,
        seconds: float = 0,
        *,
        minutes: float = 0,
        hours: float = 0,
        days: float = 0,
        weeks: float = 0,
    ) -> datetime:
        """Move on by that long, such as `advance(90)` or `advance(minutes=5)`; the new time.

        Raises:
            TypeError: the way is not given in numbers.
            ValueError: it would go back, which `move_to` can, or beyond all dates.
        """
        try:
            by = timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days, weeks=weeks)
        except TypeError as error:
            raise TypeError(
                "advance takes numbers, as in advance(90) or advance(minutes=5); "
                "of a timedelta give its total_seconds()."
            ) from error
        except (OverflowError, ValueError) as error:
            raise ValueError(f"There is no date so far from {self.now()}: {error}.") from error
        if by < timedelta():
            raise ValueError(f"A clock cannot advance by {by}; set it back with move_to.")
        return self._move(by)

    def move_to(self, moment: datetime | str) -> datetime:
        """Set it to that moment, later or earlier; the new time.

        Args:
            moment: a datetime or a text in ISO 8601; naive: local time.

        Raises:
            TypeError: it is neither.
            ValueError: the text has another form.
        """
        with self._lock:
            return self._move(_aware(moment) - self.now())

    def to_expiry(self, token_or_step: TokenData | str, offset: float = -1) -> datetime:
        """Set it close to the end of use of a token; the new time.

        Args:
            token_or_step: a token, or the name of a step whose token a pipeline has fetched or
                served since the clock was entered.
            offset: seconds from the end of use; negative: before it.

        Raises:
            LookupError: no token of the step has been seen.
            TypeError: it is neither a token nor a name.
            ValueError: the token has no end.
        """
        if isinstance(token_or_step, str):
            end = self._end_of_step(token_or_step)
        else:
            end = _end_of_use(token_or_step)
        if end is None:
            raise ValueError(f"There is no expiry to go to: {token_or_step} is used without end.")
        return self.move_to(end + timedelta(seconds=offset))

    def skew(self, *, server: float) -> None:
        """Set the clock of each FakeAuth that is started ahead of this one.

        Args:
            server: by how many seconds; negative: behind.
        """
        for auth in running():
            auth.skew(server)

    def __repr__(self) -> str:
        return f"<Clock at {self.now().isoformat()}>"

    def _freeze_time(self, stack: ExitStack) -> None:
        """Go on with hands that everybody sees, until the stack is closed."""
        adopts, nests = is_frozen(), bool(_freezing)
        self._hands = hands = stack.enter_context(frozen(self.now()))
        if nests:
            outer = hands.now()
            stack.callback(lambda: hands.move(outer - hands.now()))
        stack.callback(self._keep_time)
        _freezing.append(self)
        stack.callback(_freezing.remove, self)
        if adopts and self._start is not None:
            self._hands.move(self._start - self.now())
        self._counted = self.now()

    def _keep_time(self) -> None:
        """Go on with hands of its own."""
        with self._lock:
            self._count()
            self._hands = OwnHands(self.now())

    def _move(self, by: timedelta) -> datetime:
        with self._lock:
            self._count()
            self._hands.move(by)
            self._count()
            return self.now()

    def _count(self) -> timedelta:
        """Monotonic time: the sum of all ways forward, whoever moved the hands."""
        now = self.now()
        self._elapsed += max(now - self._counted, timedelta())
        self._counted = now
        return self._elapsed

    def _note(self, event: Event) -> None:
        if isinstance(event, StepFetched | StepCached | TokenReplaced):
            self._ends[event.step] = event.ends_at

    def _end_of_step(self, step: str) -> datetime | None:
        if step not in self._ends:
            known = ", ".join(self._ends) or "none"
            raise LookupError(
                f"No token of step {step!r} has been fetched or served since this clock was "
                f"entered; steps seen: {known}."
            )
        return self._ends[step]


# The clocks that freeze now, the innermost last.
_freezing: list[Clock] = []


def _aware(moment: object) -> datetime:
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if not isinstance(moment, datetime):
        raise TypeError(
            f"A moment is a datetime or a text in ISO 8601, not {type(moment).__name__}."
        )
    return moment.astimezone(UTC)


def _end_of_use(token: object) -> datetime | None:
    """`expires_at` less the margin that TokenData documents."""
    if not isinstance(token, TokenData):
        given = type(token).__name__
        raise TypeError(f"to_expiry takes a TokenData or the name of a step, not {given}.")
    if token.expires_at is None:
        return None
    end = _aware(token.expires_at)
    if token.leeway is not None:
        return end - token.leeway
    if token.issued_at is None:
        return end - _LONGEST_MARGIN
    margin = min(_LONGEST_MARGIN, (end - _aware(token.issued_at)) / 10)
    return end - max(margin, timedelta())
