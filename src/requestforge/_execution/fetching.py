"""One fetch of a step, and until when its token is used."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from requestforge import instrumentation
from requestforge._execution.steps import Step
from requestforge._references import filling
from requestforge.exceptions import DependencyException
from requestforge.tokens import TokenData, is_usable, stamped, wall_end, with_effective_expiry


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch gave.

    `token`: with its effective expiry; `monotonic_end`: its end of use in monotonic seconds and
    the source that they count by, None without an end; `usable`: whether it may be used once the
    fetch is over; `seconds`: how long the fetch took.
    """

    token: TokenData
    monotonic_end: tuple[float, object] | None
    usable: bool
    seconds: float


def fetch(
    step: Step, context: dict[str, TokenData] | None, old: TokenData | None = None
) -> Fetched:
    """Fetch the step; the lifetime of its token counts from the instant before.

    Args:
        step: the step.
        context: the tokens of earlier steps by name.
        old: a token whose refresh token is to be redeemed; None: by the step's own grant.

    Raises:
        DependencyException: the context lacks a token that the step depends on.
        Exception: whatever the step raised.
    """
    if any(name not in (context or ()) for name in step.depends_on):
        raise _unmet(step, context or {})
    t0 = instrumentation.now()
    _, started, source = instrumentation.reading()
    with filling(step.values):
        token = with_effective_expiry(step.fetch(context, old), step.ttl, t0)
    lifetime = wall_end(token) - t0.timestamp()
    end = (started + lifetime, source) if math.isfinite(lifetime) else None
    reading = instrumentation.reading()
    _, ended, last_source = reading
    return Fetched(
        token=token,
        monotonic_end=end,
        usable=is_usable(stamped(token, None, end), reading),
        seconds=ended - started if last_source is source else 0.0,
    )


def _unmet(step: Step, context: Mapping[str, TokenData]) -> DependencyException:
    missing = ", ".join(repr(name) for name in step.depends_on if name not in context)
    msg = (
        f"Step {step.name!r} needs the token of {missing}, which no earlier step of its pipeline "
        "gives; add that step, or list it earlier."
    )
    return DependencyException(msg, service_name=step.name)
