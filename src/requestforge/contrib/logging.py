"""LoggingObserver: every event of the library as a line in a log."""

import logging
from dataclasses import fields
from datetime import datetime

from requestforge.events import Event

__all__ = ["LoggingObserver"]

# The ends of the names of events that somebody should look at.
_TROUBLE = ("Changed", "Failed", "Limited", "Reduced", "Retried", "Unavailable")


class LoggingObserver:
    """Writes one line for each event; for `requestforge.instrumentation.observe`.

    Failures, retries, waits for a limit and moves of a circuit breaker are logged at WARNING, or
    at `level` if that is higher. The fields of the event are attributes of the log record, and so
    is its name, as `event`.

    Args:
        logger: where the lines go; None: the logger `requestforge.events`.
        level: of all other events, as `logging` counts levels.
    """

    def __init__(self, logger: logging.Logger | None = None, level: int = logging.INFO) -> None:
        self._logger = logging.getLogger("requestforge.events") if logger is None else logger
        self._level = level

    def __call__(self, event: Event) -> None:
        """Write the line of the event."""
        name = type(event).__name__
        is_trouble = name.endswith(_TROUBLE)
        level = max(self._level, logging.WARNING) if is_trouble else self._level
        if not self._logger.isEnabledFor(level):
            return
        values = {each.name: getattr(event, each.name) for each in fields(event)}
        told = ", ".join(
            f"{field} {_shown(value)}"
            for field, value in values.items()
            if value is not None and field != "at"
        )
        self._logger.log(level, "%s: %s", name, told, extra={"event": name, **values})


def _shown(value: object) -> str:
    match value:
        case datetime():
            return value.isoformat(timespec="seconds")
        case float():
            return f"{value:.3f}"
        case str():
            # Quoted where it would not read as one word, so that no text can pass for a line.
            return value if value.isprintable() and value and " " not in value else repr(value)
    return str(value)
