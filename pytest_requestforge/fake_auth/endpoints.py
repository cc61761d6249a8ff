"""What a FakeAuth answers: token endpoints, and resources that need a token."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, Protocol

from pytest_requestforge.fake_auth.answers import Answer
from pytest_requestforge.fake_auth.checks import Check, Problem
from pytest_requestforge.fake_auth.faulty import Faulty
from pytest_requestforge.fake_auth.hold import Hold
from pytest_requestforge.fake_auth.incoming import FORM, JSON, Incoming
from pytest_requestforge.fake_auth.journal import Kind
from pytest_requestforge.fake_auth.tokens import Issued, TokenBook

HOLD_TIMEOUT = 5.0
"""Real seconds that a request is held at most, unless told otherwise."""


class Server(Protocol):
    """What an endpoint asks of the FakeAuth that it belongs to."""

    @property
    def book(self) -> TokenBook:
        """The tokens that were issued."""

    @property
    def lock(self) -> Lock:
        """Held while a request is judged; whoever else changes tokens takes it."""

    def now(self) -> datetime:
        """The clock of the server (aware UTC)."""

    def url_of(self, endpoint: "Endpoint") -> str:
        """Where a client finds the endpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What an endpoint wants to see in a request.

    Attributes:
        headers: by name: a text, `Carries` or `ANYTHING`.
        body: by name: a JSON value in which `Carries` and `ANYTHING` may stand.
        media_types: that a body may have.
    """

    headers: Mapping[str, object] = field(default_factory=dict)
    body: Mapping[str, object] = field(default_factory=dict)
    media_types: tuple[str, ...] = (FORM, JSON)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlace:
    """Where the answer of a token endpoint has the token, and what it says of it.

    Attributes:
        header: name of the response header that has it; None: it stands in the body.
        scheme: text before the token in that header.
        field: key, or path of keys joined by points, of the token in the body.
        token_type: what the answer calls it.
        type_field: key or path of the token type.
        expires_in_field: key or path of the lifetime.
    """

    header: str | None = None
    scheme: str = ""
    field: str = "access_token"
    token_type: str = "Bearer"
    type_field: str = "token_type"
    expires_in_field: str = "expires_in"


@dataclass(eq=False, repr=False)
class Endpoint(Faulty, ABC):
    """Something at a method and URL; made by the methods of a FakeAuth.

    Attributes:
        name: of the step, or "METHOD /path".
        method: in upper case.
        origin: scheme and host under which it was defined.
        path: decoded.
        demands: what a request must have.
    """

    name: str
    method: str
    origin: str
    path: str
    demands: Demands
    _: KW_ONLY
    server: Server
    kind: Kind = "resource"
    held: Hold | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """Where a client finds it, on the transport in use."""
        return self.server.url_of(self)

    @contextmanager
    def hold(self, n: int, *, timeout: float = HOLD_TIMEOUT) -> Iterator[Hold]:
        """Hold the requests that come here until `n` of them wait, or the block ends.

        A held request is in the journal from its arrival on. One that the timeout lets go is
        answered, and its reason in the journal tells of it.

        Example:
            >>> with app.hold(n=8) as held:
            ...     threads = [pool.submit(pipeline.execute) for _ in range(8)]
            ...     held.wait_for(1)

        Args:
            n: how many requests open the barrier.
            timeout: real seconds that a request waits at most.

        Raises:
            RuntimeError: its requests are held already.
            ValueError: `n` is less than 1.
        """
        if self.held is not None:
            raise RuntimeError(
                f"The requests of {self.name} are held already; end that hold first."
            )
        self.held = Hold(n, timeout)
        try:
            yield self.held
        finally:
            self.held.release()
            self.held = None

    def release(self) -> None:
        """Let go what a hold keeps."""
        if self.held is not None:
            self.held.release()

    def check(self, incoming: Incoming) -> Check:
        """The request, compared with what the endpoint demands."""
        check = Check(incoming, self.server.book, self.server.now())
        check.headers(self.demands.headers)
        check.body(self.demands.body, self.demands.media_types)
        return check

    @abstractmethod
    def answer(self, check: Check) -> Answer:
        """What a request without problems gets."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.method} {self.origin}{self.path}>"


@dataclass(eq=False, repr=False)
class Resource(Endpoint):
    """Something that is given to those who have the right token.

    Attributes:
        status: of the answer.
        json: its body.
        needs: whose token must be in `Authorization`.
        scope: that this token must have been granted.
        audience: that this token must be for; None: the server itself, or this resource.
    """

    _: KW_ONLY
    status: int = 200
    json: object = None
    needs: "TokenEndpoint | None" = None
    scope: frozenset[str] = frozenset()
    audience: str | None = None

    def check(self, incoming: Incoming) -> Check:
        """The request, compared with what the resource demands, and the token's use, too."""
        check = super().check(incoming)
        for token in list(check.parents):
            if self.needs is not None and token.step == self.needs.name:
                check.use(token, self.scope, self._is_meant)
        return check

    def answer(self, check: Check) -> Answer:
        """The resource itself."""
        labels = ", ".join(token.label for token in check.parents)
        return Answer(self.status, self.json, reason=f"accepted {labels}" if labels else "served")

    def _is_meant(self, audience: str) -> bool:
        if self.audience is not None:
            return audience == self.audience
        own = None if self.needs is None else self.needs.audience
        # A resource indicator is the URL of the resource, or one above it (RFC 8707 section 2).
        return audience == own or f"{self.url}/".startswith(f"{audience.rstrip('/')}/")


@dataclass(eq=False, repr=False)
class TokenEndpoint(Endpoint):
    """Issues the tokens of one step.

    Attributes:
        lifetime: of its tokens; None: they live until revoked.
        tells_lifetime: whether the answer has it.
        place: where the answer has the token.
        by_hand: whether `token` has defined it, and not `serve`.
    """

    _: KW_ONLY
    kind: Kind = "token"
    lifetime: timedelta | None = None
    tells_lifetime: bool = True
    place: TokenPlace = field(default_factory=TokenPlace)
    by_hand: bool = True
    _issued: list[Issued] = field(default_factory=list, init=False)

    @property
    def audience(self) -> str | None:
        """Whom its tokens are for unless their client asks for another one; None: for anybody."""
        return None

    def does_the_same_as(self, other: "TokenEndpoint") -> bool:
        """Whether nobody could tell the two from each other."""
        mine, its = (
            (
                each.name, each.method, each.origin, each.path, each.demands,
                each.place, each.lifetime, each.tells_lifetime,
            )
            for each in (self, other)
        )  # fmt: skip
        return mine == its

    def revoke(self) -> None:
        """Withdraw its last token, and with it those that it bought.

        Raises:
            LookupError: it has issued none yet.
        """
        if not self._issued:
            raise LookupError(
                f"{self.name} has issued no token yet, so there is none to revoke; "
                f"let a client fetch one first."
            )
        self._issued[-1].revoked = True

    def revoke_all(self) -> None:
        """Withdraw all its tokens, and with them those that they bought."""
        for token in self._issued:
            token.revoked = True

    def expire(self) -> None:
        """End the life of all its tokens now; tokens that they bought live on."""
        now = self.server.now()
        for token in self._issued:
            token.expires_at = now if token.expires_at is None else min(now, token.expires_at)

    def answer(self, check: Check) -> Answer:
        """A new token (RFC 6749 section 5.1)."""
        end = None if self.lifetime is None else check.now + self.lifetime
        token = self.server.book.issue(self.name, end, check.parents)
        self._issued.append(token)
        place = self.place
        content: dict[str, Any] = {}
        headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
        if place.header is None:
            _put(content, place.field, token.text)
        else:
            headers[place.header] = place.scheme + token.text
        _put(content, place.type_field, place.token_type)
        if self.lifetime is not None and self.tells_lifetime:
            _put(content, place.expires_in_field, _seconds(self.lifetime))
        return Answer(200, content, headers, f"issued {token.label}", token)


def refusal(problem: Problem) -> Answer:
    """The answer to a request with that problem (RFC 6749 section 5.2)."""
    content = {"error": problem.error or "unauthorized", "error_description": problem.said}
    headers = {"Cache-Control": "no-store"}
    if problem.challenge is not None:
        headers["WWW-Authenticate"] = problem.challenge
    return Answer(problem.status, content, headers, f"refused: {problem.reason}")


def _put(content: dict[str, Any], path: str, value: object) -> None:
    *keys, last = path.split(".")
    for key in keys:
        content = content.setdefault(key, {})
    content[last] = value


def _seconds(lifetime: timedelta) -> float:
    seconds = lifetime.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds
