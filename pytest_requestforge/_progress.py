"""How many tests there are, of which pytest shows what share has run."""

import pytest

__all__ = ["Progress", "expect_more"]

_MORE = "requestforge_more"


class Progress:
    """Counts the tests that come up while others run, also those of the processes of xdist.

    Args:
        session: in which progress is shown.
    """

    def __init__(self, session: pytest.Session) -> None:
        self._session = session

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count those that follow a test."""
        self._session.testscollected += getattr(report, _MORE, 0)


def expect_more(report: pytest.TestReport, number: int) -> None:
    """Note that so many tests follow the one of the report, and were not collected."""
    setattr(report, _MORE, number)  # which travels with it from a process of xdist
