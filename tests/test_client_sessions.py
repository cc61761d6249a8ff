"""HttpClient: what settings of a session, supplied or its own, change, and what they do not."""
# ruff: noqa: ANN401 - values that a test tries out

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.auth import AuthBase, HTTPDigestAuth

from client_server import Reply, Server
from loopback import Loopback
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.exceptions import ConnectionException, RequestBuildException
from requestforge.hooks import AuthorizationHook


@pytest.fixture
def api() -> Iterator[Server]:
    """A server."""
    with Server() as server:
        yield server


class TestFoundLogins:
    """A login of the netrc file or of the URL."""

    @pytest.fixture(autouse=True)
    def netrc(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A netrc file with a login for the server."""
        path = tmp_path / "netrc"
        path.write_text("machine 127.0.0.1 login ada password found")
        monkeypatch.setenv("NETRC", str(path))

    @pytest.mark.parametrize("supplied", [True, False])
    @pytest.mark.parametrize("userinfo", ["", "ada:found@"])
    def test_it_replaces_no_header_of_the_session(
        self, api: Server, supplied: bool, userinfo: str
    ) -> None:
        """An Authorization among the session's headers stays."""
        session = requests.Session() if supplied else None
        with HttpClient(None, session) as client:
            client.session.headers["Authorization"] = "Bearer mine"
            client.get(f"http://{userinfo}127.0.0.1:{api.port}/")
        assert api.last.headers.get_all("Authorization") == ["Bearer mine"]


class Signing(AuthBase):
    """Signs a request without an Authorization header."""

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        r.headers["X-Sign"] = "1"
        return r


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda b: b.with_bearer_token("client"), id="default"),
        pytest.param(lambda b: b.with_request_hook(AuthorizationHook(lambda: "hook")), id="hook"),
    ],
)
@pytest.mark.parametrize("auth", [Signing(), HTTPDigestAuth("ada", "pw")], ids=["sign", "digest"])
def test_auth_leaves_no_other_authorization(
    api: Server, build: Callable[[HttpClientConfigBuilder], HttpClientConfigBuilder], auth: Any
) -> None:
    """`auth` wins over the client's Authorization even where it sets none at first."""
    config = build(HttpClientConfigBuilder().with_base_url(api.url)).build()
    with HttpClient(config) as client:
        client.session.headers["Authorization"] = "Bearer session"
        client.get("/", auth=auth)
        assert api.last.headers["Authorization"] is None
        client.get("/", auth=auth, headers={"Authorization": "Bearer own"})
        assert api.last.headers["Authorization"] in {"Bearer own", None}


class TestSuppliedSession:
    def test_a_streaming_session_is_read_at_once(self) -> None:
        """With `stream` on, an answer that breaks off is still an error of the library."""
        session = requests.Session()
        session.stream = True
        part = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
        with Loopback(lambda _: lambda sock: sock.sendall(part)) as server:
            config = HttpClientConfigBuilder().with_base_url(server.url).build()
            with HttpClient(config, session) as client, pytest.raises(ConnectionException):
                client.get("/")

    @pytest.mark.parametrize("location", ["http://[", "http://\xff", "ftp://a/", "/next"])
    @pytest.mark.parametrize("hooks", ["none", "list", "callable"])
    def test_a_redirect_that_is_not_followed_is_the_answer(
        self, api: Server, location: str, hooks: str
    ) -> None:
        """With redirects off nothing is asked of the Location, and the session's hooks see it."""
        seen = []

        def hook(response: requests.Response, **_: object) -> None:
            seen.append(response.headers["Location"])

        session = requests.Session()
        session.max_redirects = 0
        given: dict[str, Any] = {"none": {}, "list": {"response": [hook]}}
        session.hooks = given.get(hooks, {"response": hook})
        api.rules["/"] = Reply(302, {"Location": location})
        config = (
            HttpClientConfigBuilder().with_base_url(api.url).with_redirects(allow=False).build()
        )
        with HttpClient(config, session) as client:
            response = client.get("/")
        assert (response.status_code, response.headers["Location"]) == (302, location)
        assert seen == ([] if hooks == "none" else [location])

    def test_redirects_are_followed_all_the_same(self, api: Server) -> None:
        """With redirects on the Location counts."""
        api.rules["/"] = Reply(302, {"Location": "/next"})
        config = HttpClientConfigBuilder().with_base_url(api.url).build()
        with HttpClient(config, requests.Session()) as client:
            assert client.get("/").status_code == 200
        assert [seen.path for seen in api.seen] == ["/", "/next"]


def test_a_malformed_answer_is_a_broken_connection() -> None:
    """What cannot be read in an answer is no fault of the request, which was sent."""
    header = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabc"
    with Loopback(header) as server:
        config = HttpClientConfigBuilder().with_base_url(server.url).build()
        with HttpClient(config) as client, pytest.raises(ConnectionException, match="malformed"):
            client.get("/")


def test_a_host_that_cannot_be_is_a_malformed_request() -> None:
    """Nothing is sent to a host whose name cannot be encoded."""
    with HttpClient() as client, pytest.raises(RequestBuildException):
        client.get(f"http://{'a' * 300}.b\xfc/")
