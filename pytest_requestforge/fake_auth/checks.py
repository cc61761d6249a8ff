"""What an endpoint demands of a request, and what a request lacks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pytest_requestforge.fake_auth.incoming import FORM, Incoming
from pytest_requestforge.fake_auth.masking import is_sensitive
from pytest_requestforge.fake_auth.tokens import Issued, TokenBook

_REALM = 'realm="fake auth"'
_MISSING: Final = object()

# RFC 6749 section 5.2, RFC 8707 section 2; everything else of a grant's own is invalid_grant.
_ERRORS = {
    "client_id": "invalid_client",
    "client_secret": "invalid_client",
    "client_assertion": "invalid_client",
    "grant_type": "unsupported_grant_type",
    "scope": "invalid_scope",
    "resource": "invalid_target",
    "audience": "invalid_target",
}
_GRANT_FIELDS = frozenset({"username", "redirect_uri", "code_verifier", "device_code"})


@dataclass(frozen=True, slots=True)
class Carries:
    """A value that holds a live token of `step`.

    Attributes:
        step: name of the token endpoint.
        before: texts that may stand before it, such as "Bearer "; their case does not matter.
        after: the text behind it.
    """

    step: str
    before: tuple[str, ...] = ("",)
    after: str = ""

    def token_in(self, value: str) -> str | None:
        """The text in the place of the token; None: the value has another form."""
        for before in self.before:
            fits = value[: len(before)].casefold() == before.casefold()
            text = value[len(before) :].removesuffix(self.after)
            if fits and text and value == value[: len(before)] + text + self.after:
                return text
        return None

    def __str__(self) -> str:
        return " or ".join(f"{before}<{self.step}>{self.after}" for before in self.before)


@dataclass(frozen=True, slots=True)
class _Anything:
    """Stands for a value that must be there, whatever it is."""


ANYTHING: Final = _Anything()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request is refused.

    Attributes:
        status: of the answer.
        error: code of RFC 6749 section 5.2 or RFC 6750 section 3.1; "" where none is given.
        reason: for the journal, without secrets.
        said: for the client; it names no token.
        scope: that would have been enough, for the challenge.
    """

    status: int
    error: str
    reason: str
    said: str
    scope: str = ""

    @property
    def challenge(self) -> str | None:
        """The WWW-Authenticate of the answer (RFC 6750 section 3, RFC 6749 section 5.2)."""
        if self.error == "invalid_client":
            return f"Basic {_REALM}"
        if self.status != 401:  # noqa: PLR2004 - Unauthorized
            return None
        if not self.error:  # a request without credentials is told no error
            return f"Bearer {_REALM}"
        scope = f', scope="{self.scope}"' if self.scope else ""
        return f'Bearer {_REALM}, error="{self.error}", error_description="{self.said}"{scope}'


@dataclass(slots=True)
class Check:
    """Compares one request with what an endpoint demands.

    Attributes:
        problems: what is wrong with it, the most telling first.
        parents: the live tokens that it carries where they are demanded.
    """

    incoming: Incoming
    book: TokenBook
    now: datetime
    problems: list[Problem] = field(default_factory=list)
    parents: list[Issued] = field(default_factory=list)

    def headers(self, demanded: Mapping[str, object]) -> None:
        """Check each demanded header."""
        for name, expected in demanded.items():
            actual = self.incoming.header(name)
            if isinstance(expected, Carries):
                self._token(name, expected, actual)
            elif actual is None:
                self._header(name, "is missing")
            elif expected is not ANYTHING and actual != expected:
                self._header(name, "has another value than expected")

    def body(self, demanded: Mapping[str, object], media_types: tuple[str, ...]) -> None:
        """Check the type of the body, and each demanded field."""
        incoming = self.incoming
        in_query = incoming.method == "GET"
        if incoming.has_body and not in_query and incoming.media_type not in media_types:
            sent, expected = incoming.media_type or "none", " or ".join(media_types)
            self._refuse("invalid_request", f"content type is {sent}, expected {expected}")
        elif incoming.fields is None:
            self._refuse("invalid_request", "the body is not one readable JSON object")
        else:
            as_text = in_query or incoming.media_type == FORM
            for name, value in demanded.items():
                self._field((name,), value, incoming.fields.get(name, _MISSING), as_text=as_text)

    def use(self, token: Issued, scope: frozenset[str], is_meant: Callable[[str], bool]) -> None:
        """Check that a live token is for that audience and has that scope.

        Args:
            token: the token.
            scope: all of it must have been granted.
            is_meant: whether an audience is that of the endpoint.
        """
        if token.audience and not any(map(is_meant, token.audience)):
            names = " and ".join(token.audience)
            self._invalid_token(
                f"{token.label} is for the audience {names}", "the token is for another audience"
            )
        elif lacking := " ".join(sorted(scope - token.scope)):
            reason, said = f"{token.label} lacks the scope {lacking}", "the token lacks scope"
            needed = " ".join(sorted(scope))
            self.problems.append(Problem(401, "insufficient_scope", reason, said, needed))

    def _field(
        self, path: tuple[str, ...], expected: object, actual: object, *, as_text: bool
    ) -> None:
        """Check a field and what is in it; a form has texts alone, and nothing for None."""
        if as_text and isinstance(expected, list | tuple) and isinstance(actual, str):
            actual = [actual]
        if isinstance(expected, Mapping) and isinstance(actual, Mapping):
            for name, inner in expected.items():
                self._field((*path, name), inner, actual.get(name, _MISSING), as_text=as_text)
        elif (
            isinstance(expected, list | tuple)
            and isinstance(actual, list)
            and len(expected) == len(actual)
        ):
            for index, (inner, item) in enumerate(zip(expected, actual, strict=True)):
                self._field((*path, str(index)), inner, item, as_text=as_text)
        elif isinstance(expected, Carries):
            self._token(
                f"field {'.'.join(path)}", expected, None if actual is _MISSING else str(actual)
            )
        elif not _fits(expected, actual, as_text=as_text):
            self._wrong_field(path, missing=actual is _MISSING)

    def _token(self, place: str, expected: Carries, actual: str | None) -> None:
        if actual is None:
            self._refuse("", f"{place} is missing", status=401)
            return
        text = expected.token_in(actual)
        token = None if text is None else self.book.find(text)
        if text is None:
            self._refuse("", f"{place} is not {expected}", said=f"{place} is malformed", status=401)
        elif token is None:
            self._invalid_token(f"{place} carries an unknown token", "the token is unknown")
        elif token.step != expected.step:
            reason = f"{place} carries {token.label}, expected a token of {expected.step}"
            self._invalid_token(reason, "the token is of another kind")
        elif refusal := token.refusal(self.now):
            self._invalid_token(refusal, "the token is expired or revoked")
        else:
            self.parents.append(token)

    def _invalid_token(self, reason: str, said: str) -> None:
        self._refuse("invalid_token", reason, said=said, status=401)

    def _header(self, name: str, what: str) -> None:
        if is_sensitive(name):
            self._refuse("invalid_client", f"{name} {what}", status=401)
        else:
            self._refuse("invalid_request", f"{name} {what}")

    def _wrong_field(self, path: tuple[str, ...], *, missing: bool) -> None:
        name = next((part for part in reversed(path) if not part.isdecimal()), path[0])
        error = _ERRORS.get(name)
        if error is None:
            error = "invalid_grant" if _is_of_grant(name) else "invalid_request"
        if missing and name not in {"client_secret", "client_assertion"}:
            error = "invalid_request"
        what = "is missing" if missing else "has another value than expected"
        status = 401 if error == "invalid_client" else 400
        self._refuse(error, f"field {'.'.join(path)} {what}", status=status)

    def _refuse(self, error: str, reason: str, *, said: str = "", status: int = 400) -> None:
        self.problems.append(Problem(status, error, reason, said or reason))


def _fits(expected: object, actual: object, *, as_text: bool) -> bool:
    if expected is ANYTHING:
        return actual is not _MISSING
    if as_text and expected in (None, []):
        return True
    if as_text:
        return actual == str(expected)
    return actual == expected


def _is_of_grant(name: str) -> bool:
    return name in _GRANT_FIELDS or is_sensitive(name)
