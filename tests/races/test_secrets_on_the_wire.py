"""Secrets that are sent to token endpoints and come back from them show nowhere."""

from collections.abc import Callable

import pytest
from racing import Task, watched

from canary import (
    CANARY_ACCESS_TOKEN,
    CANARY_CLIENT_SECRET,
    CANARY_EXTRA,
    CANARY_PASSWORD,
    CANARY_REFRESH_TOKEN,
    assert_clean,
    overheard,
)
from loopback import Loopback, Received, json_reply, reply
from requestforge import (
    BodyTokenFetcher,
    HeaderTokenFetcher,
    InMemoryTokenStorage,
    StepToken,
    TokenFetchPipeline,
)
from requestforge.exceptions import HttpClientException


def echo(received: Received) -> bytes:
    """An answer that throws back all that it was sent, in each place there is."""
    sent = f"{received.target} {received.headers} {received.body.decode()}"
    error = {"error": "invalid_request", "error_description": sent, "sent": sent}
    return json_reply(error, 400, WWW_Authenticate=f'Bearer error="{CANARY_EXTRA}"')


_CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
ANSWERS: dict[str, bytes | Callable[[Received], bytes]] = {
    "echo": echo,
    "echo as text": lambda received: reply(500, received.body + str(received.headers).encode()),
    "401": lambda received: reply(401, received.body),
    "redirect": reply(302, b"", Location=f"https://elsewhere/?token={CANARY_ACCESS_TOKEN}"),
    "no JSON": reply(200, f'{{"access_token": "{CANARY_ACCESS_TOKEN}'.encode()),
    "list": json_reply([CANARY_ACCESS_TOKEN]),
    "control characters": json_reply({"access_token": f"{CANARY_ACCESS_TOKEN}\n"}),
    "wrong lifetime": json_reply({"access_token": CANARY_ACCESS_TOKEN, "expires_in": CANARY_EXTRA}),
    "wrong type": json_reply({"access_token": {"value": CANARY_ACCESS_TOKEN}}),
    "wrong field": json_reply({"token": CANARY_ACCESS_TOKEN}),
    "broken off": _CLOSING + f"Content-Length: 9999\r\n\r\n{CANARY_ACCESS_TOKEN}".encode(),
    "odd header": _CLOSING + f"{CANARY_ACCESS_TOKEN}\r\n\r\n".encode(),
    "no HTTP": f"{CANARY_ACCESS_TOKEN}\r\nConnection: close\r\n\r\n".encode(),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.filterwarnings("ignore:.*request_data:UserWarning")
def test_whatever_a_token_endpoint_answers_no_secret_shows(
    answer: bytes | Callable[[Received], bytes], method: str
) -> None:
    """Credentials sent, and tokens in an answer that is refused, show in no error, log or event."""
    first = json_reply({"access_token": CANARY_ACCESS_TOKEN, "refresh_token": CANARY_REFRESH_TOKEN})

    def serve(received: Received) -> bytes:
        if received.path == "/app":
            return first
        return answer(received) if callable(answer) else answer

    with Loopback(serve) as server, overheard() as heard, watched() as watch:
        app = BodyTokenFetcher(
            "app",
            server.url,
            "/app",
            request_data={"client_secret": CANARY_CLIENT_SECRET, "password": CANARY_PASSWORD},
        )
        user = BodyTokenFetcher(
            "user",
            server.url,
            "/user",
            method,
            request_headers={"X-App-Token": StepToken("app"), "Cookie": f"sid={CANARY_EXTRA}"},
            request_data={"password": CANARY_PASSWORD, "assertion": StepToken("app")},
        )
        pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage())
        error = Task(pipeline.execute).error()
        assert isinstance(error, HttpClientException)
        assert_clean(error, watch.events, app, user, repr(app.describe()), repr(user.describe()))
        pipeline.close()
    heard.assert_clean()


def test_a_header_token_shows_nowhere() -> None:
    """A token from a header is as secret as one from a body."""
    answer = reply(200, b"", X_Device_Token=f"Device {CANARY_ACCESS_TOKEN}")
    with Loopback(answer) as server, overheard() as heard, watched() as watch:
        device = HeaderTokenFetcher(
            "device",
            server.url,
            "/device",
            request_headers={"X-Device-Secret": CANARY_CLIENT_SECRET},
            token_header="X-Device-Token",
            token_type="Device",
        )
        pipeline = TokenFetchPipeline([device], InMemoryTokenStorage())
        token = pipeline.execute()
        pipeline.close()
    assert token.access_token == CANARY_ACCESS_TOKEN
    assert_clean(token, device, repr(device.describe()), watch.events)
    heard.assert_clean()
