"""TLS over real sockets: which certificates are trusted and shown, and what that costs."""
# ruff: noqa: ANN401 - settings that a test tries out

import datetime as dt
import os
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from loopback import Loopback, Received, reply, takes_over
from requestforge._transport.adapter import TransportAdapter
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfig
from requestforge.exceptions import HttpClientException, InsecureTransportWarning, SSLException


def client_of(server: Loopback, **config: Any) -> HttpClient:
    """A client of the server."""
    return HttpClient(HttpClientConfig(base_url=server.url, **config))


def server_context(authority: trustme.CA, *names: str, **kwargs: Any) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names or ("127.0.0.1",), **kwargs).configure_cert(context)
    return context


def refused(client: HttpClient) -> SSLException:
    """What the client says of a server that it does not trust, or that does not trust it."""
    with client, pytest.raises(SSLException) as caught:
        client.get("/")
    return caught.value


@pytest.fixture
def identity(authority: trustme.CA, tmp_path: Path) -> tuple[str, str]:
    """Paths of a client's certificate and key."""
    made = authority.issue_cert("client@example.com")
    made.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    made.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    return str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")


@pytest.fixture
def demanding(authority: trustme.CA, tls: ssl.SSLContext) -> ssl.SSLContext:
    """A server's side that wants to see a certificate."""
    authority.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    return tls


class TestTrust:
    def test_a_ca_of_the_configuration(self, tls: ssl.SSLContext, bundle: str) -> None:
        """`with_tls(ca=...)` says whom to trust, in a file."""
        with Loopback(reply(), tls) as server, client_of(server, tls={"ca": bundle}) as client:
            assert client.get("/").is_success

    def test_a_directory(self, tls: ssl.SSLContext, bundle: str) -> None:
        """A directory is looked through by OpenSSL, which knows certificates by their hashes."""
        directory = str(Path(bundle).parent)
        with Loopback(reply(), tls) as server:
            assert "issuer" in refused(client_of(server, tls={"ca": directory})).message

    def test_a_ca_of_the_configuration_wins_over_the_session_and_the_environment(
        self, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, bundle: str
    ) -> None:
        """What the client was told itself comes first."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
        with Loopback(reply(), tls) as server, client_of(server, tls={"ca": bundle}) as client:
            client.session.verify = False
            assert client.get("/").is_success

    def test_verify_of_the_session_counts(self, tls: ssl.SSLContext, bundle: str) -> None:
        """With `verify_ssl=True`, the bundle is the session's."""
        with Loopback(reply(), tls) as server, client_of(server) as client:
            client.session.verify = bundle
            assert client.get("/").is_success

    def test_the_environment_counts_unless_it_is_told_not_to(
        self, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, bundle: str
    ) -> None:
        """`with_environment(ca=False)` leaves the bundle of the environment alone."""
        monkeypatch.setenv("CURL_CA_BUNDLE", bundle)
        with Loopback(reply(), tls) as server:
            with client_of(server) as client:
                assert client.get("/").is_success
            refused(client_of(server, environment={"ca": False}))

    def test_a_supplied_session_goes_by_the_same_rules(
        self, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, bundle: str
    ) -> None:
        """Its own adapter is given the bundle of the configuration, and not the environment's."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
        with Loopback(reply(), tls) as server, requests.Session() as session:
            config = HttpClientConfig(base_url=server.url, environment={"ca": False})
            with pytest.raises(SSLException):
                HttpClient(config, session).get("/")
            monkeypatch.delenv("REQUESTS_CA_BUNDLE")
            config = HttpClientConfig(base_url=server.url, tls={"ca": bundle})
            assert HttpClient(config, session).get("/").is_success

    def test_another_authority(self, tls: ssl.SSLContext, tmp_path: Path) -> None:
        """A certificate of an authority that is not trusted is refused."""
        other = str(tmp_path / "other.pem")
        trustme.CA().cert_pem.write_to_path(other)
        with Loopback(reply(), tls) as server:
            error = refused(client_of(server, tls={"ca": other}))
        assert "CERTIFICATE_VERIFY_FAILED" in error.message
        assert server.requests == []

    def test_another_host(self, authority: trustme.CA, bundle: str) -> None:
        """A certificate for another name is refused."""
        with Loopback(reply(), server_context(authority, "other.example")) as server:
            error = refused(client_of(server, tls={"ca": bundle}))
        assert "127.0.0.1" in error.message

    def test_an_expired_certificate(self, authority: trustme.CA, bundle: str) -> None:
        """A certificate is of no use after its end."""
        ended = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        tls = server_context(authority, "127.0.0.1", not_after=ended)
        with Loopback(reply(), tls) as server:
            assert "expired" in refused(client_of(server, tls={"ca": bundle})).message

    def test_a_bundle_that_is_none(self, tls: ssl.SSLContext, tmp_path: Path) -> None:
        """A file without certificates is a setting at fault, and no failure of the line."""
        (tmp_path / "ca.pem").write_text("nothing")
        with Loopback(reply(), tls) as server:
            client = client_of(server, tls={"ca": str(tmp_path / "ca.pem")})
            with client, pytest.raises(HttpClientException, match=r"CA bundle .*ca\.pem") as caught:
                client.get("/")
            assert type(caught.value) is HttpClientException
            assert server.connections == 0

    def test_a_bundle_that_is_replaced(
        self, authority: trustme.CA, tls: ssl.SSLContext, tmp_path: Path
    ) -> None:
        """New connections trust whom the file names when they are made."""
        path = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(str(path))
        answer = reply(Connection="close")
        with Loopback(answer, tls) as server, client_of(server, tls={"ca": str(path)}) as client:
            assert client.get("/").is_success
            trustme.CA().cert_pem.write_to_path(str(path))
            os.utime(path, ns=(1, 1))
            with pytest.raises(SSLException):
                client.get("/")
            path.write_text("half")
            with pytest.raises(SSLException, match="cannot be loaded"):
                client.get("/")
            path.unlink()
            with pytest.raises(SSLException, match="cannot be loaded"):
                client.get("/")
            authority.cert_pem.write_to_path(str(path))
            assert client.get("/").is_success


class TestIdentity:
    def test_a_client_certificate(
        self, demanding: ssl.SSLContext, bundle: str, identity: tuple[str, str]
    ) -> None:
        """A server that wants to see a certificate is shown the client's."""
        with (
            Loopback(reply(), demanding) as server,
            client_of(server, tls={"ca": bundle, "client_cert": identity}) as client,
        ):
            assert client.get("/").is_success

    def test_a_certificate_and_key_in_one_file(
        self,
        demanding: ssl.SSLContext,
        bundle: str,
        identity: tuple[str, str],
        tmp_path: Path,
    ) -> None:
        """One path names both."""
        both = tmp_path / "both.pem"
        both.write_text("".join(Path(path).read_text() for path in identity))
        with (
            Loopback(reply(), demanding) as server,
            client_of(server, tls={"ca": bundle, "client_cert": str(both)}) as client,
        ):
            assert client.get("/").is_success

    @pytest.mark.parametrize("supplied", [True, False])
    def test_the_certificate_of_the_session(
        self,
        demanding: ssl.SSLContext,
        bundle: str,
        identity: tuple[str, str],
        supplied: bool,
    ) -> None:
        """`session.cert` is shown, whoever made the session."""
        with Loopback(reply(), demanding) as server, requests.Session() as session:
            config = HttpClientConfig(base_url=server.url, verify_ssl=bundle)
            with HttpClient(config, session if supplied else None) as client:
                client.session.cert = identity
                assert client.get("/").is_success
                assert client.get("/").is_success
            assert server.connections == 1

    def test_a_certificate_for_a_supplied_session(
        self, demanding: ssl.SSLContext, bundle: str, identity: tuple[str, str]
    ) -> None:
        """The certificate of the configuration is shown by a supplied session, too."""
        config: dict[str, Any] = {"ca": bundle, "client_cert": identity}
        with Loopback(reply(), demanding) as server, requests.Session() as session:
            client = HttpClient(HttpClientConfig(base_url=server.url, tls=config), session)
            assert client.get("/").is_success

    def test_no_certificate(self, demanding: ssl.SSLContext, bundle: str) -> None:
        """Without one, the server refuses, and never answers."""
        demanding.maximum_version = ssl.TLSVersion.TLSv1_2  # it tells before the first request
        with Loopback(reply(), demanding) as server:
            refused(client_of(server, tls={"ca": bundle}))
        assert server.requests == []

    def test_a_key_with_a_password(
        self, demanding: ssl.SSLContext, bundle: str, identity: tuple[str, str]
    ) -> None:
        """The password is the third of the certificate; without it, nobody is asked for one."""
        crypto = pytest.importorskip("cryptography.hazmat.primitives.serialization")
        cert, key = identity
        plain = crypto.load_pem_private_key(Path(key).read_bytes(), None)
        Path(key).write_bytes(
            plain.private_bytes(
                crypto.Encoding.PEM,
                crypto.PrivateFormat.PKCS8,
                crypto.BestAvailableEncryption(b"secret"),
            )
        )
        with Loopback(reply(), demanding) as server:
            told = {"ca": bundle, "client_cert": (cert, key, "secret")}
            with client_of(server, tls=told) as client:
                assert client.get("/").is_success
            told = {"ca": bundle, "client_cert": (cert, key)}
            with (
                client_of(server, tls=told) as client,
                pytest.raises(HttpClientException, match="no password"),
            ):
                client.get("/")


class TestVersions:
    @pytest.mark.parametrize("oldest", ["1.3", ssl.TLSVersion.TLSv1_3])
    def test_the_oldest_version(self, tls: ssl.SSLContext, bundle: str, oldest: object) -> None:
        """A server that speaks older versions only is refused."""
        told = {"ca": bundle, "min_version": oldest}
        with Loopback(reply(), tls) as server, client_of(server, tls=told) as client:
            assert client.get("/").is_success
        tls.maximum_version = ssl.TLSVersion.TLSv1_2
        with Loopback(reply(), tls) as server:
            refused(client_of(server, tls=told))
            with client_of(server, tls={"ca": bundle}) as client:
                assert client.get("/").is_success


class TestGivenContexts:
    def test_it_is_used_as_it_is(self, tls: ssl.SSLContext, bundle: str) -> None:
        """A context of the caller trusts whom it trusts, and stays what it was."""
        context = ssl.create_default_context(cafile=bundle)
        context.set_alpn_protocols(["odd/1"])
        tls.set_alpn_protocols(["http/1.1", "odd/1"])
        seen: list[str | None] = []

        def look(sock: Any) -> None:
            seen.append(sock.selected_alpn_protocol())
            sock.sendall(reply())

        with (
            Loopback(takes_over(look), tls) as server,
            client_of(server, tls={"ssl_context": context}) as client,
        ):
            assert client.get("/").is_success
            assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert seen == ["odd/1"]

    def test_it_may_leave_the_name_alone(self, authority: trustme.CA, bundle: str) -> None:
        """Where it compares no names, nobody else does, either."""
        context = ssl.create_default_context(cafile=bundle)
        context.check_hostname = False
        with (
            Loopback(reply(), server_context(authority, "other.example")) as server,
            client_of(server, tls={"ssl_context": context}) as client,
        ):
            assert client.get("/").is_success

    def test_it_may_trust_everybody(self, tls: ssl.SSLContext) -> None:
        """What it does not verify is warned of, as ever."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with (
            Loopback(reply(), tls) as server,
            client_of(server, tls={"ssl_context": context}) as client,
            pytest.warns(InsecureTransportWarning),
        ):
            assert client.get("/").is_success

    @pytest.mark.parametrize(
        "told",
        [
            {"ssl_context": ssl.create_default_context()},
            {"min_version": "1.3"},
            {"client_cert": (__file__, __file__, "password")},
        ],
        ids=["context", "version", "password"],
    )
    def test_a_supplied_session_cannot_be_told(self, told: dict[str, Any]) -> None:
        """Its adapter is the caller's; what it could not be given is not ignored."""
        with requests.Session() as session, pytest.raises(ValueError, match="mount an adapter"):
            HttpClient(HttpClientConfig(tls=told), session)


class TestBrokenLines:
    def test_what_is_no_tls_amid_a_body(self, tls: ssl.SSLContext, bundle: str) -> None:
        """A line that breaks below TLS ends in an error of TLS, and not in half an answer."""

        def break_off(sock: Any) -> None:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            os.write(sock.fileno(), b"no record of TLS at all")

        with Loopback(takes_over(break_off), tls) as server:
            refused(client_of(server, verify_ssl=bundle))


class TestCost:
    def test_certificates_are_loaded_once(
        self, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, bundle: str
    ) -> None:
        """However many clients, threads and connections there are, the bundle is read once."""
        loads: list[object] = []
        load = ssl.SSLContext.load_verify_locations

        def counting(context: ssl.SSLContext, *args: Any, **kwargs: Any) -> None:
            loads.append(context)
            load(context, *args, **kwargs)

        monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counting)
        barrier = threading.Barrier(8)

        def ask(client: HttpClient) -> None:
            barrier.wait(10)
            for _ in range(3):
                assert client.get("/").is_success

        with Loopback(reply(Connection="close"), tls) as server:
            clients = [client_of(server, verify_ssl=bundle) for _ in range(2)]
            threads = [threading.Thread(target=ask, args=(clients[n % 2],)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
            for client in clients:
                client.close()
        assert (len(server.requests), len(loads)) == (24, 1)

    def test_many_bundles_are_no_leak(
        self, monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, tmp_path: Path
    ) -> None:
        """Of many bundles the latest are remembered, and the first is read once more."""
        loads: list[object] = []
        load = ssl.SSLContext.load_verify_locations

        def counting(context: ssl.SSLContext, cafile: str) -> None:
            loads.append(cafile)
            load(context, cafile)

        monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counting)
        prepared = requests.Request("GET", "https://a.example/").prepare()
        paths = [str(tmp_path / f"{number}.pem") for number in range(70)]
        for path in paths:
            authority.cert_pem.write_to_path(path)
        for path in (*paths, paths[-1], paths[0]):
            TransportAdapter().get_connection_with_tls_context(prepared, verify=path)
        assert loads == [*paths, paths[0]]

    def test_connections_are_used_again(self, tls: ssl.SSLContext, bundle: str) -> None:
        """A second request needs no second handshake."""

        def echo(received: Received) -> bytes:
            return reply(body=received.target.encode())

        with Loopback(echo, tls) as server, client_of(server, verify_ssl=bundle) as client:
            assert [client.get(path).content for path in ("/1", "/2")] == [b"/1", b"/2"]
            assert server.connections == 1
