import ast
import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

import documentation
import pytest
from documentation import ROOT, blocks_of, pages, python_blocks

import pytest_requestforge
import requestforge
from pytest_requestforge import FakeAuth
from requestforge import BodyTokenFetcher, InMemoryTokenStorage, TokenFetchPipeline

# How many blocks of Python each page has, and how many of them show what they give.
COUNTS = {
    "README.md": (4, 0),
    "docs/api/client.rst": (3, 3),
    "docs/api/exceptions.rst": (1, 1),
    "docs/api/fetcher.rst": (8, 5),
    "docs/api/instrumentation.rst": (2, 2),
    "docs/api/pipelines.rst": (18, 7),
    "docs/api/retry.rst": (2, 2),
    "docs/api/storages.rst": (9, 4),
    "docs/api/token-manager.rst": (4, 2),
    "docs/api/values.rst": (2, 2),
    "docs/examples/multi-step-auth.rst": (5, 4),
    "docs/index.rst": (1, 1),
    "docs/user-guide/authentication.rst": (9, 5),
    "docs/user-guide/client.rst": (20, 17),
    "docs/user-guide/cookbook.rst": (21, 0),
    "docs/user-guide/grants.rst": (5, 2),
    "docs/user-guide/deployment.rst": (4, 1),
    "docs/user-guide/errors.rst": (4, 4),
    "docs/user-guide/fake-auth.rst": (3, 0),
    "docs/user-guide/fixtures.rst": (8, 0),
    "docs/user-guide/migration.rst": (4, 4),
    "docs/user-guide/observability.rst": (3, 1),
    "docs/user-guide/other-clients.rst": (4, 3),
    "docs/user-guide/retries.rst": (6, 5),
    "docs/user-guide/security.rst": (7, 6),
    "docs/user-guide/sizing.rst": (1, 0),
    "docs/user-guide/testing.rst": (16, 2),
}

LANGUAGES = {"python", "sh", "text", "toml", "yaml"}

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Done]:
    """Runs a command of Python in an empty folder, where a Django project has its settings."""
    (tmp_path / "project_settings.py").write_text(
        "CACHES = {'default': {'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'}}\n"
    )

    def run(*command: str) -> Done:
        return subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "project_settings",
                "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)]),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize("page", [page for page in pages() if python_blocks(page)])
def test_blocks_run(page: str, run: Callable[..., Done]) -> None:
    """The blocks of a page run in turn, and give what the page shows below them."""
    done = run(documentation.__file__, page)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", [p for p in pages() if any(b.is_test for b in python_blocks(p))])
def test_tests_pass(page: str, tmp_path: Path, run: Callable[..., Done]) -> None:
    """The tests of a page pass; one below which the page shows a failure fails with just that."""
    blocks = python_blocks(page)
    last = max(number for number, block in enumerate(blocks) if block.is_test)
    code = "\n\n".join(block.code for block in blocks[: last + 1])
    (tmp_path / "test_page.py").write_text(code, encoding="utf-8")
    report = tmp_path / "report.xml"

    done = run(
        "-m", "pytest", "-p", "no:randomly", "--rootdir=.", f"--junitxml={report}", "test_page.py"
    )

    assert report.exists(), done.stderr
    cases = ET.parse(report).getroot().iter("testcase")  # noqa: S314 - of our own making
    outcomes = {str(case.get("name")): _failure(case) for case in cases}
    expected = {name: output for block in blocks for name, output in _tests_of(block)}
    assert {name.partition("[")[0] for name in outcomes} >= expected.keys()
    assert {name: outcomes.get(name) for name in expected} == expected
    assert [name for name in outcomes if outcomes[name] and name not in expected] == []


def test_examples_of_docstrings_run(rf_fake_auth: FakeAuth) -> None:
    """The examples that the pages take from docstrings run."""
    step = BodyTokenFetcher("app_token", rf_fake_auth.url, "/token")
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    app = rf_fake_auth.serve(pipeline)["app_token"]
    with ThreadPoolExecutor(8) as pool:
        names = {"FakeAuth": FakeAuth, "app": app, "pipeline": pipeline, "pool": pool}
        examples = [
            example
            for module in _modules()
            for example in doctest.DocTestFinder().find(module, extraglobs=names)
            if example.examples
        ]
        failed = sum(doctest.DocTestRunner().run(example).failed for example in examples)

    assert len(examples) == 3
    assert failed == 0


def test_every_block_is_counted() -> None:
    """Each page has as many blocks, and shows as many outputs, as are counted here."""
    counts = {
        page: (len(blocks), sum(block.output is not None for block in blocks))
        for page in pages()
        if (blocks := python_blocks(page))
    }

    assert counts == COUNTS


def test_there_is_no_other_code() -> None:
    """All code stands in blocks that are collected, in languages that the tests know."""
    for page in pages():
        text = (ROOT / page).read_text(encoding="utf-8")
        blocks = blocks_of(page)
        outputs = sum(block.output is not None for block in blocks)
        begun = len(re.findall(r"^```\w|code-block::|sourcecode::|\bcode::", text, re.MULTILINE))

        assert begun == len(blocks) + outputs, page
        assert {block.language for block in blocks} <= LANGUAGES, page
        assert not re.search(r"^(?! *\.\. ).*::$|>>>", text, re.MULTILINE), page


@pytest.mark.parametrize("package", [requestforge, pytest_requestforge])
def test_every_public_name_is_on_a_page(package: ModuleType) -> None:
    """Whatever a package exports is described."""
    texts = [(ROOT / page).read_text(encoding="utf-8") for page in pages()]
    shown = {
        name
        for text in texts
        for line in re.findall(r"\.\. auto\w+:: (.+)|:members: (.+)", text)
        for name in re.findall(r"(\w+)(?:\(\))?(?:,|$)", "".join(line))
    }

    assert set(package.__all__) - shown - {"__version__"} == set()


def test_the_extras_that_are_named_exist() -> None:
    """Whatever the pages tell to install is an extra of the project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [(ROOT / page).read_text(encoding="utf-8") for page in pages()]
    named = {name for text in texts for name in re.findall(r"requestforge\[(\w+)\]", text)}

    assert named
    assert named <= set(project["optional-dependencies"])


def _modules() -> Iterator[ModuleType]:
    """All modules of both packages."""
    for package in (pytest_requestforge, requestforge):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


def _failure(case: ET.Element) -> str | None:
    """The text of the error of a test case, if it failed, as of a line 42 of test_tokens.py."""
    failed = [case.findtext(kind) for kind in ("failure", "error")]
    text = next((each for each in failed if each is not None), None)
    if text is None:
        return None
    # pytest marks the lines of the error with an E.
    error = "".join(f"{line[8:]}\n" for line in text.splitlines() if line.startswith("E"))
    return re.sub(r"test_page\.py:\d+", "test_tokens.py:42", error)


def _tests_of(block: documentation.Block) -> list[tuple[str, str | None]]:
    """The test functions of a block, each with the failure that the page shows."""
    return [
        (node.name, block.output)
        for node in ast.parse(block.code).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
