"""HttpClient: what it sends, and what it gives back."""
# ruff: noqa: ANN401 - values that a test tries out

import io
import math
import os
import pickle
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from unittest.mock import patch

import pytest
import requests
import requests_mock
import responses

from client_server import Reply, Seen, Server
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfig, HttpClientConfigBuilder
from requestforge.events import RequestFailed, RequestSent, ResponseReceived
from requestforge.exceptions import (
    ConnectionException,
    HttpClientException,
    NotFoundException,
    RequestBuildException,
    ServerErrorException,
    TimeoutException,
)
from requestforge.hooks import ApiKeyAuthHook
from requestforge.instrumentation import observe
from requestforge.models import HttpMethod, HttpRequest


@pytest.fixture
def api() -> Iterator[Server]:
    """A server."""
    with Server() as server:
        yield server


@pytest.fixture
def client(api: Server) -> Iterator[HttpClient]:
    """A client of that server, without anything else."""
    with HttpClient(HttpClientConfig(base_url=api.url)) as client:
        yield client


@pytest.mark.parametrize("verb", ["get", "post", "put", "patch", "delete", "head", "options"])
def test_each_verb_sends_its_method(api: Server, client: HttpClient, verb: str) -> None:
    """A verb sends the method of its name to the path below the base URL."""
    response = getattr(client, verb)("/users", params={"page": 2}, headers={"X-One": "1"})
    assert response.status_code == 200
    assert (api.last.method, api.last.path) == (verb.upper(), "/users?page=2")
    assert api.last.headers["X-One"] == "1"


def test_request_sends_any_http_request(api: Server, client: HttpClient) -> None:
    """`request` sends a request made beforehand."""
    client.request(HttpRequest("patch", "/users/1", json_data={"name": "Ada"}))
    assert (api.last.method, api.last.path, api.last.body) == (
        "PATCH",
        "/users/1",
        b'{"name": "Ada"}',
    )


def test_other_fields_of_a_request_are_taken_by_name(api: Server, client: HttpClient) -> None:
    """A verb takes every field of HttpRequest, such as `auth` and a body for GET."""
    client.get("/", data=b"q", auth=("ada", "pw"))
    assert api.last.body == b"q"
    assert api.last.headers["Authorization"] == "Basic YWRhOnB3"


@pytest.mark.parametrize("verb", ["get", "post"])
def test_an_unknown_argument_is_a_type_error(client: HttpClient, verb: str) -> None:
    """An argument that is no field of HttpRequest is refused by its name."""
    with pytest.raises(TypeError, match="cookies"):
        getattr(client, verb)("/", cookies={})


class TestBodies:
    @pytest.mark.parametrize(
        ("fields", "content_type", "body"),
        [
            pytest.param({"json_data": {"a": 1}}, "application/json", b'{"a": 1}', id="json"),
            pytest.param({"json_data": []}, "application/json", b"[]", id="empty json"),
            pytest.param(
                {"data": {"a": "1 2"}}, "application/x-www-form-urlencoded", b"a=1+2", id="form"
            ),
            pytest.param({"data": b"\x00\x01"}, None, b"\x00\x01", id="bytes"),
            pytest.param({"data": bytearray(b"\x00\x01")}, None, b"\x00\x01", id="bytearray"),
            pytest.param({"data": "é"}, None, "é".encode(), id="text"),
            pytest.param({"data": io.BytesIO(b"file")}, None, b"file", id="file"),
            pytest.param({"data": iter([b"a", b"b"])}, None, b"ab", id="iterator"),
            pytest.param({}, None, b"", id="nothing"),
        ],
    )
    def test_content_type_is_that_of_the_body(
        self,
        api: Server,
        client: HttpClient,
        fields: dict[str, Any],
        content_type: str | None,
        body: bytes,
    ) -> None:
        """JSON and forms say what they are; other bodies, and none, do not."""
        client.post("/", **fields)
        assert (api.last.headers["Content-Type"], api.last.body) == (content_type, body)

    def test_files_are_multipart(self, api: Server, client: HttpClient) -> None:
        """Files make a multipart body, with the fields of `data` in it."""
        client.post("/", data={"note": "n"}, files={"f": ("f.txt", io.BytesIO(b"text"))})
        assert api.last.headers["Content-Type"].startswith("multipart/form-data; boundary=")
        assert b"text" in api.last.body
        assert b'name="note"' in api.last.body

    @pytest.mark.parametrize(
        ("default", "fields", "sent"),
        [
            pytest.param("application/json", {"data": {"a": 1}}, "x-www-form", id="form"),
            pytest.param("application/json", {"files": {"f": b"x"}}, "multipart", id="files"),
            pytest.param("application/json", {}, None, id="nothing"),
            pytest.param("text/csv", {"json_data": 1}, "application/json", id="json, other"),
            pytest.param("application/vnd.x+json", {"json_data": 1}, "vnd.x+json", id="json"),
            pytest.param("text/csv", {"data": "a,b"}, "text/csv", id="text"),
        ],
    )
    def test_a_default_content_type_only_describes_what_fits(
        self, api: Server, default: str, fields: dict[str, Any], sent: str | None
    ) -> None:
        """A default Content-Type is sent with bodies that it can describe, and without none."""
        config = HttpClientConfigBuilder().with_base_url(api.url)
        with HttpClient(config.with_header("content-type", default).build()) as client:
            client.post("/", **fields)
        assert (sent or "") in api.last.headers.get("Content-Type", "")
        assert ("Content-Type" in api.last.headers) is (sent is not None)

    @pytest.mark.parametrize("fields", [{}, {"data": {"a": 1}}], ids=["nothing", "form"])
    def test_the_content_type_of_the_caller_wins(
        self, api: Server, client: HttpClient, fields: dict[str, Any]
    ) -> None:
        """A Content-Type of the request itself is sent as it is."""
        client.post("/", headers={"content-type": "text/x"}, **fields)
        assert api.last.headers["Content-Type"] == "text/x"

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({"json_data": object()}, id="no json"),
            pytest.param({"json_data": math.nan}, id="not a number"),
            pytest.param({"data": iter([b"x"]), "files": {"f": b"x"}}, id="stream and files"),
            pytest.param({"data": [1]}, id="no pairs"),
            pytest.param({"auth": "secret-user"}, id="auth"),
            pytest.param({"files": ["x"]}, id="files that are no pairs"),
            pytest.param({"files": 1}, id="files that are none"),
            pytest.param({"files": {"f": ("name",)}}, id="file without content"),
            pytest.param({"params": 1}, id="params"),
            pytest.param({"headers": [("X-One", "1")]}, id="headers"),
        ],
    )
    def test_what_cannot_be_encoded_is_not_sent(
        self, api: Server, client: HttpClient, fields: dict[str, Any]
    ) -> None:
        """A request that cannot be built is a RequestBuildException, and nothing is sent."""
        with pytest.raises(RequestBuildException) as caught:
            client.post("/", **fields)
        assert api.seen == []
        assert "secret-user" not in repr(caught.value)

    def test_an_iterator_that_fails_is_the_request_failing(self, client: HttpClient) -> None:
        """What the caller's iterator raises while it is sent becomes a failure of the request."""

        def body() -> Iterator[bytes]:
            yield b"a"
            msg = "no more"
            raise RuntimeError(msg)

        with pytest.raises(HttpClientException, match="RuntimeError: no more") as caught:
            client.post("/", data=body())
        assert isinstance(caught.value.__cause__, RuntimeError)


class TestHeaders:
    def test_the_request_wins_over_the_defaults(self, api: Server) -> None:
        """Names are compared ignoring case, and each header is sent once."""
        config = HttpClientConfig(
            base_url=api.url, default_headers={"X-One": "default", "X-Two": "default"}
        )
        with HttpClient(config) as client:
            client.get("/", headers={"x-one": "own"})
        assert api.last.headers.get_all("X-One") == ["own"]
        assert api.last.headers.get_all("X-Two") == ["default"]

    def test_none_takes_a_default_away(self, api: Server) -> None:
        """A header of None in a request leaves out the default of that name."""
        config = HttpClientConfig(base_url=api.url, default_headers={"X-One": "default"})
        with HttpClient(config) as client:
            client.get("/", headers={"x-one": None})  # type: ignore[dict-item]
        assert "X-One" not in api.last.headers

    def test_bytes_are_latin_1(self, api: Server, client: HttpClient) -> None:
        """Names and values may be bytes, and outer blanks of a value are not sent."""
        client.get("/", headers={b"X-One": b" \xe9 "})  # type: ignore[dict-item]
        assert api.last.headers["X-One"].encode("latin-1", "surrogateescape") == b"\xe9"

    @pytest.mark.parametrize(
        "headers",
        [
            pytest.param({"X-One": "secret\r\nX-Two: 2"}, id="line break"),
            pytest.param({"X-One": "secret\x00"}, id="control character"),
            pytest.param({"X-One": "secret €"}, id="beyond latin-1"),
            pytest.param({"X-One": 1}, id="number"),
            pytest.param({"X One": "secret"}, id="name"),
            pytest.param({"": "secret"}, id="empty name"),
        ],
    )
    def test_what_no_header_can_have_is_refused(
        self, api: Server, client: HttpClient, headers: dict[str, Any]
    ) -> None:
        """A header that cannot be sent is refused without a word of its value."""
        with pytest.raises(RequestBuildException, match="header") as caught:
            client.get("/", headers=headers)
        assert api.seen == []
        assert "secret" not in f"{caught.value} {caught.value.__cause__}"


class TestUrls:
    @pytest.mark.parametrize(
        ("base", "url", "path"),
        [
            pytest.param("", "/users", "/users", id="path"),
            pytest.param("", "users/", "/users/", id="trailing slash"),
            pytest.param("/v1", "/users", "/v1/users", id="base with a path"),
            pytest.param("/v1/", "users", "/v1/users", id="base with a slash"),
            pytest.param("/v1", "", "/v1/", id="nothing"),
            pytest.param("/v1", "?a=1", "/v1/?a=1", id="query"),
            pytest.param("/v1", "//evil.example/x", "/v1/evil.example/x", id="two slashes"),
            pytest.param("/v1", "/\\evil.example/x", "/v1/%5Cevil.example/x", id="backslash"),
            pytest.param("/v1", "https:evil.example", "/v1/https:evil.example", id="scheme"),
            pytest.param(
                "/v1", "ftp://evil.example", "/v1/ftp://evil.example", id="foreign scheme"
            ),
        ],
    )
    def test_all_but_absolute_urls_are_paths(
        self, api: Server, base: str, url: str, path: str
    ) -> None:
        """What is no absolute http(s) URL is a path below the base URL, whatever it looks like."""
        with HttpClient(HttpClientConfig(base_url=api.url + base)) as client:
            client.get(url)
        assert api.last.path == path

    def test_a_url_is_a_text(self, client: HttpClient) -> None:
        """A URL of another type is refused."""
        url: Any = b"/users"
        with pytest.raises(RequestBuildException, match="bytes"):
            client.get(url)

    def test_an_absolute_url_stays_as_it_is(self, api: Server) -> None:
        """An absolute URL is asked for whatever the base URL."""
        with HttpClient(HttpClientConfig(base_url="https://api.example.com")) as client:
            response = client.get(f"HTTP://127.0.0.1:{api.port}/here")
        assert api.last.path == "/here"
        assert response.url == f"{api.url}/here"

    @pytest.mark.parametrize(
        ("base", "url"),
        [
            pytest.param("", "/users", id="relative"),
            pytest.param("", "//api.example.com/users", id="without a scheme"),
            pytest.param("", "ftp://api.example.com", id="foreign scheme"),
            pytest.param("api.example.com", "/users", id="base without a scheme"),
            pytest.param("", "https:///users", id="no host"),
            pytest.param("", "https://a.example\\@b.example/", id="backslash in the host"),
            pytest.param("", "https://a example/", id="blank in the host"),
            pytest.param("", "https://a%2eexample/", id="escape in the host"),
            pytest.param("", "https://a.example:99999/", id="port"),
            pytest.param("", "https://a.example:1x/", id="port that is no number"),
            pytest.param("", "https://*.example/", id="wildcard"),
            pytest.param("https://a.example", "/x\r\nHost: b", id="line break"),
        ],
    )
    def test_what_leads_nowhere_is_refused(self, base: str, url: str) -> None:
        """A URL that is relative to nothing, or that can be misread, is not asked for."""
        client = HttpClient(HttpClientConfig(base_url=base))
        with pytest.raises(RequestBuildException):
            client.get(url)

    def test_userinfo_is_a_login_where_the_client_has_none(self, api: Server) -> None:
        """Without credentials of its own a client uses those in the URL, and does not show them."""
        with HttpClient() as client:
            response = client.get(f"http://ada:pw@127.0.0.1:{api.port}/")
        assert api.last.headers["Authorization"] == "Basic YWRhOnB3"
        assert response.url == f"{api.url}/"


class TestAnswers:
    @pytest.mark.parametrize("status", [204, 404, 503])
    def test_every_status_is_returned(self, api: Server, client: HttpClient, status: int) -> None:
        """An answer is given back whatever its status."""
        api.rules["/"] = Reply(status, {"Content-Length": "0"})
        assert client.get("/").status_code == status

    @pytest.mark.parametrize(
        ("status", "kind"), [(404, NotFoundException), (503, ServerErrorException)]
    )
    def test_raise_for_status_raises_errors(
        self, api: Server, status: int, kind: type[Exception]
    ) -> None:
        """With `raise_for_status` an error status is raised, with the answer on it."""
        api.rules["/"] = Reply(status, {"Retry-After": "7"}, {"why": "x"})
        config = HttpClientConfigBuilder().with_base_url(api.url).with_raise_for_status().build()
        with HttpClient(config) as client, pytest.raises(HttpClientException) as caught:
            client.get("/")
        assert type(caught.value) is kind
        assert caught.value.response.json() == {"why": "x"}  # type: ignore[attr-defined]
        assert caught.value.retry_after == 7  # type: ignore[attr-defined]

    def test_raise_for_status_returns_success(self, api: Server) -> None:
        """With `raise_for_status` all other answers are returned."""
        api.rules["/"] = Reply(201)
        config = HttpClientConfigBuilder().with_base_url(api.url).with_raise_for_status().build()
        with HttpClient(config) as client:
            assert client.get("/").status_code == 201

    def test_an_answer_tells_all_of_itself(self, api: Server, client: HttpClient) -> None:
        """Headers are found in any case; body, URL, request and duration are there."""
        api.rules["/x"] = Reply(200, {"X-Case": "y"}, b"body")
        response = client.get("/x", params={"a": "b"})
        assert response.headers["x-CASE"] == "y"
        assert response.content == b"body"
        assert response.url == f"{api.url}/x?a=b"
        assert response.request == HttpRequest(HttpMethod.GET, "/x", params={"a": "b"})
        assert 0 < response.elapsed_ms < 60_000

    @pytest.mark.parametrize(
        ("content_type", "encoding", "text"),
        [
            pytest.param("text/plain; charset=latin-1", "latin-1", "Ã©", id="named"),
            pytest.param("text/plain", None, "é", id="not named"),
            pytest.param("application/json", None, "é", id="json"),
        ],
    )
    def test_encoding_is_the_one_that_is_named(
        self, api: Server, client: HttpClient, content_type: str, encoding: str | None, text: str
    ) -> None:
        """A text without a charset is UTF-8, not what requests guesses."""
        api.rules["/"] = Reply(200, {"Content-Type": content_type}, "é".encode())
        response = client.get("/")
        assert (response.encoding, response.text) == (encoding, text)


class TestTimeouts:
    @pytest.mark.parametrize(
        "timeout",
        [-1, math.inf, math.nan, True, "1", (1, -1), (1, 2, 3), (), b"1"],
        ids=repr,
    )
    def test_a_senseless_timeout_is_refused(
        self, api: Server, client: HttpClient, timeout: Any
    ) -> None:
        """A timeout that is negative, not finite or no number sends nothing."""
        with pytest.raises(RequestBuildException, match="timeout"):
            client.get("/", timeout=timeout)
        assert api.seen == []

    @pytest.mark.parametrize(
        ("timeout", "seconds"),
        [
            pytest.param(None, (7.0, 7.0), id="none"),
            pytest.param(0, (7.0, 7.0), id="zero"),
            pytest.param(2, (2.0, 2.0), id="number"),
            pytest.param((1, 2.5), (1.0, 2.5), id="pair"),
            pytest.param((None, 2), (7.0, 2.0), id="half a pair"),
        ],
    )
    def test_the_request_decides_else_the_default(
        self, api: Server, timeout: Any, seconds: tuple[float, float]
    ) -> None:
        """None and 0 stand for the client's default, alone or in a pair."""
        sent: list[Any] = []
        session = requests.Session()
        session.mount("http://", Recording(sent))
        client = HttpClient(HttpClientConfig(base_url=api.url, default_timeout=7), session)
        client.get("/", timeout=timeout)
        session.close()
        assert sent[0]["timeout"] == seconds

    def test_a_silent_server_is_a_timeout(self) -> None:
        """A server that accepts and says nothing ends in a TimeoutException."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            with HttpClient() as client, pytest.raises(TimeoutException) as caught:
                client.get(url, timeout=0.05)
        assert "sent" not in caught.value.context


class TestFailures:
    def test_a_refused_connection_says_that_nothing_was_sent(self, client: HttpClient) -> None:
        """Nobody listening is a ConnectionException, whose context says that nothing was sent."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ConnectionException) as caught:
            client.get(url)
        assert caught.value.context["sent"] is False

    def test_a_broken_connection_is_a_connection_exception(
        self, api: Server, client: HttpClient
    ) -> None:
        """A server that hangs up without an answer is a ConnectionException."""
        api.rules["/"] = hang_up
        with pytest.raises(ConnectionException) as caught:
            client.get("/")
        assert "sent" not in caught.value.context

    def test_the_context_has_the_request_without_its_secrets(
        self, api: Server, client: HttpClient
    ) -> None:
        """A failure shows what was asked for, credentials masked."""
        api.rules["/login"] = hang_up
        with pytest.raises(ConnectionException) as caught:
            client.post(
                "/login?token=canary-1",
                json_data={"user": "ada", "password": "canary-2"},
                headers={"Authorization": "Bearer canary-3"},
                auth=("ada", "canary-4"),
            )
        request = caught.value.context["request"]
        assert request.json_data == {"user": "ada", "password": "***"}
        shown = f"{request!r} {request.to_dict()} {caught.value!r} {caught.value}"
        assert "canary" not in shown
        assert b"canary" not in pickle.dumps(caught.value)

    def test_names_of_the_configuration_are_masked_too(self, api: Server) -> None:
        """`redaction` and the headers of configured credentials add to what is masked."""
        api.rules["/"] = hang_up
        config = (
            HttpClientConfigBuilder()
            .with_base_url(api.url)
            .with_redaction("shoe-size")
            .with_api_key_auth("key", "X-Client")
            .build()
        )
        with HttpClient(config) as client, pytest.raises(ConnectionException) as caught:
            client.get("/", params={"shoe_size": 43}, headers={"X-Client": "canary"})
        request = caught.value.context["request"]
        assert request.params == {"shoe_size": "***"}
        assert request.headers == {"X-Client": "***"}


class TestLife:
    def test_a_closed_client_refuses_requests(self, api: Server) -> None:
        """After `close`, which may be called again, a request is an HttpClientException."""
        with HttpClient(HttpClientConfig(base_url=api.url)) as client:
            client.get("/")
        client.close()
        with pytest.raises(HttpClientException, match="closed"):
            client.get("/")
        assert len(api.seen) == 1

    def test_closing_ends_the_connections_of_all_threads(self, api: Server) -> None:
        """No connection is left after `close`, whichever thread opened it."""
        client = HttpClient(HttpClientConfig(base_url=api.url))
        together = threading.Barrier(4, timeout=10)
        api.rules["/"] = lambda _: (together.wait(), Reply())[1]
        in_threads(4, lambda: client.get("/"))
        assert api.connections == 4
        client.close()
        assert api.wait_until_closed()

    def test_closing_during_a_request_leaves_no_connection(self, api: Server) -> None:
        """A request that is under way ends as usual, and its connection is closed after it."""
        client = HttpClient(HttpClientConfig(base_url=api.url))

        def close(_: Seen) -> Reply:
            client.close()
            return Reply(302, {"Location": "/after"})

        api.rules["/"] = close
        assert client.get("/").status_code == 200
        assert api.last.path == "/after"
        assert api.wait_until_closed()

    def test_a_client_cannot_be_pickled(self, client: HttpClient) -> None:
        """Pickling is a TypeError that says what to do."""
        with pytest.raises(TypeError, match="in each process"):
            pickle.dumps(client)

    def test_the_auth_hook_is_the_one_of_the_configuration(self, client: HttpClient) -> None:
        """`auth_hook` gives the configured hook, or None."""
        hook = ApiKeyAuthHook("key")
        assert client.auth_hook is None
        assert HttpClient(HttpClientConfig(auth_hook=hook)).auth_hook is hook


class TestSessions:
    def test_each_thread_has_its_session_and_all_share_the_cookies(
        self, api: Server, client: HttpClient
    ) -> None:
        """A cookie that one thread got is sent by another, which has a session of its own."""
        api.rules["/login"] = Reply(200, {"Set-Cookie": "sid=1"})
        sessions = [client.session]

        def log_in() -> None:
            client.get("/login")
            sessions.append(client.session)

        in_threads(1, log_in)
        client.get("/")
        assert api.last.headers["Cookie"] == "sid=1"
        assert sessions[0] is client.session
        assert sessions[0] is not sessions[1]

    @pytest.mark.parametrize("keeps", [True, False], ids=["kept", "off"])
    def test_cookies_are_kept_or_not(self, api: Server, keeps: bool) -> None:
        """A client sends the cookies of answers again, unless it is told to keep none."""
        api.rules["/login"] = Reply(headers={"Set-Cookie": "session=a1"})
        config = HttpClientConfigBuilder().with_base_url(api.url).with_cookies(enabled=keeps)
        with HttpClient(config.build()) as client:
            client.get("/login")
            client.get("/")
            assert api.last.headers["Cookie"] == ("session=a1" if keeps else None)
            client.get("/", headers={"Cookie": "mine=1"})
            assert "mine=1" in api.last.headers["Cookie"]

    def test_cookies_can_be_read_while_they_change(self, client: HttpClient) -> None:
        """Reading the jar gives the cookies of one moment, whatever other threads take away."""
        jar = client.session.cookies
        for name in ("a", "b"):
            jar.set(name, "1")
        seen = []
        for cookie in jar:
            seen.append(cookie.name)
            in_threads(1, lambda: client.session.cookies.set("b", None))
        assert seen == ["a", "b"]
        assert len(jar) == 1

    def test_the_adapter_is_shared_and_retries_nothing(self, client: HttpClient) -> None:
        """`adapter` is what every session sends with, without retries of its own."""
        adapter = client.adapter
        assert isinstance(adapter, requests.adapters.HTTPAdapter)
        assert adapter.max_retries.total == 0
        assert client.session.get_adapter("https://a.example") is adapter
        assert client.session.get_adapter("http://a.example") is adapter

    def test_pools_have_the_configured_size(self, api: Server) -> None:
        """`pool_maxsize` connections are kept, and those beyond it are closed after use."""
        config = HttpClientConfigBuilder().with_base_url(api.url).with_pool_maxsize(1).build()
        together = threading.Barrier(2, timeout=10)
        api.rules["/together"] = lambda _: (together.wait(), Reply())[1]
        with HttpClient(config) as client:
            in_threads(2, lambda: client.get("/together"))
            client.get("/")
            client.get("/")
        assert api.connections == 2

    def test_a_supplied_session_is_used_and_stays_open(self, api: Server) -> None:
        """All threads send with a session that was supplied, and closing leaves it alone."""
        with requests.Session() as session:
            session.headers["X-Session"] = "1"
            with HttpClient(HttpClientConfig(base_url=api.url), session) as client:
                in_threads(1, lambda: client.get("/"))
                assert client.session is session
                assert client.adapter is session.get_adapter(api.url)
            assert api.last.headers["X-Session"] == "1"
            assert session.get(api.url).status_code == 200
            assert api.connections == 1

    @pytest.mark.parametrize(
        ("configured", "of_session", "environment", "used"),
        [
            pytest.param(True, True, None, True, id="default"),
            pytest.param(True, None, None, True, id="session without"),
            pytest.param(True, True, "/env.pem", "/env.pem", id="environment"),
            pytest.param(True, False, "/env.pem", False, id="session off"),
            pytest.param(True, "/own.pem", "/env.pem", "/own.pem", id="session path"),
            pytest.param(False, "/own.pem", "/env.pem", False, id="off"),
            pytest.param("/ca.pem", "/own.pem", "/env.pem", "/ca.pem", id="path"),
        ],
    )
    def test_certificates_are_checked_as_the_most_specific_setting_says(  # noqa: PLR0917
        self,
        api: Server,
        monkeypatch: pytest.MonkeyPatch,
        configured: bool | str,
        of_session: bool | str | None,
        environment: str | None,
        used: bool | str,
    ) -> None:
        """The configuration decides; where it says True the session, then the environment."""
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name, raising=False)
        if environment is not None:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", environment)
        calls: list[dict[str, Any]] = []
        with HttpClient(HttpClientConfig(base_url=api.url, verify_ssl=configured)) as client:
            client.session.verify = of_session
            client.session.mount("http://", Recording(calls))
            client.get("/")
        assert calls[0]["verify"] == used


class TestEnvironment:
    def test_proxies_of_the_environment_are_used(
        self, api: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A proxy that the environment names gets the request, read once until told otherwise."""
        _forget_proxies(monkeypatch)
        monkeypatch.setenv("HTTP_PROXY", api.url)
        with HttpClient(HttpClientConfig(base_url="http://127.0.0.1:9")) as client:
            client.get("/users")
            assert api.last.path == "http://127.0.0.1:9/users"
            monkeypatch.delenv("HTTP_PROXY")
            client.get("/users")
            assert len(api.seen) == 2
            client.refresh_environment()
            with pytest.raises(ConnectionException):
                client.get("/users")

    def test_the_environment_is_not_read_for_each_request(
        self, api: Server, client: HttpClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A proxy that is set later is used once the client is told to look again."""
        _forget_proxies(monkeypatch)
        client.get("/")
        monkeypatch.setenv("HTTP_PROXY", api.url)
        client.get("/")
        client.refresh_environment()
        client.get("/")
        assert [seen.path for seen in api.seen] == ["/", "/", f"{api.url}/"]

    def test_no_proxy_of_the_environment_is_heeded(
        self, api: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Hosts that the environment excepts are asked directly."""
        _forget_proxies(monkeypatch)
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with HttpClient(HttpClientConfig(base_url=api.url)) as client:
            client.get("/users")
        assert api.last.path == "/users"

    def test_a_supplied_session_goes_by_its_own_environment(
        self, api: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A session that does not trust the environment sees neither its proxy nor its netrc."""
        _forget_proxies(monkeypatch)
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        with requests.Session() as session:
            session.trust_env = False
            HttpClient(HttpClientConfig(base_url=api.url), session).get("/")
            session.trust_env = True
            with pytest.raises(ConnectionException):
                HttpClient(HttpClientConfig(base_url=api.url), session).get("/")

    def test_many_origins_are_no_leak(self, api: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client that asks hundreds of origins goes on working."""
        _forget_proxies(monkeypatch)
        monkeypatch.setenv("HTTP_PROXY", api.url)
        with HttpClient() as client:
            for number in range(260):
                client.get(f"http://host-{number}.example/")
        assert len(api.seen) == 260


def _forget_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class TestSeams:
    def test_responses_sees_the_traffic(self) -> None:
        """The library `responses` answers in the place of a server."""
        with responses.RequestsMock() as mock:
            mock.get("https://api.example/users", json=[1])
            assert HttpClient(HttpClientConfig("https://api.example")).get("/users").json() == [1]

    def test_requests_mock_sees_the_traffic(self) -> None:
        """requests-mock answers in the place of a server."""
        with requests_mock.Mocker() as mock:
            mock.get("https://api.example/users", json=[1])
            assert HttpClient(HttpClientConfig("https://api.example")).get("/users").json() == [1]

    def test_a_patched_session_sees_the_request(self) -> None:
        """A patched `request` of the session gets what is sent, and its answer is given back."""
        client = HttpClient(
            HttpClientConfigBuilder().with_base_url("https://a.example").with_api_key("k").build()
        )
        answer = requests.Response()
        answer.status_code = 201
        with patch.object(client.session, "request", return_value=answer) as request:
            response = client.post("/users", json_data={"a": 1}, timeout=3)
        assert response.status_code == 201
        assert response.url == "https://a.example/users"
        sent = request.call_args.kwargs
        assert (sent["method"], sent["url"]) == ("POST", "https://a.example/users")
        assert (sent["json"], sent["timeout"]) == ({"a": 1}, (3.0, 3.0))
        assert sent["headers"]["X-API-Key"] == "k"


class TestEvents:
    def test_an_answered_request_is_sent_and_received(self, api: Server) -> None:
        """An observer hears of each exchange, with one id and masked URLs."""
        events: list[Any] = []
        with HttpClient(HttpClientConfig(base_url=api.url)) as client, observe(events.append):
            client.get("/users?token=canary")
        sent, received = events
        assert isinstance(sent, RequestSent)
        assert isinstance(received, ResponseReceived)
        assert sent.url == received.url == f"{api.url}/users?token=***"
        assert (sent.method, sent.attempt, received.status_code) == ("GET", 0, 200)
        assert sent.request_id == received.request_id
        assert received.seconds > 0
        assert sent.at.utcoffset() == timedelta(0)

    def test_a_failed_request_is_sent_and_failed(self, api: Server, client: HttpClient) -> None:
        """An observer hears that there was no answer, and why."""
        api.rules["/"] = hang_up
        events: list[Any] = []
        with observe(events.append), pytest.raises(ConnectionException):
            client.get("/")
        assert [type(event) for event in events] == [RequestSent, RequestFailed]
        assert "failed" in events[1].error


@pytest.mark.compat
class TestForks:
    @pytest.mark.parametrize("supplied", [False, True], ids=["own session", "supplied session"])
    def test_children_have_connections_of_their_own(self, api: Server, supplied: bool) -> None:
        """Parent and children of a warmed client each get their own answers."""
        api.rules["/"] = lambda seen: Reply(
            200, {"Set-Cookie": "a=1"}, seen.headers["Who"].encode()
        )
        with requests.Session() as session:
            client = HttpClient(HttpClientConfig(api.url), session if supplied else None)
            client.get("/", headers={"Who": "parent"})
            children = [_fork(partial(_ask, client, f"child {n}")) for n in range(2)]
            _ask(client, "parent")
            assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
        assert api.connections >= 3

    def test_a_session_may_be_of_any_making(self, api: Server) -> None:
        """Adapters and jars of other kinds than those of requests survive a fork."""

        class Silent(requests.adapters.BaseAdapter):
            def send(self, request: Any, *_: Any, **__: Any) -> requests.Response:
                answer = requests.Response()
                answer.status_code, answer.url = 204, request.url
                return answer

            def close(self) -> None:
                pass

        with requests.Session() as session:
            session.mount("https://silent.example", Silent())
            session.cookies = CookieJar()  # type: ignore[assignment]
            client = HttpClient(HttpClientConfig(api.url), session)
            client.get("/")

            def work() -> None:
                client.get("/")
                if client.get("https://silent.example/").status_code != 204:
                    raise RuntimeError

            assert os.waitpid(_fork(work), 0)[1] == 0

    def test_a_child_forked_amid_a_request_is_not_blocked(self, api: Server) -> None:
        """A fork while another thread is writing to the cookie jar leaves a usable client."""
        writing, forked = threading.Event(), threading.Event()

        class Slow(DefaultCookiePolicy):
            def set_ok(self, cookie: Any, request: Any) -> bool:
                writing.set()
                forked.wait(10)
                return super().set_ok(cookie, request)

        def work() -> None:
            signal.alarm(10)
            client.get("/")

        api.rules["/login"] = Reply(200, {"Set-Cookie": "sid=1"})
        with HttpClient(HttpClientConfig(api.url)) as client, ThreadPoolExecutor() as pool:
            client.session.cookies.set_policy(Slow())
            login = pool.submit(client.get, "/login")
            assert writing.wait(10)
            assert os.waitpid(_fork(work), 0)[1] == 0
            forked.set()
            assert login.result().status_code == 200


def _fork(work: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:  # noqa: BLE001 - whatever goes wrong in the child
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _ask(client: HttpClient, name: str) -> None:
    for number in range(30):
        who = f"{name} {number}"
        if client.get("/", headers={"Who": who}).text != who:
            msg = f"{who} got another's answer"
            raise RuntimeError(msg)


class Recording(requests.adapters.HTTPAdapter):
    """Notes how it is called, and sends without checking certificates."""

    def __init__(self, calls: list[dict[str, Any]]) -> None:
        super().__init__()
        self._calls = calls

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        """Send."""
        self._calls.append(kwargs)
        return super().send(request, **{**kwargs, "verify": True})


def hang_up(_seen: object) -> Reply:
    """Break the connection."""
    raise ConnectionError


def in_threads(count: int, work: Callable[[], object]) -> None:
    """Do the work in that many threads, and let their errors through."""
    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(work) for _ in range(count)]:
            future.result()
