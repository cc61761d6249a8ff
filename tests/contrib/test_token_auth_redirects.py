"""TokenAuth: where a redirect may take the token, in each library alike."""

import ssl
from collections.abc import Iterator

import httpx
import pytest
import requests
import responses
import trustme
from adapters import Guard, Library, pipeline, tokens

from client_server import Reply, Seen, Server
from doubles import CountingStep
from loopback import Loopback, reply
from requestforge.contrib.httpx import TokenAuth as HttpxTokenAuth
from requestforge.contrib.requests import TokenAuth as RequestsTokenAuth

HEADERS = ["Authorization", "X-App-Token"]

header = pytest.mark.parametrize("header", HEADERS, ids=str.lower)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """What signs the certificate of the server."""
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Loopback]:
    """A server with TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Loopback(reply(body=b"here"), tls=context) as server:
        yield server


@header
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_another_origin_gets_no_token(
    status: int, header: str, library: Library, api: Server, elsewhere: Server
) -> None:
    """The token stays behind when a redirect leaves the origin, whatever header it is in."""
    api.rules["/"] = Reply(status, {"Location": f"{elsewhere.url}/next"})
    auth = library.auth(pipeline(CountingStep("app")), header_name=header)
    assert library.send("POST", f"{api.url}/", auth, data={"a": "b"}).status == 200
    assert tokens(api.seen, header) == ["Bearer app-1"]
    assert tokens(elsewhere.seen, header) == [None]


@header
def test_an_allowed_origin_gets_no_token_by_a_redirect(
    header: str, library: Library, api: Server, elsewhere: Server
) -> None:
    """Not even an origin in `allowed_origins`: it was not the caller who asked for it."""
    api.rules["/"] = Reply(307, {"Location": f"{elsewhere.url}/next"})
    allowed = [api.url, elsewhere.url]
    auth = library.auth(pipeline(CountingStep("app")), header_name=header, allowed_origins=allowed)
    library.send("GET", f"{api.url}/", auth)
    assert tokens(elsewhere.seen, header) == [None]


@header
def test_a_token_does_not_come_back(
    header: str, library: Library, api: Server, elsewhere: Server
) -> None:
    """What another origin redirects to gets no token, though it be the first origin."""
    api.rules["/"] = Reply(302, {"Location": f"{elsewhere.url}/back"})
    elsewhere.rules["/back"] = Reply(302, {"Location": f"{api.url}/end"})
    api.rules["/end"] = Guard("app-1", header)
    step = CountingStep("app")
    auth = library.auth(pipeline(step), header_name=header)
    assert library.send("GET", f"{api.url}/", auth).status == 401
    assert tokens(api.seen, header) == ["Bearer app-1", None]
    assert step.fetches == 1


@header
def test_a_foreign_401_is_no_refusal(
    header: str, library: Library, api: Server, elsewhere: Server
) -> None:
    """An origin that did not get the token cannot have it refreshed."""
    api.rules["/"] = Reply(302, {"Location": f"{elsewhere.url}/next"})
    elsewhere.rules["/next"] = Guard("app-1", header)
    step = CountingStep("app")
    auth = library.auth(pipeline(step), header_name=header)
    assert library.send("GET", f"{api.url}/", auth).status == 401
    assert (step.fetches, len(elsewhere.seen)) == (1, 1)


@header
@pytest.mark.parametrize("way", ["/next", "{0}/next", "//{1}/next"], ids=["path", "url", "host"])
def test_the_origin_itself_keeps_the_token(
    way: str, header: str, library: Library, api: Server
) -> None:
    """A redirect within the origin is followed with the token."""
    location = way.format(api.url, api.url.partition("//")[2])
    api.rules["/"] = Reply(302, {"Location": location})
    api.rules["/next"] = Guard("app-1", header)
    step = CountingStep("app")
    auth = library.auth(pipeline(step), header_name=header)
    assert library.send("GET", f"{api.url}/", auth).status == 200
    assert step.fetches == 1


@header
def test_a_hop_is_replayed(header: str, library: Library, api: Server) -> None:
    """A token that is refused where a redirect leads is refreshed, and sent there again."""
    api.rules["/"] = Reply(302, {"Location": "/next"})
    api.rules["/next"] = Guard("app-2", header)
    auth = library.auth(pipeline(CountingStep("app")), header_name=header)
    assert library.send("GET", f"{api.url}/", auth).status == 200
    assert [seen.path for seen in api.seen].count("/") == 1
    assert tokens(api.seen, header)[-1] == "Bearer app-2"


@header
def test_a_replay_is_redirected(
    header: str, library: Library, api: Server, elsewhere: Server
) -> None:
    """The answer to a replay may redirect: within the origin with the new token, else without."""
    guard = Guard("app-2", header)

    def after_login(seen: Seen) -> Reply:
        answer = guard(seen)
        return Reply(302, {"Location": "/next"}) if answer.status == 200 else answer

    api.rules["/"] = after_login
    api.rules["/next"] = Guard("app-2", header)
    auth = library.auth(pipeline(CountingStep("app")), header_name=header)
    assert library.send("GET", f"{api.url}/", auth).status == 200
    api.rules["/next"] = Reply(302, {"Location": f"{elsewhere.url}/end"})
    assert library.send("GET", f"{api.url}/", auth).status == 200
    assert tokens(elsewhere.seen, header) == [None]


@header
def test_a_request_and_its_hops_have_one_replay(header: str, library: Library, api: Server) -> None:
    """After a replay a refusal at the end of a redirect is the answer."""
    guard = Guard("app-2", header)

    def after_login(seen: Seen) -> Reply:
        answer = guard(seen)
        return Reply(302, {"Location": "/next"}) if answer.status == 200 else answer

    api.rules["/"] = after_login
    api.rules["/next"] = Guard("app-3", header)
    step = CountingStep("app")
    auth = library.auth(pipeline(step), header_name=header)
    assert library.send("GET", f"{api.url}/", auth).status == 401
    assert step.fetches == 2


@header
def test_from_http_to_https_on_odd_ports_is_another_origin(
    header: str, api: Server, secure: Loopback, authority: trustme.CA
) -> None:
    """The token stays behind on the way to https of the same host, if the ports are no pair."""
    api.rules["/"] = Reply(307, {"Location": f"{secure.url}/next"})
    step = pipeline(CountingStep("app"))
    with authority.cert_pem.tempfile() as bundle:
        auth = RequestsTokenAuth(step, header_name=header)
        assert requests.get(api.url, auth=auth, verify=bundle, timeout=10).text == "here"
        context = ssl.create_default_context(cafile=bundle)
        for_httpx = HttpxTokenAuth(step, header_name=header)
        with httpx.Client(verify=context, follow_redirects=True) as client:
            assert client.get(api.url, auth=for_httpx).text == "here"
    assert tokens(api.seen, header) == ["Bearer app-1"] * 2
    assert [received.headers.get(header.lower()) for received in secure.requests] == [None] * 2


@header
def test_from_https_to_http_the_token_stays(
    header: str, api: Server, authority: trustme.CA
) -> None:
    """Where others can read what is sent the token does not go."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    step = pipeline(CountingStep("app"))
    away = reply(307, Location=f"{api.url}/next")
    with Loopback(away, tls=context) as secure, authority.cert_pem.tempfile() as bundle:
        auth = RequestsTokenAuth(step, header_name=header)
        requests.get(secure.url, auth=auth, verify=bundle, timeout=10)
        for_httpx = HttpxTokenAuth(step, header_name=header)
        verify = ssl.create_default_context(cafile=bundle)
        with httpx.Client(verify=verify, follow_redirects=True) as client:
            client.get(secure.url, auth=for_httpx)
    assert [received.headers[header.lower()] for received in secure.requests] == [
        "Bearer app-1"
    ] * 2
    assert tokens(api.seen, header) == [None] * 2


@header
def test_https_on_the_default_port_is_no_other_origin(header: str) -> None:
    """From http to https of one host, both on their default ports, the token goes along."""
    step = pipeline(CountingStep("app"))
    with responses.RequestsMock() as mock:
        mock.get("http://api.example/", status=308, headers={"Location": "https://api.example/"})
        mock.get("https://api.example/")
        auth = RequestsTokenAuth(step, header_name=header)
        answer = requests.get("http://api.example/", auth=auth, timeout=10)
    assert answer.request.headers[header] == "Bearer app-1"

    def upgrade(request: httpx.Request) -> httpx.Response:
        if request.url.scheme == "http":
            return httpx.Response(308, headers={"Location": "https://api.example/"})
        return httpx.Response(200 if header in request.headers else 401)

    with httpx.Client(transport=httpx.MockTransport(upgrade), follow_redirects=True) as client:
        for_httpx = HttpxTokenAuth(step, header_name=header)
        assert client.get("http://api.example/", auth=for_httpx).status_code == 200
