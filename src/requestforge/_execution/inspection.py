"""What a storage holds for each step, found without a change to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from requestforge._execution.plan import Plan
from requestforge._execution.records import Record
from requestforge._execution.renewal import fresh_until
from requestforge._looking import looking
from requestforge._portable import without_secrets
from requestforge.exceptions import TokenStorageException
from requestforge.tokens import TokenData, end_of_use

State = Literal["fresh", "stale", "dead", "missing", "invalidated", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepState:
    """What a storage holds for one step; no part of it is secret.

    Attributes:
        step: its name.
        state: `fresh` and `stale` tokens are served, a stale one is due for renewal
            (`refresh_ahead`); a `dead` one has ended; `missing`: there is none; `invalidated`:
            it was given up, and none has come in its place; `unreadable`: there is a record that
            no token can be read of.
        ends_at: when the use of the token ends or has ended (aware UTC); None: never, or there is
            no token.
        generation: id of the fetch that the token came from; None: there is no token.
        has_refresh_token: whether there is a refresh token with it; a token that was refused may
            leave it behind.
        epoch: id of the last invalidation; None: there was none in the last 30 days.
    """

    step: str
    state: State
    ends_at: datetime | None = None
    generation: str | None = None
    has_refresh_token: bool = False
    epoch: str | None = None

    @property
    def is_usable(self) -> bool:
        """Whether the token is served without a fetch."""
        return self.state in {"fresh", "stale"}


def step_states(plan: Plan) -> list[StepState]:
    """The states of the steps, in the order of execution, read at once.

    Raises:
        ImportError: the storage needs a library that is not installed.
        TokenStorageException: the storage could not be read.
    """
    with looking() as unreadable:
        records = _records(plan)
    return [
        _state(plan, entry.step, records[entry.step], readable=entry.key not in unreadable)
        for entry in plan.entries
    ]


def _records(plan: Plan) -> Mapping[str, Record]:
    try:
        return plan.cache.read(plan.entries)
    except (ImportError, TokenStorageException):
        raise
    except Exception as error:  # noqa: BLE001 - a storage may raise anything
        shown = without_secrets(error)
    # Outside of the handler: the context would hold the error as it was.
    msg = "The storage could not be read. Check it, and how it is reached."
    raise TokenStorageException(msg, shown) from shown


def _state(plan: Plan, step: str, record: Record, *, readable: bool) -> StepState:
    epoch = record.epoch or None
    if record.token is None:
        return StepState(step=step, state=_lack(record, readable=readable), epoch=epoch)
    # What is kept of a token that was given up, for its refresh token, has an end of no meaning.
    retired = record.usable is None and record.miss_reason == "invalidated"
    return StepState(
        step=step,
        state="invalidated" if retired else _age(plan, record, record.token),
        ends_at=None if retired else end_of_use(record.token),
        generation=record.token.generation,
        has_refresh_token=bool(record.token.refresh_token),
        epoch=epoch,
    )


def _lack(record: Record, *, readable: bool) -> State:
    if not readable:
        return "unreadable"
    # A record of another epoch was written by who did not know of the invalidation.
    if record.stored is not None or record.lacking == "invalidated":
        return "invalidated"
    return "missing"


def _age(plan: Plan, record: Record, token: TokenData) -> State:
    if record.usable is None:
        return "dead"
    ahead = plan.refresh_ahead
    return "fresh" if ahead is None or fresh_until(token, ahead).holds else "stale"
