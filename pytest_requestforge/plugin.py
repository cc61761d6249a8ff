"""The fixtures, options and hooks that pytest loads through the entry point."""
# ruff: noqa: D205, D415 - of a fixture `pytest --fixtures` shows the first paragraph, example included

import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from pytest_requestforge import _outcomes
from pytest_requestforge._extras import needed_by
from pytest_requestforge._progress import Progress
from pytest_requestforge._protocol import Protocol

if TYPE_CHECKING:
    from faker import Faker

    from pytest_requestforge.clock import Clock
    from pytest_requestforge.fake_auth import FakeAuth, FakeAuthFactory
    from pytest_requestforge.recorder import Recorder
    from requestforge.interfaces import TokenStorageInterface

_SEVERITIES = ("error", "warn", "ignore")
_MARKERS = (
    "rf_clock(start, real_sleep): when rf_clock starts, and whether time.sleep really sleeps",
    "rf_fake_auth(transport, strict, seed, unused_faults): how the fakes of the test are made",
    'rf_faults("all"): run the test once more for each of its steps with each fault that is named',
)


@pytest.fixture
def rf_fake_auth(rf_fake_auth_factory: "FakeAuthFactory") -> "FakeAuth":
    """A fake auth server that answers in process, for every host that it is told of.
    For example:
        def test_profile(rf_fake_auth, pipeline, client):
            rf_fake_auth.serve(pipeline)
            client.get("/user/profile")
            rf_fake_auth.assert_fetch_counts(app_token=1, user_token=1)

    A request that it has no endpoint for fails the test, and so does a fault that is not used.

    Markers: @pytest.mark.rf_fake_auth(transport="loopback", strict=False, seed=7),
    @pytest.mark.rf_faults("all"). Options: --rf-transport, --rf-seed. Ini: rf_transport,
    rf_strict_unmatched, rf_unused_faults, rf_seed.
    """
    return rf_fake_auth_factory()


@pytest.fixture
def rf_fake_auth_server(rf_fake_auth_factory: "FakeAuthFactory") -> "FakeAuth":
    """A fake auth server on a socket of 127.0.0.1, for other clients and processes.
    For example:
        def test_command(rf_fake_auth_server):
            rf_fake_auth_server.token("app_token", "POST /token", expires_in=3600)
            subprocess.run(["my-command", "--auth-url", rf_fake_auth_server.url], check=True)
            rf_fake_auth_server.assert_fetch_counts(app_token=1)

    Marker, options and ini settings as for rf_fake_auth, but for the transport.
    """
    return rf_fake_auth_factory(transport="loopback")


@pytest.fixture
def rf_fake_auth_factory(request: pytest.FixtureRequest) -> Iterator["FakeAuthFactory"]:
    """Starts fake auth servers, for tests with several of them.
    For example:
        def test_two_providers(rf_fake_auth_factory):
            ours = rf_fake_auth_factory("https://auth.example.com")
            theirs = rf_fake_auth_factory("https://login.example.org", transport="loopback")

    Whatever it is not told comes from the marker, the options and the ini file of rf_fake_auth.
    """
    _freeze_first(request)
    with needed_by("A fake auth server"):
        from pytest_requestforge.fake_auth import FakeAuth
    defaults = _auth_settings(request)

    def start(base_url: str | None = None, **given: Any) -> FakeAuth:  # noqa: ANN401 - as in the Protocol
        chosen = {name: value for name, value in given.items() if value is not None}
        return stack.enter_context(FakeAuth(base_url, **{**defaults, **chosen}))

    with ExitStack() as stack:
        yield start


@pytest.fixture
def rf_clock(request: pytest.FixtureRequest) -> Iterator["Clock"]:
    """A clock that stands still at 2030-01-01T00:00:00Z until the test moves it.
    For example:
        def test_a_token_expires(rf_clock, pipeline):
            first = pipeline.execute()
            rf_clock.to_expiry("user_token", offset=0)
            assert pipeline.execute() != first

    All code of the process sees its time, and pauses take none. A `freezer` or `time_machine` that
    the test uses as well is adopted.

    Marker: @pytest.mark.rf_clock(start="2031-05-05T12:00:00Z"). Ini: rf_clock_start.
    """
    with needed_by("rf_clock"):
        from pytest_requestforge._freezing import is_frozen
        from pytest_requestforge.clock import Clock
    tools = {
        name: request.getfixturevalue(name)
        for name in ("freezer", "time_machine")
        if name in request.fixturenames
    }
    marked = _marked(request, "rf_clock")
    start = request.config.getini("rf_clock_start")
    settings = {"start": start, **marked} if start and not is_frozen() else marked
    try:
        clock = Clock(**settings)
    except (TypeError, ValueError) as error:
        sources = {"start": "rf_clock_start", **dict.fromkeys(marked, "@pytest.mark.rf_clock")}
        given = ", ".join(f"{name}={settings[name]!r} of {sources[name]}" for name in settings)
        raise pytest.UsageError(f"There is no clock with {given}: {error}") from None
    if "time_machine" in tools and not is_frozen():
        # It would refuse to travel once freezegun has frozen the time.
        tools["time_machine"].move_to(clock.now().timestamp(), tick=False)
    with clock:
        yield clock


@pytest.fixture
def rf_recorder(request: pytest.FixtureRequest) -> Iterator["Recorder"]:
    """Records what the library tells of itself: hits, misses, fetches, invalidations.
    For example:
        def test_the_second_run_is_cached(rf_recorder, pipeline):
            pipeline.execute()
            with rf_recorder.expect_fetches():
                pipeline.execute()
            rf_recorder.assert_cache_hits(app_token=1, user_token=1)
            assert rf_recorder.misses["app_token"] == {"empty": 1}
    """
    from pytest_requestforge.recorder import Recorder

    _freeze_first(request)
    with Recorder() as recorder:
        request.node.stash.setdefault(_outcomes.RECORDERS, []).append(recorder)
        yield recorder


@pytest.fixture
def rf_faker(request: pytest.FixtureRequest) -> "Faker":
    """A Faker that gives the same values in every run of the test.
    For example:
        def test_scopes(rf_faker):
            secret = rf_faker.client_secret()
            scope = rf_faker.scope(count=3)
            jwt = rf_faker.jwt(sub=rf_faker.user_name(), scope=scope, expires_in=60)

    Besides what every Faker has, it makes tokens, JWTs, clients, scopes and device codes.

    Option: --rf-seed. Ini: rf_seed.
    """
    with needed_by("rf_faker"):
        from pytest_requestforge.faker import make_faker
    return make_faker(f"{_seed(request.config)}/{request.node.nodeid}")


@pytest.fixture
def rf_token_storage() -> "TokenStorageInterface":
    """A new storage in memory; override it to run a suite on another one.
    For example:
        @pytest.fixture
        def rf_token_storage():
            return DjangoCacheTokenStorage()
    """
    from requestforge.token_manager import InMemoryTokenStorage

    return InMemoryTokenStorage()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and ini settings."""
    group = parser.getgroup("requestforge")
    group.addoption(
        "--rf-transport",
        choices=("inprocess", "loopback"),
        help="how rf_fake_auth is reached (default: in process)",
    )
    group.addoption(
        "--rf-seed",
        type=int,
        help="seed of the fake auth servers and of rf_faker (default: by the id of the test)",
    )
    group.addoption(
        "--rf-leaks",
        action="store_true",
        help="fail a test in which a token or secret of a fake auth server shows up in a log "
        "record, in captured output, or in the text of an exception",
    )
    group.addoption(
        "--rf-journal",
        metavar="FILE",
        help="write every request of every test to this file, each as a line of JSON",
    )
    group.addoption(
        "--rf-report",
        metavar="FILE",
        help="write a page of HTML that shows the timeline of each test",
    )
    parser.addini("rf_transport", "how rf_fake_auth is reached: inprocess or loopback")
    parser.addini(
        "rf_strict_unmatched",
        "whether a request that no endpoint of a fake auth server matches fails the test",
        type="bool",
        default=True,
    )
    parser.addini(
        "rf_unused_faults",
        "what becomes of a test that leaves a fault unused: error, warn or ignore",
        default="error",
    )
    parser.addini("rf_clock_start", "when rf_clock starts (ISO 8601; naive: local time)")
    parser.addini("rf_seed", "seed of the fake auth servers and of rf_faker, a whole number")


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known, and watch the tests."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    config.pluginmanager.register(_outcomes, "requestforge-outcomes")
    config.pluginmanager.register(Protocol(), "requestforge-protocol")
    if config.getoption("--rf-leaks"):
        from pytest_requestforge._leaks import LeakCheck

        config.pluginmanager.register(LeakCheck(), "requestforge-leaks")
    folder, is_worker = config.invocation_params.dir, hasattr(config, "workerinput")
    journal, report = config.getoption("--rf-journal"), config.getoption("--rf-report")
    if journal:
        from pytest_requestforge._journal_file import JournalFile

        lines = JournalFile(folder / journal, is_new=not is_worker)
        config.pluginmanager.register(lines, "requestforge-journal")
    if report:
        from pytest_requestforge._report_file import ReportFile

        page = ReportFile(folder / report, is_worker=is_worker)
        config.pluginmanager.register(page, "requestforge-report")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Get ready to count tests that come up later."""
    session.config.pluginmanager.register(Progress(session), "requestforge-progress")


def pytest_report_header(config: pytest.Config) -> str:
    """Say how the fakes are made, and what is looked at."""
    transport = config.getoption("--rf-transport") or config.getini("rf_transport") or "inprocess"
    option = config.getoption("--rf-seed")
    seed = (config.getini("rf_seed") or "by test") if option is None else option
    parts = [f"transport {transport}", f"seed {seed}"]
    if config.getoption("--rf-leaks"):
        parts.append("leaks fail")
    if config.getoption("--rf-journal"):
        parts.append(f"journal {config.getoption('--rf-journal')}")
    if config.getoption("--rf-report"):
        parts.append(f"report {config.getoption('--rf-report')}")
    return f"requestforge: {', '.join(parts)}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Get ready for tests that are run with each fault."""
    if any(item.get_closest_marker("rf_faults") for item in items):
        from pytest_requestforge import _matrix

        config.pluginmanager.register(_matrix.FaultMatrix(), "requestforge-matrix")


def _freeze_first(request: pytest.FixtureRequest) -> None:
    """Have the clock of the test set before anything looks at it."""
    if "rf_clock" in request.fixturenames:
        request.getfixturevalue("rf_clock")


def _auth_settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    config = request.config
    seed = _seed(config)
    return {
        "transport": config.getoption("--rf-transport")
        or config.getini("rf_transport")
        or "inprocess",
        "strict": config.getini("rf_strict_unmatched"),
        "unused_faults": _severity(config),
        "seed": zlib.crc32(request.node.nodeid.encode()) if seed is None else seed,
        **_marked(request, "rf_fake_auth"),
    }


def _severity(config: pytest.Config) -> str:
    severity: str = config.getini("rf_unused_faults")
    if severity not in _SEVERITIES:
        raise pytest.UsageError(
            f"rf_unused_faults must be {', '.join(_SEVERITIES)}, not {severity!r}."
        )
    return severity


def _seed(config: pytest.Config) -> int | None:
    option: int | None = config.getoption("--rf-seed")
    setting: str = config.getini("rf_seed")
    if option is not None or not setting:
        return option
    try:
        return int(setting)
    except ValueError:
        raise pytest.UsageError(f"rf_seed must be a whole number, not {setting!r}.") from None


def _marked(request: pytest.FixtureRequest, name: str) -> dict[str, Any]:
    """The keyword arguments of the closest marker of that name."""
    marker = request.node.get_closest_marker(name)
    if marker is None:
        return {}
    if marker.args:
        raise pytest.UsageError(f"@pytest.mark.{name} takes keyword arguments only.")
    return dict(marker.kwargs)
