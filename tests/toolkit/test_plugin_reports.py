"""What the plugin makes of a test's outcome, and what it adds to the report."""

import re
from textwrap import dedent

import pytest

UNMATCHED = """
    import requests

    def test_it(rf_fake_auth):
        rf_fake_auth.token("app_token", "POST /token")
        requests.get("https://auth.example.test/tokens")
        {rest}
"""


@pytest.fixture(autouse=True)
def strict(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every inner run is strict, in the order of its tests, and prints as it does for people."""
    for name in ("CI", "BUILD_NUMBER"):  # pytest's summary then repeats the whole failure
        monkeypatch.delenv(name, raising=False)
    pytester.makeini("[pytest]\naddopts = --strict-markers --strict-config -p no:randomly")


def test_it_works_without_assertion_rewriting(pytester: pytest.Pytester) -> None:
    """The assertions of the toolkit tell the same without it."""
    pytester.makepyfile("def test_it(rf_fake_auth): rf_fake_auth.assert_fetch_counts(app_token=1)")
    result = pytester.runpytest("--assert=plain")
    result.stdout.fnmatch_lines(
        ["E *AssertionError: token fetch counts differ: app_token fetched 0 times, expected 1"]
    )


def test_an_unmatched_request_fails_the_test(pytester: pytest.Pytester) -> None:
    """It is FAILED, not ERROR, and the report says what the request differs in."""
    pytester.makepyfile(UNMATCHED.format(rest=""))
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "1 request matched no endpoint of the fake auth server:",
            "*#1 GET https://auth.example.test/tokens*",
            "*closest is app_token: POST https://auth.example.test/token",
            "*method *GET, expected POST",
            "*path */tokens, expected /token",
            "*- requestforge timeline -*",
        ]
    )
    assert result.stdout.str().count("matched no endpoint of the fake auth server:") == 1


def test_an_unmatched_request_of_a_fixture_fails_the_test(pytester: pytest.Pytester) -> None:
    """It need not be the test itself that has sent it."""
    pytester.makepyfile(
        """
        import pytest, requests

        @pytest.fixture
        def early(rf_fake_auth_factory):
            requests.get(rf_fake_auth_factory("https://a.example").url)

        def test_it(early): pass
        """
    )
    pytester.runpytest().assert_outcomes(failed=1)


def test_an_unmatched_request_does_not_hide_the_tests_own_error(pytester: pytest.Pytester) -> None:
    """The test's exception is shown, and the unmatched request below it."""
    pytester.makepyfile(UNMATCHED.format(rest="raise ZeroDivisionError"))
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *ZeroDivisionError",
            "*- requestforge unmatched requests -*",
            "1 request matched no endpoint of the fake auth server:",
        ]
    )


def test_an_unmatched_request_does_not_fail_a_skipped_test(pytester: pytest.Pytester) -> None:
    """A test that skips itself is skipped."""
    pytester.makepyfile(UNMATCHED.format(rest="import pytest; pytest.skip()"))
    pytester.runpytest().assert_outcomes(skipped=1)


@pytest.mark.parametrize(
    ("ini", "marker"),
    [
        pytest.param("rf_strict_unmatched = false", "", id="ini"),
        pytest.param(
            "", "import pytest; pytestmark = pytest.mark.rf_fake_auth(strict=False)", id="m"
        ),
    ],
)
def test_unmatched_requests_can_be_allowed(
    pytester: pytest.Pytester, ini: str, marker: str
) -> None:
    """By ini file or marker; the request is answered with 404 all the same."""
    pytester.makeini(f"[pytest]\n{ini}")
    pytester.makepyfile(UNMATCHED.format(rest="") + f"\n    {marker}")
    pytester.runpytest().assert_outcomes(passed=1)


def test_a_failing_test_gets_the_timeline(pytester: pytest.Pytester) -> None:
    """Whatever it fails with, a section shows what happened to the tokens."""
    pytester.makepyfile(
        """
        import requests

        def test_it(rf_clock, rf_fake_auth):
            rf_fake_auth.token("app_token", "POST /token")
            requests.post(rf_fake_auth.url + "/token")
            raise ZeroDivisionError
        """
    )
    result = pytester.runpytest("--rf-seed=7")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- requestforge timeline -*",
            "timeline (virtual time from 2030-01-01T00:00:00Z)",
            "  #1 +0.0s  POST /token  200 issued app_token#1  MainThread",
            "seed 7, transport inprocess",
        ]
    )
    assert "unmatched" not in result.stdout.str()


def test_a_failure_that_tells_the_timeline_gets_no_second_one(pytester: pytest.Pytester) -> None:
    """The toolkit's own assertions have it in their text."""
    pytester.makepyfile(
        """
        import requests

        def test_it(rf_fake_auth):
            rf_fake_auth.token("app_token", "POST /token")
            requests.post(rf_fake_auth.url + "/token")
            rf_fake_auth.assert_no_fetches()
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    assert result.stdout.str().count("timeline (virtual time") == 1


@pytest.mark.parametrize(
    ("arguments", "heading"),
    [
        pytest.param("rf_recorder", "timeline: no request arrived*", id="recorder alone"),
        pytest.param("rf_recorder, rf_fake_auth", "timeline: no request arrived*", id="both"),
    ],
)
def test_a_recorder_has_a_timeline_as_well(
    pytester: pytest.Pytester, arguments: str, heading: str
) -> None:
    """Without a fake auth server the recorder's is shown, with one the server's."""
    pytester.makepyfile(f"def test_it({arguments}): raise ZeroDivisionError")
    result = pytester.runpytest()
    result.stdout.fnmatch_lines(["*- requestforge timeline -*", heading])
    assert result.stdout.str().count("requestforge timeline") == 1


def test_a_test_without_the_fixtures_gets_nothing(pytester: pytest.Pytester) -> None:
    """Failures of other tests look as ever."""
    pytester.makepyfile("def test_it(): assert {1: 2} == {1: 3}")
    assert (
        "requestforge"
        not in pytester.runpytest("-p", "no:cacheprovider").stdout.str().split("collected")[1]
    )


@pytest.mark.parametrize(
    "comparison",
    [
        'rf_fake_auth.fetch_counts == {"app_token": 2}',
        '{"app_token": 2} == rf_fake_auth.fetch_counts',
    ],
    ids=["left", "right"],
)
def test_a_comparison_of_counts_explains_itself(pytester: pytest.Pytester, comparison: str) -> None:
    """A plain `assert` on the counts tells as much as the assertion of the toolkit."""
    pytester.makepyfile(
        f"""
        import requests

        def test_it(rf_fake_auth):
            rf_fake_auth.token("app_token", "POST /token", expires_in=60)
            rf_fake_auth.token("user_token", "POST /user")
            requests.post(rf_fake_auth.url + "/token")
            requests.post(rf_fake_auth.url + "/user")
            assert {comparison}
        """
    )
    result = pytester.runpytest("-vv")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *token fetch counts differ: app_token fetched 1 time, expected 2; user_token *",
            "E *timeline (virtual time*",
            "E *POST /user * user_token#1 *<-- extra",
        ]
    )


@pytest.mark.parametrize(
    "comparison",
    [
        "rf_fake_auth.fetch_counts == 1",
        "rf_fake_auth.fetch_counts != {}",
        "rf_fake_auth.fetch_counts >= 1",
        "{1: 2} == {1: 3}",
    ],
)
def test_other_comparisons_are_left_to_pytest(pytester: pytest.Pytester, comparison: str) -> None:
    """Only counts that are compared with a mapping are explained."""
    pytester.makepyfile(f"def test_it(rf_fake_auth): assert {comparison}")
    result = pytester.runpytest("-vv")
    result.assert_outcomes(failed=1)
    assert "counts differ" not in result.stdout.str()


def test_unmatched_requests_of_a_unittest_fail_it(pytester: pytest.Pytester) -> None:
    """The fixtures also serve test cases of unittest."""
    pytester.makepyfile(
        """
        import unittest
        import pytest, requests

        class Case(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def _auth(self, rf_fake_auth):
                self.auth = rf_fake_auth

            def test_unmatched(self):
                requests.get(self.auth.url)

            def test_own(self):
                requests.get(self.auth.url)
                self.fail("own")
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["E *AssertionError: own"])


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(
            """
            def test_it():
                with FakeAuth() as auth:
                    requests.get(auth.url)
            """,
            id="block",
        ),
        pytest.param(
            """
            def test_it():
                auth = FakeAuth()
                auth.start()
                requests.get(auth.url)
                auth.stop()
            """,
            id="by hand",
        ),
        pytest.param(
            """
            import unittest
            class Case(unittest.TestCase):
                def test_it(self):
                    requests.get(self.enterContext(FakeAuth()).url)
            """,
            id="unittest",
        ),
        pytest.param(
            """
            @pytest.fixture(scope="module")
            def auth():
                with FakeAuth() as auth:
                    yield auth
            def test_it(auth):
                requests.get(auth.url)
            """,
            id="fixture",
        ),
    ],
)
def test_a_server_of_the_tests_own_is_watched(pytester: pytest.Pytester, code: str) -> None:
    """However a FakeAuth was started, an unmatched request fails the test, once."""
    imports = "import pytest, requests\nfrom pytest_requestforge import FakeAuth\n"
    pytester.makepyfile(imports + dedent(code))
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    assert result.stdout.str().count("1 request matched no endpoint of the fake auth server:") == 1


def test_a_server_of_several_tests_fails_the_one_that_sent(pytester: pytest.Pytester) -> None:
    """Each test answers for its own requests; the others have no part in them."""
    pytester.makepyfile(
        """
        import pytest, requests
        from pytest_requestforge import FakeAuth

        @pytest.fixture(scope="module")
        def auth():
            with FakeAuth() as auth:
                auth.resource("GET /me")
                yield auth

        def test_first(auth): requests.get(auth.url + "/me")
        def test_second(auth): requests.get(auth.url + "/second")
        def test_third(auth): requests.get(auth.url + "/third"); raise ZeroDivisionError
        def test_fourth(auth): requests.get(auth.url + "/me")
        def test_fifth(): raise ZeroDivisionError
        """
    )
    result = pytester.runpytest("-rA")
    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(["PASSED *test_first", "PASSED *test_fourth"])
    *_, second, third, fifth = re.split(r"___ (?=test)", result.stdout.str())
    assert "/second" in second.partition("timeline")[0]
    assert "/second" not in third.partition("timeline")[0]
    assert "/third" in third.partition("timeline")[0]
    assert "requestforge" not in fifth.partition("====")[0]


def test_an_error_of_a_teardown_stays_one(pytester: pytest.Pytester) -> None:
    """A fixture that breaks is an error as ever, with what the servers have found below it."""
    pytester.makepyfile(
        """
        import pytest, requests

        @pytest.fixture
        def late(rf_fake_auth):
            yield
            requests.get(rf_fake_auth.url + "/late")
            raise ZeroDivisionError

        def test_it(late): pass
        def test_found(rf_fake_auth, late): requests.get(rf_fake_auth.url + "/early")
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(passed=1, failed=1, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*_ ERROR at teardown of test_it _*",
            "E *ZeroDivisionError",
            "*- requestforge unmatched requests -*",
            "*#1 GET https://auth.example.test/late*",
            "*_ ERROR at teardown of test_found _*",
            "E *ZeroDivisionError",
        ]
    )


def test_a_setup_that_fails_is_one_error(pytester: pytest.Pytester) -> None:
    """An unmatched request before it is shown with it, and is no further error."""
    pytester.makepyfile(
        """
        import pytest, requests

        @pytest.fixture
        def early(rf_fake_auth):
            requests.get(rf_fake_auth.url)
            raise ZeroDivisionError

        def test_it(early): pass
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E *ZeroDivisionError", "*- requestforge unmatched requests -*"])


def test_a_comparison_says_what_counts_leave_out(pytester: pytest.Pytester) -> None:
    """A step that was expected not to be fetched is not in the counts, and the text says so."""
    pytester.makepyfile(
        """
        import requests

        def test_it(rf_fake_auth):
            rf_fake_auth.token("device", "POST /device")
            rf_fake_auth.token("app", "POST /app")
            requests.post(rf_fake_auth.url + "/device")
            assert rf_fake_auth.fetch_counts == {"device": 1, "app": 0}
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E*fetch_counts leaves out steps without a request, so do not name app here; *"]
    )


@pytest.mark.parametrize(
    ("ini", "marker", "said"),
    [
        pytest.param(
            "rf_clock_start = soon", "", "*start='soon' of rf_clock_start: *isoformat*", id="ini"
        ),
        pytest.param(
            "",
            "@pytest.mark.rf_clock(start=7)",
            "*start=7 of @pytest.mark.rf_clock: *, not int*",
            id="marker",
        ),
    ],
)
def test_a_start_that_is_no_time_is_named(
    pytester: pytest.Pytester, ini: str, marker: str, said: str
) -> None:
    """The error says which setting of the clock is wrong."""
    pytester.makeini(f"[pytest]\n{ini}")
    pytester.makepyfile(f"import pytest\n{marker}\ndef test_it(rf_clock): pass")
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([said])
