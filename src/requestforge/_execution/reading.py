"""Reads of a storage that may fail as a whole, or hold what cannot be read."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pickle import UnpicklingError

from requestforge._execution.faults import Faults
from requestforge._looking import is_looking, noted
from requestforge.interfaces import TokenStorageInterface
from requestforge.storage._basic import tells_content
from requestforge.tokens import TokenData

_NO_KEYS: AbstractSet[str] = frozenset()
# What a storage raises for a record that it cannot make sense of; all else is a fault of its own.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, EOFError, UnpicklingError)


class Reader:
    """Reads many keys at once; what cannot be read is discarded.

    Args:
        storage: where from.
        faults: hears of what goes wrong.
    """

    __slots__ = ("_faults", "_storage", "tells_content")

    def __init__(self, storage: TokenStorageInterface, faults: Faults) -> None:
        self._storage = storage
        self._faults = faults
        self.tells_content = tells_content(storage)
        """Whether batches that hold the same have the same object as their content."""

    def tokens(self, *keys: str) -> Mapping[str, TokenData] | None:
        """The tokens that the storage holds, or None if it fails."""
        return self.sort(*self.content(keys))[0]

    def content(
        self, keys: tuple[str, ...]
    ) -> tuple[Mapping[str, object] | None, AbstractSet[str]]:
        """What the storage gives, or None if it fails; and the keys that it cannot read."""
        try:
            read = self._storage.content_of if self.tells_content else self._storage.get_many
            return read(keys), _NO_KEYS
        except _UNREADABLE:
            return self._get_each(keys)
        except ImportError:  # a missing extra: no fault that passes
            raise
        except Exception as error:
            if is_looking():
                raise
            self._faults.failed("", "read", error)
            return None, _NO_KEYS

    def sort(
        self, content: Mapping[str, object] | None, unreadable: AbstractSet[str]
    ) -> tuple[dict[str, TokenData] | None, AbstractSet[str]]:
        """The tokens, and the keys of all that is none; what is something else is discarded."""
        if content is None:
            return None, unreadable
        tokens = {key: token for key, token in content.items() if isinstance(token, TokenData)}
        foreign = content.keys() - tokens.keys()
        for key in foreign:
            self._discard(key, TypeError("The record is no TokenData."))
        return tokens, unreadable | foreign

    def _get_each(self, keys: Sequence[str]) -> tuple[dict[str, TokenData], set[str]]:
        found: dict[str, TokenData] = {}
        unreadable: set[str] = set()
        for key in keys:
            try:
                token = self._storage.get(key)
            except _UNREADABLE as error:
                unreadable.add(key)
                self._discard(key, error)
            except Exception as error:
                if is_looking():
                    raise
                self._faults.failed_on(key, "read", error)
            else:
                if token is not None:
                    found[key] = token
        return found, unreadable

    def _discard(self, key: str, error: Exception) -> None:
        if noted(key):
            return
        self._faults.failed_on(key, "read", error)
        try:
            self._storage.delete(key)
        except Exception as fault:  # noqa: BLE001 - a storage may raise anything
            self._faults.failed_on(key, "delete", fault)
