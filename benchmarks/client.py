"""A client's requests on loopback: CPU and throughput beside those of other libraries.

Each side runs in a process of its own, and so does the server, whose time is not counted. httpx and
release 1.0.0 are installed into environments of their own, under `.cache`, at the first run.
"""

from environments import python_with
from processes import Cost, Side, costs_in_turn, cpu_ratio, server, wall_ratio
from ratios import Result

NAMES = {
    "httpx": "httpx.Client",
    "release": "release 1.0.0",
    "requests": "requests.Session",
    "urllib3": "urllib3's PoolManager",
}
USUAL = {"httpx": 1.6, "release": 3.1, "requests": 2.9}
"""What the CPU of a GET is known to be, in units of urllib3's."""


def measure() -> list[Result]:
    """All lines on the client."""
    with server() as (port,):
        url = f"http://127.0.0.1:{port}"
        return [*getting(url), *posting(url), *throughput(url)]


def getting(url: str) -> list[Result]:
    """CPU of a GET with a token."""
    ours, in_time = Side("requestforge", "get"), Side("requestforge", "get_in_time")
    plainly, others = Side("requestforge", "get_plainly"), other_sides("get")
    costs = costs_in_turn([*others, ours, in_time, plainly], url, number=50, rounds=25)
    urllib3, requests = others[:2]
    return [
        cpu_line("GET with breaker, budget and hooks", costs, ours, urllib3, 1.45),
        cpu_line("the same", costs, ours, requests, 0.5),
        cpu_line("the same with a deadline", costs, in_time, urllib3, 1.45),
        cpu_line("the same with a deadline", costs, in_time, requests, 0.5),
        cpu_line("the same with nothing but the token", costs, plainly, urllib3),
        *(
            cpu_line(
                f"GET by {NAMES[side.library]}, usually {USUAL[side.library]}", costs, side, urllib3
            )
            for side in others[1:]
        ),
    ]


def posting(url: str) -> list[Result]:
    """CPU of a POST of a JSON document."""
    ours, others = Side("requestforge", "post"), other_sides("post")
    costs = costs_in_turn([*others, ours], url, number=50, rounds=25)
    urllib3 = others[0]
    return [
        cpu_line("JSON POST with breaker, budget and hooks", costs, ours, urllib3, 1.3),
        *(cpu_line(f"POST by {NAMES[side.library]}", costs, side, urllib3) for side in others[1:]),
    ]


def throughput(url: str) -> list[Result]:
    """GETs a second of eight threads that share a client."""
    ours, others = Side("requestforge", "get"), other_sides("get")
    costs = costs_in_turn([*others, ours], url, number=150, threads=8)
    requests = others.pop(1)
    unit = f"{NAMES['requests']}, 8 threads"
    return [
        Result(
            "throughput of 8 threads",
            unit,
            wall_ratio(costs[requests], costs[ours]),
            2.0,
            at_least=True,
        ),
        *(
            Result(
                f"that of {NAMES[side.library]}",
                unit,
                wall_ratio(costs[requests], costs[side]),
                limit=None,
            )
            for side in others
        ),
    ]


def cpu_line(
    work: str,
    costs: dict[Side, list[Cost]],
    side: Side,
    unit: Side,
    limit: float | None = None,
) -> Result:
    """A line on CPU time."""
    return Result(work, NAMES[unit.library], cpu_ratio(costs[side], costs[unit]), limit)


def other_sides(function: str) -> list[Side]:
    """urllib3, requests, and the others that can be had."""
    own = {"httpx": python_with("httpx"), "release": python_with("requestforge==1.0.0")}
    return [
        Side("urllib3", function),
        Side("requests", function),
        *(Side(library, function, python) for library, python in own.items() if python is not None),
    ]
