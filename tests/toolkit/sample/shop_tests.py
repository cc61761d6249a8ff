"""Twenty tests as users write them; the last eight are to fail, each in another way."""
# ruff: noqa: D103, S113, ARG001, T201 - written as users do

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import requests
from faker import Faker

from pytest_requestforge import Clock, FakeAuth, Recorder
from pytest_requestforge.fake_auth import FakeAuthFactory
from requestforge import AuthenticationException, HttpClient, TokenFetchPipeline


def test_the_first_run_fetches_all(rf_fake_auth: FakeAuth, pipeline: TokenFetchPipeline) -> None:
    rf_fake_auth.serve(pipeline)
    pipeline.execute()
    assert rf_fake_auth.fetch_counts == {"app": 1, "user": 1}


def test_the_second_run_is_cached(
    rf_fake_auth: FakeAuth, rf_recorder: Recorder, pipeline: TokenFetchPipeline
) -> None:
    rf_fake_auth.serve(pipeline)
    pipeline.execute()
    with rf_fake_auth.expect_fetches():
        pipeline.execute()
    rf_recorder.assert_cache_hits(user=1)


@pytest.mark.parametrize(("offset", "fetches"), [(-1, 0), (0, 1)], ids=["before", "after"])
def test_expiry(
    rf_fake_auth: FakeAuth,
    rf_clock: Clock,
    pipeline: TokenFetchPipeline,
    offset: int,
    fetches: int,
) -> None:
    rf_fake_auth.serve(pipeline)
    pipeline.execute()
    rf_clock.to_expiry("user", offset=offset)
    with rf_fake_auth.expect_fetches(app=0, user=fetches):
        pipeline.execute()


@pytest.mark.rf_clock(start="2031-05-05T12:00:00Z")
def test_the_clock_starts_where_the_marker_says(rf_clock: Clock) -> None:
    assert rf_clock.now() == datetime.now(UTC) == datetime(2031, 5, 5, 12, tzinfo=UTC)


@pytest.mark.rf_fake_auth(transport="loopback", strict=False, seed=3)
def test_the_server_is_as_the_marker_says(rf_fake_auth: FakeAuth) -> None:
    assert (rf_fake_auth.transport, rf_fake_auth.seed) == ("loopback", 3)
    assert requests.get(f"{rf_fake_auth.url}/nowhere").status_code == 404


def test_a_cascade(rf_fake_auth: FakeAuth, pipeline: TokenFetchPipeline) -> None:
    rf_fake_auth.serve(pipeline)
    rf_fake_auth.assert_cascade(pipeline, "app", clears={"user"})
    rf_fake_auth.assert_cascade(pipeline, "user", clears=set(), keeps={"app"})


def test_threads_share_a_flight(rf_fake_auth: FakeAuth, pipeline: TokenFetchPipeline) -> None:
    app = rf_fake_auth.serve(pipeline)["app"]
    with ThreadPoolExecutor(4) as pool, app.hold(n=4) as held:
        runs = [pool.submit(pipeline.execute) for _ in range(4)]
        held.wait_for(1)
        held.release()
        assert len({run.result().access_token for run in runs}) == 1
    rf_fake_auth.assert_single_flight()


def test_a_revoked_token_is_mended(
    rf_fake_auth: FakeAuth, pipeline: TokenFetchPipeline, client: HttpClient
) -> None:
    user = rf_fake_auth.serve(pipeline)["user"]
    rf_fake_auth.resource("GET https://api.shop.example/orders", needs=user, json=[1])
    assert client.get("/orders").json() == [1]
    user.revoke()
    with rf_fake_auth.expect_fetches(app=0, user=1):
        assert client.get("/orders").json() == [1]


def test_a_provider(rf_fake_auth_factory: FakeAuthFactory) -> None:
    auth = rf_fake_auth_factory("https://login.example", transport="inprocess")
    idp = auth.oauth2(clients={"shop": "secret-of-shop"})
    form = {"grant_type": "client_credentials"}
    token = requests.post(idp.url, form, auth=("shop", "secret-of-shop")).json()["access_token"]
    me = auth.resource("GET https://api.shop.example/me", needs=idp)
    assert requests.get(me.url, headers={"Authorization": f"Bearer {token}"}).status_code == 200


@pytest.mark.rf_faults("reset", "slow")
def test_faults_are_survived(
    rf_fake_auth: FakeAuth, rf_clock: Clock, pipeline: TokenFetchPipeline
) -> None:
    rf_fake_auth.serve(pipeline)
    try:
        pipeline.execute()
    except AuthenticationException:
        pipeline.execute()


def test_asyncio(rf_fake_auth_server: FakeAuth, rf_clock: Clock) -> None:
    url = rf_fake_auth_server.token("app", "POST /app", expires_in=60).url

    async def main() -> list[int]:
        async with asyncio.timeout(30):
            asked = (asyncio.to_thread(requests.post, url) for _ in range(3))
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    assert asyncio.run(main()) == [200] * 3
    rf_fake_auth_server.assert_fetch_counts(app=3)


def test_values_follow_from_the_test(rf_faker: Faker, request: pytest.FixtureRequest) -> None:
    again = request.getfixturevalue("rf_faker")
    assert rf_faker is again
    assert rf_faker.access_token() != rf_faker.access_token()


def test_unmatched(rf_fake_auth: FakeAuth, pipeline: TokenFetchPipeline) -> None:
    rf_fake_auth.serve(pipeline)
    requests.post("https://auth.shop.example/apps")


def test_unmatched_with_an_error_of_its_own(rf_fake_auth: FakeAuth) -> None:
    requests.get(f"{rf_fake_auth.url}/nowhere")
    raise KeyError("of the test")


def test_unmatched_at_the_end(signs_out: None) -> None:
    """It passes, and its teardown fails it."""


def test_a_fixture_breaks_at_the_end(breaks: None) -> None:
    """It passes; the fixture is in error, as ever."""


def test_an_unused_fault(rf_fake_auth: FakeAuth) -> None:
    rf_fake_auth.token("app", "POST /app").reset()


def test_a_leak(rf_fake_auth: FakeAuth) -> None:
    print(requests.post(rf_fake_auth.token("app", "POST /app").url).json())


def test_wrong_counts(rf_fake_auth: FakeAuth, pipeline: TokenFetchPipeline) -> None:
    rf_fake_auth.serve(pipeline)
    pipeline.execute()
    rf_fake_auth.assert_fetch_counts(app=2)


@pytest.mark.rf_faults("reset", "slow")
def test_a_fault_breaks_it(
    rf_fake_auth: FakeAuth, rf_clock: Clock, pipeline: TokenFetchPipeline
) -> None:
    rf_fake_auth.serve(pipeline)
    pipeline.execute()
