"""TokenAuth in requests: sessions, streams, prepared requests and the history of an answer."""

import io
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from adapters import THREADS, Guard, pipeline, tokens

from client_server import Reply, Seen, Server
from doubles import CountingStep
from requestforge.contrib.requests import TokenAuth

LOGIN = "machine 127.0.0.1 login me password other\n"


@pytest.fixture
def step() -> CountingStep:
    """The step that fetches the token."""
    return CountingStep("app")


@pytest.fixture
def session(step: CountingStep) -> Iterator[requests.Session]:
    """A session that signs all its requests."""
    with requests.Session() as session:
        session.auth = TokenAuth(pipeline(step))
        yield session


def test_threads_share_a_session(
    session: requests.Session, step: CountingStep, api: Server
) -> None:
    """Threads that share session and adapter each get their answer, by one refresh in all."""
    api.rules["/"] = Guard("app-2")
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(lambda _: session.get(f"{api.url}/").status_code, range(64)))
    assert answers == [200] * 64
    assert step.fetches == 2


def test_history_tells_what_was_sent(session: requests.Session, api: Server) -> None:
    """The refused answer is in the history, with the token that it refused."""
    api.rules["/"] = Guard("app-2")
    answer = session.get(f"{api.url}/")
    [refused] = answer.history
    assert (refused.status_code, refused.text) == (401, "refused")
    assert refused.request.headers["Authorization"] == "Bearer app-1"
    assert answer.request.headers["Authorization"] == "Bearer app-2"
    assert answer.elapsed.total_seconds() > 0


def test_a_streamed_answer_is_left_unread(session: requests.Session, api: Server) -> None:
    """With `stream` the refused answer is read, so that its connection goes on, and no other."""
    api.rules["/"] = Guard("app-2")
    with session.get(f"{api.url}/", stream=True) as answer:
        assert b"".join(answer.iter_content(2)) == b"here"
    assert api.connections == 1


def test_a_refusal_that_breaks_off_is_replayed(session: requests.Session, api: Server) -> None:
    """A refused answer whose body never ends well does not keep the replay from being sent."""
    guard = Guard("app-2")

    def cut(seen: Seen) -> Reply:
        answer = guard(seen)
        return (
            answer
            if answer.status == 200
            else Reply(
                401,
                {"Transfer-Encoding": "chunked", "Content-Length": "1", "Connection": "close"},
                b"zz\r\n",
            )
        )

    api.rules["/"] = cut
    assert session.get(f"{api.url}/", stream=True).text == "here"


def test_cookies_of_a_refusal_are_kept(session: requests.Session, api: Server) -> None:
    """What the refusal sets is sent with the replay, and is the session's afterwards."""
    guard = Guard("app-2")

    def remember(seen: Seen) -> Reply:
        status = guard(seen).status
        return Reply(status, {"Set-Cookie": "seen=1; Path=/"} if status == 401 else {})

    api.rules["/"] = remember
    assert session.get(f"{api.url}/").status_code == 200
    assert api.last.headers["Cookie"] == "seen=1"
    assert session.cookies["seen"] == "1"


def test_a_file_is_sent_again_from_where_it_stood(session: requests.Session, api: Server) -> None:
    """An open file is put back to where it stood, not to its start."""
    api.rules["/"] = Guard("app-2")
    content = io.BytesIO(b"head and tail")
    content.seek(9)
    assert session.put(f"{api.url}/", data=content).status_code == 200
    assert [seen.body for seen in api.seen] == [b"tail"] * 2


def _generated() -> Iterator[bytes]:
    yield b"only once"


class _Closing(io.BytesIO):
    """A file that closes at its end."""

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        if not content:
            self.close()
        return content


@pytest.mark.parametrize(
    "make", [_generated, lambda: _Closing(b"only once")], ids=["generator", "closed file"]
)
def test_what_is_used_up_is_not_sent_again(
    make: object, session: requests.Session, step: CountingStep, api: Server
) -> None:
    """Such a body leaves the 401 to the caller, and the new token serves the next request."""
    api.rules["/"] = Guard("app-2")
    body = make()  # type: ignore[operator]
    assert session.post(f"{api.url}/", data=body).status_code == 401
    assert session.post(f"{api.url}/", data=b"again").status_code == 200
    assert [seen.body for seen in api.seen] == [b"only once", b"again"]
    assert step.fetches == 2


def test_a_prepared_request_is_sent_again_and_again(
    session: requests.Session, step: CountingStep, api: Server
) -> None:
    """Each time that it is sent its token may be replaced, and that of a copy, too."""
    guard = api.rules["/"] = Guard("app-2")
    prepared = session.prepare_request(requests.Request("GET", f"{api.url}/"))
    assert session.send(prepared).status_code == 200
    guard.accepted = "app-3"
    assert session.send(prepared.copy()).status_code == 200
    assert session.send(prepared).status_code == 200
    assert step.fetches == 3


def test_a_request_is_signed_twice(api: Server, step: CountingStep) -> None:
    """Signing it anew takes the token of the day, and refreshes it once when it is refused."""
    guard = api.rules["/"] = Guard("app-1")
    auth = TokenAuth(pipeline(step))
    prepared = requests.Request("GET", f"{api.url}/", auth=auth).prepare()
    guard.accepted = "app-2"
    with requests.Session() as session:
        assert session.send(auth(prepared)).status_code == 200
    assert tokens(api.seen) == ["Bearer app-1", "Bearer app-2"]


def test_headers_set_by_hand_go_as_they_are(
    session: requests.Session, step: CountingStep, api: Server
) -> None:
    """Who puts another credential on a prepared request has it sent, and its 401 is the answer."""
    api.rules["/"] = Guard("app-2")
    prepared = session.prepare_request(requests.Request("GET", f"{api.url}/"))
    prepared.headers["Authorization"] = "Bearer mine"
    assert session.send(prepared).status_code == 401
    assert (tokens(api.seen), step.fetches) == (["Bearer mine"], 1)


def test_headers_without_a_sign(session: requests.Session, step: CountingStep, api: Server) -> None:
    """Headers that were replaced as a whole carry no token of ours."""
    api.rules["/"] = Guard("app-2")
    prepared = session.prepare_request(requests.Request("GET", f"{api.url}/"))
    prepared.headers = requests.structures.CaseInsensitiveDict({"Authorization": "Bearer mine"})
    assert session.send(prepared).status_code == 401
    assert step.fetches == 1


def test_netrc_never_wins(
    session: requests.Session, api: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that .netrc has for the host takes the place of the token on no redirect."""
    netrc = tmp_path / "netrc"
    netrc.write_text(LOGIN, encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    api.rules["/"] = Reply(302, {"Location": "/next"})
    api.rules["/next"] = Reply(302, {"Location": "/end"})
    api.rules["/end"] = Guard("app-2")
    assert session.get(f"{api.url}/").status_code == 200
    assert tokens(api.seen) == [*["Bearer app-1"] * 3, "Bearer app-2"]


@pytest.mark.parametrize(
    "location", ["http://[broken/", "http://\xff.example/"], ids=["bracket", "no UTF-8"]
)
def test_a_location_that_cannot_be_read(
    location: str, session: requests.Session, api: Server
) -> None:
    """It ends in the error that the session makes of it, and the token goes nowhere."""
    api.rules["/"] = Reply(302, {"Location": location})
    with pytest.raises((requests.RequestException, ValueError)):
        session.get(f"{api.url}/")
    assert len(api.seen) == 1


def test_an_unfollowed_redirect(session: requests.Session, api: Server, elsewhere: Server) -> None:
    """The request that a session prepares for it, to be sent by hand, has no token elsewhere."""
    api.rules["/"] = Reply(302, {"Location": f"{elsewhere.url}/next"})
    answer = session.get(f"{api.url}/", allow_redirects=False)
    assert answer.next is not None
    session.send(answer.next)
    assert tokens(elsewhere.seen) == [None]


def test_headers_show_no_token(step: CountingStep) -> None:
    """The `repr` of the headers of a signed request masks the token, whatever header it is in."""
    auth = TokenAuth(pipeline(step), header_name="X-Badge", header_prefix="")
    prepared = requests.Request("GET", "https://api.example/", auth=auth).prepare()
    assert prepared.headers["X-Badge"] == "app-1"
    assert "app-1" not in repr(prepared.headers)
    assert "app-1" not in repr(prepared.headers.signature)  # type: ignore[attr-defined]


def test_nothing_is_logged_of_a_good_day(
    session: requests.Session, api: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests that are answered leave no line in the log of the library."""
    caplog.set_level(logging.DEBUG, logger="requestforge")
    session.get(f"{api.url}/")
    assert [record for record in caplog.records if record.name == "requestforge"] == []
