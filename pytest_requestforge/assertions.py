"""The assertions as functions and as methods of a FakeAuth, and counts that explain themselves."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit

from pytest_requestforge._evidence import START, Evidence, Mark, Request
from pytest_requestforge._report import Column, failure, times
from pytest_requestforge._texts import text_of
from pytest_requestforge._timeline import timeline
from pytest_requestforge._witness import NONE, Pipeline, Witness, fetch_failure

__all__ = [
    "Assertions",
    "FetchCounts",
    "assert_cache_hits",
    "assert_cache_misses",
    "assert_cascade",
    "assert_expires_in",
    "assert_fetch_counts",
    "assert_fetch_order",
    "assert_header_sent",
    "assert_no_fetches",
    "assert_no_secrets",
    "assert_single_flight",
    "expect_fetches",
]

_REFUSED = (401, 403)


def assert_fetch_counts(
    witness: Witness, counts: Mapping[str, int] = NONE, /, *, info: str | None = None, **exact: int
) -> None:
    """Each named step was fetched so many times: `assert_fetch_counts(auth, app_token=1)`.

    Raises:
        AssertionError: a count differs.
        TypeError: no step is named.
    """
    __tracebackhide__ = True
    witness.assert_fetch_counts(counts, info=info, **exact)


def assert_no_fetches(witness: Witness, *, info: str | None = None) -> None:
    """No token was fetched.

    Raises:
        AssertionError: one was.
    """
    __tracebackhide__ = True
    witness.assert_no_fetches(info=info)


def assert_fetch_order(witness: Witness, *steps: str, info: str | None = None) -> None:
    """The fetches of these steps came in this order, and there were no more of them.

    Raises:
        AssertionError: there were others, or another order.
        TypeError: no step is named.
    """
    __tracebackhide__ = True
    witness.assert_fetch_order(*steps, info=info)


def assert_cache_hits(
    witness: Witness, counts: Mapping[str, int] = NONE, /, *, info: str | None = None, **exact: int
) -> None:
    """Each named step was served from the cache so many times.

    Raises:
        AssertionError: a count differs.
        TypeError: no step is named.
    """
    __tracebackhide__ = True
    witness.assert_cache_hits(counts, info=info, **exact)


def assert_cache_misses(
    witness: Witness, counts: Mapping[str, int] = NONE, /, *, info: str | None = None, **exact: int
) -> None:
    """The cache had nothing usable for each named step so many times.

    Raises:
        AssertionError: a count differs.
        TypeError: no step is named.
    """
    __tracebackhide__ = True
    witness.assert_cache_misses(counts, info=info, **exact)


def assert_cascade(
    witness: Witness,
    pipeline: Pipeline,
    step: str,
    *,
    clears: Collection[str] = (),
    keeps: Collection[str] = (),
    info: str | None = None,
) -> None:
    """Invalidating the step clears it and `clears`, and keeps `keeps`.

    Executes the pipeline, so that every step is cached, invalidates the step, and executes again:
    what was cleared must then be fetched, what was kept must not.

    Raises:
        AssertionError: a token was kept that should have been cleared, or the reverse.
        ValueError: the pipeline has no such step, or one is named both ways.
    """
    __tracebackhide__ = True
    witness.assert_cascade(pipeline, step, clears=clears, keeps=keeps, info=info)


def assert_single_flight(witness: Witness, *, info: str | None = None) -> None:
    """No token was fetched while the one before could still be used.

    A fetch is right if it was the first, or if the token before it was at its end, was invalidated
    or refused, or a new one was asked for by `force_refresh`.

    Raises:
        AssertionError: a fetch was needless, as in a stampede.
    """
    __tracebackhide__ = True
    witness.assert_single_flight(info=info)


def assert_expires_in(
    witness: Witness, step: str, seconds: float | timedelta, *, info: str | None = None
) -> None:
    """The use of the step's token ends in so many seconds, give or take half a second.

    Raises:
        AssertionError: it ends at another time or never, or the step has no token.
    """
    __tracebackhide__ = True
    witness.assert_expires_in(step, seconds, info=info)


def assert_header_sent(
    auth: "Assertions", step: str, name: str, value: str, *, info: str | None = None
) -> None:
    """A request to the step's endpoint had this header, with a value or the label of its token.

    Raises:
        AssertionError: none had.
    """
    __tracebackhide__ = True
    auth.assert_header_sent(step, name, value, info=info)


def assert_no_secrets(auth: "Assertions", *texts: object, info: str | None = None) -> None:
    """None of the texts shows a secret that the server has issued, expects or has accepted.

    Raises:
        AssertionError: one does.
        TypeError: there is no text.
    """
    __tracebackhide__ = True
    auth.assert_no_secrets(*texts, info=info)


def expect_fetches(
    witness: Witness, counts: Mapping[str, int] = NONE, /, *, info: str | None = None, **exact: int
) -> AbstractContextManager[None]:
    """Within the block each named step is fetched so many times; without a name: none is.

    Blocks nest, and each counts only what happens within it.

    Raises:
        AssertionError: a count differs; when the block ends.
    """
    return witness.expect_fetches(counts, info=info, **exact)


class JournalEntry(Protocol):
    """What is read of one request in a journal."""

    @property
    def step(self) -> str | None: ...
    @property
    def kind(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def thread(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def issued(self) -> str | None: ...
    @property
    def expires_at(self) -> datetime | None: ...
    @property
    def sent(self) -> Sequence[str]: ...
    @property
    def fault(self) -> str | None: ...
    @property
    def body(self) -> Mapping[str, object]: ...


class Journal(Protocol):
    """The requests in the order of their arrival."""

    def __iter__(self) -> Iterator[JournalEntry]: ...
    def __len__(self) -> int: ...


class FetchCounts(dict[str, int]):
    """How often each step was fetched; pytest shows a timeline where a comparison with it fails."""

    def __init__(self, counts: Mapping[str, int], witness: Witness) -> None:
        super().__init__(counts)
        self._witness = witness

    def explain(self, expected: Mapping[str, int]) -> list[str]:
        """Lines that tell how the counts differ from the expected ones, and what happened."""
        exact = {**dict.fromkeys(self, 0), **expected}
        idle = [step for step, count in expected.items() if count == 0 and step not in self]
        if not idle:
            return fetch_failure(self._witness.evidence(), exact).splitlines()
        left_out = (
            f"fetch_counts leaves out steps without a request, so do not name "
            f"{', '.join(idle)} here; assert_fetch_counts({idle[0]}=0) may"
        )
        return fetch_failure(self._witness.evidence(), exact, info=left_out).splitlines()


class Assertions(Witness):
    """The assertions of a FakeAuth.

    Its journal decides on fetches, whoever sent them; its recorder, which must know the journal,
    decides on cache hits and misses.
    """

    journal: Journal
    recorder: Witness
    seed: int
    transport: str

    @property
    @abstractmethod
    def base_url(self) -> str:
        """Start of the URLs that the timeline shows without it."""

    @abstractmethod
    def header_values(self, number: int, name: str) -> Sequence[str]:
        """What a request had in a header: as it was, and masked."""

    @abstractmethod
    def masked_header(self, name: str, value: str) -> str:
        """The value of a header with its secrets masked."""

    @abstractmethod
    def secrets_in(self, text: str) -> Mapping[str, str]:
        """By what a secret is, the part of the text that shows it, masked."""

    @property
    def fetch_counts(self) -> FetchCounts:
        """How many requests reached each token endpoint, whatever the answer; none: left out."""
        return FetchCounts(self.evidence().fetched, self)

    def assert_header_sent(
        self, step: str, name: str, value: str, *, info: str | None = None
    ) -> None:
        """A request to the step's endpoint had this header.

        Args:
            step: whose endpoint; for a resource "METHOD /path".
            name: of the header, in any case.
            value: what it held; a token may stand as its label: "Bearer app_token#1".
            info: the caller's own text.

        Raises:
            AssertionError: no request had it with this value.
        """
        __tracebackhide__ = True
        asked = [number for number, entry in enumerate(self.journal, 1) if entry.step == step]
        sent = [values for number in asked if (values := self.header_values(number, name))]
        if not any(value in values for values in sent):
            if not asked:
                found = "no request came"
            elif not sent:
                found = f"{times(len(asked), 'request', 'requests')} came without it"
            else:
                found = f"it held {', '.join(dict.fromkeys(values[-1] for values in sent))}"
            evidence = self.evidence()
            labels = {request.issued for request in evidence.history}
            is_label = value.rpartition(" ")[2] in labels
            shown = value if is_label else self.masked_header(name, value)
            headline = (
                f"header {name} was not sent to {step} as expected: {found}, expected {shown}"
            )
            columns = [Column("fetched", evidence.fetched), Column("cache hits", evidence.hits)]
            raise AssertionError(failure(headline, evidence, columns, info=info))

    def assert_no_secrets(self, *texts: object, info: str | None = None) -> None:
        """None of the texts shows a secret that the server has issued, expects or has accepted.

        Secrets are tokens, and the values of headers and fields whose names say so, such as
        `client_secret`. Those shorter than six characters are not looked for.

        Args:
            texts: each as its `str`; of an exception those that caused it as well.
            info: the caller's own text.

        Raises:
            AssertionError: one does; the failure says which secret, and shows the place without it.
            TypeError: there is no text.
        """
        __tracebackhide__ = True
        if not texts:
            raise TypeError("Give at least one text; an assertion without one could never fail.")
        found = [
            (f"text {number}", label, place)
            for number, text in enumerate(texts, 1)
            for label, place in self.secrets_in(text_of(text)).items()
        ]
        if found:
            names = ", ".join(dict.fromkeys(label for _, label, _ in found))
            lines = [f"secrets show up: {names}", *([] if info is None else [f"  {info}"])]
            lines.extend(f"  {where}: {place}" for where, _, place in found)
            raise AssertionError("\n".join([*lines, *timeline(self.evidence())]))

    def moment(self) -> Mark:
        """Now, for `evidence`."""
        return replace(self.recorder.moment(), requests=len(self.journal))

    def evidence(self, since: Mark = START) -> Evidence:
        """What was seen since that moment."""
        told = self.recorder.evidence(since)
        history = [
            _request(number, entry, self.base_url) for number, entry in enumerate(self.journal, 1)
        ]
        return replace(
            told,
            history=history,
            since=since.requests,
            fetched=Counter(each.step for each in history[since.requests :] if each.step),
            told=told.fetched,
            ends="expires",
            footer=f"seed {self.seed}, transport {self.transport}",
        )


def _request(number: int, entry: JournalEntry, base_url: str) -> Request:
    base = urlsplit(base_url)
    return Request(
        number=number,
        step=entry.step if entry.kind == "token" else None,
        at=entry.at,
        call=f"{entry.method} {entry.url.removeprefix(f'{base.scheme}://{base.netloc}')}",
        # A request that still waits for its answer has no status.
        answer=f"{entry.status} {entry.reason}" if entry.status else entry.reason,
        thread=entry.thread,
        issued=entry.issued,
        ends_at=entry.expires_at,
        sent=entry.sent,
        asked=f"{entry.url} {entry.body}",
        refused=entry.sent if entry.status in _REFUSED else (),
        is_faulty=entry.fault is not None,
    )
