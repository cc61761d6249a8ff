"""The tests whose report is in the pictures."""
# ruff: noqa: D103, S101, S113, ANN001, ANN201, ANN202, ARG001, PLR2004 - written as users do

from datetime import timedelta

import pytest
import requests

from requestforge import (
    AuthenticationException,
    BodyTokenFetcher,
    InMemoryTokenStorage,
    StepToken,
    TokenFetchPipeline,
)

URL = "https://auth.example.com"


@pytest.fixture
def pipeline():
    device = BodyTokenFetcher("device_token", URL, "/v1/device", ttl=timedelta(days=30))
    app = BodyTokenFetcher(
        "app_token",
        URL,
        "/v1/app/token",
        request_headers={"X-Device-Token": StepToken("device_token")},
        ttl=timedelta(hours=1),
    )
    user = BodyTokenFetcher(
        "user_token",
        URL,
        "/v1/user/token",
        request_headers={"X-App-Token": StepToken("app_token")},
        ttl=timedelta(minutes=30),
    )
    return TokenFetchPipeline([device, app, user], InMemoryTokenStorage(), "shop")


def test_a_day_at_the_shop(rf_clock, rf_fake_auth, pipeline):
    endpoints = rf_fake_auth.serve(pipeline)
    orders = rf_fake_auth.resource(
        "GET https://api.example.com/orders", needs=endpoints["user_token"]
    )

    def ask():
        headers = {"Authorization": f"Bearer {pipeline.execute().access_token}"}
        return requests.get(orders.url, headers=headers).status_code

    assert ask() == 200
    rf_clock.advance(minutes=10)
    assert ask() == 200
    rf_clock.advance(minutes=25)
    assert ask() == 200
    rf_clock.advance(minutes=5)
    endpoints["user_token"].revoke()
    assert ask() == 401
    pipeline.invalidate_step("app_token")
    endpoints["app_token"].fail(503)
    with pytest.raises(AuthenticationException):
        pipeline.execute()
    rf_clock.advance(minutes=1)
    assert ask() == 200
    rf_fake_auth.assert_fetch_counts(device_token=1, app_token=2, user_token=3)


def test_tokens_are_cached(rf_fake_auth, pipeline):
    rf_fake_auth.serve(pipeline)
    pipeline.execute()
    pipeline.execute()
    rf_fake_auth.assert_fetch_counts(device_token=1, app_token=1, user_token=1)


def test_an_outage_passes(rf_clock, rf_fake_auth, pipeline):
    rf_fake_auth.serve(pipeline)["user_token"].reset()
    with pytest.raises(AuthenticationException):
        pipeline.execute()
    pipeline.execute()
