"""EncryptedTokenStorage: tokens sealed before another storage gets them."""

import base64
import json
import secrets
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

from requestforge._fork import importing
from requestforge._looking import noted
from requestforge.events import StorageFailed
from requestforge.instrumentation import emit, now
from requestforge.interfaces import TokenStorageInterface
from requestforge.storage._basic import adapted, tells_content
from requestforge.storage._readings import Readings
from requestforge.tokens import TokenData, stamped

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["EncryptedTokenStorage"]

_KEY_LENGTH = 32
"""Bytes: AES-256."""

_NONCE_LENGTH = 12
"""Bytes: 96 bits, as NIST SP 800-38D section 5.2.1.1 recommends for GCM."""

_SEALED = "sealed"
"""The type of a sealed token, and what stands in the place of its refresh token."""


class EncryptedTokenStorage(TokenStorageInterface):
    """Tokens in another storage, which gets to see them sealed with AES-256-GCM only.

    What it sees is each token's key, generation, `expires_at`, size, and whether there is a refresh
    token. A record is bound to its key: under another one it cannot be opened. What cannot be
    opened counts as none, and is deleted.

    Args:
        storage: where the sealed tokens live.
        keys: 32 bytes each, from `generate_key`. The first seals, all open.

    Raises:
        ImportError: cryptography is not installed.
        TypeError: a key is not of type bytes.
        ValueError: a key has another length, or there is none.
    """

    def __init__(self, storage: TokenStorageInterface, keys: Iterable[bytes]) -> None:
        self._ring = _ring(keys)
        self._storage = adapted(storage)
        self.shared: bool = self._storage.shared
        self._tells_content = tells_content(self._storage)
        self._readings: Readings[Mapping[str, TokenData]] = Readings()

    @staticmethod
    def generate_key() -> bytes:
        """A new random key of 32 bytes."""
        return secrets.token_bytes(_KEY_LENGTH)

    @property
    def content_version(self) -> int | None:  # type: ignore[override]  # nobody sets it from outside
        """That of the inner storage."""
        return self._storage.content_version

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._storage!r}, keys=***)"

    def get(self, key: str) -> TokenData | None:
        """The token that was set, expired or not; None if there is none.

        A record that cannot be opened counts as none, and is deleted.
        """
        sealed = self._storage.get(key)
        return None if sealed is None else self._token(key, sealed)

    def set(self, key: str, token: TokenData) -> None:
        """Keep the token, in place of any other under that key."""
        self._storage.set(key, self._seal(key, token))

    def delete(self, key: str) -> None:
        """Remove the token, if there is one."""
        self._storage.delete(key)

    def exists(self, key: str) -> bool:
        """Whether an entry is present, expired or not."""
        return self._storage.exists(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, TokenData]:
        """The tokens of those keys that have one, in one batched read of the inner storage."""
        return dict(self.content_of(tuple(keys)))

    def content_of(self, keys: tuple[str, ...]) -> Mapping[str, TokenData]:
        """The same as `get_many`, and the same object where the inner storage has the same."""
        inner = self._storage
        sealed = inner.content_of(keys) if self._tells_content else inner.get_many(keys)
        last = self._readings.last(keys)
        if last is not None and last.source is sealed:
            return last.found
        opened = ((key, self._token(key, record)) for key, record in sealed.items())
        found = {key: token for key, token in opened if token is not None}
        if len(found) == len(sealed):  # else the same again has to be deleted again
            self._readings.remember(keys, sealed, found)
        return found

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove the tokens of those keys."""
        self._storage.delete_many(keys)

    def compare_and_set(self, key: str, token: TokenData, generation: str | None) -> bool:
        """Set the token if the present one has that generation; as atomic as the inner storage."""
        return self._storage.compare_and_set(key, self._seal(key, token), generation)

    def compare_and_delete(self, key: str, generation: str | None) -> bool:
        """Remove the token if it has that generation; as atomic as the inner storage."""
        return self._storage.compare_and_delete(key, generation)

    def lock(
        self, key: str, lease: timedelta, wait: timedelta
    ) -> AbstractContextManager[bool] | None:
        """The inner storage's lock on the key; None where it has none."""
        return self._storage.lock(key, lease, wait)

    def close(self) -> None:
        """Close the inner storage."""
        self._storage.close()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: the keys would be in it."""
        msg = "An EncryptedTokenStorage cannot be pickled, since it holds keys; make one anew."
        raise TypeError(msg)

    def _seal(self, key: str, token: TokenData) -> TokenData:
        """A token for the inner storage that shows what it needs for its housekeeping alone."""
        nonce = secrets.token_bytes(_NONCE_LENGTH)
        text = json.dumps(token.to_dict()).encode()
        blob = nonce + self._ring[0].encrypt(nonce, text, _bound_to(key))
        sealed = TokenData(
            base64.urlsafe_b64encode(blob).decode(),
            token_type=_SEALED,
            expires_at=token.expires_at,
            refresh_token=_SEALED if token.refresh_token else None,
            leeway=timedelta(0),
        )
        return stamped(sealed, token.generation)

    def _token(self, key: str, sealed: TokenData) -> TokenData | None:
        try:
            return self._open(key, sealed)
        except (ValueError, RecursionError):
            pass
        if noted(key):
            return None
        # That record alone, not one that came in its place; undeleted it is a miss all the same.
        with suppress(Exception):
            self._storage.compare_and_delete(key, sealed.generation)
        error = (
            "The record was not sealed for this place with one of the keys, or was changed since."
        )
        emit(StorageFailed(at=now(), pipeline="", step=key, operation="read", error=error))
        return None

    def _open(self, key: str, sealed: TokenData) -> TokenData:
        """The token that was sealed.

        Raises:
            ValueError: it cannot be opened, or its generation was changed.
        """
        blob = base64.b64decode(sealed.access_token, altchars=b"-_", validate=True)
        token = TokenData.from_dict(json.loads(self._decrypted(blob, _bound_to(key))))
        # A storage of the basic fields loses the generation, and must not be said to have it.
        if sealed.generation not in (None, token.generation):
            raise ValueError
        return token if token.generation == sealed.generation else stamped(token, None)

    def _decrypted(self, blob: bytes, bound_to: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        nonce, text = blob[:_NONCE_LENGTH], blob[_NONCE_LENGTH:]
        for cipher in self._ring:
            with suppress(InvalidTag):
                return cipher.decrypt(nonce, text, bound_to)
        raise ValueError


def _bound_to(key: str) -> bytes:
    """What a record is authenticated with, so that it opens in its own place alone."""
    return b"requestforge 1\x00" + key.encode("utf-8", "surrogatepass")


def _ring(keys: Iterable[bytes]) -> "tuple[AESGCM, ...]":
    # A child that is forked during an import would wait for it for ever.
    with importing:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            msg = "EncryptedTokenStorage needs cryptography: pip install 'requestforge[crypto]'."
            raise ImportError(msg) from error
    ring = []
    for number, key in enumerate(keys):
        _check(key, f"keys[{number}]")
        ring.append(AESGCM(key))
    if not ring:
        msg = "keys must hold at least one key; generate_key() makes one."
        raise ValueError(msg)
    return tuple(ring)


def _check(key: object, name: str) -> None:
    if not isinstance(key, bytes):
        msg = f"keys is a list of keys of type bytes, but {name} is of type {type(key).__name__}."
        raise TypeError(msg)
    if len(key) != _KEY_LENGTH:
        msg = (
            f"{name} must be {_KEY_LENGTH} bytes long, but has {len(key)}. A passphrase is no key; "
            "generate_key() makes one."
        )
        raise ValueError(msg)
