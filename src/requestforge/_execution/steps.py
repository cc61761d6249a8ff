"""A step as its pipeline uses it, whatever object the user gave for it."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from requestforge._execution.graph import check_graph
from requestforge._execution.keys import EPOCH_SUFFIX, Entry
from requestforge.interfaces import TokenFetcherInterface
from requestforge.tokens import TokenData

_log = logging.getLogger("requestforge")


class Step:
    """One step: the user's object, its name, its dependencies, and its place in the storage.

    The object needs `name` and `fetch`. The members of 1.0.0's interface are used where they are
    there, later ones only on a TokenFetcherInterface.
    """

    __slots__ = ("depends_on", "entry", "name", "needed_values", "source", "values")

    def __init__(self, source: Any, prefix: str) -> None:  # noqa: ANN401 - duck-typed
        """Read and check what does not change between fetches.

        Raises:
            TypeError: no `name` or `fetch`, or a `ttl` that is no timedelta.
            ValueError: an empty name, a negative `ttl`, or `depends_on` given as one string.
        """
        if not (hasattr(source, "name") and callable(getattr(source, "fetch", None))):
            msg = f"A step needs a name and a fetch method; {type(source).__name__} lacks one."
            raise TypeError(msg)
        self.source = source
        self.name: str = source.name
        if not isinstance(self.name, str):
            msg = f"The name of a step must be a string, not {type(self.name).__name__}."
            raise TypeError(msg)
        if not self.name:
            msg = f"A step of type {type(source).__name__} has an empty name; give it one."
            raise ValueError(msg)
        if self.name.endswith(EPOCH_SUFFIX):
            msg = f"Step {self.name!r}: the ending {EPOCH_SUFFIX!r} is that of epochs in a storage."
            raise ValueError(msg)
        depends_on = getattr(source, "depends_on", None)
        if isinstance(depends_on, str):
            msg = (
                f"depends_on of step {self.name!r} is the string {depends_on!r}; "
                f"write a list of names: [{depends_on!r}]."
            )
            raise ValueError(msg)  # noqa: TRY004 - fixed as ValueError
        self.depends_on: tuple[str, ...] = tuple(depends_on or ())
        self.entry = Entry.of(prefix, self.name)
        # Names of the values of a tenant that a fetch needs, and the values if it is for one.
        is_own = isinstance(source, TokenFetcherInterface)
        self.needed_values = frozenset(source._value_names if is_own else ())  # noqa: SLF001
        self.values: Mapping[str, str] | None = None
        self.ttl  # noqa: B018 - checks it

    def for_tenant(self, entry: Entry, values: Mapping[str, str]) -> "Step":
        """The same step in another place, fetched with those values."""
        step = object.__new__(Step)
        step.source, step.name, step.depends_on = self.source, self.name, self.depends_on
        step.needed_values, step.entry, step.values = self.needed_values, entry, values
        return step

    @property
    def ttl(self) -> timedelta | None:
        """The step's ttl as it is now."""
        ttl = getattr(self.source, "ttl", None)
        if ttl is not None and not isinstance(ttl, timedelta):
            msg = f"ttl of step {self.name!r} must be a timedelta, not {type(ttl).__name__}."
            raise TypeError(msg)
        if ttl is not None and ttl < timedelta(0):
            msg = f"ttl of step {self.name!r} must not be negative, but is {ttl}."
            raise ValueError(msg)
        return ttl

    @property
    def fetch_timeout(self) -> timedelta:
        """The longest that its fetch takes."""
        if isinstance(self.source, TokenFetcherInterface):
            return self.source.fetch_timeout
        return timedelta(seconds=30)

    @property
    def redeems(self) -> bool:
        """Whether it knows what to do with a refresh token."""
        source = self.source
        if not isinstance(source, TokenFetcherInterface):
            return False
        return getattr(source.refresh, "__func__", None) is not TokenFetcherInterface.refresh

    @property
    def fetch_redeems(self) -> bool:
        """Whether its `fetch`, too, redeems a refresh token, which may have successors by now."""
        return isinstance(self.source, TokenFetcherInterface) and self.source._fetch_redeems  # noqa: SLF001 - the one reader

    @property
    def refresh_is_final(self) -> bool:
        """Whether its `refresh` has tried all that there is before it fails."""
        return isinstance(self.source, TokenFetcherInterface) and self.source._refresh_is_final  # noqa: SLF001 - the one reader

    def fetch(
        self, context: dict[str, TokenData] | None, old: TokenData | None = None
    ) -> TokenData:
        """A new token, by the refresh token of the old one if there is one.

        An answer without a refresh token leaves the old one in force (RFC 6749 section 6).

        Raises:
            TypeError: the step gave something else.
        """
        source = self.source
        token: object = source.fetch(context) if old is None else source.refresh(old, context)
        if not isinstance(token, TokenData):
            msg = f"fetch gave {type(token).__name__}, not TokenData."
            raise TypeError(msg)
        if old is None or token.refresh_token or self.refresh_is_final:
            return token
        return replace(token, refresh_token=old.refresh_token)

    def on_fetch_error(self, error: Exception, context: dict[str, TokenData] | None) -> None:
        """Tell the step of its failure; what it raises is logged."""
        listener = getattr(self.source, "on_fetch_error", None)
        if listener is None:
            _log.error("Step %r failed: %s.", self.name, type(error).__name__)
            return
        try:
            listener(error, context)
        except Exception as fault:  # noqa: BLE001 - user code; it must not hide the fetch's error
            _log.error("on_fetch_error of step %r failed: %s.", self.name, type(fault).__name__)

    def close(self) -> None:
        """Close the user's object, if it can be closed."""
        close = getattr(self.source, "close", None)
        if callable(close):
            close()


def make_steps(sources: Iterable[object], prefix: str, *, strict: bool) -> tuple[Step, ...]:
    """The steps of a pipeline, checked against each other.

    Raises:
        TypeError: one is no step.
        ValueError: there are none, or their names or dependencies cannot be served.
    """
    steps = tuple(Step(source, prefix) for source in sources)
    if not steps:
        msg = "A pipeline needs at least one step."
        raise ValueError(msg)
    depends_on: dict[str, tuple[str, ...]] = {}
    for step in steps:
        if step.name in depends_on:
            msg = f"Two steps are named {step.name!r}; each step needs a name of its own."
            raise ValueError(msg)
        depends_on[step.name] = step.depends_on
    check_graph(depends_on, strict=strict)
    return steps
