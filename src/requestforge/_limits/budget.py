"""The budget for retries, so that clients do not add a flood of them to an outage."""

import threading

from requestforge._fork import renew_after_fork
from requestforge._limits.memory import ByOrigin
from requestforge._numbers import finite
from requestforge.instrumentation import monotonic

_SAVED_SECONDS = 10.0
_FEW_RETRIES = 10.0


class RetryBudget:
    """How many retries an origin may still get; each origin has an account of its own.

    A request pays in a part of a retry, and time does, too. The balance is limited to what ten
    seconds pay in, or 10 retries if that is more, so that a quiet hour saves up no flood. Finagle's
    RetryBudget does the like (https://twitter.github.io/finagle/guide/Clients.html).

    Args:
        ratio: retries that each request pays in.
        per_second: retries that each second pays in.

    Raises:
        ValueError: a number is negative, or no number.
    """

    def __init__(self, ratio: float = 0.2, per_second: float = 10.0) -> None:
        self._ratio = finite("ratio", ratio)
        self._per_second = finite("per_second", per_second)
        self._most = max(self._per_second * _SAVED_SECONDS, _FEW_RETRIES)
        self._accounts = ByOrigin(self._account)
        self._lock = threading.Lock()
        renew_after_fork(self)

    def deposit(self, origin: str) -> None:
        """Pay in what one request does."""
        with self._lock:
            account = self._accounts[origin]
            account.balance = min(self._most, account.balance + self._ratio)

    def withdraw(self, origin: str) -> bool:
        """Whether there is a retry left, which then is spent."""
        now = monotonic()
        with self._lock:
            account = self._accounts[origin]
            # A clock that reads less than it did is another one, and tells nothing of the time.
            passed = max(0.0, now - account.paid_at)
            account.paid_at = now
            account.balance = min(self._most, account.balance + passed * self._per_second)
            if account.balance < 1:
                return False
            account.balance -= 1
            return True

    def after_fork(self) -> None:
        """Take a new lock: the old one may be held by a thread that is not in this process."""
        self._lock = threading.Lock()

    def _account(self) -> "_Account":
        return _Account(self._per_second * _SAVED_SECONDS)


class _Account:
    """A balance, in retries, and until when time has paid in (monotonic seconds)."""

    __slots__ = ("balance", "paid_at")

    def __init__(self, balance: float) -> None:
        self.balance = balance
        self.paid_at = monotonic()
