"""The command `requestforge` (extra `cli`)."""

import importlib
import sys

__all__ = ["main"]

_NEEDED = ("click", "rich", "werkzeug", "joserfc")


def main() -> None:
    """Run the command with the arguments of this process."""
    for module in _NEEDED:
        try:
            importlib.import_module(module)
        except ImportError:
            sys.exit(f"The command requestforge needs {module}: pip install 'requestforge[cli]'")
    importlib.import_module("requestforge.cli.commands").cli()
