"""OpenTelemetryObserver: spans and metrics, through the real SDK."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from happenings import KINDS, PAGE, a_day_at_work, some
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from canary import traces
from client_server import Server
from doubles import START, CountingStep
from requestforge import InMemoryTokenStorage, TokenFetchPipeline
from requestforge.contrib.opentelemetry import OpenTelemetryObserver
from requestforge.events import (
    CircuitChanged,
    RequestFailed,
    RequestSent,
    ResponseReceived,
    StepCached,
    StepFailed,
    StepFetched,
    StepInvalidated,
    StorageFailed,
)
from requestforge.instrumentation import observe

SPANS = (StepFetched, StepFailed, ResponseReceived, RequestFailed)
SILENT = (StepCached, RequestSent)


class Sdk:
    """The SDK of OpenTelemetry, and what has come out of it."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracing = TracerProvider(shutdown_on_exit=False)
        self.tracing.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.metering = MeterProvider([self.reader], shutdown_on_exit=False)
        self.observer = OpenTelemetryObserver(self.tracing, self.metering)

    @property
    def spans(self) -> list[ReadableSpan]:
        """All spans that have ended."""
        return list(self.exporter.get_finished_spans())

    @property
    def metrics(self) -> dict[str, Any]:
        """All metrics by name."""
        data = self.reader.get_metrics_data()
        scopes = data.resource_metrics[0].scope_metrics if data else []
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str) -> list[tuple[dict[str, object], float]]:
        """The attributes of a metric's points, each with its number of events."""
        return [
            (dict(point.attributes), getattr(point, "value", None) or point.count)
            for point in self.metrics[name].data.data_points
        ]


@pytest.fixture
def sdk() -> Iterator[Sdk]:
    """An observer that tells the SDK, until the end of the test."""
    sdk = Sdk()
    yield sdk
    sdk.tracing.shutdown()
    sdk.metering.shutdown()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_is_measured(kind: Any, sdk: Sdk) -> None:  # noqa: ANN401
    """One metric, which the guide lists, tells of each event, and of nothing else."""
    sdk.observer(some(kind))
    [(name, metric)] = sdk.metrics.items()
    assert name.startswith("requestforge.")
    assert [count for _, count in sdk.points(name)] == [1]
    assert metric.unit in {"", "s"}
    assert metric.description
    assert f"``{name}``" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_is_traced(kind: Any, sdk: Sdk) -> None:  # noqa: ANN401
    """What takes time is a span below the caller's, and what does not is an event of that span."""
    with sdk.tracing.get_tracer("test").start_as_current_span("caller") as caller:
        sdk.observer(some(kind))
    *spans, last = sdk.spans
    assert len(spans) == (kind in SPANS)
    assert len(last.events) == (kind not in (*SPANS, *SILENT))
    for span in spans:
        assert span.parent is not None
        assert span.parent.span_id == caller.get_span_context().span_id
    assert all(told.name.startswith("requestforge.") for told in (*spans, *last.events))


def test_the_span_of_a_fetch(sdk: Sdk) -> None:
    """It lasts as long as the fetch, to the microsecond, and names step, pipeline and token."""
    sdk.observer(some(StepFetched, step="login", generation="g1", seconds=0.25))
    [span] = sdk.spans
    end = int(START.timestamp()) * 10**9
    assert (span.start_time, span.end_time) == (end - 250_000_000, end)
    assert (span.name, span.kind) == ("requestforge.fetch login", SpanKind.INTERNAL)
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        "requestforge.pipeline": "shop@acme",
        "requestforge.step": "login",
        "requestforge.generation": "g1",
        "requestforge.ends_at": START.isoformat(),
    }


def test_the_span_of_an_answer(sdk: Sdk) -> None:
    """Its attributes are those of the semantic conventions for HTTP clients."""
    sdk.observer(some(ResponseReceived, request_id="r1", status_code=404, attempt=2))
    [span] = sdk.spans
    assert (span.name, span.kind) == ("requestforge.request GET", SpanKind.CLIENT)
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.request.resend_count": 2,
        "http.response.status_code": 404,
        "error.type": "404",
        "url.full": "https://api.example:8443/orders/7?page=2",
        "server.address": "api.example",
        "server.port": 8443,
        "url.scheme": "https",
        "requestforge.request_id": "r1",
    }


def test_an_answer_that_is_no_error(sdk: Sdk) -> None:
    """A status below 400 leaves the status of the span unset, and the first attempt no count."""
    sdk.observer(some(ResponseReceived, status_code=302, attempt=0))
    [span] = sdk.spans
    assert span.status.status_code is StatusCode.UNSET
    assert not {"error.type", "http.request.resend_count"} & set(span.attributes or {})
    [(attributes, _)] = sdk.points("requestforge.request.duration")
    assert "error.type" not in attributes


@pytest.mark.parametrize("kind", [StepFailed, RequestFailed], ids=lambda kind: kind.__name__)
def test_the_span_of_a_failure(kind: Any, sdk: Sdk) -> None:  # noqa: ANN401
    """It is an error, with the sanitised text."""
    sdk.observer(some(kind, error="The server is down."))
    [span] = sdk.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "The server is down."
    assert (span.attributes or {})["error.type"] == "_OTHER"


def test_a_failed_attempt_began_when_it_was_sent(sdk: Sdk) -> None:
    """Its span reaches back to its sending in this thread, and to that of no other request."""
    later = START + timedelta(seconds=3)
    sdk.observer(some(RequestSent, request_id="r1"))
    sdk.observer(some(RequestFailed, request_id="r1", at=later))
    sdk.observer(some(RequestFailed, request_id="r1", at=later))
    sdk.observer(some(RequestSent, request_id="r2"))
    sdk.observer(some(RequestFailed, request_id="r3", at=later))
    sdk.observer(some(RequestSent, request_id="r4"))
    sdk.observer(some(ResponseReceived, request_id="r4", seconds=1.0))
    sdk.observer(some(RequestFailed, request_id="r4", at=later))
    seconds = [((span.end_time or 0) - (span.start_time or 0)) / 1e9 for span in sdk.spans]
    assert seconds == [3, 0, 0, 1, 0]


def test_the_attributes_of_metrics_are_few(sdk: Sdk) -> None:
    """No path, no query and no tenant is an attribute of a metric."""
    for number in range(50):
        sdk.observer(some(StepFetched, pipeline=f"shop@tenant-{number}", step="login"))
        url = f"https://api.example/orders/{number}?page={number}"
        sdk.observer(some(ResponseReceived, url=url, request_id=str(number), status_code=200))
    step = {"requestforge.pipeline": "shop", "requestforge.step": "login"}
    assert sdk.points("requestforge.step.fetch.duration") == [(step, 50)]
    request = {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "api.example",
        "server.port": 443,
        "url.scheme": "https",
    }
    assert sdk.points("requestforge.request.duration") == [(request, 50)]


def test_origins_without_end(sdk: Sdk) -> None:
    """Of all origins the first hundred count by themselves; the others count together."""
    for number in range(300):
        sdk.observer(some(RequestSent, url=f"https://{number}.example/"))
    points = sdk.points("requestforge.request.attempts")
    assert len(points) == 101
    [others] = [count for attributes, count in points if attributes["server.address"] == "other"]
    assert others == 200


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"pipeline": "", "step": "shop@acme:login"}, ("shop", "login")),
        ({"pipeline": "", "step": "shop@acme:login#epoch"}, ("shop", "login")),
        ({"pipeline": "", "step": "login"}, ("", "login")),
        ({"pipeline": "shop@acme", "step": "login"}, ("shop", "login")),
    ],
    ids=["key", "epoch", "no prefix", "step"],
)
def test_a_storage_names_keys(values: dict[str, str], expected: tuple[str, str], sdk: Sdk) -> None:
    """A failure that a storage tells itself counts for pipeline and step of its key."""
    sdk.observer(some(StorageFailed, **values))
    [(attributes, _)] = sdk.points("requestforge.storage.failures")
    found = attributes["requestforge.pipeline"], attributes["requestforge.step"]
    assert found == expected


def test_seconds_have_buckets_for_seconds(sdk: Sdk) -> None:
    """The histograms tell 10 from 100 milliseconds, which the SDK's own bounds do not."""
    sdk.observer(some(StepFetched, seconds=0.01))
    [point] = sdk.metrics["requestforge.step.fetch.duration"].data.data_points
    assert point.explicit_bounds[:3] == (0.005, 0.01, 0.025)
    assert point.explicit_bounds[-1] == 60


def test_a_circuit(sdk: Sdk) -> None:
    """A change of a circuit counts for its origin and the state it has now."""
    sdk.observer(some(CircuitChanged, origin="https://api.example", after="open"))
    [(attributes, _)] = sdk.points("requestforge.circuit.changes")
    assert attributes["server.address"] == "api.example"
    assert attributes["requestforge.state"] == "open"


def test_what_is_no_event_of_ours_is_let_pass(sdk: Sdk) -> None:
    """An event of a kind that came later is not counted, and nothing is raised."""

    class Later(StepInvalidated):
        """Of a later release."""

    sdk.observer(some(Later))
    assert sdk.metrics == {}


def test_at_work(sdk: Sdk) -> None:
    """Through a pipeline and a client, in one trace, without a secret anywhere."""
    with (
        Server() as server,
        observe(sdk.observer),
        sdk.tracing.get_tracer("test").start_as_current_span("caller"),
    ):
        a_day_at_work(server)
    *spans, last = sdk.spans
    assert [span.name for span in spans] == [
        "requestforge.fetch login",
        "requestforge.request GET",
        "requestforge.fetch login",
        *["requestforge.request GET"] * 3,
        "requestforge.fetch login",
        "requestforge.request GET",
    ]
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    assert "requestforge.request_replayed" in [event.name for event in last.events]
    assert [traces(span.to_json()) for span in (*spans, last)] == [[]] * (len(spans) + 1)
    data = sdk.reader.get_metrics_data()
    assert data is not None
    assert traces(data.to_json()) == []
    assert "acme" not in data.to_json()


def test_threads(sdk: Sdk) -> None:
    """No event of many threads is lost, and each span is of its own thread's trace."""
    step = CountingStep("login")
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage(), "shop")
    tracer = sdk.tracing.get_tracer("test")

    def run() -> None:
        with tracer.start_as_current_span("caller"):
            for _ in range(25):
                pipeline.execute(force_refresh=True)

    with observe(sdk.observer):
        _together(run)
    [(_, count)] = sdk.points("requestforge.step.fetch.duration")
    fetches = [span for span in sdk.spans if span.name == "requestforge.fetch login"]
    assert count == len(fetches) == step.fetches
    assert all(span.parent for span in fetches)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_after_a_fork(sdk: Sdk) -> None:
    """The child of a fork goes on to count."""
    sdk.observer(some(StepFetched))
    child = os.fork()
    if child == 0:
        sdk.observer(some(StepFetched))
        [(_, count)] = sdk.points("requestforge.step.fetch.duration")
        os._exit(0 if count == 2 and len(sdk.spans) == 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_without_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making one without opentelemetry-api says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ImportError, match=r"pip install 'requestforge\[otel\]'"):
        OpenTelemetryObserver()


def test_the_global_providers_are_the_default() -> None:
    """Without an SDK nothing is made of the events, and nothing is raised."""
    observer = OpenTelemetryObserver()
    for kind in KINDS:
        observer(some(kind))


def _together(run: Callable[[], None]) -> None:
    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
