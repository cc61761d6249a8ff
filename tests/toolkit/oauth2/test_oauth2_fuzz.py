"""Whatever a client sends, a provider has an answer."""

from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st
from oauth2_site import (
    ACCESS_TOKEN,
    APP,
    ASSERTION_TYPE,
    CHALLENGE,
    ID_TOKEN,
    JWT,
    REDIRECT,
    SETTINGS,
    VERIFIER,
)
from werkzeug.test import Client

from pytest_requestforge import FakeAuth
from pytest_requestforge.fake_auth.oauth2.grants import GRANTS

_NAMES = (
    *("grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type"),
    *("username", "password", "scope", "resource", "audience", "code", "redirect_uri"),
    *("code_verifier", "code_challenge", "code_challenge_method", "response_type", "state"),
    *("refresh_token", "device_code", "user_code", "assertion", "decision", "prompt", "nonce"),
    *("subject_token", "subject_token_type", "actor_token", "actor_token_type", "token"),
    *("requested_token_type", "access_token", "login_hint", "request", "response_mode"),
)
_PARTS = (
    *("token", "authorize", "device", "device_authorization", "introspect", "revoke"),
    *("userinfo", "jwks", ".well-known/openid-configuration"),
)
_KNOWN = (
    *GRANTS,
    *(*APP, "spa", "robot", "alice", "alices-password", "openid read", "code", "deny", "none"),
    *(REDIRECT, VERIFIER, CHALLENGE, "S256", ACCESS_TOKEN, ID_TOKEN, JWT, ASSERTION_TYPE),
    *("https://a.test", "a.b.c", "eyJhbGciOiJFUzI1NiJ9.e30.AAAA", "", "\0", "é\r\n", '"><script>'),
)


@settings(max_examples=60)
@given(data=st.data())
def test_every_request_is_answered(data: st.DataObject) -> None:
    """No combination of fields, known or made up, makes it fail, or write a broken header."""
    auth = FakeAuth(seed=1)
    idp = auth.oauth2(**SETTINGS)
    tokens = [idp.issue(scope="openid"), idp.issue(expired=True), idp.issue(tampered=True)]
    values = st.sampled_from([*_KNOWN, *tokens]) | st.text(max_size=8)
    fields = st.dictionaries(st.sampled_from(_NAMES), st.lists(values, min_size=1, max_size=2))
    client = Client(auth.app)

    for _ in range(4):
        part = data.draw(st.sampled_from(_PARTS))
        header = data.draw(st.sampled_from(["", "Basic", "Basic YXBwOmFwcC1zZWNyZXQ=", "Bearer x"]))
        sent = urlencode(data.draw(fields), doseq=True, errors="surrogatepass")
        answer = client.open(
            f"/oauth2/{part}",
            method=data.draw(st.sampled_from(["GET", "POST"])),
            query_string=sent if data.draw(st.booleans()) else None,
            data=sent,
            content_type="application/x-www-form-urlencoded",
            headers={"Authorization": header} if header else None,
        )

        assert answer.status_code < 500
        assert all(text.isprintable() for pair in answer.headers for text in pair)
        assert "<script" not in answer.text
