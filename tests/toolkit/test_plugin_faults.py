"""The marker `rf_faults`, and what becomes of a test that leaves a fault unused."""

import re
from importlib.util import find_spec

import pytest

XDIST = pytest.param(
    ("-n", "2"),
    marks=pytest.mark.skipif(find_spec("xdist") is None, reason="pytest-xdist is not installed"),
)

PIPELINE = """
import pytest
from requestforge import (
    AuthenticationException, BodyTokenFetcher, InMemoryTokenStorage, StepToken, TokenFetchPipeline
)

@pytest.fixture
def pipeline():
    app = BodyTokenFetcher("app", "https://auth.example.com", "/app")
    user = BodyTokenFetcher(
        "user", "https://auth.example.com", "/user", request_headers={"X-App": StepToken("app")}
    )
    return TokenFetchPipeline([app, user], InMemoryTokenStorage())
"""

CAREFUL = """
@pytest.mark.rf_faults({kinds})
def test_it(rf_clock, rf_fake_auth, pipeline):
    rf_fake_auth.serve(pipeline)
    try:
        pipeline.execute()
    except AuthenticationException:
        pipeline.execute()
"""

CARELESS = """
@pytest.mark.rf_faults("reset", "slow")
def test_it(rf_clock, rf_fake_auth, pipeline):
    rf_fake_auth.serve(pipeline)
    pipeline.execute()
"""


@pytest.fixture(autouse=True)
def strict(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every inner run is strict, in the order of its tests, and prints as it does for people."""
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    pytester.makeini("[pytest]\naddopts = --strict-markers --strict-config -p no:randomly")


class TestMatrix:
    @pytest.mark.parametrize("more", [(), XDIST], ids=["alone", "xdist"])
    def test_all_is_each_step_with_each_fault(
        self, pytester: pytest.Pytester, more: tuple[str, ...]
    ) -> None:
        """One run without a fault and 22 with one, each a test of its own."""
        pytester.makepyfile(PIPELINE + CAREFUL.format(kinds='"all"'))
        result = pytester.runpytest("-v", *more)
        result.assert_outcomes(passed=23)
        result.stdout.fnmatch_lines_random(
            [
                "*::test_it *PASSED*" if not more else "*PASSED*::test_it *",
                "*::test_it?app-fail?*",
                "*::test_it?user-reset?*",
                "*::test_it?user-echo_secrets?*",
            ]
        )
        # Progress counts those that came up meanwhile.
        shares = [int(share) for share in re.findall(r"\[ *(\d+)%\]", result.stdout.str())]
        assert shares == [100 * number // 23 for number in range(1, 24)]

    def test_a_failure_names_step_and_fault(self, pytester: pytest.Pytester) -> None:
        """In its id and in a section."""
        pytester.makepyfile(PIPELINE + CARELESS)
        result = pytester.runpytest()
        result.assert_outcomes(passed=3, failed=2)
        result.stdout.fnmatch_lines(
            [
                "*_ test_it?app-reset? _*",
                "*- requestforge timeline -*",
                "*- requestforge fault -*",
                "reset at app: the test passes without a fault, and fails when *",
                "FAILED *::test_it?app-reset? - *",
                "FAILED *::test_it?user-reset? - *",
            ]
        )

    def test_parameters_and_classes_stay(self, pytester: pytest.Pytester) -> None:
        """The fault comes last in the id; every variant has a new instance and its parameters."""
        pytester.makepyfile(
            PIPELINE
            + """
class TestIt:
    seen = []

    @pytest.mark.parametrize("times", [1, 2])
    @pytest.mark.rf_faults("slow")
    def test_it(self, rf_clock, rf_fake_auth, pipeline, times, request):
        assert "own" not in vars(self)
        self.own = True
        self.seen.append(request.node.name)
        rf_fake_auth.serve(pipeline)
        for _ in range(times):
            pipeline.execute()

    def test_names(self):
        assert self.seen == [
            "test_it[1]", "test_it[1-app-slow]", "test_it[1-user-slow]",
            "test_it[2]", "test_it[2-app-slow]", "test_it[2-user-slow]",
        ]
"""
        )
        pytester.runpytest().assert_outcomes(passed=7)

    def test_fixtures_of_the_module_live_through_all_variants(
        self, pytester: pytest.Pytester
    ) -> None:
        """They are set up once and torn down after the last test that needs them."""
        pytester.makepyfile(
            PIPELINE
            + """
made = []

@pytest.fixture(scope="module", autouse=True)
def module():
    made.append("up")
    yield
    made.append("down")
"""
            + CAREFUL.format(kinds='"fail", "reset"')
            + """
def test_last():
    assert made == ["up"]
"""
        )
        pytester.runpytest().assert_outcomes(passed=6)

    def test_a_server_of_the_module_is_struck_as_well(self, pytester: pytest.Pytester) -> None:
        """And only while the variant runs."""
        pytester.makepyfile(
            PIPELINE
            + """
from pytest_requestforge import FakeAuth

@pytest.fixture(scope="module")
def auth():
    with FakeAuth() as auth:
        yield auth

@pytest.mark.rf_faults("fail")
def test_it(auth, pipeline):
    auth.serve(pipeline)
    try:
        pipeline.execute()
    except AuthenticationException:
        pass

def test_next(auth, pipeline):
    auth.serve(pipeline)
    pipeline.execute()
    assert [entry.fault for entry in auth.journal] == [None, None, "fail", None, "fail", None, None]
"""
        )
        pytester.runpytest().assert_outcomes(passed=4)

    def test_the_variants_end_with_the_first_failure(self, pytester: pytest.Pytester) -> None:
        """Where pytest was told so."""
        pytester.makepyfile(PIPELINE + CARELESS)
        pytester.runpytest("-x").assert_outcomes(passed=1, failed=1)

    @pytest.mark.parametrize(
        ("body", "outcome"),
        [("raise ZeroDivisionError", {"failed": 1}), ("pytest.skip()", {"skipped": 1})],
        ids=["fails", "skips"],
    )
    def test_a_test_that_does_not_pass_has_no_variants(
        self, pytester: pytest.Pytester, body: str, outcome: dict[str, int]
    ) -> None:
        """There is nothing that a fault could break."""
        pytester.makepyfile(
            f"import pytest\n@pytest.mark.rf_faults('all')\ndef test_it(rf_fake_auth): {body}"
        )
        pytester.runpytest("-x").assert_outcomes(**outcome)

    def test_setups_can_be_shown_alone(self, pytester: pytest.Pytester) -> None:
        """Then nothing is called, so that there are no variants."""
        pytester.makepyfile(PIPELINE + CARELESS)
        result = pytester.runpytest("--setup-only")
        result.assert_outcomes()
        result.stdout.fnmatch_lines(["*SETUP *F rf_fake_auth *"])

    def test_a_setup_that_fails_is_an_error(self, pytester: pytest.Pytester) -> None:
        """As ever."""
        pytester.makepyfile(
            "import pytest\n@pytest.mark.rf_faults('all')\ndef test_it(missing): pass"
        )
        pytester.runpytest().assert_outcomes(errors=1)

    def test_a_variant_that_does_not_ask_for_its_step_fails(
        self, pytester: pytest.Pytester
    ) -> None:
        """Its fault was not seen, so that it shows nothing."""
        pytester.makepyfile(
            PIPELINE
            + """
asked = []

@pytest.mark.rf_faults("slow")
def test_it(rf_clock, rf_fake_auth, pipeline):
    rf_fake_auth.serve(pipeline)
    if not asked:
        pipeline.execute()
    asked.append(1)
"""
        )
        result = pytester.runpytest()
        result.assert_outcomes(passed=1, failed=2)
        result.stdout.fnmatch_lines(["The fault slow at app never struck: this run of the test *"])

    @pytest.mark.parametrize(
        ("marker", "said"),
        [
            ('"all"', "rf_faults has no step to strike: the test asked no token endpoint *"),
            ("", "@pytest.mark.rf_faults: it takes the names of faults, as in *"),
            ('kinds="all"', "@pytest.mark.rf_faults: it takes the names of faults, as in *"),
            ('"boom"', "@pytest.mark.rf_faults: There is no fault 'boom'; the kinds are fail, *"),
        ],
        ids=["no step", "nothing", "keyword", "unknown"],
    )
    def test_a_marker_that_can_do_nothing_fails_the_test(
        self, pytester: pytest.Pytester, marker: str, said: str
    ) -> None:
        """With what is wrong."""
        pytester.makepyfile(
            f"import pytest\n@pytest.mark.rf_faults({marker})\ndef test_it(rf_fake_auth): pass"
        )
        result = pytester.runpytest()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines([said])

    def test_it_is_not_for_unittest(self, pytester: pytest.Pytester) -> None:
        """The tests of unittest cannot be made anew."""
        pytester.makepyfile(
            """
            import unittest, pytest
            from pytest_requestforge import FakeAuth
            import requests

            class Case(unittest.TestCase):
                @pytest.mark.rf_faults("all")
                def test_it(self):
                    auth = self.enterContext(FakeAuth())
                    requests.post(auth.token("app", "POST /app").url)
            """
        )
        result = pytester.runpytest()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*it marks test functions of pytest alone."])


class TestUnused:
    BODY = """
import pytest, requests
{marker}
def test_it(rf_fake_auth):
    app = rf_fake_auth.token("app_token", "POST /token")
    app.fail(503, retry_after=2).times(2)
    requests.post(app.url)
    {rest}
"""

    def test_an_unused_fault_fails_the_test(self, pytester: pytest.Pytester) -> None:
        """It is FAILED, and says how often the fault was used."""
        pytester.makepyfile(self.BODY.format(marker="", rest=""))
        result = pytester.runpytest()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            [
                "1 fault has not struck as called for:",
                "  app_token: fail(503, retry_after=2) used 1 of 2 times",
            ]
        )

    def test_it_does_not_hide_the_tests_own_error(self, pytester: pytest.Pytester) -> None:
        """The test's exception is shown, and the unused fault below it."""
        pytester.makepyfile(self.BODY.format(marker="", rest="raise ZeroDivisionError"))
        result = pytester.runpytest()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["E *ZeroDivisionError", "*- requestforge unused faults -*", "*used 1 of 2 times"]
        )

    def test_it_is_told_with_an_unmatched_request(self, pytester: pytest.Pytester) -> None:
        """Both findings are in the failure."""
        pytester.makepyfile(self.BODY.format(marker="", rest="requests.get(rf_fake_auth.url)"))
        result = pytester.runpytest()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["1 request matched no endpoint*", "1 fault has not struck as called for:"]
        )

    @pytest.mark.parametrize(
        ("ini", "marker", "warnings"),
        [
            pytest.param("rf_unused_faults = ignore", "", 0, id="ini ignore"),
            pytest.param("rf_unused_faults = warn", "", 1, id="ini warn"),
            pytest.param(
                "", "@pytest.mark.rf_fake_auth(unused_faults='ignore')", 0, id="marker ignore"
            ),
        ],
    )
    def test_it_can_be_allowed(
        self, pytester: pytest.Pytester, ini: str, marker: str, warnings: int
    ) -> None:
        """By ini file or marker, with or without a warning."""
        pytester.makeini(f"[pytest]\n{ini}")
        pytester.makepyfile(self.BODY.format(marker=marker, rest=""))
        result = pytester.runpytest("-W", "default")
        result.assert_outcomes(passed=1, warnings=warnings)

    def test_other_settings_are_refused(self, pytester: pytest.Pytester) -> None:
        """With those that there are."""
        pytester.makeini("[pytest]\nrf_unused_faults = fatal")
        pytester.makepyfile("def test_it(rf_fake_auth): pass")
        result = pytester.runpytest()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*rf_unused_faults must be error, warn, ignore, not 'fatal'."])

    def test_the_next_test_is_not_struck(self, pytester: pytest.Pytester) -> None:
        """What a test leaves behind at a server of several tests is dropped."""
        pytester.makepyfile(
            """
            import pytest, requests
            from pytest_requestforge import FakeAuth

            @pytest.fixture(scope="module")
            def me():
                with FakeAuth() as auth:
                    yield auth.resource("GET /me")

            def test_first(me): me.reset()
            def test_second(me): assert requests.get(me.url).status_code == 200
            """
        )
        pytester.runpytest().assert_outcomes(passed=1, failed=1)
