"""HttpClientConfig, its builder, and the clients made without either."""

import math
from collections.abc import Callable
from typing import Any, get_type_hints

import pytest

import requestforge.config
from client_server import Reply, Server
from doubles import Clock
from requestforge.client import HttpClient, create_client, http_client
from requestforge.config import HttpClientConfig, HttpClientConfigBuilder
from requestforge.exceptions import HttpClientException
from requestforge.hooks import (
    ApiKeyAuthHook,
    BasicAuthHook,
    CorrelationIdHook,
    LoggingErrorHook,
    LoggingRequestHook,
    LoggingResponseHook,
    RateLimitResponseHook,
    TokenAuthHook,
)
from requestforge.instrumentation import use_clock
from requestforge.retry import ExponentialBackoffRetryStrategy, SimpleRetryStrategy
from requestforge.tokens import TokenData


def test_the_defaults_are_those_of_the_page() -> None:
    """A configuration without arguments has the documented values."""
    config = HttpClientConfig()
    found = {
        "base_url": "",
        "default_timeout": 30.0,
        "default_headers": {},
        "verify_ssl": True,
        "allow_redirects": True,
        "max_redirects": 10,
        "retry_strategy": None,
        "auth_hook": None,
        "request_hooks": (),
        "response_hooks": (),
        "error_hooks": (),
        "pool_connection": 10,
        "pool_maxsize": 20,
        "cookies": True,
        "raise_for_status": False,
        "allowed_origins": (),
    }
    assert {name: getattr(config, name) for name in found} == found


def test_it_cannot_be_changed() -> None:
    """Fields and default headers are read-only, and copies of what was given."""
    headers = {"X-One": "1"}
    hooks = [CorrelationIdHook()]
    config: Any = HttpClientConfig(default_headers=headers, request_hooks=hooks)
    headers["X-Two"] = "2"
    hooks.clear()
    assert config.default_headers == {"X-One": "1"}
    assert len(config.request_hooks) == 1
    with pytest.raises(AttributeError):
        config.base_url = "https://a.example"
    with pytest.raises(TypeError):
        config.default_headers["X-Two"] = "2"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        *[
            pytest.param({"default_timeout": value}, "default_timeout", id=f"timeout {value!r}")
            for value in (0, -1, math.inf, math.nan, True, "3", None)
        ],
        *[
            pytest.param({name: 10**digits}, f"{name} .*too large", id=f"{name} 1e{digits}")
            for name in ("default_timeout", "connect_timeout", "read_timeout", "total_timeout")
            for digits in (400, 5000)
        ],
        pytest.param({"max_redirects": 10**400}, "max_redirects", id="endless redirects"),
        pytest.param(
            {"rate_limit": {"per_second": 5, "burst": 10**400}}, "rate_limit: burst", id="burst"
        ),
        *[
            pytest.param({"base_url": url}, "base_url must not have a query", id=url)
            for url in ("https://a.example/?x=1", "https://a.example#f", "?", "/v1?")
        ],
        *[
            pytest.param({"default_headers": {name: "x"}}, "a name in default_headers", id=what)
            for what, name in {
                "empty name": "",
                "name of two words": "X One",
                "name and value": "X-One: canary",
                "name with a line": "X-One\n",
                "encoded name": b"\xff",
            }.items()
        ],
        *[
            pytest.param({"default_headers": {"X-One": value}}, "^'X-One' in default_", id=what)
            for what, value in {
                "lines": "canary\r\nX: y",
                "beyond latin-1": "canary€",
                "encoded lines": b"canary\n",
            }.items()
        ],
        pytest.param({"max_redirects": -1}, "max_redirects", id="redirects"),
        pytest.param({"max_redirects": "5"}, "max_redirects", id="redirects in a text"),
        pytest.param({"max_redirects": True}, "max_redirects", id="redirects as a truth value"),
        pytest.param({"pool_maxsize": -1}, "pool_maxsize", id="pool"),
        pytest.param({"pool_connection": 1.5}, "pool_connection", id="half a pool"),
        pytest.param({"allowed_origins": ["https://*.a.example"]}, "allowed_origins", id="pattern"),
        *[
            pytest.param({"allowed_origins": [value]}, "no origin", id=f"origin {value!r}")
            for value in (
                "api.example.com",
                "https://api.example.com/v1",
                "https://user@api.example.com",
                "https://",
                "ftp://api.example.com",
                "https://api.example.com?x=1",
            )
        ],
        pytest.param({"allowed_origins": "https://a.example"}, "allowed_origins", id="text"),
        pytest.param({"redaction": "shoe"}, "redaction", id="text of a name"),
    ],
)
def test_senseless_values_are_refused(fields: dict[str, Any], text: str) -> None:
    """A value that cannot be meant is a ValueError that names the field."""
    with pytest.raises(ValueError, match=text) as caught:
        HttpClientConfig(**fields)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"default_headers": {5: "x"}}, "a name in default_headers must be a text, not a int"),
        ({"default_headers": {"X-One": None}}, "'X-One' in default_headers must be a text"),
        ({"default_headers": {"X-One": ["canary"]}}, "must be a text, not a list"),
        ({"base_url": None}, "base_url"),
        ({"default_headers": None}, "default_headers"),
        ({"allowed_origins": None}, "allowed_origins"),
        ({"allowed_origins": [b"https://a.example"]}, "allowed origin"),
        ({"request_hooks": 5}, "request_hooks"),
    ],
)
def test_wrong_types_are_refused_by_name(fields: dict[str, Any], text: str) -> None:
    """A field of a type that makes no sense is a TypeError that names it."""
    with pytest.raises(TypeError, match=text):
        HttpClientConfig(**fields)


def test_timeouts_beyond_all_patience_are_ten_years() -> None:
    """A timeout that no socket takes becomes one that every socket takes."""
    config = HttpClientConfig(default_timeout=1e10, connect_timeout=1e300, total_timeout=10**12)
    kept = (config.default_timeout, config.connect_timeout, config.total_timeout)
    assert kept == (315_360_000.0,) * 3
    with Server() as api, HttpClient(config) as client:
        assert client.get(api.url).status_code == 200


def test_headers_may_be_encoded() -> None:
    """Names and values in bytes are sent as they are."""
    headers: Any = {b"X-One": "é".encode("latin-1")}
    with Server() as api, HttpClient(HttpClientConfig(api.url, default_headers=headers)) as client:
        client.get("/")
    assert api.last.headers["X-One"] == "é"


def test_the_name_of_a_header_is_a_text() -> None:
    """The builder refuses a header of another name at once."""
    name: Any = None
    with pytest.raises(TypeError, match=r"^name must be a str"):
        HttpClientConfigBuilder().with_header(name, "x")


def test_the_base_url_is_a_text() -> None:
    """The builder refuses a base URL of another type at once."""
    base_url: Any = None
    with pytest.raises(TypeError, match="base_url"):
        HttpClientConfigBuilder().with_base_url(base_url)


@pytest.mark.parametrize("member", ["__init__", "request", "session", "adapter"])
def test_the_annotations_of_a_client_can_be_evaluated(member: str) -> None:
    """Tools that read annotations find no name that is missing at run time."""
    found: Any = getattr(HttpClient, member)
    assert get_type_hints(getattr(found, "fget", found))


def test_the_repr_shows_no_secret() -> None:
    """Credentials in headers, URLs and hooks are masked, everything else is shown."""
    config = (
        HttpClientConfigBuilder()
        .with_base_url("https://user:canary@a.example/v1")
        .with_bearer_token("canary")
        .with_api_key("canary", "X-Client")
        .with_header("X-Shoe", "canary")
        .with_header("X-Plain", "shown")
        .with_redaction("x-shoe")
        .with_api_key_auth("canary")
        .with_request_hook(CorrelationIdHook())
        .with_retry_strategy(SimpleRetryStrategy())
        .build()
    )
    assert "canary" not in repr(config)
    for part in (
        "base_url='https://a.example/v1'",
        "'X-Plain': 'shown'",
        "auth_hook='ApiKeyAuthHook'",
        "request_hooks=('CorrelationIdHook',)",
        "retry_strategy='SimpleRetryStrategy'",
        "default_timeout=30.0",
        "error_hooks=()",
    ):
        assert part in repr(config)


Build = Callable[[HttpClientConfigBuilder], HttpClientConfigBuilder]


class TestBuilder:
    @pytest.mark.parametrize(
        ("build", "fields"),
        [
            pytest.param(
                lambda b: b.with_base_url("https://a.example/v1/"),
                {"base_url": "https://a.example/v1"},
                id="base_url",
            ),
            pytest.param(lambda b: b.with_timeout(5), {"default_timeout": 5}, id="timeout"),
            pytest.param(
                lambda b: b.with_headers({"X-One": "1", "X-Two": "2"}).with_header("x-one", "3"),
                {"default_headers": {"X-Two": "2", "x-one": "3"}},
                id="headers",
            ),
            pytest.param(
                lambda b: b.with_verify_ssl("/ca.pem"), {"verify_ssl": "/ca.pem"}, id="verify_ssl"
            ),
            pytest.param(
                lambda b: b.with_redirects(allow=False, max_redirects=3),
                {"allow_redirects": False, "max_redirects": 3},
                id="redirects",
            ),
            pytest.param(
                lambda b: b.with_pool_connection(3).with_pool_maxsize(4),
                {"pool_connection": 3, "pool_maxsize": 4},
                id="pool sizes",
            ),
            pytest.param(
                lambda b: b.with_pool(3, 4), {"pool_connection": 3, "pool_maxsize": 4}, id="pool"
            ),
            pytest.param(
                lambda b: b.with_bearer_token("t"),
                {"default_headers": {"Authorization": "Bearer t"}},
                id="bearer token",
            ),
            pytest.param(
                lambda b: b.with_api_key("k", "X-K"),
                {"default_headers": {"X-K": "k"}},
                id="api key",
            ),
            pytest.param(lambda b: b.with_cookies(enabled=False), {"cookies": False}, id="cookies"),
            pytest.param(
                lambda b: b.with_raise_for_status(), {"raise_for_status": True}, id="raise"
            ),
            pytest.param(
                lambda b: b.with_allowed_origins(
                    "https://a.example", "http://b.example:81/"
                ).with_allowed_origins("https://[::1]"),
                {
                    "allowed_origins": (
                        "https://a.example",
                        "http://b.example:81/",
                        "https://[::1]",
                    )
                },
                id="allowed origins",
            ),
            pytest.param(
                lambda b: b.with_redaction("a").with_redaction("b", "c"),
                {"redaction": ("a", "b", "c")},
                id="redaction",
            ),
        ],
    )
    def test_each_method_sets_its_fields(self, build: Build, fields: dict[str, Any]) -> None:
        """A method sets or adds to the field of its name, and nothing else."""
        config = build(HttpClientConfigBuilder()).build()
        assert {name: getattr(config, name) for name in fields} == fields
        untouched = HttpClientConfig()
        others = {"credential_headers", *fields}
        for name in ("base_url", "default_timeout", "default_headers", "max_redirects"):
            assert name in others or getattr(config, name) == getattr(untouched, name)

    def test_auth_methods_make_their_hooks(self) -> None:
        """Each makes its hook, in place of the one before."""
        manager: Any = object()
        builder = HttpClientConfigBuilder()
        assert isinstance(builder.with_basic_auth("u", "p").build().auth_hook, BasicAuthHook)
        key = builder.with_api_key_auth("k", "X-K", ["/open"]).build().auth_hook
        assert isinstance(key, ApiKeyAuthHook)
        assert key.get_token() == TokenData("k", "ApiKey")
        token = builder.with_token_auth(manager).build().auth_hook
        assert isinstance(token, TokenAuthHook)
        assert token.token_manager is manager
        own = ApiKeyAuthHook("own")
        assert builder.with_auth_hook(own).build().auth_hook is own

    def test_hooks_are_called_in_the_order_given(self) -> None:
        """Hook methods append."""
        first, second = CorrelationIdHook(), CorrelationIdHook()
        response, error = RateLimitResponseHook(), LoggingErrorHook()
        config = (
            HttpClientConfigBuilder()
            .with_request_hook(first)
            .with_request_hook(second)
            .with_response_hook(response)
            .with_error_hook(error)
            .build()
        )
        assert config.request_hooks == (first, second)
        assert (config.response_hooks, config.error_hooks) == ((response,), (error,))

    def test_logging_adds_the_three_hooks(self) -> None:
        """`with_logging` appends one hook of each kind."""
        config = HttpClientConfigBuilder().with_logging().build()
        assert [type(hook) for hook in config.request_hooks] == [LoggingRequestHook]
        assert [type(hook) for hook in config.response_hooks] == [LoggingResponseHook]
        assert [type(hook) for hook in config.error_hooks] == [LoggingErrorHook]

    def test_retry_makes_exponential_backoff(self) -> None:
        """`with_retry` takes the arguments of the strategy."""
        builder = HttpClientConfigBuilder().with_retry(
            5, 0.5, 8.0, retry_non_idempotent=True, max_retry_after=9.0
        )
        strategy = builder.build().retry_strategy
        assert isinstance(strategy, ExponentialBackoffRetryStrategy)
        assert strategy.max_retries == 5
        assert (strategy.retry_non_idempotent, strategy.max_retry_after) == (True, 9.0)

    def test_building_validates_and_leaves_the_builder_usable(self) -> None:
        """A refused value can be put right; later changes do not reach what was built."""
        builder = HttpClientConfigBuilder().with_timeout(-1)
        with pytest.raises(ValueError, match="default_timeout"):
            builder.build()
        first = builder.with_timeout(1).with_header("X-One", "1").build()
        second = builder.with_header("X-Two", "2").with_request_hook(CorrelationIdHook()).build()
        assert first.default_headers == {"X-One": "1"}
        assert first.request_hooks == ()
        assert second.default_headers == {"X-One": "1", "X-Two": "2"}


def test_token_data_is_found_beside_the_configuration() -> None:
    """`requestforge.config` has TokenData, as in release 1.0.0."""
    assert requestforge.config.TokenData is TokenData


class TestCreateClient:
    def test_it_retries_and_logs(self, caplog: pytest.LogCaptureFixture) -> None:
        """`create_client` makes a client with backoff, headers, an auth hook and logging."""
        left = iter([503])
        with Server() as api, use_clock(Clock()):
            api.rules["/"] = lambda _: Reply(next(left, 200))
            hook = ApiKeyAuthHook("key")
            client = create_client(
                api.url, timeout=5, max_retries=1, headers={"X-One": "1"}, auth_hook=hook
            )
            strategy: Any = hook
            assert client.auth_hook is strategy
            with client:
                assert client.get("/").status_code == 200
        assert len(api.seen) == 2
        assert api.last.headers["X-One"] == "1"
        assert "503" in caplog.text

    def test_logging_can_be_off(self, caplog: pytest.LogCaptureFixture) -> None:
        """Without logging an error status leaves no record."""
        with Server() as api:
            api.rules["/"] = Reply(404)
            with create_client(api.url, enable_logging=False) as client:
                client.get("/")
        assert [r for r in caplog.records if r.name.startswith("requestforge")] == []

    def test_http_client_is_closed_at_the_end(self) -> None:
        """`http_client` is a block with a client, which is closed after it."""
        with Server() as api:
            with http_client(api.url, max_retries=0, enable_logging=False) as client:
                assert isinstance(client, HttpClient)
                assert client.get("/").status_code == 200
            with pytest.raises(HttpClientException, match="closed"):
                client.get("/")
