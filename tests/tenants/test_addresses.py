"""Base URLs and endpoints with a tenant's value in them, which never leads astray."""

import warnings
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary import assert_clean
from loopback import Loopback, json_reply
from requestforge import BodyTokenFetcher, InMemoryTokenStorage, StepValue, TokenFetchPipeline
from requestforge.exceptions import (
    AuthenticationException,
    DependencyException,
    InsecureTransportWarning,
)
from requestforge.fetcher import HttpTokenFetcher
from requestforge.tokens import TokenData


@pytest.fixture(scope="module")
def server() -> Any:  # noqa: ANN401
    """A token endpoint that says yes to everything."""
    with Loopback(json_reply({"access_token": "t"})) as server:
        yield server


def ask(base_url: str | StepValue, endpoint: str | StepValue, /, **values: str) -> TokenData:
    """What a step that asks there gets for a tenant with those values."""
    step = BodyTokenFetcher("login", base_url, endpoint, timeout=5)
    try:
        return (
            TokenFetchPipeline([step], InMemoryTokenStorage()).for_tenant("t", **values).execute()
        )
    finally:
        step.close()


def asked(server: Loopback) -> str:
    """The target of the last request."""
    return server.requests[-1].target


def test_the_base_url_may_be_a_value(server: Loopback) -> None:
    """All of it, or a part of its path, which is percent-encoded."""
    ask(StepValue("base"), "/token", base=server.url)
    assert asked(server) == "/token"
    ask(StepValue("realm", f"{server.url}/realms/{{}}/oauth"), "token", realm="a/b?c#d")
    assert asked(server) == "/realms/a%2Fb%3Fc%23d/oauth/token"


def test_a_label_of_the_host_may_be_a_value(server: Loopback) -> None:
    """The rest of the domain is fixed."""
    port = urlsplit(server.url).port
    base = StepValue("tenant", f"http://{{}}.localhost:{port}")
    step = BodyTokenFetcher("login", base, "/token", timeout=5)
    with (
        StepValue.given(tenant="evil.example/"),
        pytest.raises(AuthenticationException, match="part of the host"),
    ):
        step.fetch()
    assert step.describe()["url"] == f"http://{{tenant}}.localhost:{port}/token"


def test_the_whole_host_may_be_a_value(server: Loopback) -> None:
    """A format can fix the scheme and the port."""
    ask(StepValue("host", f"http://{{}}:{urlsplit(server.url).port}"), "/token", host="127.0.0.1")
    assert asked(server) == "/token"


@pytest.mark.parametrize(
    "form",
    [
        "https://login.example.com{}",
        "https://login.{}",
        "https://user:{}@example.com",
        "https://{}@example.com",
        "https://example.com:{}",
        "{}://example.com",
        "example.com/{}",
    ],
    ids=["end of host", "domain", "password", "user", "port", "scheme", "relative"],
)
def test_a_format_that_lets_a_value_choose_the_host_is_refused(form: str) -> None:
    """At construction, with what to do."""
    with pytest.raises(ValueError, match="base_url of Step 'login'"):
        BodyTokenFetcher("login", StepValue("v", form), "/token")


@pytest.mark.parametrize(
    "host",
    ["a.b/c", "evil.com#", "evil.com?", "evil.com\\", "a@b", "a:1", "", "a..b", ".a", "a.", "%61"],
)
def test_a_value_stays_within_its_part_of_the_host(host: str) -> None:
    """Whatever could end the host, or be read in two ways, is refused; nothing is sent."""
    with pytest.raises(AuthenticationException, match="cannot be part of the host"):
        ask(StepValue("host", "https://{}.example.com"), "/token", host=host)


@pytest.mark.parametrize(
    "base",
    [
        "",
        "/",
        "//evil.example",
        "ftp://canary-x",
        "https:canary-x",
        "http://canary-x\\@y",
        "canary",
    ],
)
def test_a_base_url_that_is_none_is_refused(base: str) -> None:
    """With the checks that a fixed one meets, and without showing it."""
    with pytest.raises(AuthenticationException, match="makes no base_url") as caught:
        ask(StepValue("base"), "/token", base=base)
    assert_clean(caught.value)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("acme", "/realms/acme/token"),
        ("a/b", "/realms/a%2Fb/token"),
        ("//evil.example", "/realms/%2F%2Fevil.example/token"),
        ("\\\\evil", "/realms/%5C%5Cevil/token"),
        ("../admin", "/realms/..%2Fadmin/token"),
        ("x?y=z#f", "/realms/x%3Fy%3Dz%23f/token"),
        ("%2e%2e", "/realms/%252e%252e/token"),
        ("é\n", "/realms/%C3%A9%0A/token"),
        ("...", "/realms/.../token"),
    ],
    ids=["plain", "slash", "origin", "backslash", "dots", "query", "encoded", "unicode", "three"],
)
def test_a_value_stays_within_its_part_of_the_path(server: Loopback, value: str, path: str) -> None:
    """It is percent-encoded, so that it ends neither its part nor the path."""
    ask(server.url, StepValue("realm", "/realms/{}/token"), realm=value)
    assert asked(server) == path


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("/oauth2/token", "/oauth2/token"),
        ("oauth2/a b", "/oauth2/a%20b"),
        ("//evil.example/x", "/evil.example/x"),
        ("https://evil.example", "/https%3A//evil.example"),
        ("x?y", "/x%3Fy"),
    ],
    ids=["absolute", "relative", "two slashes", "URL", "query"],
)
def test_a_value_may_be_the_whole_endpoint(server: Loopback, value: str, path: str) -> None:
    """Then it keeps its slashes, and is still below the base URL."""
    ask(server.url, StepValue("endpoint"), endpoint=value)
    assert asked(server) == path


@pytest.mark.parametrize(
    ("form", "value"),
    [("{}", ".."), ("{}", "a/../../b"), ("/a/{}/b", "."), ("/a/.{}", "."), ("/a/{}", "\ud800")],
    ids=["all", "within", "one", "half", "surrogate"],
)
def test_steps_up_the_path_are_refused(form: str, value: str) -> None:
    """Servers and clients resolve them even where they are encoded."""
    with pytest.raises(AuthenticationException, match="cannot be part of a URL"):
        ask("https://auth.example.com", StepValue("path", form), path=value)


@given(value=st.text())
def test_no_value_leads_to_another_origin_or_out_of_its_part(server: Loopback, value: str) -> None:
    """Whatever it is, the request goes below the fixed part of the path, or not at all."""
    server.requests.clear()
    try:
        ask(server.url, StepValue("realm", "/realms/{}/token"), realm=value)
    except AuthenticationException:
        assert server.requests == []
        return
    before, realm, after = unquote(asked(server)[8:-6], errors="strict"), value, asked(server)
    assert before == realm
    assert after.startswith("/realms/")
    assert after.count("/") == 3


def test_an_insecure_base_url_is_warned_of_once() -> None:
    """When it is first asked for a tenant, since it is not known before."""
    step = BodyTokenFetcher("login", StepValue("base"), "/token", timeout=0.1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            with StepValue.given(base="http://insecure.invalid"), suppress(AuthenticationException):
                step.fetch()
    assert [each.category for each in caught] == [InsecureTransportWarning]


def test_require_tls_holds_for_values() -> None:
    """An http URL of a tenant is refused; nothing is sent."""
    step = BodyTokenFetcher("login", StepValue("base"), "/token", require_tls=True)
    with (
        StepValue.given(base="http://other.invalid"),
        pytest.raises(AuthenticationException, match="require_tls"),
    ):
        step.fetch()


def test_require_tls_refuses_unverified_certificates_of_tenants() -> None:
    """`verify_ssl=False` is insecure wherever the value leads."""
    step = BodyTokenFetcher(
        "login", StepValue("base"), "/token", require_tls=True, verify_ssl=False
    )
    with (
        StepValue.given(base="https://other.invalid"),
        pytest.raises(AuthenticationException, match="require_tls"),
    ):
        step.fetch()


def test_a_fetcher_of_ones_own_asks_the_base_url_of_its_tenant(server: Loopback) -> None:
    """`_make_request` fills the base URL, and refuses to ask without a tenant."""

    class Own(HttpTokenFetcher):
        name = "own"

        def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
            del context
            return TokenData(self._make_request("POST", "/own").json()["access_token"])

    step = Own(StepValue("base"))
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    with pytest.raises(ValueError, match="'base'"):
        pipeline.for_tenant("acme")
    assert pipeline.for_tenant("acme", base=server.url).execute().access_token == "t"
    assert asked(server) == "/own"
    with pytest.raises(DependencyException, match="'base'"):
        pipeline.execute()


def test_the_longest_fetch_is_known_without_a_tenant() -> None:
    """It depends on the timeout, not on where the step asks."""
    step = BodyTokenFetcher("login", StepValue("base"), StepValue("path"), timeout=7)
    assert step.fetch_timeout.total_seconds() == 7
