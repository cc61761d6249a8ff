"""What a provider takes, and what it gives for it."""

import pytest
import requests
from oauth2_site import (
    ACCESS_TOKEN,
    APP,
    EXCHANGE_GRANT,
    ID_TOKEN,
    JWT,
    JWT_GRANT,
    KEY,
    OTHER,
    SETTINGS,
    Site,
    claims_of,
)


def error_of(answer: requests.Response) -> str:
    """The code of an error that is told as RFC 6749 section 5.2 has it."""
    assert answer.status_code == 400
    assert answer.headers["Cache-Control"] == "no-store"
    return str(answer.json()["error"])


class TestTokenEndpoint:
    def test_an_answer_is_complete_and_not_stored(self, site: Site) -> None:
        """RFC 6749 section 5.1: token, type, life and scope, and no cache keeps it."""
        answer = site.token("client_credentials", scope="read write")

        content = answer.json()
        assert content.pop("access_token")
        assert content == {"token_type": "Bearer", "expires_in": 3600, "scope": "read write"}
        assert (answer.headers["Cache-Control"], answer.headers["Pragma"]) == (
            "no-store",
            "no-cache",
        )

    def test_a_request_is_a_form(self, site: Site) -> None:
        """RFC 6749 section 4: JSON is refused."""
        answer = requests.post(site.idp.url, json={"grant_type": "password"}, auth=APP, timeout=5)

        assert error_of(answer) == "invalid_request"

    def test_a_request_is_a_post(self, site: Site) -> None:
        """RFC 6749 section 3.2: other methods are refused."""
        assert requests.get(site.idp.url, timeout=5).status_code == 405

    @pytest.mark.parametrize(
        ("fields", "error"),
        [
            pytest.param({}, "invalid_request", id="missing"),
            pytest.param({"grant_type": ""}, "invalid_request", id="empty"),
            pytest.param({"grant_type": "implicit"}, "unsupported_grant_type", id="unknown"),
            pytest.param(
                {"grant_type": ["client_credentials", "password"]}, "invalid_request", id="twice"
            ),
        ],
    )
    def test_a_request_names_one_grant(
        self, site: Site, fields: dict[str, object], error: str
    ) -> None:
        """RFC 6749 sections 3.2 and 5.2: no value is as good as none, and none may be repeated."""
        assert error_of(site.post("token", fields)) == error

    def test_fetches_are_counted_whatever_their_answer(self, site: Site) -> None:
        """The token endpoint counts in the assertions, the others do not."""
        site.sign_in()
        site.token("implicit")
        site.introspect("x")

        site.auth.assert_fetch_counts(oauth2=2)
        assert site.auth.fetch_counts == {"oauth2": 2}

    def test_the_name_of_its_step_can_be_chosen(self, site: Site) -> None:
        """`name=` is what journal and assertions call it."""
        idp = site.auth.oauth2("/login", name="user_token", **SETTINGS)

        requests.post(idp.url, {"grant_type": "client_credentials"}, auth=APP, timeout=5)

        assert site.auth.journal[-1].issued == "user_token#1"
        site.auth.assert_fetch_counts(user_token=1)

    def test_it_can_fail_and_hold_as_any_endpoint(self, site: Site) -> None:
        """The faults of the provider strike its token endpoint, those of a part that part."""
        site.idp.fail(503)
        site.idp.parts["jwks"].fail(500)

        assert site.token("client_credentials").status_code == 503
        assert site.token("client_credentials").status_code == 200
        assert requests.get(site.idp.parts["jwks"].url, timeout=5).status_code == 500


class TestScopeAndAudience:
    def test_scope_that_is_not_there_is_not_granted(self, site: Site) -> None:
        """RFC 6749 section 3.3: what is beyond `scopes=` is invalid_scope."""
        idp = site.auth.oauth2("/small", scopes=["read"], **SETTINGS)
        fields = {"grant_type": "client_credentials"}

        refused = requests.post(idp.url, {**fields, "scope": "read admin"}, auth=APP, timeout=5)
        granted = requests.post(idp.url, {**fields, "scope": "read"}, auth=APP, timeout=5)

        assert error_of(refused) == "invalid_scope"
        assert granted.json()["scope"] == "read"

    def test_scope_has_few_characters(self, site: Site) -> None:
        """RFC 6749 section 3.3: a quotation mark is none of them."""
        assert error_of(site.token("client_credentials", scope='re"ad')) == "invalid_scope"

    def test_no_scope_is_granted_where_none_is_asked_for(self, site: Site) -> None:
        """RFC 6749 section 5.1: the answer has no scope then."""
        assert "scope" not in site.token("client_credentials").json()

    def test_a_token_is_for_its_provider(self, site: Site) -> None:
        """RFC 9068 section 3: without a wish of the client the provider chooses the audience."""
        token = site.token("client_credentials").json()["access_token"]

        assert claims_of(site, token)["aud"] == site.idp.issuer

    def test_a_client_chooses_the_audience(self, site: Site) -> None:
        """RFC 8707 section 2: resources, and audiences by name, end up in `aud`."""
        fields = {"resource": ["https://a.test/x", "https://b.test"], "audience": "c"}
        token = site.token("client_credentials", **fields).json()["access_token"]

        assert claims_of(site, token)["aud"] == ["https://a.test/x", "https://b.test", "c"]

    @pytest.mark.parametrize("resource", ["a.test", "https://a.test/#b"])
    def test_a_resource_is_an_absolute_uri(self, site: Site, resource: str) -> None:
        """RFC 8707 section 2: without a fragment; else invalid_target."""
        answer = site.token("client_credentials", resource=resource)

        assert error_of(answer) == "invalid_target"


class TestClientCredentials:
    def test_the_token_speaks_for_the_client(self, site: Site) -> None:
        """RFC 6749 section 4.4: no user, no refresh token."""
        content = site.token("client_credentials").json()

        assert claims_of(site, content["access_token"])["sub"] == APP[0]
        assert "refresh_token" not in content

    def test_a_public_client_gets_none(self, site: Site) -> None:
        """RFC 6749 section 4.4: only confidential clients may use it."""
        answer = site.token("client_credentials", None, client_id="spa")

        assert error_of(answer) == "unauthorized_client"


class TestPassword:
    def test_the_token_speaks_for_the_user(self, site: Site) -> None:
        """RFC 6749 section 4.3: with a refresh token."""
        tokens = site.sign_in()

        assert claims_of(site, tokens["access_token"])["sub"] == "alice"
        assert tokens["refresh_token"]

    @pytest.mark.parametrize(
        ("name", "password"), [("alice", "x"), ("carol", "alices-password")], ids=["pw", "name"]
    )
    def test_wrong_credentials_are_an_invalid_grant(
        self, site: Site, name: str, password: str
    ) -> None:
        """RFC 6749 section 5.2: the answer does not tell which of them is wrong."""
        answer = site.token("password", username=name, password=password)

        assert error_of(answer) == "invalid_grant"
        assert site.reason == "refused: user name or password is wrong"

    def test_both_are_needed(self, site: Site) -> None:
        """RFC 6749 section 4.3.2: a missing field is an invalid request."""
        assert error_of(site.token("password", username="alice")) == "invalid_request"


class TestJwtBearer:
    def test_an_assertion_of_a_client_is_worth_a_token(self, site: Site) -> None:
        """RFC 7523 section 2.1: in the name of its subject, without further authentication."""
        assertion = site.assertion(sub="alice", scope="read")

        content = site.token(JWT_GRANT, None, assertion=assertion).json()

        claims = claims_of(site, content["access_token"])
        assert (claims["sub"], claims["client_id"]) == ("alice", "robot")
        assert content["scope"] == "read"
        assert "refresh_token" not in content

    def test_a_client_may_prove_itself_as_well(self, site: Site) -> None:
        """RFC 7521 section 4.1: then the token is its own, and wrong credentials are refused."""
        content = site.token(JWT_GRANT, assertion=site.assertion(), scope="a").json()
        wrong = site.token(JWT_GRANT, ("app", "x"), assertion=site.assertion())

        assert claims_of(site, content["access_token"])["client_id"] == "app"
        assert content["scope"] == "a"
        assert wrong.json()["error"] == "invalid_client"

    def test_other_issuers_can_be_trusted(self, site: Site) -> None:
        """RFC 7521 section 3: a third party issues assertions, with a key of `issuers=`."""
        issuers = {"https://idp.test": KEY.as_dict(private=False)}
        idp = site.auth.oauth2("/trusting", issuers=issuers)
        assertion = site.assertion(iss="https://idp.test", aud=idp.issuer, sub="carol")
        form = {"grant_type": JWT_GRANT, "assertion": assertion}

        token = requests.post(idp.url, form, timeout=5).json()["access_token"]

        assert idp.issuer in str(claims_of(Site(site.auth, idp, site.clock), token)["iss"])

    def test_its_own_tokens_are_assertions(self, site: Site) -> None:
        """RFC 7523 section 3: a token of the provider is for the provider, too."""
        own = site.idp.issue(sub="bob", client_id="app")

        content = site.token(JWT_GRANT, None, assertion=own).json()

        claims = claims_of(site, content["access_token"])
        assert (claims["sub"], claims["client_id"]) == ("bob", "app")

    def test_its_own_tokens_must_be_alive(self, site: Site) -> None:
        """RFC 7523 section 3.1: a revoked one is an invalid grant."""
        own = site.idp.issue()
        site.idp.revoke()

        assert error_of(site.token(JWT_GRANT, None, assertion=own)) == "invalid_grant"
        assert site.reason == "refused: oauth2#1 revoked"

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            pytest.param({"aud": "x"}, "assertion is for another audience", id="audience"),
            pytest.param({"exp": 1}, "assertion has expired", id="expired"),
            pytest.param({"sub": None}, "assertion has no claim sub", id="no sub"),
            pytest.param(
                {"iss": "x"}, "the signature of assertion fits no key of its issuer", id="issuer"
            ),
            pytest.param(
                {"iss": "app"}, "the signature of assertion fits no key of its issuer", id="secret"
            ),
        ],
    )
    def test_an_assertion_must_be_right(
        self, site: Site, changed: dict[str, object], reason: str
    ) -> None:
        """RFC 7523 section 3.1: else it is an invalid grant."""
        answer = site.token(JWT_GRANT, None, assertion=site.assertion(**changed))

        assert error_of(answer) == "invalid_grant"
        assert site.reason == f"refused: {reason}"


class TestTokenExchange:
    def exchange(
        self, site: Site, token: str, kind: str = ACCESS_TOKEN, **fields: str
    ) -> requests.Response:
        """The answer to that subject token."""
        return site.token(
            EXCHANGE_GRANT, OTHER, subject_token=token, subject_token_type=kind, **fields
        )

    def test_a_token_is_bought_with_a_token(self, site: Site) -> None:
        """RFC 8693 section 2.2.1: in the name of the same subject, for another client."""
        subject = site.sign_in("read write")["access_token"]

        content = self.exchange(site, subject, audience="api", scope="read").json()

        claims = claims_of(site, content["access_token"])
        assert (claims["sub"], claims["client_id"], claims["aud"]) == ("alice", "other", "api")
        assert content["issued_token_type"] == ACCESS_TOKEN
        assert content["scope"] == "read"

    def test_the_scope_is_that_of_the_subject_at_most(self, site: Site) -> None:
        """RFC 8693 section 2.1: without a wish all of it, more is invalid_scope."""
        subject = site.sign_in("read")["access_token"]

        assert self.exchange(site, subject).json()["scope"] == "read"
        assert error_of(self.exchange(site, subject, scope="write")) == "invalid_scope"

    def test_an_actor_is_named_in_the_token(self, site: Site) -> None:
        """RFC 8693 section 4.1: `act` names who acts, and who has acted before."""
        alice = site.sign_in()["access_token"]
        first = site.token("client_credentials").json()["access_token"]
        second = site.token("client_credentials", OTHER).json()["access_token"]

        for actor in (first, second):
            fields = {"actor_token": actor, "actor_token_type": JWT}
            alice = self.exchange(site, alice, **fields).json()["access_token"]

        act = claims_of(site, alice)["act"]
        assert act == {"sub": "other", "act": {"sub": "app"}}

    @pytest.mark.parametrize(
        ("kind", "name"), [(ID_TOKEN, "id_token"), (JWT, "access_token")], ids=["id", "jwt"]
    )
    def test_subjects_are_of_several_types(self, site: Site, kind: str, name: str) -> None:
        """RFC 8693 section 3: ID tokens and JWTs are good subjects, too."""
        subject = site.sign_in()[name]

        answer = self.exchange(site, subject, kind, requested_token_type=JWT)

        assert answer.json()["issued_token_type"] == JWT

    def test_a_token_of_another_endpoint_is_a_subject(self, site: Site) -> None:
        """A step before the exchange may be any token endpoint of the same server."""
        device = site.auth.token("device_token", "POST /device")
        token = requests.post(device.url, timeout=5).json()["access_token"]

        bought = self.exchange(site, token).json()["access_token"]

        assert claims_of(site, bought)["sub"] == "device_token"
        device.revoke()
        assert site.introspect(bought) == {"active": False}

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            pytest.param({"subject_token": ""}, "field subject_token is missing", id="no subject"),
            pytest.param(
                {"subject_token_type": ""}, "field subject_token_type is missing", id="no type"
            ),
            pytest.param(
                {"subject_token": "x"}, "field subject_token has an unknown token", id="unknown"
            ),
            pytest.param(
                {"subject_token_type": ID_TOKEN},
                "oauth2#1 is not of the type in field subject_token_type",
                id="type",
            ),
            pytest.param(
                {"requested_token_type": ID_TOKEN},
                "field requested_token_type is not supported",
                id="requested type",
            ),
            pytest.param(
                {"actor_token_type": JWT},
                "field actor_token_type is there without actor_token",
                id="no actor",
            ),
        ],
    )
    def test_a_wrong_request_is_refused(
        self, site: Site, fields: dict[str, str], reason: str
    ) -> None:
        """RFC 8693 sections 2.1 and 2.2.2: invalid_request."""
        subject = {"subject_token": site.idp.issue(), "subject_token_type": ACCESS_TOKEN}

        answer = site.token(EXCHANGE_GRANT, **{**subject, **fields})

        assert error_of(answer) == "invalid_request"
        assert site.reason == f"refused: {reason}"

    def test_a_dead_subject_is_refused(self, site: Site) -> None:
        """RFC 8693 section 2.2.2: a token that is invalid for any reason is invalid_request."""
        answer = self.exchange(site, site.idp.issue(expired=True))

        assert error_of(answer) == "invalid_request"
        assert site.reason.startswith("refused: oauth2#1 expired at")

    def test_a_rotated_refresh_token_is_no_subject(self, site: Site) -> None:
        """RFC 8693 section 2.2.2: what was replaced is worth nothing."""
        token = site.sign_in()["refresh_token"]
        kind = "urn:ietf:params:oauth:token-type:refresh_token"
        assert self.exchange(site, token, kind).status_code == 200
        site.refresh(token)

        assert error_of(self.exchange(site, token, kind)) == "invalid_request"
        assert site.reason == "refused: oauth2.refresh#1 was rotated"

    def test_a_code_is_no_subject(self, site: Site) -> None:
        """RFC 8693 section 3: an authorization code is no token."""
        assert error_of(self.exchange(site, site.code())) == "invalid_request"
