"""Tokens of a provider are enforced: what is refused, with which answer, and why."""

import pytest
import requests
from oauth2_site import (
    ACCESS_TOKEN,
    EXCHANGE_GRANT,
    OTHER,
    SETTINGS,
    Site,
    claims_of,
)


class TestResources:
    def test_a_live_token_opens_it(self, site: Site) -> None:
        """RFC 6750 section 2.1: in the header, after Bearer."""
        me = site.auth.resource("GET /me", needs=site.idp, scope="read", json={"id": 1})

        assert site.get(me.url, site.sign_in()["access_token"]).json() == {"id": 1}
        assert site.reason == "accepted oauth2#1"

    @pytest.mark.parametrize(
        ("broken", "reason"),
        [
            pytest.param({"expired": True}, "expired at 2029-12-31 23:59:59", id="expired"),
            pytest.param(
                {"tampered": True},
                "was tampered with: its signature does not fit",
                id="tampered",
            ),
            pytest.param(
                {"issuer": "https://evil.test"},
                "names the issuer https://evil.test, not https://auth.example.test/oauth2",
                id="issuer",
            ),
            pytest.param(
                {"audience": "https://other.test"},
                "is for the audience https://other.test",
                id="audience",
            ),
            pytest.param({"missing": "exp"}, "lacks the claim exp", id="missing"),
            pytest.param(
                {"missing": ["iss", "sub"]}, "lacks the claim iss and sub", id="several missing"
            ),
        ],
    )
    def test_a_broken_token_opens_nothing(
        self, site: Site, broken: dict[str, object], reason: str
    ) -> None:
        """RFC 6750 section 3.1: `issue` breaks tokens, and each gets invalid_token."""
        me = site.auth.resource("GET /me", needs=site.idp)

        answer = site.get(me.url, site.idp.issue(**broken))

        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        assert site.reason == f"refused: oauth2#1 {reason}"

    def test_expiry_follows_the_clock(self, site: Site) -> None:
        """RFC 6750 section 3.1: at `exp` the token is dead, a second before it lives."""
        me = site.auth.resource("GET /me", needs=site.idp)
        token = site.sign_in()["access_token"]

        site.clock.advance(3599)
        assert site.get(me.url, token).status_code == 200
        site.clock.advance(1)
        assert site.get(me.url, token).status_code == 401
        assert site.reason == "refused: oauth2#1 expired at 2030-01-01 01:00:00"

    def test_a_revoked_token_is_dead(self, site: Site) -> None:
        """RFC 7009 section 2: its own client has given it up."""
        me = site.auth.resource("GET /me", needs=site.idp)
        token = site.sign_in()["access_token"]
        site.post("revoke", {"token": token})

        assert site.get(me.url, token).status_code == 401
        assert site.reason == "refused: oauth2#1 revoked"

    @pytest.mark.parametrize(
        ("happen", "reason"),
        [
            pytest.param("revoke", "oauth2#1 revoked", id="revoke"),
            pytest.param("revoke_all", "oauth2#1 revoked", id="revoke_all"),
            pytest.param("expire", "oauth2#1 expired at 2030-01-01 00:00:00", id="expire"),
        ],
    )
    def test_the_server_can_end_tokens(self, site: Site, happen: str, reason: str) -> None:
        """The happenings of any token endpoint work here; revoke_all takes refresh tokens, too."""
        me = site.auth.resource("GET /me", needs=site.idp)
        tokens = site.sign_in()

        getattr(site.idp, happen)()

        assert site.get(me.url, tokens["access_token"]).status_code == 401
        assert site.reason == f"refused: {reason}"
        renewed = site.refresh(tokens["refresh_token"]).status_code
        assert renewed == (400 if happen == "revoke_all" else 200)

    def test_a_refresh_token_opens_nothing(self, site: Site) -> None:
        """RFC 6749 section 1.5: it is for the authorization server alone."""
        me = site.auth.resource("GET /me", needs=site.idp)

        assert site.get(me.url, site.sign_in()["refresh_token"]).status_code == 401
        assert "carries oauth2.refresh#1, expected a token of oauth2" in site.reason

    def test_scope_is_enforced(self, site: Site) -> None:
        """RFC 6750 section 3: the challenge names the scope that is needed."""
        me = site.auth.resource("GET /me", needs=site.idp, scope="read write")

        answer = site.get(me.url, site.sign_in("read")["access_token"])

        assert answer.status_code == 401
        assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
        assert answer.headers["WWW-Authenticate"].endswith('scope="read write"')
        assert site.reason == "refused: oauth2#1 lacks the scope write"

    def test_a_token_without_a_scope_is_whole(self, site: Site) -> None:
        """RFC 9068 section 2.2.3: scope may be left out; then nothing was granted."""
        me = site.auth.resource("GET /me", needs=site.idp)
        you = site.auth.resource("GET /you", needs=site.idp, scope="read")
        token = site.idp.issue(scope="read", missing="scope")

        assert site.get(me.url, token).status_code == 200
        assert site.get(you.url, token).status_code == 401

    @pytest.mark.parametrize(
        ("audience", "wanted", "status"),
        [
            pytest.param("https://api.test", None, 200, id="origin"),
            pytest.param("https://api.test/v1/", None, 200, id="folder"),
            pytest.param("https://api.test/v1/me", None, 200, id="itself"),
            pytest.param("https://api.test/v", None, 401, id="half a name"),
            pytest.param("https://auth.example.test/oauth2", None, 200, id="provider"),
            pytest.param("api", None, 401, id="unknown"),
            pytest.param("api", "api", 200, id="as wanted"),
            pytest.param("https://api.test", "api", 401, id="not as wanted"),
        ],
    )
    def test_audience_is_enforced(
        self, site: Site, audience: str, wanted: str | None, status: int
    ) -> None:
        """RFC 8707 section 2: a token for others is invalid, and the provider's own opens all."""
        me = site.auth.resource("GET https://api.test/v1/me", needs=site.idp, audience=wanted)
        token = site.token("client_credentials", audience=audience).json()["access_token"]

        assert site.get(me.url, token).status_code == status

    def test_a_token_dies_with_its_parent(self, site: Site) -> None:
        """RFC 8693: what was bought with a token is worth nothing once that one is revoked."""
        me = site.auth.resource("GET /me", needs=site.idp)
        parent = site.sign_in()["access_token"]
        fields = {"subject_token": parent, "subject_token_type": ACCESS_TOKEN}
        child = site.token(EXCHANGE_GRANT, OTHER, **fields).json()["access_token"]
        assert site.get(me.url, child).status_code == 200

        site.post("revoke", {"token": parent})

        assert site.get(me.url, child).status_code == 401
        assert site.reason == "refused: oauth2#2 was bought with oauth2#1, which is revoked"

    def test_tokens_of_plain_endpoints_have_no_scope(self, site: Site) -> None:
        """A resource that wants a scope refuses a token that was granted none."""
        plain = site.auth.token("plain", "POST /plain")
        me = site.auth.resource("GET /me", needs=plain, scope="read")
        token = requests.post(plain.url, timeout=5).json()["access_token"]

        assert site.get(me.url, token).status_code == 401
        assert site.reason == "refused: plain#1 lacks the scope read"

    def test_other_tokens_of_a_request_are_left_alone(self, site: Site) -> None:
        """Scope and audience are those of `needs`, not of the tokens of `requires`."""
        plain = site.auth.token("plain", "POST /plain")
        me = site.auth.resource(
            "GET /me", needs=site.idp, scope="read", requires={"X-Token": plain}
        )
        headers = {
            "Authorization": f"Bearer {site.idp.issue(scope='read')}",
            "X-Token": requests.post(plain.url, timeout=5).json()["access_token"],
        }

        assert requests.get(me.url, headers=headers, timeout=5).status_code == 200


class TestIssue:
    def test_a_token_comes_without_a_request(self, site: Site) -> None:
        """`issue` gives a whole token for the first user and client."""
        token = site.idp.issue(scope="read")

        claims = claims_of(site, token)
        assert (claims["sub"], claims["client_id"], claims["scope"]) == ("alice", "app", "read")
        assert not site.auth.fetch_counts

    def test_its_subject_can_be_chosen(self, site: Site) -> None:
        """`sub=`, `client_id=`; without users it speaks for the client."""
        lonely = site.auth.oauth2("/lonely")

        assert claims_of(site, site.idp.issue(sub="x", client_id="y"))["client_id"] == "y"
        lonely_site = Site(site.auth, lonely, site.clock)
        assert claims_of(lonely_site, lonely.issue())["sub"] == "client"

    def test_a_tampered_signature_does_not_verify(self, site: Site) -> None:
        """What the token says is as it was, but no key fits."""
        with pytest.raises(Exception, match="bad_signature"):
            claims_of(site, site.idp.issue(tampered=True))

    def test_only_claims_that_are_there_can_be_missing(self, site: Site) -> None:
        """A misspelt claim is a mistake of the test."""
        with pytest.raises(ValueError, match="missing= names the claim 'expp'"):
            site.idp.issue(missing="expp")

    def test_an_opaque_token_can_be_broken_as_well(self, site: Site) -> None:
        """`jwt=None`: it is refused for the same reasons."""
        idp = site.auth.oauth2("/opaque", jwt=None, **SETTINGS)
        me = site.auth.resource("GET /me", needs=idp)

        assert site.get(me.url, idp.issue(tampered=True)).status_code == 401
        assert site.get(me.url, idp.issue(expired=True)).status_code == 401


class TestIntrospection:
    def test_a_live_token_is_active(self, site: Site) -> None:
        """RFC 7662 section 2.2: with all that it stands for."""
        told = site.introspect(site.sign_in()["access_token"], OTHER)

        assert told.pop("jti")
        assert told == {
            "active": True,
            "iss": site.idp.issuer,
            "sub": "alice",
            "username": "alice",
            "aud": site.idp.issuer,
            "client_id": "app",
            "scope": "openid read",
            "token_type": "Bearer",
            "iat": 1893456000,
            "auth_time": 1893456000,
            "exp": 1893456000 + 3600,
        }
        assert site.reason == "active: oauth2#1"

    @pytest.mark.parametrize("ends", [None, 60], ids=["no end", "end"])
    def test_a_refresh_token_can_be_asked_about(self, site: Site, ends: int | None) -> None:
        """RFC 7662 section 2.1: it is active until it is rotated."""
        idp = site.auth.oauth2("/other", refresh_expires_in=ends, **SETTINGS)
        other = Site(site.auth, idp, site.clock)
        token = other.sign_in()["refresh_token"]

        told = other.introspect(token)
        other.refresh(token)

        assert told.get("exp") == (None if ends is None else 1893456000 + ends)
        assert (told["active"], told["sub"], "token_type" in told) == (True, "alice", False)
        assert other.introspect(token) == {"active": False}
        assert other.reason == "inactive: other.refresh#1 was rotated"

    def test_a_client_token_has_no_user(self, site: Site) -> None:
        """RFC 7662 section 2.2: username is that of a person."""
        token = site.token("client_credentials").json()["access_token"]

        told = site.introspect(token)

        assert (told["sub"], "username" in told, "scope" in told) == ("app", False, False)

    def test_a_dead_token_is_not_active(self, site: Site) -> None:
        """RFC 7662 section 2.2: nothing else is told of it; the journal knows why."""
        assert site.introspect(site.idp.issue(expired=True)) == {"active": False}
        assert site.reason.startswith("inactive: oauth2#1 expired at")
        assert site.introspect("x") == {"active": False}
        assert site.introspect(site.sign_in()["id_token"]) == {"active": False}
        assert site.reason == "inactive: unknown token"

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            pytest.param({}, "no client authentication", id="nobody"),
            pytest.param(
                {"client_id": "spa"}, "client spa is public and cannot authenticate", id="public"
            ),
        ],
    )
    def test_only_authenticated_clients_may_ask(
        self, site: Site, fields: dict[str, str], reason: str
    ) -> None:
        """RFC 7662 section 2.1: so that nobody goes fishing for tokens."""
        answer = site.post("introspect", {"token": "x", **fields}, None)

        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert site.reason == f"refused: {reason}"


class TestRevocation:
    def test_a_refresh_token_takes_its_family_along(self, site: Site) -> None:
        """RFC 7009 section 2.1: access tokens of the same grant die as well."""
        first = site.sign_in()
        second = site.refresh(first["refresh_token"]).json()

        answer = site.post("revoke", {"token": second["refresh_token"]})

        assert (answer.status_code, answer.content) == (200, b"")
        assert site.reason == "revoked oauth2.refresh#2"
        for tokens in (first, second):
            assert site.introspect(tokens["access_token"]) == {"active": False}
        assert site.refresh(second["refresh_token"]).json()["error"] == "invalid_grant"

    def test_an_access_token_dies_alone(self, site: Site) -> None:
        """RFC 7009 section 2.1: its refresh token lives on."""
        tokens = site.sign_in()

        site.post("revoke", {"token": tokens["access_token"]})

        assert site.introspect(tokens["access_token"]) == {"active": False}
        assert site.refresh(tokens["refresh_token"]).status_code == 200

    def test_an_unknown_token_is_no_error(self, site: Site) -> None:
        """RFC 7009 section 2.2: the client has what it wants."""
        assert site.post("revoke", {"token": "x"}).status_code == 200

    def test_a_foreign_token_stays(self, site: Site) -> None:
        """RFC 7009 section 2.1: a client revokes its own tokens alone."""
        token = site.sign_in()["access_token"]

        answer = site.post("revoke", {"token": token}, OTHER)

        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        assert site.introspect(token)["active"]

    def test_an_id_token_cannot_be_revoked(self, site: Site) -> None:
        """RFC 7009 section 2.2.1: unsupported_token_type."""
        answer = site.post("revoke", {"token": site.sign_in()["id_token"]})

        assert answer.json()["error"] == "unsupported_token_type"


class TestUserinfo:
    def test_it_tells_who_has_signed_in(self, site: Site) -> None:
        """OpenID Connect Core section 5.3.2: sub, for GET and POST, header and form."""
        token = site.sign_in()["access_token"]
        url = site.idp.parts["userinfo"].url

        assert site.get(url, token).json() == {"sub": "alice"}
        headers = {"Authorization": f"bearer {token}"}
        assert requests.post(url, headers=headers, timeout=5).json() == {"sub": "alice"}
        assert requests.post(url, {"access_token": token}, timeout=5).json() == {"sub": "alice"}

    @pytest.mark.parametrize(
        ("token", "error"),
        [
            pytest.param({"scope": "read"}, "insufficient_scope", id="scope"),
            pytest.param({"scope": "openid", "audience": "x"}, "invalid_token", id="audience"),
            pytest.param({"scope": "openid", "expired": True}, "invalid_token", id="expired"),
        ],
    )
    def test_the_token_must_be_for_it(
        self, site: Site, token: dict[str, object], error: str
    ) -> None:
        """OpenID Connect Core section 5.3.3: errors are those of RFC 6750."""
        answer = site.get(site.idp.parts["userinfo"].url, site.idp.issue(**token))

        assert answer.status_code == 401
        assert f'error="{error}"' in answer.headers["WWW-Authenticate"]

    @pytest.mark.parametrize(
        ("headers", "challenge"),
        [
            pytest.param({}, 'Bearer realm="fake auth"', id="none"),
            pytest.param({"Authorization": "Basic eA=="}, 'Bearer realm="fake auth"', id="basic"),
            pytest.param(
                {"Authorization": "Bearer x"},
                'Bearer realm="fake auth", error="invalid_token", '
                'error_description="the token is unknown"',
                id="unknown",
            ),
        ],
    )
    def test_a_token_is_needed(self, site: Site, headers: dict[str, str], challenge: str) -> None:
        """RFC 6750 section 3: who sends none is told no error."""
        answer = requests.get(site.idp.parts["userinfo"].url, headers=headers, timeout=5)

        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, challenge)

    def test_one_way_at_a_time(self, site: Site) -> None:
        """RFC 6750 section 2: header and form at once are an invalid request."""
        token = site.sign_in()["access_token"]
        url = site.idp.parts["userinfo"].url
        headers = {"Authorization": f"Bearer {token}"}

        answer = requests.post(url, {"access_token": token}, headers=headers, timeout=5)

        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
