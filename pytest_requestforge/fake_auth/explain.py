"""Why a request matched no endpoint: the closest one, and each difference."""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from urllib.parse import unquote, urlsplit

from pytest_requestforge.fake_auth.endpoints import Endpoint
from pytest_requestforge.fake_auth.journal import Entry

_SHOWN = 10


def explain(entries: Sequence[Entry], endpoints: Sequence[Endpoint]) -> str:
    """Several lines that tell of each unmatched request what comes closest; "" without any."""
    if not entries:
        return ""
    many = "1 request" if len(entries) == 1 else f"{len(entries)} requests"
    lines = [f"{many} matched no endpoint of the fake auth server:"]
    for entry in entries[:_SHOWN]:
        lines.append(f"  #{entry.number} {entry.method} {entry.url}  ({entry.thread})")
        lines.extend(f"     {line}" for line in closest(entry.method, entry.url, endpoints))
    if len(entries) > _SHOWN:
        lines.append(f"  and {len(entries) - _SHOWN} more")
    return "\n".join(lines)


def closest(method: str, url: str, endpoints: Sequence[Endpoint]) -> Iterator[str]:
    """Lines that name the endpoint closest to that request, and how the request differs."""
    if not endpoints:
        yield "there is no endpoint yet; define them with token(), resource() or serve()"
        return
    endpoint = max(endpoints, key=lambda other: _likeness(method, url, other))
    yield f"closest is {endpoint.name}: {endpoint.method} {endpoint.url}"
    asked, known = urlsplit(url), urlsplit(endpoint.url)
    for what, got, expected in (
        ("method", method, endpoint.method),
        ("scheme", asked.scheme, known.scheme),
        ("host", asked.netloc, known.netloc),
        ("path", unquote(asked.path) or "/", unquote(known.path)),
    ):
        if got != expected:
            yield f"  {what:<6}  {got}, expected {expected}"


def _likeness(method: str, url: str, endpoint: Endpoint) -> float:
    asked, known = urlsplit(url), urlsplit(endpoint.url)
    path = SequenceMatcher(None, asked.path, known.path).ratio()
    return 2 * path + (asked.netloc == known.netloc) + 0.5 * (method == endpoint.method)
