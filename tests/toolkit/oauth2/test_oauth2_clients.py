"""How clients prove to a provider who they are."""

from base64 import b64encode
from urllib.parse import quote_plus

import pytest
import requests
from joserfc.jwk import ECKey, RSAKey
from oauth2_site import APP, ASSERTION_TYPE, KEY, SETTINGS, Site

from pytest_requestforge import FakeAuth


def with_header(site: Site, value: str, **fields: str) -> requests.Response:
    """The answer to client credentials with that `Authorization`."""
    return requests.post(
        site.idp.url,
        data={"grant_type": "client_credentials", **fields},
        headers={"Authorization": value},
        timeout=5,
    )


def basic(name: str, secret: str) -> str:
    """An `Authorization` of the scheme Basic."""
    return f"Basic {b64encode(f'{name}:{secret}'.encode()).decode()}"


def by_assertion(site: Site, assertion: str, **fields: str) -> requests.Response:
    """The answer to client credentials of private_key_jwt."""
    return site.token(
        "client_credentials",
        None,
        **{"client_assertion": assertion, "client_assertion_type": ASSERTION_TYPE, **fields},
    )


class TestSecrets:
    def test_a_client_authenticates_by_basic(self, site: Site) -> None:
        """RFC 6749 section 2.3.1: id and secret in the header."""
        assert site.token("client_credentials", APP).status_code == 200

    def test_a_client_authenticates_by_post(self, site: Site) -> None:
        """RFC 6749 section 2.3.1: id and secret in the body."""
        answer = site.token("client_credentials", None, client_id=APP[0], client_secret=APP[1])

        assert answer.status_code == 200

    @pytest.mark.parametrize(
        ("encode", "status"),
        [pytest.param(quote_plus, 200, id="encoded"), pytest.param(str, 401, id="raw")],
    )
    def test_basic_form_encodes_first(self, site: Site, encode: type[str], status: int) -> None:
        """RFC 6749 section 2.3.1: what form encoding changes must come changed."""
        site.auth.oauth2("/odd", clients={"a b": "s+c%r:t"})

        answer = requests.post(
            f"{site.auth.url}/odd/token",
            data={"grant_type": "client_credentials"},
            headers={"Authorization": basic(encode("a b"), encode("s+c%r:t"))},
            timeout=5,
        )

        assert answer.status_code == status
        assert ("form-encodes" in site.reason) == (status == 401)

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            pytest.param({}, "no client authentication", id="nothing"),
            pytest.param({"client_id": "app"}, "client app sends no secret", id="no secret"),
            pytest.param(
                {"client_id": "app", "client_secret": "x"},
                "client app sends a wrong secret",
                id="wrong secret",
            ),
            pytest.param(
                {"client_id": "nobody", "client_secret": "x"}, "unknown client", id="unknown"
            ),
            pytest.param(
                {"client_id": "spa", "client_secret": "x"},
                "client spa is public, and sends a secret",
                id="public",
            ),
            pytest.param(
                {"client_id": "robot", "client_secret": "x"},
                "client robot has a key, so it authenticates by private_key_jwt",
                id="key",
            ),
        ],
    )
    def test_who_does_not_prove_it_is_refused(
        self, site: Site, fields: dict[str, str], reason: str
    ) -> None:
        """RFC 6749 section 5.2: invalid_client with 401 and a challenge."""
        answer = site.token("client_credentials", None, **fields)

        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        assert site.reason == f"refused: {reason}"

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param("Bearer abc", id="another scheme"),
            pytest.param("Basic ???", id="no base64"),
            pytest.param(f"Basic {b64encode(b'app').decode()}", id="no colon"),
            pytest.param(f"Basic {b64encode(b'%c3:%fa' + bytes([255])).decode()}", id="no text"),
        ],
    )
    def test_a_malformed_header_is_refused(self, site: Site, value: str) -> None:
        """RFC 7617 section 2: what is not Basic with id and secret proves nothing."""
        assert with_header(site, value).json()["error"] == "invalid_client"
        assert site.reason == "refused: Authorization is not Basic with id and secret"

    def test_one_way_at_a_time(self, site: Site) -> None:
        """RFC 6749 section 2.3: more than one method in a request is an error."""
        answer = site.token("client_credentials", APP, client_secret=APP[1])

        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")

    def test_the_id_may_be_repeated_in_the_body(self, site: Site) -> None:
        """RFC 6749 section 3.2.1: the same client_id beside the header is fine, another is not."""
        header = basic(*APP)

        assert with_header(site, header, client_id="app").status_code == 200
        assert with_header(site, header, client_id="other").json()["error"] == "invalid_request"

    def test_a_public_client_names_itself(self, site: Site) -> None:
        """RFC 6749 section 3.2.1: it sends its id alone; an empty secret is none."""
        fields = {"username": "bob", "password": "bobs-password"}

        assert site.token("password", None, client_id="spa", **fields).status_code == 200
        assert site.token("password", ("spa", ""), **fields).status_code == 200


class TestPrivateKeyJwt:
    @pytest.mark.parametrize(
        "audience",
        [
            pytest.param("https://auth.example.test/oauth2/token", id="token endpoint"),
            pytest.param("https://auth.example.test/oauth2", id="issuer"),
            pytest.param(["https://x.test", "https://auth.example.test/oauth2"], id="list"),
        ],
    )
    def test_a_client_authenticates_by_its_key(self, site: Site, audience: object) -> None:
        """RFC 7523 section 2.2: a JWT that it has signed proves who it is."""
        answer = by_assertion(site, site.assertion(aud=audience))

        assert answer.status_code == 200
        assert site.introspect(answer.json()["access_token"])["client_id"] == "robot"

    def test_the_endpoint_itself_is_an_audience(self, site: Site) -> None:
        """RFC 7523 section 3: a URL of the provider, such as that of the endpoint asked."""
        aud = site.idp.parts["revoke"].url
        fields = {
            "token": "x",
            "client_assertion": site.assertion(aud=aud),
            "client_assertion_type": ASSERTION_TYPE,
        }

        assert site.post("revoke", fields, None).status_code == 200

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            pytest.param({"aud": "https://x.test"}, "is for another audience", id="audience"),
            pytest.param({"aud": None}, "is for another audience", id="no audience"),
            pytest.param({"sub": None}, "has no claim sub", id="no sub"),
            pytest.param({"sub": "app"}, "has another sub than iss", id="other sub"),
            pytest.param({"exp": None}, "has no claim exp", id="no exp"),
            pytest.param({"exp": "soon"}, "has no claim exp", id="odd exp"),
            pytest.param({"exp": 1893456000}, "has expired", id="expired"),
            pytest.param({"nbf": 1893456001}, "is not valid yet", id="not yet"),
            pytest.param({"nbf": "x"}, "is not valid yet", id="odd nbf"),
            pytest.param({"jti": None}, "has no claim jti", id="no jti"),
            pytest.param({"iss": "nobody"}, "is of an unknown client", id="unknown"),
            pytest.param({"iss": None}, "is of an unknown client", id="no issuer"),
        ],
    )
    def test_an_assertion_must_be_right(
        self, site: Site, changed: dict[str, object], reason: str
    ) -> None:
        """RFC 7523 section 3: issuer, subject, audience and times are checked."""
        answer = by_assertion(site, site.assertion(**changed))

        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert site.reason == f"refused: client_assertion {reason}"

    def test_the_key_must_fit(self, site: Site) -> None:
        """RFC 7523 section 3: the signature is checked with the client's own key."""
        stranger = ECKey.generate_key("P-256")

        assert by_assertion(site, site.assertion(stranger)).status_code == 401
        assert "signature of client_assertion fits no key" in site.reason

    @pytest.mark.parametrize("text", ["x", "a.b.c", "a.MQ.c"], ids=["word", "no JSON", "number"])
    def test_an_assertion_is_a_jwt(self, site: Site, text: str) -> None:
        """RFC 7523 section 3: any other text is refused."""
        assert by_assertion(site, text).status_code == 401

    def test_an_assertion_is_used_once(self, site: Site) -> None:
        """RFC 7523 section 3: the jti is remembered."""
        assertion = site.assertion()

        assert by_assertion(site, assertion).status_code == 200
        assert by_assertion(site, assertion).status_code == 401
        assert site.reason == "refused: client_assertion was used before"

    def test_the_type_of_the_assertion_is_named(self, site: Site) -> None:
        """RFC 7521 section 4.2: another client_assertion_type is refused."""
        answer = by_assertion(site, site.assertion(), client_assertion_type="saml")

        assert answer.json()["error"] == "invalid_client"

    def test_the_id_in_the_body_must_be_the_same(self, site: Site) -> None:
        """RFC 7521 section 4.2: client_id may be left out, but not differ."""
        assert by_assertion(site, site.assertion(), client_id="robot").status_code == 200
        answer = by_assertion(site, site.assertion(), client_id="app")

        assert answer.json()["error"] == "invalid_request"

    @pytest.mark.parametrize(
        "given",
        [
            pytest.param(KEY.as_dict(private=False), id="JWK"),
            pytest.param({"keys": [KEY.as_dict(private=False)]}, id="JWK set"),
            pytest.param(KEY.as_pem(private=False).decode(), id="PEM"),
            pytest.param(KEY.as_pem(private=False), id="PEM in bytes"),
            pytest.param(KEY, id="key"),
        ],
    )
    def test_a_key_is_given_in_any_form(self, site: Site, given: object) -> None:
        """`clients=` takes keys as PEM, JWK, JWK set, or as objects of joserfc."""
        site.auth.oauth2("/keys", clients={"robot": given})
        form = {
            "grant_type": "client_credentials",
            "client_assertion": site.assertion(aud=f"{site.auth.url}/keys"),
            "client_assertion_type": ASSERTION_TYPE,
        }

        assert requests.post(f"{site.auth.url}/keys/token", form, timeout=5).status_code == 200

    def test_one_of_several_keys_is_enough(self, site: Site) -> None:
        """A client that rotates its own keys has several of them."""
        keys = [RSAKey.generate_key(2048).as_dict(private=False), KEY.as_dict(private=False)]
        site.auth.oauth2("/keys", clients={"robot": {"keys": keys}})
        form = {
            "grant_type": "client_credentials",
            "client_assertion": site.assertion(aud=f"{site.auth.url}/keys"),
            "client_assertion_type": ASSERTION_TYPE,
        }

        assert requests.post(f"{site.auth.url}/keys/token", form, timeout=5).status_code == 200


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        pytest.param("", "empty", id="empty secret"),
        pytest.param("-----BEGIN NOTHING-----", "neither", id="no PEM"),
        pytest.param({"kty": "oct", "k": "AAAA"}, "JWK", id="symmetric"),
        pytest.param({"keys": 5}, "JWK", id="no set"),
    ],
)
def test_credentials_that_are_none_are_refused(credentials: object, said: str) -> None:
    """`oauth2` says which client has no usable credentials."""
    with pytest.raises(ValueError, match=said) as raised:
        FakeAuth().oauth2(clients={"app": credentials})

    assert "'app'" in str(raised.value)


def test_secrets_are_masked_wherever_they_stand(site: Site) -> None:
    """The journal shows no secret or password, whatever the field it came in."""
    secrets = [APP[1], SETTINGS["users"]["alice"]]

    site.token("client_credentials", None, client_id=secrets[0], state=secrets[1])
    site.sign_in()

    assert not [text for text in secrets if text in str(list(site.auth.journal))]
