"""HttpClient: which redirects it follows, and what it takes along."""

import io
import os
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import responses

from client_server import Reply, Server
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfig, HttpClientConfigBuilder
from requestforge.exceptions import HttpClientException


@pytest.fixture
def api() -> Iterator[Server]:
    """A server whose `/from` redirects to its `/to`."""
    with Server() as server:
        yield server


@pytest.fixture
def client(api: Server) -> Iterator[HttpClient]:
    """A client of that server, without anything else."""
    with HttpClient(HttpClientConfig(base_url=api.url)) as client:
        yield client


def to(location: str, status: int = 302, **headers: str) -> Reply:
    """A redirect."""
    return Reply(status, {"Location": location, **headers})


@pytest.mark.parametrize(
    ("status", "method", "followed_by"),
    [
        *[pytest.param(s, m, m, id=f"{s} {m}") for s in (307, 308) for m in ("POST", "PUT")],
        *[pytest.param(s, "HEAD", "HEAD", id=f"{s} HEAD") for s in (301, 302, 303, 307, 308)],
        *[pytest.param(s, "POST", "GET", id=f"{s} POST") for s in (301, 302, 303)],
        *[pytest.param(s, "PUT", "GET", id=f"{s} PUT") for s in (302, 303)],
        pytest.param(301, "PUT", "PUT", id="301 PUT"),
        pytest.param(301, "DELETE", "DELETE", id="301 DELETE"),
    ],
)
def test_methods_change_as_in_requests(
    api: Server, client: HttpClient, status: int, method: str, followed_by: str
) -> None:
    """The method of the next request is the one that requests would send."""
    api.rules["/from"] = to("/to", status)
    getattr(client, method.lower())("/from")
    own = [(seen.method, seen.path) for seen in api.seen]
    assert own == [(method, "/from"), (followed_by, "/to")]
    with requests.Session() as session:
        session.request(method, f"{api.url}/from", allow_redirects=True)
    assert [(seen.method, seen.path) for seen in api.seen[2:]] == own


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"json_data": {"a": 1}}, id="json"),
        pytest.param({"data": {"a": "1"}}, id="form"),
        pytest.param({"data": io.BytesIO(b"skipped and sent")}, id="file"),
        pytest.param({"files": {"f": ("f.txt", io.BytesIO(b"text"))}}, id="files"),
    ],
)
def test_a_body_goes_along(
    api: Server, client: HttpClient, status: int, fields: dict[str, Any]
) -> None:
    """The same body is sent again, files from where they stood."""
    if hasattr(fields.get("data"), "seek"):
        fields["data"].seek(8)
    api.rules["/from"] = to("/to", status)
    client.post("/from", **fields)
    first, second = api.seen
    boundary = first.headers.get_boundary(), second.headers.get_boundary()
    assert first.body
    assert second.body.replace(str(boundary[1]).encode(), str(boundary[0]).encode()) == first.body
    assert first.headers.get_content_type() == second.headers.get_content_type()


def test_a_body_that_is_gone_is_not_sent_empty(api: Server, client: HttpClient) -> None:
    """A redirect that asks for a body that cannot be read again is an HttpClientException."""
    api.rules["/from"] = to("/to", 307)
    with pytest.raises(HttpClientException, match="cannot be read again"):
        client.post("/from", data=iter([b"once"]))
    assert len(api.seen) == 1


def test_the_body_of_a_pipe_is_not_sent_empty(api: Server, client: HttpClient) -> None:
    """A file that cannot seek counts as one that cannot be read again."""
    api.rules["/from"] = to("/to", 307)
    reading, writing = os.pipe()
    os.write(writing, b"once")
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe, pytest.raises(HttpClientException, match="read again"):
        client.post("/from", data=pipe)
    assert [seen.body for seen in api.seen] == [b"once"]


def test_a_file_that_fails_to_seek_back_is_not_sent(api: Server, client: HttpClient) -> None:
    """A file that could seek at first, and then cannot, counts as one that cannot be read again."""

    class Fading(io.BytesIO):
        def seek(self, *args: int) -> int:
            if api.seen:
                raise OSError
            return super().seek(*args)

    api.rules["/from"] = to("/to", 307)
    with pytest.raises(HttpClientException, match="read again"):
        client.post("/from", data=Fading(b"once"))
    assert [seen.body for seen in api.seen] == [b"once"]


def test_what_described_the_body_does_not_go_along_without_it(
    api: Server, client: HttpClient
) -> None:
    """A redirect that turns into GET leaves body and Content-Type behind, for good."""
    api.rules["/from"] = to("/again", 303)
    api.rules["/again"] = to("/to", 307)
    client.post("/from", data=b"text", headers={"Content-Type": "text/x", "X-Kept": "1"})
    for seen in api.seen[1:]:
        assert (seen.method, seen.body) == ("GET", b"")
        assert "Content-Type" not in seen.headers
        assert seen.headers["X-Kept"] == "1"


def test_the_query_does_not_go_along(api: Server, client: HttpClient) -> None:
    """The Location alone says what is asked for next."""
    api.rules["/from"] = to("/to?b=2")
    response = client.get("/from", params={"a": "1"})
    assert [seen.path for seen in api.seen] == ["/from?a=1", "/to?b=2"]
    assert response.url == f"{api.url}/to?b=2"


@pytest.mark.parametrize(
    ("location", "path"),
    [
        pytest.param("to", "/dir/to", id="relative"),
        pytest.param("../to", "/to", id="up"),
        pytest.param("to?a=1", "/dir/to?a=1", id="query"),
        pytest.param("{url}/to", "/to", id="absolute"),
        pytest.param("//{host}/to", "/to", id="without a scheme"),
        pytest.param("//user:canary@{host}/to", "/to", id="userinfo"),
        pytest.param(" /to ", "/to", id="blanks"),
        pytest.param("/t ö", "/t%20%C3%B6", id="not encoded"),
        pytest.param("/\\evil.example", "/%5Cevil.example", id="backslash"),
    ],
)
def test_a_location_may_take_any_form(
    api: Server, client: HttpClient, location: str, path: str
) -> None:
    """A Location is resolved against the URL that was asked for."""
    place = location.format(url=api.url, host=f"127.0.0.1:{api.port}")
    api.rules["/dir/from"] = to(place.encode().decode("latin-1"))
    client.get("/dir/from")
    assert api.last.path == path
    assert "Authorization" not in api.last.headers


def test_a_location_that_is_no_utf_8_is_taken_as_it_is(api: Server, client: HttpClient) -> None:
    """Bytes that are no UTF-8 stand for themselves."""
    api.rules["/from"] = to("/\xf6")
    client.get("/from")
    assert api.last.path == "/%C3%B6"


@pytest.mark.parametrize(("asked", "then"), [("#a", "/to#a"), ("", "/to")], ids=["one", "none"])
def test_a_fragment_is_inherited(api: Server, client: HttpClient, asked: str, then: str) -> None:
    """The fragment of the URL asked for stays unless the Location has one of its own."""
    api.rules["/from"] = to("/to")
    api.rules["/other"] = to("/to#own")
    assert client.get(f"/from{asked}").url == f"{api.url}{then}"
    assert client.get("/other#asked").url == f"{api.url}/to#own"


@pytest.mark.parametrize(
    "location",
    ["ftp://127.0.0.1/to", "file:///etc/passwd", "http://[::1", "http://a\\@b/", "mailto:a@b"],
)
def test_a_location_that_leads_nowhere_is_a_failure(
    api: Server, client: HttpClient, location: str
) -> None:
    """A Location that is no http(s) URL is an HttpClientException that says so."""
    api.rules["/from"] = to(location)
    with pytest.raises(HttpClientException, match="not followed"):
        client.get("/from")


def test_a_redirect_without_location_is_an_answer(api: Server, client: HttpClient) -> None:
    """Without a Location there is nothing to follow."""
    api.rules["/from"] = Reply(302)
    assert client.get("/from").status_code == 302


@pytest.mark.parametrize("status", [300, 304])
def test_other_3xx_are_answers(api: Server, client: HttpClient, status: int) -> None:
    """A status that is no redirect is an answer even with a Location."""
    api.rules["/from"] = to("/to", status)
    assert client.get("/from").status_code == status


def test_redirects_can_be_off(api: Server) -> None:
    """Without `allow_redirects` the redirect is the answer."""
    api.rules["/from"] = to("/to")
    config = HttpClientConfigBuilder().with_base_url(api.url).with_redirects(allow=False).build()
    with HttpClient(config) as client:
        response = client.get("/from")
    assert (response.status_code, response.headers["Location"]) == (302, "/to")


@pytest.mark.parametrize("supplied", [False, True], ids=["own session", "supplied session"])
def test_a_stream_that_is_redirected_is_no_failure_where_redirects_are_off(
    api: Server, *, supplied: bool
) -> None:
    """A redirect of a body that cannot be read again is an answer where none is followed."""
    api.rules["/from"] = to("/to", 307)
    config = HttpClientConfig(base_url=api.url, allow_redirects=False)
    with requests.Session() as session:
        client = HttpClient(config, session if supplied else None)
        assert client.post("/from", data=iter([b"once"])).status_code == 307


@pytest.mark.parametrize("most", [0, 1, 3])
def test_the_number_of_redirects_is_limited(api: Server, most: int) -> None:
    """One redirect more than `max_redirects` is an HttpClientException."""
    api.rules["/loop"] = to("/loop")
    config = HttpClientConfigBuilder().with_base_url(api.url).with_redirects(max_redirects=most)
    client = HttpClient(config.build())
    with pytest.raises(HttpClientException, match=f"more than {most} redirects"):
        client.get("/loop")
    assert len(api.seen) == most + 1


def test_as_many_redirects_as_allowed_are_followed(api: Server) -> None:
    """Exactly `max_redirects` redirects lead to an answer."""
    api.rules["/a"] = to("/b")
    api.rules["/b"] = to("/c")
    config = HttpClientConfigBuilder().with_base_url(api.url).with_redirects(max_redirects=2)
    with HttpClient(config.build()) as client:
        assert client.get("/a").status_code == 200


@pytest.mark.parametrize("target", ["http://api.example/to", "http://other.example/to"])
def test_https_does_not_lead_to_http(target: str) -> None:
    """A redirect from https to http is an HttpClientException, and nothing is sent there."""
    with responses.RequestsMock() as mock:
        mock.get("https://api.example/from", status=302, headers={"Location": target})
        client = HttpClient(HttpClientConfig(base_url="https://api.example"))
        with pytest.raises(HttpClientException, match="from https to http"):
            client.get("/from")
        assert len(mock.calls) == 1


def test_cookies_of_redirects_are_kept(api: Server, client: HttpClient) -> None:
    """A cookie that a redirect sets is sent with the next request."""
    api.rules["/from"] = to("/to", **{"Set-Cookie": "sid=1"})
    client.get("/from")
    assert api.last.headers["Cookie"] == "sid=1"


def test_the_query_of_a_session_is_no_part_of_a_redirect(api: Server) -> None:
    """What a supplied session adds to every URL is not added to a Location."""
    api.rules["/from"] = to("/to")
    with requests.Session() as session:
        session.params = {"key": "k"}
        HttpClient(HttpClientConfig(base_url=api.url), session).get("/from", params={"a": "1"})
    assert [seen.path for seen in api.seen] == ["/from?key=k&a=1", "/to"]
