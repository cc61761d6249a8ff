"""New TLS connections, slow calls at once, and how late a deadline ends what would not end."""

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import certifi
import trustme
from processes import Side, costs_in_turn, server
from ratios import Result, undisturbed

DEADLINE = 1.0
"""Seconds, as in `sides/with_requestforge.py`."""


def measure() -> list[Result]:
    """All lines on connections."""
    with tempfile.TemporaryDirectory() as folder, loopback(Path(folder)) as (plain, tls, bundle):
        return [*connecting(tls, bundle), *at_once(plain), *overshooting(plain)]


def connecting(url: str, ca: str) -> list[Result]:
    """CPU of a GET over a new TLS connection."""
    ours, requests = Side("requestforge", "connect"), Side("requests", "connect")
    costs = costs_in_turn([ours, requests], url, ca, number=20, generations=2)
    spent = {side: undisturbed(cost.cpu / 20 * 1000 for cost in costs[side]) for side in costs}
    return [
        Result("GET over a new TLS connection, CPU ms", "one ms", spent[ours], 2.0),
        Result("that of requests.Session, CPU ms", "one ms", spent[requests], limit=None),
    ]


def at_once(url: str) -> list[Result]:
    """The wall time of eight slow calls at once, which no lock may put into a line."""
    side = Side("requestforge", "get_slowly")
    costs = costs_in_turn([side], url, number=1, threads=8, generations=1)[side]
    wall = statistics.median(cost.wall for cost in costs) * 1000
    return [Result("8 x 50 ms at once through one breaker, ms", "one ms", wall, 80.0)]


def overshooting(url: str) -> Iterator[Result]:
    """How late the total deadline ends a request, at worst."""
    for function, name in (
        ("drip_body", "body drip"),
        ("stall", "stall before the header"),
        ("drip_header", "header drip"),
    ):
        side = Side("requestforge", function)
        costs = costs_in_turn([side], url, number=1, rounds=5, generations=1)[side]
        worst = max(abs(cost.wall - DEADLINE) for cost in costs) * 1000
        yield Result(f"1 s deadline under {name}, ms off", "one ms", worst, 50.0)


@contextmanager
def loopback(folder: Path) -> Iterator[tuple[str, str, str]]:
    """The URLs of a server, plain and TLS, and a CA bundle of the usual size that knows it."""
    authority = trustme.CA()
    certificate, bundle = folder / "server.pem", folder / "ca.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    bundle.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
    with server(certificate) as (plain, tls):
        yield f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{tls}", str(bundle)
