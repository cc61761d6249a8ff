"""Which outcomes of a call are failures of what was called."""

from requestforge.exceptions import (
    AuthenticationException,
    CapacityException,
    CircuitOpenException,
    ConnectionException,
    RequestBuildException,
    TimeoutException,
)

FAILING_STATUS_CODES = frozenset({500, 502, 503, 504})
"""Statuses that count as a failure of the origin."""

_FAILURES = (ConnectionException, TimeoutException)
_NEVER_SENT = (
    AuthenticationException,
    CapacityException,
    CircuitOpenException,
    RequestBuildException,
)


def has_failed(outcome: object) -> bool | None:
    """Whether an outcome is a failure of the origin, or a success; None: it says neither."""
    status = getattr(outcome, "status_code", None)
    if status is not None:
        return status in FAILING_STATUS_CODES
    if isinstance(outcome, _FAILURES):
        # An origin that redirects works, whatever happens at the place that it names.
        return "redirected_to" not in outcome.context
    return None


def is_failure(error: Exception) -> bool | None:
    """Whether an error counts as a failure of what was called, or as a success; None: as neither.

    Unlike `has_failed` it takes what it does not know for a failure.
    """
    failed = has_failed(error)
    return True if failed is None and not isinstance(error, _NEVER_SENT) else failed
