"""OpenTelemetry's instrumentation of requests traces every request of a client, once."""

from collections.abc import Callable, Iterator

import pytest
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from canary import traces
from doubles import CountingStep
from loopback import Loopback, Received, in_turn, reply
from requestforge import (
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.exceptions import ConnectionException
from requestforge.tokens import TokenData

CANARY = "canary-span-c2d8"

Spans = Callable[[], list[ReadableSpan]]


@pytest.fixture
def tracing() -> Iterator[TracerProvider]:
    """Instrumented requests, until the end of the test."""
    provider = TracerProvider(shutdown_on_exit=False)
    instrumentor = RequestsInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield provider
    instrumentor.uninstrument()
    provider.shutdown()


@pytest.fixture
def spans(tracing: TracerProvider) -> Spans:
    """Gives the spans that have ended."""
    exporter = InMemorySpanExporter()
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    return lambda: list(exporter.get_finished_spans())


class SecretStep(CountingStep):
    """A step whose tokens are secret."""

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        return TokenData(f"{CANARY}-{super().fetch(context).access_token}")


def statuses(spans: list[ReadableSpan]) -> list[object]:
    """The statuses of HTTP that the spans tell of."""
    return [dict(span.attributes or {}).get("http.status_code") for span in spans]


def assert_told_to_the_server(spans: list[ReadableSpan], received: list[Received]) -> None:
    """Each request carried the `traceparent` of a span of its own, and no span shows a secret."""
    ids = [f"{span.context.span_id:016x}" for span in spans if span.context]
    assert [request.headers["traceparent"].split("-")[2] for request in received] == ids
    assert len(set(ids)) == len(spans)
    assert [traces(span.to_json()) for span in spans] == [[]] * len(spans)


def test_each_attempt_has_one_span(spans: Spans) -> None:
    """A retry and each hop of a redirect have a span of their own, and none has two."""
    answers = in_turn(reply(503), reply(302, Location="/next"), reply(body=b"here"))
    with Loopback(answers) as server:
        builder = HttpClientConfigBuilder().with_base_url(server.url).with_retry(2, 0)
        with HttpClient(builder.with_bearer_token(CANARY).build()) as client:
            assert client.get("/users").content == b"here"
    assert statuses(spans()) == [503, 302, 200]
    assert_told_to_the_server(spans(), server.requests)


def test_a_replay_has_a_span(spans: Spans) -> None:
    """The request with the refused token and the one with the new token are two spans."""
    with Loopback(in_turn(reply(401), reply(body=b"here"))) as server:
        pipeline = TokenFetchPipeline([SecretStep("login")], InMemoryTokenStorage())
        manager = TokenManager(PipelineTokenProvider(pipeline, "api"))
        builder = HttpClientConfigBuilder().with_base_url(server.url).with_token_auth(manager)
        with HttpClient(builder.build()) as client:
            assert client.post("/users", json_data={"password": CANARY}).content == b"here"
    assert statuses(spans()) == [401, 200]
    assert_told_to_the_server(spans(), server.requests)


def test_a_stream_has_a_span(spans: Spans) -> None:
    """A body that is read bit by bit belongs to one span."""
    with Loopback(reply(body=b"bit by bit")) as server:
        config = HttpClientConfigBuilder().with_base_url(server.url).with_api_key(CANARY).build()
        with HttpClient(config) as client, client.stream("GET", "/users") as answer:
            assert b"".join(answer.iter_bytes(3)) == b"bit by bit"
    assert statuses(spans()) == [200]
    assert_told_to_the_server(spans(), server.requests)


def test_a_failure_has_a_span(spans: Spans) -> None:
    """A connection that fails is a span with an error, in which no secret shows."""
    with Loopback(lambda _: lambda sock: sock.close()) as server:
        builder = HttpClientConfigBuilder().with_base_url(server.url).with_bearer_token(CANARY)
        with HttpClient(builder.build()) as client, pytest.raises(ConnectionException):
            client.get("/users")
    [span] = spans()
    assert span.status.status_code is StatusCode.ERROR
    assert_told_to_the_server([span], server.requests)


def test_the_requests_of_one_caller_are_in_one_trace(tracing: TracerProvider, spans: Spans) -> None:
    """Spans of all attempts are children of the span that the caller is in."""
    with Loopback(in_turn(reply(503), reply(503), reply())) as server:
        builder = HttpClientConfigBuilder().with_base_url(server.url).with_retry(3, 0)
        with (
            HttpClient(builder.build()) as client,
            tracing.get_tracer("test").start_as_current_span("caller") as caller,
        ):
            client.get("/users")
    *attempts, last = spans()
    assert last.name == "caller"
    assert len(attempts) == 3
    parents = {span.parent.span_id for span in attempts if span.parent}
    assert parents == {caller.get_span_context().span_id}
