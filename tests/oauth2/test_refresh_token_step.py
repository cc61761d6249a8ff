"""A step that lives on a refresh token: its successors, and what follows when they are lost."""

from collections.abc import Iterator

import pytest
from granting_server import CLIENT, PASSWORD, Server

from doubles import FlakyStorage
from loopback import Loopback, in_turn, json_reply, shown_by
from pytest_requestforge import FakeAuth
from requestforge import InMemoryTokenStorage, StepValue, TokenFetchPipeline
from requestforge.exceptions import AuthenticationException, TokenRefreshException
from requestforge.oauth2 import PasswordFetcher, RefreshTokenFetcher
from requestforge.tokens import TokenData


@pytest.fixture
def one() -> Iterator[Server]:
    """A provider in process."""
    with FakeAuth("https://auth.example.com") as auth:
        yield Server(auth)


def seed_of(server: Server) -> str:
    """A refresh token of alice's."""
    step = PasswordFetcher(
        "login", server.url, "app", username="alice", password=PASSWORD, client_auth=CLIENT
    )
    return step.fetch().refresh_token or ""


def living_on(server: Server, seed: str | StepValue) -> RefreshTokenFetcher:
    """A step."""
    return RefreshTokenFetcher("user", server.url, "app", refresh_token=seed, client_auth=CLIENT)


def redemptions(server: Server) -> list[int]:
    """The statuses of the answers to refresh tokens."""
    return [status for grant, status in server.seen if grant == "refresh_token"]


def test_a_refused_refresh_token_is_told_of_once_and_for_all(server: Server) -> None:
    """A TokenRefreshException; the server is not asked a second time."""
    step = living_on(server, "canary-unknown")
    errors = []
    for _ in range(2):
        with pytest.raises(TokenRefreshException) as caught:
            step.fetch()
        assert caught.value.service_name == "user"
        errors.append(shown_by(caught.value))
    assert "invalid_grant" in errors[0]
    assert "canary-unknown" not in "".join(errors)
    assert redemptions(server) == [400]


def test_other_failures_are_no_refusal(
    one: Server,
) -> None:
    """A server that is down is asked again."""
    step = living_on(one, seed_of(one))
    one.idp.fail(503)
    with pytest.raises(AuthenticationException) as caught:
        step.fetch()
    assert not isinstance(caught.value, TokenRefreshException)
    assert step.fetch().refresh_token is not None


def test_an_invalidation_does_not_lose_the_family(one: Server) -> None:
    """The stored refresh token goes; this process redeems the last one that it got, each once."""
    pipeline = TokenFetchPipeline([living_on(one, seed_of(one))], InMemoryTokenStorage())
    for _ in range(3):
        pipeline.execute()
        pipeline.invalidate_all()
    assert redemptions(one) == [200] * 3


def test_a_new_refresh_token_replaces_a_dead_one_in_the_storage(one: Server) -> None:
    """Whoever configures another one after the old family has died is served."""
    storage = InMemoryTokenStorage()
    TokenFetchPipeline([living_on(one, seed_of(one))], storage).execute()
    one.idp.revoke_all()
    pipeline = TokenFetchPipeline([living_on(one, seed_of(one))], storage)
    assert pipeline.execute(force_refresh=True).refresh_token is not None
    assert redemptions(one) == [200, 400, 200]


def test_a_dead_family_is_a_token_refresh_exception(one: Server) -> None:
    """The process that has redeemed what it was given does not redeem that again."""
    pipeline = TokenFetchPipeline([living_on(one, seed_of(one))], InMemoryTokenStorage())
    pipeline.execute()
    one.idp.revoke_all()
    for _ in range(2):
        with pytest.raises(TokenRefreshException) as caught:
            pipeline.execute(force_refresh=True)
        assert caught.value.service_name == "user"
    assert redemptions(one) == [200, 400]


def test_nothing_is_redeemed_while_the_storage_cannot_be_read(one: Server) -> None:
    """It may hold the successor of what the step was given; that is an error, and no request."""
    storage = FlakyStorage()
    seed = seed_of(one)
    TokenFetchPipeline([living_on(one, seed)], storage).execute()
    pipeline = TokenFetchPipeline([living_on(one, seed)], storage)
    storage.broken.add("get")
    with pytest.raises(AuthenticationException, match="cannot be read") as caught:
        pipeline.execute()
    assert not isinstance(caught.value, TokenRefreshException)
    storage.broken.clear()
    pipeline.execute(force_refresh=True)
    assert redemptions(one) == [200, 200]


def test_a_storage_that_fails_after_a_refusal_leaves_nothing_to_redeem(one: Server) -> None:
    """What another process may have put there is not known, so nothing else is tried."""
    storage = FlakyStorage()
    storage.set("user", TokenData("old", refresh_token="canary-unknown"))
    pipeline = TokenFetchPipeline([living_on(one, seed_of(one))], storage)

    class Breaking(RefreshTokenFetcher):
        def refresh(self, expired: TokenData, context: object = None) -> TokenData:
            storage.broken.add("get")
            return super().refresh(expired)

    step = Breaking("user", one.url, "app", refresh_token=seed_of(one), client_auth=CLIENT)
    pipeline = TokenFetchPipeline([step], storage)
    with pytest.raises(AuthenticationException, match="cannot be read"):
        pipeline.execute(force_refresh=True)
    assert redemptions(one) == [400]


def test_a_server_that_does_not_rotate() -> None:
    """The same refresh token is redeemed each time."""
    with Loopback(json_reply({"access_token": "t", "expires_in": 0})) as loopback:
        step = RefreshTokenFetcher("user", f"{loopback.url}/t", "app", refresh_token="canary-seed")
        pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
        tokens = [pipeline.execute() for _ in range(3)]
    assert {token.refresh_token for token in tokens} == {"canary-seed"}
    assert {r.form["refresh_token"] for r in loopback.requests} == {"canary-seed"}


def test_each_tenant_has_a_family_of_its_own(one: Server) -> None:
    """A refresh token may be a value of the tenant."""
    step = living_on(one, StepValue("refresh_token"))
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    views = [pipeline.for_tenant(name, refresh_token=seed_of(one)) for name in ("a", "b")]
    tokens = [view.execute(force_refresh=True) for view in (*views, *views)]
    assert len({token.access_token for token in tokens}) == 4
    assert redemptions(one) == [200] * 4


def test_the_memory_of_tenants_is_bounded() -> None:
    """What is remembered of more than 1024 of them is what was given for the oldest ones."""
    with Loopback(json_reply({"access_token": "t", "refresh_token": "canary-next"})) as loopback:
        step = RefreshTokenFetcher(
            "user", f"{loopback.url}/t", "app", refresh_token=StepValue("refresh_token")
        )
        pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
        views = [pipeline.for_tenant(str(n), refresh_token=f"canary-{n}") for n in range(1025)]
        for view in views:
            view.execute()
        for view in (views[0], views[-1]):
            view.invalidate_all()
            view.execute()
    assert [r.form["refresh_token"] for r in loopback.requests[-2:]] == ["canary-0", "canary-next"]


def test_it_has_to_be_there() -> None:
    """An empty one is refused."""
    with pytest.raises(ValueError, match="refresh_token of Step 'user' is empty"):
        RefreshTokenFetcher("user", "https://a.example", "app", refresh_token="")


def test_a_refused_token_that_is_not_the_last_one_is_forgotten() -> None:
    """A refusal of something else than what would be redeemed next changes nothing."""
    refused = json_reply({"error": "invalid_grant"}, 400)
    with Loopback(in_turn(refused, json_reply({"access_token": "t"}))) as loopback:
        step = RefreshTokenFetcher("user", f"{loopback.url}/t", "app", refresh_token="canary-seed")
        with pytest.raises(AuthenticationException):
            step.refresh(TokenData("old", refresh_token="canary-other"))
        assert step.fetch().access_token == "t"
