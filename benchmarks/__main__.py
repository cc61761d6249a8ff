"""Prints every ratio beside the one to reach: `python benchmarks [GROUP …]`, by default all."""

import importlib
import sys

from ratios import print_table

GROUPS = (
    "cached",
    "client",
    "connections",
    "fleet",
    "flights",
    "startup",
    "steady",
    "tenants",
    "toolkit",
    "warm",
)


def main() -> None:
    """Measure the groups named on the command line, or all."""
    for group in sys.argv[1:] or GROUPS:
        print_table(importlib.import_module(group).measure())


if __name__ == "__main__":
    main()
