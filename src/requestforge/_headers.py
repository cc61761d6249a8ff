"""Headers of answers: a read-only mapping of them, and how long Retry-After says to wait."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from typing import Any

from requestforge import instrumentation
from requestforge._fork import importing
from requestforge._redaction import mask_headers, names_also_sensitive

_LONGEST_WAIT = 315_360_000.0
"""Ten years in seconds, so that a wait can always be added to an instant."""


class Headers(Mapping[str, str]):
    """Headers that cannot be changed, found by their names in any case.

    Args:
        headers: a mapping or pairs.
        names: sensitive names beyond the built-in ones; None: those of where they are made.
    """

    __slots__ = ("_by_name", "_items", "names")

    def __init__(
        self,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        names: frozenset[str] | None = None,
    ) -> None:
        self._items = dict(headers)
        self.names = names_also_sensitive() if names is None else names
        self._by_name: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._lowered()[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return self._lowered() == {str(name).lower(): value for name, value in other.items()}

    def __hash__(self) -> int:
        return hash(frozenset(self._lowered().items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({mask_headers(self._items, self.names)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._items, self.names)

    def _lowered(self) -> dict[str, str]:
        # Made when it is first asked for: most answers are read without a look at their headers.
        if self._by_name is None:
            self._by_name = {name.lower(): value for name, value in self._items.items()}
        return self._by_name


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that Retry-After asks to wait (RFC 9110 section 10.2.3), None where it says nothing.

    Args:
        headers: a mapping that finds names in any case.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), _LONGEST_WAIT)
    # Here, since few answers need it, and it is a tenth of what importing the library costs.
    with importing:
        from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        until = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if until.tzinfo is None:  # "-0000": a time in UTC from nobody knows where (RFC 5322)
        until = until.replace(tzinfo=UTC)
    return min(max(0.0, (until - instrumentation.now()).total_seconds()), _LONGEST_WAIT)
