"""The secrets that a FakeAuth has issued, expects or has accepted, and where they show up."""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote_plus

from pytest_requestforge.fake_auth.incoming import Incoming
from pytest_requestforge.fake_auth.masking import Mask, is_sensitive
from pytest_requestforge.fake_auth.tokens import TokenBook

_SHORTEST = 6
_AROUND = 40


class Leaks:
    """Finds secrets in texts.

    Those shorter than six characters are left out: any text may hold them by chance.

    Args:
        book: the tokens that were issued.
        mask: the secrets that are expected.
    """

    def __init__(self, book: TokenBook, mask: Mask) -> None:
        self._book = book
        self._mask = mask
        self._accepted: dict[str, str] = {}

    def accept(self, incoming: Incoming, endpoint: str) -> None:
        """Remember the secrets of a request that was accepted at the endpoint of that name."""
        client = (incoming.fields or {}).get("client_id")
        owner = f"client {client}" if client else endpoint
        for name, value in incoming.headers.items():
            if is_sensitive(name):
                self._accept_header(name, value, owner)
        for name, text in _secrets(incoming.fields):
            self._accept(text, f"{name} of {owner}")

    def in_text(self, text: str) -> dict[str, str]:
        """By what a secret is, as `app_token#1`, the part of the text that shows it, masked."""
        found = {token.text: token.label for token in self._book.within(text)}
        for secret, label in {**self._mask.secrets, **self._accepted}.items():
            found |= {form: label for form in _forms(secret) if form in text}
        shown = text
        for form in sorted(found, key=len, reverse=True):
            shown = shown.replace(form, f"[{found[form]}]")
        return {label: _around(shown, f"[{label}]") for label in found.values()}

    def _accept_header(self, name: str, value: str, owner: str) -> None:
        scheme, _, credential = value.rpartition(" ")
        self._accept(credential, f"{name} of {owner}")
        if scheme.casefold() == "basic":
            user, _, password = _plain(credential).partition(":")
            self._accept(unquote_plus(password), f"password of client {unquote_plus(user)}")

    def _accept(self, text: str, label: str) -> None:
        if len(text) >= _SHORTEST and self._book.find(text) is None:
            self._accepted.setdefault(text, label)


def _secrets(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Name and text of each secret in the fields of a body, at any depth."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secrets(inner, str(key))
    elif isinstance(value, list):
        for item in value:
            yield from _secrets(item, name)
    elif isinstance(value, str) and is_sensitive(name):
        yield name, value


def _plain(credential: str) -> str:
    try:
        return base64.b64decode(credential).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _forms(secret: str) -> set[str]:
    """How a text may write the secret: as it is, in a URL, in JSON, in a literal of Python."""
    plain = {secret, quote(secret, safe=""), quote_plus(secret)}
    return plain | {json.dumps(secret)[1:-1], repr(secret)[1:-1]}


def _around(text: str, part: str) -> str:
    begin = text.index(part)
    start, end = max(0, begin - _AROUND), begin + len(part) + _AROUND
    cut = " ".join(text[start:end].split())
    return f"{'...' if start else ''}{cut}{'...' if end < len(text) else ''}"
