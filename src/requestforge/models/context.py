"""What goes along with a request, or with the steps of a token's making."""

import os
from dataclasses import dataclass, field
from typing import Any

from requestforge._portable import describe
from requestforge._redaction import NO_NAMES, mask_json, mask_object
from requestforge.models.request import HttpRequest
from requestforge.tokens import TokenData

__all__ = ["FetchContext", "RequestContext"]


@dataclass(slots=True, repr=False)
class RequestContext:
    """One request on its way, as hooks and strategies see it.

    Args:
        request: what is sent.
        attempt: number of this attempt, from 0.
        max_retries: how many retries there may be.
        metadata: notes of hooks and of the client.
        id: the same for all attempts.
        deadline: monotonic seconds at which the request has to be answered; None: no such end.
        history: the failures of the attempts so far.
        origin: scheme, host and port that the attempt under way goes to; empty outside a client.
    """

    request: HttpRequest
    attempt: int = 0
    max_retries: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: os.urandom(8).hex())
    deadline: float | None = None
    history: list[BaseException] = field(default_factory=list)
    origin: str = ""

    def increment_attempt(self) -> None:
        """Count one attempt."""
        self.attempt += 1

    @property
    def is_retry(self) -> bool:
        """Whether an attempt was made before this one."""
        return self.attempt > 0

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(request={self.request!r}, attempt={self.attempt!r}, "
            f"max_retries={self.max_retries!r}, metadata={mask_json(self.metadata)!r}, "
            f"id={self.id!r}, deadline={self.deadline!r}, "
            f"history={[describe(error) for error in self.history]!r}, origin={self.origin!r})"
        )


@dataclass(slots=True, repr=False)
class FetchContext:
    """The tokens of earlier steps by name, and notes.

    Args:
        tokens: token by step.
        metadata: notes.
    """

    tokens: dict[str, TokenData] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def get_token(self, name: str) -> TokenData | None:
        """The token of a step, or None."""
        return self.tokens.get(name)

    def get_token_value(self, name: str) -> str | None:
        """The access token of a step, or None."""
        token = self.tokens.get(name)
        return None if token is None else token.access_token

    def add_token(self, name: str, token: TokenData) -> None:
        """Keep the token of a step."""
        self.tokens[name] = token

    def has_token(self, name: str) -> bool:
        """Whether the step has a token."""
        return name in self.tokens

    def has_valid_token(self, name: str) -> bool:
        """Whether the step has a token that is not expired."""
        token = self.tokens.get(name)
        return token is not None and not token.is_expired

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(tokens={self.tokens!r}, metadata={mask_json(self.metadata)!r})"
        )


@mask_object.register
def _mask_token(token: TokenData, _extra: frozenset[str] = NO_NAMES) -> str:
    return repr(token)
