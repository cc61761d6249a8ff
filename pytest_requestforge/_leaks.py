"""`--rf-leaks`: a test fails in which a secret of a fake auth server shows up."""

import logging
from collections.abc import Generator, Iterator

import pytest

from pytest_requestforge._outcomes import mark_finding, watched_in
from pytest_requestforge._roles import Server
from pytest_requestforge._texts import text_of

__all__ = ["LeakCheck"]

_RECORDS = pytest.StashKey[list[tuple[str, str]]]()
_TOLD = pytest.StashKey[set[str]]()
_USUAL = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})
_CAPTURED = "Captured std"


class LeakCheck:
    """The hooks that collect what people might read, and look for secrets in it."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Keep every log record of the test."""
        records = item.stash[_RECORDS] = []
        item.stash[_TOLD] = set()
        handler = _Keeping(records)
        root = logging.getLogger()
        root.addHandler(handler)
        try:
            return (yield)
        finally:
            root.removeHandler(handler)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fail a test that passed and leaks; of another one say so in a section."""
        report = yield
        if call.when == "setup" and report.passed:
            return report
        texts = list(_texts(item, report, call))
        told = item.stash[_TOLD]
        lines = [
            f"  {label} in {where}: {place}"
            for each in watched_in(item)
            for where, text in [*texts, *_failures(each.auth)]
            for label, place in each.auth.secrets_in(text).items()
        ]
        new = [line for line in dict.fromkeys(lines) if line not in told]
        told.update(new)
        if new:
            said = "\n".join(["secrets of a fake auth server show up:", *new])
            if report.passed:
                report.outcome = "failed"
                report.longrepr = said
                mark_finding(report)
            else:
                report.sections.append(("requestforge leaks", said))
        return report


class _Keeping(logging.Handler):
    """Keeps where each record would be read, and its text."""

    def __init__(self, records: list[tuple[str, str]]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, as it reads now."""
        try:
            text = _text_of_record(record)
        except Exception:  # noqa: BLE001 - whatever the arguments of the record raise
            self.handleError(record)
        else:
            self._records.append((f"the log of {record.name}", text))


def _texts(
    item: pytest.Item, report: pytest.TestReport, call: pytest.CallInfo[None]
) -> Iterator[tuple[str, str]]:
    """What people might read, each with where they would."""
    yield from item.stash[_RECORDS]
    for title, content in report.sections:
        if title.startswith(_CAPTURED):
            yield f"the {title.lower()}", content
    if call.excinfo is not None:
        error = call.excinfo.value
        yield f"the text of {type(error).__name__}", text_of(error)


def _text_of_record(record: logging.LogRecord) -> str:
    """Message, error and extra fields of a record."""
    extra = [str(value) for name, value in vars(record).items() if name not in _USUAL]
    error = record.exc_info[1] if record.exc_info else None
    return "\n".join([record.getMessage(), *extra, "" if error is None else text_of(error)])


def _failures(auth: Server) -> Iterator[tuple[str, str]]:
    """What the library said of steps that failed, whether or not the test raised it."""
    for text in auth.failures():
        yield "an event of the library", text
