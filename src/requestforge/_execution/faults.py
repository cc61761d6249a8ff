"""The faults of a storage, as the log and observers hear of them."""

import logging

from requestforge._execution.home import Home
from requestforge._execution.keys import EPOCH_SUFFIX
from requestforge._execution.reports import Reports
from requestforge.events import StorageOperation

_log = logging.getLogger("requestforge")


class Faults:
    """Tells of the faults that one pipeline meets.

    Args:
        pipeline: its prefix.
        reports: of the pipeline.
        home: what is known of the storage.
    """

    __slots__ = ("_home", "_pipeline", "_reports")

    def __init__(self, pipeline: str, reports: Reports, home: Home) -> None:
        self._pipeline = pipeline
        self._reports = reports
        self._home = home

    def failed(self, step: str, operation: StorageOperation, error: Exception) -> None:
        """The storage failed, or held what cannot be read."""
        self._warn(operation, f"The token storage failed on a {operation} of %s (%s).", step, error)
        self._reports.storage_failed(step, operation, error)

    def failed_on(self, key: str, operation: StorageOperation, error: Exception) -> None:
        """The same for a storage key."""
        step = key.removesuffix(EPOCH_SUFFIX).removeprefix(f"{self._pipeline}:")
        self.failed(step, operation, error)

    def lock_failed(self, step: str, error: Exception) -> None:
        """The lock of a step failed."""
        self._warn("lock", "The lock of %s failed (%s).", step, error)
        self._reports.lock_failed(step, error)

    def _warn(self, subject: str, text: str, step: str, error: Exception) -> None:
        """Warn of a fault once for each storage and subject; further ones are for debugging."""
        warned = self._home.warned
        level = logging.DEBUG if subject in warned else logging.WARNING
        warned.add(subject)
        where = f"pipeline {self._pipeline!r}"
        if step:  # A read of all steps at once names none.
            where = f"step {step!r} of {where}"
        _log.log(level, text, where, type(error).__name__)
