"""Refresh tokens: rotation, and what happens to those who use one twice."""

from concurrent.futures import ThreadPoolExecutor

import requests
from oauth2_site import APP, OTHER, SETTINGS, Site, claims_of


class TestRefreshing:
    def test_a_refresh_token_is_worth_a_new_access_token(self, site: Site) -> None:
        """RFC 6749 section 6: for the same user and scope."""
        first = site.sign_in()

        second = site.refresh(first["refresh_token"]).json()

        assert second["access_token"] != first["access_token"]
        assert second["scope"] == "openid read"
        assert claims_of(site, second["access_token"])["sub"] == "alice"

    def test_the_scope_may_shrink_once(self, site: Site) -> None:
        """RFC 6749 section 6: the new refresh token keeps the scope of the old one."""
        tokens = site.sign_in("read write")

        less = site.refresh(tokens["refresh_token"], scope="read").json()
        again = site.refresh(less["refresh_token"]).json()

        assert (less["scope"], again["scope"]) == ("read", "read write")

    def test_the_scope_does_not_grow(self, site: Site) -> None:
        """RFC 6749 section 6: what was not granted before is invalid_scope; the token lives."""
        token = site.sign_in("read")["refresh_token"]

        assert site.refresh(token, scope="read admin").json()["error"] == "invalid_scope"
        assert site.refresh(token).status_code == 200

    def test_the_audience_does_not_grow(self, site: Site) -> None:
        """RFC 8707 section 2.2: a resource beyond the first ones is invalid_target."""
        token = site.sign_in(resource=["https://a.test", "https://b.test"])["refresh_token"]

        refused = site.refresh(token, resource="https://c.test")
        granted = site.refresh(token, resource="https://b.test").json()["access_token"]

        assert refused.json()["error"] == "invalid_target"
        assert claims_of(site, granted)["aud"] == "https://b.test"

    def test_it_belongs_to_its_client(self, site: Site) -> None:
        """RFC 6749 section 6: another client gets invalid_grant, and nothing is revoked."""
        token = site.sign_in()["refresh_token"]

        assert site.refresh(token, OTHER).json()["error"] == "invalid_grant"
        assert "was given to client app, not other" in site.reason
        assert site.refresh(token).status_code == 200

    def test_an_access_token_is_none(self, site: Site) -> None:
        """RFC 6749 section 5.2: whatever else is sent is an invalid grant."""
        tokens = site.sign_in()

        assert site.refresh(tokens["access_token"]).json()["error"] == "invalid_grant"
        assert site.refresh("x").json()["error"] == "invalid_grant"

    def test_it_may_expire(self, site: Site) -> None:
        """`refresh_expires_in=` ends its life by the clock of the test."""
        idp = site.auth.oauth2("/brief", refresh_expires_in=60, **SETTINGS)
        brief = Site(site.auth, idp, site.clock)
        token = brief.sign_in()["refresh_token"]

        site.clock.advance(60)

        assert brief.refresh(token).json()["error"] == "invalid_grant"
        assert brief.reason.startswith("refused: brief.refresh#1 expired at 2030-01-01 00:01:00")

    def test_a_new_id_token_comes_along(self, site: Site) -> None:
        """OpenID Connect Core section 12.2: same user and sign-in, new iat."""
        tokens = site.sign_in()
        first = claims_of(site, tokens["id_token"])
        site.clock.advance(100)

        again = site.refresh(tokens["refresh_token"]).json()["id_token"]
        second = claims_of(site, again)

        assert (second["sub"], second["auth_time"]) == ("alice", first["auth_time"])
        assert second["iat"] == first["iat"] + 100

    def test_without_rotation_it_stays(self, site: Site) -> None:
        """`rotate_refresh=False`: the answer has no new one, and the old one goes on."""
        idp = site.auth.oauth2("/steady", rotate_refresh=False, **SETTINGS)
        steady = Site(site.auth, idp, site.clock)
        token = steady.sign_in()["refresh_token"]

        answers = [steady.refresh(token) for _ in range(2)]

        assert [answer.status_code for answer in answers] == [200, 200]
        assert "refresh_token" not in answers[0].json()


class TestReuse:
    def test_a_second_use_revokes_the_family(self, site: Site) -> None:
        """RFC 9700 section 4.14.2: all tokens of the grant die, access tokens included."""
        me = site.auth.resource("GET /me", needs=site.idp)
        first = site.sign_in()
        second = site.refresh(first["refresh_token"]).json()
        assert site.get(me.url, second["access_token"]).status_code == 200

        reused = site.refresh(first["refresh_token"])

        assert (reused.status_code, reused.json()["error"]) == (400, "invalid_grant")
        assert "oauth2.refresh#1 was rotated and is used again" in site.reason
        for tokens in (first, second):
            assert site.get(me.url, tokens["access_token"]).status_code == 401
            assert "oauth2.refresh#1 was used again after its rotation" in site.reason
        assert site.refresh(second["refresh_token"]).json()["error"] == "invalid_grant"
        assert "oauth2.refresh#2 was bought with oauth2.refresh#1" in site.reason

    def test_other_families_live_on(self, site: Site) -> None:
        """RFC 9700 section 4.14.2: only the grant in question is revoked."""
        first, other = site.sign_in(), site.sign_in()
        site.refresh(first["refresh_token"])
        site.refresh(first["refresh_token"])

        assert site.refresh(other["refresh_token"]).status_code == 200

    def test_it_is_found_however_late(self, site: Site) -> None:
        """RFC 9700 section 4.14.2: the middle of a long chain revokes its end."""
        chain = [site.sign_in()["refresh_token"]]
        for _ in range(5):
            chain.append(site.refresh(chain[-1]).json()["refresh_token"])

        site.refresh(chain[2])

        assert site.refresh(chain[-1]).status_code == 400

    def test_of_many_at_once_one_is_served(self, site: Site) -> None:
        """RFC 9700 section 4.14.2: concurrent uses are uses, too."""
        token = site.sign_in()["refresh_token"]

        def redeem(_: int) -> int:
            form = {"grant_type": "refresh_token", "refresh_token": token}
            return requests.post(site.idp.url, form, auth=APP, timeout=5).status_code

        with ThreadPoolExecutor(4) as pool:
            statuses = sorted(pool.map(redeem, range(4)))

        assert statuses == [200, 400, 400, 400]
