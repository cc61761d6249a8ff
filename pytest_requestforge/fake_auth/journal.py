"""What arrived at a FakeAuth, request by request, without its secrets."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Literal, overload
from urllib.parse import urlsplit

Kind = Literal["token", "resource", "unmatched"]

HELD = 0
"""The status of an entry whose request still waits in a `hold`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request and its answer; tokens stand as labels such as `app_token#1`, secrets as `***`.

    Attributes:
        number: position in the journal, from 1.
        step: name of the token endpoint, "METHOD /path" of a resource, None without an endpoint.
        kind: what it reached.
        at: when it was answered, by the clock of the library (aware UTC).
        thread: name of the thread that sent it; over a socket, of the one that served it.
        method: of the request, in upper case.
        url: masked, query included.
        status: of the answer; 0 while the request is held, or where a fault left it without one.
        reason: why that status, such as "issued app_token#1" or "refused: app_token#1 revoked".
        issued: label of the token that the answer holds.
        expires_at: end of life of that token (aware UTC), None where it has none.
        sent: labels of the tokens that the request carried, whatever their state.
        headers: of the request, masked.
        body: fields of the request, from its body and else from its query, masked.
        fault: the kind of fault that it met, None without one.
    """

    number: int = 0
    step: str | None
    kind: Kind
    at: datetime
    thread: str
    method: str
    url: str
    status: int
    reason: str
    issued: str | None = None
    expires_at: datetime | None = None
    sent: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    body: Mapping[str, object] = field(default_factory=dict, hash=False)
    fault: str | None = None

    @property
    def path(self) -> str:
        """Path and query of the URL."""
        # A label such as app_token#1 begins no fragment.
        parts = urlsplit(self.url, allow_fragments=False)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    def facts(self) -> dict[str, object]:
        """All of it by name, as JSON can hold it; moments in ISO 8601."""
        return {each.name: _plain(getattr(self, each.name)) for each in fields(self)}


class Journal(Sequence[Entry]):
    """The requests in the order of their arrival, safe under threads.

    Walking it walks a snapshot, so that it may grow meanwhile.
    """

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    def append(self, entry: Entry) -> Entry:
        """Add the entry, and give it with its number."""
        with self._lock:
            numbered = replace(entry, number=len(self._entries) + 1)
            self._entries.append(numbered)
            return numbered

    def settle(self, entry: Entry) -> None:
        """Put the entry in the place of the one with its number, which was held."""
        with self._lock:
            self._entries[entry.number - 1] = entry

    def mark(self) -> int:
        """The place where the journal ends now, for `since`."""
        return len(self)

    def since(self, mark: int) -> list[Entry]:
        """The entries that came after that mark."""
        return self[mark:]

    def fetch_counts(self, since: int = 0) -> dict[str, int]:
        """How many requests reached each token endpoint, whatever the answer; none: left out.

        Args:
            since: count only what came after this mark.
        """
        return dict(
            Counter(
                entry.step
                for entry in self.since(since)
                if entry.kind == "token" and entry.step is not None
            )
        )

    @overload
    def __getitem__(self, index: int) -> Entry: ...

    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...

    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        with self._lock:
            return self._entries[index]

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self[:])

    def __repr__(self) -> str:
        return f"<Journal of {len(self)} requests>"


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return dict(value) if isinstance(value, Mapping) else value
