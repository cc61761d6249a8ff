"""OpenTelemetryObserver: the events of the library as spans and metrics of OpenTelemetry."""

import re
import threading
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from requestforge import events
from requestforge._fork import importing
from requestforge._origins import origin_of
from requestforge.contrib._measures import BUCKETS, MEASURES, Labeling
from requestforge.events import Event

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter, MeterProvider
    from opentelemetry.trace import Tracer, TracerProvider

__all__ = ["OpenTelemetryObserver"]

_SCOPE = "requestforge"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOWEST_ERROR = 400

# Names of the semantic conventions for HTTP; those of all other attributes are the library's own.
_STANDARD = {
    "attempt": "http.request.resend_count",
    "method": "http.request.method",
    "status": "http.response.status_code",
    "status_code": "http.response.status_code",
    "url": "url.full",
}
_Attributes = dict[str, str | int | float | tuple[str, ...]]

_UNTOLD = ("at", "seconds", "error")


class OpenTelemetryObserver:
    """Makes spans and metrics of events; for `requestforge.instrumentation.observe`.

    A fetch of a step and an attempt of a request are spans below the current one, made when they
    have ended. What else happens is an event of the current span, but for hits of the cache. The
    attributes of metrics hold no path, query or tenant, and of all origins the first 100 have
    series of their own; those of a span hold the masked URL and the tenant.

    Args:
        tracer_provider: what makes the spans; None: the global one.
        meter_provider: what makes the metrics; None: the global one.

    Raises:
        ImportError: opentelemetry-api is not installed.
    """

    def __init__(
        self,
        tracer_provider: "TracerProvider | None" = None,
        meter_provider: "MeterProvider | None" = None,
    ) -> None:
        with importing:
            try:
                from opentelemetry import metrics, trace  # noqa: PLC0415 - an extra's
            except ImportError as error:
                msg = (
                    "OpenTelemetryObserver needs opentelemetry-api: "
                    "pip install 'requestforge[otel]'."
                )
                raise ImportError(msg) from error
        self._metering = _Metering(metrics.get_meter(_SCOPE, meter_provider=meter_provider))
        self._tracing = _Tracing(trace.get_tracer(_SCOPE, tracer_provider=tracer_provider))

    def __call__(self, event: Event) -> None:
        """Count or measure the event, and show it in the current trace."""
        self._metering.note(event)
        self._tracing.note(event)


class _Metering:
    """The instruments, each made once."""

    def __init__(self, meter: "Meter") -> None:
        self._labeling = Labeling()
        self._counters = {
            measure.name: meter.create_counter(
                f"requestforge.{measure.name}", description=measure.text
            )
            for measure in MEASURES.values()
            if measure.seconds is None
        }
        self._histograms = {
            measure.name: meter.create_histogram(
                f"requestforge.{measure.name}",
                unit="s",
                description=measure.text,
                explicit_bucket_boundaries_advisory=BUCKETS,
            )
            for measure in MEASURES.values()
            if measure.seconds is not None
        }

    def note(self, event: Event) -> None:
        """Count or measure the event."""
        measure = MEASURES.get(type(event))
        if measure is None:
            return
        labels = self._labeling(event, measure.labels)
        attributes = _attributes(labels)
        if isinstance(event, events.RequestFailed):
            attributes["error.type"] = "_OTHER"
        elif labels.get("status", "") >= str(_LOWEST_ERROR):
            attributes["error.type"] = labels["status"]
        if measure.seconds is None:
            self._counters[measure.name].add(1, attributes)
        else:
            self._histograms[measure.name].record(getattr(event, measure.seconds), attributes)


class _Tracing:
    """Shows events in the current trace."""

    def __init__(self, tracer: "Tracer") -> None:
        from opentelemetry import trace  # noqa: PLC0415 - an extra's

        self._trace = trace
        self._tracer = tracer
        self._thread = threading.local()

    def note(self, event: Event) -> None:
        """A span for what took time, an event for what did not."""
        match event:
            case events.StepFetched():
                self._add_span(event, f"requestforge.fetch {event.step}", event.seconds)
            case events.StepFailed():
                self._add_span(event, f"requestforge.fetch {event.step}", 0.0)
            case events.ResponseReceived():
                self._thread.sent = None
                self._add_span(event, f"requestforge.request {event.method}", event.seconds)
            case events.RequestFailed():
                name = f"requestforge.request {event.method}"
                self._add_span(event, name, self._seconds_since_sent(event))
            case events.RequestSent():
                # An attempt that fails does not say how long it took.
                self._thread.sent = event
            case events.StepCached():
                pass
            case _:
                self._add_event(event)

    def _add_span(
        self,
        event: (
            events.StepFetched | events.StepFailed | events.ResponseReceived | events.RequestFailed
        ),
        name: str,
        seconds: float,
    ) -> None:
        is_request = isinstance(event, events.ResponseReceived | events.RequestFailed)
        kinds, codes = self._trace.SpanKind, self._trace.StatusCode
        attributes = _attributes(_told(event))
        failure: str | None = getattr(event, "error", None)
        if failure is not None:
            attributes["error.type"] = "_OTHER"
        elif isinstance(event, events.ResponseReceived) and event.status_code >= _LOWEST_ERROR:
            attributes["error.type"] = str(event.status_code)
            failure = ""
        span = self._tracer.start_span(
            name,
            kind=kinds.CLIENT if is_request else kinds.INTERNAL,
            attributes=attributes,
            start_time=_nanoseconds(event.at - timedelta(seconds=seconds)),
        )
        if failure is not None:
            span.set_status(codes.ERROR, failure or None)
        span.end(_nanoseconds(event.at))

    def _add_event(self, event: Event) -> None:
        span = self._trace.get_current_span()
        if span.is_recording():
            words = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
            attributes = _attributes(_told(event))
            if (error := getattr(event, "error", None)) is not None:
                attributes["requestforge.error"] = error
            span.add_event(f"requestforge.{words}", attributes, _nanoseconds(event.at))

    def _seconds_since_sent(self, failed: events.RequestFailed) -> float:
        sent: events.RequestSent | None = getattr(self._thread, "sent", None)
        self._thread.sent = None
        if sent is None or sent.request_id != failed.request_id:
            return 0.0
        return max(0.0, (failed.at - sent.at).total_seconds())


def _told(event: Event) -> dict[str, object]:
    """What a trace shows of an event."""
    told = {each.name: getattr(event, each.name) for each in fields(event)}
    if "url" in told:
        told["origin"] = origin_of(told["url"]) or ""
    if not told.get("attempt"):
        told.pop("attempt", None)
    return {name: value for name, value in told.items() if name not in _UNTOLD}


def _attributes(told: Mapping[str, object]) -> _Attributes:
    """The attributes under their names in OpenTelemetry."""
    attributes: _Attributes = {}
    for name, value in told.items():
        match name, value:
            case _, None:
                continue
            case "origin", _:
                attributes |= _server(str(value))
            case "status", _:
                attributes[_STANDARD[name]] = int(str(value))
            case _, datetime():
                attributes[f"requestforge.{name}"] = value.isoformat()
            case _, int() | float() | tuple():
                attributes[_STANDARD.get(name, f"requestforge.{name}")] = value
            case _:
                attributes[_STANDARD.get(name, f"requestforge.{name}")] = str(value)
    return attributes


def _server(text: str) -> _Attributes:
    origin = origin_of(text)
    if origin is None:
        return {"server.address": text}
    return {
        "server.address": origin.host.strip("[]"),
        "server.port": origin.port,
        "url.scheme": origin.scheme,
    }


def _nanoseconds(at: datetime) -> int:
    """Since 1970, exactly: a float would lose the microseconds."""
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
