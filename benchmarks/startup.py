"""What starting costs: the import, and pytest with the plugin unused."""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from ratios import Result

BASELINE = "import requests"

# Both sides start from compiled files, as an installed package does.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def process_seconds(*arguments: str, cwd: str | None = None) -> float:
    """Wall seconds of a fresh Python."""
    started = perf_counter()
    subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, cwd=cwd, env=ENVIRONMENT
    )
    return perf_counter() - started


def import_seconds(statement: str) -> float:
    """Seconds of an import in a fresh Python, its own start not counted."""
    code = f"import time; s = time.perf_counter(); {statement}; print(time.perf_counter() - s)"
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=ENVIRONMENT
    ).stdout
    return float(output)


def measure() -> list[Result]:
    """All lines on starting."""
    for statement in ("import requestforge", BASELINE):
        import_seconds(statement)
    ratios, extra = [], []
    for _ in range(11):
        ours, base = import_seconds("import requestforge"), import_seconds(BASELINE)
        ratios.append(ours / base)
        extra.append((ours - base) * 1000)
    return [
        Result("import requestforge", BASELINE, statistics.median(ratios), 1.1),
        Result("import requestforge, ms beyond requests", "one ms", statistics.median(extra), 10.0),
        Result("pytest start, plugin unused, extra ms", "one ms", plugin_milliseconds(), 5.0),
    ]


def plugin_milliseconds() -> float:
    """Milliseconds that the unused plugin adds to pytest's start."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_nothing.py").write_text("def test_nothing(): pass\n", encoding="utf-8")
        Path(folder, "empty_plugin.py").touch()
        # No other plugin of this environment, whose start would drown the difference; and one of
        # nothing on the other side, since pytest's own search for a plugin is no cost of ours.
        bare = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--disable-plugin-autoload")
        without = (*bare, "-p", "empty_plugin")
        common = (*bare, "-p", "pytest_requestforge.plugin")
        process_seconds(*common, cwd=folder)
        process_seconds(*without, cwd=folder)
        return statistics.median(
            (process_seconds(*common, cwd=folder) - process_seconds(*without, cwd=folder)) * 1000
            for _ in range(15)
        )
