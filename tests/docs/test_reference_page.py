import inspect
import threading
from collections.abc import Callable

import pytest
from reference_blocks import BLOCKS
from reference_page import API, NEEDS, Endpoints, Page

from doubles import CountingStep, RecordingStorage
from pytest_requestforge import Clock
from requestforge import (
    AuthenticationException,
    HttpClient,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.interfaces import TokenProviderInterface


class TestBlocks:
    @pytest.mark.parametrize("block", ["pipeline", "provider", "validation"])
    def test_building_sends_nothing(self, block: str, page: Page, endpoints: Endpoints) -> None:
        """A block that builds pipelines and providers runs as it stands, without a request."""
        page.up_to(block)

        assert len(endpoints.auth.journal) == 0

    @pytest.mark.parametrize(
        "block", ["execute", "invalidate_step", "invalidate_all", "provider_pipeline"]
    )
    def test_runs_as_it_stands(self, block: str, page: Page, endpoints: Endpoints) -> None:
        """A block of the reference part runs as it stands, on a pipeline that has run before."""
        auth = endpoints.first()
        page.run(*NEEDS[block])
        page.pipeline.execute()

        page.run(block)

        assert auth.journal[-1].status == 200
        assert isinstance(page.pipeline.execute(), TokenData)

    def test_the_page_has_19_blocks(self) -> None:
        """All blocks of the page are held here, each with the blocks before it that it needs."""
        order = list(BLOCKS)

        assert len(order) == 19
        assert list(NEEDS) == order
        assert all(order.index(n) < order.index(block) for block in order for n in NEEDS[block])


class TestConstruction:
    def test_signature(self) -> None:
        """A pipeline takes steps, storage, prefix and validation, in this order or by name."""
        parameters = inspect.signature(TokenFetchPipeline).parameters

        assert {name: parameters[name].default for name in list(parameters)[:4]} == {
            "steps": inspect.Parameter.empty,
            "storage": inspect.Parameter.empty,
            "cache_key_prefix": "",
            "validate_dependencies": True,
        }
        assert TokenFetchPipeline([CountingStep("a")], InMemoryTokenStorage(), "p", False).execute()  # noqa: FBT003

    def test_prefix_stands_before_each_key(self, page: Page, endpoints: Endpoints) -> None:
        """The cache key prefix is the start of every storage key."""
        endpoints.first()
        page.run("pipeline")
        storage = RecordingStorage(shared=False)
        steps = [page["app_token"], page["user_token"]]

        TokenFetchPipeline(steps, storage, cache_key_prefix="myapp").execute()

        assert sorted(storage.tokens) == ["myapp:app_token", "myapp:user_token"]

    def test_dependencies_are_validated_on_initialization(
        self, page: Page, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A step listed before its dependency is refused at once; in the right order it is not."""
        page.up_to("validation")

        assert capsys.readouterr().out.startswith("Invalid dependencies: ")
        assert page.pipeline.step_names == ["app_token", "user_token"]

    def test_validation_can_be_turned_off(self, page: Page) -> None:
        """Without validation such a pipeline is built all the same."""
        page.run("pipeline")
        steps = [page["user_token"], page["app_token"]]

        pipeline = TokenFetchPipeline(steps, InMemoryTokenStorage(), validate_dependencies=False)

        assert pipeline.step_names == ["user_token", "app_token"]


class TestExecute:
    def test_gives_the_token_of_the_last_step(self, page: Page, endpoints: Endpoints) -> None:
        """execute() gives the TokenData of the last step, fetched from its endpoint."""
        auth = endpoints.first()
        me = auth.resource(f"GET {API}/me", needs=endpoints.user)

        token = page.run("pipeline").pipeline.execute()

        assert isinstance(token, TokenData)
        assert _get(me.url, token) == 200

    def test_runs_the_steps_in_their_order(self, page: Page, endpoints: Endpoints) -> None:
        """Steps are fetched in the order in which the pipeline lists them."""
        auth = endpoints.first()

        page.run("pipeline").pipeline.execute()

        auth.assert_fetch_order("app_token", "user_token")

    def test_uses_cached_tokens(self, page: Page, endpoints: Endpoints) -> None:
        """While the tokens are valid, execute() takes them from the cache and fetches none."""
        auth = endpoints.first()
        pipeline = page.run("pipeline").pipeline
        first = pipeline.execute()

        with auth.expect_fetches():
            assert pipeline.execute() == first

        auth.assert_cache_hits(app_token=1, user_token=1)

    def test_force_refresh_fetches_all_steps(self, page: Page, endpoints: Endpoints) -> None:
        """The block's second call ignores the cache and fetches every step again."""
        auth = endpoints.first()
        page.run("pipeline")
        first = page.pipeline.execute()

        with auth.expect_fetches(app_token=1, user_token=1):
            page.run("execute")

        assert page["token"] != first
        assert page.pipeline.execute() == page["token"]

    @pytest.mark.parametrize(
        ("seconds", "fetched"),
        [
            pytest.param(30 * 60 - 1, {}, id="before the first ttl"),
            pytest.param(30 * 60, {"user_token": 1}, id="after the user token's ttl"),
            pytest.param(60 * 60 - 1, {"user_token": 1}, id="before the app token's ttl"),
            pytest.param(60 * 60, {"app_token": 1, "user_token": 1}, id="after both"),
        ],
    )
    def test_each_step_is_cached_for_its_ttl(
        self,
        seconds: int,
        fetched: dict[str, int],
        page: Page,
        endpoints: Endpoints,
        rf_clock: Clock,
    ) -> None:
        """A step is fetched again when its own ttl has passed, and not a second earlier."""
        auth = endpoints.first()
        pipeline = page.run("pipeline").pipeline
        pipeline.execute()

        rf_clock.advance(seconds)
        with auth.expect_fetches(fetched):
            pipeline.execute()

    def test_tokens_are_added_to_the_context(self) -> None:
        """A fetch is given the tokens of the steps before it; the first one is given none."""
        steps = [CountingStep("a"), CountingStep("b", ["a"]), CountingStep("c", ["b"])]

        TokenFetchPipeline(steps, InMemoryTokenStorage()).execute()

        seen = [[sorted(c) if c else c for c in step.contexts] for step in steps]
        assert seen == [[None], [["a"]], [["a", "b"]]]

    def test_cached_tokens_are_in_the_context_too(self) -> None:
        """A step that has to be fetched gets a cached token of an earlier step."""
        app, user = CountingStep("app"), CountingStep("user", ["app"])
        pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage())
        pipeline.execute()
        pipeline.invalidate_step("user")

        pipeline.execute()

        assert app.fetches == 1
        assert user.contexts[-1] == {"app": TokenData("app-1")}

    @pytest.mark.parametrize("failing", ["app", "user"])
    def test_a_failing_step_raises_authentication_exception(self, failing: str) -> None:
        """Whichever step fails, AuthenticationException is raised and names it."""
        steps = {"app": CountingStep("app"), "user": CountingStep("user", ["app"])}
        steps[failing].failure = ConnectionError("down")
        pipeline = TokenFetchPipeline(steps.values(), InMemoryTokenStorage())

        with pytest.raises(AuthenticationException) as caught:
            pipeline.execute()

        assert caught.value.service_name == failing

    def test_unavailable_dependencies_raise_value_error(self) -> None:
        """A dependency that cannot be satisfied raises ValueError before the step is fetched."""
        user = CountingStep("user", ["app"])
        pipeline = TokenFetchPipeline([user], InMemoryTokenStorage(), validate_dependencies=False)

        with pytest.raises(ValueError, match="app"):
            pipeline.execute()

        assert user.fetches == 0

    def test_threads_share_one_fetch_of_each_step(self, page: Page, endpoints: Endpoints) -> None:
        """16 threads that execute at once on an empty cache get one token, fetched once a step."""
        auth = endpoints.first()
        pipeline = page.run("pipeline").pipeline

        tokens = _at_once(16, pipeline.execute)

        assert len({token.access_token for token in tokens}) == 1
        auth.assert_fetch_counts(app_token=1, user_token=1)


class TestInvalidation:
    def test_a_step_takes_its_dependents_along(self, page: Page, endpoints: Endpoints) -> None:
        """invalidate_step('app_token') invalidates the user token, too."""
        auth = endpoints.first()
        page.run("pipeline").pipeline.execute()

        with auth.expect_fetches(app_token=1, user_token=1):
            page.run("invalidate_step").pipeline.execute()

    def test_it_cascades_over_all_steps_below(self, page: Page, endpoints: Endpoints) -> None:
        """Invalidating the first of three steps invalidates those that depend on it indirectly."""
        auth = endpoints.three_steps()
        page.up_to("three_steps")

        auth.assert_cascade(page.pipeline, "device_token", clears={"app_token", "user_token"})
        auth.assert_cascade(
            page.pipeline, "app_token", clears={"user_token"}, keeps={"device_token"}
        )
        auth.assert_cascade(page.pipeline, "user_token", keeps={"device_token", "app_token"})

    def test_all(self, page: Page, endpoints: Endpoints) -> None:
        """invalidate_all() invalidates every step."""
        auth = endpoints.first()
        page.run("pipeline").pipeline.execute()

        with auth.expect_fetches(app_token=1, user_token=1):
            page.run("invalidate_all").pipeline.execute()

    def test_selective_example(self, page: Page, endpoints: Endpoints) -> None:
        """The example fetches just what its comments say."""
        auth = endpoints.three_steps()
        page.up_to("three_steps")
        fetched = []
        real = page.pipeline

        class Counted:
            """The pipeline, with a note of what each call fetched."""

            def execute(self, **how: bool) -> TokenData:
                before = auth.journal.mark()
                token = real.execute(**how)
                fetched.append(auth.journal.fetch_counts(before))
                return token

            def invalidate_step(self, name: str) -> None:
                real.invalidate_step(name)

        page["pipeline"] = Counted()
        page.run("selective")

        assert fetched == [
            {},
            {"user_token": 1},
            {"app_token": 1, "user_token": 1},
            {"device_token": 1, "app_token": 1, "user_token": 1},
        ]


class TestLookingAtSteps:
    def test_get_step(self, page: Page, capsys: pytest.CaptureFixture[str]) -> None:
        """get_step gives the step of that name, with its ttl."""
        page.up_to("get_step")

        assert page["app_step"] is page["app_token"]
        assert capsys.readouterr().out == "1:00:00\n"

    def test_unknown_step(self, page: Page) -> None:
        """get_step gives None for a name that no step has."""
        assert page.run("pipeline").pipeline.get_step("device_token") is None

    def test_step_names(self, page: Page, capsys: pytest.CaptureFixture[str]) -> None:
        """step_names lists the names in the order of execution, as the comment shows."""
        page.up_to("step_names")

        assert capsys.readouterr().out == "['app_token', 'user_token']\n"


class TestProvider:
    def test_is_a_token_provider(self, page: Page) -> None:
        """It is a TokenProviderInterface, and tells its service and its pipeline."""
        provider = page.up_to("provider").provider

        assert isinstance(provider, TokenProviderInterface)
        assert provider.service_name == "myapp"
        assert provider.pipeline is page.pipeline
        assert isinstance(page["token_manager"], TokenManager)

    def test_signature(self) -> None:
        """It takes pipeline, service name and the step to refresh from, in this order."""
        parameters = inspect.signature(PipelineTokenProvider).parameters

        assert {name: parameter.default for name, parameter in parameters.items()} == {
            "pipeline": inspect.Parameter.empty,
            "service_name": inspect.Parameter.empty,
            "refresh_from_step": None,
        }

    def test_fetch_token_executes_the_pipeline(self, page: Page, endpoints: Endpoints) -> None:
        """fetch_token gives the token of the pipeline's last step, from the cache if possible."""
        auth = endpoints.first()
        provider = page.up_to("provider").provider

        token = provider.fetch_token()

        assert provider.fetch_token() == token == page.pipeline.execute()
        auth.assert_fetch_counts(app_token=1, user_token=1)

    def test_the_pipeline_can_be_invalidated_through_it(
        self, page: Page, endpoints: Endpoints
    ) -> None:
        """What is invalidated on provider.pipeline, the manager fetches anew."""
        auth = endpoints.first()
        page.up_to("provider")
        page["token_manager"].get_token()

        with auth.expect_fetches(app_token=1, user_token=1):
            page.run("provider_pipeline")["token_manager"].get_token()

    def test_refresh_begins_with_the_named_step(self, page: Page, endpoints: Endpoints) -> None:
        """refresh_token fetches the step of refresh_from_step, and takes the others as cached."""
        auth = endpoints.first()
        page.up_to("provider")
        page["current_token"] = page.provider.fetch_token()

        with auth.expect_fetches(app_token=0, user_token=1):
            page.run("refresh_token")

        assert page["new_token"] != page["current_token"]
        assert page.provider.fetch_token() == page["new_token"]

    def test_refresh_takes_dependents_along(self, page: Page, endpoints: Endpoints) -> None:
        """The dependents of refresh_from_step are fetched with it, what lies above is not."""
        auth = endpoints.three_steps()
        pipeline = page.up_to("three_steps").pipeline
        provider = PipelineTokenProvider(pipeline, "myapp", refresh_from_step="app_token")

        with auth.expect_fetches(device_token=0, app_token=1, user_token=1):
            provider.refresh_token(page["token"])

    def test_refresh_fetches_all_steps_by_default(self, page: Page, endpoints: Endpoints) -> None:
        """Without refresh_from_step every step is fetched."""
        auth = endpoints.first()
        provider = PipelineTokenProvider(page.run("pipeline").pipeline, "myapp")
        token = provider.fetch_token()

        with auth.expect_fetches(app_token=1, user_token=1):
            provider.refresh_token(token)

    def test_refresh_ignores_the_current_token(self, page: Page, endpoints: Endpoints) -> None:
        """Whatever token refresh_token is given, the steps are fetched."""
        auth = endpoints.first()
        provider = page.up_to("provider").provider
        provider.fetch_token()

        with auth.expect_fetches(app_token=0, user_token=1):
            provider.refresh_token(TokenData("of somebody else"))


def _at_once(number: int, call: Callable[[], TokenData]) -> list[TokenData]:
    """What `call` gives to that many threads that are let go together."""
    start = threading.Barrier(number)
    given: list[TokenData] = []

    def run() -> None:
        start.wait()
        given.append(call())

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == number
    return given


def _get(url: str, token: TokenData) -> int:
    """The status of a GET with that token."""
    headers = {"Authorization": token.authorization_header}
    with HttpClient() as client:
        return client.get(url, headers=headers).status_code
