"""The command `requestforge inspect`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import apps
import pytest
from apps import ACCESS, PASSWORD, REFRESH
from click.testing import CliRunner, Result

from canary import assert_clean
from doubles import Clock, CountingStep
from redis_servers import RedisServer
from requestforge import FileTokenStorage, RedisTokenStorage, TokenFetchPipeline
from requestforge.cli import commands
from requestforge.instrumentation import use_clock

Inspect = Callable[..., Result]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an application in the current folder."""
    name = f"shop_{uuid4().hex}"
    apps.write(tmp_path, name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    monkeypatch.delenv("REQUESTFORGE_REDIS_URL", raising=False)
    return name


@pytest.fixture
def inspect(module: str) -> Inspect:
    """The command in this process; `:name` stands for that name of the application."""

    def run(target: str | None = None, *options: str) -> Result:
        named = [] if target is None else [f"{module}{target}" if target[0] == ":" else target]
        result = CliRunner().invoke(commands.cli, ["inspect", *named, *options])
        assert isinstance(result.exception, SystemExit | None), result.exception
        assert_clean(result.output)
        return result

    return run


def states(result: Result) -> dict[str, str]:
    """The state of each step in a JSON document."""
    return {step["step"]: step["state"] for step in document(result)["steps"]}


def document(result: Result) -> dict[str, Any]:
    """What `--json` has printed to stdout alone."""
    read: dict[str, Any] = json.loads(result.stdout)
    return read


class TestStates:
    def test_steps_come_in_their_order(self, inspect: Inspect, module: str, tmp_path: Path) -> None:
        """Each step is a row, with its state, the time left, and whether it can be refreshed."""
        apps.python(tmp_path, f"import {module} as m; m.files().execute()")

        result = inspect(":files")

        rows = [line.split() for line in result.stdout.splitlines() if "| fresh" in line]
        assert result.exit_code == 0
        assert [row[0].strip("|") for row in rows] == ["app", "user", "other"]
        assert "1 h 0 min" in result.stdout
        assert "no end" in result.stdout
        assert ACCESS not in result.output
        assert REFRESH not in result.output

    def test_nothing_is_fetched_or_written(self, inspect: Inspect, tmp_path: Path) -> None:
        """An empty storage is empty afterwards, and its steps were not asked."""
        result = inspect(":files", "--json")

        assert result.exit_code == 1
        assert states(result) == dict.fromkeys(("app", "user", "other"), "missing")
        assert list((tmp_path / "tokens").iterdir()) == []
        assert not (tmp_path / "fetched").exists()

    def test_what_is_invalidated_or_unreadable_is_told(
        self, inspect: Inspect, module: str, tmp_path: Path
    ) -> None:
        """A step without a token says why, and the status is 1."""
        apps.python(
            tmp_path,
            f"import {module} as m; p = m.files(); p.execute(); p.invalidate_step('user')",
        )
        [record] = (tmp_path / "tokens").glob("shop_other-*.json")
        record.write_bytes(b"torn")

        result = inspect(":files", "--json")

        assert result.exit_code == 1
        assert states(result) == {"app": "fresh", "user": "invalidated", "other": "unreadable"}
        assert record.read_bytes() == b"torn"
        assert "unreadable" in inspect(":files").stdout

    @pytest.mark.parametrize(
        ("seconds", "left"),
        [
            pytest.param(0, "1 min 30 s", id="begin"),
            pytest.param(89, "1 s", id="last second"),
            pytest.param(90, "ended 0 s ago", id="end"),
            pytest.param(90 + 3 * 86_400 + 7200, "ended 3 d 2 h ago", id="days later"),
        ],
    )
    def test_the_time_left_is_that_of_the_clock(
        self, inspect: Inspect, tmp_path: Path, seconds: int, left: str
    ) -> None:
        """A dead token says since when."""
        with use_clock(Clock()) as clock:
            step = CountingStep("app", expires_in=100)
            TokenFetchPipeline([step], FileTokenStorage("kept"), "shop").execute()
            clock.advance(seconds=seconds)

            result = inspect(None, "--directory", "kept", "--prefix", "shop", "--step", "app")

        assert left in result.stdout
        assert result.exit_code == (0 if seconds < 90 else 1)

    def test_the_document_has_all_of_it(
        self, inspect: Inspect, module: str, tmp_path: Path
    ) -> None:
        """With `--json`, stdout holds the document alone: what the application prints does not."""
        apps.python(
            tmp_path, f"import {module} as m; p = m.files(); p.invalidate_all(); p.execute()"
        )

        result = inspect(":files", "--json")

        told = document(result)
        app, _, other = told.pop("steps")
        assert "The application is loaded." in result.stderr
        assert told.pop("at").endswith("+00:00")
        assert told == {"target": f"{module}:files", "tenant": None, "is_usable": True}
        assert 3600 < app["seconds_left"] <= 3630
        assert app["has_refresh_token"]
        assert app["epoch"] in app["generation"]
        assert other["ends_at"] is other["seconds_left"] is None
        assert other["is_usable"]

    def test_a_terminal_shows_colours(self, module: str, tmp_path: Path) -> None:
        """There the table has the width of the terminal, and a fresh token is green."""
        apps.python(tmp_path, f"import {module} as m; m.files().execute()")

        status, shown = apps.on_a_terminal(tmp_path, "", "inspect", f"{module}:files")

        assert status == 0
        assert "\x1b[32mfresh" in shown


class TestTargets:
    @pytest.mark.parametrize("target", [":files", ":provider", ":Holder.inner", ":memory"])
    def test_a_name_stands_for_a_pipeline(self, inspect: Inspect, target: str) -> None:
        """It may be a pipeline, a provider, a function that gives one, or an attribute."""
        assert set(states(inspect(target, "--json"))) == {"app", "user", "other"}

    @pytest.mark.parametrize(
        ("target", "told"),
        [
            pytest.param("shop", "is not of the form module:name", id="no name"),
            pytest.param("no_such_shop:pipeline", "No module named 'no_such_shop'", id="no module"),
            pytest.param(":nothing", "has no attribute 'nothing'", id="no attribute"),
            pytest.param(":number", "is of type int. Name a TokenFetchPipeline", id="number"),
            pytest.param(":steps", "is of type list", id="function of another thing"),
            pytest.param(":over", "missing 1 required positional argument", id="arguments"),
            pytest.param(":fails", "RuntimeError: https://host", id="fails"),
            pytest.param(":leaves", "The application ends.", id="leaves"),
        ],
    )
    def test_what_is_none_is_refused(self, inspect: Inspect, target: str, told: str) -> None:
        """The error says what is wrong in a sentence, with status 2, and without a secret."""
        result = inspect(target)

        assert result.exit_code == 2
        assert result.stdout == ""
        assert told in result.stderr
        assert "Traceback" not in result.stderr

    def test_the_memory_of_another_process_is_out_of_reach(self, inspect: Inspect) -> None:
        """Whoever inspects tokens in memory is told that these are not those of the servers."""
        assert "memory of each process" in inspect(":memory").stderr

    def test_the_current_folder_is_searched(self, module: str, tmp_path: Path) -> None:
        """An application beside the shell is found, also by the installed script."""
        done = apps.run(tmp_path, "inspect", f"{module}:files", "--json")

        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert json.loads(done.stdout)["is_usable"] is False


class TestServers:
    def test_redis_is_asked(self, module: str, tmp_path: Path, own_redis: RedisServer) -> None:
        """What one process has stored in Redis another one shows, in one read."""
        where = {"SHOP_REDIS": own_redis.url}
        apps.python(tmp_path, f"import {module} as m; m.in_redis().execute()", **where)
        own_redis.forget_commands()

        done = apps.run(tmp_path, "inspect", f"{module}:in_redis", **where)

        assert done.returncode == 0, done.stderr
        assert own_redis.commands()["mget"] == 1
        assert own_redis.commands().keys() <= {"mget", "config|resetstat"}
        assert_clean(done.stdout, done.stderr)

    def test_redis_is_asked_without_an_application(
        self, inspect: Inspect, redis_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The URL, the prefixes and the steps are enough; the URL may stand in a variable."""
        prefix = uuid4().hex
        storage = RedisTokenStorage(url=redis_url, key_prefix=prefix)
        TokenFetchPipeline([CountingStep("app")], storage, "shop").execute()
        storage.close()
        keys = (
            "--key-prefix",
            prefix,
            "--prefix",
            "shop",
            "--step",
            "app",
            "--step",
            "b",
            "--json",
        )

        named = inspect(None, "--redis", redis_url, *keys)
        monkeypatch.setenv("REQUESTFORGE_REDIS_URL", redis_url)

        assert states(named) == states(inspect(None, *keys)) == {"app": "fresh", "b": "missing"}

    def test_a_server_that_is_down_is_told(self, inspect: Inspect) -> None:
        """The error is that of the storage, with status 2, and without its password."""
        result = inspect(":down")

        assert result.exit_code == 2
        assert "Redis failed to read shop:" in result.stderr
        assert PASSWORD not in result.output

    @pytest.mark.parametrize(
        ("cache", "told", "status"),
        [
            pytest.param("locmem.LocMemCache", "missing", 1, id="works"),
            pytest.param("nothing.Cache", "The storage could not be read", 2, id="no such backend"),
        ],
    )
    def test_django_is_set_up(
        self, module: str, tmp_path: Path, cache: str, told: str, status: int
    ) -> None:
        """With DJANGO_SETTINGS_MODULE the tokens are those of the project's cache."""
        backend = f"django.core.cache.backends.{cache}"
        settings = f"CACHES = {{'default': {{'BACKEND': '{backend}'}}}}\n"
        (tmp_path / "project.py").write_text(settings, encoding="utf-8")

        done = apps.run(tmp_path, "inspect", f"{module}:django", DJANGO_SETTINGS_MODULE="project")

        assert done.returncode == status
        assert told in done.stdout + done.stderr
        assert "Traceback" not in done.stderr

    def test_django_without_settings_is_told(self, module: str, tmp_path: Path) -> None:
        """Nobody has said which settings are meant."""
        done = apps.run(tmp_path, "inspect", f"{module}:django", DJANGO_SETTINGS_MODULE="")

        assert done.returncode == 2
        assert "DJANGO_SETTINGS_MODULE" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param([], "either TARGET, or --redis, or --directory", id="nothing"),
        pytest.param(["a:b", "--directory", "c"], "either TARGET", id="two"),
        pytest.param(["a:b", "--step", "c"], "go with --redis or --directory", id="step of target"),
        pytest.param(["--directory", "c"], "need the names of steps", id="no steps"),
        pytest.param(["--directory", "c", "--step", "a"], "no directory 'c'", id="no directory"),
        pytest.param(["--directory", "open", "--step", "a"], "Other users may write", id="open"),
        pytest.param(["--directory", ".", "--step", ""], "must not be empty", id="no name"),
        pytest.param(
            ["--redis", f"http://u:{PASSWORD}@h", "--step", "a"], "url must be redis://", id="url"
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    inspect: Inspect, tmp_path: Path, arguments: list[str], told: str
) -> None:
    """The error says what was meant, with status 2."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    tmp_path.chmod(0o700)

    result = inspect(None, *arguments)

    assert result.exit_code == 2
    assert told in result.stderr
