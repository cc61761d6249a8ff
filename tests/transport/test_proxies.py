"""Proxies over real sockets: which one is used, and what it and the origin get to see."""
# ruff: noqa: ANN401 - settings that a test tries out

import logging
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import trustme
from asking import CANARY, tunnel_to

from loopback import Loopback, Received, Script, reply, shown_by
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfig
from requestforge.exceptions import (
    ConnectionException,
    HttpClientException,
    RequestBuildException,
    SSLException,
)

NOBODY = "http://127.0.0.1:9"
"""A proxy that does not answer."""


def forward(received: Received) -> Script:
    """What a proxy does: passes requests on, and opens tunnels."""
    if received.method == "CONNECT":
        return tunnel_to(int(received.target.rpartition(":")[2]))
    url = urlsplit(received.target)
    lines = [f"{received.method} {url.path} HTTP/1.1", "Connection: close"]
    lines += [f"{n}: {v}" for n, v in received.headers.items() if n != "connection"]
    kept = [line for line in lines if not line.startswith("proxy-")]
    with socket.create_connection((url.hostname or "", url.port or 80)) as origin:
        origin.sendall("\r\n".join([*kept, "", ""]).encode() + received.body)
        origin.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: origin.recv(65536), b""))


def with_login(proxy: Loopback) -> str:
    """The URL of the proxy, with a login in it."""
    return proxy.url.replace("//", f"//user:{CANARY}@")


class TestWays:
    def test_http_is_passed_on(self) -> None:
        """The proxy gets the full URL and its login, the origin gets neither."""
        with Loopback(reply(body=b"origin")) as origin, Loopback(forward) as proxy:
            config = HttpClientConfig(base_url=origin.url, proxies={"http": with_login(proxy)})
            with HttpClient(config) as client:
                assert client.get("/x").content == b"origin"
                assert client.post("/y", json_data={"a": 1}).content == b"origin"
            targets = [seen.target for seen in proxy.requests]
            assert targets == [f"{origin.url}/x", f"{origin.url}/y"]
        assert all("proxy-authorization" in seen.headers for seen in proxy.requests)
        assert not any("proxy-authorization" in seen.headers for seen in origin.requests)
        assert origin.requests[1].json == {"a": 1}

    def test_https_goes_through_a_tunnel(self, tls: ssl.SSLContext, bundle: str) -> None:
        """The proxy sees where to, and nothing of what is said; its login stays with it."""
        with Loopback(reply(body=b"origin"), tls) as origin, Loopback(forward) as proxy:
            config = HttpClientConfig(
                base_url=origin.url,
                proxies={"https": with_login(proxy)},
                tls={"ca": bundle},
                default_headers={"Authorization": f"Bearer {CANARY}"},
            )
            with HttpClient(config) as client:
                assert client.get("/x").content == b"origin"
                assert client.get("/y").content == b"origin"
            (connect,) = proxy.requests
            assert (connect.method, connect.target) == ("CONNECT", f"127.0.0.1:{origin.port}")
        assert "authorization" not in connect.headers
        assert "proxy-authorization" in connect.headers
        assert not any("proxy-authorization" in seen.headers for seen in origin.requests)
        assert origin.connections == 1

    def test_a_proxy_that_speaks_tls(
        self, tls: ssl.SSLContext, bundle: str, recwarn: pytest.WarningsRecorder
    ) -> None:
        """It is verified with the same certificates, with http inside, and with TLS."""
        with (
            Loopback(reply(body=b"plain")) as plain,
            Loopback(reply(body=b"sealed"), tls) as sealed,
            Loopback(forward, tls) as proxy,
        ):
            proxies = dict.fromkeys(("http", "https"), proxy.url)
            config = HttpClientConfig(proxies=proxies, tls={"ca": bundle})
            with HttpClient(config) as client:
                assert client.get(plain.url).content == b"plain"
                assert client.get(sealed.url).content == b"sealed"
        assert [seen.method for seen in proxy.requests] == ["GET", "CONNECT"]
        assert not recwarn.list

    def test_a_proxy_is_verified_with_the_context_of_the_client(
        self, tls: ssl.SSLContext, authority: trustme.CA
    ) -> None:
        """What stands in the place of all settings of TLS does so for the proxy, too."""
        context = ssl.create_default_context()
        authority.configure_trust(context)
        with (
            Loopback(reply(body=b"sealed"), tls) as sealed,
            Loopback(forward, tls) as proxy,
        ):
            config = HttpClientConfig(proxies={"https": proxy.url}, tls={"ssl_context": context})
            with HttpClient(config) as client:
                assert client.get(sealed.url).content == b"sealed"

    def test_a_proxy_is_shown_no_certificate(
        self, tls: ssl.SSLContext, authority: trustme.CA, bundle: str, tmp_path: Path
    ) -> None:
        """That of the client is for the origin alone: a proxy that would refuse it sees none."""
        own = tmp_path / "client.pem"
        issued = authority.issue_cert("client.example")
        issued.private_key_and_cert_chain_pem.write_to_path(str(own))
        asking = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        asking.verify_mode = ssl.CERT_OPTIONAL
        trustme.CA().configure_trust(asking)
        authority.issue_cert("127.0.0.1").configure_cert(asking)
        tls.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(tls)
        with Loopback(reply(body=b"sealed"), tls) as sealed, Loopback(forward, asking) as proxy:
            settings = {"ca": bundle, "client_cert": str(own)}
            config = HttpClientConfig(proxies={"https": proxy.url}, tls=settings)
            with HttpClient(config) as client:
                assert client.get(sealed.url).content == b"sealed"

    def test_a_redirect_may_lead_around_the_proxy(self) -> None:
        """Each hop has the proxy of its own origin."""
        with (
            Loopback(reply(body=b"end")) as end,
            Loopback(forward) as proxy,
            Loopback(reply(302, Location=f"{end.url}/end".replace("127.0.0.1", "localhost"))) as at,
            HttpClient(HttpClientConfig(proxies={"http://127.0.0.1": proxy.url})) as client,
        ):
            assert client.get(f"{at.url}/start").content == b"end"
            assert [seen.target for seen in proxy.requests] == [f"{at.url}/start"]


class TestChoice:
    @pytest.fixture(params=["own session", "supplied session"])
    def make(self, request: pytest.FixtureRequest) -> Callable[..., HttpClient]:
        """Makes a client with a session of either kind."""

        def make(**config: Any) -> HttpClient:
            session = requests.Session() if request.param == "supplied session" else None
            return HttpClient(HttpClientConfig(**config), session)

        return make

    def test_the_configuration_wins_over_the_environment(
        self, monkeypatch: pytest.MonkeyPatch, make: Callable[..., HttpClient]
    ) -> None:
        """Also where the configuration speaks of all schemes, and the environment of one."""
        monkeypatch.setenv("http_proxy", NOBODY)
        with Loopback(reply(body=b"origin")) as origin, Loopback(forward) as proxy:
            client = make(base_url=origin.url, proxies={"all": proxy.url})
            assert client.get("/").content == b"origin"
        assert len(proxy.requests) == 1

    def test_the_environment_fills_in(
        self, monkeypatch: pytest.MonkeyPatch, make: Callable[..., HttpClient]
    ) -> None:
        """For what the configuration says nothing of, the environment's proxy is used."""
        with Loopback(reply(body=b"origin")) as origin, Loopback(forward) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url)
            client = make(base_url=origin.url, proxies={"https": NOBODY})
            assert client.get("/").content == b"origin"
        assert len(proxy.requests) == 1

    def test_the_environment_can_be_left_alone(
        self, monkeypatch: pytest.MonkeyPatch, make: Callable[..., HttpClient]
    ) -> None:
        """`with_environment(proxies=False)` sends past its proxies."""
        monkeypatch.setenv("http_proxy", NOBODY)
        monkeypatch.setenv("all_proxy", NOBODY)
        with Loopback(reply(body=b"origin")) as origin:
            client = make(base_url=origin.url, environment={"proxies": False})
            assert client.get("/").content == b"origin"

    def test_proxies_of_the_session_count_still(self, make: Callable[..., HttpClient]) -> None:
        """What the session's owner has set is used where the environment is left alone."""
        with Loopback(reply(body=b"origin")) as origin, Loopback(forward) as proxy:
            client = make(base_url=origin.url, environment={"proxies": False})
            client.session.proxies["http"] = proxy.url
            assert client.get("/").content == b"origin"
        assert len(proxy.requests) == 1

    @pytest.mark.parametrize("excepted", ["127.0.0.1", "*", "127.0.0.0/8"])
    def test_no_proxy_is_heeded(
        self, monkeypatch: pytest.MonkeyPatch, make: Callable[..., HttpClient], excepted: str
    ) -> None:
        """Hosts that NO_PROXY names are asked directly."""
        monkeypatch.setenv("http_proxy", NOBODY)
        monkeypatch.setenv("NO_PROXY", excepted)
        with Loopback(reply(body=b"origin")) as origin:
            assert make(base_url=origin.url).get("/").content == b"origin"

    def test_a_changed_environment_is_read_when_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`refresh_environment` has the next request look for proxies anew."""
        with (
            Loopback(reply(body=b"origin")) as origin,
            Loopback(forward) as proxy,
            HttpClient(HttpClientConfig(base_url=origin.url)) as client,
        ):
            client.get("/")
            monkeypatch.setenv("http_proxy", proxy.url)
            client.get("/")
            assert not proxy.requests
            client.refresh_environment()
            client.get("/")
        assert len(proxy.requests) == 1


class TestSecrets:
    @pytest.mark.parametrize(
        ("scheme", "proxy"),
        [
            ("http", f"http://user:{CANARY}@127.0.0.1:9"),
            ("https", f"http://user:{CANARY}@127.0.0.1:9"),
            ("http", f"user:{CANARY}@127.0.0.1:9"),
            ("http", f"http://user:{CANARY}@"),
            ("http", f"socks5://user:{CANARY}@127.0.0.1:9"),
            ("http", f"nonsense://user:{CANARY}@127.0.0.1:9"),
        ],
    )
    def test_failures_show_no_login(
        self, caplog: pytest.LogCaptureFixture, scheme: str, proxy: str
    ) -> None:
        """Whatever is wrong with a proxy, its login is in no error and no log."""
        with (
            caplog.at_level(logging.DEBUG),
            HttpClient(HttpClientConfig(proxies={scheme: proxy})) as client,
            pytest.raises(HttpClientException) as caught,
        ):
            client.get(f"{scheme}://api.example/")
        assert CANARY not in shown_by(caught.value) + caplog.text

    @pytest.mark.parametrize("status", [403, 407, 502])
    def test_a_refused_tunnel(self, status: int) -> None:
        """A proxy that opens no tunnel is a failed connection, with the status in its message."""
        with Loopback(reply(status, Connection="close")) as proxy:
            config = HttpClientConfig(proxies={"https": with_login(proxy)})
            with HttpClient(config) as client, pytest.raises(ConnectionException) as caught:
                client.get("https://api.example/")
        assert str(status) in caught.value.message
        assert CANARY not in shown_by(caught.value)


class TestBlame:
    """An error says so if it is the proxy that it is about."""

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_proxy_that_does_not_answer(self, scheme: str) -> None:
        """It is named without its login, and nothing was sent."""
        config = HttpClientConfig(proxies={scheme: f"http://user:{CANARY}@127.0.0.1:9"})
        with HttpClient(config) as client, pytest.raises(ConnectionException) as caught:
            client.get(f"{scheme}://api.example/")
        assert "the proxy http://127.0.0.1:9 " in caught.value.message
        assert caught.value.context["sent"] is False
        assert CANARY not in shown_by(caught.value)

    def test_a_proxy_that_opens_no_tunnel(self) -> None:
        """It is the proxy that has answered, and not the origin."""
        with Loopback(reply(403, Connection="close")) as proxy:
            config = HttpClientConfig(proxies={"https": proxy.url})
            with HttpClient(config) as client, pytest.raises(ConnectionException) as caught:
                client.get("https://api.example/")
            assert f"the proxy {proxy.url} " in caught.value.message

    def test_a_proxy_without_the_right_certificate(self, tls: ssl.SSLContext) -> None:
        """TLS with the proxy has failed, and not with the origin."""
        with Loopback(forward, tls) as proxy:
            config = HttpClientConfig(proxies={"https": proxy.url})
            with HttpClient(config) as client, pytest.raises(SSLException) as caught:
                client.get("https://api.example/")
            assert f"TLS with the proxy {proxy.url} failed" in caught.value.message

    @pytest.mark.parametrize(
        ("proxy", "shown"),
        [
            (f"nonsense://user:{CANARY}@127.0.0.1:9", "nonsense://127.0.0.1:9"),
            (f"nonsense://user:{CANARY}@proxy.example", "nonsense://proxy.example"),
            (f"nonsense://user:{CANARY}@[::1]:9", "nonsense://[::1]:9"),
            (f"http://user:{CANARY}@", "***"),
            (f"http://user:{CANARY}", "***"),
            (f"nonsense://user:x/{CANARY}@127.0.0.1:9", "***"),
            ("http://[::1", "***"),
        ],
    )
    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_proxy_that_cannot_be_used(self, scheme: str, proxy: str, shown: str) -> None:
        """The setting is at fault, and not the URL or a header of the request."""
        config = HttpClientConfig(proxies={scheme: proxy})
        with HttpClient(config) as client, pytest.raises(RequestBuildException) as caught:
            client.get(f"{scheme}://api.example/")
        assert f"the URL of the proxy {shown} is malformed" in caught.value.message
        assert f"{scheme}://api.example was not sent" in caught.value.message
        assert CANARY not in shown_by(caught.value)

    def test_what_socks_needs_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy of SOCKS without the extra of requests names what to install."""

        def missing(*_: object, **__: object) -> None:
            raise requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support.")

        monkeypatch.setattr("requests.adapters.SOCKSProxyManager", missing)
        config = HttpClientConfig(proxies={"http": f"socks5://user:{CANARY}@127.0.0.1:9"})
        with HttpClient(config) as client, pytest.raises(RequestBuildException) as caught:
            client.get("http://api.example/")
        assert "the proxy socks5://127.0.0.1:9 " in caught.value.message
        assert "requests[socks]" in caught.value.message

    def test_a_malformed_request_is_not_the_proxys_fault(self) -> None:
        """What is wrong before the proxy is asked is told as before."""
        config = HttpClientConfig(proxies={"http": NOBODY})
        with HttpClient(config) as client, pytest.raises(RequestBuildException) as caught:
            client.get("http://*.api.example/")
        assert "proxy" not in caught.value.message
