"""What a FakeAuth says to requests with flaws, and how its endpoints are defined."""

from collections.abc import Callable, Iterator
from io import BytesIO

import pytest
import requests
from requests import Response

from pytest_requestforge import FakeAuth
from pytest_requestforge.fake_auth import TokenEndpoint


@pytest.fixture(params=["inprocess", "loopback"])
def auth(request: pytest.FixtureRequest) -> Iterator[FakeAuth]:
    """A FakeAuth on each transport."""
    with FakeAuth("https://auth.example.com", transport=request.param, seed=7) as fake:
        yield fake


def ask(endpoint: TokenEndpoint, method: str | None = None, **parts: object) -> Response:
    """The answer of an endpoint."""
    return requests.request(method or endpoint.method, endpoint.url, timeout=5, **parts)


CREDENTIALS = {"client_id": "app-id", "client_secret": "app-secret"}


class TestBody:
    @pytest.mark.parametrize("kind", ["data", "json"])
    def test_the_right_fields_buy_a_token(self, auth: FakeAuth, kind: str) -> None:
        """The fields of `body` may come in a form or as JSON, and others beside them."""
        app = auth.token("app", "POST /app", body=CREDENTIALS)

        assert ask(app, **{kind: {**CREDENTIALS, "more": "x"}}).status_code == 200

    @pytest.mark.parametrize(
        ("field", "status", "error"),
        [
            ("client_id", 401, "invalid_client"),
            ("client_secret", 401, "invalid_client"),
            ("client_assertion", 401, "invalid_client"),
            ("username", 400, "invalid_grant"),
            ("password", 400, "invalid_grant"),
            ("code", 400, "invalid_grant"),
            ("refresh_token", 400, "invalid_grant"),
            ("grant_type", 400, "unsupported_grant_type"),
            ("scope", 400, "invalid_scope"),
            ("audience", 400, "invalid_target"),
            ("tenant", 400, "invalid_request"),
        ],
    )
    def test_a_wrong_field_gets_its_error(
        self, auth: FakeAuth, field: str, status: int, error: str
    ) -> None:
        """A wrong value gets the error of RFC 6749 section 5.2 that fits the field."""
        app = auth.token("app", "POST /app", body={field: "right-value"})

        answer = ask(app, data={field: "wrong-value"})

        assert (answer.status_code, answer.json()["error"]) == (status, error)
        assert ("WWW-Authenticate" in answer.headers) == (status == 401)
        assert "-value" not in answer.text
        reason = auth.journal[-1].reason
        assert reason == f"refused: field {field} has another value than expected"

    def test_a_wrong_client_is_challenged_for_basic(self, auth: FakeAuth) -> None:
        """The 401 of invalid_client has the challenge that RFC 9110 section 15.5.2 asks for."""
        app = auth.token("app", "POST /app", body=CREDENTIALS)

        answer = ask(app, data={**CREDENTIALS, "client_secret": "guessed"})

        assert answer.headers["WWW-Authenticate"] == 'Basic realm="fake auth"'

    @pytest.mark.parametrize(
        ("field", "status", "error"),
        [
            ("client_id", 400, "invalid_request"),
            ("client_secret", 401, "invalid_client"),
            ("username", 400, "invalid_request"),
        ],
    )
    def test_a_missing_field_gets_its_error(
        self, auth: FakeAuth, field: str, status: int, error: str
    ) -> None:
        """A missing field is invalid_request; a missing client secret no authentication at all."""
        app = auth.token("app", "POST /app", body={field: "value"})

        answer = ask(app, data={"other": "x"})

        assert (answer.status_code, answer.json()["error"]) == (status, error)
        assert auth.journal[-1].reason == f"refused: field {field} is missing"

    def test_an_empty_body_lacks_every_field(self, auth: FakeAuth) -> None:
        """Without a body the first demanded field is missing."""
        app = auth.token("app", "POST /app", body={"username": "ada"})

        assert ask(app).json() == {
            "error": "invalid_request",
            "error_description": "field username is missing",
        }

    @pytest.mark.parametrize(
        ("expected", "sent", "status"),
        [
            pytest.param({"n": 1}, {"n": 1}, 200, id="number"),
            pytest.param({"n": 1}, {"n": "1"}, 400, id="text for a number"),
            pytest.param({"a": {"b": "x"}}, {"a": {"b": "x", "c": 1}}, 200, id="nested"),
            pytest.param({"a": {"b": "x"}}, {"a": {"b": "y"}}, 400, id="nested and wrong"),
            pytest.param({"a": {"b": "x"}}, {"a": "x"}, 400, id="flat for nested"),
            pytest.param({"a": ("x", "y")}, {"a": ["x", "y"]}, 200, id="list"),
            pytest.param({"a": ["x", "y"]}, {"a": ["x"]}, 400, id="short list"),
            pytest.param({"a": None}, {"a": None}, 200, id="null"),
            pytest.param({"1": "x"}, {"1": "y"}, 400, id="a number for a name"),
        ],
    )
    def test_json_is_compared_value_by_value(
        self, auth: FakeAuth, expected: dict[str, object], sent: object, status: int
    ) -> None:
        """In JSON values are compared with their types, at any depth."""
        app = auth.token("app", "POST /app", body=expected)

        assert ask(app, json=sent).status_code == status

    @pytest.mark.parametrize(
        ("expected", "sent", "status"),
        [
            pytest.param({"n": 1}, {"n": 1}, 200, id="number"),
            pytest.param({"a": ["x", "y"]}, {"a": ["x", "y"]}, 200, id="repeated"),
            pytest.param({"a": ["x"]}, {"a": "x"}, 200, id="once"),
            pytest.param({"a": "x"}, {"a": ["x", "x"]}, 400, id="repeated for once"),
            pytest.param({"a": None}, {"a": None}, 200, id="None is not sent"),
        ],
    )
    def test_a_form_is_compared_as_text(
        self, auth: FakeAuth, expected: dict[str, object], sent: object, status: int
    ) -> None:
        """In a form values are texts, and a field may be repeated."""
        app = auth.token("app", "POST /app", body=expected)

        assert ask(app, data=sent).status_code == status

    def test_the_fields_of_get_are_in_its_query(self, auth: FakeAuth) -> None:
        """An endpoint of method GET reads the query."""
        app = auth.token("app", "GET /app", body={"client_id": "app-id"})

        assert ask(app, params={"client_id": "app-id"}).status_code == 200
        assert ask(app, params={"client_id": "other"}).status_code == 401

    @pytest.mark.parametrize(
        ("content_type", "content", "said"),
        [
            pytest.param("text/plain", "client_id=x", "content type is text/plain", id="text"),
            pytest.param(None, "client_id=x", "content type is none", id="no type"),
            pytest.param("application/json", "{", "not one readable JSON object", id="broken"),
            pytest.param("application/json", "[1]", "not one readable JSON object", id="array"),
            pytest.param("application/json", "[" * 9999, "not one readable", id="too deep"),
        ],
    )
    def test_an_unreadable_body_is_an_invalid_request(
        self, auth: FakeAuth, content_type: str | None, content: str, said: str
    ) -> None:
        """A body of a wrong type, or that is no JSON object, gets invalid_request."""
        app = auth.token("app", "POST /app", body={"client_id": "app-id"})

        answer = ask(app, data=content.encode(), headers={"Content-Type": content_type})

        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        assert said in auth.journal[-1].reason

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(lambda: "client_id=app-id", id="text"),
            pytest.param(lambda: b"client_id=app-id", id="bytes"),
            pytest.param(lambda: BytesIO(b"client_id=app-id"), id="file"),
            pytest.param(lambda: iter((b"client_id=", b"app-id")), id="chunks"),
        ],
    )
    def test_a_body_may_be_anything_that_requests_sends(
        self, auth: FakeAuth, body: Callable[[], object]
    ) -> None:
        """A body is read whether it is sent as text, bytes, a file or in chunks."""
        app = auth.token("app", "POST /app", body={"client_id": "app-id"})
        form = {"Content-Type": "application/x-www-form-urlencoded"}

        assert ask(app, data=body(), headers=form).status_code == 200


class TestHeaders:
    def test_a_header_may_be_demanded_with_its_value(self, auth: FakeAuth) -> None:
        """A text in `requires` is the value that the header must have."""
        app = auth.token("app", "POST /app", requires={"X-Device-ID": "device-1"})

        assert ask(app).json()["error_description"] == "X-Device-ID is missing"
        wrong = ask(app, headers={"X-Device-ID": "device-2"})
        assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_request")
        assert ask(app, headers={"x-device-id": "device-1"}).status_code == 200

    def test_a_wrong_credential_in_a_header_is_an_invalid_client(self, auth: FakeAuth) -> None:
        """A header whose name says that it holds a secret authenticates the client."""
        app = auth.token("app", "POST /app", requires={"X-API-Key": "right-key"})

        answer = ask(app, headers={"X-API-Key": "wrong-key"})

        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert "-key" not in answer.text

    def test_a_token_is_judged_before_the_body(self, auth: FakeAuth) -> None:
        """A request with several flaws gets the answer to the first: headers, then body."""
        app = auth.token("app", "POST /app")
        user = auth.token("user", "POST /user", requires={"X-App": app}, body={"username": "ada"})

        assert ask(user).status_code == 401

    def test_values_that_requests_takes_as_bytes_are_read(self) -> None:
        """A header value in bytes is what it says."""
        with FakeAuth() as auth:
            app = auth.token("app", "POST /app", requires={"X-Device-ID": "device-1"})

            assert ask(app, headers={"X-Device-ID": b"device-1"}).status_code == 200


class TestRouting:
    def test_a_wrong_method_is_told_the_right_ones(self, auth: FakeAuth) -> None:
        """Another method than the endpoint's gets 405 with Allow, and counts as having arrived."""
        app = auth.token("app", "POST /app")
        auth.resource("DELETE /app")

        answer = ask(app, "GET")

        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST, DELETE")
        assert answer.json()["error"] == "invalid_request"
        assert auth.fetch_counts == {"app": 1}
        assert auth.journal[-1].reason == "refused: method is GET, expected POST or DELETE"

    def test_a_head_request_is_answered_without_a_body(self, auth: FakeAuth) -> None:
        """A connection stays usable after HEAD, whose answer has no body."""
        app = auth.token("app", "POST /app")
        with requests.Session() as session:
            assert session.head(app.url).status_code == 405
            assert session.post(app.url).status_code == 200

    def test_endpoints_at_one_url_are_told_apart_by_their_fields(self, auth: FakeAuth) -> None:
        """Of endpoints with one URL the one answers whose demands the request meets best."""
        first = auth.token("first", "POST /token", body={"audience": "a", "client_id": "x"})
        auth.token("second", "POST /token", body={"audience": "b", "client_id": "x"})

        ask(first, data={"audience": "a", "client_id": "x"})
        ask(first, data={"audience": "b", "client_id": "x"})
        ask(first, data={"audience": "b", "client_id": "wrong"})

        assert [entry.step for entry in auth.journal] == ["first", "second", "second"]
        assert [entry.status for entry in auth.journal] == [200, 200, 401]

    def test_a_path_is_compared_decoded(self, auth: FakeAuth) -> None:
        """Escapes in a path mean the characters that they stand for."""
        app = auth.token("app", "POST /a b/ü")

        assert app.url.endswith("/a%20b/%C3%BC")
        assert ask(app).status_code == 200
        assert auth.journal[-1].path == "/a%20b/%C3%BC"

    def test_a_base_url_may_have_a_path(self) -> None:
        """Paths of endpoints are below that of the base URL."""
        with FakeAuth("https://auth.example.com/tenant/") as auth:
            app = auth.token("app", "POST /app")

            assert auth.base_url == auth.url == "https://auth.example.com/tenant"
            assert app.url == "https://auth.example.com/tenant/app"
            assert ask(app).status_code == 200

    def test_default_ports_and_case_of_the_host_do_not_matter(self) -> None:
        """https://AUTH.example.com:443 is https://auth.example.com."""
        with FakeAuth("https://AUTH.example.com:443") as auth:
            auth.token("app", "POST /app")

            assert requests.post("https://auth.example.com/app", timeout=5).status_code == 200

    def test_without_a_base_url_there_is_one(self) -> None:
        """In process the base URL is https://auth.example.test unless given."""
        assert FakeAuth().url == "https://auth.example.test"


class TestDefinitions:
    @pytest.mark.parametrize(
        "at",
        [
            "/token",
            "POST",
            "POST ",
            "POST token",
            "POST ftp://host/token",
            "PO-ST /token",
            "GET /a?b=c",
        ],
    )
    def test_a_malformed_place_is_refused(self, at: str) -> None:
        """An endpoint is "METHOD /path" or "METHOD https://host/path", and nothing else."""
        with pytest.raises(ValueError, match="http"):
            FakeAuth().token("app", at)

    def test_a_method_may_be_in_lower_case(self) -> None:
        """Methods are read in any case."""
        assert FakeAuth().token("app", "post /token").method == "POST"

    @pytest.mark.parametrize("url", ["auth.example.com", "file:///etc", "https://"])
    def test_a_base_url_is_absolute(self, url: str) -> None:
        """A base URL without http(s) or without a host is refused."""
        with pytest.raises(ValueError, match="http"):
            FakeAuth(url)

    def test_an_unknown_transport_is_refused(self) -> None:
        """A transport is "inprocess" or "loopback"."""
        with pytest.raises(ValueError, match="not 'pigeon'"):
            FakeAuth(transport="pigeon")

    def test_a_name_is_given_once(self) -> None:
        """Two token endpoints of one name are refused."""
        auth = FakeAuth()
        auth.token("app", "POST /one")

        with pytest.raises(ValueError, match="'app' already"):
            auth.token("app", "POST /two")

    def test_an_empty_name_is_refused(self) -> None:
        """A token endpoint has the name of its step."""
        with pytest.raises(ValueError, match="needs a name"):
            FakeAuth().token("", "POST /one")

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("/a/../b", "/b"),
            ("/../a/./b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/..", "/"),
            ("/a//b/.hidden", "/a//b/.hidden"),
        ],
    )
    def test_a_path_with_dots_is_the_one_that_clients_ask(
        self, auth: FakeAuth, written: str, meant: str
    ) -> None:
        """Clients take dots out of a path before they ask (RFC 3986 section 5.2.4)."""
        thing = auth.resource(f"GET {written}")

        assert thing.path == meant
        assert requests.get(auth.url + written, timeout=5).status_code == 200

    @pytest.mark.parametrize("given", ["app", object], ids=["name", "class"])
    def test_a_token_is_demanded_by_its_endpoint(self, given: object) -> None:
        """Something else in its place is refused when the endpoint is defined."""
        with pytest.raises(TypeError, match=r"by its endpoint, which token\(\) and serve\(\) give"):
            FakeAuth().resource("GET /me", needs=given)

    def test_a_header_is_a_text_or_an_endpoint(self) -> None:
        """A header cannot be demanded by a number."""
        with pytest.raises(TypeError, match="not by int"):
            FakeAuth().token("app", "POST /app", requires={"X-Version": 1})

    def test_a_body_is_json(self) -> None:
        """A resource that could not be sent is refused when it is defined."""
        with pytest.raises(TypeError, match=r"json= is the body.*set"):
            FakeAuth().resource("GET /me", json={"ids": {1, 2}})

    def test_a_lifetime_is_a_number_or_a_timedelta(self) -> None:
        """A text is no lifetime."""
        with pytest.raises(TypeError, match="number of seconds or a timedelta, not str"):
            FakeAuth().token("app", "POST /app", expires_in="60")

    def test_two_endpoints_for_one_request_are_refused(self) -> None:
        """An endpoint that no request could tell from another is refused."""
        auth = FakeAuth()
        auth.resource("GET /me")

        with pytest.raises(ValueError, match="answer the same request, GET /me"):
            auth.token("app", "GET /me")

    def test_on_loopback_hosts_do_not_tell_endpoints_apart(self) -> None:
        """Endpoints of two hosts at one path are one request on a socket of its own."""
        for transport in ("inprocess", "loopback"):
            auth = FakeAuth(transport=transport)
            auth.resource("GET https://a.test/me")
            if transport == "inprocess":
                auth.resource("GET https://b.test/me")
            else:
                with pytest.raises(ValueError, match="answer the same request"):
                    auth.resource("GET https://b.test/me")

    def test_a_negative_lifetime_is_refused(self) -> None:
        """A token cannot end before it is issued."""
        with pytest.raises(ValueError, match="must not be negative, but is -1"):
            FakeAuth().token("app", "POST /app", expires_in=-1)

    def test_a_token_of_another_server_cannot_be_required(self) -> None:
        """Tokens of another FakeAuth are unknown, so requiring one is refused."""
        app = FakeAuth().token("app", "POST /app")
        auth = FakeAuth()

        with pytest.raises(ValueError, match="of another FakeAuth"):
            auth.resource("GET /me", needs=app)
        with pytest.raises(ValueError, match="of another FakeAuth"):
            auth.token("user", "POST /user", body={"app": app})

    def test_a_repr_says_what_there_is_without_secrets(self) -> None:
        """The repr of a FakeAuth and of an endpoint names its URL, and no secret."""
        auth = FakeAuth(seed=3)
        app = auth.token("app", "POST /app", body={"client_secret": "sesame-open"})

        assert repr(auth) == "<FakeAuth https://auth.example.test/ inprocess, seed 3>"
        assert repr(app) == "<TokenEndpoint app: POST https://auth.example.test/app>"
        assert auth.endpoints == {"app": app}
