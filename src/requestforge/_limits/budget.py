"""The budget for retries, so that clients do not add a flood of them to an outage."""

from typing import NamedTuple

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

    def deposit(self, origin: str) -> None:
        """Pay in what one request does."""
        account = self._accounts.known(origin)
        # Nearly every account is full, and then there is nothing to do.
        if account is None or account.balance < self._most:
            self._accounts.change(origin, self._paid_in)

    def withdraw(self, origin: str) -> bool:
        """Whether there is a retry left, which then is spent."""
        return self._accounts.change(origin, self._paid_out)

    def _account(self) -> "_Account":
        return _Account(self._per_second * _SAVED_SECONDS, monotonic())

    def _paid_in(self, account: "_Account") -> tuple["_Account", None]:
        balance = min(self._most, account.balance + self._ratio)
        return _Account(balance, account.paid_at), None

    def _paid_out(self, account: "_Account") -> tuple["_Account", bool]:
        now = monotonic()
        # A clock that reads less than it did is another one, and tells nothing of the time.
        passed = max(0.0, now - account.paid_at)
        balance = min(self._most, account.balance + passed * self._per_second)
        is_paid = balance >= 1
        return _Account(balance - 1 if is_paid else balance, now), is_paid


class _Account(NamedTuple):
    """A balance, in retries, and until when time has paid in (monotonic seconds)."""

    balance: float
    paid_at: float
