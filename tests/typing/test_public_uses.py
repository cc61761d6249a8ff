"""The file that type checkers read leaves no public name out."""

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import requestforge

USES = Path(__file__).with_name("public_uses.py")
# Names of these modules are exported by `requestforge` or its public modules.
_PUBLIC = [
    "requestforge",
    *(
        f"requestforge.{module.name}"
        for module in pkgutil.iter_modules(requestforge.__path__)
        if not module.name.startswith("_") and module.name not in {"cli", "contrib"}
    ),
    "requestforge.contrib.httpx",
    "requestforge.contrib.logging",
    "requestforge.contrib.opentelemetry",
    "requestforge.contrib.prometheus",
    "requestforge.contrib.requests",
]


@pytest.mark.parametrize("module", _PUBLIC)
def test_every_public_name_is_used(module: str) -> None:
    """Each name in the `__all__` of a public module is imported and used there."""
    tree = ast.parse(USES.read_bytes())
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names = set(importlib.import_module(module).__all__)
    assert names
    assert names <= used


def test_every_method_of_the_builder_is_used() -> None:
    """Each setting of the builder is called there."""
    tree = ast.parse(USES.read_bytes())
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    builder = requestforge.HttpClientConfigBuilder
    assert {name for name in dir(builder) if name.startswith("with_")} <= called


def test_every_verb_of_the_client_is_used() -> None:
    """Each public member of the client is asked for there."""
    tree = ast.parse(USES.read_bytes())
    asked = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    members = {name for name in dir(requestforge.HttpClient) if not name.startswith("_")}
    assert members - {"circuit_breaker"} <= asked
