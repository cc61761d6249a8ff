"""Refresh tokens that a step was given: which one of their successors is to be redeemed next."""

from collections import OrderedDict

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
