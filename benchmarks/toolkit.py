"""What the toolkit costs a test, beside other tools that stand in for an auth server.

pytest-httpserver and oidc-provider-mock are installed into environments of their own, under
`.cache`, at the first run.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from environments import python_with
from processes import Cost, Side, costs_in_turn
from ratios import Result, undisturbed

FIXTURES = Path(__file__).parent / "fixtures"
OWN = "pytest_requestforge"
NUMBER = 50
"""Requests for a token in each round."""

OTHERS = {
    "httpserver": "pytest-httpserver",
    "oidc_provider_mock": "oidc-provider-mock",
}


def measure() -> list[Result]:
    """All lines on the toolkit."""
    return [*fixtures(), *servers(), *tokens()]


def fixtures() -> list[Result]:
    """Milliseconds that a fixture adds to a test, by pytest itself."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(FIXTURES, folder, dirs_exist_ok=True)
        options = ("-q", "-p", "no:cacheprovider", "--disable-plugin-autoload", "--rootdir", folder)
        command = [sys.executable, "-m", "pytest", *options, "-p", f"{OWN}.plugin", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times = json.loads(Path(folder, "times.json").read_text(encoding="utf-8"))
    bare = undisturbed(times["nothing"])

    def line(fixture: str, work: str, limit: float | None = None) -> Result:
        return Result(work, "one ms", (undisturbed(times[fixture]) - bare) * 1000, limit)

    return [
        line("rf_fake_auth", "a test's rf_fake_auth, ms", 1.0),
        line("rf_fake_auth_server", "a test's rf_fake_auth_server, ms", 2.0),
        line("mock", "a test's RequestsMock of responses, ms"),
        line("rf_clock", "a test's rf_clock with 600 modules, ms", 10.0),
        line("frozen", "a test's freeze_time of freezegun, ms"),
    ]


def servers() -> Iterator[Result]:
    """Milliseconds to start and stop another server."""
    for side in others("server"):
        work = f"start and stop of {OTHERS[side.library]}, ms"
        costs = costs_in_turn([side], number=1, rounds=5, generations=1)
        yield Result(work, "one ms", milliseconds(costs[side]), limit=None)


def tokens() -> list[Result]:
    """Milliseconds of a request for a token, by a session of requests."""
    in_process, on_loopback = Side(OWN, "token_in_process"), Side(OWN, "token_on_loopback")
    jwt_in_process, jwt_on_loopback = Side(OWN, "jwt_in_process"), Side(OWN, "jwt_on_loopback")
    responses, servers = Side("responses", "token"), others("token")
    own = [in_process, on_loopback, jwt_in_process, jwt_on_loopback]
    costs = costs_in_turn([*own, responses, *servers], number=NUMBER)
    spent = {side: milliseconds(costs[side], NUMBER) for side in costs}
    return [
        Result("token request in process, ms", "one ms", spent[in_process], 1.0),
        Result("that of responses, always the same, ms", "one ms", spent[responses], limit=None),
        Result("token request on loopback, ms", "one ms", spent[on_loopback], 1.5),
        Result("JWT of auth.oauth2 in process, ms", "one ms", spent[jwt_in_process], 1.0),
        Result("JWT of auth.oauth2 on loopback, ms", "one ms", spent[jwt_on_loopback], 1.5),
        *(
            Result(f"that of {OTHERS[side.library]}, ms", "one ms", spent[side], limit=None)
            for side in servers
        ),
    ]


def others(function: str) -> list[Side]:
    """The other servers that can be had."""
    own = {library: python_with(name, "requests") for library, name in OTHERS.items()}
    return [Side(library, function, python) for library, python in own.items() if python]


def milliseconds(costs: Iterable[Cost], number: int = 1) -> float:
    """The wall time of one of so many calls."""
    return undisturbed(cost.wall for cost in costs) / number * 1000
