"""Devices without a browser."""

import pytest
import requests
from oauth2_site import OTHER, SETTINGS, Site, claims_of


class TestCodes:
    def test_a_device_gets_its_codes(self, site: Site) -> None:
        """RFC 8628 section 3.2: what it polls with, and what it shows to its user."""
        codes = site.device(scope="read")

        assert codes.pop("device_code")
        user_code = codes.pop("user_code")
        page = site.idp.parts["device"].url
        assert len(user_code) == 9
        assert codes == {
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={user_code}",
            "expires_in": 600,
            "interval": 5,
        }

    def test_a_public_client_may_ask(self, site: Site) -> None:
        """RFC 8628 section 3.1: it names itself; nobody else is served."""
        fields = {"client_id": "spa"}

        assert site.device(None, **fields)["device_code"]
        assert site.device(None)["error"] == "invalid_client"

    def test_the_scope_is_checked_at_once(self, site: Site) -> None:
        """RFC 8628 section 3.2: errors are those of RFC 6749 section 5.2."""
        assert site.device(scope='"')["error"] == "invalid_scope"


class TestPolling:
    def test_it_waits_for_its_user(self, site: Site) -> None:
        """RFC 8628 section 3.5: authorization_pending until the user has decided."""
        codes = site.device(scope="openid read")

        answer = site.poll(codes["device_code"])
        assert (answer.status_code, answer.json()["error"]) == (400, "authorization_pending")
        assert site.reason == "refused: oauth2.device#1 waits for the user"

        site.idp.approve(codes["user_code"], sub="alice")
        tokens = site.poll(codes["device_code"]).json()
        assert claims_of(site, tokens["id_token"])["sub"] == "alice"
        assert site.refresh(tokens["refresh_token"]).status_code == 200

    def test_a_code_is_redeemed_once(self, site: Site) -> None:
        """RFC 8628 section 3.4: the second use is an invalid grant."""
        codes = site.device()
        site.idp.approve(codes["user_code"], sub="alice")

        assert site.poll(codes["device_code"]).status_code == 200
        assert site.poll(codes["device_code"]).json()["error"] == "invalid_grant"

    def test_who_polls_too_fast_has_to_slow_down(self, site: Site) -> None:
        """RFC 8628 section 3.5: slow_down adds five seconds to the interval, for good."""
        code = site.device()["device_code"]

        def poll_after(seconds: float) -> str:
            site.clock.advance(seconds)
            return str(site.poll(code).json()["error"])

        waits = (0, 5, 4.9, 9.9, 15, 14.9)
        assert [poll_after(seconds) for seconds in waits] == [
            "authorization_pending",
            "authorization_pending",
            "slow_down",
            "slow_down",
            "authorization_pending",
            "slow_down",
        ]

    def test_a_user_may_deny(self, site: Site) -> None:
        """RFC 8628 section 3.5: access_denied."""
        codes = site.device()
        site.idp.deny(codes["user_code"])

        assert site.poll(codes["device_code"]).json()["error"] == "access_denied"
        assert site.reason == "refused: oauth2.device#1 was denied by the user"

    def test_a_code_expires(self, site: Site) -> None:
        """RFC 8628 section 3.5: expired_token, also once approved."""
        idp = site.auth.oauth2("/brief", device_expires_in=60, interval=1, **SETTINGS)
        brief = Site(site.auth, idp, site.clock)
        codes = brief.device()
        site.clock.advance(60)

        assert brief.poll(codes["device_code"]).json()["error"] == "expired_token"
        assert brief.reason == "refused: brief.device#1 expired at 2030-01-01 00:01:00"
        with pytest.raises(LookupError, match="No device waits"):
            idp.approve(codes["user_code"], sub="alice")

    def test_a_code_belongs_to_its_client(self, site: Site) -> None:
        """RFC 8628 section 3.4: others get an invalid grant, and so do unknown codes."""
        code = site.device()["device_code"]

        assert site.poll(code, OTHER).json()["error"] == "invalid_grant"
        assert site.poll("x").json()["error"] == "invalid_grant"


class TestUsers:
    def test_how_a_user_types_the_code_is_of_no_account(self, site: Site) -> None:
        """RFC 8628 section 6.1: neither case nor dashes count."""
        user_code = site.device()["user_code"]

        site.idp.approve(f" {user_code.replace('-', '').lower()} ", sub="alice")

    def test_an_unknown_code_is_a_mistake(self, site: Site) -> None:
        """`approve` and `deny` take codes of devices that wait; a decision is final."""
        codes = site.device()
        site.idp.deny(codes["user_code"])

        with pytest.raises(LookupError, match="No device waits with the user code 'X'"):
            site.idp.approve("X", sub="alice")
        with pytest.raises(LookupError, match="undecided"):
            site.idp.approve(codes["user_code"], sub="alice")

    @pytest.mark.parametrize(
        ("decision", "error"),
        [pytest.param("allow", None, id="allow"), pytest.param("deny", "access_denied", id="deny")],
    )
    def test_the_page_of_the_device_decides(
        self, site: Site, decision: str, error: str | None
    ) -> None:
        """RFC 8628 section 3.3: the user types the code, and signs in."""
        codes = site.device()
        page = requests.get(codes["verification_uri_complete"], timeout=5)
        assert f'value="{codes["user_code"]}"' in page.text

        form = {
            "user_code": codes["user_code"],
            "username": "bob",
            "password": "bobs-password",
            "decision": decision,
        }
        done = requests.post(codes["verification_uri"], form, timeout=5)

        assert "The device is" in done.text
        assert site.poll(codes["device_code"]).json().get("error") == error

    @pytest.mark.parametrize(
        ("fields", "status", "said"),
        [
            pytest.param({"password": "x"}, 403, "password is wrong", id="password"),
            pytest.param({"user_code": "x"}, 404, "No device has this code", id="code"),
            pytest.param({"user_code": ""}, 404, "No device has this code", id="no code"),
        ],
    )
    def test_the_page_tells_what_is_wrong(
        self, site: Site, fields: dict[str, str], status: int, said: str
    ) -> None:
        """RFC 8628 section 3.3: the user may try again."""
        codes = site.device()
        form = {
            "user_code": codes["user_code"],
            "username": "bob",
            "password": "bobs-password",
            **fields,
        }

        answer = requests.post(codes["verification_uri"], form, timeout=5)

        assert (answer.status_code, said in answer.text, "<form" in answer.text) == (
            status,
            True,
            True,
        )
        assert site.poll(codes["device_code"]).json()["error"] == "authorization_pending"
