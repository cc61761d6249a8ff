"""What the page on the standalone server shows, done as it says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner
from standalone import COMMAND, free_port, serving

from requestforge.cli import commands

PAGE = Path(__file__).parents[2] / "docs" / "user-guide" / "fake-auth.rst"


def blocks(language: str) -> list[str]:
    """The code blocks of the page in that language."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(rf"\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)", text)
    return [re.sub("^   ", "", block, flags=re.MULTILINE) for block in found]


def test_the_tables_make_one_file(tmp_path: Path) -> None:
    """Whoever copies all tables into a file can serve it."""
    *tables, _ = blocks("toml")
    with serving(tmp_path, "\n".join(tables)) as server:
        told = server.admin("GET", "/")
        faults = server.admin("GET", "/faults")

    assert {"app_token", "user_token", "GET /user/profile", "oauth2"} <= told["endpoints"].keys()
    assert faults.keys() == {"app_token", "GET /user/profile"}


def test_the_error_is_the_one_that_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slip in the key of a table reads as on the page."""
    chain = blocks("toml")[0]
    Path(tmp_path / "auth.toml").write_text(chain.replace("requires", "require"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(commands.cli, ["fake-auth", "serve", "auth.toml"])

    assert result.output.split() == blocks("text")[0].split()


def test_the_log_is_the_one_that_is_shown(tmp_path: Path) -> None:
    """The lines of the log have the form of those on the page."""
    with serving(tmp_path, blocks("toml")[0]) as server:
        app = server.token(client_id="app-id", client_secret="app-secret")
        user = server.ask("POST", "/v1/user/token", headers={"X-App-Token": app})
        server.admin("POST", "/revoke", on="user_token")
        server.get("/user/profile", user.json()["access_token"])
        log = server.end()

    shown = blocks("text")[1].strip().splitlines()
    assert [_undated(line) for line in log.splitlines()[1:]] == [_undated(li) for li in shown[1:]]


def test_compose_serves_and_is_healthy(tmp_path: Path) -> None:
    """The command and the health check of the service do what they are there for."""
    (compose,) = blocks("yaml")
    described = tmp_path / "described.toml"
    described.write_text("\n".join([blocks("toml")[1], blocks("toml")[-1]]), encoding="utf-8")
    found = re.search(r"command: (.+)", compose)
    assert found is not None
    program, *arguments = shlex.split(found[1].replace("/etc/auth.toml", str(described)))
    assert program == "requestforge"

    port = free_port()
    line = [*COMMAND, *arguments, "--port", str(port)]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "at http://auth:9000," in process.stderr.readline()
        check = re.search(r"test: python (.+)", compose)
        assert check is not None
        health = shlex.split(check[1].replace("9000", str(port)))
        healthy = subprocess.run([sys.executable, *health], check=False).returncode
        metadata = "/oauth2/.well-known/openid-configuration"
        issuer = requests.get(f"http://127.0.0.1:{port}{metadata}", timeout=10).json()["issuer"]
        process.terminate()

    assert process.returncode == 0
    assert healthy == 0
    assert f"OIDC_ISSUER: {issuer}\n" in compose


def _undated(line: str) -> str:
    return line.partition(" ")[2]
