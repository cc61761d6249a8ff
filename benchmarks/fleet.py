"""Processes that want the same tokens, on each storage that they can share: how long it takes."""

import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep

from processes import SIDES, Process
from ratios import Result

PROCESSES, THREADS, ROUNDS = 4, 16, 15
STEPS, FETCH = 3, 0.05
BACKENDS = "django.core.cache.backends"


def measure() -> list[Result]:
    """All lines on fleets; those without a server to start are left out."""
    results = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rf-")))
        for name, kind, place in places(folder, stack):
            walls, fetches = fleet(kind, place)
            work = f"{PROCESSES} processes x {THREADS} threads, empty {name}, three 50 ms steps"
            first, *later = (wall / (STEPS * FETCH) for wall in walls)
            results += [
                Result(work, "150 ms", statistics.median(later), 1.5),
                Result("the same, the first time in each process", "150 ms", first, None),
                Result("the same, fetches of all steps", "a fetch a step", fetches / STEPS, 1.0),
            ]
    return results


def places(folder: Path, stack: ExitStack) -> Iterator[tuple[str, str, str]]:
    """Name, storage and place of each."""
    yield "directory", "files", str(folder / "tokens")
    database = folder / "db.sqlite3"
    table = django(f"{BACKENDS}.db.DatabaseCache", "tokens", database)
    make_table(table)
    yield "Django cache in SQLite", "django", table
    if shutil.which("redis-server") is not None:
        url = stack.enter_context(redis_server(folder))
        yield "Redis", "redis", url
        yield "Django cache on Redis", "django", django(f"{BACKENDS}.redis.RedisCache", url)
    if shutil.which("memcached") is not None:
        address = stack.enter_context(memcached())
        cache = django(f"{BACKENDS}.memcached.PyMemcacheCache", address)
        yield "Django cache on memcached", "django", cache


def fleet(kind: str, place: str) -> tuple[list[float], int]:
    """Wall seconds of each round, and the most fetches of one."""
    arguments = (SIDES / "fleet.py", kind, place, str(THREADS))
    walls, most = [], 0
    with ExitStack() as stack:
        python = Path(sys.executable)
        fleet = [stack.enter_context(Process(python, *arguments)) for _ in range(PROCESSES)]
        for process in fleet:
            process.answer()
        for number in range(ROUNDS):
            instant = monotonic() + 0.1
            for process in fleet:
                process.tell([f"round{number}", instant])
            answers = [process.answer() for process in fleet]
            walls.append(max(end for end, _ in answers) - instant)
            most = max(most, sum(fetches for _, fetches in answers))
    return walls, most


def django(backend: str, location: str, database: Path | None = None) -> str:
    """Settings of Django with that cache, as JSON."""
    default = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(database),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
    return json.dumps(
        {
            "CACHES": {"default": {"BACKEND": backend, "LOCATION": location}},
            "DATABASES": {"default": default} if database else {},
            "USE_TZ": True,
        }
    )


def make_table(settings: str) -> None:
    """Make the table of a cache in a database."""
    code = (
        "import json, sys, django\n"
        "from django.conf import settings\n"
        "from django.core.management import call_command\n"
        "settings.configure(**json.loads(sys.argv[1]))\n"
        "django.setup()\n"
        "call_command('createcachetable')\n"
    )
    subprocess.run([sys.executable, "-c", code, settings], check=True, capture_output=True)


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The URL of an empty Redis, which keeps nothing on disk."""
    place = folder / "redis.sock"
    options = ("--port", "0", "--unixsocket", str(place), "--save", "", "--appendonly", "no")
    with running("redis-server", *options, "--dir", str(folder)):
        while not place.exists():
            sleep(0.01)
        yield f"unix://{place}"


@contextmanager
def memcached() -> Iterator[str]:
    """The address of an empty memcached."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    # A root user would have to name another to run as.
    with running("memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-u", "nobody"):
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                sleep(0.01)
        yield f"127.0.0.1:{port}"


@contextmanager
def running(*command: str) -> Iterator[None]:
    """Run a server for the block."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        try:
            yield
        finally:
            server.kill()
