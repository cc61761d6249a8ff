"""Configurations out of mappings and TOML files, with secrets of the environment."""

import re
import ssl
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from canary import assert_clean
from client_server import Server
from requestforge import (
    ApiKeyAuthHook,
    CorrelationIdHook,
    HttpClient,
    HttpClientConfig,
    LoggingErrorHook,
    RateLimitResponseHook,
)
from requestforge.retry import ExponentialBackoffRetryStrategy, SimpleRetryStrategy

SECRET = "canary-secret-71"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a TOML file."""

    def write(text: str) -> Path:
        path = tmp_path / "client.toml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", SECRET)
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("NOT_SET", raising=False)


def test_the_keys_of_a_mapping_are_the_fields() -> None:
    """Plain values make the same configuration as the arguments of the same names."""
    fields: dict[str, Any] = {
        "base_url": "https://a.example/v1",
        "default_timeout": 5,
        "total_timeout": 20,
        "default_headers": {"Accept": "application/json"},
        "verify_ssl": False,
        "allowed_origins": ["https://b.example"],
        "bulkhead": {"max_concurrent": 4},
        "environment": {"proxies": False},
        "connect_timeout": None,
    }
    assert HttpClientConfig.from_mapping(fields) == HttpClientConfig(**fields)


def test_a_file_configures_a_client(write: Write) -> None:
    """A table of a TOML file holds every field that can be written as text."""
    path = write(
        """
        [requestforge]
        base_url = "https://a.example"
        default_timeout = 7.5
        max_redirects = 3
        raise_for_status = true
        idempotency_key = "Idempotency-Key"
        proxies = { https = "http://proxy.example:3128" }
        redaction = ["shoe"]
        rate_limit = { per_second = 10, burst = 5 }

        [requestforge.default_headers]
        X-Client = "shop"

        [requestforge.retry]
        max_retries = 5
        base_delay = 0.1
        retry_non_idempotent = true

        [requestforge.circuit_breaker]
        """
    )
    config = HttpClientConfig.from_toml(path)
    assert (config.base_url, config.default_timeout) == ("https://a.example", 7.5)
    assert (config.max_redirects, config.raise_for_status) == (3, True)
    assert (config.idempotency_key, config.redaction) == ("Idempotency-Key", ("shoe",))
    assert config.proxies == {"https": "http://proxy.example:3128"}
    assert config.rate_limit == {"per_second": 10, "burst": 5, "max_wait": None}
    assert config.default_headers == {"X-Client": "shop"}
    assert config.circuit_breaker is not None
    assert config.circuit_breaker["failure_threshold"] == 5
    strategy = config.retry_strategy
    assert isinstance(strategy, ExponentialBackoffRetryStrategy)
    assert (strategy.max_retries, strategy.retry_non_idempotent) == (5, True)


def test_a_table_within_others_is_named_with_dots(write: Write) -> None:
    """The table may lie deeper, as in pyproject.toml."""
    path = write('[tool.shop.http]\nbase_url = "https://a.example"\n')
    config = HttpClientConfig.from_toml(str(path), table="tool.shop.http")
    assert config.base_url == "https://a.example"


def test_subclasses_make_their_own(write: Write) -> None:
    """A subclass gives configurations of its own type."""

    class Own(HttpClientConfig):
        pass

    assert type(Own.from_mapping({})) is Own
    assert type(Own.from_toml(write("[requestforge]"))) is Own


class TestEnvironment:
    def test_variables_are_filled_in_at_any_depth(self) -> None:
        """`${NAME}` in a text is that variable, wherever the text stands; `$${` is `${`."""
        config = HttpClientConfig.from_mapping(
            {
                "base_url": "https://a.example/${EMPTY}",
                "default_headers": {
                    "Authorization": "Bearer ${API_KEY}",
                    "X-Two": "${EMPTY}${API_KEY}$",
                    "X-Text": "$${API_KEY}",
                    "X-Price": "$5 {a}",
                },
                "proxies": {"https": "http://user:${API_KEY}@proxy.example"},
                "redaction": ["${API_KEY}"],
            }
        )
        assert config.base_url == "https://a.example/"
        assert config.default_headers == {
            "Authorization": f"Bearer {SECRET}",
            "X-Two": f"{SECRET}$",
            "X-Text": "${API_KEY}",
            "X-Price": "$5 {a}",
        }
        assert config.proxies == {"https": f"http://user:{SECRET}@proxy.example"}
        assert config.redaction == (SECRET,)

    def test_what_is_in_a_variable_is_not_read_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The value of a variable is taken as it is."""
        monkeypatch.setenv("API_KEY", "${NOT_SET}$${")
        config = HttpClientConfig.from_mapping({"base_url": "${API_KEY}"})
        assert config.base_url == "${NOT_SET}$${"

    def test_a_header_out_of_a_variable_is_a_credential(self) -> None:
        """It is masked whatever its name, and bound to the client's own origins."""
        with Server() as api, Server() as other:
            config = HttpClientConfig.from_mapping(
                {
                    "base_url": api.url,
                    "default_headers": {"X-Client": "${API_KEY}", "X-Plain": "$${shown}"},
                    "credential_headers": ["X-Other"],
                }
            )
            with HttpClient(config) as client:
                client.get("/")
                client.get(f"{other.url}/")
        assert config.credential_headers == ("X-Other", "X-Client")
        assert_clean(config)
        assert "'X-Plain': '${shown}'" in repr(config)
        assert api.last.headers["X-Client"] == SECRET
        assert "X-Client" not in other.last.headers

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"base_url": "${NOT_SET}"}, "base_url: the environment variable 'NOT_SET' is not set"),
            (
                {"default_headers": {"X-A": "a ${NOT_SET}"}},
                "default_headers.X-A: the environment variable 'NOT_SET' is not set",
            ),
            ({"allowed_origins": ["${NOT_SET}"]}, "allowed_origins: .*'NOT_SET'"),
            ({"base_url": "a${"}, r"base_url: a '\${' is not followed by a name"),
            ({"base_url": "${}"}, r"'\$\${' stands for '\${'"),
        ],
    )
    def test_a_variable_has_to_be_there(self, fields: dict[str, Any], text: str) -> None:
        """One that is not set, or has no name, is a ValueError that says where it stands."""
        with pytest.raises(ValueError, match=text):
            HttpClientConfig.from_mapping(fields)

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({"default_timeout": "${API_KEY}"}, id="number"),
            pytest.param({"allowed_origins": ["https://${API_KEY}/?q=${API_KEY}"]}, id="origin"),
            pytest.param({"redaction": "${API_KEY}"}, id="text"),
            pytest.param({"tls": {"ca": "/${API_KEY}"}}, id="path"),
            pytest.param({"retry": {"max_retries": "${API_KEY}"}}, id="retry"),
            pytest.param({"raise_for_status": "a b ${API_KEY}"}, id="flag"),
        ],
    )
    def test_errors_name_variables_in_the_place_of_values(
        self, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A refused value that came from a variable is not shown, with its chain and all."""
        for value in (SECRET, f"{SECRET} \x1b'\"ä"):
            monkeypatch.setenv("API_KEY", value)
            with pytest.raises(ValueError, match=r"\${API_KEY}") as caught:
                HttpClientConfig.from_mapping(fields)
            assert_clean(caught.value)

    def test_an_empty_variable_is_named_too(self) -> None:
        """An empty value is named in the text of an error, which else stays as it is."""
        with pytest.raises(ValueError, match=r"bundle, not '\${EMPTY}': False alone"):
            HttpClientConfig.from_mapping({"verify_ssl": "${EMPTY}"})

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            (
                {"base_url": "https://${SHORT}.example", "max_redirects": -1},
                "max_redirects must be a whole number, 0 or more, not -1.",
            ),
            (
                {"default_timeout": "${SHORT}"},
                "default_timeout must be a finite number above 0, not '${SHORT}'.",
            ),
            (
                {"verify_ssl": True, "allow_redirects": "a${SHORT}cd${SHORT}"},
                "allow_redirects must be True or False, not 'a${SHORT}cd${SHORT}'.",
            ),
            (
                {"allowed_origins": ["https://u:x@${SHORT}.example"]},
                "A text in allowed_origins is no origin: write scheme, host and port alone",
            ),
        ],
        ids=["elsewhere", "alone", "within", "masked"],
    )
    def test_short_values_garble_no_text(
        self, fields: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A value of few letters is replaced where it was put in, and nowhere else."""
        monkeypatch.setenv("SHORT", "e")
        with pytest.raises(ValueError, match=re.escape(text)) as caught:
            HttpClientConfig.from_mapping(fields)
        assert "${SHORT}" not in str(caught.value).replace(text, "")


class TestObjects:
    def test_objects_pass_in_a_mapping(self) -> None:
        """Hooks, strategies and contexts are taken from a mapping as they are."""
        context = ssl.create_default_context()
        fields: dict[str, Any] = {
            "retry_strategy": SimpleRetryStrategy(),
            "auth_hook": ApiKeyAuthHook("k"),
            "request_hooks": (CorrelationIdHook(),),
            "response_hooks": (RateLimitResponseHook(),),
            "error_hooks": (LoggingErrorHook(),),
            "tls": {"ssl_context": context},
        }
        config = HttpClientConfig.from_mapping(fields)
        kept = {name: getattr(config, name) for name in fields if name != "tls"}
        assert kept == {name: value for name, value in fields.items() if name != "tls"}
        assert config.tls is not None
        assert config.tls["ssl_context"] is context

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"auth_hook": "ApiKeyAuthHook"}, "auth_hook cannot be written as text"),
            ({"request_hooks": ["logging"]}, "request_hooks cannot be written as text"),
            ({"response_hooks": "logging"}, "response_hooks cannot be written as text"),
            ({"error_hooks": [{}]}, "use HttpClientConfigBuilder"),
            ({"retry_strategy": {"max_retries": 3}}, "or write the key 'retry'"),
            ({"tls": {"ssl_context": "default"}}, "to the builder's with_tls"),
        ],
    )
    def test_text_makes_no_object(self, fields: dict[str, Any], text: str) -> None:
        """What has to be an object is refused in writing, with the way to pass it."""
        with pytest.raises(ValueError, match=text):
            HttpClientConfig.from_mapping(fields)

    def test_retries_are_said_once(self) -> None:
        """`retry` beside a strategy is refused; beside None it counts."""
        with pytest.raises(ValueError, match="exclude each other"):
            HttpClientConfig.from_mapping({"retry": {}, "retry_strategy": SimpleRetryStrategy()})
        config = HttpClientConfig.from_mapping({"retry": {}, "retry_strategy": None})
        assert isinstance(config.retry_strategy, ExponentialBackoffRetryStrategy)


class TestErrors:
    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"base_ulr": "x"}, r"There is no field 'base_ulr'; did you mean 'base_url'\?"),
            ({"zzz": "x"}, r"There is no field 'zzz'\.$"),
            ({5: "x"}, r"There is no field 5\.$"),
            ({"retry": {"retries": 3}}, "retry has the unknown key 'retries': it takes max_r"),
            ({"retry": {"max_retries": -1}}, "retry: .*max_retries"),
            ({"retry": 3}, "retry must be a mapping"),
            ({"retry": {"retry_non_idempotent": "no"}}, "retry: retry_non_idempotent must be True"),
            ({"default_headers": {"X-A": 5}}, "default_headers.X-A must be a text, not a int"),
            ({"default_headers": "X-A"}, "default_headers must be a Mapping"),
            ({"base_url": 5}, "base_url must be a str"),
            ({"default_headers": {"A": "${API_KEY}"}, "credential_headers": "A"}, "a sequence of"),
        ],
    )
    def test_they_say_what_is_wrong(self, fields: dict[Any, Any], text: str) -> None:
        """A key or value that cannot be meant is a ValueError that names it."""
        with pytest.raises(ValueError, match=text):
            HttpClientConfig.from_mapping(fields)

    def test_nested_values_have_a_limit(self) -> None:
        """A value that is nested without an end is a ValueError that names the field."""
        circle: dict[str, Any] = {}
        circle["a"] = [circle]
        with pytest.raises(ValueError, match=r"^default_headers is nested too deep"):
            HttpClientConfig.from_mapping({"default_headers": circle})

    def test_a_mapping_is_asked_for(self) -> None:
        """Anything else is a TypeError."""
        fields: Any = [("base_url", "x")]
        with pytest.raises(TypeError, match="mapping must be a Mapping"):
            HttpClientConfig.from_mapping(fields)

    @pytest.mark.parametrize(
        ("text", "table", "problem"),
        [
            ("[requestforge]\nbase_ulr = 5", "requestforge", r" \[requestforge\]: There is no f"),
            ('[a]\nbase_url = "${NOT_SET}"', "a", r" \[a\]: base_url: the environment .* 'NOT_SET"),
            ("[reqestforge]", "requestforge", r"no table \[requestforge\]; did you mean 'reqest"),
            ("[other]", "requestforge", r": there is no table \[requestforge\]\.$"),
            ("a = 5", "a.b", r": there is no table \[a.b\]\.$"),
            ("requestforge = 5", "requestforge", "it must be a table, not a int"),
            ("[requestforge", "requestforge", ": it is no TOML: Expected"),
        ],
    )
    def test_they_name_the_file(self, write: Write, text: str, table: str, problem: str) -> None:
        """Whatever is wrong with a file, its path stands first, and then the table."""
        path = write(text)
        with pytest.raises(ValueError, match=problem) as caught:
            HttpClientConfig.from_toml(path, table)
        assert str(caught.value).startswith(str(path))

    @pytest.mark.parametrize("end", [b"\xff", b"[", b'\nbase_url = "a'])
    def test_they_hold_nothing_of_the_file(self, tmp_path: Path, end: bytes) -> None:
        """A file that cannot be read as TOML is not quoted, with the error's chain and all."""
        path = tmp_path / "client.toml"
        path.write_bytes(b'[requestforge]\nbase_url = "canary-in-the-file"\n' + end)
        with pytest.raises(ValueError, match="it is no TOML") as caught:
            HttpClientConfig.from_toml(path)
        assert_clean(caught.value)

    def test_a_file_may_begin_with_a_byte_order_mark(self, tmp_path: Path) -> None:
        """What some editors put before a text is no fault of the file."""
        path = tmp_path / "client.toml"
        path.write_bytes(b"\xef\xbb\xbf[requestforge]\nmax_redirects = 3\n")
        assert HttpClientConfig.from_toml(path).max_redirects == 3

    def test_a_nested_file_has_a_limit(self, write: Write) -> None:
        """A file whose values are nested without an end is a ValueError, too."""
        path = write("[requestforge]\nrequest_hooks = " + "[" * 100_000)
        with pytest.raises(ValueError, match="it is no TOML: a value is nested too deep"):
            HttpClientConfig.from_toml(path)

    @pytest.mark.parametrize("table", [5, None, ["a"]], ids=["number", "none", "list"])
    def test_a_table_is_named_by_a_text(self, write: Write, table: Any) -> None:  # noqa: ANN401
        """Anything else is a TypeError."""
        with pytest.raises(TypeError, match=r"^table must be a str"):
            HttpClientConfig.from_toml(write("[requestforge]"), table)

    def test_a_file_has_to_be_there(self, tmp_path: Path) -> None:
        """A missing file is the usual error."""
        with pytest.raises(FileNotFoundError):
            HttpClientConfig.from_toml(tmp_path / "none.toml")
