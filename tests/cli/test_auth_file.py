"""What is wrong with a file of `requestforge fake-auth serve`, and how people learn it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from joserfc.jwk import ECKey
from standalone import serving

from pytest_requestforge.fake_auth.faults import KINDS
from requestforge.cli import commands

SECRET = "canary-app-secret"

TOKEN = '[[token]]\nname = "app_token"\nat = "POST /app"\n'


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[bytes], str]:
    """Gives what the command says of a file, which it must not serve, behind the file's name."""

    def refused(content: bytes) -> str:
        file = tmp_path / "auth.toml"
        file.write_bytes(content)
        result = CliRunner().invoke(commands.cli, ["fake-auth", "serve", str(file)])
        assert result.exit_code == 1
        assert SECRET not in result.output
        said = result.output.removeprefix(f"Error: {file}: ").strip()
        assert said != result.output.strip()
        return said

    return refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[token]", "this is no TOML: Expected ']]' at the end of an array declaration"),
        ("[tokens]", "there is no table 'tokens'; did you mean 'token'? There is: server, token"),
        ("x = 1", "there is no table 'x'. There is: server"),
        ("[token]", "write [[token]], since there may be several of them."),
        ("fault = 1", "write [[fault]], since there may be several of them."),
        ("oauth2 = 1", "write [[oauth2]], since"),
        ("server = 1", "[server]: this must be a table."),
        ("[server]\nport = 70000", "[server]: port must be from 0 to 65535."),
        ("[server]\nport = true", "[server]: port must be a whole number."),
        ("[server]\nprot = 1", "[server]: there is no key 'prot'; did you mean 'port'?"),
        ('[server]\nbase_url = "auth"', "base_url: A URL of a fake auth server is http(s)"),
        ('token = ["x"]', "[[token]] 1: this must be a table."),
        ('[[token]]\nat = "POST /x"', "[[token]] 1 (POST /x): the key 'name' is missing."),
        (f"{TOKEN}expire_in = 1", "[[token]] 1 (app_token): there is no key 'expire_in'; did you"),
        (f'{TOKEN}expires_in = "1"', "[[token]] 1 (app_token): expires_in must be a number."),
        (f"{TOKEN}expires_in = -1", "[[token]] 1 (app_token): expires_in must not be negative"),
        (f"{TOKEN}expires_in = inf", "[[token]] 1 (app_token): expires_in is a number of seconds"),
        ("[oauth2]\nexpires_in = 1e20", "[oauth2]: expires_in is a number of seconds that"),
        (TOKEN + TOKEN, "[[token]] 2 (app_token): There is a token endpoint 'app_token' already"),
        (f"{TOKEN}requires = {{ A = 1 }}", "requires.A must be a text."),
        (
            f'{TOKEN}requires = {{ A = {{ token = "app_token" }} }}',
            "requires.A: there is no token above this one 'app_token'. There is: none.",
        ),
        (
            f'{TOKEN}[[resource]]\nat = "GET /x"\nneeds = "app_tokn"',
            "(GET /x): needs: there is no token 'app_tokn'; did you mean 'app_token'?",
        ),
        (
            f'{TOKEN}[[resource]]\nat = "GET /x"\nrequires = {{ A = {{ token = [] }} }}',
            "requires.A must be a text.",
        ),
        ('[[resource]]\nat = "/x"', "[[resource]] 1 (/x): An endpoint is given as 'METHOD /path'"),
        ('[[resource]]\nat = "GET /x"\njson = 1999-01-01', "json= is the body of the answer"),
        ('[[fault]]\non = "app"\nkind = "fail"', "[[fault]] 1 (app): there is no endpoint 'app'"),
        (
            f'{TOKEN}[[fault]]\non = "app_token"\nkind = "rest"',
            "fault 'rest'; did you mean 'reset'?",
        ),
        ("[chaos]\nrate = 2", "[chaos]: rate is a share of the requests, from 0 to 1"),
        ("[chaos]\nkinds = [1]", "[chaos]: kinds must be a list of texts."),
        ("[chaos]\nkinds = []", "[chaos]: Chaos needs at least one kind of fault."),
        ("[oauth2]\njwt = true", "[oauth2]: jwt must be a text such as 'ES256', or false."),
        ('[oauth2]\njwt = "HS1"', "[oauth2]: "),
        ("[oauth2]\nusers = { alice = 1 }", "[oauth2]: users.alice must be a text."),
        ("[oauth2]\nclients = { app = 1 }", "[oauth2]: clients.app must be a text or a table."),
        ("[oauth2]\nclaims = { alice = 1 }", "[oauth2]: claims.alice must be a table."),
        ('[[oauth2]]\npath = "x"', "[[oauth2]] 1: The path of a provider is one below"),
        (f'[oauth2.clients.app]\nsecrt = "{SECRET}"', "clients.app: there is no key 'secrt'"),
        (
            "[oauth2.clients.app]\npublic = false",
            "clients.app: this is a secret, { public = true }",
        ),
        ('[oauth2.issuers.x]\nkey_file = "no.pem"', "no.pem cannot be read: No such file"),
        ('[oauth2.clients.x]\nkty = "EC"', "[oauth2]: The key of client 'x' cannot be read."),
    ],
)
def test_what_is_wrong_is_told(refused: Callable[[bytes], str], text: str, said: str) -> None:
    """The error names the table, the key and the nearest name, and shows no value of a secret."""
    assert said in refused(text.encode())


def test_a_file_that_is_no_text_is_told(refused: Callable[[bytes], str]) -> None:
    """TOML is UTF-8."""
    assert refused(b"\xff").startswith("this cannot be read: 'utf-8' codec can't decode")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """The command ends before it does anything."""
    arguments = ["fake-auth", "serve", str(tmp_path / "auth.toml")]
    result = CliRunner().invoke(commands.cli, arguments)

    assert result.exit_code == 2
    assert "does not exist" in result.output


def test_everything_that_the_calls_take_can_be_written(tmp_path: Path) -> None:
    """Each table has the arguments of its call; names stand for the endpoints of tokens."""
    robot, partner = (ECKey.generate_key("P-256") for _ in range(2))
    (tmp_path / "robot.pem").write_bytes(robot.as_pem(private=False))
    jwk = ", ".join(f'{key} = "{value}"' for key, value in partner.as_dict(private=False).items())
    text = f"""
        [[oauth2]]
        path = "/idp"
        name = "idp"
        jwt = "RS256"
        scopes = ["read", "write"]
        rotate_refresh = false
        expires_in = 60
        refresh_expires_in = 600
        device_expires_in = 60.5
        interval = 1
        [oauth2.clients]
        app = "{SECRET}"
        spa = {{ public = true }}
        robot = {{ key_file = "robot.pem" }}
        [oauth2.users]
        alice = "canary-alices-password"
        [oauth2.claims.alice]
        email = "alice@example.com"
        [oauth2.issuers]
        "https://partner.example.com" = {{ {jwk} }}

        [[oauth2]]
        jwt = false

        [[token]]
        name = "device_token"
        at = "POST /device"
        in_header = "X-Device-Token"
        requires = {{ Authorization = {{ token = "idp" }} }}

        [[token]]
        name = "app_token"
        at = "POST /app"
        expires_in = 60.5
        body = {{ device = [{{ token = {{ x = {{ token = "device_token" }} }} }}], version = 1 }}

        [[resource]]
        at = "GET /me"
        needs = "idp"
        scope = "read"
        audience = "https://api.example.com"
        status = 203
        json = {{ id = 1 }}

        [[fault]]
        on = "GET /me"
        kind = "fail"
        status = 429
        retry_after = 2
        error = "slow_down"
        times = 1

        [chaos]
        rate = 0.5
        seed = 7
        kinds = ["reset"]
        """
    with serving(tmp_path, text) as server:
        server.admin("POST", "/chaos", rate=0)
        form = {"grant_type": "client_credentials", "scope": "read"}
        granted = server.ask("POST", "/idp/token", data=form, auth=("app", SECRET)).json()
        bearer = {"Authorization": f"Bearer {granted['access_token']}"}
        device = server.ask("POST", "/device", headers=bearer).headers["X-Device-Token"]
        body = {"device": [{"token": {"x": device}}], "version": 1}
        app = server.ask("POST", "/app", json=body).json()
        limited = server.ask("GET", "/me", headers=bearer)
        refused = server.ask("GET", "/me", headers=bearer)

    assert granted["expires_in"] == 60
    assert app["expires_in"] == 60.5
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "2")
    assert limited.json()["error"] == "slow_down"
    assert refused.status_code == 401
    assert "another audience" in refused.headers["WWW-Authenticate"]


def test_each_kind_of_fault_can_be_written(tmp_path: Path) -> None:
    """The kinds are those of the endpoints' own methods, each with its arguments."""
    arguments = {
        "fail": "status = 500",
        "slow": "seconds = 0.1",
        "drip": "bytes_per_second = 900",
        "html": "status = 502",
        "empty": "status = 500",
        "redirect": 'url = "http://127.0.0.1/"\nstatus = 302',
        "echo_secrets": "status = 401",
    }
    text = TOKEN + "".join(
        f'[[fault]]\non = "app_token"\nkind = "{kind}"\n{arguments.get(kind, "")}\n'
        for kind in KINDS
    )

    with serving(tmp_path, text) as server:
        told = server.admin("GET", "/faults")["app_token"]

    assert tuple(each.partition("(")[0] for each in told) == KINDS
