"""An answer of the fake auth server."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_requestforge.fake_auth.delivery import Delivery
from pytest_requestforge.fake_auth.incoming import JSON
from pytest_requestforge.fake_auth.tokens import Issued

NO_STATUS = 0
"""The status of an answer that never arrives."""

_STATUSES = range(200, 600)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; `content` is JSON, or the bytes of another media type.

    Attributes:
        delivery: how it travels; None: at once and whole.
        fault: the kind of fault that made it.
    """

    status: int
    content: object
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    issued: Issued | None = None
    media_type: str = JSON
    delivery: Delivery | None = None
    fault: str | None = None

    def body(self) -> bytes:
        """The bytes of the content."""
        if isinstance(self.content, bytes):
            return self.content
        return json.dumps(self.content).encode()


def final_status(who: str, status: object, among: range = _STATUSES) -> int:
    """The status that something of that name answers with, if it is one of these.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(status, int) or status not in among:
        raise ValueError(
            f"{who} answers with a status from {among[0]} to {among[-1]}, not {status!r}."
        )
    return int(status)
