"""A Faker that makes what token servers deal in, the same in every run of a test."""

import base64
import hashlib
import hmac
import json

from faker import Faker
from faker.providers import BaseProvider

from requestforge import instrumentation

__all__ = ["TokenProvider", "make_faker"]

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# Without vowels, so that no word comes up (RFC 8628 section 6.1).
_CONSONANTS = "BCDFGHJKLMNPQRSTVWXZ"
_THINGS = ("orders", "profile", "invoices", "devices", "reports", "messages")
_DEEDS = ("read", "write", "delete", "admin")


def make_faker(seed: int | str) -> Faker:
    """A Faker with a TokenProvider; equal seeds give equal values."""
    faker = Faker()
    faker.add_provider(TokenProvider)
    faker.seed_instance(seed)
    return faker


class TokenProvider(BaseProvider):
    """Tokens, JWTs, clients, scopes and device codes; none of them opens anything."""

    def access_token(self) -> str:
        """An opaque access token."""
        return self._letters(40)

    def refresh_token(self) -> str:
        """An opaque refresh token."""
        return self._letters(48)

    def client_id(self) -> str:
        """A client id, such as `client-3kX9…`."""
        return f"client-{self._letters(12)}"

    def client_secret(self) -> str:
        """A client secret."""
        return self._letters(32)

    def scopes(self, count: int = 2) -> list[str]:
        """Different scopes, such as `["orders:read", "profile:write"]`; at most 24."""
        known = [f"{thing}:{deed}" for thing in _THINGS for deed in _DEEDS]
        return list(self.random_elements(known, length=count, unique=True))

    def scope(self, count: int = 2) -> str:
        """Scopes as one text, separated by blanks (RFC 6749 section 3.3)."""
        return " ".join(self.scopes(count))

    def device_code(self) -> str:
        """A device code (RFC 8628 section 3.2)."""
        return self._letters(40)

    def user_code(self) -> str:
        """A user code, such as `WDJB-MJHT` (RFC 8628 section 6.1)."""
        code = "".join(self.random_elements(_CONSONANTS, length=8))
        return f"{code[:4]}-{code[4:]}"

    def jwt(self, *, key: str = "key", expires_in: float = 3600, **claims: object) -> str:
        """A JWT signed with HS256 (RFC 7519), issued now by the active clock.

        Args:
            key: what it is signed with.
            expires_in: its life in seconds.
            claims: instead of or besides `iss`, `sub`, `aud`, `iat`, `exp` and `jti`.
        """
        issued_at = int(instrumentation.now().timestamp())
        content = {
            "iss": "https://auth.example.test",
            "sub": self._letters(10),
            "aud": self.client_id(),
            "iat": issued_at,
            "exp": issued_at + int(expires_in),
            "jti": self._letters(16),
            **claims,
        }
        signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(content)}"
        signature = hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest()
        return f"{signed}.{_base64(signature)}"

    def _letters(self, count: int) -> str:
        return "".join(self.random_elements(_LETTERS, length=count))


def _part(content: object) -> str:
    return _base64(json.dumps(content, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    """Base64 for URLs, without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
