"""`--rf-leaks` and `--rf-journal`: what a run looks for, and what it writes down."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

XDIST = pytest.param(
    ("-n", "2"),
    marks=pytest.mark.skipif(find_spec("xdist") is None, reason="pytest-xdist is not installed"),
)

TEST = """
import logging, sys, pytest, requests
from requestforge import AuthenticationException, BodyTokenFetcher

log = logging.getLogger("shop")

@pytest.fixture
def token(rf_fake_auth):
    app = rf_fake_auth.token("app_token", "POST /app", body={{"client_secret": "s3cret-of-shop"}})
    return requests.post(app.url, data={{"client_secret": "s3cret-of-shop"}}).json()["access_token"]

def test_it(token):
    {body}
"""


@pytest.fixture(autouse=True)
def strict(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every inner run is strict, in the order of its tests, and prints as it does for people."""
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    pytester.makeini("[pytest]\naddopts = --strict-markers --strict-config -p no:randomly")


class TestLeaks:
    @pytest.mark.parametrize(
        ("body", "said"),
        [
            pytest.param(
                'log.warning("got %s", token)',
                "  app_token#1 in the log of shop: got [[]app_token#1]*",
                id="log",
            ),
            pytest.param(
                'log.warning("got it", extra={"token": token})',
                "  app_token#1 in the log of shop: *",
                id="extra",
            ),
            pytest.param(
                'log.error("failed", exc_info=ValueError(token))',
                "  app_token#1 in the log of shop: failed*[[]app_token#1]*",
                id="logged error",
            ),
            pytest.param(
                'print("sent s3cret-of-shop")',
                "  client_secret of app_token in the captured stdout call: sent [[]client_secret *",
                id="stdout",
            ),
            pytest.param(
                "sys.stderr.write(token)",
                "  app_token#1 in the captured stderr call: [[]app_token#1]",
                id="stderr",
            ),
        ],
    )
    def test_a_leak_fails_the_test(self, pytester: pytest.Pytester, body: str, said: str) -> None:
        """It is FAILED, names the step and the place, and does not show the secret."""
        pytester.makepyfile(TEST.format(body=body))
        pytester.runpytest().assert_outcomes(passed=1)
        result = pytester.runpytest("--rf-leaks", "--show-capture=no")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["secrets of a fake auth server show up:", said])
        assert result.stdout.str().count("show up:") == 1

    def test_harmless_words_pass(self, pytester: pytest.Pytester) -> None:
        """Such as the label of a token."""
        pytester.makepyfile(TEST.format(body="print('app_token#1'); log.warning('app_token#1')"))
        pytester.runpytest("--rf-leaks").assert_outcomes(passed=1)

    def test_a_record_that_cannot_be_read_is_left_to_logging(
        self, pytester: pytest.Pytester
    ) -> None:
        """It complains as ever."""
        body = "logging.raiseExceptions = False; log.warning('%d', 'x')"
        pytester.makepyfile(TEST.format(body=body))
        result = pytester.runpytest_subprocess("--rf-leaks", "-p", "no:logging")
        result.assert_outcomes(passed=1)

    def test_the_tests_own_error_is_not_hidden(self, pytester: pytest.Pytester) -> None:
        """The leak of its text is told of in a section."""
        pytester.makepyfile(TEST.format(body="raise ValueError(token)"))
        result = pytester.runpytest("--rf-leaks")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            [
                "E *ValueError: *",
                "*- requestforge leaks -*",
                "  app_token#1 in the text of ValueError: [[]app_token#1]",
            ]
        )

    def test_what_the_library_says_of_failures_is_looked_at(
        self, pytester: pytest.Pytester
    ) -> None:
        """It masks what it sent, even where a server echoes it."""
        pytester.makepyfile(
            TEST.format(
                body="""pass

def test_echo(rf_fake_auth):
    from requestforge import InMemoryTokenStorage, TokenFetchPipeline
    step = BodyTokenFetcher(
        "app", "https://a.example", "/app", request_data={"client_secret": "s3cret-of-shop"}
    )
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    rf_fake_auth.serve(pipeline)["app"].echo_secrets()
    with pytest.raises(AuthenticationException):
        pipeline.execute()
    assert rf_fake_auth.failures()
"""
            )
        )
        pytester.runpytest("--rf-leaks", "--log-level=DEBUG").assert_outcomes(passed=2)

    def test_an_event_that_tells_is_a_leak(self, pytester: pytest.Pytester) -> None:
        """Whoever has caused it."""
        pytester.makepyfile(
            TEST.format(
                body="""
    from requestforge import instrumentation
    from requestforge.events import StepFailed
    at = instrumentation.now()
    instrumentation.emit(StepFailed(at=at, pipeline="", step="app", error=token))
"""
            )
        )
        result = pytester.runpytest("--rf-leaks")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["  app_token#1 in an event of the library: [[]app_token#1]"])

    def test_a_leak_of_a_fixture_fails_the_test(self, pytester: pytest.Pytester) -> None:
        """That of its setup, and that of its teardown."""
        pytester.makepyfile(
            TEST.format(body="pass")
            + """
@pytest.fixture
def early(token):
    print(token)

@pytest.fixture
def late(token):
    yield
    print(token)

def test_early(early): pass
def test_late(late): pass
"""
        )
        result = pytester.runpytest("--rf-leaks")
        result.assert_outcomes(passed=1, failed=2)

    def test_tests_without_a_server_are_left_alone(self, pytester: pytest.Pytester) -> None:
        """Whatever they print."""
        pytester.makepyfile("def test_it(): print('s3cret-of-shop')")
        pytester.runpytest("--rf-leaks").assert_outcomes(passed=1)


class TestJournal:
    CODE = """
import pytest, requests

@pytest.mark.parametrize("count", [1, 2, 3])
def test_it(rf_clock, rf_fake_auth_factory, count):
    ours = rf_fake_auth_factory("https://a.example")
    theirs = rf_fake_auth_factory("https://b.example", transport="loopback")
    app = ours.token("app", "POST /app", expires_in=60, body={"client_secret": "s3cret-of-shop"})
    app.fail()
    for _ in range(count):
        requests.post(app.url, data={"client_secret": "s3cret-of-shop"})
    requests.get(theirs.resource("GET /me", json=1).url)

def test_without(rf_fake_auth): pass
"""

    @pytest.mark.parametrize("more", [(), XDIST], ids=["alone", "xdist"])
    def test_it_has_every_request_as_a_line_of_json(
        self, pytester: pytest.Pytester, more: tuple[str, ...]
    ) -> None:
        """With its test, also where several processes write; an older file is replaced."""
        file = pytester.path / "out" / "journal.jsonl"
        file.parent.mkdir()
        file.write_text("old")
        pytester.makepyfile(self.CODE)
        args = ("--rf-journal=out/journal.jsonl", "--rf-seed=7", *more)
        pytester.runpytest(*args).assert_outcomes(passed=4)
        lines = read(file)
        counts = {
            test: sum(line["test"].endswith(test) for line in lines)
            for test in ("test_it[1]", "test_it[2]", "test_it[3]")
        }
        assert counts == {"test_it[1]": 2, "test_it[2]": 3, "test_it[3]": 4}
        assert len(lines) == 9
        issued = next(line for line in lines if line["issued"])
        assert {name: issued[name] for name in ("server", "transport", "seed", "number")} == {
            "server": 0,
            "transport": "inprocess",
            "seed": 7,
            "number": 2,
        }
        assert issued["step"] == "app"
        assert issued["at"] == "2030-01-01T00:00:00+00:00"
        assert issued["expires_at"] == "2030-01-01T00:01:00+00:00"
        assert issued["body"] == {"client_secret": "***"}
        assert {line["fault"] for line in lines} == {None, "fail"}
        assert {line["transport"] for line in lines} == {"inprocess", "loopback"}

    def test_its_folder_is_made(self, pytester: pytest.Pytester) -> None:
        """Where there is none; without a request the file is empty."""
        pytester.makepyfile("def test_it(): pass")
        pytester.runpytest("--rf-journal=a/b/c.jsonl").assert_outcomes(passed=1)
        assert (pytester.path / "a" / "b" / "c.jsonl").read_bytes() == b""


class TestHeader:
    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            ((), "requestforge: transport inprocess, seed by test"),
            (
                ("--rf-transport=loopback", "--rf-seed=7", "--rf-leaks", "--rf-journal=j"),
                "requestforge: transport loopback, seed 7, leaks fail, journal j",
            ),
        ],
        ids=["plain", "all"],
    )
    def test_the_header_says_what_holds(
        self, pytester: pytest.Pytester, arguments: tuple[str, ...], line: str
    ) -> None:
        """Before the first test."""
        result = pytester.runpytest(*arguments)
        result.stdout.fnmatch_lines([line])


def read(file: Path) -> list[dict[str, object]]:
    """The lines of a file of JSON Lines."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
