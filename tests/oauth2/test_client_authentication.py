"""How clients authenticate: what is sent, what is refused, and that nobody sees a secret."""

import base64
import builtins
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from granting_server import KEY, SECRET, CallingClock, Server
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from loopback import Loopback, Received, in_turn, json_reply, reply, shown_by
from requestforge.exceptions import AuthenticationException
from requestforge.oauth2 import (
    ClientCredentialsFetcher,
    ClientSecretBasic,
    ClientSecretPost,
    JwtBearerFetcher,
    MutualTls,
    PrivateKeyJwt,
)
from requestforge.retry import SimpleRetryStrategy

TOKEN = json_reply({"access_token": "t"})


def sent_with(auth: Any, client_id: str = "app", **options: Any) -> tuple[str, Received]:  # noqa: ANN401
    """The token URL and the request of a client that authenticates so."""
    with Loopback(TOKEN) as loopback:
        url = f"{loopback.url}/token"
        ClientCredentialsFetcher("app", url, client_id, client_auth=auth, **options).fetch()
    return url, loopback.requests[0]


def test_basic_is_form_encoded_first() -> None:
    """Id and secret are encoded before they are joined (RFC 6749 section 2.3.1)."""
    _, received = sent_with(ClientSecretBasic(SECRET), "an app:1")
    scheme, _, encoded = received.headers["authorization"].partition(" ")
    assert scheme == "Basic"
    pair = base64.b64decode(encoded).decode()
    assert pair == "an+app%3A1:canary-secr3t%3A+%2B%25%26"
    assert received.form == {"grant_type": "client_credentials"}


def test_post_has_the_secret_in_the_form() -> None:
    """Two fields, and no header."""
    _, received = sent_with(ClientSecretPost(SECRET))
    assert received.form["client_id"] == "app"
    assert received.form["client_secret"] == SECRET
    assert "authorization" not in received.headers


def test_a_public_client_sends_its_id_alone() -> None:
    """No client_auth: there is nothing to prove."""
    _, received = sent_with(None)
    assert received.form == {"grant_type": "client_credentials", "client_id": "app"}


@pytest.mark.parametrize("audience", [None, "https://issuer.example"], ids=["token URL", "given"])
def test_a_private_key_signs_an_assertion(clock: CallingClock, audience: str | None) -> None:
    """Client as issuer and subject, the audience, at most 60 seconds (RFC 7523 section 3)."""
    url, received = sent_with(PrivateKeyJwt(KEY, audience=audience))
    token = jwt.decode(received.form["client_assertion"], KEY, algorithms=["ES256"])
    now = int(clock.now().timestamp())
    assert len(token.claims.pop("jti")) >= 16
    assert token.claims == {
        "iss": "app",
        "sub": "app",
        "aud": audience or url,
        "iat": now,
        "exp": now + 60,
    }
    assert token.header == {"typ": "JWT", "alg": "ES256", "kid": "k1"}
    assert received.form["client_assertion_type"].endswith(":client-assertion-type:jwt-bearer")
    assert received.form["client_id"] == "app"


def test_a_provider_takes_a_signed_client(server: Server) -> None:
    """The provider has the public key; it takes each assertion once."""
    step = ClientCredentialsFetcher(
        "app", server.url, "keyed", client_auth=PrivateKeyJwt(KEY.as_pem(private=True))
    )
    assert step.fetch().access_token != step.fetch().access_token


def test_each_attempt_has_an_assertion_of_its_own() -> None:
    """A retry does not repeat what a server takes once."""
    answers = in_turn(reply(503), TOKEN)
    with Loopback(answers) as loopback:
        JwtBearerFetcher(
            *("s", f"{loopback.url}/token", "app"),
            key=KEY,
            issuer="i",
            subject="s",
            client_auth=PrivateKeyJwt(KEY),
            retry_strategy=SimpleRetryStrategy(1, delay=0),
        ).fetch()
    forms = [received.form for received in loopback.requests]
    assert len({form["client_assertion"] for form in forms}) == 2
    assert len({form["assertion"] for form in forms}) == 2


RSA = RSAKey.generate_key(2048)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        pytest.param(KEY, "ES256", id="P-256"),
        pytest.param(ECKey.generate_key("P-384"), "ES384", id="P-384"),
        pytest.param(RSA, "RS256", id="RSA"),
        pytest.param(RSAKey.generate_key(2048, {"alg": "PS256"}), "PS256", id="named in the key"),
        pytest.param(OKPKey.generate_key("Ed25519"), "Ed25519", id="Ed25519"),
    ],
)
def test_an_issuers_key_says_how_it_signs(key: Any, algorithm: str) -> None:  # noqa: ANN401
    """The algorithm is the key's own, else the usual one for its kind."""
    with Loopback(TOKEN) as loopback:
        JwtBearerFetcher(
            "s", f"{loopback.url}/token", "app", key=key, issuer="i", subject="s"
        ).fetch()
    header = jwt.decode(loopback.requests[0].form["assertion"], key, algorithms=[algorithm]).header
    assert header["alg"] == algorithm


@pytest.mark.parametrize(
    "key",
    [KEY, KEY.as_dict(private=True), KEY.as_pem(private=True), KEY.as_pem(private=True).decode()],
    ids=["of joserfc", "JWK", "PEM in bytes", "PEM"],
)
def test_a_private_key_may_be_given_in_several_forms(key: Any) -> None:  # noqa: ANN401
    """A key of joserfc, a JWK, or PEM."""
    sent_with(PrivateKeyJwt(key))


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        pytest.param("canary-n0t-a-key", "ES256", id="no key"),
        pytest.param({"kty": "canary"}, "ES256", id="no JWK"),
        pytest.param(KEY.as_dict(private=False), "ES256", id="a public key"),
        pytest.param(RSA, "ES256", id="another kind"),
        pytest.param(KEY, "canary", id="no algorithm"),
        pytest.param(KEY, "none", id="no signature"),
        pytest.param(7, "ES256", id="a number"),
    ],
)
def test_a_key_that_cannot_sign_is_refused_at_once(key: Any, algorithm: str) -> None:  # noqa: ANN401
    """The constructor says so, without the key."""
    with pytest.raises(ValueError, match="PrivateKeyJwt") as caught:
        PrivateKeyJwt(key, algorithm)
    assert "canary-n0t" not in shown_by(caught.value)


def test_signing_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without joserfc the constructors name the command that installs it."""
    original = builtins.__import__

    def importing(name: str, *args: Any, **options: Any) -> object:  # noqa: ANN401
        if name == "joserfc":
            raise ImportError(name)
        return original(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(ImportError, match=r"pip install 'requestforge\[jwt\]'"):
        PrivateKeyJwt("a key")
    with pytest.raises(ImportError, match=r"pip install 'requestforge\[jwt\]'"):
        JwtBearerFetcher("s", "https://a.example", "app", key="k", issuer="i", subject="s")


@pytest.mark.parametrize("in_one", [True, False], ids=["one file", "two files"])
def test_mutual_tls_shows_a_certificate(tmp_path: Path, in_one: bool) -> None:
    """The server sees the client's certificate, and its id in the form (RFC 8705)."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    mine = authority.issue_cert("app.example")
    mine.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    both = str(tmp_path / "both.pem")
    cert: Any = both if in_one else (str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with Loopback(TOKEN, tls=context) as loopback:
        url = f"{loopback.url}/token"
        options: Any = {"verify_ssl": str(tmp_path / "ca.pem")}
        with pytest.raises(AuthenticationException):
            ClientCredentialsFetcher("app", url, "app", **options).fetch()
        step = ClientCredentialsFetcher("app", url, "app", client_auth=MutualTls(cert), **options)
        assert step.fetch().access_token == "t"
    assert loopback.requests[-1].form["client_id"] == "app"


@pytest.mark.parametrize(
    "cert", ["", (), ("a", "b", "c"), ("a", ""), ("a", 7), 7, ["a", "b"]], ids=repr
)
def test_a_certificate_is_one_path_or_two(cert: Any) -> None:  # noqa: ANN401
    """Anything else is refused."""
    with pytest.raises(ValueError, match="cert of MutualTls"):
        MutualTls(cert)


def test_mutual_tls_needs_tls() -> None:
    """An http URL is refused where the certificate is the client's proof."""
    with pytest.raises(ValueError, match="must be an https URL"):
        ClientCredentialsFetcher(
            "app", "http://127.0.0.1/token", "app", client_auth=MutualTls("c.pem")
        )


@pytest.mark.parametrize("kind", [ClientSecretBasic, ClientSecretPost])
def test_a_secret_is_a_text(kind: Any) -> None:  # noqa: ANN401
    """An empty one is refused, and one of another type."""
    with pytest.raises(ValueError, match="is empty"):
        kind("")
    with pytest.raises(TypeError, match="must be a string"):
        kind(None)


@pytest.mark.parametrize(
    "auth",
    [
        ClientSecretBasic(SECRET),
        ClientSecretPost(SECRET),
        PrivateKeyJwt(KEY.as_dict(private=True)),
        MutualTls("client.pem"),
    ],
    ids=["basic", "post", "key", "TLS"],
)
def test_a_client_shows_no_secret(auth: Any) -> None:  # noqa: ANN401
    """Neither alone nor in what a step says of itself, nor in an error."""
    echoed = getattr(auth, "secret", "")
    with Loopback(json_reply({"error": f"canary {echoed}"}, 400)) as loopback:
        verify = {"verify_ssl": True}
        url = "https://127.0.0.1:1/token" if isinstance(auth, MutualTls) else loopback.url
        step = ClientCredentialsFetcher("app", url, "app", client_auth=auth, **verify)
        shown = f"{auth!r} {step!r} {step.describe()!r} {step.describe()['client_auth']!r}"
        with pytest.raises(AuthenticationException) as caught:
            step.fetch()
    for secret in (SECRET, KEY.as_dict(private=True)["d"]):
        assert str(secret) not in shown
        assert str(secret) not in shown_by(caught.value)


@pytest.mark.parametrize(
    ("client_id", "auth"),
    [
        pytest.param("app", ClientSecretBasic("canary-\udc80"), id="basic"),
        pytest.param("app", ClientSecretPost("canary-\udc80"), id="post"),
        pytest.param("canary-\udc80", PrivateKeyJwt(KEY), id="key"),
    ],
)
def test_credentials_that_are_not_unicode(client_id: str, auth: Any) -> None:  # noqa: ANN401
    """Half a surrogate pair is a failure of the step, which does not show the text around it."""
    step = ClientCredentialsFetcher("app", "https://auth.example.com", client_id, client_auth=auth)
    with pytest.raises(AuthenticationException, match="not Unicode") as caught:
        step.fetch()
    assert "canary" not in shown_by(caught.value)


def test_a_wrong_secret_is_told_of_without_it(server: Server) -> None:
    """The error has the server's code."""
    step = ClientCredentialsFetcher(
        "app", server.url, "app", client_auth=ClientSecretBasic("canary-wr0ng")
    )
    with pytest.raises(AuthenticationException, match="invalid_client") as caught:
        step.fetch()
    assert caught.value.service_name == "app"
    assert "canary-wr0ng" not in shown_by(caught.value)


def test_what_cannot_authenticate_is_refused() -> None:
    """A client_auth of another kind, and an empty client id."""
    url = "https://auth.example.com/token"
    wrong: Any
    for wrong in ("secret", ClientSecretBasic):
        with pytest.raises(TypeError, match="client_auth"):
            ClientCredentialsFetcher("app", url, "app", client_auth=wrong)
    for client_id in ("", None):
        with pytest.raises(ValueError, match="client_id"):
            ClientCredentialsFetcher("app", url, client_id)  # type: ignore[arg-type]
