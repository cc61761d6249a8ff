"""How a test with a fake auth server runs: what its teardown finds is its own failure."""

import sys

import pytest
from _pytest.runner import call_and_report

from pytest_requestforge._outcomes import PLANNED, clear_finding, is_finding, mark_finding

__all__ = ["FAULTS", "VARIANTS", "Protocol"]

FAULTS = "rf_faults"
"""The marker of tests that are followed by variants."""

VARIANTS = pytest.StashKey[list[pytest.Item]]()
"""Of an item: the tests that follow it, and were not collected."""

_AUTH = "rf_fake_auth_factory"
_MODULE = "pytest_requestforge.fake_auth"
_RUNNERS = ("runner", "requestforge-protocol")
# Sections of a teardown whose titles say so are shown by pytest below the failure of its test.
_TEARDOWN = "teardown"


class Protocol:
    """The hook that runs a test and has it reported once, its teardown included.

    Tests without a fake auth server are left to pytest; so are those that another plugin runs, or
    that are watched at the terminal, unless `rf_faults` marks them.
    """

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> bool | None:
        """Run a test that may have findings, or whose successor is known once it was called."""
        if not _is_marked(item) and not (_may_find(item) and _is_ours(item.config)):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        try:
            _run(item, nextitem)
        finally:
            if isinstance(item, pytest.Function):
                # As pytest does, lest the values of fixtures live on until the session ends.
                vars(item).update(_request=False, funcargs=None)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True


def _run(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Set up, call and tear down; a test that passes is reported after its teardown."""
    log = item.ihook.pytest_runtest_logreport
    told = call_and_report(item, "setup")
    held = told.passed and not item.config.getoption("setuponly", default=False)
    if held:
        told = call_and_report(item, "call", log=False)
        held = told.passed
        if not held:
            log(report=told)
    variants = item.stash.get(VARIANTS, [])
    following = next(iter(variants), nextitem)
    ends = item.session.shouldfail or item.session.shouldstop
    try:
        teardown = call_and_report(
            item, "teardown", log=False, nextitem=None if ends else following
        )
        _settle(told, teardown)
    finally:
        if held:
            log(report=told)
    log(report=teardown)


def _settle(told: pytest.TestReport, teardown: pytest.TestReport) -> None:
    """Have what a teardown has found fail the test, once: no fixture is broken."""
    if not is_finding(teardown):
        return
    if told.passed:
        told.outcome, told.longrepr = "failed", teardown.longrepr
        told.sections = [each for each in teardown.sections if _TEARDOWN not in each[0]]
        mark_finding(told)
    else:
        teardown.sections.append(
            (f"requestforge findings of the {_TEARDOWN}", teardown.longreprtext)
        )
    teardown.outcome, teardown.longrepr = "passed", None
    clear_finding(teardown)


def _is_marked(item: pytest.Item) -> bool:
    return PLANNED not in item.stash and item.get_closest_marker(FAULTS) is not None


def _may_find(item: pytest.Item) -> bool:
    return _MODULE in sys.modules or _AUTH in getattr(item, "fixturenames", ())


def _is_ours(config: pytest.Config) -> bool:
    """Whether nobody else runs tests, or looks at each phase of them while they run."""
    if config.getoption("usepdb", default=False) or config.getoption("setupshow", default=False):
        return False
    others = config.hook.pytest_runtest_protocol.get_hookimpls()
    return all(each.wrapper or each.hookwrapper or each.plugin_name in _RUNNERS for each in others)
