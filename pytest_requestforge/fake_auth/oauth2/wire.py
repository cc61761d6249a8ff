"""The parameters of a request to the provider, and how it is refused."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlencode, urlsplit

from pytest_requestforge.fake_auth.answers import Answer
from pytest_requestforge.fake_auth.checks import Check, Problem
from pytest_requestforge.fake_auth.endpoints import Endpoint, refusal

NO_STORE: Mapping[str, str] = {"Cache-Control": "no-store", "Pragma": "no-cache"}

# RFC 6749 section 3.3.
_SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")


class Refused(Exception):
    """A request that gets an error instead of what it asks for.

    Attributes:
        problem: what is wrong with it.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


def refuse(error: str, reason: str, *, said: str = "", status: int = 400) -> NoReturn:
    """Refuse the request under way.

    Args:
        error: code of the answer.
        reason: for the journal.
        said: for the client; "": the reason.
        status: of the answer.

    Raises:
        Refused: always.
    """
    raise Refused(Problem(status, error, reason, said or reason))


@dataclass(eq=False, repr=False)
class Part(Endpoint):
    """One of the endpoints of a provider.

    Attributes:
        serve: gives the answer, or raises `Refused`.
    """

    serve: Callable[[Check], Answer]

    def answer(self, check: Check) -> Answer:
        """What the provider says."""
        return served(self.serve, check)


def served(serve: Callable[[Check], Answer], check: Check) -> Answer:
    """The answer, or the refusal that came instead."""
    try:
        return serve(check)
    except Refused as error:
        return refusal(error.problem)


class Params:
    """The parameters of one request.

    Those without a value count as left out, and none may be repeated (RFC 6749 sections 3.1, 3.2),
    but for the few that `all` reads.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in fields.items():
            values = value if isinstance(value, list) else [value]
            kept = [str(each) for each in values if each != ""]
            if kept:
                self._values[name] = kept

    @classmethod
    def of_url(cls, url: str) -> "Params":
        """Those in the query of the URL."""
        return cls(parse_qs(urlsplit(url).query))

    def get(self, name: str) -> str | None:
        """The value; None: there is none.

        Raises:
            Refused: there are several.
        """
        values = self._values.get(name, [])
        if len(values) > 1:
            refuse("invalid_request", f"field {name} is there {len(values)} times")
        return values[0] if values else None

    def need(self, name: str) -> str:
        """The value.

        Raises:
            Refused: there is none, or several.
        """
        value = self.get(name)
        if value is None:
            refuse("invalid_request", f"field {name} is missing")
        return value

    def all(self, name: str) -> tuple[str, ...]:
        """All values, each once."""
        return tuple(dict.fromkeys(self._values.get(name, [])))

    def or_else(self, name: str, value: object) -> "Params":
        """The same with that value where there is none; None changes nothing."""
        given = {} if value is None else {name: value}
        return Params({**given, **self._values})

    def query(self) -> str:
        """All of them as the query of a URL."""
        return urlencode(self._values, doseq=True)

    def scope(self) -> tuple[str, ...]:
        """The scope that is asked for, each part once (RFC 6749 section 3.3).

        Raises:
            Refused: it is malformed.
        """
        parts = tuple(dict.fromkeys((self.get("scope") or "").split(" ")))
        scope = tuple(part for part in parts if part)
        if not all(map(_SCOPE.fullmatch, scope)):
            refuse("invalid_scope", "field scope has characters that no scope has")
        return scope

    def audience(self) -> tuple[str, ...]:
        """Whom the token shall be for (RFC 8707 section 2, RFC 8693 section 2.1); may be empty.

        Raises:
            Refused: a resource is no absolute URI, or has a fragment.
        """
        resources = self.all("resource")
        for resource in resources:
            if not urlsplit(resource).scheme or "#" in resource:
                refuse("invalid_target", "field resource is no absolute URI without fragment")
        return tuple(dict.fromkeys((*resources, *self.all("audience"))))
