"""For how long an answer asks its origin to be left in peace."""

import re
from collections.abc import Mapping

from requestforge._headers import retry_after
from requestforge.instrumentation import wall

# RFC 9110 section 10.2.3, RFC 6585 section 4.
_MAY_RETRY_AFTER = frozenset({429, 503})
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
# A reset of more seconds than that is an instant since 1970, and of still more one in milliseconds.
_FIRST_INSTANT = 1e9
_FIRST_MILLISECONDS = 1e12


def asked_pause(status_code: int, headers: Mapping[str, str]) -> float:
    """Seconds to pause; 0.0 if the answer asks for no pause, or for one in no known form.

    Retry-After is heeded on 429 and 503. Without it the pause lasts until the quota is renewed if
    nothing is left of it, which is read from RateLimit (draft-ietf-httpapi-ratelimit-headers, in
    the form of its latest and of its earlier versions), RateLimit-Remaining and RateLimit-Reset, or
    X-RateLimit-Remaining and X-RateLimit-Reset.

    Args:
        status_code: of the answer.
        headers: a mapping that finds names in any case.
    """
    if status_code in _MAY_RETRY_AFTER:
        asked = retry_after(headers)
        if asked is not None:
            return asked
    return max(
        _until_renewed(headers.get("RateLimit-Remaining"), headers.get("RateLimit-Reset")),
        _until_renewed(headers.get("X-RateLimit-Remaining"), headers.get("X-RateLimit-Reset")),
        _of_policies(headers.get("RateLimit", "")),
    )


def _of_policies(value: str) -> float:
    """The pause of `"default";r=0;t=30`, or of `limit=10, remaining=0, reset=30`; the longest."""
    text = _QUOTED.sub("", value)
    if '"' in text:
        return 0.0
    policies = [_parameters(policy) for policy in text.split(",")]
    earlier_form = {name: value for policy in policies for name, value in policy.items()}
    return max(
        _until_renewed(earlier_form.get("remaining"), earlier_form.get("reset")),
        *(_until_renewed(policy.get("r"), policy.get("t")) for policy in policies),
    )


def _parameters(policy: str) -> dict[str, str]:
    pairs = (parameter.partition("=") for parameter in policy.split(";"))
    return {name.strip(): value for name, _, value in pairs}


def _until_renewed(remaining: str | None, reset: str | None) -> float:
    seconds = _number(reset)
    if seconds is None or _number(remaining) != 0:
        return 0.0
    if seconds >= _FIRST_MILLISECONDS:
        seconds /= 1000
    if seconds >= _FIRST_INSTANT:
        seconds -= wall()
    return max(0.0, seconds)


def _number(text: str | None) -> float | None:
    text = (text or "").strip()
    return float(text) if _NUMBER.fullmatch(text) else None
