"""The search for secrets finds what there is to find."""

import logging

import pytest

from canary import CANARY_PASSWORD, Overheard, traces
from requestforge import AuthenticationException
from requestforge.events import StepFailed
from requestforge.exceptions import UnauthorizedException


def _above(error: Exception, attribute: str) -> Exception:
    other = OSError("nothing")
    setattr(other, attribute, error)
    return other


def _noted(note: str) -> Exception:
    error = OSError("nothing")
    error.add_note(note)
    return error


@pytest.mark.parametrize(
    "value",
    [
        CANARY_PASSWORD,
        CANARY_PASSWORD.encode(),
        {"a": [("b", {CANARY_PASSWORD})]},
        {CANARY_PASSWORD: 1},
        OSError(CANARY_PASSWORD),
        _above(OSError(CANARY_PASSWORD), "__cause__"),
        _above(OSError(CANARY_PASSWORD), "__context__"),
        _noted(CANARY_PASSWORD),
        ExceptionGroup("all", [OSError(1), OSError(CANARY_PASSWORD)]),
        AuthenticationException("x", OSError(CANARY_PASSWORD)),
        UnauthorizedException(response_body=CANARY_PASSWORD),
        StepFailed(at=None, pipeline="", step="", error=CANARY_PASSWORD),
        logging.LogRecord("x", 10, "", 1, "%s", (CANARY_PASSWORD,), None),
        "Authorization: Basic bWU6Y2FuYXJ5LXBhc3N3b3Jk",
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_secret_is_found(value: object) -> None:
    """In texts, containers, chains of exceptions, log records and events."""
    assert traces(value)


def test_what_is_overheard_is_searched() -> None:
    """A log record at DEBUG, and an event."""
    heard = Overheard()
    heard.emit(logging.LogRecord("x", 10, "", 1, CANARY_PASSWORD, None, None))
    heard(StepFailed(at=None, pipeline="", step="", error=CANARY_PASSWORD))
    assert len(heard.found) >= 2
    with pytest.raises(AssertionError, match="A secret shows"):
        heard.assert_clean()
