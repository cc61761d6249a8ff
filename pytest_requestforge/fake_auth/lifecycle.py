"""How a FakeAuth starts, stops, and tells what it has found."""

from datetime import timedelta
from types import TracebackType
from typing import Self

from pytest_requestforge._running import dismiss, enlist, tell
from pytest_requestforge.assertions import Assertions
from pytest_requestforge.fake_auth.findings import Findings
from pytest_requestforge.fake_auth.journal import Journal
from pytest_requestforge.fake_auth.transports import Carrier, Transport
from pytest_requestforge.recorder import Recorder


class Lifecycle(Findings, Assertions):
    """Answers between its start and its stop; a context manager."""

    journal: Journal
    recorder: Recorder
    transport: Transport

    _carrier: Carrier
    _is_started = False
    _is_watched = False
    _began = 0

    def skew(self, seconds: float) -> None:
        """Set the clock of the server ahead of the library's by so many seconds; negative: back."""
        self._app.skew = timedelta(seconds=seconds)

    def start(self) -> None:
        """Begin to answer.

        Raises:
            RuntimeError: it has been started already.
        """
        if self._is_started:
            raise RuntimeError(f"{self!r} has been started already.")
        # Two that run together with one seed still issue different tokens.
        self._app.book.seed(f"{self.seed}/{enlist(self)}")
        self._is_started = True
        self._began = self.journal.mark()
        self._is_watched = tell(self)
        self.recorder.__enter__()
        self._carrier.start()

    def stop(self) -> None:
        """Answer no more, and let go what is held; journal and assertions stay."""
        if not self._is_started:
            return
        for endpoint in self._app.endpoints:
            endpoint.release()
        self._carrier.stop()
        self.recorder.__exit__(None, None, None)
        self._is_started = False
        dismiss(self)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop.

        Raises:
            AssertionError: it is strict and a request was unmatched, or a fault was not used; the
                block has no error of its own, and there is no test of pytest to fail.
        """
        self.stop()
        if kind is None and not self._is_watched:
            self.judge(self._began)
