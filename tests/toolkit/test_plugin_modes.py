"""The plugin in the company of others: ways to import, to run at once, and to run out of order."""

from importlib.util import find_spec

import pytest

PROJECT = """
import asyncio, threading
import pytest, requests
from requestforge import BodyTokenFetcher, InMemoryTokenStorage, TokenFetchPipeline

@pytest.fixture
def pipeline(rf_token_storage):
    return TokenFetchPipeline(
        [BodyTokenFetcher("app", "https://auth.example.com", "/app", request_data={"a": "1"})],
        rf_token_storage,
    )

@pytest.mark.parametrize("turn", range(4))
def test_expiry(rf_clock, rf_fake_auth, pipeline, turn):
    rf_fake_auth.serve(pipeline)
    pipeline.execute()
    rf_clock.to_expiry("app", offset=0)
    pipeline.execute()
    rf_fake_auth.assert_fetch_counts(app=2)

@pytest.mark.rf_faults("reset", "slow", "garbage")
def test_faults(rf_clock, rf_fake_auth, pipeline):
    rf_fake_auth.serve(pipeline)
    try:
        pipeline.execute()
    except Exception:
        pipeline.execute()

def test_asyncio(rf_clock, rf_fake_auth_server):
    url = rf_fake_auth_server.token("app", "POST /app", expires_in=60).url

    async def main():
        await asyncio.sleep(0.001)
        threads = (asyncio.to_thread(requests.post, url) for _ in range(4))
        return [answer.status_code for answer in await asyncio.gather(*threads)]

    assert asyncio.run(main()) == [200] * 4
    rf_fake_auth_server.assert_fetch_counts(app=4)

def test_threads(rf_clock, rf_fake_auth, pipeline):
    rf_fake_auth.serve(pipeline)
    threads = [threading.Thread(target=pipeline.execute) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rf_fake_auth.assert_single_flight()

def test_random(rf_fake_auth, rf_faker):
    rf_fake_auth.assert_no_secrets(rf_faker.access_token())

def test_failing(rf_fake_auth):
    rf_fake_auth.token("app", "POST /app").reset()

def test_leaking(rf_fake_auth):
    print(requests.post(rf_fake_auth.token("app", "POST /app").url).json())
"""


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("-p", "no:randomly"), id="plain"),
        pytest.param(("--import-mode=prepend",), id="prepend"),
        pytest.param(("--import-mode=append",), id="append"),
        pytest.param(("--import-mode=importlib",), id="importlib"),
        pytest.param(("-p", "no:faker"), id="no faker"),
        pytest.param(("--assert=plain",), id="assert plain"),
        pytest.param(("--rf-transport=inprocess", "--rf-seed=3"), id="options"),
        pytest.param(
            ("-n", "2"),
            id="xdist",
            marks=pytest.mark.skipif(find_spec("xdist") is None, reason="no pytest-xdist"),
        ),
        pytest.param(
            ("--randomly-seed=7",),
            id="randomly",
            marks=pytest.mark.skipif(find_spec("pytest_randomly") is None, reason="not installed"),
        ),
    ],
)
def test_a_project_runs_in_every_mode(
    pytester: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    """With the same outcome; nothing is an error."""
    pytester.makepyfile(PROJECT)
    result = pytester.runpytest("--rf-leaks", "--rf-journal=journal.jsonl", *arguments)
    result.assert_outcomes(passed=11, failed=2)
    lines = (pytester.path / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 20


def test_it_works_with_django(pytester: pytest.Pytester) -> None:
    """A local-memory cache keeps to the clock of the test, too."""
    pytester.makeconftest(
        """
        from django.conf import settings
        settings.configure(
            CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
        )
        """
    )
    pytester.makepyfile(
        PROJECT
        + """
@pytest.fixture
def rf_token_storage():
    from django.core.cache import cache
    from requestforge import DjangoCacheTokenStorage
    cache.clear()
    return DjangoCacheTokenStorage()
"""
    )
    result = pytester.runpytest_subprocess("--rf-leaks", "-p", "no:randomly")
    result.assert_outcomes(passed=11, failed=2)


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
