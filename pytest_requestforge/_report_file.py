"""`--rf-report`: one page with what happened to the tokens of each test."""

from collections.abc import Generator
from pathlib import Path

import pytest

from pytest_requestforge._outcomes import RECORDERS, is_finding, watched_in
from pytest_requestforge._page import Told, page
from pytest_requestforge._story import Story, story_of

__all__ = ["ReportFile"]

_ATTRIBUTE = "requestforge_stories"


class ReportFile:
    """Has the stories travel with the reports, and writes the page when all tests have run.

    Args:
        path: of the page.
        is_worker: whether another process writes it.
    """

    def __init__(self, path: Path, *, is_worker: bool) -> None:
        self._path = path
        self._is_worker = is_worker
        self._tests: dict[str, Told] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Tell the stories in the last report of a test."""
        report = yield
        if report.when == "teardown":
            setattr(report, _ATTRIBUTE, _stories(item))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what has become of a test."""
        told = self._tests.setdefault(
            report.nodeid, Told(test=report.nodeid, outcome="passed", stories=[])
        )
        if report.failed or report.skipped:
            is_error = report.failed and report.when != "call" and not is_finding(report)
            told["outcome"] = "error" if is_error else report.outcome
        told["stories"] = getattr(report, _ATTRIBUTE, [])

    def pytest_sessionfinish(self) -> None:
        """Write the page."""
        if not self._is_worker:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            content = page([told for told in self._tests.values() if told["stories"]])
            self._path.write_text(content, encoding="utf-8")

    # In quotes, since older releases of pytest do not have the name.
    def pytest_terminal_summary(self, terminalreporter: "pytest.TerminalReporter") -> None:
        """Say where it is."""
        terminalreporter.write_line(f"requestforge report: {self._path}")


def _stories(item: pytest.Item) -> list[Story]:
    """What each server has seen of the test, or else each recorder."""
    seen = [each.auth.evidence(each.mark) for each in watched_in(item)]
    recorders = [] if seen else item.stash.get(RECORDERS, [])
    found = map(story_of, [*seen, *(recorder.evidence() for recorder in recorders)])
    return [story for story in found if story is not None]
