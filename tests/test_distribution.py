"""What an installation of the distribution holds and asks for."""

import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points, metadata, requires, version
from importlib.resources import files

import pytest
from packaging.requirements import Requirement

import requestforge

pytestmark = pytest.mark.compat

EXTRAS = {
    "cli": {"click", "joserfc", "rich", "werkzeug"},
    "crypto": {"cryptography"},
    "django": {"django"},
    "file": {"filelock"},
    "httpx": {"httpx"},
    "jwt": {"joserfc"},
    "otel": {"opentelemetry-api"},
    "prometheus": {"prometheus-client"},
    "redis": {"redis"},
    "testing": {"faker", "freezegun", "joserfc", "pytest", "responses", "werkzeug"},
}

IMPORTED_LIBRARIES = """
import sys
import {module}
extras = {{
    "click", "cryptography", "django", "faker", "filelock", "freezegun", "httpx", "joserfc",
    "opentelemetry", "prometheus_client", "pytest", "pytest_requestforge", "redis", "responses",
    "rich", "werkzeug",
}}
print(*sorted(extras & set(sys.modules)))
"""


def test_the_core_needs_requests_alone() -> None:
    """Without an extra come requests and, for its bound, urllib3, which requests needs anyway."""
    assert _requirements("") == {"requests", "urllib3"}


@pytest.mark.parametrize(("extra", "brought"), EXTRAS.items(), ids=EXTRAS)
def test_an_extra_brings_what_its_part_needs(extra: str, brought: set[str]) -> None:
    """Each extra adds its libraries to the core and no others."""
    assert _requirements(extra) - _requirements("") == brought


def test_there_is_no_other_extra() -> None:
    """The extras are those that the documentation names."""
    assert set(metadata("requestforge").get_all("Provides-Extra") or ()) == set(EXTRAS)


@pytest.mark.parametrize("package", ["requestforge", "pytest_requestforge"])
def test_both_packages_say_that_they_are_typed(package: str) -> None:
    """A py.typed lies in each package, so type checkers read its annotations (PEP 561)."""
    assert files(package).joinpath("py.typed").is_file()


def test_the_version_is_that_of_the_installation() -> None:
    """`requestforge.__version__` is the version of the installed distribution."""
    assert requestforge.__version__ == version("requestforge")


def test_pytest_is_asked_not_to_rewrite_the_library() -> None:
    """The package's docstring has the mark that keeps pytest's assertion rewriting away."""
    assert "PYTEST_DONT_REWRITE" in (requestforge.__doc__ or "")


@pytest.mark.parametrize(
    ("group", "value"),
    [
        pytest.param("console_scripts", "requestforge.cli:main", id="command"),
        pytest.param("pytest11", "pytest_requestforge.plugin", id="pytest plugin"),
    ],
)
def test_an_entry_point_can_be_loaded(group: str, value: str) -> None:
    """The command and the pytest plugin are registered under the name of the distribution."""
    (entry_point,) = entry_points(group=group, name="requestforge")

    assert entry_point.value == value
    assert entry_point.load() is not None


@pytest.mark.parametrize("module", ["requestforge", "requestforge.token_manager"])
def test_an_import_needs_no_extra(module: str) -> None:
    """Importing the library loads no library of an extra, and not the toolkit."""
    loaded = subprocess.run(
        [sys.executable, "-c", IMPORTED_LIBRARIES.format(module=module)],
        check=True,
        capture_output=True,
        text=True,
    )

    assert loaded.stdout.split() == []


def test_every_public_name_is_there() -> None:
    """`__all__` is sorted, and each name in it can be had."""
    package = import_module("requestforge")

    assert list(package.__all__) == sorted(package.__all__)
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


def _requirements(extra: str) -> set[str]:
    """The names of what an installation with `extra` needs, lower case."""
    found = map(Requirement, requires("requestforge") or ())
    return {
        requirement.name.lower()
        for requirement in found
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra})
    }
