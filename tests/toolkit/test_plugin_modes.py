"""A project of twenty tests, in an environment of its own, and in the company of other plugins."""

import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = Path(__file__).parent / "sample"

INI = "[pytest]\naddopts = --strict-markers --strict-config --rf-leaks\n"

# Of 20 tests, one with two cases and two with a run for each of four faults.
OUTCOMES = {"passed": 21, "failed": 8, "errors": 1}
REASONS = {
    "test_unmatched": "1 request matched no endpoint of the fake auth server:",
    "test_unmatched_with_an_error_of_its_own": "KeyError: 'of the test'",
    "test_unmatched_at_the_end": "1 request matched no endpoint of the fake auth server:",
    "test_an_unused_fault": "1 fault has not struck as called for:",
    "test_a_leak": "secrets of a fake auth server show up:",
    "test_wrong_counts": "AssertionError: token fetch counts differ: app fetched 1 time, expected*",
    "test_a_fault_breaks_it?app-reset?": "requestforge.exceptions.*",
    "test_a_fault_breaks_it?user-reset?": "requestforge.exceptions.*",
}

# Tests that are of another plugin's making.
WITH_PLUGIN = {
    "--asyncio-mode=auto": """
async def test_of_the_plugin(rf_clock, rf_fake_auth_server, rf_recorder):
    url = rf_fake_auth_server.token("app", "POST /app", expires_in=60).url
    rf_clock.advance(90)
    await asyncio.sleep(0.001)
    async with asyncio.timeout(30):
        assert (await asyncio.to_thread(requests.post, url)).status_code == 200
    rf_fake_auth_server.assert_fetch_counts(app=1)
""",
    "--ds=shop_settings": """
def test_of_the_plugin(settings, client, rf_clock, rf_fake_auth, pipeline):
    assert settings.SECRET_KEY == "of-django"
    rf_fake_auth.serve(pipeline)
    pipeline.execute()
    rf_clock.to_expiry("user", offset=0)
    pipeline.execute()
    rf_fake_auth.assert_fetch_counts(app=1, user=2)
""",
}

STORAGES = {
    "locmem": """
from django.conf import settings
settings.configure(
    CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
)

@pytest.fixture
def rf_token_storage():
    from django.core.cache import cache
    from requestforge import DjangoCacheTokenStorage
    cache.clear()
    return DjangoCacheTokenStorage()
""",
    "redis": """
@pytest.fixture
def rf_token_storage(request):
    import redis
    from requestforge.storage import RedisTokenStorage
    with redis.Redis.from_url("{redis_url}") as client:
        yield RedisTokenStorage(client, key_prefix=request.node.nodeid)
""",
}


def needs(module: str) -> pytest.MarkDecorator:
    """Skip where it is not installed."""
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed")


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Gives the Python of an environment in which the project is installed in the named way.

    What it needs is taken from the environment of these tests. Nothing is downloaded.
    """
    pytest.importorskip("hatchling", reason="nothing builds the wheel here")
    made: dict[str, str] = {}

    def install(way: str) -> str:
        if way not in made:
            folder = tmp_path_factory.mktemp(way)
            venv.create(folder, symlinks=True)
            variables = {"base": str(folder), "platbase": str(folder)}
            program = Path(sysconfig.get_path("scripts", "venv", vars=variables), "python")
            packages = Path(sysconfig.get_path("purelib", "venv", vars=variables))
            # Behind its own packages, and without the .pth files there: not what is under test.
            (packages / "others.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
            what = ["--editable", str(ROOT)] if way == "editable" else [str(ROOT)]
            options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
            # Else one that these tests run with counts as installed already.
            options.append("--ignore-installed")
            subprocess.run(
                [sys.executable, "-m", "pip", "--python", program, "install", *options, *what],
                check=True,
                cwd=folder,
            )
            made[way] = str(program)
        return made[way]

    return install


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """The twenty tests; what they import is what is installed."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    for name in ("CI", "BUILD_NUMBER"):  # pytest's summary then repeats the whole failure
        monkeypatch.delenv(name, raising=False)
    copy(pytester, "shop_tests.py", "test_shop.py")
    copy(pytester, "shop_conftest.py", "conftest.py")
    pytester.makeini(INI)
    return pytester


def copy(pytester: pytest.Pytester, name: str, to: str, more: str = "") -> None:
    """Copy a file of the sample, and add to it."""
    text = (SAMPLE / name).read_text(encoding="utf-8")
    (pytester.path / to).write_text(text + more, encoding="utf-8")


@pytest.mark.parametrize(
    ("way", "arguments"),
    [
        pytest.param("editable", ("--import-mode=prepend",), id="editable"),
        pytest.param("editable", ("--import-mode=importlib",), id="editable, importlib"),
        pytest.param("wheel", ("-p", "no:randomly"), id="wheel"),
        pytest.param("wheel", ("--import-mode=prepend",), id="prepend"),
        pytest.param("wheel", ("--import-mode=append",), id="append"),
        pytest.param("wheel", ("--import-mode=importlib",), id="importlib"),
        pytest.param("wheel", ("-p", "no:faker"), id="no faker"),
        pytest.param("wheel", ("--assert=plain",), id="assert plain"),
        pytest.param("wheel", ("--rf-transport=inprocess", "--rf-seed=3"), id="options"),
        pytest.param("wheel", ("-n", "2"), id="xdist", marks=needs("xdist")),
        pytest.param(
            "wheel", ("--randomly-seed=7",), id="randomly", marks=needs("pytest_randomly")
        ),
        pytest.param(
            "wheel", ("--asyncio-mode=auto",), id="asyncio", marks=needs("pytest_asyncio")
        ),
        pytest.param("wheel", ("--ds=shop_settings",), id="django", marks=needs("pytest_django")),
    ],
)
def test_a_project_runs_in_every_mode(
    project: pytest.Pytester, python: Callable[[str], str], way: str, arguments: tuple[str, ...]
) -> None:
    """With the same outcome; only a fixture of the user's that breaks is an error."""
    program = python(way)
    place = project.run(program, "-c", "import pytest_requestforge as p; print(p.__file__)")
    (at,) = map(Path, place.outlines)
    expected = ROOT if way == "editable" else Path(program).parents[1]
    assert at.is_relative_to(expected)
    more = WITH_PLUGIN.get(arguments[0], "")
    copy(project, "shop_tests.py", "test_shop.py", more)
    (project.path / "shop_settings.py").write_text("SECRET_KEY = 'of-django'\n", encoding="utf-8")
    project.makeini(INI + "pythonpath = .")
    files = ("--rf-journal=journal.jsonl", "--junitxml=times.xml")

    result = project.run(program, "-m", "pytest", *files, *arguments)

    result.assert_outcomes(**OUTCOMES | {"passed": OUTCOMES["passed"] + bool(more)})
    for test, reason in REASONS.items():
        result.stdout.fnmatch_lines_random([f"FAILED *::{test}*", f"*{reason}"])
    result.stdout.fnmatch_lines(
        ["*_ ERROR at teardown of test_a_fixture_breaks_at_the_end _*", "*ZeroDivisionError: of *"]
    )
    lines = (project.path / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 30
    cases = ET.parse(project.path / "times.xml").getroot().iter("testcase")  # noqa: S314 - our own
    assert all(0 <= float(case.get("time", "")) < 30 for case in cases)


def test_without_the_option_leaks_are_left_alone(
    project: pytest.Pytester, python: Callable[[str], str]
) -> None:
    """Everything else comes out the same."""
    project.makeini("[pytest]\naddopts = --strict-markers --strict-config")
    result = project.run(python("wheel"), "-m", "pytest")
    result.assert_outcomes(passed=22, failed=7, errors=1)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_project_runs_on_every_storage(
    project: pytest.Pytester,
    python: Callable[[str], str],
    request: pytest.FixtureRequest,
    storage: str,
) -> None:
    """Local memory of Django and a real Redis keep to the clock of the test, too."""
    more = STORAGES[storage]
    if storage == "redis":
        more = more.replace("{redis_url}", request.getfixturevalue("redis_url"))
    copy(project, "shop_conftest.py", "conftest.py", more)
    result = project.run(python("wheel"), "-m", "pytest")
    result.assert_outcomes(**OUTCOMES)


@needs("xdist")
@pytest.mark.timeout(180)
def test_the_clock_rules_under_xdist_as_well() -> None:
    """All tests of the clock pass in processes of xdist, too."""
    files = sorted(map(str, Path(__file__).parent.glob("test_clock*.py")))
    without = [
        option for name in ("asyncio", "django", "randomly") for option in ("-p", f"no:{name}")
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *without, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert len(files) >= 5


def test_without_the_plugin_the_parts_still_work(pytester: pytest.Pytester) -> None:
    """Then nobody watches, and a block fails by itself."""
    pytester.makepyfile(
        """
        import pytest, requests
        from pytest_requestforge import FakeAuth

        def test_it():
            with pytest.raises(AssertionError, match="reset.. never used"), FakeAuth() as auth:
                auth.token("app", "POST /app").reset()
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:requestforge")
    result.assert_outcomes(passed=1)
