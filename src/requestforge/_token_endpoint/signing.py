"""Signed assertions: JWTs in which a client, or an issuer, speaks for itself (RFC 7523)."""

import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from requestforge import instrumentation
from requestforge._fork import importing
from requestforge.exceptions import RequestBuildException

Key = str | bytes | Mapping[str, Any] | Any
"""A private key: text in PEM, a JWK as mapping, or a key of joserfc."""

_LIFETIME = 60  # seconds
_UNSIGNED = "none"
_BY_CURVE = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "Ed25519"}


class Signer:
    """Signs assertions with one private key.

    Args:
        key: the private key.
        algorithm: to sign with (RFC 7518 section 3.1); None: the usual one for the key.
        whose: whose key it is, for errors.

    Raises:
        ImportError: the extra `jwt` is not installed.
        ValueError: the key is none that can sign by that algorithm.
    """

    def __init__(self, key: Key, algorithm: str | None, whose: str) -> None:
        _import_joserfc(whose)
        if algorithm is not None and str(algorithm).lower() == _UNSIGNED:
            raise ValueError(f"{whose} must sign: the algorithm 'none' (RFC 7518) does not.")
        self._key = _imported(key, whose)
        self._algorithm = algorithm or _usual_algorithm(self._key)
        self._try(whose)

    def assertion(self, *, issuer: str, subject: str, audience: str) -> str:
        """A JWT that lives for a minute, and has an id that no other has.

        Raises:
            RequestBuildException: a text in it is not Unicode.
        """
        issued_at = int(instrumentation.now().timestamp())
        claims = {
            "iss": issuer,
            "sub": subject,
            "aud": audience,
            "iat": issued_at,
            "exp": issued_at + _LIFETIME,
            "jti": secrets.token_urlsafe(16),
        }
        with suppress(UnicodeError):
            return self._signed(claims)
        # Outside of the handler: that error quotes the text.
        raise RequestBuildException(
            "The issuer, subject or audience of an assertion is text that is not Unicode."
        )

    def _signed(self, claims: Mapping[str, Any]) -> str:
        from joserfc import jwt

        header = {"typ": "JWT", "alg": self._algorithm}
        if self._key.kid is not None:
            header["kid"] = self._key.kid
        signed: str = jwt.encode(header, dict(claims), self._key, algorithms=[self._algorithm])
        return signed

    def _try(self, whose: str) -> None:
        """See now whether the key can sign, and not when a token is needed."""
        from joserfc.errors import JoseError

        with suppress(JoseError, ValueError, TypeError):
            self._signed({})
            return
        # Outside of the handler: what is raised there may quote the key.
        raise ValueError(
            f"The key of {whose} cannot sign by {self._algorithm}: it must be a private key of the "
            "kind that the algorithm takes."
        )


def _import_joserfc(whose: str) -> None:
    with importing:
        try:
            import joserfc  # noqa: F401 - an extra
        except ImportError as error:
            msg = f"{whose} needs joserfc to sign: pip install 'requestforge[jwt]'."
            raise ImportError(msg) from error


def _imported(key: Key, whose: str) -> Any:  # noqa: ANN401 - a key of joserfc
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    kinds = (ECKey, RSAKey, OKPKey)
    if isinstance(key, kinds):
        return key
    data = dict(key) if isinstance(key, Mapping) else key
    for kind in kinds:
        with suppress(JoseError, ValueError, TypeError, KeyError, AttributeError):
            return kind.import_key(data)
    # Outside of the handlers: what is raised there may quote the key.
    raise ValueError(
        f"The key of {whose} cannot be read: give an RSA, EC or Ed25519 private key in PEM, as JWK "
        "mapping, or as a key of joserfc."
    )


def _usual_algorithm(key: Any) -> str:  # noqa: ANN401
    named = key.get("alg")
    return str(named or _BY_CURVE.get(str(key.get("crv")), "RS256"))
