"""HttpClient: where its credentials go, and where they do not."""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import responses

from client_server import Reply, Server
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfig, HttpClientConfigBuilder
from requestforge.exceptions import (
    AuthenticationException,
    ConnectionException,
    RequestBuildException,
)
from requestforge.hooks import ApiKeyAuthHook, AuthorizationHook, BasicAuthHook
from requestforge.interfaces import RequestHookInterface
from requestforge.models import HttpRequest, RequestContext

CANARY = "canary-4711"

Build = Callable[[HttpClientConfigBuilder], HttpClientConfigBuilder]

CREDENTIALS: dict[str, Build] = {
    "bearer token": lambda b: b.with_bearer_token(CANARY),
    "api key": lambda b: b.with_api_key(CANARY),
    "api key under another name": lambda b: b.with_api_key(CANARY, "X-Client"),
    "default header": lambda b: b.with_header("X-App-Token", CANARY),
    "default header that is told to be one": lambda b: b.with_header(
        "X-Shoe", CANARY
    ).with_redaction("x-shoe"),
    "default cookie": lambda b: b.with_header("Cookie", f"sid={CANARY}"),
    "api key hook": lambda b: b.with_api_key_auth(CANARY),
    "api key hook under another name": lambda b: b.with_api_key_auth(CANARY, "X-Client"),
    "basic hook": lambda b: b.with_auth_hook(_Plain(CANARY)),
    "authorization hook": lambda b: b.with_request_hook(AuthorizationHook(lambda: CANARY)),
    "auth hook as a request hook": lambda b: b.with_request_hook(ApiKeyAuthHook(CANARY, "X-C")),
}
every_credential = pytest.mark.parametrize("credential", CREDENTIALS.values(), ids=CREDENTIALS)


class _Plain(BasicAuthHook):
    """Sends its password as it is, so that a test finds it."""

    def __init__(self, password: str) -> None:
        super().__init__("user", password)
        self._value = f"Basic {password}"


@pytest.fixture
def api() -> Iterator[Server]:
    """The server that the client is for."""
    with Server() as server:
        yield server


@pytest.fixture
def other() -> Iterator[Server]:
    """A server of somebody else."""
    with Server() as server:
        yield server


def has_credential(server: Server) -> bool:
    """Whether the last request had one."""
    seen = server.last
    return CANARY in f"{seen.path} {seen.headers.items()} {seen.body!r}"


class TestClientCredentials:
    @every_credential
    def test_they_go_to_the_base_url(self, api: Server, credential: Build) -> None:
        """Every kind of credential is sent to the origin of the base URL, however it is written."""
        config = credential(HttpClientConfigBuilder().with_base_url(f"{api.url}/v1")).build()
        with HttpClient(config) as client:
            for url in ("/users", "//users", f"{api.url}/elsewhere", api.url.upper()):
                client.get(url)
                assert has_credential(api)

    @every_credential
    def test_they_do_not_go_to_another_origin(
        self, api: Server, other: Server, credential: Build
    ) -> None:
        """An absolute URL of another origin is asked for without them."""
        config = credential(HttpClientConfigBuilder().with_base_url(api.url)).build()
        with HttpClient(config) as client:
            assert client.get(f"{other.url}/users").status_code == 200
            assert not has_credential(other)
            client.get(f"http://localhost:{api.port}/users")
            assert not has_credential(api)

    @every_credential
    def test_they_go_to_allowed_origins(
        self, api: Server, other: Server, credential: Build
    ) -> None:
        """`allowed_origins` adds to the origin of the base URL, and does so without one."""
        for base_url in (api.url, ""):
            builder = HttpClientConfigBuilder().with_base_url(base_url)
            config = credential(builder.with_allowed_origins(f"{other.url}/")).build()
            with HttpClient(config) as client:
                client.get(f"{other.url}/users")
                assert has_credential(other)
                client.get(f"{api.url}/users")
                assert has_credential(api) is bool(base_url)

    @every_credential
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_they_stay_behind_at_a_redirect_to_another_origin(
        self, api: Server, other: Server, credential: Build, status: int
    ) -> None:
        """No redirect takes them across an origin, be it an allowed one, nor back again."""
        api.rules["/from"] = Reply(status, {"Location": f"{other.url}/via"})
        other.rules["/via"] = Reply(status, {"Location": "/again"})
        other.rules["/again"] = Reply(status, {"Location": f"{api.url}/to"})
        builder = HttpClientConfigBuilder().with_base_url(api.url).with_allowed_origins(other.url)
        with HttpClient(credential(builder).build()) as client:
            client.post("/from")
        assert CANARY in str(api.seen[0].headers)
        assert [seen.path for seen in other.seen] == ["/via", "/again"]
        assert CANARY not in str([seen.headers.items() for seen in other.seen])
        assert api.last.path == "/to"
        assert not has_credential(api)

    @every_credential
    def test_they_go_along_within_the_origin(self, api: Server, credential: Build) -> None:
        """A redirect within the origin takes them along."""
        api.rules["/from"] = Reply(307, {"Location": f"{api.url}/to"})
        config = credential(HttpClientConfigBuilder().with_base_url(api.url)).build()
        with HttpClient(config) as client:
            client.post("/from")
        assert api.last.path == "/to"
        assert has_credential(api)

    @every_credential
    @pytest.mark.parametrize(
        ("start", "target", "kept"),
        [
            pytest.param("http://a.example", "https://a.example", True, id="upgrade"),
            pytest.param("http://a.example:80", "https://a.example:443", True, id="with ports"),
            pytest.param("http://a.example", "https://b.example", False, id="other host"),
            pytest.param("http://a.example", "https://a.example:444", False, id="other port"),
            pytest.param("http://a.example:81", "https://a.example", False, id="from another port"),
            pytest.param("https://a.example", "https://x.a.example", False, id="subdomain"),
        ],
    )
    def test_the_upgrade_to_https_is_no_other_origin(
        self, credential: Build, start: str, target: str, kept: bool
    ) -> None:
        """From http to https, on the default ports of one host, they go along."""
        with responses.RequestsMock() as mock:
            mock.get(f"{start}/from", status=302, headers={"Location": f"{target}/to"})
            mock.get(f"{target}/to")
            config = credential(HttpClientConfigBuilder().with_base_url(start)).build()
            HttpClient(config).get("/from")
            assert (CANARY in str(mock.calls[1].request.headers)) is kept

    @every_credential
    def test_without_a_scope_they_go_where_the_caller_asks(
        self,
        api: Server,
        other: Server,
        credential: Build,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """With neither base URL nor allowed origins they go to each origin, with one warning."""
        with HttpClient(credential(HttpClientConfigBuilder()).build()) as client:
            for server in (api, other, api):
                client.get(f"{server.url}/users")
                assert has_credential(server)
        warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert [api.url in text for text in warnings] == [True, False]
        assert CANARY not in caplog.text

    def test_the_warnings_have_an_end(self, api: Server, caplog: pytest.LogCaptureFixture) -> None:
        """A hundred origins are named in the log, and no more are remembered."""
        config = HttpClientConfigBuilder().with_bearer_token(CANARY).build()
        with HttpClient(config) as client:
            for number in range(110):
                with suppress(ConnectionException):  # the server has the first address alone
                    client.get(api.url.replace("127.0.0.1", f"127.0.0.{number + 1}"))
        warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert len(warnings) == 100

    def test_a_client_without_credentials_warns_of_nothing(
        self, api: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        """There is nothing to bind without credentials."""
        HttpClient().get(api.url)
        assert not [r for r in caplog.records if r.levelno >= logging.WARNING]

    @every_credential
    @pytest.mark.parametrize("userinfo", ["user:pw", "user"])
    def test_userinfo_in_a_url_is_refused(
        self, api: Server, credential: Build, userinfo: str
    ) -> None:
        """A URL with a user name would put another credential in their place."""
        config = credential(HttpClientConfigBuilder().with_base_url(api.url)).build()
        with HttpClient(config) as client, pytest.raises(RequestBuildException) as caught:
            client.get(f"http://{userinfo}@127.0.0.1:{api.port}/")
        assert api.seen == []
        assert "pw" not in str(caught.value)

    def test_a_request_hook_cannot_take_them_elsewhere(self, api: Server, other: Server) -> None:
        """A hook that turns the request to another origin leaves the credentials behind."""
        for hooks in (
            [AuthorizationHook(lambda: CANARY), _Turn(other.url)],
            [_Turn(other.url), AuthorizationHook(lambda: CANARY)],
        ):
            config = HttpClientConfig(
                api.url, auth_hook=ApiKeyAuthHook(CANARY), request_hooks=hooks
            )
            with HttpClient(config) as client:
                client.get("/users", headers={"X-Own": "1"})
            assert not has_credential(other)
            assert other.last.headers["X-Own"] == "1"

    def test_an_auth_hook_cannot_turn_a_request_away(self, api: Server, other: Server) -> None:
        """An auth hook that turns the request to another origin sends nothing."""

        class Turning(ApiKeyAuthHook):
            def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
                request = super().before_request(request, context)
                return _Turn(other.url).before_request(request, context)

        config = HttpClientConfig(api.url, auth_hook=Turning(CANARY))
        with HttpClient(config) as client, pytest.raises(RequestBuildException, match="auth hook"):
            client.get("/users")
        assert other.seen == []


class _Turn(RequestHookInterface):
    """Turns every request to another server."""

    def __init__(self, url: str) -> None:
        self._url = url

    def before_request(self, request: HttpRequest, context: RequestContext) -> HttpRequest:
        return HttpRequest(request.method, f"{self._url}/turned", request.headers)


class TestCredentialsOfTheRequest:
    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({"headers": {"Authorization": CANARY}}, id="header"),
            pytest.param({"headers": {"X-App-Token": CANARY}}, id="other header"),
            pytest.param({"headers": {"Cookie": f"sid={CANARY}"}}, id="cookie"),
        ],
    )
    def test_they_go_where_the_request_goes_and_no_further(
        self, api: Server, other: Server, fields: dict[str, Any]
    ) -> None:
        """Headers of a request go to its URL, whatever that is, but across no redirect."""
        other.rules["/from"] = Reply(307, {"Location": f"{api.url}/to"})
        with HttpClient(HttpClientConfig(base_url=api.url)) as client:
            client.get(f"{other.url}/users", **fields)
            assert has_credential(other)
            client.get(f"{other.url}/from", **fields)
            assert api.last.path == "/to"
            assert not has_credential(api)

    def test_auth_goes_where_the_request_goes_and_no_further(
        self, api: Server, other: Server
    ) -> None:
        """`auth` is used at each step until a redirect crosses an origin."""
        other.rules["/a"] = Reply(307, {"Location": "/b"})
        other.rules["/b"] = Reply(307, {"Location": f"{api.url}/to"})
        with HttpClient(HttpClientConfig(base_url=api.url)) as client:
            client.get(f"{other.url}/a", auth=("ada", "pw"))
        assert [seen.headers["Authorization"] for seen in other.seen] == ["Basic YWRhOnB3"] * 2
        assert "Authorization" not in api.last.headers

    def test_host_does_not_go_to_another_origin(self, api: Server, other: Server) -> None:
        """A Host header that the caller set is for the first server only."""
        api.rules["/from"] = Reply(307, {"Location": f"{other.url}/to"})
        with HttpClient(HttpClientConfig(base_url=api.url)) as client:
            client.get("/from", headers={"Host": "virtual.example"})
        assert api.last.headers["Host"] == "virtual.example"
        assert other.last.headers["Host"] == f"127.0.0.1:{other.port}"

    def test_auth_wins_over_everything(self, api: Server) -> None:
        """`auth` of a request wins over the auth hook, a session, headers and defaults."""
        with requests.Session() as session:
            session.auth = ("session", "pw")
            config = HttpClientConfig(
                api.url,
                default_headers={"Authorization": "default"},
                auth_hook=BasicAuthHook("hook", "pw"),
            )
            HttpClient(config, session).get(
                "/", headers={"Authorization": "own"}, auth=("ada", "pw")
            )
        assert api.last.headers.get_all("Authorization") == ["Basic YWRhOnB3"]

    def test_the_hook_wins_over_headers(self, api: Server) -> None:
        """The auth hook replaces an Authorization header of request, defaults and session."""
        with requests.Session() as session:
            session.auth = ("session", "pw")
            session.headers["Authorization"] = "session"
            config = HttpClientConfig(
                api.url,
                default_headers={"Authorization": "default"},
                auth_hook=ApiKeyAuthHook("hook", "authorization"),
            )
            HttpClient(config, session).get("/", headers={"AUTHORIZATION": "own"})
        assert api.last.headers.get_all("Authorization") == ["hook"]

    @pytest.mark.parametrize(
        ("auth", "sent"),
        [
            pytest.param(("é", "pw3"), "Basic 6TpwdzM=", id="latin-1"),
            pytest.param(("€", "pw3"), "Basic 4oKsOnB3Mw==", id="utf-8"),
            pytest.param((b"ada", b"pw"), "Basic YWRhOnB3", id="bytes"),
        ],
    )
    def test_a_pair_is_basic_authentication(
        self, api: Server, auth: tuple[Any, Any], sent: str
    ) -> None:
        """User and password are encoded as requests does, or in UTF-8 where it cannot."""
        HttpClient(HttpClientConfig(api.url)).get("/", auth=auth)
        assert api.last.headers["Authorization"] == sent

    def test_an_auth_object_of_requests_is_called(self, api: Server) -> None:
        """An object that changes the prepared request is called with it."""

        def sign(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
            prepared.headers["X-Signed"] = f"{prepared.method} {prepared.path_url}"
            return prepared

        HttpClient(HttpClientConfig(api.url)).get("/users", params={"a": 1}, auth=sign)
        assert api.last.headers["X-Signed"] == "GET /users?a=1"

    @pytest.mark.parametrize(
        ("raised", "message"),
        [
            pytest.param(OSError(f"Bearer {CANARY}"), "OSError", id="foreign"),
            pytest.param(AuthenticationException("no token"), "no token", id="own"),
        ],
    )
    def test_an_auth_object_that_fails_sends_nothing(
        self, api: Server, raised: Exception, message: str
    ) -> None:
        """What an auth object raises is an AuthenticationException, without secrets."""

        def sign(_: object) -> requests.PreparedRequest:
            raise raised

        client = HttpClient(HttpClientConfig(api.url))
        with pytest.raises(AuthenticationException, match=message) as caught:
            client.get("/", auth=sign)
        assert api.seen == []
        assert CANARY not in f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"


class TestCredentialsOfTheSession:
    @pytest.fixture
    def session(self) -> Iterator[requests.Session]:
        """A session with credentials of every kind."""
        with requests.Session() as session:
            session.headers["X-App-Token"] = CANARY
            session.headers["X-Plain"] = "1"
            session.params = {"api_key": CANARY}
            session.cookies.set("sid", CANARY)
            session.auth = lambda prepared: prepared.headers.update({"X-A": CANARY}) or prepared
            yield session

    def test_they_go_where_those_of_the_client_go(
        self, api: Server, other: Server, session: requests.Session
    ) -> None:
        """Headers, query, cookies and auth of a supplied session are sent to the base URL only."""
        client = HttpClient(HttpClientConfig(api.url), session)
        client.get("/users", params={"a": "1"})
        assert api.last.path == f"/users?api_key={CANARY}&a=1"
        assert api.last.headers["X-App-Token"] == api.last.headers["X-A"] == CANARY
        assert api.last.headers["Cookie"] == f"sid={CANARY}"
        client.get(f"{other.url}/users", params={"a": "1"})
        assert not has_credential(other)
        assert other.last.path == "/users?a=1"
        assert other.last.headers["X-Plain"] == "1"

    def test_they_stay_behind_at_a_redirect(
        self, api: Server, other: Server, session: requests.Session
    ) -> None:
        """A redirect to another origin has none of them, but cookies of that origin."""
        api.rules["/from"] = Reply(302, {"Location": f"http://localhost:{other.port}/to"})
        session.cookies.set("theirs", "1", domain="localhost.local")
        HttpClient(HttpClientConfig(api.url), session).get("/from")
        assert other.last.path == "/to"
        assert not has_credential(other)
        assert other.last.headers["Cookie"] == "theirs=1"

    def test_an_authorization_header_wins_over_its_auth(
        self, api: Server, session: requests.Session
    ) -> None:
        """A header of the request is not replaced by what the session would add."""
        session.auth = ("session", "pw")
        HttpClient(HttpClientConfig(api.url), session).get("/", headers={"authorization": "own"})
        assert api.last.headers.get_all("Authorization") == ["own"]

    def test_a_cookie_of_the_request_goes_where_it_goes(
        self, other: Server, session: requests.Session
    ) -> None:
        """A Cookie header of the request is sent as it is, also elsewhere."""
        client = HttpClient(HttpClientConfig("https://api.example"), session)
        client.get(other.url, headers={"Cookie": "own=1"})
        assert other.last.headers["Cookie"] == "own=1"


class TestNetrc:
    @pytest.fixture(autouse=True)
    def _netrc(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "netrc"
        file.write_text("machine 127.0.0.1 login net password rc\n")
        file.chmod(0o600)
        monkeypatch.setenv("NETRC", str(file))

    @every_credential
    def test_it_replaces_no_credential_of_the_client(self, api: Server, credential: Build) -> None:
        """A client with credentials of any kind does not look into netrc."""
        config = credential(HttpClientConfigBuilder().with_base_url(api.url)).build()
        with HttpClient(config) as client:
            client.get("/")
        assert has_credential(api)
        assert "bmV0OnJj" not in str(api.last.headers)

    @every_credential
    def test_it_adds_nothing_elsewhere(self, api: Server, credential: Build) -> None:
        """A client with credentials sends none at all to a foreign origin."""
        config = credential(HttpClientConfigBuilder().with_base_url("https://a.example")).build()
        with HttpClient(config) as client:
            client.get(api.url)
        assert "Authorization" not in api.last.headers

    @pytest.mark.parametrize(
        ("fields", "sent"),
        [
            pytest.param({"headers": {"authorization": "own"}}, "own", id="header"),
            pytest.param({"auth": ("ada", "pw")}, "Basic YWRhOnB3", id="auth"),
            pytest.param({}, "Basic bmV0OnJj", id="nothing"),
        ],
    )
    def test_it_replaces_no_credential_of_the_caller(
        self, api: Server, fields: dict[str, Any], sent: str
    ) -> None:
        """A login from netrc is used only where there is no other at all."""
        HttpClient(HttpClientConfig(api.url)).get("/", **fields)
        assert api.last.headers.get_all("Authorization") == [sent]

    def test_it_yields_to_a_login_in_the_url(self, api: Server) -> None:
        """What the caller wrote into the URL is closer than a file."""
        HttpClient().get(f"http://ada:pw@127.0.0.1:{api.port}/")
        assert api.last.headers["Authorization"] == "Basic YWRhOnB3"

    def test_it_does_not_follow_a_redirect_to_another_origin(
        self, api: Server, other: Server
    ) -> None:
        """The login goes along within the origin, and stays behind at its border."""
        api.rules["/a"] = Reply(302, {"Location": "/b"})
        api.rules["/b"] = Reply(302, {"Location": f"{other.url}/to"})
        HttpClient(HttpClientConfig(api.url)).get("/a")
        assert ["Authorization" in seen.headers for seen in api.seen] == [True, True]
        assert "Authorization" not in other.last.headers
