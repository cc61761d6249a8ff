"""The clients that a provider knows, and what each proves itself with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pytest_requestforge.fake_auth.oauth2.keys import Key, KeyLike, keys_of

Credentials: TypeAlias = KeyLike | None
"""A secret, a key (one that is a text begins with "-----BEGIN"), or None for a public client."""

_PEM = "-----BEGIN"


@dataclass(frozen=True, slots=True, repr=False)
class Client:
    """A client (RFC 6749 section 2).

    Attributes:
        id: its client id.
        secret: for client_secret_basic and client_secret_post.
        keys: for private_key_jwt, and for the assertions that it issues.
    """

    id: str
    secret: str | None = None
    keys: tuple[Key, ...] = ()

    @property
    def is_public(self) -> bool:
        """Whether it can prove nothing (RFC 6749 section 2.1)."""
        return self.secret is None and not self.keys


def clients_of(given: Mapping[str, Credentials]) -> dict[str, Client]:
    """The clients by id.

    Raises:
        ValueError: a key cannot be read, or a secret is empty.
    """
    return {name: _client(name, credentials) for name, credentials in given.items()}


def _client(name: str, credentials: Credentials) -> Client:
    if credentials is None:
        return Client(name)
    if isinstance(credentials, str) and not credentials.lstrip().startswith(_PEM):
        if not credentials:
            raise ValueError(f"The secret of client {name!r} is empty; a public client has None.")
        return Client(name, secret=credentials)
    try:
        return Client(name, keys=keys_of(credentials))
    except ValueError as error:
        raise ValueError(f"The key of client {name!r} cannot be read. {error}") from error
