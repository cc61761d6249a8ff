"""The tokens that a process has fetched, for what their records in a storage do not say of them."""

import math
import secrets
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from requestforge import instrumentation
from requestforge._fork import renew_after_fork
from requestforge.tokens import TokenData, forced_fetch, monotonic_end, stamped

T = TypeVar("T")

_LOOKED_AT = 2
"""Entries that an addition looks at: two keep the dead from outnumbering the living."""


class Rounds:
    """Walks over the keys of a growing dict, a few at a time, again and again."""

    def __init__(self) -> None:
        self._to_look_at: list[str] = []

    def done(self, items: dict[str, T], is_done: Callable[[T], bool]) -> list[str]:
        """Those of the next few keys whose items are done with."""
        if not self._to_look_at:
            self._to_look_at = list(items)
        keys = self._to_look_at[-_LOOKED_AT:]
        del self._to_look_at[-_LOOKED_AT:]
        found = ((key, items.get(key)) for key in keys)
        return [key for key, item in found if item is not None and is_done(item)]


class _Line(NamedTuple):
    """A mark in the generations of tokens whose monotonic ends count by one source."""

    mark: str
    source: object


class Births:
    """Tokens that were fetched in this process, by tag, where the storage keeps but a copy.

    A record knows neither the monotonic end of its token nor who forced its fetch, and some
    storages lose the generation. A token is dropped here when its monotonic end has passed: its
    generation says that it was born here, so that it is dead from then on, whatever the wall clock
    says.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, TokenData] = {}
        self._rounds = Rounds()
        self._keeps_generations = False
        self._lock = threading.Lock()
        self._line: _Line | None = None
        renew_after_fork(self)

    def new_nonce(self, end: tuple[float, object] | None) -> str:
        """The last part of the generation of a token with that monotonic end."""
        if end is None:
            return secrets.token_urlsafe(12)
        line = self._line
        if line is None or line.source is not end[1]:
            self._line = line = _Line(secrets.token_urlsafe(6), end[1])
        return line.mark + secrets.token_urlsafe(6)

    def note(self, tag: str, token: TokenData) -> None:
        """Remember a token that was stored."""
        reading = instrumentation.reading()
        with self._lock:
            self._tokens[tag] = token
            if self._keeps_generations:
                tokens = self._tokens
                for done in self._rounds.done(tokens, lambda each: self._ended(each, reading)):
                    tokens.pop(done, None)

    def of(self, tag: str) -> TokenData | None:
        """The last token that was noted for the key."""
        return self._tokens.get(tag)

    def drop(self, tag: str) -> None:
        """Forget the token of an invalidated key; it is dead from now on."""
        with self._lock:
            self._tokens.pop(tag, None)

    def known(self, tag: str, token: TokenData) -> TokenData:
        """The token of a record, with all that is known of it here."""
        if monotonic_end(token)[1] is not None:  # It is no copy.
            return token
        born = self._tokens.get(tag)
        if born is not None and _is_copy(token, born):
            self._keeps_generations = True
            if math.isinf(monotonic_end(born)[0]) and not forced_fetch(born)[1]:
                self.drop(tag)  # The record says it all.
            return born
        line = self._line
        if born is None and line is not None and _nonce(token).startswith(line.mark):
            return stamped(token, token.generation, (-math.inf, line.source))
        return token

    def after_fork(self) -> None:
        """Take a new lock, and another mark than the tokens that the parent will have."""
        self._lock = threading.Lock()
        self._line = None

    def _ended(self, token: TokenData, reading: tuple[float, float, object]) -> bool:
        """Whether a token that has this line's mark is past its monotonic end."""
        _, monotonic, source = reading
        end, counted_by = monotonic_end(token)
        line = self._line
        return (
            line is not None
            and counted_by is source
            and monotonic >= end
            and _nonce(token).startswith(line.mark)
        )


def _is_copy(token: TokenData, born: TokenData) -> bool:
    """Whether the token is that one, and nobody has given up its use or its refresh token since."""
    return (born.generation, born.expires_at, born.refresh_token) == (
        token.generation,
        token.expires_at,
        token.refresh_token,
    )


def _nonce(token: TokenData) -> str:
    return (token.generation or "").rpartition(".")[2]
