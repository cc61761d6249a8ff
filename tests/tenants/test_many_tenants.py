"""Many tenants and threads at once, and a fake auth server that says who has signed in."""

import random
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from racing import together
from tenancy import UserStep

from doubles import JsonStorage
from pytest_requestforge import FakeAuth
from requestforge import (
    BodyTokenFetcher,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    StepToken,
    StepValue,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.interfaces import TokenStorageInterface

TENANTS = [f"t{number}" for number in range(40)]
THREADS = 8
TURNS = 150


@pytest.mark.parametrize("make", [InMemoryTokenStorage, JsonStorage], ids=["in memory", "shared"])
def test_tenants_never_meet_under_load(make: Callable[[], TokenStorageInterface]) -> None:
    """Threads execute, refresh and invalidate at random; each gets tokens of its tenant alone.

    And after an invalidation none that was fetched before it.
    """
    app, user = UserStep("app"), UserStep("user", ["app"])
    pipeline = TokenFetchPipeline([app, user], make(), "app")
    lock, seeds = threading.Lock(), iter(range(THREADS))
    floors = dict.fromkeys(TENANTS, 0)

    def call() -> None:
        with lock:
            chance = random.Random(next(seeds))  # noqa: S311 - no secret comes of it
        for _ in range(TURNS):
            tenant = chance.choice(TENANTS)
            view = pipeline.for_tenant(tenant, username=tenant)
            floor = floors[tenant]
            token = view.execute()
            _, whose, number = token.access_token.split("-")
            assert whose == tenant
            assert int(number) > floor
            deed = chance.random()
            if deed < 0.1:
                begun = user.fetches  # those that begin later have higher numbers
                pipeline.invalidate_tenant(tenant)
                with lock:
                    floors[tenant] = max(floors[tenant], begun)
            elif deed < 0.2:
                assert view.refresh(token).access_token.split("-")[1] == tenant

    assert together(THREADS, call) == [None] * THREADS
    given = [context or {} for context in user.contexts]
    users = [context["app"].access_token.split("-")[1] for context in given]
    assert users == user.users


def test_a_pipeline_whose_urls_are_values_is_not_served(rf_fake_auth: FakeAuth) -> None:
    """There is no one endpoint for all tenants: the error says to define them."""
    for base, path in ((StepValue("base"), "/t"), ("https://auth.example", StepValue("path"))):
        step = BodyTokenFetcher("login", base, path)
        pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
        with pytest.raises(ValueError, match="another URL for each tenant"):
            rf_fake_auth.serve(pipeline)


def test_values_deep_in_the_data_are_served(rf_fake_auth: FakeAuth) -> None:
    """The endpoint demands them to be there, whatever they are."""
    step = BodyTokenFetcher(
        "login",
        "https://auth.example",
        "/login",
        request_data={"users": [{"name": StepValue("username")}], "kind": "person"},
        content_type="json",
    )
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    rf_fake_auth.serve(pipeline)
    pipeline.for_tenant("acme", username="bob").execute()
    assert rf_fake_auth.journal[-1].body == {"users": [{"name": "bob"}], "kind": "person"}


@pytest.mark.parametrize("content_type", ["form", "json"])
def test_each_tenant_signs_in_as_itself(rf_fake_auth: FakeAuth, content_type: str) -> None:
    """The server, served from the pipeline, sees the user of the tenant, and its app token."""
    app = BodyTokenFetcher(
        "app", "https://auth.example", "/app", request_headers={"X-Tenant": StepValue("tenant")}
    )
    user = BodyTokenFetcher(
        "user",
        "https://auth.example",
        "/user",
        request_headers={"X-App": StepToken("app")},
        request_data={"username": StepValue("username"), "password": StepValue("password")},
        content_type=content_type,
        ttl=timedelta(minutes=30),
    )
    pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage(), "shop")
    rf_fake_auth.serve(pipeline)
    managers = {
        name: TokenManager(
            PipelineTokenProvider(
                pipeline.for_tenant(f"tenant-{name}", username=name, password=f"of {name}"),
                "shop",
                "user",
            )
        )
        for name in ("bob", "eve")
    }
    tokens = {name: manager.get_token() for name, manager in managers.items()}
    assert tokens["bob"] != tokens["eve"]
    sent = [
        (entry.body["username"], entry.sent)
        for entry in rf_fake_auth.journal
        if entry.step == "user"
    ]
    assert sent == [("bob", ("app#1",)), ("eve", ("app#2",))]
    managers["bob"].refresh(tokens["bob"])
    assert managers["eve"].get_token() == tokens["eve"]
    rf_fake_auth.assert_fetch_counts(app=2, user=3)
