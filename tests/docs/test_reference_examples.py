import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from reference_page import AUTH, Endpoints, Page

from doubles import CountingStep
from pytest_requestforge import Clock
from requestforge import (
    AuthenticationException,
    HttpClient,
    InMemoryTokenStorage,
    TokenData,
    TokenFetchPipeline,
)
from requestforge.events import StepFetched


class TestTwoSteps:
    def test_the_client_is_authenticated(self, page: Page, endpoints: Endpoints) -> None:
        """The request executes the pipeline by itself and carries the user token."""
        auth = endpoints.two_steps()

        page.up_to("two_steps")

        assert page["response"].json() == endpoints.profile
        auth.assert_fetch_order("app_token", "user_token")
        assert auth.journal[-1].sent == ("user_token#1",)

    def test_the_user_token_is_bought_with_the_app_token(
        self, page: Page, endpoints: Endpoints
    ) -> None:
        """The overridden _build_request_headers sends the app token of the context."""
        auth = endpoints.two_steps()

        page.up_to("two_steps")

        assert auth.journal[1].sent == ("app_token#1",)
        assert "X-App-Token" in auth.journal[1].headers

    def test_a_second_request_uses_the_cache(self, page: Page, endpoints: Endpoints) -> None:
        """Another request of the client fetches no token."""
        auth = endpoints.two_steps()
        client: HttpClient = page.up_to("two_steps")["client"]

        with auth.expect_fetches():
            assert client.get("/user/profile").status_code == 200

    def test_only_the_user_token_is_refreshed(self, page: Page, endpoints: Endpoints) -> None:
        """When the API refuses the user token, that one is fetched again and the call succeeds."""
        auth = endpoints.two_steps()
        client: HttpClient = page.up_to("two_steps")["client"]
        endpoints.user.revoke()

        with auth.expect_fetches(app_token=0, user_token=1):
            assert client.get("/user/profile").json() == endpoints.profile

    def test_expires_in_and_ttl_hold_together(
        self, page: Page, endpoints: Endpoints, rf_clock: Clock
    ) -> None:
        """The app token is cached for its ttl of one hour, though its server grants two."""
        auth = endpoints.two_steps()
        pipeline = page.up_to("two_steps").pipeline

        rf_clock.advance(hours=1, seconds=-1)
        with auth.expect_fetches(app_token=0):
            pipeline.execute()
        rf_clock.advance(1)
        with auth.expect_fetches(app_token=1):
            pipeline.execute()


class TestThreeSteps:
    def test_prints_the_final_token(
        self, page: Page, endpoints: Endpoints, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The example prints the token of the third step."""
        endpoints.three_steps()

        page.up_to("three_steps")

        assert capsys.readouterr().out == f"Final token: {page['token'].access_token}\n"
        assert page.pipeline.step_names == ["device_token", "app_token", "user_token"]

    def test_the_flow_on_an_empty_cache(
        self, page: Page, endpoints: Endpoints, rf_clock: Clock
    ) -> None:
        """Each step misses, is fetched with the token before it, and is cached for its ttl."""
        auth = endpoints.three_steps()

        page.up_to("three_steps")

        auth.assert_cache_misses(device_token=1, app_token=1, user_token=1)
        assert [(entry.step, entry.sent) for entry in auth.journal] == [
            ("device_token", ()),
            ("app_token", ("device_token#1",)),
            ("user_token", ("app_token#1",)),
        ]
        cached = [event for event in auth.recorder.events if isinstance(event, StepFetched)]
        assert {event.step: event.ends_at - rf_clock.now() for event in cached} == {
            "device_token": timedelta(days=30),
            "app_token": timedelta(hours=1),
            "user_token": timedelta(minutes=15),
        }

    def test_the_next_execution(self, page: Page, endpoints: Endpoints, rf_clock: Clock) -> None:
        """Within 15 minutes every step is a cache hit, and the cached user token is returned."""
        auth = endpoints.three_steps()
        page.up_to("three_steps")

        rf_clock.advance(minutes=15, seconds=-1)
        with auth.expect_fetches():
            token = page.pipeline.execute()

        assert token == page["token"]
        auth.assert_cache_hits(device_token=1, app_token=1, user_token=1)

    @pytest.mark.parametrize(
        ("later", "fetched"),
        [
            pytest.param(timedelta(minutes=15), {"user_token"}, id="15 minutes"),
            pytest.param(timedelta(hours=1), {"app_token", "user_token"}, id="1 hour"),
            pytest.param(
                timedelta(days=30), {"device_token", "app_token", "user_token"}, id="30 days"
            ),
        ],
    )
    def test_when_a_ttl_has_passed(
        self,
        later: timedelta,
        fetched: set[str],
        page: Page,
        endpoints: Endpoints,
        rf_clock: Clock,
    ) -> None:
        """At the end of its ttl, to the second, a step is fetched again."""
        auth = endpoints.three_steps()
        page.up_to("three_steps")

        rf_clock.advance(later.total_seconds())
        mark = auth.journal.mark()
        page.pipeline.execute()

        assert set(auth.journal.fetch_counts(mark)) == fetched


class TestErrors:
    def test_the_failing_step_is_told(
        self, page: Page, endpoints: Endpoints, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The example prints the step that failed, and why."""
        endpoints.first(password="changed")

        page.up_to("errors")

        step, error = capsys.readouterr().out.splitlines()
        assert step == "Auth failed at step: user_token"
        assert error.startswith("Error: ")
        assert "user_token" in error
        assert "400" in error

    def test_the_failing_step_alone_is_invalidated(self, page: Page, endpoints: Endpoints) -> None:
        """After the example, the step that had worked still comes from the cache."""
        auth = endpoints.first(password="changed")
        page.up_to("errors")

        with auth.expect_fetches(app_token=0, user_token=1), pytest.raises(AuthenticationException):
            page.pipeline.execute()

    def test_nothing_is_printed_without_an_error(
        self, page: Page, endpoints: Endpoints, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Where all steps work, the example gives the token and prints nothing."""
        endpoints.first()

        page.up_to("errors")

        assert isinstance(page["token"], TokenData)
        assert capsys.readouterr().out == ""


class TestBestPractices:
    def test_order(self, page: Page) -> None:
        """Steps that are ordered by their dependencies make a pipeline that works."""
        page.run("pipeline")
        page["step_a"] = CountingStep("a")
        page["step_b"] = CountingStep("b", ["a"])
        page["step_c"] = CountingStep("c", ["b"])
        page["storage"] = InMemoryTokenStorage()

        assert page.run("order").pipeline.execute() == TokenData("c-1")

    def test_ttl(self, page: Page, endpoints: Endpoints) -> None:
        """Each fetcher has the ttl that it was given."""
        endpoints.three_steps()
        page.up_to("ttl")

        assert [page[step].ttl for step in ("device_token", "app_token", "user_token")] == [
            timedelta(days=30),
            timedelta(hours=1),
            timedelta(minutes=15),
        ]

    def test_selective_refresh(self, page: Page, endpoints: Endpoints) -> None:
        """A refresh of the provider leaves device and app token alone."""
        auth = endpoints.three_steps()
        page.up_to("selective_refresh")

        with auth.expect_fetches(device_token=0, app_token=0, user_token=1):
            page.provider.refresh_token(page["token"])

    def test_custom_fetcher(self, page: Page, endpoints: Endpoints) -> None:
        """A fetcher that overrides _build_request_headers sends the token of the earlier step."""
        auth = endpoints.auth
        previous = auth.token("previous_step", f"POST {AUTH}/previous")
        auth.token("custom", f"POST {AUTH}/custom", requires={"X-Token": previous})
        page.up_to("custom_fetcher")
        steps = [
            page["BodyTokenFetcher"]("previous_step", AUTH, "/previous"),
            page["CustomFetcher"]("custom", AUTH, "/custom", depends_on=["previous_step"]),
        ]

        TokenFetchPipeline(steps, InMemoryTokenStorage()).execute()

        assert auth.journal[-1].sent == ("previous_step#1",)

    def test_custom_fetcher_without_a_context(self, page: Page, endpoints: Endpoints) -> None:
        """Without a context the same fetcher sends the request without that header."""
        auth = endpoints.auth
        auth.token("custom", f"POST {AUTH}/custom")
        page.up_to("custom_fetcher")

        page["CustomFetcher"]("custom", AUTH, "/custom").fetch()

        assert "X-Token" not in auth.journal[-1].headers


class TestDjango:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Callable[[str], str]:
        """Runs the example in a process of its own, in a Django project whose cache is a folder."""
        (tmp_path / "project_settings.py").write_text(
            "CACHES = {'default': {\n"
            "    'BACKEND': 'django.core.cache.backends.filebased.FileBasedCache',\n"
            f"    'LOCATION': {str(tmp_path / 'cache')!r},\n"
            "}}\n"
        )
        paths = [str(tmp_path), *map(str, Path(__file__).parents[:2]), *sys.path]
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "project_settings",
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }

        def run(last: str) -> str:
            return subprocess.run(
                [sys.executable, "-c", f"{_DJANGO_INSTANCE}{last}"],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout

        return run

    def test_tokens_are_shared_by_instances(self, run: Callable[[str], str]) -> None:
        """A second Django process with the same cache gets the token that the first one fetched."""
        last = "print(page['token_manager'].get_token().access_token, dict(auth.fetch_counts))"

        first, second = run(last), run(last)

        token = first.partition(" ")[0]
        assert token
        assert first == f"{token} {{'app_token': 1, 'user_token': 1}}\n"
        assert second == f"{token} {{}}\n"

    def test_an_invalidation_is_shared_by_instances(self, run: Callable[[str], str]) -> None:
        """What one Django process invalidates, another one fetches anew."""
        run("page.pipeline.execute(); page.pipeline.invalidate_step('user_token')")

        fetched = run("page.pipeline.execute(); print(dict(auth.fetch_counts))")

        assert fetched == "{'user_token': 1}\n"

    def test_keys_have_both_prefixes(self, run: Callable[[str], str]) -> None:
        """Each key of the cache begins with the storage's prefix, then the pipeline's."""
        shown = run(
            "page.pipeline.execute()\n"
            "    from django.core.cache import cache\n"
            "    print(cache.has_key('auth_pipeline:myapp:user_token'))\n"
        )

        assert shown == "True\n"


_DJANGO_INSTANCE = """
import django

from pytest_requestforge import FakeAuth
from reference_page import Endpoints, Page

django.setup()
with FakeAuth() as auth:
    Endpoints(auth).first()
    page = Page().up_to("django")
    """
