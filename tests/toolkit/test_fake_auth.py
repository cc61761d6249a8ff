"""What a FakeAuth gives to whom, on both transports."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests
from requests import Response

from doubles import Clock
from pytest_requestforge import FakeAuth
from pytest_requestforge.fake_auth import TokenEndpoint
from requestforge.instrumentation import use_clock

TRANSPORTS = ("inprocess", "loopback")


@pytest.fixture(params=TRANSPORTS)
def auth(request: pytest.FixtureRequest) -> Iterator[FakeAuth]:
    """A FakeAuth on each transport."""
    with FakeAuth("https://auth.example.com", transport=request.param, seed=7) as fake:
        yield fake


@pytest.fixture
def clock() -> Iterator[Clock]:
    """The clock of library and FakeAuth."""
    with use_clock(Clock(datetime(2030, 1, 1, tzinfo=UTC))) as clock:
        yield clock


def ask(endpoint: TokenEndpoint, **parts: object) -> Response:
    """The answer of an endpoint."""
    return requests.request(endpoint.method, endpoint.url, timeout=5, **parts)


def token(endpoint: TokenEndpoint, **parts: object) -> str:
    """A new token of an endpoint."""
    answer = ask(endpoint, **parts)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def bearer(text: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {text}"}


def test_tokens_without_a_provider_are_for_anybody() -> None:
    """Only the tokens of a provider are for an audience."""
    auth = FakeAuth()
    assert auth.token("app", "POST /app").audience is None
    assert auth.oauth2().audience is not None


class TestTokens:
    def test_an_answer_has_a_token_with_its_type_and_lifetime(self, auth: FakeAuth) -> None:
        """A token endpoint answers as RFC 6749 section 5.1 says."""
        app = auth.token("app_token", "POST /v1/app/token", expires_in=3600)

        answer = ask(app)

        assert answer.json() == {
            "access_token": answer.json()["access_token"],
            "token_type": "Bearer",
            "expires_in": 3600,
        }
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Type"] == "application/json"

    @pytest.mark.parametrize(
        ("expires_in", "told"),
        [
            pytest.param(timedelta(days=30), 2_592_000, id="timedelta"),
            pytest.param(1.5, 1.5, id="a fraction of a second"),
            pytest.param(0, 0, id="nothing"),
        ],
    )
    def test_a_lifetime_is_told_in_seconds(
        self, auth: FakeAuth, expires_in: float | timedelta, told: float
    ) -> None:
        """A lifetime may be given as seconds or timedelta, and is told in seconds."""
        app = auth.token("app_token", "POST /token", expires_in=expires_in)

        assert ask(app).json()["expires_in"] == told

    def test_without_a_lifetime_none_is_told(self, auth: FakeAuth, clock: Clock) -> None:
        """Without `expires_in` the answer has none, and the token lives until revoked."""
        app = auth.token("app_token", "POST /token")
        me = auth.resource("GET /me", needs=app)
        answer = ask(app).json()
        clock.advance(days=4000)

        assert "expires_in" not in answer
        assert ask(me, headers=bearer(answer["access_token"])).status_code == 200

    def test_a_token_may_come_in_a_header(self, auth: FakeAuth) -> None:
        """With `in_header` the token stands in that header alone, and not in the body."""
        device = auth.token("device", "POST /register", in_header="X-Device-Token", expires_in=60)
        me = auth.resource("GET /me", requires={"X-Device-Token": device}, json=[1])

        answer = ask(device)

        assert answer.json() == {"token_type": "Bearer", "expires_in": 60}
        sent = {"X-Device-Token": answer.headers["X-Device-Token"]}
        assert ask(me, headers=sent).json() == [1]

    def test_in_the_authorization_header_a_token_follows_its_scheme(self, auth: FakeAuth) -> None:
        """A token in the response header Authorization is written as "Bearer <token>"."""
        device = auth.token("device", "POST /register", in_header="Authorization")
        me = auth.resource("GET /me", needs=device)

        given = ask(device).headers["Authorization"]

        assert given.startswith("Bearer ")
        assert ask(me, headers={"Authorization": given}).status_code == 200

    def test_no_two_tokens_are_equal(self, auth: FakeAuth) -> None:
        """Every answer has a token of its own."""
        app = auth.token("app_token", "POST /app")
        user = auth.token("user_token", "POST /user")

        assert len({token(endpoint) for endpoint in (app, user) for _ in range(20)}) == 40

    def test_tokens_follow_from_the_seed(self) -> None:
        """With the same seed the same tokens are issued, with another one others."""

        def first(seed: int) -> str:
            with FakeAuth(seed=seed) as auth:
                return token(auth.token("app", "POST /app"))

        assert first(1) == first(1) != first(2)

    def test_two_servers_with_one_seed_issue_different_tokens(self) -> None:
        """Servers that run at the same time never issue the same token."""
        with FakeAuth("https://a.test", seed=1) as one, FakeAuth("https://b.test", seed=1) as two:
            assert token(one.token("app", "POST /")) != token(two.token("app", "POST /"))

    def test_servers_that_run_together_issue_different_tokens(self) -> None:
        """Also if one of them has stopped meanwhile, or is started again."""
        hosts = ("https://a.test", "https://b.test", "https://c.test")
        one, two, three = (FakeAuth(host, seed=1) for host in hosts)
        at_one, at_two, at_three = (each.token("app", "POST /app") for each in (one, two, three))

        with one:
            two.start()
            old = token(at_one)
        with three:
            together = [token(at_two), token(at_three)]
            with one:
                together += [token(at_one), token(at_three)]
        with one:
            own = [old, together[2], token(at_one)]

        two.stop()

        assert len(set(together)) == 4
        assert len(set(own)) == 3

    def test_without_a_seed_one_is_chosen(self) -> None:
        """A FakeAuth has a seed in any case, so that a run can be had again."""
        assert FakeAuth().seed != FakeAuth().seed

    def test_a_restart_issues_no_token_twice(self) -> None:
        """A FakeAuth that is stopped and started again goes on with new tokens."""
        auth = FakeAuth(seed=3)
        app = auth.token("app", "POST /app")
        with auth:
            first = token(app)
        with auth:
            assert token(app) != first
        assert [entry.issued for entry in auth.journal] == ["app#1", "app#2"]


class TestEnforcement:
    def test_the_right_token_gets_the_resource(self, auth: FakeAuth) -> None:
        """A resource is given to who has a live token of the endpoint that it needs."""
        user = auth.token("user_token", "POST /user")
        me = auth.resource("GET https://api.example.com/user/profile", needs=user, json={"id": 1})

        answer = ask(me, headers=bearer(token(user)))

        assert (answer.status_code, answer.json()) == (200, {"id": 1})
        assert auth.journal[-1].reason == "accepted user_token#1"

    def test_a_resource_may_need_no_token(self, auth: FakeAuth) -> None:
        """A resource without needs is given to everyone, with the status that it was given."""
        answer = ask(auth.resource("POST /things", json={"made": True}, status=201))

        assert (answer.status_code, answer.json()) == (201, {"made": True})
        assert auth.journal[-1].reason == "served"

    def test_the_scheme_is_read_in_any_case(self, auth: FakeAuth) -> None:
        """The case of "Bearer" does not matter (RFC 9110 section 11.1)."""
        user = auth.token("user_token", "POST /user")
        me = auth.resource("GET /me", needs=user)

        assert ask(me, headers={"Authorization": f"bearer {token(user)}"}).status_code == 200

    @pytest.mark.parametrize(
        ("headers", "reason"),
        [
            pytest.param({}, "Authorization is missing", id="missing"),
            pytest.param(
                {"Authorization": "Basic abc"},
                "Authorization is not Bearer <user_token>",
                id="another scheme",
            ),
            pytest.param(
                {"Authorization": "Bearer "},
                "Authorization is not Bearer <user_token>",
                id="no token",
            ),
        ],
    )
    def test_without_a_token_the_challenge_names_no_error(
        self, auth: FakeAuth, headers: dict[str, str], reason: str
    ) -> None:
        """A request that carries no token gets 401 and a bare challenge (RFC 6750 section 3)."""
        user = auth.token("user_token", "POST /user")
        me = auth.resource("GET /me", needs=user)

        answer = ask(me, headers=headers)

        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="fake auth"'
        assert auth.journal[-1].reason == f"refused: {reason}"

    def test_an_unknown_token_is_refused(self, auth: FakeAuth) -> None:
        """A token that the server has not issued gets 401 invalid_token."""
        user = auth.token("user_token", "POST /user")
        me = auth.resource("GET /me", needs=user)

        answer = ask(me, headers=bearer("made-up"))

        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        assert answer.json()["error"] == "invalid_token"
        assert auth.journal[-1].reason == "refused: Authorization carries an unknown token"

    def test_a_token_of_another_step_is_refused(self, auth: FakeAuth) -> None:
        """A live token of the wrong endpoint gets 401, and the journal says which it was."""
        app = auth.token("app_token", "POST /app")
        user = auth.token("user_token", "POST /user")
        me = auth.resource("GET /me", needs=user)

        assert ask(me, headers=bearer(token(app))).status_code == 401
        reason = auth.journal[-1].reason
        assert reason == (
            "refused: Authorization carries app_token#1, expected a token of user_token"
        )

    def test_a_token_dies_at_the_end_of_its_life(self, auth: FakeAuth, clock: Clock) -> None:
        """By the library's clock a token is accepted until its lifetime has passed, not after."""
        user = auth.token("user_token", "POST /user", expires_in=60)
        me = auth.resource("GET /me", needs=user)
        headers = bearer(token(user))

        clock.advance(seconds=59.9)
        assert ask(me, headers=headers).status_code == 200
        clock.advance(seconds=0.1)
        answer = ask(me, headers=headers)

        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        reason = auth.journal[-1].reason
        assert reason == "refused: user_token#1 expired at 2030-01-01 00:01:00"

    def test_a_token_can_be_bought_with_another_one_only(self, auth: FakeAuth) -> None:
        """`requires` makes an endpoint ask for a live token of another one in a header."""
        app = auth.token("app_token", "POST /app")
        user = auth.token("user_token", "POST /user", requires={"X-App-Token": app})

        assert ask(user).status_code == 401
        assert ask(user, headers={"X-App-Token": token(app)}).status_code == 200
        assert auth.journal[-1].sent == ("app_token#1",)

    def test_a_required_token_may_stand_in_authorization(self, auth: FakeAuth) -> None:
        """In `Authorization` a required token follows "Bearer"."""
        app = auth.token("app_token", "POST /app")
        user = auth.token("user_token", "POST /user", requires={"Authorization": app})

        assert ask(user, headers={"Authorization": token(app)}).status_code == 401
        assert ask(user, headers=bearer(token(app))).status_code == 200

    def test_a_token_may_be_required_in_the_body(self, auth: FakeAuth) -> None:
        """An endpoint as a value of `body` stands for its tokens."""
        app = auth.token("app_token", "POST /app")
        user = auth.token("user_token", "POST /user", body={"with": [{"app": app}]})

        assert ask(user, json={"with": [{"app": "made-up"}]}).status_code == 401
        assert ask(user, json={"with": [{}]}).status_code == 401
        assert auth.journal[-1].reason == "refused: field with.0.app is missing"
        assert ask(user, json={"with": [{"app": token(app)}]}).status_code == 200
        assert auth.journal[-1].body == {"with": [{"app": "app_token#1"}]}


class TestServerSide:
    def test_revoke_withdraws_the_last_token_alone(self, auth: FakeAuth) -> None:
        """After `revoke()` the last token is refused, and an earlier one is not."""
        user = auth.token("user_token", "POST /user")
        me = auth.resource("GET /me", needs=user)
        first, last = token(user), token(user)

        user.revoke()

        assert ask(me, headers=bearer(first)).status_code == 200
        assert ask(me, headers=bearer(last)).status_code == 401
        assert auth.journal[-1].reason == "refused: user_token#2 revoked"

    def test_revoke_all_withdraws_every_token_so_far(self, auth: FakeAuth) -> None:
        """After `revoke_all()` each token of the endpoint is refused, and a new one is not."""
        user = auth.token("user_token", "POST /user")
        me = auth.resource("GET /me", needs=user)
        old = [token(user), token(user)]

        user.revoke_all()

        assert [ask(me, headers=bearer(text)).status_code for text in old] == [401, 401]
        assert ask(me, headers=bearer(token(user))).status_code == 200

    def test_what_a_revoked_token_bought_dies_with_it(self, auth: FakeAuth) -> None:
        """A token is refused once a token that bought it is revoked, over any number of steps."""
        device = auth.token("device", "POST /device")
        app = auth.token("app", "POST /app", requires={"X-Device": device})
        user = auth.token("user", "POST /user", requires={"X-App": app})
        me = auth.resource("GET /me", needs=user)
        app_text = token(app, headers={"X-Device": token(device)})
        user_text = token(user, headers={"X-App": app_text})

        device.revoke()

        assert ask(me, headers=bearer(user_text)).status_code == 401
        reason = auth.journal[-1].reason
        assert reason == "refused: user#1 was bought with device#1, which is revoked"

    def test_what_an_expired_token_bought_lives_on(self, auth: FakeAuth) -> None:
        """The natural end of a token takes nothing with it."""
        app = auth.token("app", "POST /app")
        user = auth.token("user", "POST /user", requires={"X-App": app})
        me = auth.resource("GET /me", needs=user)
        app_text = token(app)
        user_text = token(user, headers={"X-App": app_text})

        app.expire()

        assert ask(me, headers=bearer(user_text)).status_code == 200
        assert ask(user, headers={"X-App": app_text}).status_code == 401

    def test_expire_ends_the_life_of_all_tokens(self, auth: FakeAuth, clock: Clock) -> None:
        """After `expire()` all tokens so far are expired; what had ended before keeps its end."""
        user = auth.token("user", "POST /user", expires_in=60)
        me = auth.resource("GET /me", needs=user)
        first = token(user)
        clock.advance(seconds=70)
        second = token(user)

        user.expire()

        reasons = []
        for text in (first, second):
            assert ask(me, headers=bearer(text)).status_code == 401
            reasons.append(auth.journal[-1].reason)
        assert reasons == [
            "refused: user#1 expired at 2030-01-01 00:01:00",
            "refused: user#2 expired at 2030-01-01 00:01:10",
        ]

    def test_there_is_nothing_to_revoke_before_the_first_token(self, auth: FakeAuth) -> None:
        """`revoke()` without a token is an error that names the endpoint."""
        user = auth.token("user_token", "POST /user")

        with pytest.raises(LookupError, match="user_token has issued no token yet"):
            user.revoke()
        user.revoke_all()
        user.expire()

    def test_the_clock_of_the_server_may_be_off(self, auth: FakeAuth, clock: Clock) -> None:
        """With `skew` the server judges by a clock that is so many seconds ahead."""
        user = auth.token("user", "POST /user", expires_in=60)
        me = auth.resource("GET /me", needs=user)
        headers = bearer(token(user))

        auth.skew(61)
        assert ask(me, headers=headers).status_code == 401
        auth.skew(-61)
        assert ask(me, headers=headers).status_code == 200

        ask(user)
        assert auth.journal[-1].at == clock.now()
        assert auth.journal[-1].expires_at == clock.now() + timedelta(seconds=60)
