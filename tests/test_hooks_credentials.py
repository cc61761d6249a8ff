"""Credentials and headers that could not be sent are refused where they are set."""

from collections.abc import Callable
from typing import Any

import pytest

from client_server import Server
from requestforge import HttpClient, HttpClientConfig, HttpClientConfigBuilder
from requestforge.exceptions import RequestBuildException
from requestforge.hooks import (
    ApiKeyAuthHook,
    AuthorizationHook,
    BasicAuthHook,
    CorrelationIdHook,
    IdempotencyKeyHook,
    TokenAuthHook,
)

Make = Callable[[Any], object]

CREDENTIALS: dict[str, Make] = {
    "api_key of the hook": ApiKeyAuthHook,
    "api_key of with_api_key": lambda value: HttpClientConfigBuilder().with_api_key(value),
    "api_key of with_api_key_auth": lambda value: HttpClientConfigBuilder().with_api_key_auth(
        value
    ),
    "token of with_bearer_token": lambda value: HttpClientConfigBuilder().with_bearer_token(value),
}
NAMES: dict[str, Make] = {
    "header_name of ApiKeyAuthHook": lambda name: ApiKeyAuthHook("k", name),
    "auth_header_name of TokenAuthHook": lambda name: TokenAuthHook(MANAGER, None, name),
    "header_name of CorrelationIdHook": CorrelationIdHook,
    "header_name of IdempotencyKeyHook": IdempotencyKeyHook,
    "header_name of with_api_key": lambda name: HttpClientConfigBuilder().with_api_key("k", name),
}
MANAGER: Any = object()


@pytest.mark.parametrize("made", CREDENTIALS)
@pytest.mark.parametrize("value", [None, b"canary", 5], ids=["none", "bytes", "number"])
def test_a_credential_is_a_text(made: str, value: object) -> None:
    """None, as an unset variable gives it, and bytes are a TypeError that names the argument."""
    with pytest.raises(TypeError, match=f"^{made.split(maxsplit=1)[0]} must be a text") as caught:
        CREDENTIALS[made](value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("made", CREDENTIALS)
@pytest.mark.parametrize(
    ("value", "text"),
    [("", "is empty"), (" \t", "is empty"), ("canary\r\nX: y", "cannot be"), ("canary€", "latin")],
    ids=["empty", "blank", "lines", "beyond latin-1"],
)
def test_a_credential_can_be_sent(made: str, value: str, text: str) -> None:
    """One that is empty or no value of a header is a ValueError, which does not show it."""
    with pytest.raises(ValueError, match=f"^{made.split(maxsplit=1)[0]} .*{text}") as caught:
        CREDENTIALS[made](value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("made", NAMES)
def test_a_header_has_a_name(made: str) -> None:
    """A name that no header can have is refused by the name of the argument."""
    argument = made.split(maxsplit=1)[0]
    with pytest.raises(TypeError, match=f"^{argument} must be a text, not a NoneType"):
        NAMES[made](None)
    for name in ("", "X Key", "X-Key: canary", "X-Kéy", "X\n"):
        with pytest.raises(ValueError, match=f"^{argument} must be the name") as caught:
            NAMES[made](name)
        assert "canary" not in str(caught.value)


def test_a_prefix_can_be_sent() -> None:
    """The prefix of a token is text without line breaks; empty and None mean what they say."""
    for prefix in ("Bearer", "", None):
        TokenAuthHook(MANAGER, auth_header_prefix=prefix)
    with pytest.raises(ValueError, match=r"^auth_header_prefix cannot be sent"):
        TokenAuthHook(MANAGER, auth_header_prefix="Bearer\r\nX: y")


@pytest.mark.parametrize(
    ("username", "password", "error", "text"),
    [
        (None, "canary", TypeError, "username must be a text, not a NoneType"),
        ("ada", None, TypeError, "password must be a text, not a NoneType"),
        (b"canary", "p", TypeError, "username must be a text, not a bytes"),
        ("canary:b", "p", ValueError, r"username must not hold a colon.*RFC 7617"),
        ("ada", "canary\ud800", ValueError, "password cannot be encoded"),
    ],
    ids=["no name", "no password", "bytes", "colon", "half a character"],
)
def test_name_and_password_are_texts(
    username: Any,  # noqa: ANN401 - of a wrong type
    password: Any,  # noqa: ANN401
    error: type[Exception],
    text: str,
) -> None:
    """Basic authentication takes two texts, the first without a colon; errors show neither."""
    for make in (BasicAuthHook, HttpClientConfigBuilder().with_basic_auth):
        with pytest.raises(error, match=text) as caught:
            make(username, password)
        assert "canary" not in str(caught.value)
        assert caught.value.__context__ is None


def test_a_password_may_hold_a_colon_or_nothing() -> None:
    """Colons in the password, and empty parts, are as RFC 7617 has them."""
    assert BasicAuthHook("ada", ":é").get_token().access_token == "YWRhOjrDqQ=="
    assert BasicAuthHook("", "").get_token().access_token == "Og=="


def test_a_token_provider_gives_texts() -> None:
    """What cannot be called is refused at once, and what is no text when it is given."""
    token: Any = "canary"
    with pytest.raises(TypeError, match="token_provider must be something that can be called"):
        AuthorizationHook(token)
    given: Any = b"canary"
    with Server() as api:
        config = HttpClientConfig(api.url, request_hooks=[AuthorizationHook(lambda: given)])
        with HttpClient(config) as client, pytest.raises(RequestBuildException) as caught:
            client.get("/")
    assert "must give a text or None, not a bytes" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert api.seen == []
