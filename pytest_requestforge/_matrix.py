"""`rf_faults`: a test once without a fault, and once for each of its steps with each fault."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NoReturn

import pytest
from _pytest.unittest import TestCaseFunction

from pytest_requestforge._outcomes import PLANNED, add_section, watched_in
from pytest_requestforge._progress import expect_more
from pytest_requestforge._protocol import FAULTS, VARIANTS
from pytest_requestforge._roles import Server
from pytest_requestforge.fake_auth.faults import KINDS, make_fault

__all__ = ["FaultMatrix"]


class FaultMatrix:
    """The hooks that run the variants of a marked test."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Run the variants of a test after it."""
        result = yield
        variants = item.stash.get(VARIANTS, [])
        for variant, following in pairwise([*variants, nextitem]):
            if variant is None or item.session.shouldfail or item.session.shouldstop:
                break
            with _in_place_of(item, variant):
                item.ihook.pytest_runtest_protocol(item=variant, nextitem=following)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Learn the steps from a run without a fault; fail a run that has not met its own."""
        result = yield
        planned = item.stash.get(PLANNED, None)
        if planned is not None:
            step, kind = planned
            if not any(_struck(planned, each.auth, each.began) for each in watched_in(item)):
                pytest.fail(
                    f"The fault {kind} at {step} never struck: this run of the test did not ask "
                    f"for {step}, as the one without a fault did.",
                    pytrace=False,
                )
        elif marker := item.get_closest_marker(FAULTS):
            item.stash[VARIANTS] = _variants(item, _kinds(marker))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Say how many variants follow, and which fault has broken one."""
        report = yield
        if call.when == "call":
            expect_more(report, len(item.stash.get(VARIANTS, [])))
        planned = item.stash.get(PLANNED, None)
        if report.failed and planned is not None:
            step, kind = planned
            said = (
                f"{kind} at {step}: the test passes without a fault, and fails when the first "
                f"request for {step} meets this one."
            )
            add_section(report, "requestforge fault", said)
        return report


def _variants(item: pytest.Item, kinds: Sequence[str]) -> list[pytest.Item]:
    """The test once for each of its steps and faults."""
    if not isinstance(item, pytest.Function) or isinstance(item, TestCaseFunction):
        _refuse("it marks test functions of pytest alone.")
    steps = dict.fromkeys(
        entry.step
        for each in watched_in(item)
        for entry in each.auth.journal.since(each.began)
        if entry.kind == "token" and entry.step is not None
    )
    if not steps:
        pytest.fail(
            "rf_faults has no step to strike: the test asked no token endpoint of a fake auth "
            "server.",
            pytrace=False,
        )
    planned = [(step, kind) for step in steps for kind in kinds]
    return [_variant(item, each) for each in planned]


def _kinds(marker: pytest.Mark) -> Sequence[str]:
    named: tuple[str, ...] = marker.args
    if not named or marker.kwargs:
        _refuse('it takes the names of faults, as in rf_faults("reset", "fail"), or "all".')
    if named == ("all",):
        return KINDS
    try:
        for kind in named:
            make_fault(kind)
    except ValueError as error:
        _refuse(str(error))
    return named


def _refuse(said: str) -> NoReturn:
    pytest.fail(f"@pytest.mark.rf_faults: {said}", pytrace=False)


def _variant(item: pytest.Function, planned: tuple[str, str]) -> pytest.Item:
    """The same test with an id of its own."""
    inner = "-".join([item.callspec.id, *planned] if hasattr(item, "callspec") else planned)
    name = f"{item.originalname}[{inner}]"
    # pytest makes the ids of functions from their parameters, of which the fault is none.
    nodeid = f"{item.nodeid.removesuffix(item.name)}{name}"
    # Since pytest 9.2 it is the text of another id.
    further = {"id": type(item.id).parse(nodeid)} if hasattr(item, "id") else {}
    own: dict[str, Any] = {"nodeid": nodeid, **further}
    kind: Any = type(type(item).__name__, (type(item),), own)
    variant: pytest.Function = kind.from_parent(
        item.parent,
        name=name,
        callspec=getattr(item, "callspec", None),
        fixtureinfo=item._fixtureinfo,  # noqa: SLF001 - as plugins do that make functions
        originalname=item.originalname,
    )
    variant.own_markers[:] = item.own_markers
    variant.keywords.update(item.keywords)
    variant.stash[PLANNED] = planned
    return variant


@contextmanager
def _in_place_of(item: pytest.Item, variant: pytest.Item) -> Iterator[None]:
    """Within the block the session has the variant where it has the item: xdist looks there."""
    items = item.session.items
    place = items.index(item)
    items[place] = variant
    try:
        yield
    finally:
        items[place] = item


def _struck(planned: tuple[str, str], auth: Server, began: int) -> bool:
    return any((entry.step, entry.fault) == planned for entry in auth.journal.since(began))
