"""The plugin, in the hands of a test suite of its own."""

import json
import re
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest

FIXTURES = [
    "rf_clock",
    "rf_fake_auth",
    "rf_fake_auth_factory",
    "rf_fake_auth_server",
    "rf_faker",
    "rf_recorder",
    "rf_token_storage",
]


@pytest.fixture(autouse=True)
def strict(pytester: pytest.Pytester) -> None:
    """Every inner run is strict, and in the order of its tests."""
    pytester.makeini("[pytest]\naddopts = --strict-markers --strict-config -p no:randomly")


def passes(pytester: pytest.Pytester, *arguments: str, count: int = 1) -> pytest.RunResult:
    """The result of an inner run in which so many tests pass, and nothing else happens."""
    result = pytester.runpytest(*arguments)
    result.assert_outcomes(passed=count)
    return result


def test_the_fixtures_are_listed_with_an_example(pytester: pytest.Pytester) -> None:
    """`pytest --fixtures` shows what each fixture is for, without being asked for more."""
    listing = pytester.runpytest("--fixtures").stdout.str()
    shown = listing[listing.index("fixtures defined from pytest_requestforge") :]
    parts = re.split(r"\n(?=\S)", shown)
    for fixture in FIXTURES:
        (part,) = [part for part in parts if part.startswith(f"{fixture} -- ")]
        assert re.search(rf"For example:\n.*\bdef .*\b{fixture}\b", part, re.DOTALL)


def test_the_markers_are_listed(pytester: pytest.Pytester) -> None:
    """`pytest --markers` knows the markers, so that strict suites may use them."""
    pytester.runpytest("--markers").stdout.fnmatch_lines(
        ["@pytest.mark.rf_clock(*", "@pytest.mark.rf_fake_auth(*"]
    )


def test_unused_it_loads_nothing_but_pytest() -> None:
    """The entry point imports the standard library and pytest, and of the project only itself."""
    code = (
        "import sys, pytest, json; before = set(sys.modules); import pytest_requestforge.plugin; "
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=50
    )
    loaded = {name.partition(".")[0] for name in json.loads(run.stdout)}
    assert loaded <= {"pytest_requestforge", *sys.stdlib_module_names}


def test_the_fake_auth_answers_in_process(pytester: pytest.Pytester) -> None:
    """`rf_fake_auth` needs no socket, and every test has a new one."""
    pytester.makepyfile(
        """
        import pytest, requests

        @pytest.mark.parametrize("turn", [1, 2])
        def test_it(rf_fake_auth, turn):
            rf_fake_auth.token("app_token", "POST /token", expires_in=60)
            assert requests.post(rf_fake_auth.url + "/token").json()["expires_in"] == 60
            assert rf_fake_auth.transport == "inprocess"
            assert rf_fake_auth.fetch_counts == {"app_token": 1}
        """
    )
    passes(pytester, count=2)


def test_the_fake_auth_server_listens(pytester: pytest.Pytester) -> None:
    """`rf_fake_auth_server` has a socket, which any client reaches."""
    pytester.makepyfile(
        """
        from urllib.request import urlopen

        def test_it(rf_fake_auth_server):
            rf_fake_auth_server.resource("GET /thing", json={"id": 1})
            assert urlopen(rf_fake_auth_server.url + "/thing").read() == b'{"id": 1}'
        """
    )
    passes(pytester, "--rf-transport=inprocess")


def test_the_factory_starts_several(pytester: pytest.Pytester) -> None:
    """Each has its own URL and transport, and all stop with the test."""
    pytester.makepyfile(
        """
        started = []

        def test_it(rf_fake_auth_factory):
            started.append(rf_fake_auth_factory("https://a.example"))
            started.append(rf_fake_auth_factory(transport="loopback", strict=False, seed=7))
            assert [auth.transport for auth in started] == ["inprocess", "loopback"]
            assert [auth.strict for auth in started] == [True, False]
            assert started[0].url == "https://a.example"
            assert started[1].seed == 7

        def test_they_are_stopped():
            for auth in started:
                auth.start()
                auth.stop()
        """
    )
    passes(pytester, count=2)


@pytest.mark.parametrize(
    ("ini", "arguments", "marker", "transport"),
    [
        pytest.param("", [], "", "inprocess", id="default"),
        pytest.param("rf_transport = loopback", [], "", "loopback", id="ini"),
        pytest.param("", ["--rf-transport=loopback"], "", "loopback", id="option"),
        pytest.param(
            "rf_transport = loopback",
            ["--rf-transport=inprocess"],
            "",
            "inprocess",
            id="option before ini",
        ),
        pytest.param(
            "",
            ["--rf-transport=inprocess"],
            "@pytest.mark.rf_fake_auth(transport='loopback')",
            "loopback",
            id="marker before all",
        ),
    ],
)
def test_the_transport_can_be_chosen(
    pytester: pytest.Pytester, ini: str, arguments: list[str], marker: str, transport: str
) -> None:
    """By marker, by option, in the ini file, in this order."""
    pytester.makeini(f"[pytest]\n{ini}")
    pytester.makepyfile(
        f"""
        import pytest

        {marker}
        def test_it(rf_fake_auth):
            assert rf_fake_auth.transport == {transport!r}
        """
    )
    passes(pytester, *arguments)


@pytest.mark.parametrize(
    ("ini", "arguments", "marker", "seed"),
    [
        pytest.param("rf_seed = 5", [], "", 5, id="ini"),
        pytest.param("rf_seed = 5", ["--rf-seed=0"], "", 0, id="option"),
        pytest.param("", ["--rf-seed=6"], "@pytest.mark.rf_fake_auth(seed=7)", 7, id="marker"),
    ],
)
def test_the_seed_can_be_chosen(
    pytester: pytest.Pytester, ini: str, arguments: list[str], marker: str, seed: int
) -> None:
    """By marker, by option, in the ini file, in this order."""
    pytester.makeini(f"[pytest]\n{ini}")
    pytester.makepyfile(
        f"""
        import pytest

        {marker}
        def test_it(rf_fake_auth):
            assert rf_fake_auth.seed == {seed}
        """
    )
    passes(pytester, *arguments)


def test_by_default_the_seed_follows_from_the_test(pytester: pytest.Pytester) -> None:
    """The tokens of a test are the same in every run, and other ones in every test."""
    pytester.makepyfile(
        """
        import requests

        def test_one(rf_fake_auth, record_property):
            rf_fake_auth.token("app_token", "POST /token")
            print(requests.post(rf_fake_auth.url + "/token").json()["access_token"])

        test_two = test_one
        """
    )
    first, second = (passes(pytester, "-rP", count=2).stdout.str() for _ in range(2))
    tokens = [line for line in first.splitlines() if "Captured stdout" in line]
    printed = [
        [lines[place + 1] for place, line in enumerate(lines) if "Captured stdout call" in line]
        for lines in (first.splitlines(), second.splitlines())
    ]
    assert len(tokens) == 2
    assert printed[0] == printed[1]
    assert len(set(printed[0])) == 2


@pytest.mark.parametrize(
    ("ini", "message"),
    [
        pytest.param("rf_seed = many", "*rf_seed must be a whole number, not 'many'.", id="seed"),
        pytest.param("rf_transport = smoke", "*transport must be*smoke*", id="transport"),
    ],
)
def test_a_wrong_setting_is_told(pytester: pytest.Pytester, ini: str, message: str) -> None:
    """A setting that cannot be used is an error that names it."""
    pytester.makeini(f"[pytest]\n{ini}")
    pytester.makepyfile("def test_it(rf_fake_auth): pass")
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([message])


@pytest.mark.parametrize("marker", ["rf_clock", "rf_fake_auth"])
def test_a_marker_takes_keywords_only(pytester: pytest.Pytester, marker: str) -> None:
    """A positional argument, which would otherwise be lost, is an error."""
    fixture = marker
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.{marker}("2031-05-05")
        def test_it({fixture}): pass
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*@pytest.mark.{marker} takes keyword arguments only."])


def test_the_clock_is_frozen(pytester: pytest.Pytester) -> None:
    """`rf_clock` freezes the test's time at its start, and what the library sleeps is instant."""
    pytester.makepyfile(
        """
        from datetime import UTC, datetime
        from requestforge import instrumentation

        def test_it(rf_clock):
            instrumentation.sleep(120)
            assert rf_clock.sleeps == [120]
            assert datetime.now(UTC) == rf_clock.now() == datetime(2030, 1, 1, 0, 2, tzinfo=UTC)

        def test_without():
            assert datetime.now(UTC).year < 2030
        """
    )
    passes(pytester, count=2)


@pytest.mark.parametrize(
    ("ini", "marker", "shown"),
    [
        pytest.param("rf_clock_start = 2031-05-05T12:00:00Z", "", "2031-05-05T12:00:00", id="ini"),
        pytest.param(
            "rf_clock_start = 2031-05-05T12:00:00Z",
            "@pytest.mark.rf_clock(start='2032-01-01T00:00:00Z')",
            "2032-01-01T00:00:00",
            id="marker",
        ),
        pytest.param(
            "", "@pytest.mark.rf_clock(real_sleep=True)", "2030-01-01T00:00:00", id="real sleep"
        ),
    ],
)
def test_the_clock_can_start_elsewhere(
    pytester: pytest.Pytester, ini: str, marker: str, shown: str
) -> None:
    """By marker or ini file."""
    pytester.makeini(f"[pytest]\n{ini}")
    pytester.makepyfile(
        f"""
        import pytest, time

        {marker}
        def test_it(rf_clock):
            time.sleep(0)
            assert rf_clock.now().isoformat() == "{shown}+00:00"
            assert rf_clock.sleeps == {[] if "real" in marker else [0]}
        """
    )
    passes(pytester)


def test_durations_stay_real(pytester: pytest.Pytester) -> None:
    """Pytest measures real time in the report of a test whose time is frozen."""
    pytester.makepyfile("def test_it(rf_clock): rf_clock.advance(days=365)")
    reports = pytester.inline_run().getreports("pytest_runtest_logreport")
    assert len(reports) == 3
    for report in reports:
        assert 0 < report.duration < 60
        assert abs(report.start - time.time()) < 60
        assert abs(report.stop - time.time()) < 60


FREEZER = """
    import pytest
    from freezegun import freeze_time

    @pytest.fixture
    def freezer():
        with freeze_time("2025-05-05", ignore=["_pytest.runner"]) as freezer:
            yield freezer
"""


@pytest.mark.parametrize("arguments", ["rf_clock, freezer", "freezer, rf_clock"])
def test_a_freezer_is_adopted(pytester: pytest.Pytester, arguments: str) -> None:
    """In whatever order a test asks for them, the clock shows and moves the freezer's time."""
    pytester.makeini("[pytest]\nrf_clock_start = 2031-05-05T12:00:00Z")
    pytester.makeconftest(FREEZER)
    pytester.makepyfile(
        f"""
        def test_it({arguments}):
            assert rf_clock.now().year == 2025
            rf_clock.advance(60)
            assert freezer().minute == 1
            freezer.move_to("2026-06-06")
            assert rf_clock.now().year == 2026
        """
    )
    passes(pytester)


@pytest.mark.parametrize(
    ("travel", "year"),
    [
        pytest.param("time_machine.move_to('2025-05-05T00:00:00Z', tick=False)", 2025, id="away"),
        pytest.param("pass", 2030, id="not yet"),
    ],
)
def test_a_time_machine_is_adopted(pytester: pytest.Pytester, travel: str, year: int) -> None:
    """The clock shows and moves the time of the machine, which may also travel later on."""
    pytester.makepyfile(
        f"""
        import pytest
        from datetime import datetime, UTC

        @pytest.fixture
        def before(time_machine):
            {travel}

        def test_it(before, rf_clock, time_machine):
            assert rf_clock.now() == datetime.now(UTC)
            assert rf_clock.now().year == {year}
            rf_clock.advance(60)
            assert datetime.now(UTC).minute == 1
            time_machine.move_to(datetime(2026, 6, 6, tzinfo=UTC), tick=False)
            assert rf_clock.now() == datetime.now(UTC) == datetime(2026, 6, 6, tzinfo=UTC)
        """
    )
    passes(pytester)


@pytest.mark.parametrize("fixture", ["rf_fake_auth", "rf_recorder"])
def test_the_clock_is_set_before_anything_looks_at_it(
    pytester: pytest.Pytester, fixture: str
) -> None:
    """In whatever order a test asks for the fixtures, the clock comes first."""
    pytester.makepyfile(f"def test_it({fixture}, rf_clock): pass")
    result = passes(pytester, "--setup-show")
    shown = result.stdout.str()
    assert shown.index("SETUP    F rf_clock") < shown.index(f"SETUP    F {fixture}")


def test_the_recorder_records(pytester: pytest.Pytester) -> None:
    """`rf_recorder` hears of what the pipelines of the test do, from a storage of its own."""
    pytester.makepyfile(
        """
        from requestforge import TokenData, TokenFetchPipeline
        from requestforge.interfaces import TokenFetcherInterface

        class Step(TokenFetcherInterface):
            name = "app_token"

            def fetch(self, context=None):
                return TokenData("t")

        def test_it(rf_recorder, rf_token_storage):
            pipeline = TokenFetchPipeline([Step()], rf_token_storage)
            pipeline.execute()
            with rf_recorder.expect_fetches():
                pipeline.execute()
            rf_recorder.assert_cache_hits(app_token=1)
            assert rf_recorder.misses == {"app_token": {"empty": 1}}
        """
    )
    passes(pytester)


def test_the_storage_is_new_in_every_test(pytester: pytest.Pytester) -> None:
    """`rf_token_storage` starts empty."""
    pytester.makepyfile(
        """
        import pytest
        from requestforge import TokenData

        @pytest.mark.parametrize("turn", [1, 2])
        def test_it(rf_token_storage, turn):
            assert not rf_token_storage.exists("key")
            rf_token_storage.set("key", TokenData("t"))
        """
    )
    passes(pytester, count=2)


def faked(pytester: pytest.Pytester, *arguments: str) -> list[str]:
    """What `rf_faker` gives in two tests of an inner run."""
    pytester.makepyfile(
        """
        from pathlib import Path

        def test_one(rf_faker, request):
            with Path("faked.txt").open("a") as file:
                print(rf_faker.name(), rf_faker.access_token(), file=file)

        test_two = test_one
        """
    )
    noted = pytester.path / "faked.txt"
    noted.unlink(missing_ok=True)
    passes(pytester, *arguments, count=2)
    return noted.read_text().splitlines()


def test_the_faker_follows_from_the_test(pytester: pytest.Pytester) -> None:
    """Its values are the same in every run, in any order, and others in other tests."""
    first = faked(pytester)
    assert faked(pytester, "-p", "no:faker") == first
    assert len(set(first)) == 2
    assert not set(faked(pytester, "--rf-seed=7")) & set(first)
    assert faked(pytester, "--rf-seed=7") == faked(pytester, "--rf-seed=7")


@pytest.mark.parametrize(
    ("fixture", "package"),
    [
        pytest.param("rf_clock", "freezegun", id="rf_clock"),
        pytest.param("rf_fake_auth", "responses", id="rf_fake_auth"),
        pytest.param("rf_fake_auth", "werkzeug", id="rf_fake_auth's core"),
        pytest.param("rf_faker", "faker", id="rf_faker"),
    ],
)
def test_a_missing_package_is_told(pytester: pytest.Pytester, fixture: str, package: str) -> None:
    """A fixture whose package is missing says which one, and how to install it."""
    pytester.makeconftest(
        f"""
        import sys

        sys.modules[{package!r}] = None
        """
    )
    pytester.makepyfile(f"def test_it({fixture}): pass")
    disabled = ("faker", "requests_mock", "randomly")
    result = pytester.runpytest_subprocess(*(f"-pno:{plugin}" for plugin in disabled))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [f"E *ImportError: *{package}*pip install 'requestforge[[]testing]'*"]
    )


@pytest.mark.skipif(find_spec("xdist") is None, reason="pytest-xdist is not installed")
def test_it_works_under_xdist(pytester: pytest.Pytester) -> None:
    """Failures of a worker come with their timeline, and options reach the workers."""
    pytester.makepyfile(
        """
        import pytest, requests

        @pytest.mark.parametrize("turn", range(4))
        def test_it(rf_clock, rf_fake_auth, turn):
            rf_fake_auth.token("app_token", "POST /token")
            requests.post(rf_fake_auth.url + "/token")
            assert turn < 3
        """
    )
    result = pytester.runpytest_subprocess("-n2", "--rf-seed=7")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*- requestforge timeline -*", "seed 7, transport inprocess"])


@pytest.mark.skipif(find_spec("pytest_randomly") is None, reason="pytest-randomly is not installed")
def test_it_works_with_randomly(pytester: pytest.Pytester) -> None:
    """Neither the order of the tests nor the reseeding changes what a test gets."""
    pytester.makeini("[pytest]")
    in_order = faked(pytester, "-p", "no:randomly")
    for seed in range(3):
        assert sorted(faked(pytester, f"--randomly-seed={seed}")) == sorted(in_order)


def test_a_unittest_can_use_the_parts(pytester: pytest.Pytester) -> None:
    """Without fixtures, and without pytest, each part is a context manager."""
    pytester.makepyfile(
        test_case="""
        import unittest
        import requests
        from pytest_requestforge import Clock, FakeAuth, Recorder

        class Case(unittest.TestCase):
            def test_it(self):
                clock = self.enterContext(Clock())
                auth = self.enterContext(FakeAuth())
                recorder = self.enterContext(Recorder())
                auth.token("app_token", "POST /token")
                clock.advance(60)
                requests.post(auth.url + "/token")
                auth.assert_fetch_counts(app_token=1)
                recorder.assert_no_fetches()
        """
    )
    result = pytester.run(sys.executable, "-m", "unittest", "test_case")
    assert result.ret == 0
    passes(pytester)
