"""The work by a client of requestforge: a token of a pipeline, retries, breaker, budget, hooks."""

from collections.abc import Callable
from datetime import timedelta

from requestforge import (
    HttpClient,
    HttpClientConfigBuilder,
    HttpRequest,
    HttpResponse,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    RequestContext,
    TokenData,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.exceptions import TimeoutException
from requestforge.interfaces import TokenFetcherInterface

DOCUMENT = {"name": "A name", "tags": ["one", "two"], "amount": 12.5}

LIMIT = 1.0
"""Seconds that a request may take as a whole."""


class Step(TokenFetcherInterface):
    """A token for an hour."""

    name = "token"
    ttl = timedelta(hours=1)

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:  # noqa: ARG002
        """The token."""
        return TokenData("token")


class Counting:
    """Hooks whose own work is next to nothing, so that the client's work with them is measured."""

    def __init__(self) -> None:
        self.seen = 0

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:  # noqa: ARG002
        """Count the request."""
        self.seen += 1
        return request

    def after_response(self, response: HttpResponse, context: RequestContext) -> HttpResponse:  # noqa: ARG002
        """Count the answer."""
        self.seen += 1
        return response


def builder(url: str) -> HttpClientConfigBuilder:
    """A token, and nothing else."""
    pipeline = TokenFetchPipeline([Step()], InMemoryTokenStorage(), "bench")
    manager = TokenManager(PipelineTokenProvider(pipeline, "service"))
    return HttpClientConfigBuilder().with_base_url(url).with_token_auth(manager)


def full(url: str) -> HttpClientConfigBuilder:
    """All that a client of a real service has on."""
    return (
        builder(url)
        .with_retry()
        .with_circuit_breaker()
        .with_retry_budget()
        .with_request_hook(Counting())
        .with_response_hook(Counting())
    )


def getting(made: HttpClientConfigBuilder, path: str = "/items/1") -> Callable[[], bool]:
    """A GET of a client of this configuration."""
    client = HttpClient(made.build())
    return lambda: client.get(path).status_code == 200


def get(url: str) -> Callable[[], bool]:
    """A GET."""
    return getting(full(url))


def get_plainly(url: str) -> Callable[[], bool]:
    """A GET with a token alone."""
    return getting(builder(url))


def get_in_time(url: str) -> Callable[[], bool]:
    """A GET that has a deadline, too."""
    return getting(full(url).with_total_timeout(30.0))


def post(url: str) -> Callable[[], bool]:
    """A POST of a JSON document."""
    client = HttpClient(full(url).build())
    return lambda: client.post("/items", json_data=DOCUMENT).status_code == 200


def connect(url: str, ca: str) -> Callable[[], bool]:
    """A GET over a new connection."""
    return getting(full(url).with_verify_ssl(ca), "/once")


def get_slowly(url: str) -> Callable[[], bool]:
    """A GET that takes the server 50 ms."""
    return getting(full(url), "/slow")


def stall(url: str) -> Callable[[], bool]:
    """A GET whose answer never begins."""
    return expiring(url, "/stall")


def drip_header(url: str) -> Callable[[], bool]:
    """A GET whose header never ends."""
    return expiring(url, "/drip-header")


def drip_body(url: str) -> Callable[[], bool]:
    """A GET whose body never ends."""
    return expiring(url, "/drip-body")


def expiring(url: str, path: str) -> Callable[[], bool]:
    """A GET that the total deadline has to end."""
    patient = full(url).with_circuit_breaker(failure_threshold=1000)
    client = HttpClient(patient.with_total_timeout(LIMIT).build())

    def ask() -> bool:
        try:
            client.get(path)
        except TimeoutException:
            return True
        return False

    return ask
