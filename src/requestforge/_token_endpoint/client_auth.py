"""How a client shows a token endpoint who it is (RFC 6749 section 2.3 and its extensions)."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from requestforge._token_endpoint.requests import basic_credentials
from requestforge._token_endpoint.signing import Key, Signer

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Credentials(NamedTuple):
    """What a request is sent with."""

    headers: dict[str, str]
    fields: dict[str, str]


class ClientAuth(Protocol):
    """A way to authenticate."""

    def credentials(self, client_id: str, token_url: str) -> Credentials:
        """For one request, to that token endpoint or to another endpoint of its server."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class ClientSecretBasic:
    """A secret in an Authorization header, form-encoded as RFC 6749 section 2.3.1 wants it.

    Args:
        secret: the client's.

    Raises:
        ValueError: it is empty.
        TypeError: it is no string.
    """

    secret: str

    def __post_init__(self) -> None:
        _check_secret(self.secret, "ClientSecretBasic")

    def credentials(self, client_id: str, token_url: str) -> Credentials:  # noqa: ARG002
        """The header."""
        return Credentials({"Authorization": basic_credentials(client_id, self.secret)}, {})

    def __repr__(self) -> str:
        return f"{type(self).__name__}('***')"


@dataclass(frozen=True, slots=True, repr=False)
class ClientSecretPost:
    """A secret among the fields of the form (RFC 6749 section 2.3.1).

    Args:
        secret: the client's.

    Raises:
        ValueError: it is empty.
        TypeError: it is no string.
    """

    secret: str

    def __post_init__(self) -> None:
        _check_secret(self.secret, "ClientSecretPost")

    def credentials(self, client_id: str, token_url: str) -> Credentials:  # noqa: ARG002
        """Two fields."""
        return Credentials({}, {"client_id": client_id, "client_secret": self.secret})

    def __repr__(self) -> str:
        return f"{type(self).__name__}('***')"


@dataclass(frozen=True, slots=True, repr=False)
class PrivateKeyJwt:
    """A JWT signed for each request, so that no secret travels (RFC 7523 section 2.2).

    It lives for 60 seconds and has an id of its own.

    Args:
        key: the client's private key: text in PEM, a JWK as mapping, or a key of joserfc.
        algorithm: to sign with (RFC 7518 section 3.1).
        audience: whom it is for; None: the token URL.

    Raises:
        ImportError: the extra `jwt` is not installed.
        ValueError: the key is none that can sign by that algorithm.
    """

    key: Key
    algorithm: str = "ES256"
    audience: str | None = None
    _signer: Signer = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_signer", Signer(self.key, self.algorithm, "PrivateKeyJwt"))

    def credentials(self, client_id: str, token_url: str) -> Credentials:
        """Three fields, of which the assertion is a new one each time."""
        assertion = self._signer.assertion(
            issuer=client_id, subject=client_id, audience=self.audience or token_url
        )
        fields = {
            "client_id": client_id,
            "client_assertion_type": JWT_BEARER,
            "client_assertion": assertion,
        }
        return Credentials({}, fields)

    def __repr__(self) -> str:
        shown = f"'***', algorithm={self.algorithm!r}, audience={self.audience!r}"
        return f"{type(self).__name__}({shown})"


@dataclass(frozen=True, slots=True)
class MutualTls:
    """A certificate that is shown when the connection is made (RFC 8705 section 2).

    Args:
        cert: path of a file with certificate and key, or the two paths as a tuple.

    Raises:
        ValueError: it is neither.
    """

    cert: str | tuple[str, str]

    def __post_init__(self) -> None:
        cert: Any = self.cert
        parts = cert if isinstance(cert, tuple) else (cert,)
        if len(parts) not in (1, 2) or not all(isinstance(part, str) and part for part in parts):
            raise ValueError(
                "cert of MutualTls must be the path of a file with certificate and key, or a tuple "
                "of two paths."
            )

    def credentials(self, client_id: str, token_url: str) -> Credentials:  # noqa: ARG002
        """The client's id, which the certificate need not name."""
        return Credentials({}, {"client_id": client_id})


@dataclass(frozen=True, slots=True)
class Public:
    """A client that can prove nothing (RFC 6749 section 2.1)."""

    def credentials(self, client_id: str, token_url: str) -> Credentials:  # noqa: ARG002
        """The client's id."""
        return Credentials({}, {"client_id": client_id})


def _check_secret(secret: object, whose: str) -> None:
    if not isinstance(secret, str):
        raise TypeError(f"secret of {whose} must be a string, not {type(secret).__name__}.")
    if not secret:
        raise ValueError(f"secret of {whose} is empty; a public client has no client_auth.")
