"""`--rf-report`: the page, what it tells, and how a real browser shows it."""

import re
from importlib.util import find_spec
from typing import Any

import pytest

from browser import browser

XDIST = pytest.param(
    ("-n", "2"),
    marks=pytest.mark.skipif(find_spec("xdist") is None, reason="pytest-xdist is not installed"),
)

PROJECT = """
import pytest, requests
from datetime import timedelta
from requestforge import (
    AuthenticationException, BodyTokenFetcher, InMemoryTokenStorage, StepToken, TokenFetchPipeline
)

URL = "https://auth.example.com"

@pytest.fixture
def pipeline():
    device = BodyTokenFetcher("device", URL, "/device", ttl=timedelta(days=30))
    app = BodyTokenFetcher("app", URL, "/app", request_data={"client_secret": "s3cret-of-app"})
    user = BodyTokenFetcher(
        "user", URL, "/user", request_headers={"X-App": StepToken("app")}, ttl=timedelta(minutes=30)
    )
    return TokenFetchPipeline([device, app, user], InMemoryTokenStorage())

def test_story(rf_clock, rf_fake_auth, pipeline):
    ends = rf_fake_auth.serve(pipeline)
    me = rf_fake_auth.resource(
        "GET https://api.example.com/users/profile/of/mine", needs=ends["user"]
    )
    headers = {"Authorization": f"Bearer {pipeline.execute().access_token}"}
    pipeline.execute()
    requests.get(me.url, headers=headers)
    rf_clock.advance(31)
    pipeline.invalidate_step("app")
    ends["app"].fail(503)
    with pytest.raises(AuthenticationException):
        pipeline.execute()
    pipeline.execute()
    rf_clock.advance(minutes=31)
    pipeline.execute()
    requests.get(me.url, headers=headers)
    rf_clock.advance(hours=3)
    pipeline.execute(force_refresh=True)
    rf_clock.advance(days=31)
    requests.post(ends["device"].url)
    raise ZeroDivisionError("<script>alert('s3cret-of-app')</script>")

@pytest.mark.parametrize("name", ["<b>&\\"'"])
def test_fine(rf_fake_auth, pipeline, name):
    rf_fake_auth.serve(pipeline)
    pipeline.execute()
    pipeline.invalidate_all()

def test_recorder(rf_recorder):
    from requestforge.events import StepCached
    from requestforge import instrumentation
    at = instrumentation.now()
    instrumentation.emit(StepCached(at=at, pipeline="", step="alone"))

def test_skipped(rf_fake_auth):
    requests.post(rf_fake_auth.token("forever", "POST /x").url)
    pytest.skip()

def test_error(rf_fake_auth, missing): pass

@pytest.fixture
def late(rf_fake_auth):
    requests.post(rf_fake_auth.token("late", "POST /x").url)
    yield
    raise ZeroDivisionError

def test_late(late): pass
def test_long(rf_fake_auth):
    app = rf_fake_auth.token("app", "POST /x")
    session = requests.Session()
    for _ in range(410):
        session.post(app.url)

def test_without(rf_fake_auth): pass
"""


def run(pytester: pytest.Pytester, *arguments: str) -> str:
    """The page of the project."""
    pytester.makepyfile(PROJECT)
    result = pytester.runpytest("--rf-report=out/page.html", "-p", "no:randomly", *arguments)
    result.assert_outcomes(passed=5, failed=1, skipped=1, errors=2)
    path = pytester.path / "out" / "page.html"
    result.stdout.fnmatch_lines([f"requestforge report: {path}"])
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("more", [(), XDIST], ids=["alone", "xdist"])
def test_it_has_each_test_that_asked(pytester: pytest.Pytester, more: tuple[str, ...]) -> None:
    """What failed comes first and is open; nothing in it is secret or markup."""
    content = run(pytester, *more)
    tests = re.findall(
        r'<details class="test (\w+)"( open)?>.*?</span> \S+::(.*?)</summary>', content
    )
    assert sorted(tests) == [
        ("error", " open", "test_late"),
        ("failed", " open", "test_story"),
        ("passed", "", "test_fine[&lt;b&gt;&amp;&quot;&#x27;]"),
        ("passed", "", "test_long"),
        ("passed", "", "test_recorder"),
        ("skipped", "", "test_skipped"),
    ]
    assert {outcome for outcome, _, _ in tests[:2]} == {"error", "failed"}
    assert '<p class="sum">1 error, 1 failed, 3 passed, 1 skipped</p>' in content
    assert "s3cret" not in content
    assert not re.search(r"rft\w{20}", content)
    assert not re.search(r"""(src|href)=|url\(|https?://(?!auth|api)|@import""", content)


def test_it_shows_what_happened(pytester: pytest.Pytester) -> None:
    """Fetches, hits, ends, invalidations, refusals and faults, each with its text."""
    content = run(pytester)
    story = content[content.index("::test_story") :]
    story = story[: story.index("</details>")]
    marks = re.findall(r'<g class="mark (\w+)" .*?data-text="(.*?)"', story)
    kinds = [kind for kind, _ in marks]
    assert {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)} == {
        "fetch": 10,
        "hit": 7,
        "request": 1,
        "invalidation": 2,
        "fault": 1,
        "refused": 1,
        "expiry": 6,
    }
    texts = [text for _, text in marks]
    assert "#2 POST https://auth.example.com/app: 200 issued app#1 (MainThread)" in texts
    assert "device served from the cache" in texts
    assert any(
        re.fullmatch(r"invalidate_step.*app.* at .*:\d+, cleared app, user", t) for t in texts
    )
    lives = re.findall(r'<rect class="life".*?data-text="(.*?)"', story)
    assert lives[:3] == [
        "device#1 until 2030-01-31 00:00:00, replaced",
        "app#1 until 01:00:00, given up",
        "user#1 until 00:30:00, given up",
    ]
    assert lives[-1].endswith("still good")
    assert re.findall(r'class="time".*?>(.*?)<', story) == [
        "+0.0s",
        "+31.0s",
        "+31.5 min",
        "+3.5 h",
        "+31.1 d",
    ]
    assert "GET http…ers/profile/of/mine" in story
    assert ", the first 10 happenings left out" in content
    assert "forever#1, still good" in content


def test_a_run_without_servers_has_a_page_that_says_so(pytester: pytest.Pytester) -> None:
    """It is not an error."""
    pytester.makepyfile("def test_it(): pass")
    pytester.runpytest("--rf-report=page.html").assert_outcomes(passed=1)
    content = (pytester.path / "page.html").read_text(encoding="utf-8")
    assert "No test asked a fake auth server." in content


@pytest.mark.parametrize("more", [(), XDIST], ids=["alone", "xdist"])
def test_a_finding_of_a_teardown_is_a_failure(
    pytester: pytest.Pytester, more: tuple[str, ...]
) -> None:
    """On the page as in the terminal, also where another process has run the test."""
    pytester.makepyfile(
        """
        import pytest, requests

        @pytest.fixture
        def late(rf_fake_auth):
            yield
            requests.get(rf_fake_auth.url)

        def test_it(late): pass
        """
    )
    result = pytester.runpytest("--rf-report=page.html", *more)
    result.assert_outcomes(failed=1)
    content = (pytester.path / "page.html").read_text(encoding="utf-8")
    assert '<p class="sum">1 failed</p>' in content


def test_a_real_browser_shows_it(pytester: pytest.Pytester) -> None:
    """The pictures are there, nothing is loaded, and marks tell their text on hover and focus."""
    run(pytester)
    with browser() as page:

        def ask(script: str) -> Any:  # noqa: ANN401
            return page.run(script)

        page.open((pytester.path / "out" / "page.html").as_uri())
        assert ask("document.title") == "Token timelines"
        assert ask("performance.getEntriesByType('resource').length") == 0
        assert ask("document.querySelectorAll('details[open] svg').length") == 2
        first = "document.querySelector('details[open].failed .mark')"
        box = f"(b => b.width > 10 && b.height > 10)({first}.getBoundingClientRect())"
        assert ask(box) is True
        overlapping = (
            "[...document.querySelectorAll('details[open].failed svg text')].some("
            "t => t.getBoundingClientRect().right > 2000)"
        )
        assert ask(overlapping) is False
        assert ask("document.getElementById('told').textContent") == ""
        ask(f"{first}.dispatchEvent(new MouseEvent('mouseover', {{bubbles: true}}))")
        assert "200 issued device#1" in ask("document.getElementById('told').textContent")
        ask("document.body.dispatchEvent(new MouseEvent('mouseover', {bubbles: true}))")
        assert ask("document.getElementById('told').textContent") == ""
        ask(f"{first}.focus()")
        assert "200 issued device#1" in ask("document.getElementById('told').textContent")
        assert ask("document.documentElement.scrollWidth <= window.innerWidth") is True
