"""How a request is written down without its secrets."""

import re
from collections.abc import Mapping
from urllib.parse import unquote_plus, urlsplit

from pytest_requestforge.fake_auth.tokens import TokenBook

MASK = "***"

_PARTS = re.compile(
    "token|secret|password|passwd|authorization|cookie|apikey|credential|signature|assertion"
    "|privatekey|accesskey|passphrase|passcode|codeverifier"
)
_EXACT = frozenset(
    {
        *("code", "pin", "otp", "totp", "mfacode", "devicecode", "usercode"),
        *("pass", "pwd", "pw", "key", "jwt", "session", "sessionid"),
        *("xauth", "xsession"),
    }
)
_SCHEMES = frozenset({"basic", "bearer", "dpop"})
_SHORTEST = 6


def is_sensitive(name: str) -> bool:
    """Whether a header, field or query key of that name holds a secret."""
    plain = name.casefold().replace("-", "").replace("_", "")
    return plain in _EXACT or bool(_PARTS.search(plain.replace("tokentype", "")))


class Mask:
    """Writes tokens as labels, and secrets as `***`.

    Attributes:
        secrets: that definitions expect, and what each of them is.
    """

    def __init__(self, book: TokenBook) -> None:
        self._book = book
        self.secrets: dict[str, str] = {}

    def learn(self, expected: object, *, name: str = "", owner: str = "") -> None:
        """Remember the secrets among the values that a definition expects, to find them anywhere.

        Shorter ones than six characters are found under their names alone: they may be anything.

        Args:
            expected: a value, or values by the names of their fields.
            name: of the field.
            owner: whose secrets they are, where people read of them.
        """
        if isinstance(expected, Mapping):
            for key, value in expected.items():
                self.learn(value, name=str(key), owner=owner)
        elif isinstance(expected, list | tuple):
            for value in expected:
                self.learn(value, name=name, owner=owner)
        elif isinstance(expected, str) and is_sensitive(name) and len(expected) >= _SHORTEST:
            self.secrets.setdefault(expected, f"{name} of {owner}" if owner else name)

    def text(self, text: str) -> str:
        """The text with known tokens and secrets masked."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return self._book.labelled(text)

    def fields(self, fields: Mapping[str, object]) -> dict[str, object]:
        """The fields of a body with their secrets masked."""
        return {name: self.value(name, value) for name, value in fields.items()}

    def value(self, name: str, value: object) -> object:
        """The value of a field with its secrets masked, at any depth.

        Below a sensitive name everything is one, as in `{"token": {"id": "..."}}`.
        """
        if isinstance(value, Mapping):
            hidden = name if is_sensitive(name) else None
            return {key: self.value(hidden or key, inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.value(name, item) for item in value]
        if is_sensitive(name):
            return self._sensitive(str(value))
        return self.text(value) if isinstance(value, str) else value

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers with their secrets masked; a scheme before a credential stays."""
        return {
            name: self._sensitive(value) if is_sensitive(name) else self.text(value)
            for name, value in headers.items()
        }

    def url(self, url: str) -> str:
        """The URL with its secrets masked."""
        parts = urlsplit(url)
        query = "&".join(self._pair(pair) for pair in parts.query.split("&"))
        return self.text(parts._replace(query="").geturl()) + (f"?{query}" if query else "")

    def _pair(self, pair: str) -> str:
        name, equals, value = pair.partition("=")
        masked = self.value(unquote_plus(name), unquote_plus(value))
        # Written anew only where something was masked, so that the rest stays as it was sent.
        return pair if masked == unquote_plus(value) else f"{name}{equals}{masked}"

    def _sensitive(self, value: str) -> str:
        scheme, blank, credential = value.rpartition(" ")
        token = self._book.find(credential)
        if token is not None:
            return f"{scheme}{blank}{token.label}" if " " not in scheme else token.label
        return f"{scheme} {MASK}" if scheme.casefold() in _SCHEMES else MASK
