"""The command `requestforge demo`, over real sockets."""

import json
import os
import pty
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from requestforge import __version__
from requestforge.cli import commands
from requestforge.cli.demo import Report, Row

Document = dict[str, Any]

COMMAND = [sys.executable, "-c", "from requestforge.cli import main; main()"]


def run(*arguments: str) -> Result:
    """The command with those arguments, in this process."""
    return CliRunner().invoke(commands.cli, arguments)


@pytest.fixture(scope="module")
def report() -> Document:
    """What `requestforge demo --json` prints."""
    result = run("demo", "--json")
    assert result.exit_code == 0, result.output
    document: Document = json.loads(result.output)
    return document


def test_every_expectation_holds(report: Document) -> None:
    """The demo's own checks pass, and it says so."""
    assert report["passed"]
    assert all(row["passed"] for row in report["rows"])


def test_phases_come_in_the_order_of_the_story(report: Document) -> None:
    """One phase after the other, from a cold cache to 64 threads on an empty one."""
    phases = list(dict.fromkeys(row["phase"] for row in report["rows"]))

    assert phases == [
        "cold run",
        "cached run",
        "16 minutes later",
        "66 minutes later",
        "invalidate_step('app_token')",
        "token revoked at the server",
        "64 threads, empty cache",
    ]


@pytest.mark.parametrize(
    ("phase", "fetched"),
    [
        ("cold run", {"device_token", "app_token", "user_token"}),
        ("cached run", set()),
        ("16 minutes later", {"user_token"}),
        ("66 minutes later", {"app_token", "user_token"}),
        ("invalidate_step('app_token')", {"app_token", "user_token"}),
        ("token revoked at the server", {"user_token"}),
        ("64 threads, empty cache", {"device_token", "app_token", "user_token"}),
    ],
)
def test_each_phase_fetches_just_what_it_must(
    report: Document, phase: str, fetched: set[str]
) -> None:
    """A step is fetched once where its token is missing, and else comes from the cache."""
    rows = [row for row in report["rows"] if row["phase"] == phase]

    assert {row["step"] for row in rows if row["fetches"] == 1} == fetched
    assert all(row["fetches"] in {0, 1} for row in rows)


def test_the_reasons_of_misses_are_told(report: Document) -> None:
    """Each miss says why: nothing there, expired, invalidated, or refused by the server."""
    reasons: Counter[str] = Counter()
    for row in report["rows"]:
        reasons.update(row["misses"])

    assert set(reasons) == {"empty", "expired", "invalidated", "forced"}


def test_sums_are_those_of_the_rows(report: Document) -> None:
    """The last line adds up what the rows show."""
    rows = report["rows"]

    assert report["sums"]["fetches"] == sum(row["fetches"] for row in rows)
    assert report["sums"]["hits"] == sum(row["hits"] for row in rows)
    assert report["sums"]["requests"] == report["sums"]["fetches"] + 2


def test_output_to_a_pipe_is_plain_text() -> None:
    """Away from a terminal there are no colours, and no column is cut off."""
    done = subprocess.run([*COMMAND, "demo"], capture_output=True, text=True, check=True)

    assert "\x1b" not in done.stdout
    assert done.stdout.isascii()
    assert "invalidate_step('app_token')" in done.stdout
    assert "22 of 22 expectations hold." in done.stdout


def test_output_to_a_terminal_is_coloured() -> None:
    """On a terminal hits, misses and checks have colours."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    with subprocess.Popen([*COMMAND, "demo"], stdout=follower, env=environment) as process:
        os.close(follower)
        shown = b""
        while chunk := _read(leader):
            shown += chunk
    os.close(leader)

    assert process.returncode == 0
    assert b"\x1b[32mhit" in shown
    assert b"16 minutes" in shown


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the other end is closed
        return b""


def test_a_failed_expectation_is_shown_and_sets_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row that failed says what was expected, and the exit status is 1."""
    bad = Row("cold run", "app_token", 0, {"empty": 2}, 2, 1.0, "1 fetch", passed=False, detail="x")
    sums = {"hits": 0, "misses": 2, "fetches": 2, "requests": 2}
    monkeypatch.setattr(commands, "run_demo", lambda: Report("http://127.0.0.1:1", [bad], sums))

    result = run("demo")

    assert result.exit_code == 1
    assert "failed: expected 1 fetch" in result.output
    assert "0 of 1 expectations hold." in result.output


def test_version_is_that_of_the_package() -> None:
    """`requestforge --version` names the release."""
    assert __version__ in run("--version").output


def test_without_the_extra_the_command_says_what_to_install(tmp_path: Path) -> None:
    """A missing library ends in one line that names the extra."""
    (tmp_path / "rich.py").write_text("raise ImportError\n", encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [*COMMAND, "demo"], capture_output=True, text=True, check=False, env=environment
    )

    assert done.returncode == 1
    assert done.stderr.strip() == (
        "The command requestforge needs rich: pip install 'requestforge[cli]'"
    )
