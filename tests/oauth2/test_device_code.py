"""The device grant: what the user is shown, how long they are waited for, and what they decide."""

from typing import Any

import pytest
from granting_server import CallingClock, Server

from loopback import Loopback, Received, Script, json_reply, reply, shown_by
from requestforge import InMemoryTokenStorage, TokenFetchPipeline
from requestforge._deadline import bounded
from requestforge.exceptions import (
    AuthenticationException,
    InsecureTransportWarning,
    TokenRefreshException,
)
from requestforge.instrumentation import monotonic
from requestforge.oauth2 import DeviceCodeFetcher, MutualTls
from requestforge.retry import SimpleRetryStrategy

pytestmark = pytest.mark.usefixtures("clock")

URL = "https://a.example/device"
CODES = {
    "device_code": "canary-dev1ce",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://example.com/device",
    "expires_in": 600,
}
PENDING = json_reply({"error": "authorization_pending"}, 400)
SLOW_DOWN = json_reply({"error": "slow_down"}, 400)
TOKEN = json_reply({"access_token": "t", "refresh_token": "canary-refresh"})


class User:
    """Sees what the step shows."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []

    def __call__(self, code: str, uri: str) -> None:
        self.shown.append((code, uri))

    @property
    def code(self) -> str:
        return self.shown[-1][0]


def step(server: Server, user: User, **options: Any) -> DeviceCodeFetcher:  # noqa: ANN401
    """A step of a public client."""
    return DeviceCodeFetcher(
        "tv", server.url, "public", device_url=server.device_url, prompt=user, **options
    )


class Endpoints:
    """A device endpoint, and a token endpoint with one answer after the other."""

    def __init__(self, *answers: Script, codes: object = CODES) -> None:
        self._codes = codes
        self._answers = list(answers)

    def __call__(self, received: Received) -> Script:
        if received.path == "/device":
            return self._codes if isinstance(self._codes, bytes) else json_reply(self._codes)
        return self._answers.pop(0)


def scripted(loopback: Loopback, user: User | None = None, **options: Any) -> DeviceCodeFetcher:  # noqa: ANN401
    """A step that asks such endpoints."""
    return DeviceCodeFetcher(
        *("tv", f"{loopback.url}/token", "app"),
        device_url=f"{loopback.url}/device",
        prompt=user or User(),
        **options,
    )


def test_a_user_allows_the_device(server: Server, clock: CallingClock) -> None:
    """They are shown a code and where to type it; the step polls until they have."""
    user = User()
    clock.at[3] = lambda: server.idp.approve(user.code, sub="alice")
    token = step(server, user, scope="read").fetch()
    assert user.shown == [(user.code, f"{server.idp.issuer}/device")]
    assert (token.scope, token.refresh_token is None) == ("read", False)
    assert clock.slept == [5, 5, 5]
    assert [status for _, status in server.seen] == [400, 400, 200]


def test_a_user_refuses_the_device(server: Server, clock: CallingClock) -> None:
    """Their refusal is a failure of the step, and ends the wait."""
    user = User()
    clock.at[2] = lambda: server.idp.deny(user.code)
    with pytest.raises(AuthenticationException, match="access_denied") as caught:
        step(server, user).fetch()
    assert caught.value.service_name == "tv"
    assert len(clock.slept) == 2


def test_a_code_expires(server: Server, clock: CallingClock) -> None:
    """The provider says that the device code is dead; or the step knows that it will be."""
    user = User()
    clock.at[2] = lambda: clock.advance(minutes=20)
    with pytest.raises(AuthenticationException, match="expired_token"):
        step(server, user).fetch()


def test_nobody_polls_a_code_that_has_expired(clock: CallingClock) -> None:
    """A poll that would come after the end of the code is not waited for."""
    with Loopback(Endpoints(PENDING, codes={**CODES, "expires_in": 9})) as loopback:
        tv = scripted(loopback)
        with pytest.raises(AuthenticationException, match="not decided in the time") as caught:
            tv.fetch()
    assert clock.slept == [5]
    assert "canary-dev1ce" not in shown_by(caught.value)


def test_a_code_that_is_dead_on_arrival(clock: CallingClock) -> None:
    """A lifetime of nought is one: nobody polls."""
    with Loopback(Endpoints(codes={**CODES, "expires_in": 0})) as loopback:
        tv = scripted(loopback)
        with pytest.raises(AuthenticationException, match="not decided in the time"):
            tv.fetch()
    assert clock.slept == []


def test_nobody_is_waited_for_longer_than_half_an_hour(clock: CallingClock) -> None:
    """The lease of a lock has to be longer than a fetch, so a fetch has an end."""
    codes = {**CODES, "expires_in": 86400, "interval": 600}
    with Loopback(Endpoints(PENDING, PENDING, PENDING, codes=codes)) as loopback:
        tv = scripted(loopback)
        with pytest.raises(AuthenticationException, match="not decided in the time"):
            tv.fetch()
    assert clock.slept == [600, 600]
    assert tv.fetch_timeout.total_seconds() == 1800 + 2 * 30


@pytest.mark.parametrize(
    ("interval", "answers", "slept"),
    [
        pytest.param(None, [TOKEN], [5], id="five seconds by default"),
        pytest.param(2, [PENDING, TOKEN], [2, 2], id="the server's interval"),
        pytest.param(0, [TOKEN], [1], id="at least a second"),
        pytest.param(5, [SLOW_DOWN, PENDING, TOKEN], [5, 10, 10], id="slower on demand"),
        pytest.param(5, [reply(503), reply(429), TOKEN], [5, 10, 20], id="slower after a failure"),
        pytest.param(
            5, [lambda _: None, PENDING, TOKEN], [5, 10, 10], id="slower after a lost connection"
        ),
    ],
)
def test_the_pace_of_the_polls(
    clock: CallingClock, interval: float | None, answers: list[Script], slept: list[float]
) -> None:
    """The interval of the server, and what RFC 8628 section 3.5 adds to it."""
    codes = CODES if interval is None else {**CODES, "interval": interval}
    with Loopback(Endpoints(*answers, codes=codes)) as loopback:
        assert scripted(loopback).fetch().access_token == "t"
    assert clock.slept == slept


@pytest.mark.parametrize(
    "codes",
    [
        {key: value for key, value in CODES.items() if key != "device_code"},
        {**CODES, "user_code": ""},
        {**CODES, "user_code": "\x1b[2J"},
        {**CODES, "verification_uri": 7},
        {**CODES, "expires_in": "soon"},
        {**CODES, "interval": -1},
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot JSON!",
        json_reply({"error": "invalid_client"}, 401),
        reply(503),
    ],
    ids=[
        *("no device code", "empty user code", "control characters", "no URI", "no lifetime"),
        *("negative interval", "no JSON", "refused", "down"),
    ],
)
def test_codes_that_cannot_be_used(codes: object) -> None:
    """They are a failure of the step; the user is shown nothing, and nobody polls."""
    user = User()
    with Loopback(Endpoints(codes=codes)) as loopback:
        tv = scripted(loopback, user)
        with pytest.raises(AuthenticationException) as caught:
            tv.fetch()
    assert caught.value.service_name == "tv"
    assert user.shown == []
    assert len(loopback.requests) == 1
    assert "canary-dev1ce" not in shown_by(caught.value)


def test_the_request_for_the_codes_is_retried() -> None:
    """A retry strategy is for that one; polls have a pace of their own."""
    answers = [reply(503), json_reply(CODES)]

    def answer(received: Received) -> Script:
        return answers.pop(0) if received.path == "/device" else TOKEN

    with Loopback(answer) as loopback:
        scripted(loopback, retry_strategy=SimpleRetryStrategy(1, delay=0)).fetch()
    assert [received.path for received in loopback.requests] == ["/device", "/device", "/token"]
    assert loopback.requests[-1].form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "canary-dev1ce",
        "client_id": "app",
    }


def test_the_deadline_of_a_request_ends_the_wait(clock: CallingClock) -> None:
    """A poll that would come after it is not waited for."""
    with Loopback(Endpoints(PENDING, PENDING)) as loopback:
        tv = scripted(loopback)
        with bounded(monotonic() + 12), pytest.raises(AuthenticationException, match="is over"):
            tv.fetch()
    assert clock.slept == [5, 5]


def test_the_user_is_asked_once(server: Server, clock: CallingClock) -> None:
    """Later tokens come by the refresh token; once that is refused, the next call asks again."""
    user = User()
    clock.at[1] = lambda: server.idp.approve(user.code, sub="alice")
    pipeline = TokenFetchPipeline([step(server, user)], InMemoryTokenStorage())
    pipeline.execute()
    clock.advance(hours=1)
    pipeline.execute()
    assert len(user.shown) == 1
    server.idp.revoke_all()
    clock.advance(hours=1)
    with pytest.raises(TokenRefreshException) as caught:
        pipeline.execute()
    assert caught.value.service_name == "tv"
    assert len(user.shown) == 1
    clock.at[2] = lambda: server.idp.approve(user.code, sub="alice")
    pipeline.execute()
    assert len(user.shown) == 2


def test_a_failing_refresh_asks_nobody() -> None:
    """The refresh token is kept, and the error told."""
    answers = Endpoints(TOKEN, reply(503), json_reply({"error": "unauthorized_client"}, 400), TOKEN)
    user = User()
    with Loopback(answers) as loopback:
        pipeline = TokenFetchPipeline([scripted(loopback, user)], InMemoryTokenStorage())
        pipeline.execute()
        for _ in range(2):
            with pytest.raises(AuthenticationException) as caught:
                pipeline.execute(force_refresh=True)
            assert not isinstance(caught.value, TokenRefreshException)
        pipeline.execute(force_refresh=True)
    assert len(user.shown) == 1


def test_the_prompt_is_checked() -> None:
    """What cannot be called is refused before a user is needed."""
    wrong: Any = "Go to"
    with pytest.raises(TypeError, match="prompt of Step 'tv'"):
        DeviceCodeFetcher("tv", "https://a.example", "app", device_url=URL, prompt=wrong)


def test_an_insecure_device_url_is_warned_of() -> None:
    """The client's secret goes there, too; the warning points at this file."""
    with pytest.warns(InsecureTransportWarning, match=r"http://device\.example") as caught:
        DeviceCodeFetcher(
            "tv", "https://a.example", "app", device_url="http://device.example/d", prompt=User()
        )
    assert caught[0].filename == __file__


def test_a_certificate_needs_a_device_url_with_tls() -> None:
    """An http URL is refused where the certificate is the client's proof."""
    with pytest.raises(ValueError, match="device_url of Step 'tv' must be an https URL"):
        DeviceCodeFetcher(
            *("tv", "https://a.example", "app"),
            device_url="http://127.0.0.1/device",
            prompt=User(),
            client_auth=MutualTls("c.pem"),
        )


@pytest.mark.parametrize("url", ["", "/device", "ftp://a.example", "http://a b/", None])
def test_the_device_url_is_checked(url: Any) -> None:  # noqa: ANN401
    """It is an absolute http or https URL."""
    with pytest.raises(ValueError, match="device_url of Step 'tv'"):
        DeviceCodeFetcher(
            "tv", "https://a.example/token", "app", device_url=url, prompt=lambda *_: None
        )
