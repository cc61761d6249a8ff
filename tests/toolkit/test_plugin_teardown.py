"""What becomes of a test whose teardown finds something: it is FAILED, once, and never an ERROR."""

import sys
from importlib.util import find_spec
from xml.etree import ElementTree as ET

import pytest

LATE = """
import sys, pytest, requests, weakref

@pytest.fixture
def late(rf_fake_auth):
    yield
    requests.get(rf_fake_auth.url + "/late")

@pytest.fixture
def leaky(rf_fake_auth):
    app = rf_fake_auth.token("app_token", "POST /token")
    yield
    print(requests.post(app.url).json()["access_token"])
"""

XDIST = pytest.param(
    ("-n", "2"),
    marks=pytest.mark.skipif(find_spec("xdist") is None, reason="pytest-xdist is not installed"),
)

RUNNER = """
from _pytest.runner import runtestprotocol

class Runner:
    def pytest_runtest_protocol(self, item, nextitem):
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        runtestprotocol(item, nextitem=nextitem)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

def pytest_configure(config):
    config.pluginmanager.register(Runner(), "another-runner")
"""


@pytest.fixture(autouse=True)
def strict(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every inner run is strict, in the order of its tests, and prints as it does for people."""
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    pytester.makeini("[pytest]\naddopts = --strict-markers --strict-config -p no:randomly")


def cases(pytester: pytest.Pytester) -> list[tuple[str, list[str]]]:
    """Of each test case in the file of JUnit, its name and what became of it."""
    root = ET.parse(pytester.path / "junit.xml").getroot()  # noqa: S314 - our own
    return sorted(
        (case.get("name", ""), [each.tag for each in case if each.tag != "system-out"])
        for case in root.iter("testcase")
    )


@pytest.mark.parametrize("more", [(), XDIST], ids=["alone", "xdist"])
def test_a_finding_is_the_one_failure_of_a_test_that_passed(
    pytester: pytest.Pytester, more: tuple[str, ...]
) -> None:
    """In the counts, in the summary and in the file of JUnit, a leak as well as a request."""
    pytester.makepyfile(LATE + "def test_late(late): pass\ndef test_leak(leaky): pass\n")
    result = pytester.runpytest("--rf-leaks", "--junitxml=junit.xml", *more)
    result.assert_outcomes(failed=2)
    assert cases(pytester) == [("test_late", ["failure"]), ("test_leak", ["failure"])]
    result.stdout.fnmatch_lines_random(
        [
            "*_ test_late _*",
            "1 request matched no endpoint of the fake auth server:",
            "secrets of a fake auth server show up:",
            "FAILED *::test_late*",
            "FAILED *::test_leak*",
        ]
    )
    shown = result.stdout.str()
    assert "ERROR" not in shown
    assert shown.count("Captured stdout teardown -") == 1


@pytest.mark.parametrize("more", [(), XDIST], ids=["alone", "xdist"])
def test_a_finding_is_shown_below_the_tests_own_failure(
    pytester: pytest.Pytester, more: tuple[str, ...]
) -> None:
    """Which is neither hidden nor counted twice."""
    pytester.makepyfile(LATE + "def test_it(late): raise ZeroDivisionError\n")
    result = pytester.runpytest("--junitxml=junit.xml", *more)
    result.assert_outcomes(failed=1)
    assert cases(pytester) == [("test_it", ["failure"])]
    result.stdout.fnmatch_lines(
        [
            "E *ZeroDivisionError",
            "*- requestforge findings of the teardown -*",
            "1 request matched no endpoint of the fake auth server:",
            "FAILED *::test_it - ZeroDivisionError",
        ]
    )


@pytest.mark.parametrize(
    ("test", "outcome"),
    [
        pytest.param("def test_it(late): pytest.skip()", {"skipped": 1}, id="skip"),
        pytest.param(
            "@pytest.fixture\ndef broken(late): 1 / 0\ndef test_it(broken): pass",
            {"errors": 1},
            id="broken setup",
        ),
    ],
)
def test_a_test_without_a_result_of_its_own_keeps_what_it_has(
    pytester: pytest.Pytester, test: str, outcome: dict[str, int]
) -> None:
    """A test that was skipped, or never began, does not fail besides."""
    pytester.makepyfile(LATE + test)
    pytester.runpytest().assert_outcomes(**outcome)


def test_the_first_failure_can_be_the_last(pytester: pytest.Pytester) -> None:
    """A finding of a teardown counts for `-x`, and the test is among those that failed last."""
    pytester.makepyfile(LATE + "def test_it(late): pass\ndef test_next(): pass\n")
    pytester.runpytest("-x").assert_outcomes(failed=1)
    pytester.runpytest("--lf").assert_outcomes(failed=1)


def test_fixtures_of_the_module_are_torn_down_at_the_first_failure(
    pytester: pytest.Pytester,
) -> None:
    """With `-x` the test that failed is the last one, and an error of theirs is reported."""
    pytester.makepyfile(
        LATE
        + """
@pytest.fixture(scope="module")
def broken():
    yield
    raise ZeroDivisionError

def test_it(late, broken): assert False
def test_next(broken): pass
"""
    )
    pytester.runpytest("-x").assert_outcomes(failed=1, errors=1)


@pytest.mark.parametrize(
    ("conftest", "arguments"),
    [
        pytest.param(RUNNER, (), id="another plugin"),
        pytest.param("", ("--setup-show",), id="setup-show"),
    ],
)
def test_where_each_phase_is_reported_at_once_a_finding_is_a_further_failure(
    pytester: pytest.Pytester, conftest: str, arguments: tuple[str, ...]
) -> None:
    """Another plugin that runs the tests goes on to do so; a finding is no error there either."""
    pytester.makeconftest(conftest)
    pytester.makepyfile(LATE + "def test_it(late): pass\n")
    result = pytester.runpytest(*arguments)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED *::test_it - Failed: 1 request *"])


def test_values_of_fixtures_do_not_outlive_their_test(pytester: pytest.Pytester) -> None:
    """As in every run of pytest."""
    pytester.makepyfile(
        LATE
        + """
class Value: pass
seen = []

@pytest.fixture
def value(): return Value()

def test_it(rf_fake_auth, value): seen.append(weakref.ref(value))
def test_next():
    import gc
    gc.collect()
    assert seen[0]() is None
"""
    )
    pytester.runpytest().assert_outcomes(passed=2)


def test_an_interrupted_teardown_keeps_the_result_of_its_test(pytester: pytest.Pytester) -> None:
    """It has passed by then, and is reported although the run ends."""
    pytester.makepyfile(
        LATE
        + """
@pytest.fixture
def stopped(rf_fake_auth):
    yield
    raise KeyboardInterrupt

def test_it(stopped): pass
"""
    )
    result = pytester.run(sys.executable, "-m", "pytest")
    result.assert_outcomes(passed=1)


def test_items_of_other_kinds_are_run_as_well(pytester: pytest.Pytester) -> None:
    """Such as doctests, which start a server within."""
    pytester.makepyfile(
        '''
        def doubled(number):
            """Twice the number.

            >>> import requests
            >>> from pytest_requestforge import FakeAuth
            >>> with FakeAuth() as auth:
            ...     requests.get(auth.url).status_code
            404
            """

        def test_it(rf_fake_auth): pass
        '''
    )
    pytester.runpytest("--doctest-modules").assert_outcomes(passed=1, failed=1)
