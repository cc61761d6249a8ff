"""Tokens renewed ahead of time: when one is stale, and its fetch in a thread of its own."""

import logging
import math
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from random import random

from requestforge._execution.failures import asked_wait
from requestforge._execution.flight import Failed, Flight
from requestforge._execution.pauses import Window, window
from requestforge._execution.plan import Plan
from requestforge._execution.records import Record
from requestforge._execution.run import Run
from requestforge._execution.steps import Step
from requestforge.exceptions import AuthenticationException
from requestforge.instrumentation import real_monotonic, wall
from requestforge.tokens import TokenData, monotonic_end, wall_end

_log = logging.getLogger("requestforge")

_MOST_OF_A_LIFE = 0.75
"""What part of a token's life `refresh_ahead` is cut to: a new token must not be stale at once."""

_SPREAD = 0.1
"""Processes begin earlier by up to that part of `refresh_ahead`, each at a time of its own."""

_SALT = random()  # noqa: S311 - spreads processes, no secret


def look_ahead(plan: Plan, served: Mapping[str, TokenData]) -> list[Window]:
    """Have those of the tokens renewed that are stale; the times after which to look again."""
    if plan.refresh_ahead is None:
        return []
    looks, stale = [], []
    renewals = plan.cache.home.renewals
    for name, token in served.items():
        step = plan.by_name[name]
        look = fresh_until(token, plan.refresh_ahead)
        if not look.holds:
            pause = renewals.pause(step.entry.tag, token.generation)
            if pause is None:
                stale.append((step, token))
                continue
            look = pause
        looks.append(look)
    if stale:
        _begin(plan, stale)
        pauses = [renewals.pause(step.entry.tag, token.generation) for step, token in stale]
        looks += [pause or window(0.0) for pause in pauses]
    return looks


def fresh_until(token: TokenData, refresh_ahead: timedelta) -> Window:
    """The time in which the token is not to be renewed yet; without end if it has no end."""
    end, (last, source) = wall_end(token), monotonic_end(token)
    life = math.inf
    if token.issued_at is not None:
        with suppress(ValueError, OverflowError, OSError):  # the first and last day of datetime
            life = max(0.0, end - token.issued_at.timestamp())
    # The same at every look of this process, and another one in others.
    spread = hash((_SALT, os.getpid(), token.generation)) % 1000 / 1000
    lead = min(refresh_ahead.total_seconds(), life * _MOST_OF_A_LIFE) * (1 + spread * _SPREAD)
    return Window(end - lead, last - lead, source)


class Renewal(Run):
    """Fetches one step while its old token is served; it waits for nobody, and takes nothing away.

    Args:
        plan: the pipeline's.
        step: the step.
        token: its token that is to be replaced; if there is another one, there is nothing to do.
    """

    def __init__(self, plan: Plan, step: Step, token: TokenData) -> None:
        super().__init__(plan, stale={step.name: token.generation or ""})
        self._goal = step

    def renew(self) -> TokenData | None:
        """The new token; None if there was nothing to renew any more.

        Raises:
            GivenUp: somebody else is at it, in this process or another.
            AuthenticationException: a step failed; `service_name` names it.
        """
        self._walk()
        return self._tokens.get(self._goal.name)

    def _needed(self) -> tuple[Step, ...]:
        record = self._view[self._goal.name]
        # One that is gone meanwhile is fetched by whoever needs it.
        if record.usable is None or self._acceptable(self._goal.name, record) is not None:
            return ()
        needed = super()._needed()
        return needed[: needed.index(self._goal) + 1]

    def _resolve(self, step: Step) -> TokenData:
        try:
            flight, outcome = self._take_part(step, real_monotonic())
        except TimeoutError:
            raise GivenUp from None
        if outcome is None:  # a newer refresh token came in place of one that was refused
            raise GivenUp
        return self._settle(step, outcome, flight)

    def _board(self, step: Step, own: Flight) -> Flight:
        flight = super()._board(step, own)
        if flight is not own:
            raise GivenUp
        return flight

    def _answer(self, step: Step, record: Record) -> Failed | None:
        if super()._answer(step, record) is not None:
            raise GivenUp
        return None

    def _serve(self, step: Step, token: TokenData) -> None:
        self.served[step.name] = token  # to no caller, so that there is nothing to tell

    def _miss(self, step: Step, record: Record, *, forced: bool) -> None:
        if record.usable is None:
            super()._miss(step, record, forced=forced)

    def _discard(self, step: Step, record: Record) -> bool:  # noqa: ARG002 - as there
        return False

    def _failed(self, step: Step, error: Exception, record: Record, *, was_cut: bool) -> Failed:
        failed = super()._failed(step, error, record, was_cut=was_cut)
        # Who waits for this flight, because its token has died, may do more for a new one.
        return replace(failed, own=failed.own or failed.start_over)

    def _give_up(self, suspects: Sequence[Step]) -> None:
        # An invalidation would take the old token away, too. These are replaced first instead.
        refused = {each.name: self.served[each.name].generation or "" for each in suspects}
        self._stale = {**self._stale, **refused}


class GivenUp(Exception):
    """The renewal is left to others, or to a later try."""


def _begin(plan: Plan, stale: Sequence[tuple[Step, TokenData]]) -> None:
    """Renew the tokens that nobody renews yet, one after the other, in a new thread."""
    claimed: list[tuple[Step, TokenData]] = []
    thread = threading.Thread(
        target=_renew_each, args=(plan, claimed), name="requestforge-renewal", daemon=True
    )
    renewals = plan.cache.home.renewals
    claimed += [
        (step, token)
        for step, token in stale
        if renewals.claim(step.entry.tag, token.generation, thread)
    ]
    if not claimed:
        return
    try:
        thread.start()
    except RuntimeError as error:  # there are too many, or the interpreter is about to end
        for step, token in claimed:
            _put_off(plan, step, token, error)


def _renew_each(plan: Plan, claimed: Sequence[tuple[Step, TokenData]]) -> None:
    try:
        # What an observer raises that is no Exception comes through, and has nowhere to go.
        with suppress(BaseException):
            for step, token in claimed:
                _renew(plan, step, token)
    finally:
        plan.cache.home.renewals.leave(threading.current_thread())


def _renew(plan: Plan, step: Step, token: TokenData) -> None:
    try:
        new = Renewal(plan, step, token).renew()
    except GivenUp:
        return
    except BaseException as error:  # noqa: BLE001 - it would end in the hook for lost exceptions
        if not isinstance(error, AuthenticationException):
            _log.error("The renewal of step %r ended with %s.", step.name, type(error).__name__)
        _put_off(plan, step, token, error)
        return
    _note_success(plan, step, token, new)


def _note_success(plan: Plan, step: Step, old: TokenData, new: TokenData | None) -> None:
    renewals, key = plan.cache.home.renewals, step.entry.tag
    left = math.inf if new is None else wall_end(new) - wall()
    if left <= 0:  # of no use to anyone: the old token is still there
        renewals.fail(key, old.generation, None)
    elif new is None or _tells_its_age(plan, old, new):
        renewals.end(key, None)
    else:
        renewals.end(key, left / 2)


def _tells_its_age(plan: Plan, old: TokenData, new: TokenData) -> bool:
    """Whether the new token is not stale at once, here or where the storage keeps less of it."""
    ahead = plan.refresh_ahead or timedelta(0)
    return old.issued_at is not None and fresh_until(new, ahead).holds


def _put_off(plan: Plan, step: Step, token: TokenData, error: BaseException) -> None:
    plan.cache.home.renewals.fail(step.entry.tag, token.generation, asked_wait(error))
    plan.reports.refresh_failed(getattr(error, "service_name", None) or step.name, error)
