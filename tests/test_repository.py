"""What the files around the code say about it, and about each other."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def test_the_design_page_shows_every_layer_of_the_contract() -> None:
    """The picture of the floors names each module that the import contract places, and no other."""
    page = (ROOT / "docs" / "design.rst").read_text(encoding="utf-8")
    picture = page.partition(".. code-block:: text\n")[2].partition("\nWithin a floor")[0]
    shown = re.findall(r"^   [ \d]{2}  (\w+)/?  ", picture, flags=re.MULTILINE)

    assert sorted(shown) == sorted({"__init__", *_layers()})


def test_the_toolkit_may_import_no_private_module() -> None:
    """The contract that keeps the toolkit public lists each private module of the library."""
    private = {
        f"requestforge.{path.stem}"
        for path in (ROOT / "src" / "requestforge").glob("_*")
        if not path.stem.startswith("__")
    }

    assert private == set(_contract("public")["forbidden_modules"])


def test_the_toolkit_and_the_command_import_public_names_alone() -> None:
    """No import of theirs takes a module or name with a leading underscore from the library."""
    files = [
        *(ROOT / "pytest_requestforge").rglob("*.py"),
        *(ROOT / "src" / "requestforge" / "cli").rglob("*.py"),
    ]
    imported = {
        f"{path.relative_to(ROOT)}: {name}" for path in files for name in _library_imports(path)
    }

    assert imported
    assert not {entry for entry in imported if re.search(r": .*\._[^_]", entry)}


def test_the_library_asserts_nothing() -> None:
    """No file under src holds an assert statement: Python drops them with -O."""
    asserting = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Assert)
    ]

    assert asserting == []


def test_ci_runs_the_command_of_the_readme() -> None:
    """The script of the CI ends with the README's own command for running the tests."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^```sh\n(.*)\n```$", readme, flags=re.MULTILINE)
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()

    assert [command.rpartition("/")[2] for command in commands] == ["requestforge demo", "tox"]
    assert script[-1] == commands[-1]


def test_the_changelog_begins_with_the_version_of_the_project() -> None:
    """The newest section of the changelog is that of the version in pyproject.toml."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert (
        re.findall(r"^## \[(.+?)\]", changelog, flags=re.MULTILINE)[0]
        == (_pyproject()["project"]["version"])
    )


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _contract(identifier: str) -> dict[str, Any]:
    contracts = _pyproject()["tool"]["importlinter"]["contracts"]
    return next(contract for contract in contracts if contract["id"] == identifier)


def _layers() -> set[str]:
    return set(re.findall(r"\w+", " ".join(_contract("floors")["layers"])))


def _library_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("requestforge"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("requestforge"):
            yield from (f"{node.module}.{name.name}" for name in node.names)
