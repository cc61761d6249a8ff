"""InMemoryTokenStorage: tokens in a dict of this process."""

import heapq
import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from requestforge._fork import renew_after_fork
from requestforge.instrumentation import wall
from requestforge.interfaces import TokenStorageInterface
from requestforge.tokens import TokenData, wall_end

__all__ = ["InMemoryTokenStorage"]

_SMALL = 64
"""So many entries are not worth collecting garbage from."""

_LOOKED_AT = 2
"""Entries that a write looks at for garbage: two keep it from outgrowing the living tokens."""


class InMemoryTokenStorage(TokenStorageInterface):
    """Tokens of this process, shared by its threads, gone with it.

    Dead tokens without a refresh token are collected in passing. A living one leaves only where
    there would be more than `max_entries`: the one that was not used for the longest time.

    Args:
        max_entries: how many tokens to keep at most; None: no limit.

    Raises:
        TypeError: `max_entries` is no int.
        ValueError: `max_entries` is less than 1.
    """

    shared = False

    def __init__(self, *, max_entries: int | None = None) -> None:
        _check(max_entries)
        self._max_entries = max_entries
        # With a limit every use counts, so no caller may skip a read because of the version.
        self.content_version = 0 if max_entries is None else None
        self._lock = threading.Lock()
        self.clear()
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_entries={self._max_entries})"

    def get(self, key: str) -> TokenData | None:
        """The token that was set, expired or not; None if there is none."""
        if self._recency is None:
            return self._tokens.get(key)
        with self._lock:
            return _use(self._recency, key)

    def set(self, key: str, token: TokenData) -> None:
        """Keep the token, in place of any other under that key."""
        now = wall()
        with self._lock:
            self._store(key, token, now)

    def delete(self, key: str) -> None:
        """Remove the token, if there is one."""
        self.delete_many((key,))

    def exists(self, key: str) -> bool:
        """Whether an entry is present, expired or not."""
        return key in self._tokens

    def get_many(self, keys: Iterable[str]) -> dict[str, TokenData]:
        """The tokens of those keys that have one."""
        if self._recency is None:
            tokens = self._tokens
            return {key: token for key in keys if (token := tokens.get(key)) is not None}
        keys = tuple(keys)  # the caller's iterable is not run under the lock
        with self._lock:
            recency = self._recency
            return {key: token for key in keys if (token := _use(recency, key)) is not None}

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove the tokens of those keys."""
        for key in keys:
            with self._lock:
                if key in self._tokens:
                    self._remove(key)

    def compare_and_set(self, key: str, token: TokenData, generation: str | None) -> bool:
        """Set the token if the present one has that generation, atomically; whether that is so.

        A generation of None stands for: there is no token, or one without a generation.
        """
        now = wall()
        with self._lock:
            current = self._tokens.get(key)
            if (None if current is None else current.generation) != generation:
                return False
            self._store(key, token, now)
            return True

    def compare_and_delete(self, key: str, generation: str | None) -> bool:
        """Remove the token if it has that generation, atomically; whether that is so."""
        with self._lock:
            current = self._tokens.get(key)
            if current is None or current.generation != generation:
                return False
            self._remove(key)
            return True

    def clear(self) -> None:
        """Remove all tokens."""
        recency = None if self._max_entries is None else OrderedDict[str, TokenData]()
        tokens = {} if recency is None else recency
        rounds, ends = _Rounds(), _Ends()
        with self._lock:
            self._recency, self._rounds, self._ends = recency, rounds, ends
            self._tokens: dict[str, TokenData] = tokens
            if self.content_version is not None:
                self.content_version += 1

    def after_fork(self) -> None:
        """Take a new lock: in the child nobody would ever release one that was held."""
        self._lock = threading.Lock()
        # The change of a thread that the child does not have may lack its count.
        if self.content_version is not None:
            self.content_version += 1

    # The two below run under the lock. Who reads without it takes the version first and the tokens
    # second, so a version never stands for older tokens than it names: the count goes up after the
    # change. Nothing is called between the two, since a KeyboardInterrupt is raised at calls.

    def _store(self, key: str, token: TokenData, now: float) -> None:
        self._tokens[key] = token
        if self.content_version is not None:
            self.content_version += 1
        if self._recency is None or self._max_entries is None:
            for dead in self._rounds.dead(self._tokens, now):
                self._remove(dead)
            return
        self._recency.move_to_end(key)
        self._ends.note(key, token, self._tokens)
        while len(self._tokens) > self._max_entries:
            first_dead = self._ends.first_dead(self._tokens, now)
            self._remove(next(iter(self._recency)) if first_dead is None else first_dead)

    def _remove(self, key: str) -> None:
        del self._tokens[key]
        if self.content_version is not None:
            self.content_version += 1


class _Rounds:
    """Finds dead tokens by looking at a few entries at each write, round and round.

    Unlike a sweep of all entries it never makes one write slow, and unlike a queue by end of use
    it needs next to no memory.
    """

    def __init__(self) -> None:
        self._to_look_at: list[str] = []

    def dead(self, tokens: Mapping[str, TokenData], now: float) -> list[str]:
        """Keys of dead tokens among the next few."""
        if len(tokens) <= _SMALL:
            return []
        if not self._to_look_at:
            self._to_look_at = list(tokens)
        keys = self._to_look_at[-_LOOKED_AT:]
        del self._to_look_at[-_LOOKED_AT:]
        return [key for key in keys if _is_dead(tokens.get(key), now)]


class _Ends:
    """The tokens of a bounded storage by end of use, so that dead ones leave before living ones."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []

    def note(self, key: str, token: TokenData, tokens: Mapping[str, TokenData]) -> None:
        """Hear of a token that was put among `tokens`."""
        heapq.heappush(self._heap, (_death(token), key))
        # A heap cannot remove: most of it may stand for tokens that were replaced or deleted.
        if len(self._heap) > 2 * len(tokens) + _SMALL:
            self._heap = [(_death(token), key) for key, token in tokens.items()]
            heapq.heapify(self._heap)

    def first_dead(self, tokens: Mapping[str, TokenData], now: float) -> str | None:
        """Key of the token that has been dead for the longest time; None if all are alive."""
        while self._heap and self._heap[0][0] <= now:
            _, key = heapq.heappop(self._heap)
            if _is_dead(tokens.get(key), now):
                return key
        return None


def _check(max_entries: object) -> None:
    if max_entries is None:
        return
    if not isinstance(max_entries, int) or isinstance(max_entries, bool):
        msg = f"max_entries must be an int or None, but is of type {type(max_entries).__name__}."
        raise TypeError(msg)
    if max_entries < 1:
        msg = f"max_entries must be at least 1, but is {max_entries}; None sets no limit."
        raise ValueError(msg)


def _use(recency: OrderedDict[str, TokenData], key: str) -> TokenData | None:
    token = recency.get(key)
    if token is not None:
        recency.move_to_end(key)
    return token


def _is_dead(token: TokenData | None, now: float) -> bool:
    return token is not None and _death(token) <= now


def _death(token: TokenData) -> float:
    # A refresh token outlives its token.
    return math.inf if token.refresh_token else wall_end(token)
