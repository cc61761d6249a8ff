"""Proxies, CA bundles, netrc, cookies, redirects and logs."""

import logging
import ssl
import warnings
from pathlib import Path

import pytest
import requests
from asking import CANARY, Asker, failure_of, tunnel_to

from loopback import Loopback, reply, shown_by, takes_over
from requestforge._transport.adapter import TransportAdapter
from requestforge.exceptions import ConnectionException, InsecureTransportWarning


class TestSettings:
    def test_netrc_is_not_read(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A login for the host in .netrc is not sent, with or without another credential."""
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login user password pass\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        with Loopback(reply()) as server:
            asker = Asker(server.url)
            asker.get()
            asker.post()
        assert "authorization" not in server.requests[0].headers
        assert server.requests[1].headers["authorization"] == f"Bearer {CANARY}"

    def test_userinfo_is_sent_unless_there_is_a_credential(self) -> None:
        """User and password of the URL go by HTTP Basic, but never replace a header."""
        with Loopback(reply()) as server:
            asker = Asker(server.url.replace("//", "//user:p%40ss@"))
            answer = asker.get()
            asker.post()
        assert server.requests[0].headers["authorization"] == "Basic dXNlcjpwQHNz"
        assert server.requests[1].headers["authorization"] == f"Bearer {CANARY}"
        assert "@" not in answer.url

    def test_cookies_are_not_kept(self) -> None:
        """Nothing of one user's session gets into the next fetch."""
        with Loopback(reply(Set_Cookie="session=1; Path=/")) as server:
            asker = Asker(server.url)
            asker.post()
            asker.post()
        assert all("cookie" not in received.headers for received in server.requests)

    @pytest.mark.parametrize("location", ["/elsewhere", "http://[", "ftp://a", "https://evil.test"])
    def test_redirects_are_answers(self, location: str) -> None:
        """A 3xx is given back with its body; where it leads does not matter."""
        with Loopback(reply(302, b"moved", Location=location)) as server:
            answer = Asker(server.url).post()
        assert (answer.status_code, answer.content) == (302, b"moved")
        assert len(server.requests) == 1

    def test_a_proxy_of_the_environment_is_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Http goes to the proxy with its full URL, userinfo of the proxy as its credential."""
        with Loopback(reply(body=b"by proxy")) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//user:pass@"))
            asker = Asker("http://auth.localhost:81")
            assert asker.get().content == b"by proxy"
            assert asker.get().content == b"by proxy"
            monkeypatch.setenv("no_proxy", "auth.localhost")
            assert isinstance(failure_of(asker.get), ConnectionException)
        assert proxy.requests[0].target.startswith("http://auth.localhost:81/?")
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"
        assert proxy.connections == 1

    def test_https_goes_through_a_tunnel(
        self, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, bundle: str
    ) -> None:
        """The proxy sees a CONNECT, and no more."""
        with Loopback(reply(body=b"hello"), tls) as origin, Loopback(b"") as proxy:
            proxy.answer = takes_over(tunnel_to(origin.port))
            monkeypatch.setenv("https_proxy", proxy.url)
            asker = Asker(origin.url, verify_ssl=bundle)
            assert asker.post().content == b"hello"
            asker.close()
        assert [received.method for received in proxy.requests] == ["CONNECT"]
        assert CANARY not in repr(proxy.requests)

    def test_a_proxy_that_refuses_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A refused tunnel is a failed connection, and shows no password of the proxy."""
        refusal = reply(407, Connection="close")
        with Loopback(refusal) as proxy:
            monkeypatch.setenv("https_proxy", proxy.url.replace("//", f"//user:{CANARY}@"))
            error = failure_of(Asker("https://auth.example.com").post)
        assert type(error) is ConnectionException
        assert "407" in error.message
        assert CANARY not in shown_by(error)

    def test_a_ca_bundle_is_trusted(self, tls: ssl.SSLContext, bundle: str) -> None:
        """`verify_ssl` may be the path of a bundle."""
        with Loopback(reply(), tls) as server:
            assert Asker(server.url, verify_ssl=bundle).post().is_success

    def test_a_ca_bundle_of_the_environment_is_trusted(
        self, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, bundle: str
    ) -> None:
        """REQUESTS_CA_BUNDLE names the bundle where `verify_ssl` is True."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
        with Loopback(reply(), tls) as server:
            assert Asker(server.url).post().is_success

    def test_unverified_certificates_are_warned_of_once(
        self, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext
    ) -> None:
        """`verify_ssl=False` beats the environment; there is one warning, and it is ours."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
        with Loopback(reply(), tls) as server, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            asker = Asker(server.url, verify_ssl=False)
            assert asker.post().is_success
            assert asker.post().is_success
            Asker(server.url, verify_ssl=False)
        assert [warning.category for warning in caught] == [InsecureTransportWarning]
        assert server.connections == 1

    def test_an_unverified_session_is_warned_of(self, tls: ssl.SSLContext) -> None:
        """The adapter itself warns at the first connection, whoever uses it."""
        with Loopback(reply(), tls) as server, requests.Session() as session:
            session.mount("https://", TransportAdapter())
            with pytest.warns(InsecureTransportWarning, match=str(server.port)):
                assert session.get(server.url, verify=False, timeout=5).ok


class TestLogs:
    def test_the_log_of_urllib3_shows_no_secret(self, caplog: pytest.LogCaptureFixture) -> None:
        """At DEBUG urllib3 logs the target of each request, here with the secrets masked."""
        with caplog.at_level(logging.DEBUG), Loopback(reply()) as server:
            Asker(server.url).get(page="7")
        targets = [record.getMessage() for record in caplog.records if "GET" in record.getMessage()]
        assert any("password=***&page=7" in target for target in targets)
        assert CANARY not in caplog.text

    def test_headers_that_cannot_be_read_are_not_logged(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What urllib3 quotes of them might be a token."""
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + f": {CANARY}\r\n\r\n".encode()
        with caplog.at_level(logging.DEBUG), Loopback(answer) as server:
            Asker(server.url).get()
        assert "Failed to parse headers" in caplog.text
        assert CANARY not in caplog.text

    def test_other_requests_are_logged_as_ever(self, caplog: pytest.LogCaptureFixture) -> None:
        """The library leaves alone what is not its own."""
        with caplog.at_level(logging.DEBUG), Loopback(reply()) as server:
            requests.get(f"{server.url}/?password=visible", timeout=5)
        assert "password=visible" in caplog.text
