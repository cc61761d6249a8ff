"""A barrier that holds the requests of one endpoint."""

import threading


class Hold:
    """Lets requests wait until `n` of them do, or until it is released.

    Args:
        n: how many requests open it; those that come later pass.
        timeout: real seconds that a request waits at most.

    Raises:
        ValueError: `n` is less than 1.
    """

    def __init__(self, n: int, timeout: float) -> None:
        if n < 1:
            raise ValueError(f"A hold opens when n requests wait, so n must be 1 or more, not {n}.")
        self._n = n
        self._timeout = timeout
        self._arrived = 0
        self._changed = threading.Condition()
        self._opened = threading.Event()

    @property
    def arrived(self) -> int:
        """How many requests have come so far."""
        return self._arrived

    def release(self) -> None:
        """Let every request pass from now on."""
        self._opened.set()

    def wait_for(self, count: int, timeout: float = 5.0) -> None:
        """Return once that many requests have come.

        Args:
            count: of requests.
            timeout: real seconds to wait at most.

        Raises:
            TimeoutError: fewer came in that time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._arrived >= count, timeout):
                raise TimeoutError(
                    f"Only {self._arrived} of {count} requests came to the hold within {timeout} s."
                )

    def arrive(self) -> str | None:
        """Count one more request; what the journal says of it if it has to wait."""
        with self._changed:
            self._arrived += 1
            self._changed.notify_all()
            if self._arrived >= self._n:
                self._opened.set()
            return None if self._opened.is_set() else f"held: {self._arrived} of {self._n} wait"

    def wait(self) -> str | None:
        """Wait until the hold opens; what the journal says if its timeout passes before."""
        if self._opened.wait(self._timeout):
            return None
        return f"hold timed out: {self._arrived} of {self._n} came"
