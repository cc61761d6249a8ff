"""The fixtures of a shop's tests: its real pipeline and client, as production has them."""
# ruff: noqa: S113 - written as users do

from datetime import timedelta

import pytest
import requests

from pytest_requestforge import FakeAuth
from requestforge import (
    BodyTokenFetcher,
    HttpClient,
    HttpClientConfigBuilder,
    PipelineTokenProvider,
    StepToken,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.interfaces import TokenStorageInterface

AUTH = "https://auth.shop.example"
API = "https://api.shop.example"


@pytest.fixture
def pipeline(rf_token_storage: TokenStorageInterface) -> TokenFetchPipeline:
    """An app token, and the user token that it buys."""
    app = BodyTokenFetcher(
        "app",
        AUTH,
        "/app",
        request_data={"client_secret": "secret-of-shop"},
        ttl=timedelta(hours=1),
    )
    user = BodyTokenFetcher(
        "user",
        AUTH,
        "/user",
        request_headers={"X-App": StepToken("app")},
        ttl=timedelta(minutes=30),
    )
    return TokenFetchPipeline([app, user], rf_token_storage, "shop")


@pytest.fixture
def client(pipeline: TokenFetchPipeline) -> HttpClient:
    """What asks the shop's API."""
    provider = PipelineTokenProvider(pipeline, "shop", refresh_from_step="user")
    config = HttpClientConfigBuilder().with_base_url(API)
    return HttpClient(config.with_token_auth(token_manager=TokenManager(provider)).build())


@pytest.fixture
def signs_out(rf_fake_auth: FakeAuth) -> object:
    """Signs out when the test is over, where no endpoint is."""
    yield
    requests.post(f"{rf_fake_auth.url}/sign-out")


@pytest.fixture
def breaks(rf_fake_auth: FakeAuth) -> object:
    """Breaks when the test is over, having asked for what is not there."""
    yield
    requests.post(f"{rf_fake_auth.url}/late")
    raise ZeroDivisionError("of the fixture")
