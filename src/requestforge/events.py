"""Frozen facts that the library reports to observers; none of them holds a secret."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

__all__ = [
    "CircuitChanged",
    "Event",
    "LockUnavailable",
    "RefreshFailed",
    "RequestFailed",
    "RequestLimited",
    "RequestReplayed",
    "RequestRetried",
    "RequestSent",
    "ResponseReceived",
    "ScopeReduced",
    "StepCached",
    "StepFailed",
    "StepFetched",
    "StepInvalidated",
    "StepMissed",
    "StorageFailed",
    "TokenReplaced",
]

MissReason = Literal["empty", "expired", "invalidated", "forced", "unreadable"]
InvalidationCause = Literal["call", "cascade", "refresh", "repair"]
StorageOperation = Literal["read", "write", "delete"]
Limit = Literal["bulkhead", "rate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    """`at`: when it happened, aware UTC."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _StepEvent(_Event):
    """`pipeline`: the prefix of its keys; `ends_at`: the token's end of use (aware UTC) or None."""

    pipeline: str
    step: str
    generation: str | None = None
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCached(_StepEvent):
    """A token was served from the cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMissed(_StepEvent):
    """The cache had nothing usable; `generation` is that of the unusable token, if any."""

    reason: MissReason


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFetched(_StepEvent):
    """A fetch gave a token; `seconds` is how long the fetch took."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed(_StepEvent):
    """A fetch failed; `error` is the sanitised text of its cause."""

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInvalidated(_StepEvent):
    """A step's token was given up; `generation` is None where it was not known."""

    cause: InvalidationCause


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReplaced(_StepEvent):
    """A refresh or renewal put the token `generation` in place of `replaced`."""

    replaced: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshFailed(_StepEvent):
    """A refresh after a rejected token, or a renewal, failed; `error` is its sanitised text."""

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeReduced(_StepEvent):
    """A server granted less than was asked for; `missing`: the scopes that it left out.

    `pipeline` is empty: the fetcher that sees this belongs to none.
    """

    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFailed(_StepEvent):
    """The storage failed on an operation, or gave a record that cannot be read."""

    operation: StorageOperation
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockUnavailable(_StepEvent):
    """The storage's lock service failed; the step is fetched under this process's flight alone."""

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _RequestEvent(_Event):
    """`request_id`: the same for all attempts; `url`: masked; `attempt`: counts from 0."""

    request_id: str
    method: str
    url: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSent(_RequestEvent):
    """An attempt is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseReceived(_RequestEvent):
    """An attempt was answered, whatever the status; `seconds` is how long it took."""

    status_code: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFailed(_RequestEvent):
    """An attempt gave no answer; `error` is its sanitised text."""

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRetried(_RequestEvent):
    """The attempt failed for `reason`, sanitised; the next one begins after `wait` seconds."""

    wait: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimited(_RequestEvent):
    """The attempt had to wait for its turn: `wait` seconds, by the limit of that name."""

    wait: float
    limit: Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReplayed(_RequestEvent):
    """A refused request is sent again with a refreshed token; `replay` counts from 1."""

    status_code: int
    replay: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitChanged(_Event):
    """The circuit of `origin` went from one state to another: "closed", "open", "half_open"."""

    origin: str
    before: str
    after: str


Event = (
    StepCached
    | StepMissed
    | StepFetched
    | StepFailed
    | StepInvalidated
    | TokenReplaced
    | RefreshFailed
    | ScopeReduced
    | StorageFailed
    | LockUnavailable
    | RequestSent
    | ResponseReceived
    | RequestFailed
    | RequestRetried
    | RequestLimited
    | RequestReplayed
    | CircuitChanged
)
"""Every fact that an observer may be told."""
