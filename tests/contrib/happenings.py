"""Every event once, and a pipeline and a client at work, for tests of observers."""

import dataclasses
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

from client_server import Reply, Server
from doubles import START, CountingStep
from requestforge import (
    HttpClient,
    HttpClientConfigBuilder,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.events import Event
from requestforge.exceptions import AuthenticationException, ConnectionException

KINDS: list[Any] = list(get_args(Event))

CANARY = "canary-observed-91f7"

PAGE = Path(__file__).parents[2] / "docs" / "user-guide" / "observability.rst"

_VALUES: dict[str, Any] = {
    "after": "open",
    "at": START,
    "attempt": 1,
    "before": "closed",
    "ends_at": START,
    "error": "It failed.",
    "limit": "rate",
    "method": "GET",
    "missing": ("write", "admin"),
    "operation": "read",
    "origin": "https://api.example:8443",
    "pipeline": "shop@acme",
    "replay": 1,
    "seconds": 0.25,
    "status_code": 404,
    "url": "https://api.example:8443/orders/7?page=2",
    "wait": 0.5,
}


def some(kind: Any, **values: Any) -> Any:  # noqa: ANN401 - events of any kind
    """An event of this kind."""
    names = [each.name for each in dataclasses.fields(kind)]
    return kind(**{name: values.get(name, _VALUES.get(name, "x")) for name in names})


class SecretStep(CountingStep):
    """A step whose tokens are secret."""

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        return TokenData(f"{CANARY}-{super().fetch(context).access_token}")


def a_day_at_work(server: Server) -> None:
    """A fetch, a replay, an answer with status 404, a failure, an invalidation, a failed fetch."""
    step = SecretStep("login")
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage(), "shop")
    view = pipeline.for_tenant("acme")
    refusals = iter([Reply(401)])
    server.rules["/orders/7"] = lambda _: next(refusals, Reply(200))
    server.rules["/missing"] = Reply(404)
    server.rules["/broken"] = _break
    manager = TokenManager(PipelineTokenProvider(view, "api"))
    config = HttpClientConfigBuilder().with_base_url(server.url).with_token_auth(manager).build()
    with HttpClient(config) as client:
        client.get("/orders/7", params={"token": CANARY})
        client.get("/missing")
        with suppress(ConnectionException):
            client.get("/broken")
        view.invalidate_step("login")
        step.failure = OSError(f"The server is down: password={CANARY}")
        with suppress(AuthenticationException):
            client.get("/orders/7")


def _break(_: object) -> Reply:
    raise ConnectionError
