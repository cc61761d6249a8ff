"""Environments of their own for sides whose packages are not those of the project."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".cache" / "benchmarks"


@cache
def python_with(*requirements: str) -> Path | None:
    """A Python that has these packages, made if there is none yet; None, and said so: no way."""
    place = CACHE / "_".join(requirements)
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if (place / "complete").exists():
        return python
    shutil.rmtree(place, ignore_errors=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", place], check=True, capture_output=True)
        install: list[str | Path] = [python, "-m", "pip", "install", "--quiet", *requirements]
        subprocess.run(install, check=True, capture_output=True, env=without_own_path())
    except subprocess.CalledProcessError as error:
        print(f"{requirements[0]} is left out, it cannot be installed: {last_line(error)}")
        return None
    (place / "complete").touch()
    return python


def without_own_path() -> dict[str, str]:
    """The environment of this process, without the place of our own packages."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def last_line(error: subprocess.CalledProcessError) -> str:
    """The last thing that a command said."""
    said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
    return said[-1] if said else str(error)
