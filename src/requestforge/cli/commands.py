"""What the command offers, and how it prints."""

import json
import sys
from dataclasses import asdict

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from requestforge import __version__
from requestforge.cli.demo import Report, Row, run_demo
from requestforge.cli.fake_auth import fake_auth
from requestforge.cli.tokens import inspect, invalidate


@click.group()
@click.version_option(__version__, prog_name="requestforge")
def cli() -> None:
    """Multi-step token authentication, cached per step."""


cli.add_command(fake_auth)
cli.add_command(inspect)
cli.add_command(invalidate)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
def demo(*, as_json: bool) -> None:
    """Drive a three-step authentication over real sockets, and check each step of it.

    A fake auth server is stood up on this machine's loopback. Exits with status 1 if an
    expectation fails.
    """
    report = run_demo()
    if as_json:
        click.echo(json.dumps(asdict(report) | {"passed": report.passed}, indent=2))
    else:
        _print(report)
    sys.exit(0 if report.passed else 1)


def _print(report: Report) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        # A pipe has no width of its own; nothing may be cut off there.
        console = Console(highlight=False, width=200)
    console.print(f"Three steps, fetched from a fake auth server on {report.server}\n")
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.ASCII2, pad_edge=False)
    table.add_column("Phase and step", min_width=28)
    table.add_column("Cache", min_width=11)
    table.add_column("Fetch", min_width=14)
    table.add_column("Check", min_width=5, overflow="fold")
    phase = ""
    for row in report.rows:
        if row.phase != phase:
            table.add_section()
            table.add_row(Text(row.phase, "bold"))
        table.add_row(f"  {row.step}", _cache(row), _fetch(row), _check(row))
        phase = row.phase
    console.print(table)
    sums = report.sums
    console.print(
        f"{sums['hits']} cache hits, {sums['misses']} misses, {sums['fetches']} fetches, "
        f"{sums['requests']} requests at the server."
    )
    good = sum(row.passed for row in report.rows)
    style = "bold green" if report.passed else "bold red"
    console.print(Text(f"{good} of {len(report.rows)} expectations hold.", style))


def _cache(row: Row) -> Text:
    parts = []
    if row.hits:
        parts.append(("hit" if row.hits == 1 else f"hit x{row.hits}", "green"))
    for reason, count in row.misses.items():
        said = f"miss: {reason}" if count == 1 else f"miss x{count}: {reason}"
        parts.append((said, "yellow"))
    return Text(", ").join(Text(said, style) for said, style in parts)


def _fetch(row: Row) -> str:
    if not row.fetches:
        return row.detail
    said = f"{row.fetches} in {row.milliseconds:.1f} ms"
    return f"{said}, {row.detail}" if row.detail else said


def _check(row: Row) -> Text:
    if row.passed:
        return Text("ok", "green")
    return Text(f"failed: expected {row.expected}", "bold red")
