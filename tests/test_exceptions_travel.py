"""Errors that a real call ended in go from process to process with all they tell."""

import copy
import multiprocessing
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from canary import CANARY_CLIENT_SECRET, CANARY_PASSWORD, assert_clean
from doubles import CountingStep, FlakyStorage
from loopback import Loopback, Received, Script, reply
from requestforge import (
    ClientCredentialsTokenProvider,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenFetchPipeline,
    TokenManager,
    exceptions,
)
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.exceptions import HttpClientException
from requestforge.models import HttpRequest
from requestforge.retry import SimpleRetryStrategy
from requestforge.token_manager import BaseOAuth2TokenProvider
from requestforge.tokens import TokenData

pytestmark = [pytest.mark.compat, pytest.mark.usefixtures("plain_environment")]

CANARY = "canary-travel-b14c"
PATIENCE = 0.2
"""Seconds that these clients wait for an answer."""


def builder(url: str) -> HttpClientConfigBuilder:
    """The start of a configuration with secrets."""
    made = HttpClientConfigBuilder().with_base_url(url).with_timeout(PATIENCE)
    return made.with_api_key(CANARY).with_raise_for_status()


def ask(config: HttpClientConfigBuilder, path: str = "/", times: int = 1) -> None:
    """Send a request with secrets, and the same again."""
    with HttpClient(config.build()) as client:
        for number in range(times):
            try:
                client.request(HttpRequest("GET", f"{path}?token={CANARY}"))
            except exceptions.CircuitOpenException:
                raise
            except HttpClientException:
                if number == times - 1:
                    raise


def closed_port() -> str:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def strange_port() -> str:
    """Where somebody answers who does not speak TLS, once."""
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        with listener, listener.accept()[0] as sock:
            sock.recv(65536)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    threading.Thread(target=refuse, daemon=True).start()
    return f"https://127.0.0.1:{listener.getsockname()[1]}"


class _Refused(BaseOAuth2TokenProvider):
    def _do_fetch_token(self) -> TokenData:
        raise exceptions.TokenRefreshException("The session has ended.", service_name="sso")

    def _do_refresh_token(self, token: TokenData) -> TokenData:
        return self._do_fetch_token()


def unmet(_: str) -> None:
    """Fetch a step whose dependency nobody fetches."""
    step = CountingStep("app", ["login"])
    TokenFetchPipeline([step], InMemoryTokenStorage(), validate_dependencies=False).execute()


def undeletable(_: str) -> None:
    """Invalidate a token that its storage does not give up."""
    pipeline = TokenFetchPipeline([CountingStep("app")], FlakyStorage("delete"))
    pipeline.execute()
    pipeline.invalidate_all()


def unauthenticated(url: str) -> None:
    """Ask for a token that its server refuses, by way of a pipeline."""
    provider = ClientCredentialsTokenProvider(f"{url}/401", "id", CANARY_CLIENT_SECRET, "shop")

    class Login(CountingStep):
        def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
            return provider.fetch_token()

    pipeline = TokenFetchPipeline([Login("login")], InMemoryTokenStorage())
    manager = TokenManager(PipelineTokenProvider(pipeline, "shop"))
    ask(builder(url).with_token_auth(manager))


def relogin(url: str) -> None:
    """Ask for a token where a user would have to log in."""
    provider = _Refused(f"{url}/token", "id", CANARY_CLIENT_SECRET, "sso")
    ask(builder(url).with_token_auth(TokenManager(provider)))


CALLS: dict[str, Callable[[str], object]] = {
    "HttpClientException": lambda url: ask(builder(url), "/loop"),
    "TimeoutException": lambda url: ask(builder(url), "/stall"),
    "ConnectionException": lambda _: ask(builder(closed_port())),
    "SSLException": lambda _: ask(builder(strange_port())),
    "ResponseParseException": lambda url: HttpClient(builder(url).build()).get("/text").json(),
    "RequestBuildException": lambda url: ask(builder(url), f"http://u:{CANARY_PASSWORD}@a.example"),
    "TokenStorageException": undeletable,
    "CapacityException": lambda url: ask(
        builder(url).with_rate_limit(0.001, max_wait=0), "/500", times=2
    ),
    "MaxRetryException": lambda url: ask(
        builder(url).with_retry_strategy(SimpleRetryStrategy(1, 0)), "/loop"
    ),
    "MaxRetryTimeoutException": lambda url: ask(builder(url).with_retry(1, 0), "/stall"),
    "MaxRetryConnectionException": lambda _: ask(builder(closed_port()).with_retry(1, 0)),
    "CircuitOpenException": lambda url: ask(
        builder(url).with_circuit_breaker(failure_threshold=1), "/500", times=2
    ),
    "AuthenticationException": unauthenticated,
    "TokenRefreshException": relogin,
    "DependencyException": unmet,
    "HttpStatusException": lambda url: ask(builder(url), "/418"),
    "BadRequestException": lambda url: ask(builder(url), "/400"),
    "UnauthorizedException": lambda url: ask(builder(url), "/401"),
    "ForbiddenException": lambda url: ask(builder(url), "/403"),
    "NotFoundException": lambda url: ask(builder(url), "/404"),
    "ServerErrorException": lambda url: ask(builder(url), "/503"),
}
every_class = pytest.mark.parametrize("name", CALLS)


def made(name: str, url: str) -> HttpClientException:
    """The error that a call ends in."""
    with pytest.raises(HttpClientException) as caught:
        CALLS[name](url)
    assert type(caught.value).__name__ == name
    return caught.value


def raise_in_child(name: str, url: str) -> None:
    """What a worker process does: it lets the error out."""
    CALLS[name](url)


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    """Answers with the status that the path names, or worse."""
    worse: dict[str, Script] = {
        "/loop": reply(302, Location="/loop"),
        "/stall": lambda sock: sock.recv(1),
        "/text": reply(body=b"no JSON"),
    }

    def answer(received: Received) -> Script:
        if received.path in worse:
            return worse[received.path]
        body = b'{"error": "refused", "password": "that of the caller"}'
        return reply(int(received.path.strip("/")), body, Retry_After="7")

    with Loopback(answer) as server:
        yield server


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    """One process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def attributes(error: BaseException) -> dict[str, object]:
    """What an error tells, in a form that can be compared."""
    return {
        name: [attributes(link) for link in value]
        if name == "history" and isinstance(value, tuple)
        else chain(value)
        if isinstance(value, BaseException)
        else value
        for name, value in vars(error).items()
    }


def chain(error: BaseException) -> list[tuple[str, str]]:
    """Types and texts of the error and its causes; a foreign one may have a stand-in."""
    link: BaseException | None = error
    found = []
    while link is not None:
        is_own = isinstance(link, HttpClientException)
        found.append((type(link).__name__ if is_own else "foreign", str(link)))
        link = link.__cause__
    return found


def test_every_class_is_here() -> None:
    """There is a call for every exception of the library."""
    kinds = [getattr(exceptions, name) for name in exceptions.__all__]
    assert set(CALLS) == {kind.__name__ for kind in kinds if issubclass(kind, HttpClientException)}


@every_class
def test_a_pickle_tells_all_but_secrets(name: str, server: Loopback) -> None:
    """Attributes and chain come back from every protocol, and no secret was in it."""
    error = made(name, server.url)
    assert_clean(error)
    once = pickle.loads(pickle.dumps(error))
    assert type(once) is type(error)
    assert chain(once) == chain(error)
    assert once.args == error.args
    assert once.message == error.message
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        twice = pickle.loads(pickle.dumps(once, protocol))
        # What was masked by the first pickle stays as it is.
        assert attributes(twice) == attributes(once)
        assert chain(twice) == chain(error)
    for attribute in ("attempts", "retry_after", "status_code", "service_name", "retry_at"):
        assert getattr(once, attribute, None) == getattr(error, attribute, None)


@every_class
@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_a_copy_tells_all(
    name: str, server: Loopback, copier: Callable[[HttpClientException], HttpClientException]
) -> None:
    """Attributes and chain are those of the original."""
    error = made(name, server.url)
    twin = copier(error)
    assert twin is not error
    assert type(twin) is type(error)
    assert chain(twin) == chain(error)
    assert attributes(twin).keys() == attributes(error).keys()
    assert twin.context == error.context
    assert twin.context is not error.context


@every_class
def test_a_worker_process_hands_it_over(
    name: str, server: Loopback, workers: ProcessPoolExecutor
) -> None:
    """What a call in another process raised is raised here, as if it had been made here."""
    with pytest.raises(HttpClientException) as caught:
        workers.submit(raise_in_child, name, server.url).result(30)
    error, own = caught.value, made(name, server.url)
    assert_clean(error)
    assert type(error) is type(own)
    assert vars(error).keys() == vars(own).keys()
    assert (error.original_exception is None) is (own.original_exception is None)
    for attribute in ("attempts", "retry_after", "status_code", "service_name"):
        assert type(getattr(error, attribute, None)) is type(getattr(own, attribute, None))


def test_the_history_comes_along(server: Loopback) -> None:
    """The failures of all attempts are in the copy, each with its own chain."""
    error = pickle.loads(pickle.dumps(made("MaxRetryTimeoutException", server.url)))
    assert [type(failure).__name__ for failure in error.history] == ["TimeoutException"] * 2
    assert error.__cause__ is error.original_exception
    assert all(failure.__cause__ is not None for failure in error.history)


def test_an_answer_comes_along(server: Loopback) -> None:
    """The answer that an error stands for is there, with its secrets masked."""
    error = pickle.loads(pickle.dumps(made("ServerErrorException", server.url)))
    assert (error.response.status_code, error.retry_after) == (503, 7)
    assert error.response.json() == {"error": "refused", "password": "***"}
