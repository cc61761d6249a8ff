"""requests-mock stands in for the servers of a client, whatever the client does."""

from typing import Any

import pytest
import requests
import requests_mock

from canary import assert_clean
from requestforge.client import HttpClient
from requestforge.config import HttpClientConfigBuilder
from requestforge.exceptions import ConnectionException, TimeoutException

CANARY = "canary-requests-mock-0b7e"
URL = "https://api.example/users"


def builder() -> HttpClientConfigBuilder:
    """The start of a configuration."""
    return HttpClientConfigBuilder().with_base_url("https://api.example")


@pytest.fixture
def mock() -> Any:  # noqa: ANN401 - requests_mock has no types
    """A mock in the place of every adapter."""
    with requests_mock.Mocker() as mock:
        yield mock


def test_the_answer_arrives_whole(mock: Any) -> None:  # noqa: ANN401
    """Status, headers and body are those of the mock, and the request can be looked at."""
    mock.post(URL, json={"id": 1}, status_code=201, headers={"X-Kind": "new"})
    with HttpClient(builder().with_api_key(CANARY).build()) as client:
        answer = client.post("/users", json_data={"name": "Ada"}, params={"page": 2})
    assert (answer.status_code, answer.json()) == (201, {"id": 1})
    assert answer.headers["x-kind"] == "new"
    [sent] = mock.request_history
    assert (sent.json(), sent.qs) == ({"name": "Ada"}, {"page": ["2"]})
    assert sent.headers["X-API-Key"] == CANARY


def test_each_attempt_is_in_the_history(mock: Any) -> None:  # noqa: ANN401
    """Retries and hops of redirects are seen one by one."""
    moved = {"status_code": 302, "headers": {"Location": "/people"}}
    mock.get(URL, [{"exc": requests.ConnectTimeout}, {"status_code": 503}, moved])
    mock.get("https://api.example/people", text="here")
    with HttpClient(builder().with_retry(2, 0).build()) as client:
        assert client.get("/users").text == "here"
    assert [sent.path for sent in mock.request_history] == ["/users"] * 3 + ["/people"]


def test_a_stream_is_in_the_history(mock: Any) -> None:  # noqa: ANN401
    """A body that is read bit by bit is that of the mock."""
    mock.get(URL, content=b"bit by bit")
    client = HttpClient(builder().with_total_timeout(30).with_max_response_size(99).build())
    with client, client.stream("GET", "/users") as answer:
        assert b"".join(answer.iter_bytes(3)) == b"bit by bit"
    assert mock.call_count == 1


@pytest.mark.parametrize(
    ("raised", "kind"),
    [(requests.ReadTimeout, TimeoutException), (requests.ConnectionError, ConnectionException)],
)
def test_what_a_mock_raises_is_translated(
    mock: Any,  # noqa: ANN401
    raised: type[Exception],
    kind: type[Exception],
) -> None:
    """An error of requests that a mock raises ends in the library's, without its text."""
    mock.get(URL, exc=raised(f"token={CANARY}"))
    with HttpClient(builder().build()) as client, pytest.raises(kind) as caught:
        client.get("/users")
    assert_clean(caught.value)


def test_an_adapter_on_a_supplied_session_sees_the_traffic() -> None:
    """What is mounted on a session that was supplied answers for its URLs alone."""
    adapter = requests_mock.Adapter()
    adapter.register_uri("GET", URL, text="here")
    with requests.Session() as session:
        session.mount("https://api.example/", adapter)
        client = HttpClient(builder().build(), session)
        assert client.adapter is adapter
        assert client.get("/users").text == "here"
    assert adapter.call_count == 1
