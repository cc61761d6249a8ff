"""Keys: those that a provider signs with, and those that others prove themselves with."""

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeAlias

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

Key: TypeAlias = ECKey | RSAKey
KeyLike: TypeAlias = str | bytes | Mapping[str, Any] | ECKey | RSAKey
"""A public or private key: text in PEM, a JWK or a JWK set as mapping, or a key of joserfc."""

_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
_RSA_SIZE = 2048  # bits
_KINDS: Mapping[str, type[ECKey | RSAKey]] = {"EC": ECKey, "RSA": RSAKey}

ALGORITHMS = (*_CURVES, "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
"""What tokens and assertions may be signed with (RFC 7518 section 3.1)."""


class KeyRing:
    """The keys of a provider: one that signs, and older ones that still verify.

    Keys are made once a session, since those of RSA take long: two rings of the same name have the
    same keys in turn.

    Args:
        algorithm: to sign with.
        name: that rings with other keys do not have.

    Raises:
        ValueError: the algorithm is none that tokens can be signed with.
    """

    def __init__(self, algorithm: str, name: str) -> None:
        if algorithm not in ALGORITHMS:
            raise ValueError(
                f"jwt is the algorithm that tokens are signed with, one of "
                f"{', '.join(ALGORITHMS)}; not {algorithm!r}."
            )
        self.algorithm = algorithm
        self._name = name
        self._made = 1
        self._keys = [_session_key(algorithm, name, 1)]

    @property
    def ids(self) -> list[str]:
        """The ids of its keys, that of the signing one first."""
        return [str(key.kid) for key in self._keys]

    @property
    def keys(self) -> tuple[Key, ...]:
        """Its keys, the signing one first."""
        return tuple(self._keys)

    def rotate(self, *, keep_old: bool) -> None:
        """Sign with a new key from now on, and verify with the older ones only if they are kept."""
        self._made += 1
        new = _session_key(self.algorithm, self._name, self._made)
        self._keys = [new, *self._keys] if keep_old else [new]

    def public(self) -> dict[str, Any]:
        """Its JWK set, without what is secret (RFC 7517 section 5)."""
        return {"keys": [key.as_dict(private=False) for key in self._keys]}

    def sign(self, claims: Mapping[str, Any], kind: str) -> str:
        """A JWT of that media type (`typ`, RFC 7519 section 5.1)."""
        header = {"typ": kind, "alg": self.algorithm, "kid": self.ids[0]}
        return jwt.encode(header, dict(claims), self._keys[0], algorithms=[self.algorithm])


def keys_of(value: KeyLike) -> tuple[Key, ...]:
    """The keys that were given in one of several forms.

    Raises:
        ValueError: none can be read.
    """
    if isinstance(value, ECKey | RSAKey):
        return (value,)
    if isinstance(value, Mapping):
        try:
            jwks = [dict(each) for each in value.get("keys", [value])]
            return tuple(_KINDS[each["kty"]].import_key(each) for each in jwks)
        except (JoseError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                "A key as a mapping is a JWK or a JWK set of RSA or EC keys; this is neither."
            ) from error
    for kind in _KINDS.values():
        try:
            return (kind.import_key(value),)
        except (JoseError, ValueError):
            continue
    raise ValueError("A key as a text is an RSA or EC key in PEM; this text holds neither.")


def verified(text: str, keys: tuple[Key, ...]) -> dict[str, Any] | None:
    """The claims of a JWT whose signature fits one of the keys; None: it fits none.

    Times are not looked at.
    """
    for key in keys:
        try:
            return dict(jwt.decode(text, key, algorithms=list(ALGORITHMS)).claims)
        except (JoseError, ValueError):
            continue
    return None


@cache
def _session_key(algorithm: str, ring: str, number: int) -> Key:
    del ring, number  # they tell the keys of one algorithm from each other in the cache
    parameters: Any = {"use": "sig", "alg": algorithm}
    if algorithm in _CURVES:
        return ECKey.generate_key(_CURVES[algorithm], parameters, auto_kid=True)
    return RSAKey.generate_key(_RSA_SIZE, parameters, auto_kid=True)
