"""What a test patches in requests or in a client's session sees the client's traffic."""

import io
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock, patch

import pytest
import requests
from requests.adapters import HTTPAdapter

from canary import assert_clean
from loopback import Loopback, in_turn, reply
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfig, HttpClientConfigBuilder
from requestforge.exceptions import (
    ConnectionException,
    HttpClientException,
    TimeoutException,
)

CANARY = "canary-patch-e18a"


def builder(url: str = "https://api.example") -> HttpClientConfigBuilder:
    """The start of a configuration."""
    return HttpClientConfigBuilder().with_base_url(url).with_retry(2, 0)


def answer(status: int, body: bytes = b"", **headers: str) -> requests.Response:
    """An answer as requests has it."""
    made = requests.Response()
    made.status_code = status
    made.headers.update(headers)
    made._content = body  # noqa: SLF001 - as every mock of requests does
    return made


LIMITS: dict[str, Callable[[HttpClientConfigBuilder], HttpClientConfigBuilder]] = {
    "no limits": lambda given: given,
    "a size": lambda given: given.with_max_response_size(10),
    "a time": lambda given: given.with_total_timeout(30),
}


class TestSessionRequest:
    """`patch.object(client.session, "request")`."""

    def test_it_sees_each_attempt(self) -> None:
        """Retries and hops of redirects each call it; what it returns is the answer."""
        client = HttpClient(builder().with_bearer_token(CANARY).build())
        answers = [answer(503), answer(302, Location="/next"), answer(200, b"here")]
        with patch.object(client.session, "request", side_effect=answers) as request:
            assert client.get("/users").content == b"here"
        urls = [call.kwargs["url"] for call in request.call_args_list]
        assert urls == [f"https://api.example/{path}" for path in ("users", "users", "next")]
        for call in request.call_args_list:
            assert call.kwargs["method"] == "GET"
            assert call.kwargs["headers"]["Authorization"] == f"Bearer {CANARY}"

    def test_it_sees_a_stream(self) -> None:
        """What it returns is read bit by bit."""
        client = HttpClient(builder().build())
        given = requests.Response()
        given.status_code, given.raw = 200, io.BytesIO(b"bit by bit")
        with (
            patch.object(client.session, "request", return_value=given),
            client.stream("GET", "/users") as streamed,
        ):
            assert b"".join(streamed.iter_bytes(3)) == b"bit by bit"

    @pytest.mark.parametrize("settings", LIMITS.values(), ids=LIMITS)
    @pytest.mark.parametrize(
        "given",
        [
            lambda: answer(200, b"by hand"),
            lambda: Mock(status_code=200, headers={}, content=b"by hand", encoding=None),
        ],
        ids=["response", "mock"],
    )
    def test_what_is_made_by_hand_has_a_body(
        self, given: Callable[[], Any], settings: Callable[[HttpClientConfigBuilder], Any]
    ) -> None:
        """A response without a connection gives its content, as a whole, in bits, or not at all."""
        client = HttpClient(settings(builder()).build())
        with patch.object(client.session, "request", side_effect=lambda **_: given()):
            assert client.get("/users").content == b"by hand"
            with client.stream("GET", "/users") as streamed:
                assert list(streamed.iter_bytes(3)) == [b"by ", b"han", b"d"]
            with client.stream("GET", "/users") as unread:
                assert unread.status_code == 200

    def test_what_is_made_by_hand_may_be_too_long(self) -> None:
        """The limit of a body holds for it, too."""
        client = HttpClient(builder().with_max_response_size(3).build())
        with (
            patch.object(client.session, "request", return_value=answer(200, b"by hand")),
            pytest.raises(HttpClientException, match="longer than 3 bytes"),
        ):
            client.get("/users")

    @pytest.mark.parametrize("settings", LIMITS.values(), ids=LIMITS)
    def test_what_is_made_by_hand_may_lead_on(
        self, settings: Callable[[HttpClientConfigBuilder], Any]
    ) -> None:
        """A redirect without a connection is followed."""
        client = HttpClient(settings(builder()).build())
        answers = [answer(302, b"moved", Location="/next"), answer(200, b"here")]
        with patch.object(client.session, "request", side_effect=answers * 2):
            assert client.get("/users").content == b"here"
            with client.stream("GET", "/users") as streamed:
                assert streamed.read().content == b"here"

    @pytest.mark.parametrize(
        ("raised", "kind"),
        [
            (requests.ConnectionError, ConnectionException),
            (requests.Timeout, TimeoutException),
            (ConnectionResetError, ConnectionException),
        ],
    )
    def test_what_it_raises_is_translated(
        self, raised: type[Exception], kind: type[Exception]
    ) -> None:
        """An error that it raises ends in the library's."""
        client = HttpClient(HttpClientConfig("https://api.example"))
        with (
            patch.object(client.session, "request", side_effect=raised(f"token={CANARY}")),
            pytest.raises(kind) as caught,
        ):
            client.get("/users")
        assert type(caught.value) is kind
        assert_clean(caught.value)

    def test_it_may_pass_the_request_on(self) -> None:
        """A spy that calls the real method sees the request and changes nothing."""
        with Loopback(reply(body=b"here")) as server, HttpClient(builder(server.url).build()) as c:
            with patch.object(c.session, "request", wraps=c.session.request) as request:
                assert c.post("/users", data=b"body").content == b"here"
            assert request.call_count == 1
            assert server.requests[0].body == b"body"

    def test_it_is_undone(self) -> None:
        """After the block the client sends as before."""
        with Loopback(reply(body=b"here")) as server, HttpClient(builder(server.url).build()) as c:
            with patch.object(c.session, "request", return_value=answer(204)):
                assert c.get("/users").status_code == 204
            assert server.requests == []
            assert c.get("/users").content == b"here"


@pytest.mark.parametrize("supplied", [False, True], ids=["own session", "supplied session"])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        pytest.param(requests.Session, "send", id="Session.send"),
        pytest.param(requests.Session, "request", id="Session.request"),
        pytest.param(requests.Session, "get_adapter", id="Session.get_adapter"),
        pytest.param(HTTPAdapter, "send", id="HTTPAdapter.send"),
    ],
)
def test_a_patched_class_sees_each_attempt(supplied: bool, owner: type, name: str) -> None:
    """A method that is patched in the class is called for every retry and every hop."""
    called: list[str] = []
    real: Callable[..., Any] = getattr(owner, name)

    def spy(self: object, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        called.append(name)
        return real(self, *args, **kwargs)

    answers = in_turn(reply(503), reply(302, Location="/next"), reply(body=b"here"))
    with Loopback(answers) as server, requests.Session() as session:
        client = HttpClient(builder(server.url).build(), session if supplied else None)
        with client, patch.object(owner, name, spy):
            assert client.get("/users").content == b"here"
    assert called == [name] * 3


def test_a_response_hook_of_the_session_sees_each_answer() -> None:
    """Hooks on a session that was supplied are called as requests calls them."""
    seen: list[int] = []
    answers = in_turn(reply(503), reply(302, Location="/next"), reply(body=b"here"))
    with Loopback(answers) as server, requests.Session() as session:
        session.hooks["response"].append(lambda answer, **_: seen.append(answer.status_code))
        assert HttpClient(builder(server.url).build(), session).get("/").content == b"here"
    assert seen == [503, 302, 200]
