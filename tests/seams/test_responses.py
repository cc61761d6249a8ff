"""The library `responses` stands in for the servers of a client, whatever the client does."""

import pytest
import requests
import responses
from responses import matchers

from canary import assert_clean
from doubles import CountingStep
from requestforge import (
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.exceptions import (
    ConnectionException,
    HttpClientException,
    SSLException,
    TimeoutException,
)

CANARY = "canary-responses-61fd"
URL = "https://api.example/users"


def builder() -> HttpClientConfigBuilder:
    """The start of a configuration."""
    return HttpClientConfigBuilder().with_base_url("https://api.example")


@responses.activate
def test_the_answer_arrives_whole() -> None:
    """Status, headers, body and URL are those of the mock, and the request can be looked at."""
    responses.post(
        URL,
        json={"id": 1},
        status=201,
        headers={"X-Kind": "new"},
        match=[
            matchers.json_params_matcher({"name": "Ada"}),
            matchers.query_param_matcher({"page": "2"}),
            matchers.header_matcher({"Authorization": f"Bearer {CANARY}", "X-One": "1"}),
        ],
    )
    with HttpClient(builder().with_bearer_token(CANARY).build()) as client:
        answer = client.post(
            "/users", json_data={"name": "Ada"}, params={"page": 2}, headers={"X-One": "1"}
        )
    assert (answer.status_code, answer.json(), answer.url) == (201, {"id": 1}, f"{URL}?page=2")
    assert answer.headers["x-kind"] == "new"


@responses.activate
@pytest.mark.parametrize("supplied", [False, True], ids=["own session", "supplied session"])
def test_each_attempt_is_a_call(supplied: bool) -> None:
    """Retries and hops of redirects are seen one by one."""
    responses.get(URL, status=503)
    responses.get(URL, status=302, headers={"Location": "/people"})
    responses.get("https://api.example/people", body=b"here")
    with requests.Session() as session:
        client = HttpClient(builder().with_retry(2, 0).build(), session if supplied else None)
        assert client.get("/users").content == b"here"
    paths = [call.request.path_url for call in responses.calls]
    assert paths == ["/users", "/users", "/people"]


@responses.activate
def test_a_replay_is_a_call() -> None:
    """The request is seen with the refused token, and with the new one."""
    responses.get(URL, status=401)
    responses.get(URL, json=[])
    pipeline = TokenFetchPipeline([CountingStep("login")], InMemoryTokenStorage())
    config = builder().with_token_auth(TokenManager(PipelineTokenProvider(pipeline, "api")))
    with HttpClient(config.build()) as client:
        assert client.get("/users").status_code == 200
    sent = [call.request.headers["Authorization"] for call in responses.calls]
    assert sent == ["Bearer login-1", "Bearer login-2"]


@responses.activate
def test_a_stream_is_a_call() -> None:
    """A body that is read bit by bit is that of the mock."""
    responses.get(URL, status=503)
    responses.get(URL, body=b"bit by bit")
    client = HttpClient(builder().with_retry(2, 0).with_total_timeout(30).build())
    with client, client.stream("GET", "/users") as answer:
        assert b"".join(answer.iter_bytes(3)) == b"bit by bit"
    assert len(responses.calls) == 2


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (requests.ConnectionError, ConnectionException),
        (requests.exceptions.SSLError, SSLException),
        (requests.ConnectTimeout, TimeoutException),
        (requests.ReadTimeout, TimeoutException),
        (requests.exceptions.ChunkedEncodingError, ConnectionException),
        (requests.exceptions.ContentDecodingError, HttpClientException),
    ],
)
@responses.activate
def test_what_a_mock_raises_is_translated(
    raised: type[Exception], kind: type[HttpClientException]
) -> None:
    """An error of requests that a mock raises ends in the library's, without its text."""
    responses.get(URL, body=raised(f"Authorization: Bearer {CANARY}"))
    with HttpClient(builder().build()) as client, pytest.raises(HttpClientException) as caught:
        client.get("/users")
    assert type(caught.value) is kind
    assert_clean(caught.value)


@responses.activate
def test_what_is_not_mocked_is_a_failed_connection() -> None:
    """A URL that the mock does not know is one where nobody listens."""
    with HttpClient(builder().build()) as client, pytest.raises(ConnectionException):
        client.get(f"/nowhere?token={CANARY}")
    assert len(responses.calls) == 1
