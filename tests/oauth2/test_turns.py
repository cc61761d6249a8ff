"""Redemptions of one refresh token by the threads of a process: one after the other."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from loopback import Loopback, Received, Script, json_reply, shown_by
from requestforge import InMemoryTokenStorage, TokenFetchPipeline
from requestforge._deadline import bounded
from requestforge.exceptions import AuthenticationException, TimeoutException
from requestforge.instrumentation import monotonic
from requestforge.oauth2 import RefreshTokenFetcher

WAIT = 10.0
GRACE = 0.2
"""Seconds that an answer waits for a request that should not come before it."""


class Rotating:
    """Gives a new refresh token for each; while one is redeemed another request may come."""

    def __init__(self) -> None:
        self.redeemed: list[str] = []
        self.arrived = threading.Event()
        self.released = threading.Event()
        self._numbers = count(1)

    def __call__(self, received: Received) -> Script:
        self.redeemed.append(received.form["refresh_token"])
        if self.arrived.is_set():
            self.released.set()
        self.arrived.set()
        self.released.wait(GRACE)
        number = next(self._numbers)
        return json_reply({"access_token": f"t{number}", "refresh_token": f"canary-{number}"})


@pytest.fixture
def server() -> Rotating:
    """A server that rotates refresh tokens."""
    return Rotating()


@pytest.fixture
def step(server: Rotating) -> Iterator[RefreshTokenFetcher]:
    """A step that lives on a refresh token of that server."""
    with Loopback(server) as loopback:
        yield RefreshTokenFetcher("user", loopback.url, "app", refresh_token="canary-0")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads besides the test's own."""
    with ThreadPoolExecutor(4) as threads:
        yield threads


def test_threads_without_a_pipeline_redeem_one_after_the_other(
    server: Rotating, step: RefreshTokenFetcher, threads: ThreadPoolExecutor
) -> None:
    """Each redeems what the one before it was given."""
    fetches = [threads.submit(step.fetch) for _ in range(4)]
    assert len({fetch.result(WAIT).access_token for fetch in fetches}) == 4
    assert server.redeemed == [f"canary-{number}" for number in range(4)]


def test_an_invalidation_during_a_redemption_leads_to_no_second_use(
    server: Rotating, step: RefreshTokenFetcher, threads: ThreadPoolExecutor
) -> None:
    """The next fetch waits for the successor, though nobody will cache it."""
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    first = threads.submit(pipeline.execute)
    assert server.arrived.wait(WAIT)
    pipeline.invalidate_all()
    assert pipeline.execute().access_token == "t2"
    assert first.result(WAIT).access_token == "t1"
    assert server.redeemed == ["canary-0", "canary-1"]


def test_a_deadline_ends_the_wait_for_another_redemption(
    server: Rotating, step: RefreshTokenFetcher, threads: ThreadPoolExecutor
) -> None:
    """It is a timeout, and nothing is sent."""
    first = threads.submit(step.fetch)
    assert server.arrived.wait(WAIT)
    with bounded(monotonic()), pytest.raises(AuthenticationException) as caught:
        step.fetch()
    assert isinstance(caught.value.__cause__, TimeoutException)
    assert caught.value.service_name == "user"
    assert "canary" not in shown_by(caught.value)
    assert first.result(WAIT).access_token == "t1"
    assert server.redeemed == ["canary-0"]
