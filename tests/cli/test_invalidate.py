"""The command `requestforge invalidate`."""

import json
from pathlib import Path
from uuid import uuid4

import apps
import pytest

from canary import assert_clean
from redis_servers import RedisServer

CANARY = apps.PASSWORD


@pytest.fixture
def module(tmp_path: Path) -> str:
    """The name of an application in a folder whose tokens are all fetched."""
    name = f"shop_{uuid4().hex}"
    apps.write(tmp_path, name)
    apps.python(tmp_path, f"import {name} as m; m.files().execute()")
    return name


def states(folder: Path, target: str, *options: str, **variables: str) -> dict[str, str]:
    """The state of each step."""
    done = apps.run(folder, "inspect", target, "--json", *options, **variables)
    return {step["step"]: step["state"] for step in json.loads(done.stdout)["steps"]}


def test_a_step_takes_its_dependents_along(module: str, tmp_path: Path) -> None:
    """What depends on the step is named and goes, too; the others stay."""
    done = apps.run(tmp_path, "invalidate", f"{module}:files", "--step", "app", "--yes")

    assert done.returncode == 0, done.stderr
    assert done.stdout == "Tokens that go: app, user\nInvalidated: 2 steps.\n"
    assert states(tmp_path, f"{module}:files") == {
        "app": "invalidated",
        "user": "invalidated",
        "other": "fresh",
    }
    assert_clean(done.stdout, done.stderr)


def test_a_last_step_goes_alone(module: str, tmp_path: Path) -> None:
    """What it was bought with stays."""
    done = apps.run(tmp_path, "invalidate", f"{module}:files", "--step", "user", "--yes")

    assert done.stdout == "Tokens that go: user\nInvalidated: 1 step.\n"
    assert states(tmp_path, f"{module}:files")["app"] == "fresh"


def test_dependents_may_be_listed_first(module: str, tmp_path: Path) -> None:
    """All that depend on a step are named, in whatever order the pipeline has them."""
    done = apps.run(tmp_path, "invalidate", f"{module}:late", "--step", "device", "--yes")

    assert done.returncode == 0, done.stderr
    assert done.stdout == "Tokens that go: user, app, device\nInvalidated: 3 steps.\n"


def test_all_steps_go(tmp_path: Path, module: str, own_redis: RedisServer) -> None:
    """A running process sees it at its next call: here, another command."""
    where = {"SHOP_REDIS": own_redis.url}
    apps.python(tmp_path, f"import {module} as m; m.in_redis().execute()", **where)

    done = apps.run(tmp_path, "invalidate", f"{module}:in_redis", "--all", "--yes", **where)

    assert done.returncode == 0, done.stderr
    assert set(states(tmp_path, f"{module}:in_redis", **where).values()) == {"invalidated"}


@pytest.mark.parametrize(
    ("answer", "status", "state"),
    [pytest.param("y\n", 0, "invalidated", id="yes"), pytest.param("n\n", 1, "fresh", id="no")],
)
def test_a_terminal_is_asked(
    module: str, tmp_path: Path, answer: str, status: int, state: str
) -> None:
    """Tokens go if the answer is yes, and else stay."""
    told, shown = apps.on_a_terminal(
        tmp_path, answer, "invalidate", f"{module}:files", "--step", "other"
    )

    assert told == status, shown
    assert "Tokens that go: other" in shown
    assert "Invalidate them?" in shown
    assert states(tmp_path, f"{module}:files")["other"] == state


def test_without_a_terminal_nothing_goes(module: str, tmp_path: Path) -> None:
    """There `--yes` is needed."""
    done = apps.run(tmp_path, "invalidate", f"{module}:files", "--all")

    assert done.returncode == 2
    assert "Say --yes" in done.stderr
    assert set(states(tmp_path, f"{module}:files").values()) == {"fresh"}


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        pytest.param(["--all"], {"app", "user", "other"}, id="all"),
        pytest.param([], {"app", "user", "other"}, id="all unless told"),
        pytest.param(["--step", "app"], {"app", "user"}, id="step"),
    ],
)
def test_the_tokens_of_one_tenant_go(
    module: str, tmp_path: Path, options: list[str], gone: set[str]
) -> None:
    """Those of others, and those without a tenant, stay."""
    apps.python(tmp_path, f"import {module} as m; m.files().for_tenant('a/b').execute()")
    target = f"{module}:files"

    done = apps.run(tmp_path, "invalidate", target, *options, "--tenant", "a/b", "--yes")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Tokens of tenant a/b that go: app, user")
    told = states(tmp_path, target, "--tenant", "a/b")
    assert {step for step, state in told.items() if state == "invalidated"} == gone
    assert set(states(tmp_path, target).values()) == {"fresh"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["files", "--step", "usr"], "steps are app, user, other", id="unknown"),
        pytest.param(["files"], "either --step NAME or --all", id="neither"),
        pytest.param(["files", "--step", "app", "--all"], "either --step", id="both"),
        pytest.param(["files", "--step", "app", "--all", "--tenant", "t"], "either", id="three"),
        pytest.param(["memory", "--all"], "memory of each process", id="memory"),
        pytest.param(["files", "--all", "--tenant", "", "--yes"], "tenant", id="no tenant"),
        pytest.param(["down", "--all", "--yes"], "could not delete the tokens", id="down"),
        pytest.param(["nothing", "--all"], "has no attribute 'nothing'", id="no target"),
    ],
)
def test_what_cannot_be_done_is_told(
    module: str, tmp_path: Path, arguments: list[str], told: str
) -> None:
    """The error says why, with status 2, and without a secret."""
    name, *options = arguments

    done = apps.run(tmp_path, "invalidate", f"{module}:{name}", *options)

    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert_clean(done.stdout, done.stderr)
