"""What the events of the library are counted and measured as, whatever system keeps the numbers."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from requestforge import events
from requestforge._origins import origin_of
from requestforge.events import Event

BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(30.0, 60.0),
)
"""Bounds of the histograms in seconds: those of OpenTelemetry's HTTP metrics, and slow answers."""

OTHER = "other"
"""Stands for the origins beyond `_MOST_ORIGINS`."""

_MOST_ORIGINS = 100
_EPOCH = "#epoch"
_STEP = ("pipeline", "step")
_REQUEST = ("method", "origin")

Labels = dict[str, str]


class Measure(NamedTuple):
    """What is kept of one kind of event.

    Attributes:
        name: words with dots between.
        text: a sentence on what it counts, or what seconds it measures.
        labels: names of what the numbers are kept apart by.
        seconds: the field of the event that is measured; None: the events are counted.
    """

    name: str
    text: str
    labels: tuple[str, ...]
    seconds: str | None = None


MEASURES: Mapping[type[Any], Measure] = {
    events.StepCached: Measure("step.cache.hits", "Tokens served from the cache.", _STEP),
    events.StepMissed: Measure(
        "step.cache.misses", "Times that the cache held no usable token.", (*_STEP, "reason")
    ),
    events.StepFetched: Measure(
        "step.fetch.duration", "Seconds that a fetch of a token took.", _STEP, "seconds"
    ),
    events.StepFailed: Measure("step.fetch.failures", "Fetches that gave no token.", _STEP),
    events.StepInvalidated: Measure(
        "step.invalidations", "Tokens that were given up.", (*_STEP, "cause")
    ),
    events.TokenReplaced: Measure(
        "step.replacements", "Tokens that a refresh or renewal has replaced.", _STEP
    ),
    events.RefreshFailed: Measure(
        "refresh.failures", "Refreshes of a rejected token that failed.", _STEP
    ),
    events.ScopeReduced: Measure(
        "scope.reductions", "Tokens that came with fewer scopes than were asked for.", _STEP
    ),
    events.StorageFailed: Measure(
        "storage.failures",
        "Operations of a storage that failed, and records that nobody can read.",
        (*_STEP, "operation"),
    ),
    events.LockUnavailable: Measure(
        "lock.failures", "Fetches without a lock, since the lock service failed.", _STEP
    ),
    events.RequestSent: Measure("request.attempts", "Attempts that were sent.", _REQUEST),
    events.ResponseReceived: Measure(
        "request.duration", "Seconds to the answer of an attempt.", (*_REQUEST, "status"), "seconds"
    ),
    events.RequestFailed: Measure(
        "request.failures", "Attempts that ended without an answer.", _REQUEST
    ),
    events.RequestRetried: Measure("request.retries", "Attempts that were made again.", _REQUEST),
    events.RequestReplayed: Measure(
        "request.replays",
        "Refused requests that were sent again with a new token.",
        (*_REQUEST, "status"),
    ),
    events.RequestLimited: Measure(
        "request.limit.wait", "Seconds that a request waited for a limit.", (*_REQUEST, "limit"),
        "wait",
    ),
    events.CircuitChanged: Measure(
        "circuit.changes", "Changes of a circuit to that state.", ("origin", "state")
    ),
}  # fmt: skip
"""The measure of each kind of event."""


class Labeling:
    """Makes the labels of events, of which there are few values, whatever happens.

    The tenant of a pipeline is left out, and so are paths and queries. Of origins the first 100
    count by themselves.
    """

    def __init__(self) -> None:
        self._origins: set[str] = set()

    def __call__(self, event: Event, names: tuple[str, ...]) -> Labels:
        """The labels of these names."""
        labels = {name: str(_value(event, name)) for name in names}
        if "origin" in labels:
            labels["origin"] = self._bounded(labels["origin"])
        if isinstance(event, events.StorageFailed):
            labels |= _named_by_key(event)
        if "pipeline" in labels:
            labels["pipeline"] = _without_tenant(labels["pipeline"])
        return labels

    def _bounded(self, origin: str) -> str:
        origins = self._origins
        if origin not in origins:
            if len(origins) >= _MOST_ORIGINS:
                return OTHER
            origins.add(origin)
        return origin


def _value(event: Any, name: str) -> object:  # noqa: ANN401 - events of all kinds
    match name:
        case "origin":
            return getattr(event, "origin", None) or origin_of(event.url) or OTHER
        case "status":
            return event.status_code
        case "state":
            return event.after
    return getattr(event, name)


def _named_by_key(failed: events.StorageFailed) -> Labels:
    """Pipeline and step of a failure that the storage has told itself: it knows only the key."""
    if failed.pipeline:
        return {}
    pipeline, _, step = failed.step.removesuffix(_EPOCH).rpartition(":")
    return {"pipeline": pipeline, "step": step}


def _without_tenant(pipeline: str) -> str:
    """The prefix of a pipeline, less the tenant after the last '@', of which there may be many."""
    prefix, at, _ = pipeline.rpartition("@")
    return prefix if at else pipeline
