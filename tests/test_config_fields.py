"""The fields of HttpClientConfig for times, limits, TLS and proxies, and how they are checked."""

import inspect
import math
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import trustme

from requestforge import HttpClientConfig, HttpClientConfigBuilder

Build = Callable[[HttpClientConfigBuilder], HttpClientConfigBuilder]

NEW = (
    "connect_timeout",
    "read_timeout",
    "total_timeout",
    "circuit_breaker",
    "retry_budget",
    "rate_limit",
    "bulkhead",
    "idempotency_key",
    "max_response_size",
    "tls",
    "proxies",
    "environment",
)
GROUPS = ("circuit_breaker", "retry_budget", "rate_limit", "bulkhead", "tls", "environment")
REQUIRED = {"rate_limit": {"per_second": 5.0}, "bulkhead": {"max_concurrent": 2}}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Paths of a CA bundle, a certificate and its key."""
    ca = trustme.CA()
    cert = ca.issue_cert("127.0.0.1")
    paths = {name: str(tmp_path / f"{name}.pem") for name in ("ca", "cert", "key")}
    ca.cert_pem.write_to_path(paths["ca"])
    cert.cert_chain_pems[0].write_to_path(paths["cert"])
    cert.private_key_pem.write_to_path(paths["key"])
    return paths


def defaults_of(group: str) -> dict[str, object]:
    """The defaults of the builder method of this name."""
    parameters = inspect.signature(getattr(HttpClientConfigBuilder, f"with_{group}")).parameters
    return {
        name: each.default
        for name, each in parameters.items()
        if name != "self" and each.default is not inspect.Parameter.empty
    }


def test_all_is_off_unless_asked_for() -> None:
    """Without arguments a configuration has no limit, budget, key or TLS setting."""
    config = HttpClientConfig()
    assert {getattr(config, name) for name in NEW} == {None}


@pytest.mark.parametrize(
    ("build", "fields"),
    [
        pytest.param(lambda b: b.with_total_timeout(9), {"total_timeout": 9}, id="total"),
        pytest.param(
            lambda b: b.with_timeouts(1, 2.5, 9),
            {"connect_timeout": 1, "read_timeout": 2.5, "total_timeout": 9},
            id="timeouts",
        ),
        pytest.param(
            lambda b: b.with_total_timeout(9).with_timeouts(connect=1).with_timeouts(read=2),
            {"connect_timeout": 1, "read_timeout": 2, "total_timeout": 9},
            id="timeouts add up",
        ),
        pytest.param(
            lambda b: b.with_circuit_breaker(2, 1.0, 1),
            {
                "circuit_breaker": {
                    "failure_threshold": 2,
                    "recovery_timeout": 1.0,
                    "half_open_max_calls": 1,
                }
            },
            id="breaker",
        ),
        pytest.param(
            lambda b: b.with_retry_budget(0.5, 1),
            {"retry_budget": {"ratio": 0.5, "per_second": 1}},
            id="budget",
        ),
        pytest.param(
            lambda b: b.with_rate_limit(5, 2, 0.5),
            {"rate_limit": {"per_second": 5, "burst": 2, "max_wait": 0.5}},
            id="rate",
        ),
        pytest.param(
            lambda b: b.with_bulkhead(4, 0),
            {"bulkhead": {"max_concurrent": 4, "max_wait": 0}},
            id="bulkhead",
        ),
        pytest.param(
            lambda b: b.with_idempotency_key(), {"idempotency_key": "Idempotency-Key"}, id="key"
        ),
        pytest.param(
            lambda b: b.with_max_response_size(1024), {"max_response_size": 1024}, id="size"
        ),
        pytest.param(
            lambda b: b.with_tls(min_version="1.3"),
            {
                "tls": {
                    "ca": None,
                    "client_cert": None,
                    "min_version": ssl.TLSVersion.TLSv1_3,
                    "ssl_context": None,
                }
            },
            id="tls",
        ),
        pytest.param(
            lambda b: b.with_proxies({"https": "http://proxy.example:3128"}),
            {"proxies": {"https": "http://proxy.example:3128"}},
            id="proxies",
        ),
        pytest.param(
            lambda b: b.with_environment(proxies=False),
            {"environment": {"proxies": False, "ca": True}},
            id="environment",
        ),
    ],
)
def test_each_method_sets_its_fields(build: Build, fields: dict[str, Any]) -> None:
    """A method of the builder sets the fields of its name, and no other."""
    config = build(HttpClientConfigBuilder()).build()
    assert {name: getattr(config, name) for name in fields} == fields
    assert {getattr(config, name) for name in NEW if name not in fields} <= {None}


@pytest.mark.parametrize("group", GROUPS)
def test_arguments_that_are_left_out_have_their_defaults(group: str) -> None:
    """A mapping may hold any of the arguments of the builder method of its name."""
    given = REQUIRED.get(group, {})
    config: Any = HttpClientConfig(**{group: given})
    kept = getattr(config, group)
    assert kept == {**defaults_of(group), **given}
    built = getattr(HttpClientConfigBuilder(), f"with_{group}")(**given).build()
    assert getattr(built, group) == kept


@pytest.mark.parametrize("group", [*GROUPS, "proxies"])
def test_a_mapping_is_a_read_only_copy(group: str) -> None:
    """What is kept cannot be changed, nor does it change with what was given."""
    given: dict[str, Any] = dict(REQUIRED.get(group, {}))
    config: Any = HttpClientConfig(**{group: given})
    before = dict(getattr(config, group))
    given["http"] = "changed"
    assert getattr(config, group) == before
    with pytest.raises(TypeError):
        getattr(config, group)["http"] = "changed"


@pytest.mark.parametrize("group", GROUPS)
def test_an_unknown_argument_is_named(group: str) -> None:
    """A key that is no argument is a ValueError that names it and all there are."""
    fields: Any = {group: {**REQUIRED.get(group, {}), "per_sekond": 1}}
    with pytest.raises(ValueError, match=f"{group} has the unknown key 'per_sekond'") as caught:
        HttpClientConfig(**fields)
    assert all(name in str(caught.value) for name in defaults_of(group))


@pytest.mark.parametrize("group", REQUIRED)
def test_a_missing_argument_is_named(group: str) -> None:
    """An argument without a default has to be there."""
    fields: Any = {group: {}}
    with pytest.raises(ValueError, match=f"{group} lacks '{next(iter(REQUIRED[group]))}'"):
        HttpClientConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        *[
            pytest.param(
                {name: value}, f"{name} must be a finite number above 0", id=f"{name} {value!r}"
            )
            for name in ("connect_timeout", "read_timeout", "total_timeout")
            for value in (0, -1, math.inf, math.nan, True, "3")
        ],
        *[
            pytest.param({"max_response_size": value}, "max_response_size", id=f"size {value!r}")
            for value in (0, -1, 1.5, True, "3")
        ],
        *[
            pytest.param({"idempotency_key": value}, "idempotency_key", id=f"header {value!r}")
            for value in ("", "a b", "x:", True, "ä")
        ],
        *[
            pytest.param({"verify_ssl": value}, "verify_ssl must be", id=f"verify {value!r}")
            for value in (0, 1, None, "", b"/ca.pem")
        ],
        *[
            pytest.param({name: value}, f"{name} must be True or False", id=f"{name} {value!r}")
            for name in ("allow_redirects", "cookies", "raise_for_status")
            for value in ("false", None)
        ],
        *[pytest.param({name: 5}, f"{name} must be a mapping", id=name) for name in GROUPS],
        pytest.param(
            {"circuit_breaker": {"failure_threshold": 0}},
            "circuit_breaker: .*failure_threshold",
            id="breaker",
        ),
        pytest.param({"retry_budget": {"ratio": -1}}, "retry_budget: .*ratio", id="budget"),
        pytest.param({"rate_limit": {"per_second": 0}}, "rate_limit: .*per_second", id="rate"),
        pytest.param(
            {"bulkhead": {"max_concurrent": 0}}, "bulkhead: .*max_concurrent", id="bulkhead"
        ),
        pytest.param({"environment": {"ca": "no"}}, "environment: ca must be", id="environment"),
        pytest.param({"proxies": "http://a.example"}, "proxies must be a mapping", id="proxies"),
        pytest.param({"proxies": {"ftp": "http://a.example"}}, "'ftp' in proxies", id="scheme"),
        pytest.param({"proxies": {5: "http://a.example"}}, "5 in proxies", id="no scheme"),
        pytest.param({"proxies": {"http": ""}}, "proxy for 'http' must be", id="empty URL"),
        pytest.param({"proxies": {"http": 5}}, "proxy for 'http' must be", id="no URL"),
        pytest.param({"tls": {"min_version": "1.1"}}, "min_version must be '1.2'", id="old TLS"),
        pytest.param({"tls": {"min_version": 1.2}}, "min_version must be '1.2'", id="number"),
        pytest.param({"tls": {"ca": ""}}, "ca must be a path", id="empty path"),
        pytest.param({"tls": {"ca": 5}}, "ca must be a path", id="no path"),
        pytest.param({"tls": {"ca": "/no/such.pem"}}, "'/no/such.pem' of ca", id="no file"),
        pytest.param({"tls": {"client_cert": 5}}, "client_cert must be the path", id="no cert"),
        pytest.param({"tls": {"client_cert": ("a",)}}, "client_cert must be the path", id="single"),
        pytest.param({"tls": {"client_cert": "/no.pem"}}, "'/no.pem' of client_cert", id="no cert"),
        pytest.param({"tls": {"ssl_context": "x"}}, "ssl_context must be an ssl.", id="text"),
    ],
)
def test_senseless_values_are_refused(fields: dict[str, Any], text: str) -> None:
    """A value that cannot be meant is a ValueError that names the field and says what may be."""
    with pytest.raises(ValueError, match=text):
        HttpClientConfig(**fields)


def test_a_path_object_says_which_certificates_to_trust() -> None:
    """`verify_ssl` takes paths of any kind and keeps them as texts."""
    config = HttpClientConfigBuilder().with_verify_ssl(Path("ca.pem")).build()
    assert config.verify_ssl == "ca.pem"


class TestTls:
    def test_paths_are_kept_as_texts(self, files: dict[str, str]) -> None:
        """A bundle, and a certificate with its key, may be given as paths of any kind."""
        config: Any = (
            HttpClientConfigBuilder()
            .with_tls(ca=Path(files["ca"]), client_cert=(Path(files["cert"]), files["key"]))
            .build()
        )
        assert config.tls["ca"] == files["ca"]
        assert config.tls["client_cert"] == (files["cert"], files["key"])

    def test_a_certificate_and_its_key_may_share_a_file(self, files: dict[str, str]) -> None:
        """One path stands for both."""
        config: Any = HttpClientConfigBuilder().with_tls(client_cert=Path(files["cert"])).build()
        assert config.tls["client_cert"] == files["cert"]

    def test_a_folder_of_certificates_is_trusted(self, tmp_path: Path) -> None:
        """`ca` may be a folder."""
        config: Any = HttpClientConfigBuilder().with_tls(tmp_path).build()
        assert config.tls["ca"] == str(tmp_path)

    def test_a_folder_is_no_certificate(self, tmp_path: Path) -> None:
        """`client_cert` has to be a file."""
        with pytest.raises(ValueError, match="of client_cert does not exist"):
            HttpClientConfigBuilder().with_tls(client_cert=tmp_path).build()

    def test_the_password_of_the_key_is_not_shown(self, files: dict[str, str]) -> None:
        """Of a certificate with a protected key the repr shows the paths alone."""
        config: Any = (
            HttpClientConfigBuilder()
            .with_tls(client_cert=(files["cert"], files["key"], "canary"))
            .build()
        )
        assert config.tls["client_cert"] == (files["cert"], files["key"], "canary")
        assert files["key"] in repr(config)
        assert "canary" not in repr(config)

    @pytest.mark.parametrize(
        "version", ["1.2", "TLSv1.2", ssl.TLSVersion.TLSv1_2], ids=["number", "name", "object"]
    )
    def test_the_oldest_version_has_several_spellings(self, version: ssl.TLSVersion | str) -> None:
        """Whatever the spelling, the version of the `ssl` module is kept."""
        config: Any = HttpClientConfigBuilder().with_tls(min_version=version).build()
        assert config.tls["min_version"] is ssl.TLSVersion.TLSv1_2

    def test_a_context_stands_alone(self, files: dict[str, str]) -> None:
        """A context of the caller is kept; nothing else can be said beside it."""
        context = ssl.create_default_context()
        builder = HttpClientConfigBuilder()
        config: Any = builder.with_tls(ssl_context=context).build()
        assert config.tls["ssl_context"] is context
        for fields in ({"ca": files["ca"]}, {"min_version": "1.3"}):
            others: Any = fields
            with pytest.raises(ValueError, match="ssl_context stands alone"):
                builder.with_tls(ssl_context=context, **others).build()

    def test_trust_is_named_in_one_place(self, files: dict[str, str]) -> None:
        """A bundle in `verify_ssl` and another in `tls` exclude each other."""
        builder = HttpClientConfigBuilder().with_verify_ssl("ca.pem")
        with pytest.raises(ValueError, match="in one place"):
            builder.with_tls(ca=files["ca"]).build()
        with pytest.raises(ValueError, match="in one place"):
            builder.with_tls(ssl_context=ssl.create_default_context()).build()
        assert builder.with_tls(min_version="1.2").build().verify_ssl == "ca.pem"


@pytest.mark.parametrize(
    "proxy",
    [
        "http://user:canary@proxy.example:3128",
        "socks5h://user:ca@nary:canary@proxy.example:3128",
        "user:canary@proxy.example:3128",
        "canary@proxy.example:3128",
    ],
)
def test_logins_of_proxies_are_not_shown(proxy: str) -> None:
    """The repr shows where a proxy is, and not who uses it."""
    proxies = {"https": proxy, "all://api.example": "http://open.example"}
    config = HttpClientConfigBuilder().with_proxies(proxies).build()
    assert config.proxies == proxies
    assert "canary" not in repr(config)
    assert "***@proxy.example:3128" in repr(config)
    assert "'http://open.example'" in repr(config)


def test_the_repr_shows_the_limits() -> None:
    """Settings that are no secret are shown as plain mappings."""
    text = repr(HttpClientConfigBuilder().with_bulkhead(3).with_tls(min_version="1.2").build())
    assert "bulkhead={'max_concurrent': 3, 'max_wait': None}" in text
    assert "'min_version': <TLSVersion.TLSv1_2" in text


@pytest.mark.parametrize(
    "name", [name for name in dir(HttpClientConfigBuilder) if name.startswith("with_")]
)
def test_the_annotations_of_the_builder_can_be_evaluated(name: str) -> None:
    """Tools that read annotations find no name that is missing at run time."""
    assert get_type_hints(getattr(HttpClientConfigBuilder, name))
