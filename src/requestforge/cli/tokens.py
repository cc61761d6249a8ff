"""The commands `inspect` and `invalidate`: what a storage holds, and giving it up."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from requestforge import TokenFetchPipeline, TokenStorageException
from requestforge.cli.targets import CannotTell, in_files, in_redis, load, reason
from requestforge.instrumentation import now
from requestforge.pipelines import StepState

_URL_VARIABLE = "REQUESTFORGE_REDIS_URL"
"""Where a URL may stand that has a password: arguments are seen by all users of a machine."""

_COLOURS = {"fresh": "green", "stale": "yellow", "unreadable": "red"}
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


@click.command(
    epilog="""\b
Examples:
  requestforge inspect myapp.auth:pipeline
  requestforge inspect myapp.auth:make_pipeline --tenant acme --json
  requestforge inspect --redis redis://localhost --prefix shop --step app --step user
"""
)
@click.argument("target", required=False)
@click.option("--tenant", help="Show the tokens of this tenant.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--redis",
    metavar="URL",
    help=f"Instead of TARGET: look into the Redis at this URL, or at that of {_URL_VARIABLE}.",
)
@click.option("--key-prefix", default="token", show_default=True, help="Of the RedisTokenStorage.")
@click.option("--directory", metavar="PATH", help="Instead of TARGET: look into these files.")
@click.option("--prefix", default="", help="Of the keys, with --redis or --directory.")
@click.option("--step", "steps", multiple=True, help="A step, with --redis or --directory.")
def inspect(
    *,
    target: str | None,
    tenant: str | None,
    redis: str | None,
    key_prefix: str,
    directory: str | None,
    prefix: str,
    steps: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show what a storage holds for each step of a pipeline; nothing is fetched or changed.

    TARGET is module:name, where the name is that of a TokenFetchPipeline, of a
    PipelineTokenProvider, or of a function without arguments that returns one of them. It is looked
    for in the current folder, too. If DJANGO_SETTINGS_MODULE is set, Django is set up first.

    A step is fresh, stale (served, and due for renewal), dead (past its end), missing, invalidated,
    or unreadable. No token is shown.

    Exits with 0 if every step has a token that is served, with 1 if one has none, and with 2 if
    that could not be found out.
    """
    if [target, redis, directory].count(None) == 3:  # noqa: PLR2004
        redis = os.environ.get(_URL_VARIABLE)
    if [target, redis, directory].count(None) != 2:  # noqa: PLR2004
        raise click.UsageError("Name either TARGET, or --redis, or --directory.")
    if target is not None:
        if prefix or steps:
            raise click.UsageError("--prefix and --step go with --redis or --directory.")
        pipeline = load(target)
    elif not steps:
        raise click.UsageError("--redis and --directory need the names of steps: --step NAME.")
    elif redis is not None:
        pipeline = in_redis(redis, key_prefix, prefix, steps)
    else:
        pipeline = in_files(directory or "", prefix, steps)
    states = _states(pipeline, tenant)
    usable = all(state.is_usable for state in states)
    if as_json:
        click.echo(json.dumps(_document(target, tenant, states, usable=usable), indent=2))
    else:
        _print(states)
    _say_if_unshared(pipeline)
    sys.exit(0 if usable else 1)


@click.command(
    epilog="""\b
Examples:
  requestforge invalidate myapp.auth:pipeline --step app_token
  requestforge invalidate myapp.auth:pipeline --tenant acme --yes
"""
)
@click.argument("target")
@click.option("--step", help="Invalidate this step, and all that depend on it.")
@click.option("--all", "every", is_flag=True, help="Invalidate every step.")
@click.option("--tenant", help="Invalidate the tokens of this tenant alone: all, or a step's.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def invalidate(
    target: str, step: str | None, tenant: str | None, *, every: bool, yes: bool
) -> None:
    """Give up the tokens of a step and of all that depend on it, for all processes on the storage.

    TARGET is that of `requestforge inspect`. What would go is shown first, and asked about; without
    a terminal --yes is needed. What is being fetched meanwhile is not cached.

    Exits with 0 once the tokens are given up, with 1 if you say no, and with 2 if it could not be
    done.
    """
    named = (step is not None) + every
    if named > 1 or (named == 0 and tenant is None):
        raise click.UsageError(
            "Name either --step NAME or --all; --tenant NAME alone stands for all of its tokens."
        )
    pipeline = load(target)
    if not pipeline.storage.shared:
        raise CannotTell(
            f"The tokens of {target} live in the memory of each process that uses it; they cannot "
            "be given up from here. Call invalidate_step there, or restart it."
        )
    names = pipeline.step_names if step is None else _with_dependents(pipeline, step)
    whose = "" if tenant is None else f" of tenant {_shown(tenant)}"
    click.echo(f"Tokens{whose} that go: {', '.join(map(_shown, names))}")
    if not yes:
        if not sys.stdin.isatty():
            raise CannotTell("There is no terminal to ask on. Say --yes if they are to go.")
        click.confirm("Invalidate them?", abort=True)
    try:
        _invalidate(pipeline, step, tenant)
    except Exception as error:
        raise CannotTell(reason(error)) from error
    click.echo(f"Invalidated: {len(names)} step{'s' if len(names) > 1 else ''}.")


def _states(pipeline: TokenFetchPipeline, tenant: str | None) -> list[StepState]:
    try:
        return pipeline.inspect(tenant)
    except (ImportError, TokenStorageException, ValueError) as error:
        raise CannotTell(reason(error)) from error


def _with_dependents(pipeline: TokenFetchPipeline, step: str) -> list[str]:
    """The step and all that depend on it, in the order of execution."""
    if step not in pipeline.step_names:
        known = ", ".join(map(_shown, pipeline.step_names))
        raise CannotTell(f"There is no step {step!r}; the steps are {known}.")
    going = {step}
    # As often as there are steps: one may be listed before those that it depends on.
    for _ in pipeline.step_names:
        for name in pipeline.step_names:
            if not going.isdisjoint(getattr(pipeline.get_step(name), "depends_on", None) or ()):
                going.add(name)
    return [name for name in pipeline.step_names if name in going]


def _invalidate(pipeline: TokenFetchPipeline, step: str | None, tenant: str | None) -> None:
    if tenant is not None:
        pipeline.invalidate_tenant(tenant, step)
    elif step is not None:
        pipeline.invalidate_step(step)
    else:
        pipeline.invalidate_all()


def _document(
    target: str | None, tenant: str | None, states: Sequence[StepState], *, usable: bool
) -> dict[str, object]:
    at = now()
    steps = [
        {
            **asdict(state),
            "ends_at": None if state.ends_at is None else state.ends_at.isoformat(),
            "seconds_left": _seconds_left(state.ends_at, at),
            "is_usable": state.is_usable,
        }
        for state in states
    ]
    named = {"target": target, "tenant": tenant}
    return {**named, "at": at.isoformat(), "is_usable": usable, "steps": steps}


def _print(states: Sequence[StepState]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        # A pipe has no width of its own; nothing may be cut off there.
        console = Console(highlight=False, width=200)
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.ASCII2, pad_edge=False)
    for heading in ("Step", "State", "Time left", "Refresh token", "Generation", "Epoch"):
        table.add_column(heading, overflow="fold")
    at = now()
    for state in states:
        table.add_row(
            Text(_shown(state.step)),
            Text(state.state, _COLOURS.get(state.state, "dim")),
            _time_left(state, at),
            "yes" if state.has_refresh_token else "",
            Text(_shown(state.generation or "")),
            state.epoch or "",
        )
    console.print(table)


def _time_left(state: StepState, at: datetime) -> str:
    if state.ends_at is None:
        return "no end" if state.is_usable else ""
    left = _seconds_left(state.ends_at, at) or 0
    return _duration(left) if left > 0 else f"ended {_duration(-left)} ago"


def _seconds_left(ends_at: datetime | None, at: datetime) -> int | None:
    return None if ends_at is None else (ends_at - at) // timedelta(seconds=1)


def _duration(seconds: int) -> str:
    """In its two largest units: `2 h 5 min`."""
    parts: list[str] = []
    for unit, size in _UNITS:
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def _shown(text: str) -> str:
    """The text; what does not print stands as its escape, and moves no cursor."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _say_if_unshared(pipeline: TokenFetchPipeline) -> None:
    if not pipeline.storage.shared:
        click.echo(
            "The storage lives in the memory of each process: this is what a new one holds.",
            err=True,
        )
