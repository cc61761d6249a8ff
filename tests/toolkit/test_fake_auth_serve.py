"""What `serve(pipeline)` reads from a pipeline, and that the fake demands just that."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from doubles import Clock, CountingStep
from pytest_requestforge import FakeAuth
from requestforge import AuthenticationException, TokenFetchPipeline
from requestforge.config import TokenData
from requestforge.fetcher import BodyTokenFetcher, HeaderTokenFetcher
from requestforge.instrumentation import use_clock
from requestforge.token_manager import InMemoryTokenStorage

Context = dict[str, TokenData] | None


class AppTokenFetcher(BodyTokenFetcher):
    """Sends the device token in a header."""

    def _build_request_headers(self, context: Context) -> dict[str, str]:
        headers = super()._build_request_headers(context)
        if context and "device_token" in context:
            headers["X-Device-Token"] = context["device_token"].access_token
        return headers


class UserTokenFetcher(BodyTokenFetcher):
    """Sends the app token in a header."""

    def _build_request_headers(self, context: Context) -> dict[str, str]:
        headers = super()._build_request_headers(context)
        if context and "app_token" in context:
            headers["X-App-Token"] = context["app_token"].access_token
        return headers


@pytest.fixture(params=["inprocess", "loopback"])
def auth(request: pytest.FixtureRequest) -> Iterator[FakeAuth]:
    """A FakeAuth on each transport."""
    with FakeAuth("https://auth.example.com", transport=request.param, seed=7) as fake:
        yield fake


@pytest.fixture
def clock() -> Iterator[Clock]:
    """The clock of library and FakeAuth."""
    with use_clock(Clock(datetime(2030, 1, 1, tzinfo=UTC))) as clock:
        yield clock


def pipeline_of(*steps: object) -> TokenFetchPipeline:
    """A pipeline with a storage of its own."""
    return TokenFetchPipeline(steps, InMemoryTokenStorage())


def three_steps(base_url: str) -> TokenFetchPipeline:
    """Device, app and user token, each bought with the one before."""
    return pipeline_of(
        HeaderTokenFetcher(
            name="device_token",
            base_url=base_url,
            endpoint="/v1/device/register",
            request_headers={"X-Device-ID": "device-123"},
            token_header="X-Device-Token",
            token_type="Device",
            ttl=timedelta(days=30),
        ),
        AppTokenFetcher(
            name="app_token",
            base_url=base_url,
            endpoint="/v1/app/token",
            request_data={"client_id": "app-id"},
            ttl=timedelta(hours=1),
            depends_on=["device_token"],
        ),
        UserTokenFetcher(
            name="user_token",
            base_url=base_url,
            endpoint="/v1/user/token",
            request_data={"username": "user", "password": "pass"},
            ttl=timedelta(minutes=15),
            depends_on=["app_token"],
        ),
    )


class TestThreeSteps:
    def test_one_line_serves_a_pipeline(self, auth: FakeAuth) -> None:
        """The pipeline runs against the fake, and each step has carried the token before it."""
        pipeline = three_steps(auth.url)
        auth.serve(pipeline)

        pipeline.execute()

        assert auth.fetch_counts == {"device_token": 1, "app_token": 1, "user_token": 1}
        assert [entry.sent for entry in auth.journal] == [(), ("device_token#1",), ("app_token#1",)]
        assert auth.journal[2].headers["X-App-Token"] == "app_token#1"
        assert auth.journal[2].body == {"username": "user", "password": "***"}

    def test_the_token_is_accepted_by_a_resource(self, auth: FakeAuth) -> None:
        """A resource that needs the last step accepts the pipeline's token."""
        pipeline = three_steps(auth.url)
        endpoints = auth.serve(pipeline)
        me = auth.resource(
            "GET https://api.example.com/user/profile",
            needs=endpoints["user_token"],
            json={"id": 1},
        )

        headers = {"Authorization": pipeline.execute().authorization_header}

        assert requests.get(me.url, headers=headers, timeout=5).json() == {"id": 1}

    def test_tokens_live_as_long_as_the_ttl(self, auth: FakeAuth, clock: Clock) -> None:
        """A token dies at the server when the step's `ttl` ends, which the answer does not tell."""
        pipeline = three_steps(auth.url)
        user = auth.serve(pipeline)["user_token"]
        me = auth.resource("GET /me", needs=user)
        headers = {"Authorization": f"Bearer {pipeline.execute().access_token}"}

        clock.advance(minutes=15, seconds=-1)
        assert requests.get(me.url, headers=headers, timeout=5).status_code == 200
        clock.advance(seconds=1)
        assert requests.get(me.url, headers=headers, timeout=5).status_code == 401

        assert auth.journal[2].expires_at == datetime(2030, 1, 1, 0, 15, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("step", "parts", "reason"),
        [
            pytest.param("device_token", {}, "X-Device-ID is missing", id="header"),
            pytest.param(
                "app_token",
                {"data": {"client_id": "app-id"}},
                "X-Device-Token is missing",
                id="token",
            ),
        ],
    )
    def test_what_a_step_sends_is_demanded(
        self, auth: FakeAuth, step: str, parts: dict[str, Any], reason: str
    ) -> None:
        """A request that lacks what the step sends is refused."""
        endpoint = auth.serve(three_steps(auth.url))[step]

        requests.post(endpoint.url, timeout=5, **parts)

        assert auth.journal[-1].reason == f"refused: {reason}"

    def test_a_device_token_has_its_type(self, auth: FakeAuth) -> None:
        """The tokens of a header step are of the type that the step was given."""
        pipeline = three_steps(auth.url)
        device = auth.serve(pipeline)["device_token"]
        me = auth.resource("GET /me", needs=device)
        answer = requests.post(device.url, headers={"X-Device-ID": "device-123"}, timeout=5)

        text = answer.headers["X-Device-Token"]

        for scheme in ("Device", "Bearer"):
            headers = {"Authorization": f"{scheme} {text}"}
            assert requests.get(me.url, headers=headers, timeout=5).status_code == 200

    def test_a_revoked_token_is_bought_anew(self, auth: FakeAuth) -> None:
        """A pipeline repairs itself when the fake revokes a token that it has cached."""
        pipeline = three_steps(auth.url)
        endpoints = auth.serve(pipeline)
        pipeline.execute()
        endpoints["app_token"].revoke()
        pipeline.invalidate_step("user_token")

        pipeline.execute()

        assert auth.fetch_counts == {"device_token": 1, "app_token": 2, "user_token": 3}
        assert "refused: app_token#1 revoked" in [entry.reason for entry in auth.journal]


def body_step(
    auth: FakeAuth,
    kind: type[BodyTokenFetcher] = BodyTokenFetcher,
    **parts: Any,  # noqa: ANN401 - arguments of many types
) -> BodyTokenFetcher:
    """A step at /token of the FakeAuth."""
    return kind("app_token", auth.url, "/token", **parts)


class TestReading:
    @pytest.mark.parametrize(
        "parts",
        [
            pytest.param(
                {"content_type": "json", "request_data": {"a": {"b": [1, None]}}}, id="json"
            ),
            pytest.param({"request_data": {"a": [1, 2], "b": []}}, id="form"),
            pytest.param({"request_data": {"a": {"x"}, "b": True, "c": None}}, id="odd values"),
            pytest.param({"method": "GET", "request_data": {"a": "x", "n": 1}}, id="query"),
            pytest.param({"request_data": None}, id="nothing"),
            pytest.param({"token_field": "data.tokens.access"}, id="dotted"),
            pytest.param(
                {"expires_in_field": "meta.life", "token_type_field": "meta.type"}, id="others"
            ),
            pytest.param(
                {
                    "request_headers": {"content-type": "application/vnd.api+json"},
                    "content_type": "json",
                    "request_data": {"a": 1},
                },
                id="own media type",
            ),
        ],
    )
    def test_every_form_of_a_step_is_served(self, auth: FakeAuth, parts: dict[str, Any]) -> None:
        """Whatever a step is given, the fake accepts what it sends, and it finds its token."""
        step = body_step(auth, **parts)
        auth.serve(pipeline_of(step))

        token = step.fetch()

        assert auth.journal[0].status == 200
        assert token.expires_at == auth.journal[0].expires_at or token.expires_at is not None

    def test_without_a_ttl_the_answer_tells_an_hour(self, auth: FakeAuth, clock: Clock) -> None:
        """A step without `ttl` gets tokens of an hour, and is told so."""
        step = body_step(auth)
        auth.serve(pipeline_of(step))

        assert step.fetch().expires_at == clock.now() + timedelta(hours=1)

    def test_with_a_ttl_of_zero_the_token_is_usable(self, auth: FakeAuth, clock: Clock) -> None:
        """A ttl of 0 says that a token is not cached; at the server it lives for an hour."""
        pipeline = pipeline_of(
            body_step(auth, ttl=timedelta(0)),
            UserTokenFetcher("user_token", auth.url, "/user", depends_on=["app_token"]),
        )
        auth.serve(pipeline)

        pipeline.execute()

        assert auth.journal[0].expires_at == clock.now() + timedelta(hours=1)

    def test_a_wrong_value_is_refused(self, auth: FakeAuth) -> None:
        """A value that the step was given is demanded as it is."""
        endpoint = auth.serve(pipeline_of(body_step(auth, request_data={"client_id": "app-id"})))

        requests.post(endpoint["app_token"].url, data={"client_id": "other"}, timeout=5)

        assert auth.journal[0].reason == (
            "refused: field client_id has another value than expected"
        )

    def test_another_type_of_body_is_refused(self, auth: FakeAuth) -> None:
        """A step that sends a form has an endpoint that takes nothing else."""
        endpoint = auth.serve(pipeline_of(body_step(auth, request_data={"a": "x"})))

        requests.post(endpoint["app_token"].url, json={"a": "x"}, timeout=5)

        assert auth.journal[0].reason == (
            "refused: content type is application/json, expected application/x-www-form-urlencoded"
        )

    def test_what_an_override_adds_must_be_there(self, auth: FakeAuth) -> None:
        """A value that changes with every request is demanded, but not as it was once."""

        class Signing(BodyTokenFetcher):
            count = 0

            def _build_request_data(self, context: Context) -> dict[str, Any]:
                self.count += 1
                return {**super()._build_request_data(context), "nonce": str(self.count)}

        step = body_step(auth, Signing, request_data={"a": "x"})
        endpoint = auth.serve(pipeline_of(step))["app_token"]

        step.fetch()
        step.fetch()
        requests.post(endpoint.url, data={"a": "x"}, timeout=5)

        assert [entry.reason for entry in auth.journal][-1] == "refused: field nonce is missing"
        assert [entry.status for entry in auth.journal] == [200, 200, 400]

    def test_tokens_are_found_wherever_they_are_carried(self, auth: FakeAuth) -> None:
        """A token within a text, in the data, or behind its scheme is demanded there."""

        class Carrying(BodyTokenFetcher):
            def _build_request_headers(self, context: Context) -> dict[str, str]:
                token = (context or {})["app_token"]
                return {
                    "Authorization": token.authorization_header,
                    "X-Text": f"<{token.access_token}>",
                }

            def _build_request_data(self, context: Context) -> dict[str, Any]:
                text = (context or {})["app_token"].access_token
                return {"subject": [{"token": text}], "twice": f"{text}{text}"}

        app = body_step(auth, default_token_type="Device", token_type_field="kind")
        user = Carrying(
            "user_token", auth.url, "/user", content_type="json", depends_on=["app_token"]
        )
        pipeline = pipeline_of(app, user)
        endpoints = auth.serve(pipeline)

        pipeline.execute()
        assert auth.journal[1].headers["Authorization"] == "Device app_token#1"
        assert auth.journal[1].status == 200

        endpoints["app_token"].revoke()
        with pytest.raises(AuthenticationException):
            user.fetch({"app_token": pipeline_of(app).execute().__class__("made-up")})

    def test_a_step_of_another_kind_is_left_out(self, auth: FakeAuth) -> None:
        """A step that asks nobody has no endpoint; its token must be there, whatever it is."""
        local = CountingStep("app_token")
        user = UserTokenFetcher("user_token", auth.url, "/user", depends_on=["app_token"])
        pipeline = pipeline_of(local, user)

        assert list(auth.serve(pipeline)) == ["user_token"]
        pipeline.execute()
        requests.post(f"{auth.url}/user", timeout=5)

        assert [entry.status for entry in auth.journal] == [200, 401]

    def test_a_token_in_authorization_follows_its_type(self, auth: FakeAuth) -> None:
        """The header Authorization of an answer has the type before the token."""
        for name, token_type in (("plain", ""), ("typed", "Token")):
            step = HeaderTokenFetcher(name, auth.url, f"/{name}", token_type=token_type)
            endpoint = auth.serve(pipeline_of(step))[name]
            me = auth.resource(f"GET /me/{name}", needs=endpoint)
            headers = {"Authorization": step.fetch().authorization_header}

            assert requests.get(me.url, headers=headers, timeout=5).status_code == 200

    def test_an_endpoint_that_is_there_already_stays(self, auth: FakeAuth) -> None:
        """A step whose name has an endpoint keeps it, so that a pipeline may be served twice."""
        app = auth.token("app_token", "POST /by/hand")
        pipeline = pipeline_of(
            body_step(auth),
            UserTokenFetcher("user_token", auth.url, "/user", depends_on=["app_token"]),
        )

        assert auth.serve(pipeline)["app_token"] is app
        assert auth.serve(pipeline) == auth.endpoints

    def test_a_step_that_cannot_be_read_is_named(self, auth: FakeAuth) -> None:
        """A step that fails on stand-in tokens makes an error that names it and a way out."""

        class Picky(BodyTokenFetcher):
            def _build_request_headers(self, context: Context) -> dict[str, str]:
                return {"X-Session": (context or {})["app_token"].extra["session"]}

        pipeline = pipeline_of(
            body_step(auth), Picky("user_token", auth.url, "/user", depends_on=["app_token"])
        )

        with pytest.raises(ValueError, match=r"'user_token' cannot build.*KeyError.*token\(\)"):
            auth.serve(pipeline)
        assert auth.endpoints == {}

    def test_two_steps_with_one_request_are_refused(self, auth: FakeAuth) -> None:
        """Steps that no server could tell apart cannot be served."""
        other = BodyTokenFetcher("other", auth.url, "/token")

        with pytest.raises(ValueError, match="answer the same request, POST /token"):
            auth.serve(pipeline_of(body_step(auth), other))

    @pytest.mark.parametrize(
        ("parts", "paths"),
        [
            pytest.param({"expires_in_field": "access_token.life"}, "'access_token'", id="through"),
            pytest.param({"token_field": "token_type"}, "'token_type'", id="one place"),
        ],
    )
    def test_fields_in_each_others_way_are_refused(
        self, auth: FakeAuth, parts: dict[str, Any], paths: str
    ) -> None:
        """No answer has two things at one place, so such a step cannot be served."""
        with pytest.raises(ValueError, match=f"'app_token' looks for one thing at {paths}"):
            auth.serve(pipeline_of(body_step(auth, **parts)))

    def test_a_field_that_is_not_answered_is_in_no_way(self, auth: FakeAuth) -> None:
        """With a ttl the answer has no lifetime, wherever the step would look for it."""
        step = body_step(auth, expires_in_field="access_token.life", ttl=timedelta(hours=1))
        auth.serve(pipeline_of(step))

        assert step.fetch().access_token


class TestSeveralPipelines:
    def test_each_user_is_served(self, auth: FakeAuth) -> None:
        """Pipelines that differ in what a step sends are each answered, and counted together."""
        steps = [body_step(auth, request_data={"username": name}) for name in ("ada", "bob")]
        ada, bob = (auth.serve(pipeline_of(step))["app_token"] for step in steps)

        for step in steps:
            step.fetch()

        assert ada is not bob
        assert auth.fetch_counts == {"app_token": 2}
        assert [entry.issued for entry in auth.journal] == ["app_token#1", "app_token#2"]
        assert auth.endpoints == {"app_token": ada}

    def test_each_endpoint_revokes_its_own(self, auth: FakeAuth) -> None:
        """What is done to the endpoint of one pipeline leaves the tokens of the other alone."""
        steps = [body_step(auth, request_data={"username": name}) for name in ("ada", "bob")]
        ada, _ = (auth.serve(pipeline_of(step))["app_token"] for step in steps)
        me = auth.resource("GET /me", needs=ada)
        headers = [{"Authorization": step.fetch().authorization_header} for step in steps]

        ada.revoke()

        answers = [requests.get(me.url, headers=each, timeout=5).status_code for each in headers]
        assert answers == [401, 200]

    def test_the_same_step_again_keeps_its_endpoint(self, auth: FakeAuth) -> None:
        """A pipeline that asks just what another one does shares its endpoints."""
        first, second = (auth.serve(three_steps(auth.url)) for _ in range(2))

        assert first == second

    def test_two_hosts_are_served(self) -> None:
        """A pipeline for another host gets endpoints there."""
        with FakeAuth() as auth:
            hosts = ["https://eu.example.com", "https://us.example.com"]
            steps = [BodyTokenFetcher("app_token", host, "/token") for host in hosts]
            served = [auth.serve(pipeline_of(step))["app_token"] for step in steps]
            for step in steps:
                step.fetch()

        assert [endpoint.origin for endpoint in served] == hosts
        assert auth.fetch_counts == {"app_token": 2}

    def test_what_nobody_can_tell_apart_is_refused(self, auth: FakeAuth) -> None:
        """Two lifetimes for one request are no further endpoint, but an error."""
        auth.serve(pipeline_of(body_step(auth)))

        with pytest.raises(ValueError, match="answer the same request"):
            auth.serve(pipeline_of(body_step(auth, ttl=timedelta(hours=2))))


class TestOtherHosts:
    """A pipeline for production, and a FakeAuth on loopback."""

    @pytest.mark.parametrize("by_hand", [False, True], ids=["served", "by hand"])
    def test_a_step_of_another_host_is_refused(self, by_hand: bool) -> None:
        """Its requests would reach the real host, so the error says what to do."""
        with FakeAuth("https://auth.example.com", transport="loopback") as auth:
            if by_hand:
                auth.token("app_token", "POST /v1/app/token")
            endpoints = dict(auth.endpoints)
            pipeline = pipeline_of(
                CountingStep("local"),
                BodyTokenFetcher("app_token", "https://auth.example.com", "/v1/app/token"),
            )

            with pytest.raises(
                ValueError,
                match=r"'app_token' asks https://auth\.example\.com.*auth\.url.*inprocess",
            ):
                auth.serve(pipeline)
            assert auth.endpoints == endpoints

    def test_before_the_start_there_is_nothing_to_ask(self) -> None:
        """Without a socket no pipeline can have the right URL."""
        auth = FakeAuth(transport="loopback")

        with pytest.raises(RuntimeError, match="once it is started"):
            auth.serve(pipeline_of(BodyTokenFetcher("a", "https://auth.example.com", "/token")))
