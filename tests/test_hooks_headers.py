"""The hooks that give requests an idempotency key, and a place in a trace."""

import re
from collections.abc import Iterator
from uuid import UUID

import pytest

from client_server import Reply, Server
from requestforge import HttpClient, HttpClientConfig, IdempotencyKeyHook, TraceparentHook
from requestforge.exceptions import RequestBuildException
from requestforge.models import HttpMethod, HttpRequest, RequestContext
from requestforge.retry import SimpleRetryStrategy

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def api() -> Iterator[Server]:
    """A server."""
    with Server() as server:
        yield server


def hooked(
    hook: IdempotencyKeyHook | TraceparentHook, request: HttpRequest
) -> tuple[HttpRequest, RequestContext]:
    """What a hook makes of a request, and what it notes."""
    context = RequestContext(request)
    return hook.before_request(request, context), context


class TestIdempotencyKey:
    @pytest.mark.parametrize("method", list(HttpMethod), ids=lambda method: method.value)
    def test_post_and_patch_get_a_key(self, method: HttpMethod) -> None:
        """Only the methods that are not idempotent by themselves need one."""
        request, context = hooked(IdempotencyKeyHook(), HttpRequest(method, "/orders"))
        if method in {HttpMethod.POST, HttpMethod.PATCH}:
            key = (request.headers or {})["Idempotency-Key"]
            assert UUID(key).version == 4
            assert context.metadata == {"idempotency_key": key}
        else:
            assert request is context.request

    def test_the_key_of_the_caller_stays(self) -> None:
        """A key that is there in any case of letters is not replaced."""
        given = HttpRequest("POST", "/orders", {"idempotency-key": "mine"})  # type: ignore[arg-type]
        request, _ = hooked(IdempotencyKeyHook(), given)
        assert request is given

    def test_the_header_can_have_another_name(self) -> None:
        """The key goes into the header of the name given."""
        given = HttpRequest(HttpMethod.PATCH, "/orders", {"X-One": "1"})
        request, _ = hooked(IdempotencyKeyHook("X-Request-Key"), given)
        assert list(request.headers or {}) == ["X-One", "X-Request-Key"]
        assert IdempotencyKeyHook("X-Request-Key").header_name == "X-Request-Key"

    def test_a_configuration_can_ask_for_it(self, api: Server) -> None:
        """`idempotency_key` names the header, and makes a POST one that is retried."""
        left = iter([503])
        api.rules["/orders"] = lambda _: Reply(next(left, 201))
        strategy = SimpleRetryStrategy(1, 0)
        config = HttpClientConfig(api.url, retry_strategy=strategy, idempotency_key="X-Once")
        with HttpClient(config) as client:
            client.post("/orders")
            assert [seen.headers["X-Once"] is None for seen in api.seen] == [False, False]
            assert len({seen.headers["X-Once"] for seen in api.seen}) == 1

    def test_the_key_is_no_credential(self, api: Server) -> None:
        """A client with the hook shows the key in its errors, as it shows other headers."""
        config = HttpClientConfig(api.url, request_hooks=[IdempotencyKeyHook()])
        with HttpClient(config) as client, pytest.raises(RequestBuildException) as caught:
            client.get("/", timeout=-1, headers={"Idempotency-Key": "order-1"})
        assert caught.value.context["request"].headers == {"Idempotency-Key": "order-1"}

    def test_retries_carry_the_same_key(self, api: Server) -> None:
        """A request that is retried keeps its key, and the next request has another one."""
        left = iter([503, 200, 200])
        api.rules["/"] = lambda _: Reply(next(left))
        config = HttpClientConfig(
            api.url,
            retry_strategy=SimpleRetryStrategy(1, 0),
            request_hooks=[IdempotencyKeyHook()],
        )
        with HttpClient(config) as client:
            assert client.post("/", {"a": 1}).status_code == 200
            assert client.post("/", {"a": 1}).status_code == 200
        first, again, second = (seen.headers["Idempotency-Key"] for seen in api.seen)
        assert first == again != second


class TestTraceparent:
    def test_each_attempt_is_a_span_of_one_trace(self, api: Server) -> None:
        """The trace id is the same on retries, the parent id is not, and requests differ."""
        left = iter([503, 200, 200])
        api.rules["/"] = lambda _: Reply(next(left))
        config = HttpClientConfig(
            api.url, retry_strategy=SimpleRetryStrategy(1, 0), request_hooks=[TraceparentHook()]
        )
        with HttpClient(config) as client:
            client.get("/")
            client.get("/")
        sent = [seen.headers["traceparent"] for seen in api.seen]
        assert all(re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", header) for header in sent)
        (trace, span), (same, other), (next_trace, _) = (header.split("-")[1:3] for header in sent)
        assert trace == same != next_trace
        assert span != other

    def test_the_trace_id_is_noted(self) -> None:
        """Hooks and logs find the id of the trace in the metadata."""
        request, context = hooked(TraceparentHook(), HttpRequest(HttpMethod.GET, "/"))
        header = (request.headers or {})["traceparent"]
        assert header.split("-")[1] == context.metadata["trace_id"]

    @pytest.mark.parametrize(
        "header",
        [
            pytest.param(f"00-{TRACE}-{PARENT}-01", id="sampled"),
            pytest.param(f"00-{TRACE}-{PARENT}-00", id="not sampled"),
            pytest.param(f"cc-{TRACE}-{PARENT}-01", id="later version"),
            pytest.param(f"cc-{TRACE}-{PARENT}-01-what the future brings", id="with more parts"),
        ],
    )
    def test_a_trace_of_the_caller_goes_on(self, header: str) -> None:
        """A valid header of the caller is sent as it is, with its tracestate."""
        given = HttpRequest(
            HttpMethod.GET, "/", {"Traceparent": header, "tracestate": "rojo=00f067aa"}
        )
        request, context = hooked(TraceparentHook(), given)
        assert request is given
        assert context.metadata == {}

    @pytest.mark.parametrize(
        "header",
        [
            pytest.param("", id="empty"),
            pytest.param(f"00-{TRACE}-{PARENT}", id="without flags"),
            pytest.param(f"00-{TRACE}-{PARENT}-01-more", id="more than version 00 has"),
            pytest.param(f"ff-{TRACE}-{PARENT}-01", id="forbidden version"),
            pytest.param(f"00-{TRACE.upper()}-{PARENT}-01", id="upper case"),
            pytest.param(f"00-{'0' * 32}-{PARENT}-01", id="no trace"),
            pytest.param(f"00-{TRACE}-{'0' * 16}-01", id="no parent"),
            pytest.param(f"cc-{TRACE}-{PARENT}-01.", id="more without a dash"),
        ],
    )
    def test_in_place_of_an_invalid_one_a_trace_begins(self, header: str) -> None:
        """A header that servers would refuse is replaced, and its tracestate goes."""
        given = HttpRequest(
            HttpMethod.GET, "/", {"Traceparent": header, "Tracestate": "a=b", "X-One": "1"}
        )
        request, context = hooked(TraceparentHook(), given)
        headers = dict(request.headers or {})
        assert headers.pop("traceparent").split("-")[1] == context.metadata["trace_id"]
        assert headers == {"X-One": "1"}
