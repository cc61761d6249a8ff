"""The hooks that watch the fake auth servers of each test, and judge what they saw."""

import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_requestforge._running import running, watching

if TYPE_CHECKING:
    from pytest_requestforge._roles import Server
    from pytest_requestforge.recorder import Recorder

__all__ = [
    "PLANNED",
    "RECORDERS",
    "Watched",
    "add_section",
    "clear_finding",
    "is_finding",
    "mark_finding",
    "watched_in",
]


PLANNED = pytest.StashKey[tuple[str, str]]()
"""Of an item: step and kind of the fault that strikes its first request for the step."""

RECORDERS = pytest.StashKey[list["Recorder"]]()
"""Of an item: the recorders that it was given."""

_WATCHED = pytest.StashKey[list["Watched"]]()
_FOUND = pytest.StashKey[None]()
_FINDING = "requestforge_finding"


class Watched:
    """A fake auth server that runs during the test.

    Attributes:
        auth: the server.
        began: how long its journal was when the test, or the server, began.
        mark: the same moment, for its evidence.
        unused: what was said of unused faults, if anything.
    """

    def __init__(self, auth: "Server") -> None:
        self.auth = auth
        self.mark = auth.moment()
        self.began = self.mark.requests
        self.unused = ""
        self._judged = self.began

    def is_of_test(self) -> bool:
        """Whether the test has to do with it."""
        return self.began == 0 or len(self.auth.journal) > self.began

    def judge(self, item: pytest.Item) -> str:
        """What fails the test, of what has come up since it was judged last; "" without any."""
        since, self._judged = self._judged, len(self.auth.journal)
        unused = "" if self.auth.on_unused_fault == "ignore" else self.auth.explain_unused_faults()
        self.unused = unused or self.unused
        self.auth.drop_unused_faults()
        if unused and self.auth.on_unused_fault == "warn":
            item.warn(pytest.PytestWarning(unused))
        found = [
            self.auth.explain_unmatched(since) if self.auth.strict else "",
            unused if self.auth.on_unused_fault == "error" else "",
        ]
        return "\n".join(filter(None, found))


def watched_in(item: pytest.Item) -> list[Watched]:
    """The servers that the test has to do with, so far."""
    return [each for each in item.config.stash.get(_WATCHED, []) if each.is_of_test()]


def add_section(report: pytest.TestReport, title: str, text: str) -> None:
    """Add a section to the report, unless its failure tells that already."""
    told = report.longreprtext
    if not all(line in told for line in text.splitlines()):
        report.sections.append((title, text))


def mark_finding(report: pytest.TestReport) -> None:
    """Note that it failed by what the toolkit found, and by nothing else."""
    setattr(report, _FINDING, True)  # which travels with it from a process of xdist


def is_finding(report: pytest.TestReport | pytest.CollectReport) -> bool:
    """Whether that was noted."""
    return getattr(report, _FINDING, False)


def clear_finding(report: pytest.TestReport) -> None:
    """Note that another report tells what was found."""
    setattr(report, _FINDING, False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Watch every fake auth server that runs during the test, whoever has started it."""
    watched = item.config.stash.setdefault(_WATCHED, [])
    before = [each.auth for each in watched]
    watched.clear()
    planned = item.stash.get(PLANNED, None)

    def watch(auth: "Server") -> None:
        watched.append(Watched(auth))
        auth.plan_fault(planned)

    for auth in before:
        watch(auth)
    with watching(watch):
        result = yield
    runs = running()
    watched[:] = [each for each in watched if each.auth in runs]
    for each in watched:
        each.auth.plan_fault(None)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Judge the requests of a setup that fails, which no call will follow."""
    try:
        return (yield)
    except BaseException:
        _judge(item)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that passed but left an unmatched request or an unused fault."""
    with _findings_failing(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Report those of a teardown, which comes after the result of the test, as one more failure."""
    with _findings_failing(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the timeline to a failure that does not tell it yet, and the unmatched requests."""
    report = yield
    if report.failed:
        if _FOUND in item.stash:
            del item.stash[_FOUND]
            mark_finding(report)
        watched = watched_in(item)
        for each in watched:
            unmatched = each.auth.explain_unmatched(each.began)
            add_section(report, "requestforge unmatched requests", unmatched)
            add_section(report, "requestforge unused faults", each.unused)
            add_section(report, "requestforge timeline", each.auth.timeline())
        for recorder in [] if watched else item.stash.get(RECORDERS, []):
            add_section(report, "requestforge timeline", recorder.timeline())
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(
    report: pytest.TestReport | pytest.CollectReport,
) -> tuple[str, str, str] | None:
    """Have a finding of the teardown counted as a failure: no fixture is broken."""
    return ("failed", "F", "FAILED") if is_finding(report) else None


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Explain why fetch counts are not the expected ones."""
    assertions = sys.modules.get("pytest_requestforge.assertions")
    if assertions is None or op != "==":
        return None
    counts, expected = (left, right) if isinstance(left, assertions.FetchCounts) else (right, left)
    if not isinstance(counts, assertions.FetchCounts) or not isinstance(expected, Mapping):
        return None
    return [f"{left} == {right}", *counts.explain(expected)]


def _judge(item: pytest.Item) -> str:
    said = (each.judge(item) for each in item.config.stash.get(_WATCHED, []))
    return "\n".join(filter(None, said))


@contextmanager
def _findings_failing(item: pytest.Item) -> Iterator[None]:
    """Let what the servers find fail the block, unless it fails by itself."""
    try:
        yield
    except BaseException:
        _judge(item)
        raise
    said = _judge(item)
    if said:
        item.stash[_FOUND] = None
        pytest.fail(said, pytrace=False)
