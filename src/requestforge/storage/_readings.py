"""What was read under some keys, and the tokens of it, for the next time that the same is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from requestforge.tokens import TokenData

SourceT = TypeVar("SourceT")

_MOST_READINGS = 1000
"""So many readings are remembered at once."""


@dataclass(frozen=True, slots=True, repr=False)  # records are secrets
class Reading(Generic[SourceT]):
    """What a storage held under some keys, and the tokens that could be read of it."""

    source: SourceT
    found: Mapping[str, TokenData]


class Readings(Generic[SourceT]):
    """The last readings, by the keys that were asked for."""

    def __init__(self) -> None:
        self._readings: dict[tuple[str, ...], Reading[SourceT]] = {}

    def __reduce__(self) -> tuple[type["Readings[SourceT]"], tuple[()]]:
        """None travel with a copy: they are secrets, and soon old."""
        return Readings, ()

    def last(self, keys: tuple[str, ...]) -> Reading[SourceT] | None:
        """The last reading of those keys, if it is remembered."""
        return self._readings.get(keys)

    def remember(
        self, keys: tuple[str, ...], source: SourceT, found: Mapping[str, TokenData]
    ) -> None:
        """Keep a reading, unless that would be too many: then those before it are forgotten."""
        if len(self._readings) >= _MOST_READINGS:
            self._readings = {}
        self._readings[keys] = Reading(source, found)
