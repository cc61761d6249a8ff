"""What a FakeAuth keeps of requests, how it masks secrets, and what it says of unmatched ones."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import requests

from doubles import Clock
from pytest_requestforge import FakeAuth
from requestforge.instrumentation import use_clock


@pytest.fixture(params=["inprocess", "loopback"])
def auth(request: pytest.FixtureRequest) -> Iterator[FakeAuth]:
    """A FakeAuth on each transport."""
    with FakeAuth(
        "https://auth.example.com", transport=request.param, strict=False, seed=7
    ) as fake:
        yield fake


class TestEntries:
    def test_an_entry_tells_what_was_asked_and_answered(self, auth: FakeAuth) -> None:
        """An entry has number, step, virtual time, method, URL, status, reason and token."""
        app = auth.token("app_token", "POST /v1/app/token", expires_in=3600)
        start = datetime(2030, 1, 1, tzinfo=UTC)
        with use_clock(Clock(start)):
            requests.post(f"{app.url}?page=1", timeout=5)

        (entry,) = auth.journal
        assert (entry.number, entry.step, entry.kind, entry.at) == (1, "app_token", "token", start)
        assert (entry.method, entry.url) == ("POST", f"{auth.url}/v1/app/token?page=1")
        assert entry.path == "/v1/app/token?page=1"
        assert (entry.status, entry.reason) == (200, "issued app_token#1")
        assert (entry.issued, entry.expires_at) == ("app_token#1", start + timedelta(hours=1))
        assert entry.sent == ()

    def test_both_transports_write_the_same_journal(self) -> None:
        """Over a socket the journal is that of the process, but for hosts and threads."""

        def journal(transport: str) -> list[tuple[object, ...]]:
            with FakeAuth(transport=transport, strict=False) as auth, use_clock(Clock()):
                app = auth.token("app", "POST /app", body={"client_id": "x"}, expires_in=60)
                me = auth.resource("GET https://api.example.com/me", needs=app)
                with requests.Session() as session:
                    text = session.post(app.url, data={"client_id": "x"}).json()["access_token"]
                    session.post(app.url, json={"client_id": "y"})
                    session.get(me.url, headers={"Authorization": f"Bearer {text}"})
                    session.get(f"{auth.url}/nowhere?q=a%20b")
            return [
                (
                    *(entry.number, entry.step, entry.kind, entry.at, entry.method, entry.path),
                    *(entry.status, entry.reason, entry.issued, entry.expires_at, entry.sent),
                    *(entry.headers, entry.body),
                )
                for entry in auth.journal
            ]

        assert journal("inprocess") == journal("loopback")

    def test_in_process_an_entry_names_the_thread_of_the_sender(self) -> None:
        """In process the thread that answers is the one that asks."""
        with FakeAuth() as auth:
            app = auth.token("app", "POST /app")
            thread = threading.Thread(target=requests.post, args=(app.url,), name="worker-9")
            thread.start()
            thread.join()

        assert [entry.thread for entry in auth.journal] == ["worker-9"]

    def test_entries_are_numbered_in_their_order_under_threads(self, auth: FakeAuth) -> None:
        """However many threads ask, numbers and labels follow one order without gaps."""
        app = auth.token("app", "POST /app")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: requests.post(app.url, timeout=5), range(40)))

        assert [entry.number for entry in auth.journal] == list(range(1, 41))
        assert [entry.issued for entry in auth.journal] == [f"app#{n}" for n in range(1, 41)]

    def test_a_journal_is_a_sequence(self, auth: FakeAuth) -> None:
        """A journal has a length, indices and slices; walking it does not see what comes later."""
        app = auth.token("app", "POST /app")
        for _ in range(3):
            requests.post(app.url, timeout=5)
        walk = iter(auth.journal)
        requests.post(app.url, timeout=5)

        assert len(list(walk)) == 3
        assert len(auth.journal) == 4
        assert auth.journal[-1].number == 4
        assert [entry.number for entry in auth.journal[1:3]] == [2, 3]
        assert repr(auth.journal) == "<Journal of 4 requests>"

    def test_what_came_since_a_mark_can_be_asked(self, auth: FakeAuth) -> None:
        """`mark()` and `since()` part what came before from what came after."""
        app = auth.token("app", "POST /app")
        requests.post(app.url, timeout=5)
        mark = auth.journal.mark()
        requests.post(app.url, timeout=5)

        assert [entry.number for entry in auth.journal.since(mark)] == [2]
        assert auth.journal.fetch_counts(mark) == {"app": 1}

    def test_an_entry_can_be_a_member_of_a_set(self, auth: FakeAuth) -> None:
        """Entries are frozen and have a hash."""
        app = auth.token("app", "POST /app")
        requests.post(app.url, timeout=5)

        assert len({*auth.journal, *auth.journal}) == 1

    def test_fetch_counts_name_the_endpoints_that_were_reached(self, auth: FakeAuth) -> None:
        """Requests count whatever the answer; endpoints without one and resources do not appear."""
        app = auth.token("app", "POST /app")
        user = auth.token("user", "POST /user", requires={"X-App": app})
        auth.token("idle", "POST /idle")
        me = auth.resource("GET /me")
        requests.post(app.url, timeout=5)
        requests.post(user.url, timeout=5)
        requests.post(user.url, timeout=5)
        requests.get(me.url, timeout=5)
        requests.get(f"{auth.url}/nowhere", timeout=5)

        assert auth.fetch_counts == {"app": 1, "user": 2}
        assert auth.journal.fetch_counts() == {"app": 1, "user": 2}


class TestMasking:
    def test_tokens_stand_as_labels_wherever_they_were(self, auth: FakeAuth) -> None:
        """A known token is shown as its label in headers, body, query and path."""
        app = auth.token("app", "POST /app")
        text = requests.post(app.url, timeout=5).json()["access_token"]
        requests.post(
            f"{auth.url}/x/{text}?token={text}&note=see-{text}",
            json={"token": text, "list": [text, 1], "deep": {"note": f"<{text}>"}},
            headers={"X-Token": text, "Authorization": f"Bearer {text}", "X-Note": f"{text};"},
            timeout=5,
        )

        entry = auth.journal[-1]
        assert entry.url == f"{auth.url}/x/app#1?token=app#1&note=see-app#1"
        assert entry.sent == ("app#1",)
        assert entry.body == {"token": "app#1", "list": ["app#1", 1], "deep": {"note": "<app#1>"}}
        assert entry.headers["X-Token"] == "app#1"
        assert entry.headers["Authorization"] == "Bearer app#1"
        assert entry.headers["X-Note"] == "app#1;"
        assert text not in repr(list(auth.journal))

    def test_secrets_are_masked_by_their_names(self, auth: FakeAuth) -> None:
        """Values under sensitive names are shown as `***`, other values as they are."""
        app = auth.token("app", "POST /app", body={"pin": "1234"})
        requests.post(
            f"{app.url}?code=s3cr3t-code&page=2",
            data={"client_secret": "s3cr3t-one", "password": "s3cr3t two", "user": "ada"},
            headers={"X-Api-Key": "s3cr3t-key", "Authorization": "Basic s3cr3t"},
            timeout=5,
        )

        entry = auth.journal[-1]
        assert entry.body == {"client_secret": "***", "password": "***", "user": "ada"}
        assert entry.headers["X-Api-Key"] == "***"
        assert entry.headers["Authorization"] == "Basic ***"
        assert entry.url.endswith("?code=***&page=2")
        assert "s3cr3t" not in repr(entry)

    @pytest.mark.parametrize(
        "name",
        [
            *("pass", "pwd", "pw", "passphrase", "passcode", "mfa_code", "totp", "access_key"),
            *("device_code", "user_code", "code_verifier", "Access-Key-Id", "otp"),
            *("X-Session", "X-Auth"),
        ],
    )
    def test_a_secret_has_many_names(self, auth: FakeAuth, name: str) -> None:
        """Whatever a provider calls it, a secret is masked."""
        requests.post(auth.token("app", "POST /app").url, data={name: "s3cr3t"}, timeout=5)

        assert auth.journal[-1].body == {name: "***"}

    def test_all_below_a_sensitive_name_is_masked(self, auth: FakeAuth) -> None:
        """A provider may put a secret into an object that only its own name gives away."""
        login = {"token": {"id": "s3cr3t", "of": ["ada"]}, "scope": {"project": "x"}}
        requests.post(auth.token("app", "POST /app").url, json=login, timeout=5)

        entry = auth.journal[-1]
        assert entry.body == {"token": {"id": "***", "of": ["***"]}, "scope": {"project": "x"}}

    def test_a_known_secret_is_masked_anywhere(self, auth: FakeAuth) -> None:
        """A secret that an endpoint demands is masked under harmless names, too."""
        auth.token(
            "app",
            "POST /app",
            body={"login": {"password": "open-sesame"}, "secrets": ["simsalabim"], "pin": "1"},
            requires={"X-API-Key": "key-of-keys"},
        )
        requests.post(
            f"{auth.url}/app/open-sesame",
            data={"note": "simsalabim!", "n": "1"},
            headers={"X-Note": "key-of-keys"},
            timeout=5,
        )

        entry = auth.journal[-1]
        assert entry.path == "/app/***"
        assert entry.body == {"note": "***!", "n": "1"}
        assert entry.headers["X-Note"] == "***"

    def test_an_unknown_token_is_masked(self, auth: FakeAuth) -> None:
        """A token that the server has not issued is a secret all the same."""
        me = auth.resource("GET /me", needs=auth.token("app", "POST /app"))
        foreign = "rft" + "A" * 32
        requests.get(me.url, headers={"Authorization": f"Bearer {foreign}"}, timeout=5)

        assert auth.journal[-1].headers["Authorization"] == "Bearer ***"
        assert auth.journal[-1].sent == ()

    def test_an_unreadable_body_is_not_kept(self, auth: FakeAuth) -> None:
        """Of a body that cannot be parsed nothing is kept, since secrets cannot be found in it."""
        app = auth.token("app", "POST /app")
        json = {"Content-Type": "application/json"}
        requests.post(app.url, data='{"password": "s3cr3t', headers=json, timeout=5)

        assert auth.journal[-1].body == {}


class TestUnmatched:
    def test_an_unmatched_request_is_answered_and_kept(self, auth: FakeAuth) -> None:
        """A request without an endpoint gets 404, an entry, and a place in `unmatched`."""
        answer = requests.get(f"{auth.url}/nowhere", timeout=5)

        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
        (entry,) = auth.unmatched
        assert (entry.kind, entry.step, entry.status) == ("unmatched", None, 404)
        assert auth.fetch_counts == {}

    def test_the_closest_endpoint_is_named_with_each_difference(self, auth: FakeAuth) -> None:
        """The explanation names the endpoint that is most alike, and what differs."""
        auth.token("user_token", "POST /v1/user/token")
        app = auth.token("app_token", "POST /v1/app/token")
        requests.get(f"{auth.url}/v1/app/tokn", timeout=5)

        lines = auth.explain_unmatched().splitlines()
        assert lines[0] == "1 request matched no endpoint of the fake auth server:"
        assert lines[1].startswith(f"  #1 GET {auth.url}/v1/app/tokn  (")
        assert lines[2:] == [
            f"     closest is app_token: POST {app.url}",
            "       method  GET, expected POST",
            "       path    /v1/app/tokn, expected /v1/app/token",
        ]

    def test_another_host_and_scheme_are_differences(self) -> None:
        """In process a wrong scheme or host is named, too."""
        with FakeAuth("https://auth.example.com", strict=False) as auth:
            auth.token("app_token", "POST /token")
            requests.post("http://auth.example.org/token", timeout=5)

        assert auth.explain_unmatched().splitlines()[2:] == [
            "     closest is app_token: POST https://auth.example.com/token",
            "       scheme  http, expected https",
            "       host    auth.example.org, expected auth.example.com",
        ]

    def test_the_answer_says_the_same(self, auth: FakeAuth) -> None:
        """Whoever debugs the client reads the differences in the answer."""
        auth.token("app_token", "POST /token")

        text = requests.post(f"{auth.url}/tokens?password=s3cr3t", timeout=5).text

        assert "closest is app_token" in text
        assert "path    /tokens, expected /token" in text
        assert "s3cr3t" not in text

    def test_without_endpoints_it_says_so(self, auth: FakeAuth) -> None:
        """A server without endpoints has no closest one."""
        requests.get(auth.url, timeout=5)

        assert "there is no endpoint yet" in auth.explain_unmatched()

    def test_many_are_shortened(self, auth: FakeAuth) -> None:
        """Ten unmatched requests are shown, the others counted."""
        auth.token("app_token", "POST /token")
        with requests.Session() as session:
            for _ in range(12):
                session.get(f"{auth.url}/nowhere")

        text = auth.explain_unmatched()
        assert text.startswith("12 requests matched no endpoint")
        assert text.endswith("\n  and 2 more")
        assert text.count("closest is") == 10

    def test_without_unmatched_requests_there_is_nothing_to_explain(self, auth: FakeAuth) -> None:
        """The explanation of nothing is empty."""
        assert auth.explain_unmatched() == ""


class TestHold:
    def test_requests_wait_until_so_many_of_them_do(self, auth: FakeAuth) -> None:
        """Of three requests held by `hold(n=3)` none is answered before the third has come."""
        app = auth.token("app", "POST /app")
        with ThreadPoolExecutor(3) as pool, app.hold(n=3) as held:
            early = [pool.submit(requests.post, app.url) for _ in range(2)]
            held.wait_for(2)
            assert [entry.status for entry in auth.journal] == [0, 0]
            assert [entry.reason for entry in auth.journal] == [
                "held: 1 of 3 wait",
                "held: 2 of 3 wait",
            ]
            assert auth.fetch_counts == {"app": 2}
            last = pool.submit(requests.post, app.url)
            answers = [future.result() for future in (*early, last)]

        assert [answer.status_code for answer in answers] == [200] * 3
        assert sorted(entry.issued for entry in auth.journal) == ["app#1", "app#2", "app#3"]
        assert [entry.number for entry in auth.journal] == [1, 2, 3]

    def test_the_end_of_the_block_lets_them_go(self, auth: FakeAuth) -> None:
        """A request that waits for others which never come is answered when the block ends."""
        app = auth.token("app", "POST /app")
        with ThreadPoolExecutor(1) as pool:
            with app.hold(n=8) as held:
                future = pool.submit(requests.post, app.url)
                held.wait_for(1)
                assert held.arrived == 1
            assert future.result().status_code == 200

    def test_stopping_the_server_lets_them_go(self) -> None:
        """A request that is held when the FakeAuth stops is answered."""
        auth = FakeAuth()
        app = auth.token("app", "POST /app")
        auth.start()
        with ThreadPoolExecutor(1) as pool, app.hold(n=2) as held:
            future = pool.submit(requests.post, app.url)
            held.wait_for(1)
            auth.stop()
            assert future.result().status_code == 200

    def test_a_wait_has_an_end(self, auth: FakeAuth) -> None:
        """A held request is answered after the timeout, which the journal tells."""
        app = auth.token("app", "POST /app")
        with app.hold(n=2, timeout=0.01):
            assert requests.post(app.url, timeout=5).status_code == 200

        assert auth.journal[0].reason == "issued app#1, hold timed out: 1 of 2 came"

    def test_later_requests_pass(self, auth: FakeAuth) -> None:
        """Once the hold has opened, requests are answered at once."""
        app = auth.token("app", "POST /app")
        with app.hold(n=1):
            assert requests.post(app.url, timeout=5).status_code == 200
            assert requests.post(app.url, timeout=5).status_code == 200

    def test_waiting_for_requests_that_do_not_come_fails(self, auth: FakeAuth) -> None:
        """`wait_for` gives up after its timeout, and says how many came."""
        app = auth.token("app", "POST /app")
        with app.hold(n=2) as held, pytest.raises(TimeoutError, match="Only 0 of 1 requests"):
            held.wait_for(1, timeout=0.01)

    def test_holds_of_an_endpoint_do_not_nest(self, auth: FakeAuth) -> None:
        """A second hold on an endpoint is refused while the first one lasts."""
        app = auth.token("app", "POST /app")
        with app.hold(n=2), pytest.raises(RuntimeError, match="held already"), app.hold(n=2):
            pass
        with app.hold(n=1):
            pass

    def test_a_hold_needs_a_count(self, auth: FakeAuth) -> None:
        """A barrier for no request is refused."""
        app = auth.token("app", "POST /app")
        with pytest.raises(ValueError, match="not 0"), app.hold(n=0):
            pass
