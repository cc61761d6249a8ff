"""Refresh tokens that a step was given: which one of their successors is to be redeemed next."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from requestforge._fork import renew_after_fork

_MOST_KEPT = 1024
"""Refresh tokens that are remembered, where a step acts for many tenants."""


class Spending:
    """What this process knows of the refresh tokens that a step was given.

    A server that rotates them takes each once. What it gave instead lives in the storage; here it
    is remembered for a record that is invalidated, whose refresh token goes with it.
    """

    def __init__(self) -> None:
        # By the token that was given: the one to redeem next, or None once that was refused.
        self._next: OrderedDict[str, str | None] = OrderedDict()
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Leave what is under way to the parent."""
        self._changed = threading.Condition()
        self._turns: dict[str, object] = {}

    @contextmanager
    def turn(self, given: str, seconds: float) -> Iterator[bool]:
        """A block in which no other thread redeems a successor of the token that was given.

        Invalidation ends no redemption that is under way, and what that brings is the next token to
        redeem: a second use of the one before would be taken for a theft.

        Args:
            given: to the step.
            seconds: how long to wait for another thread.

        Yields:
            Whether that thread has come to an end.
        """
        own = object()
        try:
            with self._changed:
                is_free = self._changed.wait_for(lambda: given not in self._turns, seconds)
                if is_free:
                    self._turns[given] = own
            yield is_free
        finally:
            with self._changed:
                if self._turns.get(given) is own:
                    del self._turns[given]
                    self._changed.notify_all()

    def next_of(self, given: str) -> str | None:
        """The token to redeem, in the place of one that the step was given; None: there is none."""
        return self._next.get(given, given)

    def replace(self, given: str, successor: str) -> None:
        """Note what a server has given for the one that was redeemed last."""
        self._note(given, successor)

    def refuse(self, given: str, refused: str) -> None:
        """Note that a server takes that token no more."""
        if self.next_of(given) == refused:
            self._note(given, None)

    def _note(self, given: str, token: str | None) -> None:
        self._next[given] = token
        if len(self._next) > _MOST_KEPT:
            self._next.popitem(last=False)
