"""Refresh tokens that rotate, with reuse detection, among threads and processes on one Redis."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from threading import Barrier, Thread
from uuid import uuid4

import pytest
from rotating import CLIENT, LIMIT, Family, Worker

from requestforge import InMemoryTokenStorage, RedisTokenStorage, TokenData, TokenFetchPipeline
from requestforge.exceptions import AuthenticationException, TokenRefreshException
from requestforge.oauth2 import RefreshTokenFetcher

pytestmark = pytest.mark.compat


class Farm:
    """Workers on one Redis that holds an expired token of the user, and a pipeline here."""

    def __init__(self, url: str, family: Family, stack: ExitStack) -> None:
        self._stack = stack
        self._url = url
        self._key_prefix = uuid4().hex
        self.family = family
        self.storage = RedisTokenStorage(url=url, key_prefix=self._key_prefix)
        self.first = family.expired()
        self.storage.set("user", self.first)
        stack.callback(self.storage.close)

    def workers(
        self, count: int, threads: int = 1, *, password: str = "canary-alices-pw", lease: float = 35
    ) -> list[Worker]:
        """So many processes, ready; without a password their step has no grant of its own."""
        told = {
            "url": self._url,
            "key_prefix": self._key_prefix,
            "token_url": self.family.idp.url,
            "secret": CLIENT.secret,
            "password": password,
            "seed": self.first.refresh_token,
            "threads": threads,
            "lease": lease,
        }
        workers = [self._stack.enter_context(Worker(told)) for _ in range(count)]
        assert [worker.answer() for worker in workers] == ["ready"] * count
        return workers

    def pipeline(self, *, with_password: bool) -> TokenFetchPipeline:
        """One here, on the same Redis."""
        step = self.family.password_step() if with_password else seeded(self.family, self.first)
        return TokenFetchPipeline([step], self.storage, lock_lease=timedelta(seconds=1))


def seeded(family: Family, first: TokenData) -> RefreshTokenFetcher:
    """A step without a grant of its own."""
    return RefreshTokenFetcher(
        "user", family.idp.url, "app", refresh_token=str(first.refresh_token), client_auth=CLIENT
    )


@pytest.fixture
def farm(redis_url: str, family: Family) -> Iterator[Farm]:
    """Processes on a Redis."""
    with ExitStack() as stack:
        yield Farm(redis_url, family, stack)


def test_threads_redeem_a_refresh_token_once(family: Family) -> None:
    """16 threads with one expired token: one redemption, and every thread has the new token."""
    storage = InMemoryTokenStorage()
    storage.set("user", family.expired())
    pipeline = TokenFetchPipeline([family.password_step()], storage)
    [token] = set(_together(16, lambda: pipeline.execute().access_token))
    assert family.redemptions == [200]
    assert family.takes(token)


def test_threads_redeem_each_successor_once(family: Family) -> None:
    """16 threads that find 5 tokens in a row rejected: one redemption for each of these."""
    storage = InMemoryTokenStorage()
    storage.set("user", family.expired())
    pipeline = TokenFetchPipeline([family.password_step()], storage)
    for _ in range(5):
        rejected = pipeline.execute()
        [token] = set(_together(16, lambda r=rejected: pipeline.refresh(r).access_token))
        assert token != rejected.access_token
    assert family.redemptions == [200] * 6
    assert family.takes(token)


def test_processes_redeem_a_refresh_token_once(farm: Farm) -> None:
    """4 processes of 4 threads with one expired token: one redemption, and every caller is served.

    So it is for the token that came of it, once that is rejected.
    """
    workers = farm.workers(4, threads=4)
    for worker in workers:
        worker.tell("execute")
    [token] = {token for worker in workers for token in worker.answer()}
    assert farm.family.redemptions == [200]
    assert farm.family.takes(token)
    for worker in workers:
        worker.tell("refresh")
        assert worker.answer() == "rejected"
    for worker in workers:
        worker.tell("now")
    [second] = {token for worker in workers for token in worker.answer()}
    assert second != token
    assert farm.family.redemptions == [200] * 2
    assert farm.family.takes(second)


def test_a_crash_before_the_new_token_is_stored_leads_to_the_own_grant(farm: Farm) -> None:
    """A process that is killed with the rotated token takes that along: another one logs in.

    Its refresh token is the last that anybody has. The server sees it used twice, which it takes
    for a theft; that costs one request and no caller.
    """
    [worker] = farm.workers(1, lease=1)
    worker.tell("halt")
    assert worker.answer() == "redeemed"
    worker.kill()
    token = farm.pipeline(with_password=True).execute()
    assert farm.family.redemptions == [200, 400]
    assert farm.family.grants("password") == [200, 200]
    assert farm.family.takes(token.access_token)


def test_a_crash_with_the_only_refresh_token_is_told_of(farm: Farm) -> None:
    """Where no grant is left that needs no user, it is a TokenRefreshException, at once from then.

    The refresh token that the server has refused is not shown to it again.
    """
    [worker] = farm.workers(1, lease=1, password="")
    worker.tell("halt")
    assert worker.answer() == "redeemed"
    worker.kill()
    pipeline = farm.pipeline(with_password=False)
    for _ in range(2):
        with pytest.raises(TokenRefreshException) as caught:
            pipeline.execute()
        assert caught.value.service_name == "user"
    assert farm.family.redemptions == [200, 400]


def test_a_process_that_ends_in_peace_leaves_the_rotated_token(farm: Farm) -> None:
    """A successor redeems what the storage holds, and not what it was given itself."""
    [worker] = farm.workers(1, password="")
    worker.tell("execute")
    [token] = worker.answer()
    assert farm.family.takes(token)
    worker.kill()
    renewed = farm.pipeline(with_password=False).execute(force_refresh=True)
    assert farm.family.redemptions == [200, 200]
    assert farm.family.takes(renewed.access_token)


def test_a_lost_answer_keeps_the_refresh_token(family: Family) -> None:
    """A redemption whose answer breaks off is a failure like others; the next call tries again.

    The server has rotated the token meanwhile and gives no way back, so the step logs in.
    """
    storage = InMemoryTokenStorage()
    storage.set("user", family.expired())
    pipeline = TokenFetchPipeline([family.password_step()], storage)
    family.idp.truncate()
    with pytest.raises(AuthenticationException) as caught:
        pipeline.execute()
    assert not isinstance(caught.value, TokenRefreshException)
    assert storage.get("user") is not None
    token = pipeline.execute()
    assert family.redemptions == [200, 400]
    assert family.takes(token.access_token)


def test_a_lost_answer_to_the_only_refresh_token_is_told_of(family: Family) -> None:
    """Without another grant the second try is a TokenRefreshException, and no third follows."""
    pipeline = TokenFetchPipeline([seeded(family, family.expired())], InMemoryTokenStorage())
    family.idp.truncate()
    errors = []
    for _ in range(3):
        with pytest.raises(AuthenticationException) as caught:
            pipeline.execute()
        errors.append(type(caught.value))
    assert errors == [AuthenticationException, TokenRefreshException, TokenRefreshException]
    assert family.redemptions == [200, 400]


def test_an_answer_that_was_never_made_costs_nothing(family: Family) -> None:
    """A server that fails before it rotates gets the same refresh token again."""
    pipeline = TokenFetchPipeline([seeded(family, family.expired())], InMemoryTokenStorage())
    family.idp.fail(503)
    with pytest.raises(AuthenticationException):
        pipeline.execute()
    assert family.takes(pipeline.execute().access_token)
    assert family.redemptions == [503, 200]


def _together(count: int, call: Callable[[], str]) -> list[str]:
    """What so many threads get at the same time."""
    start = Barrier(count)
    outcomes: list[str] = []

    def run() -> None:
        start.wait(LIMIT)
        outcomes.append(call())

    threads = [Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert len(outcomes) == count
    return outcomes
