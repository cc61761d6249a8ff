"""The command `requestforge fake-auth`: a fake auth server that stands by itself."""

import signal
import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from wsgiref.types import StartResponse, WSGIEnvironment

import click

from pytest_requestforge.fake_auth import Entry, Loopback
from requestforge.cli.admin import PREFIX, Admin
from requestforge.cli.auth_file import LAST_PORT, AuthFile, Site
from requestforge.cli.clock import LaterClock
from requestforge.cli.tables import WrongTable
from requestforge.instrumentation import use_clock

_HOST = "127.0.0.1"
_PORT = 9000
_LOOK = 0.2  # seconds; on Windows a wait without a timeout keeps Ctrl+C away


@click.group(name="fake-auth")
def fake_auth() -> None:
    """A fake auth server whose tokens are really enforced, for tests in any language."""


@fake_auth.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--host", help=f"Address to listen on; by default that of the file, or {_HOST}.")
@click.option(
    "--port",
    type=click.IntRange(0, LAST_PORT),
    help=f"Port to listen on, 0 for a free one; by default that of the file, or {_PORT}.",
)
@click.option("--print-url", is_flag=True, help="Print the URL to stdout, once it answers.")
@click.option("--quiet", is_flag=True, help="Log no requests.")
def serve(file: Path, host: str | None, port: int | None, *, print_url: bool, quiet: bool) -> None:
    """Serve what FILE describes until SIGINT or SIGTERM.

    FILE is TOML: [[token]] and [[resource]] are endpoints, [oauth2] is a whole provider, [[fault]]
    and [chaos] go wrong, [server] has host, port and base_url. Each request is a line on stderr,
    without secrets. An API under /_rf/ tells what has arrived, and makes things happen.
    """
    try:
        described = AuthFile.read(file)
        listens = host or described.server.get("host", _HOST)
        at = described.server.get("port", _PORT) if port is None else port
        server = Standalone(described, listens, at, logs=not quiet)
        server.start()
    except WrongTable as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(
            f"Nothing can listen on {listens}, port {at}: {error.strerror}. "
            "Choose another --host or --port; port 0 is always free."
        ) from error
    stopped = threading.Event()
    _on_signal(stopped)
    # First, since requests come as soon as somebody knows the URL.
    if not quiet:
        _say(f"Serving {file} at {server.url}, admin API at {PREFIX}/")
    if print_url:
        click.echo(server.url)
    while not stopped.wait(_LOOK):
        pass
    server.stop()


class Standalone:
    """A fake auth server on a socket, with the admin API beside it: a WSGI application.

    Args:
        described: what it serves.
        host: to listen on.
        port: to listen on; 0: a free one.
        logs: whether each request is told on stderr.

    Raises:
        WrongTable: the file is wrong.
    """

    site: Site
    clock: LaterClock

    def __init__(self, described: AuthFile, host: str, port: int, *, logs: bool) -> None:
        self._described = described
        self._carrier = Loopback(self, host, port)
        self._admin = Admin(self)
        self._log = Log() if logs else None
        self._open = ExitStack()
        self._lock = threading.Lock()
        # What is wrong with the file is found before anything listens.
        described.stand_up(self._base_url(f"http://{_HOST}"))
        self._ready = threading.Event()

    @property
    def url(self) -> str:
        """Where clients find it."""
        return self.site.auth.url

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address is not this machine's, or its port is taken.
        """
        self._carrier.start()
        self.reset()
        self._ready.set()

    def stop(self) -> None:
        """Finish what is under way, and answer no more."""
        self._carrier.stop(finishes=True)
        self._open.close()

    def reset(self) -> None:
        """Begin anew: without tokens, requests and faults of before, at the machine's time."""
        with self._lock, ExitStack() as stack:
            clock = stack.enter_context(use_clock(LaterClock()))
            site = self._described.stand_up(self._base_url(self._carrier.origin))
            site.auth.start()
            stack.callback(site.auth.stop)
            before, self._open = self._open, stack.pop_all()
            self.clock, self.site = clock, site
            before.close()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        self._ready.wait()
        path = environ["PATH_INFO"]
        if path == PREFIX or path.startswith(f"{PREFIX}/"):
            return self._admin(environ, start_response)
        site = self.site
        answer = site.auth.app(environ, start_response)
        if self._log is not None:
            self._log.tell(site)
        return answer

    def _base_url(self, origin: str) -> str:
        return str(self._described.server.get("base_url", origin))


class Log:
    """A line on stderr for each request, as the journal has it: without secrets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._site: Site | None = None
        self._told = 0

    def tell(self, site: Site) -> None:
        """Tell what has arrived there since the last time."""
        with self._lock:
            if site is not self._site:
                self._site, self._told = site, 0
            entries = site.auth.journal.since(self._told)
            self._told += len(entries)
            for entry in entries:
                _say(_line(entry))


def _say(line: str) -> None:
    # Whoever has read the log may have gone; the server serves on.
    with suppress(OSError):
        click.echo(line, err=True)


def _line(entry: Entry) -> str:
    line = (
        f"{entry.at:%Y-%m-%dT%H:%M:%SZ} {entry.method} {entry.path} {entry.status or '-'} "
        f"{entry.reason}"
    )
    # What a client sends must not move the cursor of a terminal.
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _on_signal(stopped: threading.Event) -> None:
    """Set the event at SIGINT or SIGTERM; a second signal ends the process at once."""

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
