"""The assertions, as methods of whoever saw what happened to the tokens."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from pytest_requestforge._evidence import START, Evidence, Mark, Request
from pytest_requestforge._report import Column, failure, times
from pytest_requestforge._timeline import timeline

__all__ = ["NONE", "Pipeline", "Witness", "fetch_failure"]

NONE: Mapping[str, int] = {}
"""No counts."""


class Pipeline(Protocol):
    """What `assert_cascade` asks of a pipeline, or of a tenant's view of one."""

    @property
    def step_names(self) -> Sequence[str]:
        """The names of its steps."""
        ...

    def execute(self) -> object:
        """Fetch whatever the cache does not have."""
        ...

    def invalidate_step(self, step_name: str) -> object:
        """Give up the step's token, and those of its dependents."""
        ...


class Witness(ABC):
    """Saw what happened to the tokens, and can be asked about it.

    The names of steps are keywords. Assertions on counts also take a mapping first, for names that
    are no identifiers: `assert_fetch_counts({"app-token": 1})`. Steps that are not named are
    shown, not judged. Each assertion takes `info=`, a text for its failure.
    """

    @abstractmethod
    def moment(self) -> Mark:
        """Now, for `evidence`."""

    @abstractmethod
    def evidence(self, since: Mark = START) -> Evidence:
        """What was seen since that moment."""

    def timeline(self) -> str:
        """What happened so far: a line for each request and invalidation, in virtual time."""
        return "\n".join(line[2:] for line in timeline(self.evidence()))

    def assert_fetch_counts(
        self, counts: Mapping[str, int] = NONE, /, *, info: str | None = None, **exact: int
    ) -> None:
        """Each named step was fetched so many times: `assert_fetch_counts(app_token=1)`.

        Raises:
            AssertionError: a count differs.
            TypeError: no step is named.
        """
        __tracebackhide__ = True
        _judge_fetches(self.evidence(), _named(counts, exact), info)

    def assert_no_fetches(self, *, info: str | None = None) -> None:
        """No token was fetched.

        Raises:
            AssertionError: one was.
        """
        __tracebackhide__ = True
        _judge_silence(self.evidence(), info)

    def assert_fetch_order(self, *steps: str, info: str | None = None) -> None:
        """The fetches of these steps came in this order, and there were no more of them.

        Raises:
            AssertionError: there were others, or another order.
            TypeError: no step is named.
        """
        __tracebackhide__ = True
        if not steps:
            raise TypeError(_NOTHING_NAMED)
        evidence = self.evidence()
        fetched = [request.step for request in evidence.requests if request.step in steps]
        if fetched != list(steps):
            headline = (
                f"token fetch order differs: fetched {', '.join(map(str, fetched)) or 'nothing'}, "
                f"expected {', '.join(steps)}"
            )
            columns = [_fetched(evidence), _hits(evidence)]
            raise AssertionError(failure(headline, evidence, columns, info=info))

    def assert_cache_hits(
        self, counts: Mapping[str, int] = NONE, /, *, info: str | None = None, **exact: int
    ) -> None:
        """Each named step was served from the cache so many times.

        Raises:
            AssertionError: a count differs.
            TypeError: no step is named.
        """
        __tracebackhide__ = True
        expected, evidence = _named(counts, exact), self.evidence()
        wrong = _differences(expected, evidence.hits, "hit")
        if wrong:
            columns = [_expected(expected), _hits(evidence), _fetched(evidence)]
            headline = f"token cache hits differ: {wrong}"
            raise AssertionError(failure(headline, evidence, columns, info=info))

    def assert_cache_misses(
        self, counts: Mapping[str, int] = NONE, /, *, info: str | None = None, **exact: int
    ) -> None:
        """The cache had nothing usable for each named step so many times.

        Raises:
            AssertionError: a count differs.
            TypeError: no step is named.
        """
        __tracebackhide__ = True
        expected, evidence = _named(counts, exact), self.evidence()
        wrong = _differences(expected, evidence.missed, "missed")
        if wrong:
            missed = Column("cache misses", evidence.missed)
            columns = [_expected(expected), missed, _fetched(evidence), _hits(evidence)]
            headline = f"token cache misses differ: {wrong}"
            raise AssertionError(failure(headline, evidence, columns, info=info))

    def assert_cascade(
        self,
        pipeline: Pipeline,
        step: str,
        *,
        clears: Collection[str] = (),
        keeps: Collection[str] = (),
        info: str | None = None,
    ) -> None:
        """Invalidating the step clears it and `clears`, and keeps `keeps`.

        Executes the pipeline, so that every step is cached, invalidates the step, and executes
        again: what was cleared must then be fetched, what was kept must not.

        Raises:
            AssertionError: a token was kept that should have been cleared, or the reverse.
            ValueError: the pipeline has no such step, or one is named both ways.
        """
        __tracebackhide__ = True
        expected = _cascade(pipeline, step, clears, keeps)
        pipeline.execute()
        before = self.moment()
        pipeline.invalidate_step(step)
        pipeline.execute()
        _judge_cascade(self.evidence(before), step, expected, info)

    def assert_single_flight(self, *, info: str | None = None) -> None:
        """No token was fetched while the one before could still be used.

        A fetch is right if it was the first, or if the token before it was at its end, was
        invalidated or refused, or a new one was asked for by `force_refresh`. Requests that differ
        in their fields, as those of several tenants do, are judged apart.

        Raises:
            AssertionError: a fetch was needless, as in a stampede.
        """
        __tracebackhide__ = True
        evidence = self.evidence()
        needless = _needless(evidence)
        if needless:
            counts = Counter(request.step for request in needless if request.step)
            wrong = "; ".join(
                f"{step} fetched {times(evidence.fetched.get(step, 0))}, {count} of them needless"
                for step, count in counts.items()
            )
            columns = [Column("needless", counts), _fetched(evidence), _hits(evidence)]
            numbers = [request.number for request in needless]
            headline = f"tokens were not fetched in single flight: {wrong}"
            raise AssertionError(failure(headline, evidence, columns, surplus=numbers, info=info))

    def assert_expires_in(
        self, step: str, seconds: float | timedelta, *, info: str | None = None
    ) -> None:
        """The use of the step's token ends in so many seconds, give or take half a second.

        The end of use is that of the library: the step's `ttl`, or the server's expiry less the
        margin of `TokenData`.

        Raises:
            AssertionError: it ends at another time or never, or the step has no token.
        """
        __tracebackhide__ = True
        given = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        evidence = self.evidence()
        left = {
            name: None if end is None else (end - evidence.now).total_seconds()
            for name, end in evidence.uses.items()
        }
        ends = left.get(step)
        if ends is None or abs(ends - given) > _TOLERANCE:
            if step not in left:
                found = "the library has no token of it"
            else:
                found = (
                    "its use has no end" if ends is None else f"its use ends in {_number(ends)} s"
                )
            cells = {name: "-" if end is None else _number(end) for name, end in left.items()}
            columns = [
                _expected({step: _number(given)}),
                Column("use ends in", cells, "-"),
                _fetched(evidence),
                _hits(evidence),
            ]
            headline = f"{step} should be used for {_number(given)} s more, but {found}"
            raise AssertionError(failure(headline, evidence, columns, info=info))

    @contextmanager
    def expect_fetches(
        self, counts: Mapping[str, int] = NONE, /, *, info: str | None = None, **exact: int
    ) -> Iterator[None]:
        """Within the block each named step is fetched so many times; without a name: none is.

        Blocks nest, and each counts only what happens within it.

        Raises:
            AssertionError: a count differs.
        """
        __tracebackhide__ = True
        before = self.moment()
        yield
        if counts or exact:
            _judge_fetches(self.evidence(before), {**counts, **exact}, info)
        else:
            _judge_silence(self.evidence(before), info)


_NOTHING_NAMED = "Name at least one step; an assertion without one could never fail."


_TOLERANCE = 0.5
_LONGEST_MARGIN = 30.0
_EXCUSES = ("expired", "invalidated", "forced", "unreadable")


def fetch_failure(
    evidence: Evidence, expected: Mapping[str, int], *, info: str | None = None
) -> str:
    """The text for fetch counts that are not the expected ones."""
    headline = f"token fetch counts differ: {_differences(expected, evidence.fetched, 'fetched')}"
    columns = [_expected(expected), _fetched(evidence), _hits(evidence)]
    return failure(headline, evidence, columns, limits=expected, info=info)


def _named(counts: Mapping[str, int], exact: Mapping[str, int]) -> Mapping[str, int]:
    if not counts and not exact:
        raise TypeError(_NOTHING_NAMED)
    return {**counts, **exact}


def _judge_fetches(evidence: Evidence, expected: Mapping[str, int], info: str | None) -> None:
    __tracebackhide__ = True
    if _differences(expected, evidence.fetched, "fetched"):
        raise AssertionError(fetch_failure(evidence, expected, info=info))


def _judge_silence(evidence: Evidence, info: str | None) -> None:
    __tracebackhide__ = True
    if evidence.fetched:
        none = dict.fromkeys(evidence.fetched, 0)
        wrong = _differences(none, evidence.fetched, "fetched")
        columns = [_expected(none), _fetched(evidence), _hits(evidence)]
        headline = f"tokens were fetched: {wrong}"
        raise AssertionError(failure(headline, evidence, columns, limits=none, info=info))


def _cascade(
    pipeline: Pipeline, step: str, clears: Collection[str], keeps: Collection[str]
) -> dict[str, str]:
    """What is expected of each step: "cleared" or "kept"."""
    expected = dict.fromkeys((step, *clears), "cleared")
    both = [name for name in keeps if name in expected]
    if both:
        raise ValueError(f"A step is either cleared or kept, not both: {', '.join(both)}.")
    expected |= dict.fromkeys(keeps, "kept")
    known = list(pipeline.step_names)
    unknown = [name for name in expected if name not in known]
    if unknown:
        raise ValueError(
            f"The pipeline has no step {', '.join(map(repr, unknown))}; it has {', '.join(known)}."
        )
    return expected


def _judge_cascade(
    evidence: Evidence, step: str, expected: Mapping[str, str], info: str | None
) -> None:
    __tracebackhide__ = True
    found = {name: _fate(evidence, name) for name in expected}
    wrong = [f"{name} was {found[name]}" for name in expected if found[name] != expected[name]]
    if wrong:
        said = dict.fromkeys(evidence.invalidated, "yes")
        columns = [
            _expected(expected),
            Column("invalidated", said, "no"),
            _fetched(evidence),
            _hits(evidence),
        ]
        keeps = {name: 0 for name, fate in expected.items() if fate == "kept"}
        headline = f'invalidate_step("{step}") did not cascade as expected: {", ".join(wrong)}'
        raise AssertionError(failure(headline, evidence, columns, limits=keeps, info=info))


def _fate(evidence: Evidence, step: str) -> str:
    """What became of the step's token: "cleared", "kept", or what is neither."""
    fetched = step in evidence.fetched or step in (evidence.told or ())
    invalidated = step in evidence.invalidated
    # A pipeline of the user's own may tell of no invalidation at all.
    if fetched and evidence.invalidated and not invalidated:
        return "fetched without being invalidated"
    if invalidated and not fetched and step in evidence.hits:
        return "invalidated, and yet served from the cache"
    return "cleared" if fetched or invalidated else "kept"


def _differences(expected: Mapping[str, int], counts: Mapping[str, int], verb: str) -> str:
    """Each count that is not the expected one; empty if there is none."""
    return "; ".join(
        f"{step} {verb} {times(counts.get(step, 0))}, expected {count}"
        for step, count in expected.items()
        if counts.get(step, 0) != count
    )


def _expected(expected: Mapping[str, object]) -> Column:
    return Column("expected", expected, "-")


def _fetched(evidence: Evidence) -> Column:
    return Column("fetched", evidence.fetched)


def _hits(evidence: Evidence) -> Column:
    return Column("cache hits", evidence.hits)


def _number(seconds: float) -> str:
    return f"{round(seconds, 1):.10g}"


def _needless(evidence: Evidence) -> list[Request]:
    """The fetches that came while the token before could still be used."""
    last: dict[tuple[str, str], Request] = {}
    found = []
    for request in evidence.requests:
        if request.step is None or request.issued is None:
            continue
        before = last.pop((request.step, request.asked), None)
        if not request.is_faulty:
            last[request.step, request.asked] = request
        if before is None or not _is_usable(before, request):
            continue
        if not _excused(before, request, evidence):
            found.append(request)
    return found


def _is_usable(before: Request, request: Request) -> bool:
    """Whether a client could still use the token, so long before its end as is usual."""
    if before.ends_at is None:
        return True
    life = (before.ends_at - before.at).total_seconds()
    return (before.ends_at - request.at).total_seconds() > min(_LONGEST_MARGIN, life / 10)


def _excused(before: Request, request: Request, evidence: Evidence) -> bool:
    """Whether something between the two requests called for a new token."""
    step, between = request.step, range(before.number, request.number)
    invalidated = any(
        step in each.steps for each in evidence.invalidations if each.after in between
    )
    missed = any(
        each.step == step and each.reason in _EXCUSES
        for each in evidence.misses
        if each.after in between
    )
    refused = any(
        before.issued in each.refused for each in evidence.history[before.number : request.number]
    )
    return invalidated or missed or refused
