"""Authorization codes: what a client may ask for, and how it redeems what it gets."""

import pytest
import requests
from oauth2_site import CHALLENGE, OTHER, REDIRECT, VERIFIER, Site, claims_of, query


class TestAuthorize:
    def test_it_gives_the_url_of_the_redirect(self, site: Site) -> None:
        """RFC 6749 section 4.1.2, RFC 9207: code, state and issuer, without a browser."""
        url = site.idp.authorize(site.authorization_url(), sub="alice")

        assert url.startswith(f"{REDIRECT}?")
        found = query(url)
        assert found.pop("code")
        assert found == {"state": "s-1", "iss": site.idp.issuer}

    @pytest.mark.parametrize(
        "redirect_uri",
        ["http://127.0.0.1:5000/cb?x=1", "com.example.app:/cb", "https://other.test/"],
    )
    def test_any_redirect_uri_is_taken(self, site: Site, redirect_uri: str) -> None:
        """RFC 6749 section 3.1.2: its own query stays; none has to be registered."""
        url = site.idp.authorize(site.authorization_url(redirect_uri=redirect_uri), sub="alice")

        assert url.startswith(redirect_uri)
        assert query(url)["code"]

    def test_without_state_there_is_none(self, site: Site) -> None:
        """RFC 6749 section 4.1.2: state is there only if it was sent."""
        url = site.idp.authorize(site.authorization_url(state=None), sub="alice")

        assert "state" not in query(url)

    @pytest.mark.parametrize(
        ("changed", "error"),
        [
            pytest.param({"response_type": None}, "invalid_request", id="no response type"),
            pytest.param({"response_type": "token"}, "unsupported_response_type", id="implicit"),
            pytest.param({"response_mode": "fragment"}, "invalid_request", id="response mode"),
            pytest.param({"request": "x"}, "request_not_supported", id="request object"),
            pytest.param({"request_uri": "x:y"}, "request_uri_not_supported", id="request URI"),
            pytest.param({"scope": '"'}, "invalid_scope", id="scope"),
            pytest.param({"resource": "x"}, "invalid_target", id="resource"),
            pytest.param({"code_challenge_method": "S512"}, "invalid_request", id="method"),
            pytest.param({"code_challenge": "short"}, "invalid_request", id="challenge"),
            pytest.param(
                {"client_id": "spa", "code_challenge": None}, "invalid_request", id="public"
            ),
        ],
    )
    def test_a_wrong_request_is_told_to_the_client(
        self, site: Site, changed: dict[str, str | None], error: str
    ) -> None:
        """RFC 6749 section 4.1.2.1, RFC 7636 section 4.4.1, RFC 9700 section 2.1.1."""
        found = query(site.idp.authorize(site.authorization_url(**changed), sub="alice"))

        assert found.pop("error_description")
        assert found == {"error": error, "state": "s-1", "iss": site.idp.issuer}

    def test_a_user_may_refuse(self, site: Site) -> None:
        """RFC 6749 section 4.1.2.1: `sub=None` is access_denied."""
        url = site.idp.authorize(site.authorization_url(), sub=None)

        assert query(url)["error"] == "access_denied"

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            pytest.param({"client_id": "nobody"}, "unknown client", id="client"),
            pytest.param({"client_id": None}, "client_id is missing", id="no client"),
            pytest.param({"redirect_uri": None}, "redirect_uri is missing", id="no URI"),
            pytest.param({"redirect_uri": "/cb"}, "no absolute URI", id="relative"),
            pytest.param({"redirect_uri": "https://a.test/#x"}, "no absolute URI", id="fragment"),
            pytest.param({"state": ("a", "b")}, "state is there 2 times", id="two states"),
        ],
    )
    def test_nobody_is_redirected_to_a_place_that_is_not_known(
        self, site: Site, changed: dict[str, str | None], said: str
    ) -> None:
        """RFC 6749 section 4.1.2.1: client and redirect URI must be right first."""
        with pytest.raises(ValueError, match=said):
            site.idp.authorize(site.authorization_url(**changed), sub="alice")

    def test_another_url_is_a_mistake(self, site: Site) -> None:
        """The URL must be that of the authorization endpoint."""
        with pytest.raises(ValueError, match="The authorization endpoint is https://auth"):
            site.idp.authorize(f"{site.idp.url}?client_id=app", sub="alice")


class TestRedeeming:
    def test_a_code_is_worth_tokens(self, site: Site) -> None:
        """RFC 6749 section 4.1.4: access and refresh token of who has signed in."""
        tokens = site.redeem(site.code()).json()

        assert claims_of(site, tokens["access_token"])["sub"] == "alice"
        assert tokens["scope"] == "openid read"
        assert site.refresh(tokens["refresh_token"]).status_code == 200

    def test_a_public_client_redeems_by_its_verifier(self, site: Site) -> None:
        """RFC 7636 section 1: it has no secret."""
        code = site.code(client_id="spa")

        assert site.redeem(code, None, client_id="spa").status_code == 200

    def test_a_plain_challenge_is_the_verifier(self, site: Site) -> None:
        """RFC 7636 section 4.6: without a method it is plain."""
        code = site.code(code_challenge=VERIFIER, code_challenge_method=None)

        assert site.redeem(code).status_code == 200

    def test_a_confidential_client_may_do_without(self, site: Site) -> None:
        """RFC 7636 section 5: PKCE is asked of public clients alone."""
        assert site.redeem(site.code(code_challenge=None), code_verifier=None).status_code == 200

    @pytest.mark.parametrize(
        ("asked", "sent", "reason"),
        [
            pytest.param({}, {"code_verifier": "w" * 43}, "does not fit", id="verifier"),
            pytest.param({}, {"code_verifier": CHALLENGE}, "does not fit", id="challenge"),
            pytest.param({}, {"code_verifier": None}, "needs its code_verifier", id="none"),
            pytest.param(
                {"code_challenge": None}, {}, "asked for without a code challenge", id="too much"
            ),
            pytest.param({}, {"redirect_uri": "https://x.test"}, "redirect_uri is not", id="URI"),
            pytest.param({}, {"redirect_uri": None}, "redirect_uri is not", id="no URI"),
        ],
    )
    def test_what_was_asked_for_must_fit(
        self, site: Site, asked: dict[str, None], sent: dict[str, str | None], reason: str
    ) -> None:
        """RFC 6749 section 4.1.3, RFC 7636 section 4.6, RFC 9700 section 4.8.2."""
        answer = site.redeem(site.code(**asked), **sent)

        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        assert reason in site.reason

    def test_a_code_belongs_to_its_client(self, site: Site) -> None:
        """RFC 6749 section 4.1.3: another client gets invalid_grant."""
        assert site.redeem(site.code(), OTHER).json()["error"] == "invalid_grant"

    def test_a_code_lives_for_a_minute(self, site: Site) -> None:
        """RFC 6749 section 4.1.2: codes are short-lived."""
        code = site.code()

        site.clock.advance(60)

        assert site.redeem(code).json()["error"] == "invalid_grant"
        assert site.reason == "refused: oauth2.code#1 expired at 2030-01-01 00:01:00"

    def test_an_unknown_code_is_refused(self, site: Site) -> None:
        """RFC 6749 section 5.2: invalid_grant."""
        assert site.redeem("x").json()["error"] == "invalid_grant"

    def test_a_second_use_revokes_all_it_has_given(self, site: Site) -> None:
        """RFC 6749 section 4.1.2: access and refresh tokens of the code die."""
        me = site.auth.resource("GET /me", needs=site.idp)
        code = site.code()
        tokens = site.redeem(code).json()

        assert site.redeem(code).json()["error"] == "invalid_grant"
        assert site.get(me.url, tokens["access_token"]).status_code == 401
        assert "oauth2.code#1, which is revoked: it was redeemed twice" in site.reason
        assert site.refresh(tokens["refresh_token"]).status_code == 400

    def test_the_audience_is_that_of_the_authorization_at_most(self, site: Site) -> None:
        """RFC 8707 section 2.2: other resources are invalid_target, and the code lives."""
        code = site.code(resource="https://a.test")

        refused = site.redeem(code, resource="https://b.test")
        token = site.redeem(code).json()["access_token"]

        assert refused.json()["error"] == "invalid_target"
        assert claims_of(site, token)["aud"] == "https://a.test"

    def test_the_id_token_repeats_the_nonce(self, site: Site) -> None:
        """OpenID Connect Core sections 2 and 3.1.3.6: nonce, time of sign-in, token hash."""
        site.clock.advance(5)
        code = site.code(nonce="n-1")
        site.clock.advance(10)

        claims = claims_of(site, site.redeem(code).json()["id_token"])

        at_hash = claims.pop("at_hash")
        assert len(at_hash) == 22
        assert claims == {
            "iss": site.idp.issuer,
            "sub": "alice",
            "aud": "app",
            "exp": 1893456015 + 3600,
            "iat": 1893456015,
            "auth_time": 1893456005,
            "nonce": "n-1",
        }

    def test_without_openid_there_is_no_id_token(self, site: Site) -> None:
        """OpenID Connect Core section 3.1.2.1: the scope openid asks for it."""
        assert "id_token" not in site.redeem(site.code(scope="read")).json()

    def test_codes_are_not_shown(self, site: Site) -> None:
        """The journal has the label of a code, and no verifier."""
        code = site.code()
        site.redeem(code)

        entry = site.auth.journal[-1]
        assert entry.body["code"] == "oauth2.code#1"
        assert entry.body["code_verifier"] == "***"
        assert "oauth2.code#1" in entry.sent
        assert code not in str(entry)


class TestSignInPage:
    def page(self, site: Site, url: str, **form: str) -> requests.Response:
        """What a browser gets when it sends the form of the page."""
        return requests.post(url, form, allow_redirects=False, timeout=5)

    def test_a_browser_sees_a_form(self, site: Site) -> None:
        """OpenID Connect Core section 3.1.2.3: the user is asked, with the hint filled in."""
        answer = requests.get(site.authorization_url(login_hint='<"alice">'), timeout=5)

        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert 'value="&lt;&quot;alice&quot;&gt;"' in answer.text
        assert "app asks for openid read." in answer.text
        assert site.reason == "asked to sign in"

    def test_who_signs_in_goes_back_with_a_code(self, site: Site) -> None:
        """RFC 6749 section 4.1.2: the form leads to the redirect URI."""
        url = site.authorization_url()
        answer = self.page(site, url, username="alice", password="alices-password")

        assert answer.status_code == 303
        assert site.redeem(query(answer.headers["Location"])["code"]).status_code == 200
        assert site.auth.journal[-2].issued == "oauth2.code#1"

    def test_a_wrong_password_is_told_to_the_user(self, site: Site) -> None:
        """RFC 6749 section 4.1.2.1: the client learns nothing of it."""
        answer = self.page(site, site.authorization_url(), username="alice", password="x")

        assert answer.status_code == 403
        assert "User name or password is wrong." in answer.text
        assert site.reason == "refused: wrong user name or password"

    def test_a_user_may_deny(self, site: Site) -> None:
        """RFC 6749 section 4.1.2.1: access_denied."""
        answer = self.page(site, site.authorization_url(), decision="deny")

        assert query(answer.headers["Location"])["error"] == "access_denied"

    def test_a_wrong_request_goes_back_at_once(self, site: Site) -> None:
        """RFC 6749 section 4.1.2.1: nobody is asked to sign in for it."""
        url = site.authorization_url(response_type="token")
        answer = requests.get(url, allow_redirects=False, timeout=5)

        assert query(answer.headers["Location"])["error"] == "unsupported_response_type"

    def test_without_a_client_the_user_is_told(self, site: Site) -> None:
        """RFC 6749 section 4.1.2.1: an error page, no redirect."""
        answer = requests.get(site.authorization_url(client_id="nobody"), timeout=5)

        assert (answer.status_code, "unknown client" in answer.text) == (400, True)
        assert site.reason == "refused: unknown client"

    def test_who_must_not_be_asked_is_not(self, site: Site) -> None:
        """OpenID Connect Core section 3.1.2.6: prompt=none is login_required."""
        url = site.authorization_url(prompt="none")
        answer = requests.get(url, allow_redirects=False, timeout=5)

        assert query(answer.headers["Location"])["error"] == "login_required"

    def test_a_request_may_come_as_a_form(self, site: Site) -> None:
        """OpenID Connect Core section 3.1.2.1: POST, and the page goes on from there."""
        url, _, fields = site.authorization_url().partition("?")
        answer = requests.post(
            url, fields, headers={"Content-Type": "application/x-www-form-urlencoded"}, timeout=5
        )

        assert answer.status_code == 200
        assert f"client_id=app&amp;redirect_uri={'https%3A%2F%2Fapp'}" in answer.text
