"""Configurations that are copied and pickled, and the objects that they are made of."""

import copy
import dataclasses
import pickle
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from canary import assert_clean
from requestforge import (
    AuthorizationHook,
    CircuitBreakerRetryStrategy,
    HttpClientConfig,
    HttpClientConfigBuilder,
    SimpleRetryStrategy,
    TokenData,
    TokenManager,
)
from requestforge.hooks import CorrelationIdHook
from requestforge.interfaces import TokenProviderInterface
from requestforge.models import HttpRequest, RequestContext

pytestmark = pytest.mark.compat

Take = Callable[[Any], Any]


def _asdict(config: Any) -> Any:  # noqa: ANN401 - as the others
    return HttpClientConfig(**dataclasses.asdict(config))


TAKES: dict[str, Take] = {
    "pickled": lambda config: pickle.loads(pickle.dumps(config)),
    "pickled by an old protocol": lambda config: pickle.loads(pickle.dumps(config, 2)),
    "deep copied": copy.deepcopy,
    "copied": copy.copy,
    "as a dict": _asdict,
    "replaced": dataclasses.replace,
}


@pytest.fixture
def config(tmp_path: Path) -> HttpClientConfig:
    """One with a value in most of its fields."""
    ca = tmp_path / "ca.pem"
    ca.write_text("")
    return (
        HttpClientConfigBuilder()
        .with_base_url("https://ada:canary-1@a.example")
        .with_bearer_token("canary-2")
        .with_api_key("canary-3", "X-Client")
        .with_proxies({"https": "http://ada:canary-4@proxy.example"})
        .with_tls(ca, min_version="1.2")
        .with_basic_auth("ada", "canary-5", ["/open"])
        .with_logging(sensitive_keys=["shoe"])
        .with_retry()
        .with_circuit_breaker()
        .with_rate_limit(5)
        .with_bulkhead(2)
        .with_environment(ca=False)
        .with_idempotency_key()
        .build()
    )


@pytest.mark.parametrize("way", TAKES)
def test_a_configuration_can_be_taken_along(config: HttpClientConfig, way: str) -> None:
    """Its copy has the same fields, read-only, and shows no more than it does itself."""
    taken = TAKES[way](config)
    assert repr(taken) == repr(config)
    for name in ("default_headers", "tls", "proxies", "circuit_breaker", "rate_limit", "bulkhead"):
        values = getattr(taken, name)
        assert values == getattr(config, name)
        with pytest.raises(TypeError, match="read-only"):
            values["new"] = "x"
    with pytest.raises(AttributeError):
        taken.base_url = ""
    request = HttpRequest("GET", "/x")
    signed = taken.auth_hook.before_request(request, RequestContext(request))
    assert signed.headers == {"Authorization": "Basic YWRhOmNhbmFyeS01"}


def test_the_mappings_of_a_configuration_show_no_secret(config: HttpClientConfig) -> None:
    """Each shows its names and numbers; a text may be a secret."""
    assert repr(config.default_headers) == "Kept({'Authorization': '***', 'X-Client': '***'})"
    assert repr(config.bulkhead) == "Kept({'max_concurrent': 2, 'max_wait': None})"
    assert_clean(repr(config), repr(config.tls), repr(config.proxies))


def test_what_was_checked_once_need_not_hold_elsewhere(
    config: HttpClientConfig, tmp_path: Path
) -> None:
    """A pickle is read where a file of `tls` is missing, for one."""
    data = pickle.dumps(config)
    (tmp_path / "ca.pem").unlink()
    assert pickle.loads(data).tls == config.tls


class _Provider(TokenProviderInterface):
    """Has one token."""

    service_name = "api"

    def fetch_token(self) -> TokenData:
        return TokenData("t")

    def refresh_token(self, current_token: TokenData) -> TokenData:
        return current_token


@pytest.mark.parametrize(
    ("build", "part"),
    [
        pytest.param(
            lambda b: b.with_tls(ssl_context=ssl.create_default_context()), "tls", id="context"
        ),
        pytest.param(
            lambda b: b.with_token_auth(TokenManager(_Provider())), "auth_hook", id="manager"
        ),
        pytest.param(
            lambda b: b.with_retry_strategy(CircuitBreakerRetryStrategy()),
            "retry_strategy",
            id="lock",
        ),
    ],
)
def test_what_belongs_to_a_process_stays_there(
    build: Callable[[HttpClientConfigBuilder], HttpClientConfigBuilder], part: str
) -> None:
    """Contexts and locks are a TypeError that names the field and the way round it."""
    config = build(HttpClientConfigBuilder()).build()
    for take, done in ((pickle.dumps, "pickled"), (copy.deepcopy, "copied")):
        with pytest.raises(TypeError, match=f"cannot be {done} because of its {part}: .* anew"):
            take(config)
    assert copy.copy(config) is config


def test_other_picklers_may_know_more() -> None:
    """What `pickle` cannot find by its name is left to the pickler that is at work."""
    config = HttpClientConfig(request_hooks=[AuthorizationHook(lambda: "t")])
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(config)

    class Knowing(pickle.Pickler):
        def reducer_override(self, obj: object) -> Any:  # noqa: ANN401 - as the overridden one
            return (str, ()) if getattr(obj, "__name__", "") == "<lambda>" else NotImplemented

    with Path("/dev/null").open("wb") as nowhere:
        Knowing(nowhere).dump(config)
    assert copy.deepcopy(config).request_hooks[0] is not config.request_hooks[0]


class Duck:
    """All that a client calls, without an interface."""

    @property
    def max_retries(self) -> int:
        raise LookupError("not asked for yet")

    def everything(self, *_: object) -> None:
        """Do nothing."""

    should_retry = get_delay = everything
    should_authenticate = before_request = after_response = on_error = everything


OBJECTS = {
    "retry_strategy": "max_retries",
    "auth_hook": "should_authenticate",
    "request_hooks": "before_request",
    "response_hooks": "after_response",
    "error_hooks": "on_error",
}


@pytest.mark.parametrize(("name", "member"), OBJECTS.items(), ids=OBJECTS)
def test_hooks_and_strategies_have_their_methods(name: str, member: str) -> None:
    """Any object that has them passes, and one that lacks them is a TypeError by its type."""
    several = name.endswith("hooks")
    duck: Any = Duck()
    fields: dict[str, Any] = {name: [duck] if several else duck}
    HttpClientConfig(**fields)
    fields = {name: ("canary",) if several else "canary"}
    with pytest.raises(TypeError, match=f"^{name} cannot be a str, which has no '{member}'"):
        HttpClientConfig(**fields)


def test_methods_may_be_on_the_object_alone() -> None:
    """A stand-in need not have them in its class."""
    hook: Any = CorrelationIdHook.__new__(type("Empty", (), {}))
    hook.on_error = print
    assert HttpClientConfig(error_hooks=[hook]).error_hooks == (hook,)


def test_a_partial_strategy_is_refused() -> None:
    """A strategy without one of its methods would fail at the first failure."""

    class Partial:
        max_retries = 3
        should_retry = SimpleRetryStrategy.should_retry

    strategy: Any = Partial()
    with pytest.raises(TypeError, match="Partial, which has no 'get_delay'"):
        HttpClientConfigBuilder().with_retry_strategy(strategy).build()
