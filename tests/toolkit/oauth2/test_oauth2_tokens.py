"""What the tokens of a provider say, and with which keys they are signed."""

import subprocess
import sys

import jwt as pyjwt
import pytest
import requests
from joserfc import jws
from oauth2_site import APP, SETTINGS, Site, claims_of

from pytest_requestforge import FakeAuth
from pytest_requestforge.fake_auth.oauth2.keys import ALGORITHMS


def jwks(site: Site) -> list[dict[str, str]]:
    """The public keys."""
    return list(requests.get(f"{site.idp.issuer}/jwks", timeout=5).json()["keys"])


class TestMetadata:
    @pytest.mark.parametrize(
        "place",
        [
            pytest.param("/oauth2/.well-known/openid-configuration", id="OpenID"),
            pytest.param("/.well-known/oauth-authorization-server/oauth2", id="RFC 8414"),
            pytest.param("/oauth2/.well-known/oauth-authorization-server", id="appended"),
        ],
    )
    def test_they_are_at_every_well_known_place(self, site: Site, place: str) -> None:
        """RFC 8414 section 3.1, OpenID Connect Discovery section 4: the issuer is told exactly."""
        answer = requests.get(f"{site.auth.url}{place}", timeout=5)

        assert answer.json()["issuer"] == site.idp.issuer == f"{site.auth.url}/oauth2"

    @pytest.mark.parametrize("path", ["", "/"], ids=["empty", "slash"])
    def test_a_provider_may_be_the_whole_server(self, site: Site, path: str) -> None:
        """RFC 8414 section 3.1: an issuer without a path."""
        auth = FakeAuth()
        with auth:
            idp = auth.oauth2(path, **SETTINGS)
            for name in ("openid-configuration", "oauth-authorization-server"):
                found = requests.get(f"{auth.url}/.well-known/{name}", timeout=5).json()
                assert found["issuer"] == idp.issuer == auth.url
            assert found["token_endpoint"] == idp.url

    def test_a_base_url_with_a_path_comes_first(self, site: Site) -> None:
        """RFC 8414 section 3.1: the well-known part stands between host and path."""
        with FakeAuth("https://x.test/tenant") as auth:
            idp = auth.oauth2(**SETTINGS)
            place = "https://x.test/.well-known/oauth-authorization-server/tenant/oauth2"

            assert requests.get(place, timeout=5).json()["issuer"] == idp.issuer
            assert idp.issuer == "https://x.test/tenant/oauth2"

    def test_every_endpoint_is_found_from_them(self, site: Site) -> None:
        """RFC 8414 section 2: each URL is that of an endpoint."""
        found = requests.get(f"{site.idp.issuer}/.well-known/openid-configuration", timeout=5)
        metadata = found.json()

        urls = {value for name, value in metadata.items() if name.endswith(("_endpoint", "_uri"))}
        known = {part.url for name, part in site.idp.parts.items() if name != "metadata"}
        assert urls == (known | {site.idp.url}) - {site.idp.parts["device"].url}
        assert metadata["code_challenge_methods_supported"] == ["S256", "plain"]
        assert set(metadata["token_endpoint_auth_methods_supported"]) == {
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
            "none",
        }

    def test_the_scopes_are_told(self, site: Site) -> None:
        """RFC 8414 section 2: those of `scopes=`."""
        idp = site.auth.oauth2("/small", scopes=["read", "admin"])
        found = requests.get(f"{idp.issuer}/.well-known/openid-configuration", timeout=5).json()

        assert found["scopes_supported"] == ["admin", "read"]


class TestAccessTokens:
    def test_a_token_tells_all_that_counts(self, site: Site) -> None:
        """RFC 9068 section 2: the claims, with times of the clock of the test."""
        site.clock.advance(7)
        tokens = site.sign_in()

        claims = claims_of(site, tokens["access_token"])
        header = jws.extract_compact(tokens["access_token"].encode()).headers()

        assert claims.pop("jti")
        assert claims == {
            "iss": site.idp.issuer,
            "sub": "alice",
            "aud": site.idp.issuer,
            "client_id": "app",
            "scope": "openid read",
            "iat": 1893456007,
            "auth_time": 1893456007,
            "exp": 1893456007 + 3600,
        }
        assert header == {"typ": "at+jwt", "alg": "ES256", "kid": jwks(site)[0]["kid"]}

    def test_no_two_tokens_are_equal(self, site: Site) -> None:
        """RFC 9068 section 2.2: each has a jti of its own, whoever asks however fast."""
        tokens = [site.sign_in() for _ in range(5)]

        for name in ("access_token", "refresh_token", "id_token"):
            assert len({each[name] for each in tokens}) == 5
        assert len({claims_of(site, each["access_token"])["jti"] for each in tokens}) == 5

    def test_the_clock_of_the_server_may_differ(self, site: Site) -> None:
        """`skew` moves iat and exp."""
        site.auth.skew(-100)

        claims = claims_of(site, site.sign_in()["access_token"])

        assert claims["iat"] == 1893456000 - 100

    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_tokens_are_signed_with_any_usual_algorithm(self, site: Site, algorithm: str) -> None:
        """RFC 7518 section 3.1: PyJWT verifies each, with the key set as it is published."""
        idp = site.auth.oauth2("/signing", jwt=algorithm, expires_in=60, **SETTINGS)
        signing = Site(site.auth, idp, site.clock)
        tokens = signing.sign_in()
        key = pyjwt.PyJWK(jwks(signing)[0])

        for token, audience in (
            (tokens["access_token"], idp.issuer),
            (tokens["id_token"], "app"),
        ):
            claims = pyjwt.decode(
                token, key, algorithms=[algorithm], audience=audience, issuer=idp.issuer
            )
            assert claims["exp"] - claims["iat"] == 60

    def test_tokens_may_be_opaque(self, site: Site) -> None:
        """`jwt=None`: access tokens say nothing, ID tokens are signed all the same."""
        idp = site.auth.oauth2("/opaque", jwt=None, **SETTINGS)
        opaque = Site(site.auth, idp, site.clock)
        me = site.auth.resource("GET /me", needs=idp, scope="read")
        tokens = opaque.sign_in()

        assert "." not in tokens["access_token"]
        assert claims_of(opaque, tokens["id_token"])["sub"] == "alice"
        assert opaque.get(me.url, tokens["access_token"]).status_code == 200
        assert opaque.introspect(tokens["access_token"])["aud"] == idp.issuer

    def test_tokens_are_not_shown(self, site: Site) -> None:
        """The journal has the label of a JWT, wherever it stands."""
        token = site.sign_in()["access_token"]

        site.get(f"{site.idp.issuer}/userinfo?x={token}", token)

        entry = site.auth.journal[-1]
        assert entry.sent == ("oauth2#1",)
        assert entry.url.endswith("/userinfo?x=oauth2#1")
        assert token not in str(entry)

    def test_claims_of_a_user_are_told(self, site: Site) -> None:
        """OpenID Connect Core section 5: `claims=` are in the ID token and at userinfo."""
        claims = {"alice": {"email": "alice@example.com"}}
        idp = site.auth.oauth2("/known", claims=claims, **SETTINGS)
        known = Site(site.auth, idp, site.clock)
        tokens = known.sign_in()

        told = known.get(idp.parts["userinfo"].url, tokens["access_token"]).json()

        assert told == {"sub": "alice", "email": "alice@example.com"}
        assert claims_of(known, tokens["id_token"])["email"] == "alice@example.com"

    def test_the_algorithm_must_be_known(self) -> None:
        """Symmetric algorithms and misspelt ones are refused."""
        with pytest.raises(ValueError, match="not 'HS256'"):
            FakeAuth().oauth2(jwt="HS256")

    def test_without_joserfc_it_says_what_to_install(self) -> None:
        """A FakeAuth works without; the provider names the extra."""
        code = """
import sys
sys.modules["joserfc"] = None
from pytest_requestforge import FakeAuth
auth = FakeAuth()
auth.rotate_keys()
try:
    auth.oauth2()
except ImportError as error:
    print("FakeAuth.oauth2" in str(error), "pip install 'requestforge[testing]'" in str(error))
"""
        command = [sys.executable, "-c", code]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout

        assert said == "True True\n"


class TestRotation:
    def test_new_tokens_have_a_new_key(self, site: Site) -> None:
        """RFC 7517 section 5: the key set has both, so that old tokens are still verified."""
        old = site.sign_in()["access_token"]
        before = jwks(site)

        site.auth.rotate_keys()
        new = site.sign_in()["access_token"]

        assert jwks(site)[1:] == before
        assert claims_of(site, old)["sub"] == claims_of(site, new)["sub"] == "alice"
        assert pyjwt.get_unverified_header(new)["kid"] == jwks(site)[0]["kid"]
        assert pyjwt.get_unverified_header(new)["kid"] != before[0]["kid"]

    def test_old_keys_can_be_withdrawn(self, site: Site) -> None:
        """`keep_old=False`: what they have signed is refused, opaque tokens live on."""
        me = site.auth.resource("GET /me", needs=site.idp)
        tokens = site.sign_in()

        site.auth.rotate_keys(keep_old=False)
        site.auth.rotate_keys(keep_old=False)

        assert len(jwks(site)) == 1
        assert site.get(me.url, tokens["access_token"]).status_code == 401
        assert site.reason == "refused: oauth2#1 was signed with a key that has been rotated away"
        assert site.refresh(tokens["refresh_token"]).status_code == 200

    def test_a_provider_rotates_alone(self, site: Site) -> None:
        """`idp.rotate_keys()` leaves other providers as they are."""
        other = Site(site.auth, site.auth.oauth2("/other"), site.clock)

        site.idp.rotate_keys()

        assert (len(jwks(site)), len(jwks(other))) == (2, 1)


class TestDefinitions:
    def test_two_providers_live_side_by_side(self, site: Site) -> None:
        """Each has its own issuer, and the tokens of one are nothing to the other."""
        other = site.auth.oauth2("/tenants/b", **SETTINGS)
        me = site.auth.resource("GET /me", needs=other)

        assert other.name == "tenants.b"
        assert site.get(me.url, site.sign_in()["access_token"]).status_code == 401
        assert site.reason == (
            "refused: Authorization carries oauth2#1, expected a token of tenants.b"
        )

    def test_what_one_has_given_is_nothing_to_the_other(self, site: Site) -> None:
        """A provider redeems, revokes and explains its own tokens alone; their keys differ."""
        other = Site(site.auth, site.auth.oauth2("/other", **SETTINGS), site.clock)
        tokens = site.sign_in()

        assert other.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
        assert other.redeem(site.code()).json()["error"] == "invalid_grant"
        assert other.poll(site.device()["device_code"]).json()["error"] == "invalid_grant"
        assert other.introspect(tokens["access_token"]) == {"active": False}
        other.post("revoke", {"token": tokens["access_token"]})
        assert site.introspect(tokens["access_token"])["active"]
        assert jwks(site)[0]["kid"] != jwks(other)[0]["kid"]

    def test_a_path_is_taken_once(self, site: Site) -> None:
        """Two providers at one place could not be told from each other."""
        with pytest.raises(ValueError, match="'oauth2' already"):
            site.auth.oauth2("/oauth2")
        with pytest.raises(ValueError, match="answer the same request"):
            site.auth.oauth2("/oauth2", name="other")
        with pytest.raises(ValueError, match="one below the base URL"):
            site.auth.oauth2("https://auth.example.com/oauth2")

    def test_a_resource_names_whose_scope_it_wants(self, site: Site) -> None:
        """`scope=` and `audience=` need `needs=`."""
        with pytest.raises(ValueError, match="name its issuer by needs="):
            site.auth.resource("GET /x", scope="read")

    def test_a_pipeline_step_can_need_it(self, site: Site) -> None:
        """`requires=` takes the provider as any token endpoint."""
        user = site.auth.token("user", "POST /user", requires={"X-App-Token": site.idp})
        app = site.token("client_credentials").json()["access_token"]

        bought = requests.post(user.url, headers={"X-App-Token": app}, timeout=5)

        assert bought.status_code == 200
        site.idp.revoke()
        assert requests.post(user.url, headers={"X-App-Token": app}, timeout=5).status_code == 401
        assert APP[1] not in str(list(site.auth.journal))
