"""HttpClient: redirects that lead round in circles, into the clear, or out of HTTP."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from misbehaving import Hostile, hang_up, says

from canary import assert_clean
from loopback import in_turn, reply, takes_over
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.exceptions import HttpClientException

CANARY = "canary-redirect-77aa"
MOST = 3


def leads_to(location: str) -> bytes:
    """A redirect whose body is not what anybody asked for."""
    return reply(302, b"moved", Location=location)


def failure_of(client: HttpClient, url: str = "/from") -> HttpClientException:
    """The error that a request ends in, after a look for secrets."""
    with pytest.raises(HttpClientException) as caught:
        client.get(url)
    assert type(caught.value) is HttpClientException
    assert_clean(caught.value)
    return caught.value


@pytest.fixture
def server(tls: ssl.SSLContext | None) -> Iterator[Hostile]:
    """A server that redirects everything but `/good` to itself."""
    with Hostile(leads_to(f"/from?token={CANARY}"), tls) as server:
        yield server


@pytest.fixture
def client(server: Hostile, bundle: str) -> Iterator[HttpClient]:
    """A client of that server, with a secret of its own."""
    builder = HttpClientConfigBuilder().with_base_url(server.url).with_verify_ssl(bundle)
    builder.with_redirects(max_redirects=MOST).with_bearer_token(CANARY).with_retry(2)
    with HttpClient(builder.build()) as client:
        yield client


def test_a_loop_ends_at_the_limit(server: Hostile, client: HttpClient) -> None:
    """A redirect to itself is followed as often as allowed, over one connection."""
    error = failure_of(client)
    assert f"more than {MOST} redirects" in str(error)
    assert server.asked == ["GET /from"] * (MOST + 1)
    assert client.get("/good").content == b"good"
    assert server.connections == 1


def test_a_loop_over_two_servers_ends_at_the_limit(
    server: Hostile, client: HttpClient, tls: ssl.SSLContext | None
) -> None:
    """Two servers that point at each other are asked in turn, the second one without secrets."""
    with Hostile(leads_to(f"{server.url}/from"), tls) as other:
        server.answer = lambda _: leads_to(f"{other.url}/back")
        error = failure_of(client)
        assert f"more than {MOST} redirects" in str(error)
        assert other.asked == ["GET /back"] * len(other.asked)
        assert_clean(*other.requests)


def breaks(server: Hostile, target: Hostile) -> None:
    """The place that a redirect leads to breaks off."""
    server.answer = leads_to(f"{target.url}/to")
    target.answer = takes_over(hang_up)


def is_too_long(server: Hostile, target: Hostile) -> None:
    """It has more to say than anybody wants to read."""
    server.answer = leads_to(f"{target.url}/to")
    target.answer = reply(body=b"x" * 200)


def leads_out_of_http(server: Hostile, target: Hostile) -> None:
    """It leads to where nobody follows."""
    server.answer = leads_to(f"{target.url}/to")
    target.answer = leads_to("ftp://127.0.0.1/")


@pytest.mark.parametrize("fail", [breaks, is_too_long, leads_out_of_http])
@pytest.mark.parametrize("seconds", [None, 10.0], ids=["no deadline", "deadline"])
def test_failures_at_another_origin_say_so(
    server: Hostile,
    tls: ssl.SSLContext | None,
    bundle: str,
    fail: Callable[[Hostile, Hostile], None],
    seconds: float | None,
) -> None:
    """What a redirect has led to is named, so that it is not taken for the place asked."""
    builder = HttpClientConfigBuilder().with_base_url(server.url).with_verify_ssl(bundle)
    builder.with_max_response_size(100)
    if seconds is not None:
        builder.with_total_timeout(seconds)
    with Hostile(b"", tls) as target, HttpClient(builder.build()) as client:
        fail(server, target)
        with pytest.raises(HttpClientException) as caught:
            client.get("/from")
        assert caught.value.context["redirected_to"] == target.url


def test_failures_after_a_redirect_to_the_same_origin_do_not(
    server: Hostile, client: HttpClient
) -> None:
    """It is the place asked that has failed."""
    server.answer = in_turn(leads_to("/on"), hang_up)
    with pytest.raises(HttpClientException) as caught:
        client.get("/from")
    assert "redirected_to" not in caught.value.context


def test_a_body_that_breaks_off_at_another_origin_says_so(
    server: Hostile, tls: ssl.SSLContext | None, bundle: str
) -> None:
    """Also where the body is read after the answer was given."""
    config = HttpClientConfigBuilder().with_base_url(server.url).with_verify_ssl(bundle).build()
    with Hostile(b"", tls) as target, HttpClient(config) as client:
        server.answer = leads_to(f"{target.url}/to")
        target.answer = takes_over(says(reply(body=b"x" * 200)[:-100]))
        with client.stream("GET", "/from") as answer, pytest.raises(HttpClientException) as caught:
            answer.read()
        assert caught.value.context["redirected_to"] == target.url


@pytest.mark.parametrize(
    "location",
    [
        "file://{path}",
        "file:{path}",
        "javascript:alert(1)",
        "data:text/plain,{canary}",
        "ftp://127.0.0.1/{canary}",
        "ldap://127.0.0.1/?token={canary}",
        "unix:///run/docker.sock",
        "http://",
        "https:///etc/passwd",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "http://user:{canary}@[::1",
        "http://%31%32%37.0.0.1/",
        "http://127.0.0.1\\@evil.example/",
    ],
)
def test_a_redirect_out_of_http_is_not_followed(
    server: Hostile, client: HttpClient, tmp_path: Path, location: str
) -> None:
    """A Location that is no plain http(s) URL is an error, and nothing is read or sent there."""
    path = tmp_path / "secret.txt"
    path.write_text(CANARY)
    server.answer = lambda _: leads_to(location.format(path=path, canary=CANARY))
    assert "was not followed" in str(failure_of(client))
    assert client.get("/good").content == b"good"
    assert server.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_https_does_not_lead_into_the_clear(
    server_tls: ssl.SSLContext, bundle: str, status: int
) -> None:
    """A redirect from https to http is an error, also on the same host, and sends nothing there."""
    with Hostile(reply()) as clear, Hostile(b"", server_tls) as server:
        location = f"{clear.url}/?token={CANARY}"
        server.answer = lambda _: reply(status, Location=location)
        builder = HttpClientConfigBuilder().with_base_url(server.url).with_verify_ssl(bundle)
        with HttpClient(builder.with_bearer_token(CANARY).build()) as client:
            assert "from https to http" in str(failure_of(client))
        assert clear.connections == 0


def test_a_redirect_into_tls_is_followed(server_tls: ssl.SSLContext, bundle: str) -> None:
    """From http to https on another port a redirect is followed, without the credential."""
    with Hostile(reply(body=b"there"), server_tls) as secure, Hostile(b"") as server:
        server.answer = lambda _: leads_to(f"{secure.url}/to")
        builder = HttpClientConfigBuilder().with_base_url(server.url).with_verify_ssl(bundle)
        with HttpClient(builder.with_bearer_token(CANARY).build()) as client:
            assert client.get("/from").content == b"there"
        assert secure.asked == ["GET /to"]
        assert_clean(*secure.requests)


def test_the_body_of_a_redirect_is_left_out(server: Hostile, client: HttpClient) -> None:
    """What a redirect says beside its Location is not what the caller gets."""
    server.answer = reply(302, b"x" * 1_000_000, Location="/good")
    assert client.get("/from").content == b"good"
