"""Steps that ask a server: their arguments, their tokens' lifetime, failures, and retries."""

import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import responses

from doubles import START, Clock
from loopback import Loopback, Received, in_turn, json_reply, reply
from requestforge import instrumentation
from requestforge.exceptions import (
    InsecureTransportWarning,
)
from requestforge.fetcher import BodyTokenFetcher, HeaderTokenFetcher, HttpTokenFetcher
from requestforge.models import HttpMethod
from requestforge.retry import SimpleRetryStrategy
from requestforge.tokens import TokenData

SECRET = "canary-c0ffee"
ENDPOINT = ("app_token", "https://auth.example.com", "/v1/app/token")
GOOD = json_reply({"access_token": "abc"})

KINDS = pytest.mark.parametrize("kind", [BodyTokenFetcher, HeaderTokenFetcher])
Kind = Callable[..., BodyTokenFetcher | HeaderTokenFetcher]


@pytest.fixture
def clock() -> Iterator[Clock]:
    """A clock that moves when somebody sleeps."""
    with instrumentation.use_clock(Clock()) as clock:
        yield clock


class TestConstruction:
    @KINDS
    @pytest.mark.parametrize(
        ("wrong", "error", "text"),
        [
            pytest.param({"name": ""}, ValueError, "name of a step", id="empty name"),
            pytest.param({"name": 7}, TypeError, "name of a step", id="name of another type"),
            pytest.param({"base_url": ""}, ValueError, "base_url of Step 'app'", id="no URL"),
            pytest.param({"base_url": "auth/x"}, ValueError, "base_url", id="relative URL"),
            pytest.param({"base_url": None}, ValueError, "base_url", id="None for a URL"),
            pytest.param({"base_url": "ftp://a"}, ValueError, "base_url", id="other scheme"),
            pytest.param({"base_url": "https://a/\n"}, ValueError, "base_url", id="control"),
            pytest.param({"method": "PUT"}, ValueError, "method of Step 'app'", id="method"),
            pytest.param({"method": None}, ValueError, "method", id="no method"),
            pytest.param({"request_data": "a=b"}, TypeError, "request_data", id="data as text"),
            pytest.param({"request_headers": ["a"]}, TypeError, "request_headers", id="headers"),
            pytest.param({"ttl": 60}, TypeError, "ttl of Step 'app'", id="ttl as a number"),
            pytest.param({"ttl": timedelta(-1)}, ValueError, "ttl", id="negative ttl"),
            pytest.param({"timeout": 0}, ValueError, "timeout", id="no time"),
            pytest.param({"timeout": float("nan")}, ValueError, "timeout", id="NaN"),
            pytest.param({"timeout": float("inf")}, ValueError, "timeout", id="endless"),
            pytest.param({"timeout": None}, ValueError, "timeout", id="None for a timeout"),
            pytest.param({"timeout": True}, ValueError, "timeout", id="True for a timeout"),
            pytest.param({"verify_ssl": 0}, TypeError, "verify_ssl of Step 'app'", id="verify 0"),
            pytest.param({"verify_ssl": None}, TypeError, "verify_ssl", id="None for verify_ssl"),
            pytest.param({"verify_ssl": ""}, ValueError, "verify_ssl of Step 'app'", id="no path"),
            pytest.param({"depends_on": "app"}, ValueError, r"\['app'\]", id="depends_on as text"),
        ],
    )
    def test_impossible_arguments_are_refused(
        self, kind: Kind, wrong: dict[str, Any], error: type[Exception], text: str
    ) -> None:
        """The error names the argument and, where it has a name, the step."""
        arguments = {"name": "app", "base_url": "https://auth.example.com", "endpoint": "/token"}
        with pytest.raises(error, match=text):
            kind(**{**arguments, **wrong})

    def test_a_refused_url_shows_no_password(self) -> None:
        """Userinfo is left out of the message."""
        with pytest.raises(ValueError, match="base_url") as caught:
            BodyTokenFetcher("app", f"https://user:{SECRET}@a b/", "/token")
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize(
        ("kind", "wrong"),
        [
            (BodyTokenFetcher, {"content_type": "xml"}),
            (BodyTokenFetcher, {"content_type": None}),
            (BodyTokenFetcher, {"default_token_type": "a b"}),
            (HeaderTokenFetcher, {"token_header": "X Token"}),
            (HeaderTokenFetcher, {"token_header": ""}),
            (HeaderTokenFetcher, {"token_type": "Bearer "}),
        ],
        ids=str,
    )
    def test_what_each_kind_refuses(self, kind: Kind, wrong: dict[str, Any]) -> None:
        """Content types, headers and token types are checked at construction, too."""
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} of Step 'app_token'"):
            kind(*ENDPOINT, **wrong)

    @KINDS
    def test_properties(self, kind: Kind) -> None:
        """Name, ttl and dependencies are what the constructor was given."""
        step = kind(*ENDPOINT, ttl=timedelta(hours=1), depends_on=(n for n in ("a", "b")))
        assert (step.name, step.ttl, step.depends_on) == (
            "app_token",
            timedelta(hours=1),
            ["a", "b"],
        )
        step.depends_on.clear()
        assert step.depends_on == ["a", "b"]
        plain = kind(*ENDPOINT)
        assert (plain.ttl, plain.depends_on) == (None, [])

    def test_a_base_class_names_the_argument(self) -> None:
        """A subclass of HttpTokenFetcher is named by its class, which may not know its name yet."""

        class Custom(HttpTokenFetcher):
            name = "custom"

            def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
                raise NotImplementedError

        with pytest.raises(ValueError, match="base_url of Custom is 'nowhere'"):
            Custom("nowhere")


class TestDescription:
    def test_it_has_the_arguments(self) -> None:
        """Each argument by name, the method as an HttpMethod, and the URL of the endpoint."""
        step = HeaderTokenFetcher(
            "device_token",
            "https://auth.example.com/",
            "v1/device",
            "get",
            {"X-Device-ID": "device-123"},
            {"a": {"b": [1]}},
            "X-Device-Token",
            "Device",
            timedelta(days=30),
            depends_on=["a"],
        )
        assert dict(step.describe()) == {
            "name": "device_token",
            "base_url": "https://auth.example.com/",
            "endpoint": "v1/device",
            "method": HttpMethod.GET,
            "request_headers": {"X-Device-ID": "device-123"},
            "request_data": {"a": {"b": [1]}},
            "token_header": "X-Device-Token",
            "token_type": "Device",
            "ttl": timedelta(days=30),
            "timeout": 30.0,
            "verify_ssl": True,
            "depends_on": ["a"],
            "retry_strategy": None,
            "require_tls": False,
            "url": "https://auth.example.com/v1/device",
        }

    def test_what_was_not_given_is_none(self) -> None:
        """The description of a plain step has its defaults."""
        facts = BodyTokenFetcher(*ENDPOINT).describe()
        assert facts["request_headers"] is facts["request_data"] is facts["depends_on"] is None
        assert (facts["content_type"], facts["token_field"]) == ("form", "access_token")
        assert len(facts) == 19

    def test_it_cannot_change_the_step(self) -> None:
        """It is a copy, and the step has copied what it was given."""
        data = {"scopes": ["a"]}
        step = BodyTokenFetcher(*ENDPOINT, request_data=data)
        data["scopes"].append("b")
        step.describe()["request_data"]["scopes"].append("c")
        assert step.describe()["request_data"] == {"scopes": ["a"]}
        assert not isinstance(step.describe(), dict)

    def test_its_repr_shows_no_secret(self) -> None:
        """Secrets are masked, names and places are not."""
        step = BodyTokenFetcher(
            "app_token",
            f"https://user:{SECRET}@auth.example.com",
            f"/token?api_key={SECRET}",
            request_headers={"X-Api-Key": SECRET},
            request_data={"client_id": "app-id", "nested": {"client_secret": SECRET}},
        )
        shown = repr(step.describe())
        assert SECRET not in shown + repr(step)
        for part in ("app-id", "auth.example.com/token", "token_field", "'X-Api-Key': '***'"):
            assert part in shown


class TestTransport:
    @pytest.mark.parametrize(
        ("url", "verify"),
        [("http://auth1.example.com", True), ("https://auth2.example.com", False)],
    )
    def test_an_insecure_transport_is_warned_of_once(self, url: str, *, verify: bool) -> None:
        """The first step of an origin warns at construction, at the caller's line."""
        with pytest.warns(InsecureTransportWarning, match=url) as caught:
            BodyTokenFetcher("app_token", url, "/token", verify_ssl=verify)
        assert caught[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            HeaderTokenFetcher("other", f"{url}/deeper", "/token", verify_ssl=verify)

    @KINDS
    @pytest.mark.parametrize(
        ("url", "verify"),
        [("http://auth3.example.com", True), ("https://auth4.example.com", False)],
    )
    def test_an_insecure_transport_can_be_refused(
        self, kind: Kind, url: str, *, verify: bool
    ) -> None:
        """`require_tls` makes it a ValueError."""
        with pytest.raises(ValueError, match="Step 'app_token' has require_tls"):
            kind("app_token", url, "/token", verify_ssl=verify, require_tls=True)

    @pytest.mark.parametrize(
        "url",
        [
            "http://localhost",
            "http://auth.localhost:8080",
            "http://127.8.9.1",
            "http://[::1]:80",
            "https://auth.example.com",
        ],
    )
    def test_this_machine_and_https_are_secure(self, url: str) -> None:
        """Nothing is refused or warned of."""
        step = BodyTokenFetcher("app_token", url, "/token", require_tls=True)
        assert step.describe()["require_tls"] is True

    def test_a_closed_step_stays_usable(self) -> None:
        """`close` releases the connection; the next fetch opens another."""
        with Loopback(GOOD) as server:
            step = BodyTokenFetcher("app_token", server.url, "/token")
            step.close()
            step.fetch()
            step.fetch()
            step.close()
            step.fetch()
        assert server.connections == 2

    def test_answers_in_process(self) -> None:
        """Tools that stand in for requests' adapter serve a step."""
        with responses.RequestsMock() as mock:
            mock.post("https://auth.example.com/v1/app/token", json={"access_token": "abc"})
            assert BodyTokenFetcher(*ENDPOINT).fetch().access_token == "abc"


class TestLifetime:
    def test_it_counts_from_before_sending(self, clock: Clock) -> None:
        """What the exchange takes is not added to the token's life."""

        def slowly(_: Received) -> bytes:
            clock.advance(seconds=10)
            return json_reply({"access_token": "abc", "expires_in": 60})

        with Loopback(slowly) as server:
            token = BodyTokenFetcher("app_token", server.url, "/token").fetch()
        assert token.issued_at == START
        assert token.expires_at == START + timedelta(seconds=60)
        assert token.leeway is None

    def test_a_retry_counts_from_its_own_sending(self, clock: Clock) -> None:
        """The token of a second attempt lives from the second attempt."""
        good = json_reply({"access_token": "abc", "expires_in": 60})
        with Loopback(in_turn(reply(503), good)) as server:
            strategy = SimpleRetryStrategy(delay=5)
            step = BodyTokenFetcher("a", server.url, "/token", retry_strategy=strategy)
            assert step.fetch().issued_at == START + timedelta(seconds=5)
        assert clock.slept == [5.0]

    @pytest.mark.parametrize(
        ("expires_in", "ttl", "seconds", "leeway"),
        [
            pytest.param(None, None, None, None, id="no end"),
            pytest.param(None, timedelta(hours=1), 3600, timedelta(0), id="ttl alone"),
            pytest.param(600, timedelta(hours=1), 600, None, id="server is earlier"),
            pytest.param(7200, timedelta(hours=1), 3600, timedelta(0), id="ttl is earlier"),
            pytest.param(600, timedelta(0), 0, timedelta(0), id="never cached"),
        ],
    )
    def test_the_earlier_end_counts(
        self,
        clock: Clock,
        expires_in: int | None,
        ttl: timedelta | None,
        seconds: int | None,
        leeway: timedelta | None,
    ) -> None:
        """The token that is returned carries the earlier of ttl and server's lifetime."""
        with Loopback(json_reply({"access_token": "abc", "expires_in": expires_in})) as server:
            token = BodyTokenFetcher("app_token", server.url, "/token", ttl=ttl).fetch()
        assert token.expires_at == (
            None if seconds is None else clock.now() + timedelta(0, seconds)
        )
        assert token.leeway == leeway

    def test_a_token_from_a_header_carries_the_ttl(self, clock: Clock) -> None:
        """Headers tell no lifetime, so the ttl is all there is."""
        with Loopback(reply(Authorization="Bearer abc")) as server:
            step = HeaderTokenFetcher("app_token", server.url, "/login", ttl=timedelta(days=30))
            token = step.fetch()
        assert token == TokenData("abc", expires_at=clock.now() + timedelta(days=30))
