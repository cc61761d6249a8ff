"""The admin API of `requestforge fake-auth serve`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
from joserfc.jwk import ECKey
from standalone import Server, serving

from requestforge import __version__

SECRET = "canary-app-secret"
PASSWORD = "canary-alices-password"

FILE = f"""
[[token]]
name = "app_token"
at = "POST /v1/app/token"
expires_in = 3600

[[resource]]
at = "GET /me"
needs = "app_token"

[oauth2]
clients = {{ app = "{SECRET}" }}
users = {{ alice = "{PASSWORD}" }}
"""


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all tests; starting one takes half a second."""
    with serving(tmp_path_factory.mktemp("served"), FILE, "--quiet") as running:
        yield running


@pytest.fixture
def server(process: Server) -> Server:
    """A server that has begun anew."""
    process.admin("POST", "/reset")
    return process


def grant(server: Server, **fields: str) -> requests.Response:
    """What the provider answers to a form of the client."""
    return server.ask("POST", "/oauth2/token", data=fields, auth=("app", SECRET))


class TestWhatItTells:
    def test_the_overview_names_endpoints_and_calls(self, server: Server) -> None:
        """It is there as soon as the server is, so that it serves as a health check."""
        told = server.admin("GET", "/")

        assert told["requestforge"] == __version__
        assert told["url"] == server.url
        assert told["endpoints"]["app_token"] == {
            "method": "POST",
            "url": f"{server.url}/v1/app/token",
        }
        assert told["endpoints"]["GET /me"]["url"] == f"{server.url}/me"
        assert told["endpoints"]["oauth2.jwks"]["url"] == f"{server.url}/oauth2/jwks"
        assert "POST /_rf/reset" in told["admin"]

    def test_the_prefix_alone_is_the_overview(self, server: Server) -> None:
        """`/_rf` and `/_rf/` are one place."""
        assert server.admin("GET", "")["url"] == server.url

    def test_the_journal_has_each_request_without_secrets(self, server: Server) -> None:
        """Entries, and the number of fetches of each token; requests to the API are none."""
        token = server.token()
        server.get("/me", token)
        grant(server, grant_type="password", username="alice", password=PASSWORD)

        text = server.ask("GET", "/_rf/journal").text
        told = server.admin("GET", "/journal")

        assert [entry["reason"] for entry in told["entries"]] == [
            "issued app_token#1",
            "accepted app_token#1",
            "issued oauth2#1",
        ]
        assert told["fetch_counts"] == {"app_token": 1, "oauth2": 1}
        assert not [each for each in (token, SECRET, PASSWORD) if each in text]

    def test_the_journal_can_be_read_on(self, server: Server) -> None:
        """`since` leaves out what has been read already."""
        server.token()
        server.token()

        told = server.admin("GET", "/journal?since=1")

        assert [entry["number"] for entry in told["entries"]] == [2]
        assert told["fetch_counts"] == {"app_token": 1}


class TestClock:
    def test_time_can_pass(self, server: Server) -> None:
        """A token ends when the clock has been put forward by its life."""
        token = server.token()
        server.admin("POST", "/clock", advance=3590)
        assert server.get("/me", token) == 200

        server.admin("POST", "/clock", advance=10)
        assert server.get("/me", token) == 401
        assert "expired" in server.admin("GET", "/journal")["entries"][-1]["reason"]

    def test_the_clock_can_be_set_to_a_later_moment(self, server: Server) -> None:
        """A moment is in ISO 8601; from there on time passes as ever."""
        told = server.admin("POST", "/clock", move_to="2061-07-28T00:00:00Z")

        assert told["now"].startswith("2061-07-28T00:00:0")
        assert server.admin("GET", "/clock")["now"] >= told["now"]


class TestFaults:
    def test_a_fault_strikes_as_often_as_it_is_called_for(self, server: Server) -> None:
        """Then service is normal."""
        told = server.admin("POST", "/faults", on="app_token", kind="fail", status=500, times=2)
        assert told == {"app_token": ["fail(500) never used"]}

        statuses = [server.ask("POST", "/v1/app/token").status_code for _ in range(3)]

        assert statuses == [500, 500, 200]
        assert server.admin("GET", "/faults") == {"app_token": ["fail(500) used 2 of 2 times"]}

    @pytest.mark.parametrize(
        ("kind", "error"),
        [
            ("reset", requests.ConnectionError),
            ("hang", requests.ReadTimeout),
            ("truncate", requests.ConnectionError),
        ],
    )
    def test_faults_are_real(self, server: Server, kind: str, error: type[Exception]) -> None:
        """What belongs to a connection happens on the connection."""
        server.admin("POST", "/faults", on="GET /me", kind=kind)

        with pytest.raises((error, requests.exceptions.ChunkedEncodingError)):
            requests.get(f"{server.url}/me", timeout=0.2)

    def test_parts_of_a_provider_can_fail(self, server: Server) -> None:
        """They go by the name of the provider and their own."""
        server.admin("POST", "/faults", on="oauth2.jwks", kind="html")

        assert "text/html" in server.ask("GET", "/oauth2/jwks").headers["Content-Type"]

    def test_faults_can_be_dropped(self, server: Server) -> None:
        """Chaos ends with them."""
        server.admin("POST", "/chaos", rate=1, seed=7, kinds=["fail"])
        server.admin("POST", "/faults", on="app_token", kind="fail", status=500)
        assert server.ask("POST", "/v1/app/token").status_code == 500
        assert server.ask("POST", "/v1/app/token").status_code == 503
        server.admin("POST", "/faults", on="app_token", kind="fail", status=500)

        server.admin("DELETE", "/faults")

        assert server.ask("POST", "/v1/app/token").status_code == 200


class TestHappenings:
    def test_the_last_token_is_revoked(self, server: Server) -> None:
        """Older ones live on."""
        first, last = server.token(), server.token()

        server.admin("POST", "/revoke", on="app_token")

        assert [server.get("/me", token) for token in (first, last)] == [200, 401]

    def test_all_tokens_are_revoked(self, server: Server) -> None:
        """On demand all of them are."""
        tokens = [server.token(), server.token()]

        server.admin("POST", "/revoke", on="app_token", all=True)

        assert [server.get("/me", token) for token in tokens] == [401, 401]

    def test_tokens_expire(self, server: Server) -> None:
        """The life of all tokens of an endpoint ends."""
        token = server.token()

        server.admin("POST", "/expire", on="app_token")

        assert server.get("/me", token) == 401

    @pytest.mark.parametrize(("fields", "keys"), [({}, 2), ({"keep_old": False}, 1)], ids=str)
    def test_keys_are_rotated(self, server: Server, fields: dict[str, Any], keys: int) -> None:
        """The old key stays in the set unless told otherwise."""
        before = server.ask("GET", "/oauth2/jwks").json()["keys"]

        server.admin("POST", "/rotate-keys", **fields)

        after = server.ask("GET", "/oauth2/jwks").json()["keys"]
        assert len(before) == 1
        assert len(after) == keys
        assert before[0] in after or keys == 1

    def test_a_user_signs_in_without_a_browser(self, server: Server) -> None:
        """The API gives the URL that the browser would be sent to; its code buys tokens."""
        callback = "https://app.example.com/callback"
        query = urlencode(
            {"response_type": "code", "client_id": "app", "redirect_uri": callback, "state": "s"}
        )
        url = f"{server.url}/oauth2/authorize?{query}"

        sent_to = server.admin("POST", "/authorize", url=url, sub="alice")["location"]

        found = parse_qs(urlsplit(sent_to).query)
        assert found["state"] == ["s"]
        form = {"grant_type": "authorization_code", "redirect_uri": callback}
        assert grant(server, code=found["code"][0], **form).status_code == 200

    def test_a_user_refuses_without_a_browser(self, server: Server) -> None:
        """Without `sub` nobody consents."""
        query = "response_type=code&client_id=app&redirect_uri=https%3A%2F%2Fapp.example.com"
        url = f"{server.url}/oauth2/authorize?{query}"

        assert "access_denied" in server.admin("POST", "/authorize", url=url)["location"]

    @pytest.mark.parametrize(
        ("call", "fields", "status"),
        [("approve", {"sub": "alice", "on": "oauth2"}, 200), ("deny", {}, 400)],
        ids=["approve", "deny"],
    )
    def test_a_device_is_approved_or_denied(
        self, server: Server, call: str, fields: dict[str, str], status: int
    ) -> None:
        """The device learns it at its next poll."""
        codes = server.ask("POST", "/oauth2/device_authorization", auth=("app", SECRET)).json()

        server.admin("POST", f"/{call}", user_code=codes["user_code"], **fields)

        device = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code"}
        assert grant(server, device_code=codes["device_code"], **device).status_code == status


class TestReset:
    def test_everything_is_as_after_a_start(self, server: Server) -> None:
        """Tokens, journal, faults, keys and time of before are gone."""
        token = server.token()
        server.admin("POST", "/clock", advance=864_000)
        server.admin("POST", "/faults", on="app_token", kind="reset")
        server.admin("POST", "/rotate-keys")
        late = server.admin("GET", "/clock")["now"]

        server.admin("POST", "/reset")

        assert server.admin("GET", "/journal") == {"entries": [], "fetch_counts": {}}
        assert server.admin("GET", "/faults") == {}
        assert server.admin("GET", "/clock")["now"] < late
        assert len(server.ask("GET", "/oauth2/jwks").json()["keys"]) == 1
        assert server.get("/me", token) == 401
        assert server.get("/me", server.token()) == 200

    def test_a_file_that_has_gone_leaves_the_server_as_it_is(self, tmp_path: Path) -> None:
        """The answer says what is wrong, and the server goes on."""
        key = tmp_path / "robot.json"
        public = ECKey.generate_key("P-256").as_dict(private=False)
        key.write_text(json.dumps(public), encoding="utf-8")
        text = f'{FILE}[oauth2.clients.robot]\nkey_file = "robot.json"\n'
        text = text.replace("clients = {", "[oauth2.clients]\n#").replace(
            "\nusers = {", "\n[oauth2.users]\n#"
        )
        with serving(tmp_path, text, "--quiet") as server:
            token = server.token()
            key.unlink()

            answer = server.ask("POST", "/_rf/reset")

            assert answer.status_code == 400
            assert "robot.json cannot be read: No such file" in answer.json()["error"]
            assert server.get("/me", token) == 200


@pytest.mark.parametrize(
    ("request_line", "body", "status", "said"),
    [
        ("GET /nothing", None, 404, "There is no /_rf/nothing. There is: /_rf/, /_rf/approve"),
        ("PUT /clock", None, 405, "/_rf/clock takes GET and POST."),
        ("POST /reset", "{", 400, "no JSON"),
        ("POST /reset", "[]", 400, "no object"),
        ("GET /?x=1", None, 400, "/: there is no key 'x'. There is: none."),
        ("GET /journal?since=x", None, 400, "since must be the number"),
        ("POST /clock", "{}", 400, "either advance, in seconds, or move_to"),
        ("POST /clock", '{"advance": "1"}', 400, "clock: advance must be a number."),
        ("POST /clock", '{"advance": -1}', 400, "can only be put forward"),
        ("POST /clock", '{"advance": 1e99}', 400, "there is no date 1e+99 seconds from now"),
        ("POST /clock", '{"advance": 250e9}', 400, "There is no date"),
        ("POST /clock", '{"move_to": "1999-01-01"}', 400, "can only be put forward"),
        ("POST /clock", '{"move_to": "noon"}', 400, "clock: Invalid isoformat"),
        ("POST /revoke", '{"on": "app_tokn"}', 400, "did you mean 'app_token'?"),
        ("POST /revoke", '{"on": "app_token"}', 400, "app_token has issued no token yet"),
        ("POST /expire", "{}", 400, "the key 'on' is missing"),
        ("POST /faults", '{"on": "app_token", "kind": "fial"}', 400, "did you mean 'fail'?"),
        ("POST /faults", '{"on": "x", "kind": "fail"}', 400, "no endpoint 'x'"),
        ("POST /faults", '{"on": "app_token", "kind": "fail", "times": 0}', 400, "1 or more"),
        ("POST /faults", '{"on": "app_token", "kind": "reset", "status": 3}', 400, "'status'"),
        ("POST /faults", '{"on": "app_token", "kind": "fail", "status": 3}', 400, "400 to 599"),
        ("POST /chaos", '{"rate": 2}', 400, "from 0 to 1"),
        ("POST /chaos", '{"kinds": ["rest"]}', 400, "did you mean 'reset'?"),
        ("POST /approve", '{"user_code": "X", "sub": "alice"}', 400, "approve: "),
        ("POST /deny", '{"user_code": "X", "on": "idp"}', 400, "no provider 'idp'"),
        ("POST /authorize", '{"url": "http://x/"}', 400, "The authorization endpoint is"),
    ],
)
def test_a_wrong_request_is_told_why(
    server: Server, request_line: str, body: str | None, status: int, said: str
) -> None:
    """The answer says what is wrong, and how it would be right."""
    method, path = request_line.split()
    answer = server.ask(method, f"/_rf{path}", data=body)

    assert answer.status_code == status
    assert said in answer.json()["error"]
