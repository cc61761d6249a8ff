"""The command `requestforge fake-auth serve`, as a process of its own."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from standalone import COMMAND, Server, free_port, serving

SECRET = "canary-app-secret"
PASSWORD = "canary-alices-password"

CHAIN = f"""
[[token]]
name = "app_token"
at = "POST /v1/app/token"
expires_in = 3600
body = {{ client_id = "app-id", client_secret = "{SECRET}" }}

[[token]]
name = "user_token"
at = "POST /v1/user/token"
requires = {{ X-App-Token = {{ token = "app_token" }}, X-Client = "web" }}

[[resource]]
at = "GET /user/profile"
needs = "user_token"
json = {{ id = 1 }}
"""
APP = {"client_id": "app-id", "client_secret": SECRET}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A chain of two tokens and a resource, for tests that leave it alone."""
    with serving(tmp_path_factory.mktemp("served"), CHAIN) as running:
        yield running


def user_token(server: Server, app_token: str) -> str:
    """A token of the second step."""
    headers = {"X-App-Token": app_token, "X-Client": "web"}
    return str(server.ask("POST", "/v1/user/token", headers=headers).json()["access_token"])


def status_of(server: Server, request: str) -> bytes:
    """The status of the answer to a request line that is sent as it is."""
    with connected(server) as connection:
        connection.sendall(f"{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return connection.makefile("rb").readline().split()[1]


def connected(server: Server) -> socket.socket:
    """A connection that takes little at a time."""
    place = urlsplit(server.url)
    connection = socket.socket()
    connection.settimeout(20)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    try:
        connection.connect((place.hostname, place.port))
    except ConnectionError:
        connection.close()
        raise
    return connection


def test_tokens_are_enforced(server: Server) -> None:
    """Each token buys the next one, the last one opens the resource, and nothing else does."""
    token = user_token(server, server.token(**APP))

    assert server.get("/user/profile", token) == 200
    assert server.get("/user/profile", "another") == 401
    assert server.ask("POST", "/v1/app/token", data={"client_id": "app-id"}).status_code == 401


def test_the_url_alone_is_printed(tmp_path: Path) -> None:
    """`--print-url` prints the URL, and stdout holds nothing else."""
    with serving(tmp_path, CHAIN) as server:
        assert urlsplit(server.url).hostname == "127.0.0.1"
        server.process.terminate()
        rest, _ = server.process.communicate(timeout=30)

    assert rest == ""


def test_each_request_is_logged_without_secrets(tmp_path: Path) -> None:
    """The log has method, path, status and reason; tokens stand as labels, secrets not at all."""
    with serving(tmp_path, CHAIN) as server:
        token = server.token(**APP)
        # Not by requests, which logs each URL.
        place = f"/v1/user/token?access_token={token}&client_secret={SECRET}&a=b"
        assert status_of(server, f"GET {place}") == b"405"
        server.ask("GET", "/nowhere")
        log = server.end()

    assert log.splitlines()[0].endswith("admin API at /_rf/")
    masked = "/v1/user/token?access_token=app_token#1&client_secret=***&a=b"
    assert [line.partition(" ")[2] for line in log.splitlines()[1:]] == [
        "POST /v1/app/token 200 issued app_token#1",
        f"GET {masked} 405 refused: method is GET, expected POST",
        "GET /nowhere 404 unmatched: no endpoint here",
    ]


def test_a_request_cannot_write_control_characters_to_the_log(tmp_path: Path) -> None:
    """What a client sends stands in the log as text, even if it would steer a terminal."""
    with serving(tmp_path, CHAIN) as server:
        assert status_of(server, "GET /?a=\x1b[31m") == b"404"
        log = server.end()

    assert r"GET /?a=\x1b[31m 404" in log


def test_a_log_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    """Where stderr has been closed at the other end, requests are answered all the same."""
    with serving(tmp_path, CHAIN) as server:
        assert server.process.stderr is not None
        server.process.stderr.close()

        assert server.get("/user/profile", "x") == 401
        assert server.get("/user/profile", "x") == 401


def test_the_log_can_be_left_out(tmp_path: Path) -> None:
    """With `--quiet` stderr stays empty."""
    with serving(tmp_path, CHAIN, "--quiet") as server:
        server.ask("GET", "/user/profile")

        assert server.end() == ""


def test_without_print_url_the_log_names_it(tmp_path: Path) -> None:
    """The first line of the log says where the server is."""
    file = tmp_path / "auth.toml"
    file.write_text(CHAIN, encoding="utf-8")
    line = [*COMMAND, "fake-auth", "serve", str(file), "--port", "0"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        words = process.stderr.readline().split()
        process.terminate()

    assert words[:3] == ["Serving", str(file), "at"]
    assert words[3].startswith("http://127.0.0.1:")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_a_signal_stops_it(tmp_path: Path, number: signal.Signals) -> None:
    """It ends with status 0 and without a traceback, connections of clients notwithstanding."""
    with serving(tmp_path, CHAIN, "--quiet") as server, requests.Session() as session:
        session.get(server.url, timeout=10)
        server.process.send_signal(number)
        said = server.process.communicate(timeout=30)

    assert server.process.returncode == 0
    assert said == ("", "")


def test_a_request_that_hangs_does_not_keep_it(tmp_path: Path) -> None:
    """A fault that would last until the client gives up ends with the server."""
    text = f'{CHAIN}[[fault]]\non = "GET /user/profile"\nkind = "hang"\n'
    with serving(tmp_path, text) as server, connected(server) as connection:
        connection.sendall(b"GET /user/profile HTTP/1.1\r\nHost: x\r\n\r\n")
        assert server.process.stderr is not None
        while "fault: hang()" not in server.process.stderr.readline():
            pass
        server.process.terminate()

        assert connection.recv(1) == b""
        assert server.process.wait(30) == 0


def test_a_slow_answer_is_finished_at_once(tmp_path: Path) -> None:
    """A client that waits for one when the server stops gets it, and nobody waits for long."""
    text = f'{CHAIN}[[fault]]\non = "app_token"\nkind = "slow"\nseconds = 600\n'
    with serving(tmp_path, text) as server, connected(server) as connection:
        connection.sendall(b"POST /v1/app/token HTTP/1.1\r\nHost: x\r\n\r\n")
        assert server.process.stderr is not None
        while "fault: slow(600)" not in server.process.stderr.readline():
            pass
        server.process.terminate()

        assert b"HTTP/1.1 " in connection.recv(100)
        assert server.process.wait(30) == 0


LARGE = """
[[resource]]
at = "GET /large"
json = "{}"
""".format("x" * 12_000_000)


def unread(server: Server) -> socket.socket:
    """A connection on which a large answer is under way."""
    connection = connected(server)
    connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


def wait_until_closed(server: Server) -> None:
    """Return once nobody listens any more."""
    while True:
        try:
            connected(server).close()
        except ConnectionError:
            return


def test_an_answer_under_way_is_finished(tmp_path: Path) -> None:
    """A signal lets the client have the rest of its answer; new ones are not taken."""
    with serving(tmp_path, LARGE) as server, unread(server) as connection:
        server.process.terminate()
        wait_until_closed(server)
        size = sum(map(len, iter(lambda: connection.recv(1_000_000), b"")))

        assert size > 12_000_000
        assert server.process.wait(30) == 0


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """Clients that never read their answers need not be waited for."""
    with serving(tmp_path, LARGE) as server:
        connections = [unread(server) for _ in range(4)]
        server.process.terminate()
        wait_until_closed(server)
        server.process.terminate()

        assert server.process.wait(30) == -signal.SIGTERM
        for connection in connections:
            connection.close()


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    """The error names address, port and a way out."""
    file = tmp_path / "auth.toml"
    file.write_text(CHAIN, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        line = [*COMMAND, "fake-auth", "serve", str(file), "--port", port]
        done = subprocess.run(line, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert f"Nothing can listen on 127.0.0.1, port {port}: " in done.stderr
    assert "port 0 is always free" in done.stderr


def test_the_file_says_where_to_listen(tmp_path: Path) -> None:
    """Host and port of [server] hold where no option does."""
    port = free_port()
    file = tmp_path / "auth.toml"
    file.write_text(f'[server]\nhost = "localhost"\nport = {port}\n', encoding="utf-8")
    line = [*COMMAND, "fake-auth", "serve", str(file), "--print-url"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        process.terminate()

    assert url == f"http://localhost:{port}"


@pytest.mark.parametrize(
    ("host", "shown"),
    [("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")],  # noqa: S104 - as asked for
)
def test_it_listens_on_other_addresses(tmp_path: Path, host: str, shown: str) -> None:
    """Where it listens everywhere, the URL is one that this machine reaches it at."""
    with serving(tmp_path, CHAIN, "--host", host) as server:
        assert server.url.startswith(f"http://{shown}:")
        assert server.get("/user/profile", "x") == 401
        server.end()


def test_the_file_says_what_clients_call_it(tmp_path: Path) -> None:
    """`base_url` is the start of all URLs, as where another container knows it by a name."""
    text = '[server]\nbase_url = "http://auth:9000/base"\n[oauth2]\n'
    port = free_port()
    with serving(tmp_path, text, "--port", str(port)) as server:
        assert server.url == "http://auth:9000/base"
        place = f"http://127.0.0.1:{port}/base/oauth2/.well-known/openid-configuration"
        found = requests.get(place, timeout=10).json()

    assert found["issuer"] == "http://auth:9000/base/oauth2"


def test_the_toolkit_is_a_command_as_well(tmp_path: Path) -> None:
    """`python -m pytest_requestforge` takes the same arguments."""
    with serving(tmp_path, CHAIN, command=(sys.executable, "-m", "pytest_requestforge")) as server:
        assert server.token(**APP)


def test_the_extra_is_enough(tmp_path: Path) -> None:
    """What belongs to the extra `testing` alone is not needed."""
    code = (
        "import sys\n"
        "for name in 'pytest', 'responses', 'freezegun', 'faker': sys.modules[name] = None\n"
        "from requestforge.cli import main; main()"
    )
    text = f'{CHAIN}[oauth2]\nclients = {{ app = "{SECRET}" }}\n'
    with serving(tmp_path, text, command=(sys.executable, "-c", code)) as server:
        assert server.token(**APP)
        form = {"grant_type": "client_credentials"}
        answer = server.ask("POST", "/oauth2/token", data=form, auth=("app", SECRET))
        assert answer.status_code == 200
