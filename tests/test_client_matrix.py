"""HttpClient: every kind of credential against every way out of its origin."""

import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import responses

from canary import traces
from loopback import Loopback, Received, reply
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.exceptions import HttpClientException, RequestBuildException
from requestforge.hooks import (
    ApiKeyAuthHook,
    AuthorizationHook,
    BasicAuthHook,
    CompositeAuthHook,
    TokenAuthHook,
)
from requestforge.interfaces import TokenProviderInterface
from requestforge.token_manager import TokenManager
from requestforge.tokens import TokenData

pytestmark = pytest.mark.usefixtures("plain_environment")

CANARY = "canary-matrix-e5f0"
STATUSES = (301, 302, 303, 307, 308)

Build = Callable[[HttpClientConfigBuilder], object]


class _Issuer(TokenProviderInterface):
    """Has one token."""

    service_name = "shop"

    def fetch_token(self) -> TokenData:
        return TokenData(CANARY)

    def refresh_token(self, current_token: TokenData) -> TokenData:
        return self.fetch_token()


@dataclass(frozen=True)
class Credential:
    """A credential and how a client gets it.

    Attributes:
        build: puts it into the configuration.
        fields: of each request.
        prepare: puts it on a session, which is then supplied.
        is_netrc: whether it stands in a netrc file.
    """

    build: Build = lambda builder: builder
    fields: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[requests.Session], object] | None = None
    is_netrc: bool = False

    @property
    def is_of_the_client(self) -> bool:
        """Whether it is bound to the client's origins, and not to the URL that is asked for."""
        return not self.fields and not self.is_netrc

    def client(self, base_url: str, bundle: str = "") -> HttpClient:
        """A client that has it."""
        builder = HttpClientConfigBuilder().with_base_url(base_url)
        if bundle:
            builder.with_verify_ssl(bundle)
        self.build(builder)
        session = None
        if self.prepare is not None:
            session = requests.Session()
            self.prepare(session)
        return HttpClient(builder.build(), session)


def _of_the_manager(**settings: Any) -> Build:  # noqa: ANN401
    return lambda b: b.with_auth_hook(TokenAuthHook(TokenManager(_Issuer()), **settings))


def _by_hand(**headers: str) -> Credential:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Credential(fields={"headers": named})


def _signed(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    prepared.headers["X-Signed-With"] = CANARY
    return prepared


CREDENTIALS = {
    "token hook": Credential(_of_the_manager()),
    "token hook, X-App-Token": Credential(_of_the_manager(auth_header_name="X-App-Token")),
    "token hook, unsuspicious name": Credential(_of_the_manager(auth_header_name="X-Shoe")),
    "token hook, bare": Credential(_of_the_manager(auth_header_prefix="")),
    "api key hook": Credential(lambda b: b.with_api_key_auth(CANARY)),
    "api key hook, own name": Credential(lambda b: b.with_api_key_auth(CANARY, "X-Shoe")),
    "basic hook": Credential(lambda b: b.with_auth_hook(BasicAuthHook("user", CANARY))),
    "authorization hook": Credential(
        lambda b: b.with_request_hook(AuthorizationHook(lambda: CANARY))
    ),
    "composite hook": Credential(
        lambda b: b.with_auth_hook(
            CompositeAuthHook(
                [ApiKeyAuthHook(CANARY, "X-Shoe"), BasicAuthHook("user", CANARY)], "all"
            )
        )
    ),
    "bearer token": Credential(lambda b: b.with_bearer_token(CANARY)),
    "api key": Credential(lambda b: b.with_api_key(CANARY)),
    "api key, own name": Credential(lambda b: b.with_api_key(CANARY, "X-Shoe")),
    "default X-App-Token": Credential(lambda b: b.with_header("X-App-Token", CANARY)),
    "default Cookie": Credential(lambda b: b.with_header("Cookie", f"sid={CANARY}")),
    "default Proxy-Authorization": Credential(
        lambda b: b.with_header("Proxy-Authorization", f"Bearer {CANARY}")
    ),
    "default X-Client-Secret": Credential(lambda b: b.with_header("x-client-secret", CANARY)),
    "session login": Credential(prepare=lambda s: setattr(s, "auth", ("user", CANARY))),
    "session auth object": Credential(prepare=lambda s: setattr(s, "auth", _signed)),
    "session header": Credential(prepare=lambda s: s.headers.update({"X-App-Token": CANARY})),
    "session cookie": Credential(prepare=lambda s: s.cookies.set("sid", CANARY)),
    "session query": Credential(prepare=lambda s: setattr(s, "params", {"api_key": CANARY})),
    "header by hand": _by_hand(Authorization=f"Bearer {CANARY}"),
    "X-App-Token by hand": _by_hand(X_App_Token=CANARY),
    "cookie by hand": _by_hand(Cookie=f"sid={CANARY}"),
    "Proxy-Authorization by hand": _by_hand(Proxy_Authorization=f"Bearer {CANARY}"),
    "auth pair": Credential(fields={"auth": ("user", CANARY)}),
    "auth object": Credential(fields={"auth": _signed}),
    "netrc": Credential(is_netrc=True),
}
every_credential = pytest.mark.parametrize("credential", CREDENTIALS.values(), ids=CREDENTIALS)
every_credential_of_clients = pytest.mark.parametrize(
    "credential",
    [pytest.param(c, id=name) for name, c in CREDENTIALS.items() if c.is_of_the_client],
)


@dataclass
class World:
    """Servers of several origins, which note all that they get.

    `/go/<status>/<URL, quoted>` is redirected there; everything else is answered with 200.
    """

    api: Loopback
    other: Loopback
    secure: Loopback
    bundle: str

    @property
    def localhost(self) -> str:
        """The origin of another host, which is the machine that `api` runs on."""
        return f"http://localhost:{self.api.port}"

    @property
    def arrived(self) -> list[Received]:
        """What all servers got, `api` first."""
        return [*self.api.requests, *self.other.requests, *self.secure.requests]

    def forget(self) -> None:
        """Begin anew."""
        for server in (self.api, self.other, self.secure):
            server.requests.clear()


@pytest.fixture(scope="module")
def servers(server_tls: ssl.SSLContext, bundle: str) -> Iterator[World]:
    """Servers for all tests of this file."""
    with Loopback(_go) as api, Loopback(_go) as other, Loopback(_go, server_tls) as secure:
        yield World(api, other, secure, bundle)


@pytest.fixture
def world(servers: World) -> World:
    """The servers, which have not been asked for anything yet."""
    servers.forget()
    return servers


@pytest.fixture
def netrc(
    plain_environment: None,  # noqa: ARG001 - it comes first
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A netrc file with a login for this machine."""
    file = tmp_path / "netrc"
    file.write_text(f"machine 127.0.0.1 login user password {CANARY}\n")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))


def _go(received: Received) -> bytes:
    path = received.target.partition("?")[0]
    if not path.startswith("/go/"):
        return reply(body=b"here")
    status, _, rest = path.removeprefix("/go/").partition("/")
    location, _, more = rest.partition("/")
    target = requests.utils.unquote(location)
    return reply(int(status), Location=f"{target}{'/' if more else ''}{more}")


def go(status: int, url: str) -> str:
    """The path that is redirected to a URL."""
    return f"/go/{status}/{quote(url, safe='')}"


def told(received: Received) -> list[str]:
    """The secrets in the target and the headers of a request."""
    return traces([received.target, *received.headers.values()])


def assert_left(first: Received, *later: Received) -> None:
    """The first request had the credential, and there are later ones, none of which has it."""
    assert told(first)
    assert later
    assert [told(received) for received in later] == [[]] * len(later)


ODD_LOCATIONS = (
    "/\\127.0.0.1:{port}/to",
    "\\\\127.0.0.1:{port}/to",
    "https:127.0.0.1:{port}/to",
    "http:/127.0.0.1:{port}/to",
    "http:\\\\127.0.0.1:{port}/to",
    "http:///127.0.0.1:{port}/to",
    "http://127.0.0.1:{port}\\@127.0.0.1:{api}/to",
    "http://127.0.0.1:{api}\\@127.0.0.1:{port}/to",
    "http://127.0.0.1:{api}#@127.0.0.1:{port}/to",
)
ODD_URLS = (
    "//127.0.0.1:{port}/to",
    "/\\127.0.0.1:{port}/to",
    "\\\\127.0.0.1:{port}/to",
    "https:127.0.0.1:{port}/to",
    "http:127.0.0.1:{port}/to",
    "http:/127.0.0.1:{port}/to",
    "http:\\\\127.0.0.1:{port}/to",
    "@127.0.0.1:{port}/to",
    ":{port}/to",
    ".127.0.0.1:{port}/to",
)
WITH_USERINFO = (
    "http://127.0.0.1:{api}@127.0.0.1:{port}/to",
    "http://user:{canary}@127.0.0.1:{api}/to",
    "http://user@127.0.0.1:{api}/to",
    "http://@127.0.0.1:{api}/to",
    "http://127.0.0.1:{api}\\@127.0.0.1:{port}/to",
    "http://127.0.0.1:{port}\\@127.0.0.1:{api}/to",
)
TARGETS: dict[str, Callable[[World], str]] = {
    "port": lambda world: f"{world.other.url}/to",
    "host": lambda world: f"{world.localhost}/to",
    "scheme": lambda world: f"{world.secure.url}/to",
    "//host": lambda world: f"//127.0.0.1:{world.other.port}/to",
    "userinfo": lambda world: f"http://127.0.0.1:{world.api.port}@127.0.0.1:{world.other.port}/to",
}
every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


class TestRedirects:
    """A redirect that leaves the origin leaves the credential."""

    @pytest.fixture(autouse=True)
    def _netrc(self, netrc: None) -> None:
        """All have a netrc file, too."""

    @every_credential
    @every_target
    def test_out(
        self, world: World, credential: Credential, target: Callable[[World], str]
    ) -> None:
        """Each status to another port, host or scheme, however its Location says so."""
        with credential.client(world.api.url, world.bundle) as client:
            for status in STATUSES:
                world.forget()
                answer = client.post(go(status, target(world)), **credential.fields)
                assert answer.content == b"here"
                assert len(world.arrived) == 2
                assert_left(*world.arrived)

    @every_credential
    @pytest.mark.parametrize("status", [302, 307])
    def test_out_and_back(self, world: World, credential: Credential, status: int) -> None:
        """A credential that was left behind is not taken up again where the way leads back."""
        home = f"{world.api.url}/home"
        url = go(status, f"{world.other.url}{go(status, home)}")
        with credential.client(world.api.url) as client:
            assert client.get(url, **credential.fields).content == b"here"
        assert [r.path for r in world.api.requests[1:]] == ["/home"]
        assert_left(world.api.requests[0], *world.other.requests, world.api.requests[1])

    @every_credential
    @pytest.mark.parametrize("status", [302, 307])
    def test_around_and_out(self, world: World, credential: Credential, status: int) -> None:
        """It goes along within the origin, and is left at the border, for all hops to come."""
        chain = f"{world.other.url}{go(status, '/on')}"
        url = go(status, go(status, chain))
        with credential.client(world.api.url) as client:
            assert client.get(url, **credential.fields).content == b"here"
        assert len(world.api.requests) == 2
        first, second = world.api.requests
        assert told(first)
        if credential is not CREDENTIALS["session query"]:  # part of the first URL alone
            assert told(second)
        assert len(world.other.requests) == 2
        assert_left(first, *world.other.requests)

    @every_credential
    def test_allowed_origins_are_for_the_caller(self, world: World, credential: Credential) -> None:
        """That a caller may ask an origin with credentials is no leave for redirects."""

        def build(builder: HttpClientConfigBuilder) -> None:
            credential.build(builder.with_allowed_origins(world.other.url))

        allowing = Credential(build, credential.fields, credential.prepare)
        with allowing.client(world.api.url) as client:
            client.get(go(307, f"{world.other.url}/to"), **credential.fields)
        assert_left(*world.api.requests, *world.other.requests)

    @every_credential
    def test_odd_locations(self, world: World, credential: Credential) -> None:
        """What parsers read in different ways ends at the origin, or nowhere."""
        with credential.client(world.api.url) as client:
            for location in ODD_LOCATIONS:
                world.forget()
                url = location.format(port=world.other.port, api=world.api.port)
                with suppress(HttpClientException):
                    client.get(go(307, url), **credential.fields)
                assert told(world.api.requests[0])
                assert world.other.requests == [], location

    @every_credential
    @pytest.mark.parametrize("status", [302, 307])
    def test_the_upgrade_to_https_is_no_way_out(self, credential: Credential, status: int) -> None:
        """From http to https of one host, on their default ports, it goes along."""
        with responses.RequestsMock() as mock:
            mock.get("http://127.0.0.1/from", status=status, headers={"Location": "/on"})
            mock.get(
                "http://127.0.0.1/on",
                status=status,
                headers={"Location": "https://127.0.0.1/to"},
            )
            mock.get("https://127.0.0.1/to")
            credential.client("http://127.0.0.1").get("/from", **credential.fields)
            sent = [call.request for call in mock.calls]
        assert told_by(sent[0])
        if credential is not CREDENTIALS["session query"]:
            assert told_by(sent[2])

    @every_credential
    def test_any_other_upgrade_is(self, credential: Credential) -> None:
        """Another port or host is another origin, whatever the schemes."""
        for start, end in (
            ("http://127.0.0.1", "https://127.0.0.1:8443"),
            ("http://127.0.0.1:8080", "https://127.0.0.1"),
            ("http://127.0.0.1", "https://127.0.0.2"),
            ("https://127.0.0.1", "https://127.0.0.1:80"),
        ):
            with responses.RequestsMock() as mock:
                mock.get(f"{start}/from", status=307, headers={"Location": f"{end}/to"})
                mock.get(f"{end}/to")
                credential.client(start).get("/from", **credential.fields)
                first, second = [call.request for call in mock.calls]
            assert told_by(first)
            assert told_by(second) == []


def told_by(prepared: requests.PreparedRequest) -> list[str]:
    """The secrets in the URL and the headers of a request that was to be sent."""
    return traces([str(prepared.url), *prepared.headers.values()])


class TestUrls:
    """A URL that leads to another origin is asked for without the client's credential."""

    @every_credential_of_clients
    @pytest.mark.parametrize("target", ["port", "host", "scheme"])
    def test_an_absolute_url(self, world: World, credential: Credential, target: str) -> None:
        """Another port, host or scheme gets none, and neither does a redirect from there back."""
        url = TARGETS[target](world)
        with credential.client(world.api.url, world.bundle) as client:
            client.get("/own")
            assert client.get(url).content == b"here"
            if target == "port":
                client.get(f"{world.other.url}{go(307, f'{world.api.url}/home')}")
        assert_left(*world.arrived)

    @every_credential_of_clients
    def test_an_odd_url_leads_home_or_nowhere(self, world: World, credential: Credential) -> None:
        """What some parsers take for another host is a path below the base URL, or refused."""
        with credential.client(world.api.url) as client:
            for url in ODD_URLS:
                with suppress(RequestBuildException):
                    client.get(url.format(port=world.other.port))
        assert len(world.api.requests) > len(ODD_URLS) / 2
        assert all(map(told, world.api.requests))
        assert world.other.requests == []

    @pytest.mark.parametrize(
        "credential",
        [
            pytest.param(credential, id=name)
            for name, credential in CREDENTIALS.items()
            if credential.is_of_the_client and credential.prepare is None
        ],
    )
    def test_userinfo_is_refused(self, world: World, credential: Credential) -> None:
        """Nothing is sent for a URL with userinfo, which the error does not show."""
        with credential.client(world.api.url) as client:
            for url in WITH_USERINFO:
                asked = url.format(api=world.api.port, port=world.other.port, canary=CANARY)
                with pytest.raises(RequestBuildException) as caught:
                    client.get(asked)
                assert traces(caught.value) == []
        assert world.arrived == []


class TestUserinfo:
    """Userinfo of a URL is a login for that URL alone."""

    @pytest.mark.parametrize("status", STATUSES)
    def test_it_does_not_leave(self, world: World, status: int) -> None:
        """A redirect to another origin has no Authorization made of it."""
        url = go(status, f"{world.other.url}/to")
        with HttpClient() as client:
            client.get(f"http://user:{CANARY}@127.0.0.1:{world.api.port}{url}")
        assert_left(*world.api.requests, *world.other.requests)

    @pytest.mark.parametrize("status", STATUSES)
    def test_that_of_a_location_counts_for_nothing(self, world: World, status: int) -> None:
        """A server cannot make a client log in elsewhere."""
        url = f"http://user:pw@127.0.0.1:{world.other.port}/to"
        with HttpClient() as client:
            answer = client.get(f"{world.api.url}{go(status, url)}")
        assert "authorization" not in world.other.requests[0].headers
        assert answer.url == f"{world.other.url}/to"


LOGIN = "Basic " + b64encode(f"user:{CANARY}".encode()).decode()


class TestProxies:
    """What is for the proxy stays with the proxy."""

    @pytest.fixture
    def proxy(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
        """A proxy with a password, which answers by itself; `localhost` goes past it."""
        with Loopback(lambda received: _go(_on_origin(received))) as proxy:
            login = f"http://user:{CANARY}@127.0.0.1:{proxy.port}"
            monkeypatch.setenv("HTTP_PROXY", login)
            monkeypatch.setenv("NO_PROXY", "localhost")
            yield proxy

    @pytest.mark.parametrize("status", STATUSES)
    def test_its_login_does_not_go_past_it(
        self, world: World, proxy: Loopback, status: int
    ) -> None:
        """A redirect to a host that is asked directly has no Proxy-Authorization."""
        with HttpClient() as client:
            client.get(f"http://a.example{go(status, f'{world.localhost}/to')}")
        assert_left(*proxy.requests, *world.api.requests)

    @every_credential
    @pytest.mark.parametrize("status", [302, 307])
    def test_credentials_do_not_leave_by_way_of_it(
        self, netrc: None, world: World, proxy: Loopback, credential: Credential, status: int
    ) -> None:
        """Behind one proxy, too, an origin's credential is not sent to another one."""
        with credential.client("http://127.0.0.1:9") as client:
            client.get(go(status, "http://b.example/to"), **credential.fields)
            client.get(go(status, f"{world.localhost}/to"), **credential.fields)
        first, second, third = proxy.requests
        assert told(first)
        assert told(third)
        assert second.headers.pop("proxy-authorization") == LOGIN
        assert told(second) == []
        assert [told(received) for received in world.api.requests] == [[]]

    def test_its_login_is_not_for_the_other_end_of_a_tunnel(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An https server behind a tunnel gets none of the headers for the proxy."""
        with Loopback(_refusing) as proxy:
            login = f"http://user:{CANARY}@127.0.0.1:{proxy.port}"
            monkeypatch.setenv("HTTPS_PROXY", login)
            builder = HttpClientConfigBuilder().with_bearer_token(CANARY)
            config = builder.with_base_url(world.secure.url).build()
            with HttpClient(config) as client, pytest.raises(HttpClientException) as caught:
                client.get("/to")
            assert traces(caught.value) == []
        [received] = proxy.requests
        assert received.method == "CONNECT"
        assert "authorization" not in received.headers
        assert received.headers["proxy-authorization"] == LOGIN


def _on_origin(received: Received) -> Received:
    """What a proxy was asked, as the origin would be."""
    path = "/" + received.target.split("/", 3)[3]
    return Received(received.method, path, received.headers, received.body)


def _refusing(_: Received) -> bytes:
    return reply(407, Connection="close")
