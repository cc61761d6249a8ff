"""The tokens that a FakeAuth has issued, and what became of each."""

import random
import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

_PREFIX = "rft"
_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 32
# No character that a URL, a form or JSON writes otherwise, so that a token is found in any of them.
# The other form is that of a JWT (RFC 7519 section 3), whose header begins with `{"`.
_SHAPE = re.compile(rf"{_PREFIX}[{_ALPHABET}]{{{_LENGTH}}}|eyJ[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)


@dataclass(slots=True, eq=False, repr=False)
class Issued:
    """One token: its text, and its state on the server.

    Attributes:
        text: what the client presents.
        step: name of the endpoint that issued it.
        number: how many tokens of that name had been issued with it, from 1.
        expires_at: end of life by the server's clock; None: lives until revoked.
        parents: the tokens that bought it.
        revoked: whether the server has withdrawn it.
        scope: what it was granted.
        audience: whom it is for; empty: for anybody.
        flaw: why else it is refused, in words that follow its label; "": it has none.
    """

    text: str
    step: str
    number: int
    expires_at: datetime | None
    parents: tuple["Issued", ...] = ()
    revoked: bool = False
    scope: frozenset[str] = frozenset()
    audience: tuple[str, ...] = ()
    flaw: str = ""

    @property
    def label(self) -> str:
        """What stands for the token wherever people read, such as `app_token#1`."""
        return f"{self.step}#{self.number}"

    def refusal(self, now: datetime) -> str | None:
        """Why the token is not accepted at that instant; None: it is."""
        if self.revoked or self.flaw:
            return f"{self.label} {self.flaw or 'revoked'}"
        if self.expires_at is not None and now >= self.expires_at:
            return f"{self.label} expired at {self.expires_at:%Y-%m-%d %H:%M:%S}"
        dead = self._revoked_ancestor()
        if dead is not None:
            return f"{self.label} was bought with {dead.label}, which is {dead.flaw or 'revoked'}"
        return None

    def _revoked_ancestor(self) -> "Issued | None":
        waiting = list(self.parents)
        for parent in waiting:  # grows while it is walked
            if parent.revoked:
                return parent
            waiting.extend(parent.parents)
        return None


class TokenBook:
    """Every token of one FakeAuth; who issues holds the lock of the app."""

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311 - tokens of tests, to be had again by their seed
        self._seed = ""
        self._by_text: dict[str, Issued] = {}
        self._numbers: Counter[str] = Counter()

    def seed(self, seed: str) -> None:
        """Let the texts of all tokens follow from `seed`; the same one again changes nothing."""
        if seed != self._seed:
            self._seed = seed
            self._random.seed(seed)

    def issue(
        self, step: str, expires_at: datetime | None = None, parents: Sequence[Issued] = ()
    ) -> Issued:
        """A new token, unlike all others."""
        token = Issued(self.text(), step, self.number(step), expires_at, tuple(parents))
        self.record(token)
        return token

    def text(self) -> str:
        """A text that no token has yet."""
        text = self._text()
        while text in self._by_text:  # it has had this seed before
            text = self._text()
        return text

    def number(self, step: str) -> int:
        """The number of the next token of that step."""
        self._numbers[step] += 1
        return self._numbers[step]

    def record(self, token: Issued) -> None:
        """Know the token from now on."""
        self._by_text[token.text] = token

    def find(self, text: str) -> Issued | None:
        """The token of that text."""
        return self._by_text.get(text)

    def within(self, text: str) -> list[Issued]:
        """The tokens that occur in a text, each once, in their order in it."""
        found = (self._by_text.get(match) for match in _SHAPE.findall(text))
        return list(dict.fromkeys(token for token in found if token is not None))

    def labelled(self, text: str) -> str:
        """The text with every token in it replaced by its label."""
        return _SHAPE.sub(self._label, text)

    def _text(self) -> str:
        return _PREFIX + "".join(self._random.choices(_ALPHABET, k=_LENGTH))

    def _label(self, match: re.Match[str]) -> str:
        token = self._by_text.get(match[0])
        return match[0] if token is None else token.label
