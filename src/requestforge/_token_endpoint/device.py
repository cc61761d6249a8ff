"""The authorization of a device without a browser, which its user decides elsewhere (RFC 8628)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from requestforge import instrumentation
from requestforge._answers import parse_answer, read_lifetime
from requestforge._deadline import note_cut, time_left
from requestforge._token_endpoint.grants import Answer
from requestforge._token_endpoint.replies import error_code
from requestforge.exceptions import (
    ConnectionException,
    HttpClientException,
    HttpStatusException,
    TimeoutException,
)
from requestforge.interfaces import RETRYABLE_STATUS_CODES
from requestforge.models import HttpResponse

LONGEST_WAIT = 1800.0
"""Seconds that a user has at most, whatever the server allows."""

_INTERVAL = 5.0  # seconds, RFC 8628 section 3.2
_SHORTEST_INTERVAL = 1.0  # seconds
_SLOWER = 5.0  # seconds, RFC 8628 section 3.5


@dataclass(frozen=True, slots=True, repr=False)
class DeviceCodes:
    """What a server gives a device: its code, what the user types where, and how long that holds.

    `ends`: monotonic seconds of the active clock; `interval`: seconds between two polls.
    """

    device_code: str
    user_code: str
    uri: str
    ends: float
    interval: float


def read_codes(response: HttpResponse) -> DeviceCodes:
    """The codes in an answer (RFC 8628 section 3.2).

    Raises:
        ValueError: a field is missing or malformed; the text names it, and quotes nothing.
    """
    answer = parse_answer(response.content)
    lifetime = read_lifetime(answer.get("expires_in"), "expires_in")
    interval = read_lifetime(answer.get("interval"), "interval")
    return DeviceCodes(
        device_code=_text(answer, "device_code"),
        user_code=_text(answer, "user_code"),
        uri=_text(answer, "verification_uri"),
        ends=instrumentation.monotonic()
        + (LONGEST_WAIT if lifetime is None else min(lifetime, LONGEST_WAIT)),
        interval=_INTERVAL if interval is None else max(interval, _SHORTEST_INTERVAL),
    )


def decided(
    codes: DeviceCodes, poll: Callable[[], Answer | HttpClientException]
) -> Answer | HttpClientException:
    """What the last poll brings, once the user has decided (RFC 8628 sections 3.4 and 3.5).

    Args:
        codes: of the device.
        poll: asks once for the token.
    """
    interval = codes.interval
    while True:
        failure = _wait(interval, codes.ends)
        if failure is not None:
            return failure
        answer = poll()
        if not isinstance(answer, HttpClientException):
            return answer
        code = error_code(answer)
        if code == "slow_down":
            interval += _SLOWER
        elif code != "authorization_pending":
            if not _is_transient(answer):
                return answer
            interval *= 2  # RFC 8628 section 3.5 wants that of a timeout


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    # What is shown to a user must not be able to move their cursor.
    if isinstance(value, str) and value and value.isprintable():
        return value
    raise ValueError(f"Field {name!r} of the device authorization is no printable text.")


def _wait(seconds: float, ends: float) -> TimeoutException | None:
    """Pause before the next poll; the failure if there is no time for it."""
    left = time_left()
    if left is not None and seconds >= left:
        note_cut()
        return TimeoutException(
            "The user has not decided yet, and the time allowed for the request is over."
        )
    if instrumentation.monotonic() + seconds >= ends:
        return TimeoutException("The user has not decided in the time that the device code lives.")
    instrumentation.sleep(seconds)
    return None


def _is_transient(failure: HttpClientException) -> bool:
    if isinstance(failure, HttpStatusException):
        return failure.status_code in RETRYABLE_STATUS_CODES
    return isinstance(failure, TimeoutException | ConnectionException)
