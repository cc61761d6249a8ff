"""Views of a pipeline for its tenants: their members, keys, values and events."""

import pickle
import sys
from datetime import timedelta

import pytest
from tenancy import HOUR, UserStep, chain, text

from doubles import CountingStep, RecordingStorage, recorded
from requestforge import (
    InMemoryTokenStorage,
    PipelineTokenProvider,
    StepValue,
    TokenData,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.events import StepFetched
from requestforge.exceptions import DependencyException
from requestforge.fetcher import BodyTokenFetcher

ODD = [
    *("a", "A", "a.b", ".", "..", "a:b", "a@b", "a#epoch", "%61", "a%", "a/b", "a b", "a\x00b"),
    *("\u00e9", "e\u0301", "\u212b", "\u00c5", "\U0001f511", "\ud83d", "\udd11", "-", "_", "~"),
]


def keys_of(tenant: str, prefix: str = "app", step: str = "app") -> set[str]:
    """The keys that one execution for that tenant leaves in a storage."""
    storage = RecordingStorage()
    TokenFetchPipeline([CountingStep(step)], storage, prefix).for_tenant(tenant).execute()
    return set(storage.tokens)


def test_a_view_has_the_members_of_the_pipeline() -> None:
    """It executes, refreshes, names its steps and gives them, as the pipeline does."""
    pipeline = chain(InMemoryTokenStorage())
    view = pipeline.for_tenant("acme", username="bob")
    assert isinstance(view, TokenFetchPipeline)
    assert view.step_names == ["app", "user"]
    assert view.get_step("app") is pipeline.get_step("app")
    assert view.storage is pipeline.storage
    assert text(view) == "user-bob-1"
    assert view.refresh(view.execute()).access_token == "user-bob-2"
    assert view.execute(force_refresh=True).access_token == "user-bob-3"
    assert [state.state for state in view.inspect()] == ["fresh", "fresh"]


def test_two_views_of_one_tenant_share_its_tokens() -> None:
    """A view can be made anew whenever it is needed."""
    pipeline = chain(InMemoryTokenStorage())
    assert text(pipeline.for_tenant("acme", username="bob")) == "user-bob-1"
    assert text(pipeline.for_tenant("acme", username="bob")) == "user-bob-1"
    assert text(pipeline.for_tenant("umbrella", username="eve")) == "user-eve-2"


@pytest.mark.parametrize(
    ("prefix", "tenant", "key"),
    [
        ("app", "acme", "app@acme:login"),
        ("", "acme", "@acme:login"),
        ("app", "Acme & Söhne", "app@Acme%20%26%20S%C3%B6hne:login"),
        ("app", "a.b-c_d~e", "app@a.b-c_d~e:login"),
        ("app", "a@b:c#d%/", "app@a%40b%3Ac%23d%25%2F:login"),
        ("app", "\ud800", "app@%ED%A0%80:login"),
    ],
    ids=["plain", "no prefix", "text", "unreserved", "reserved", "half a pair"],
)
def test_keys_name_the_tenant(prefix: str, tenant: str, key: str) -> None:
    """Keys are `<prefix>@<tenant>:<step>`, the tenant percent-encoded."""
    assert keys_of(tenant, prefix, "login") == {key}


def test_two_tenants_never_share_a_key() -> None:
    """Different names make different keys, whatever Unicode makes of them."""
    keys = [keys_of(tenant) for tenant in ODD]
    assert len(set.union(*keys)) == len(ODD)
    assert not any(key.endswith("#epoch") for key in set.union(*keys))


@pytest.mark.parametrize(
    ("tenant", "error"),
    [("", ValueError), (None, TypeError), (7, TypeError), (b"acme", TypeError)],
    ids=["empty", "none", "number", "bytes"],
)
def test_what_names_no_tenant_is_refused(tenant: object, error: type[Exception]) -> None:
    """An empty name would be shared by all who forget theirs; bytes have no one spelling."""
    pipeline = chain(InMemoryTokenStorage())
    with pytest.raises(error, match="tenant"):
        pipeline.for_tenant(tenant, username="bob")  # type: ignore[arg-type]
    with pytest.raises(error, match="tenant"):
        pipeline.invalidate_tenant(tenant)  # type: ignore[arg-type]


def login(**options: object) -> BodyTokenFetcher:
    """A step that needs a user name and a realm."""
    return BodyTokenFetcher(
        "login",
        "https://auth.example.com",
        StepValue("realm", "/{}/token"),
        request_data={"user": {"name": [StepValue("username")]}},
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("values", "missing"),
    [({"realm": "r"}, "'username'"), ({"username": "canary-u"}, "'realm'"), ({}, "'realm'")],
    ids=["data", "endpoint", "all"],
)
def test_a_missing_value_is_refused(values: dict[str, str], missing: str) -> None:
    """The error names the value and the step, and shows no other value."""
    pipeline = TokenFetchPipeline([login()], InMemoryTokenStorage())
    with pytest.raises(ValueError, match=f"(?s)'login'.*{missing}") as caught:
        pipeline.for_tenant("acme", **values)
    assert "canary" not in str(caught.value)


def test_a_value_that_is_no_text_is_refused() -> None:
    """Its type is named, the value is not shown."""
    pipeline = TokenFetchPipeline([login()], InMemoryTokenStorage())
    with pytest.raises(TypeError, match="'realm' of a tenant must be a string, not int") as caught:
        pipeline.for_tenant("acme", username="bob", realm=4711)  # type: ignore[arg-type]
    assert "4711" not in str(caught.value)


def test_more_values_than_the_steps_name_are_accepted() -> None:
    """They are for the fetch of a step of one's own; a value may be named like any argument."""
    step = UserStep("app")
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    view = pipeline.for_tenant("acme", username="bob", unused="x", self="y", values="z")
    assert text(view) == "app-bob-1"


def test_the_value_named_tenant_is_the_tenant() -> None:
    """`StepValue("tenant")` need not be given."""
    seen: list[str] = []
    step = CountingStep("app")
    step.during = lambda: seen.append(StepValue("tenant", "t={}").filled())
    TokenFetchPipeline([step], InMemoryTokenStorage()).for_tenant(tenant="acme").execute()
    assert seen == ["t=acme"]


def test_a_view_has_no_tenants() -> None:
    """Tenants of tenants would have keys that nobody could tell apart."""
    view = chain(InMemoryTokenStorage()).for_tenant("acme", username="bob")
    with pytest.raises(ValueError, match="'acme'"):
        view.for_tenant("inner", username="bob")
    with pytest.raises(ValueError, match="'acme'"):
        view.invalidate_tenant("inner")


def test_a_pipeline_without_tenant_has_no_values() -> None:
    """Its execution fails with the step's name before anything is sent."""
    pipeline = TokenFetchPipeline([login()], InMemoryTokenStorage())
    with pytest.raises(DependencyException, match=r"'username'.* for no tenant") as caught:
        pipeline.execute()
    assert caught.value.service_name == "login"


def test_a_view_shows_no_values() -> None:
    """Its repr has the prefix of its keys; it cannot be pickled any more than the pipeline."""
    view = chain(InMemoryTokenStorage()).for_tenant("acme", username="canary-user")
    assert repr(view) == "TokenFetchPipeline('app@acme', steps=['app', 'user'])"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(view)


def test_events_name_the_tenant() -> None:
    """Their `pipeline` is the prefix of the keys."""
    with recorded() as events:
        chain(InMemoryTokenStorage()).for_tenant("a b", username="bob").execute()
    assert {e.pipeline for e in events if isinstance(e, StepFetched)} == {"app@a%20b"}


def test_closing_a_view_leaves_the_steps_open() -> None:
    """They are other tenants', too; the pipeline closes them."""
    pipeline = chain(InMemoryTokenStorage())
    step = pipeline.get_step("app")
    assert isinstance(step, UserStep)
    with pipeline.for_tenant("acme", username="bob") as view:
        view.execute()
    PipelineTokenProvider(view, "acme").close()
    assert step.closed == 0
    pipeline.close()
    assert step.closed == 1


def test_a_view_is_of_the_class_of_its_pipeline() -> None:
    """What a subclass overrides holds for its tenants, whatever its constructor takes."""

    class Shouting(TokenFetchPipeline):
        def __init__(self, mark: str) -> None:
            super().__init__([CountingStep("app")], InMemoryTokenStorage(), "app")
            self.mark = mark

        def execute(self, force_refresh: bool = False) -> TokenData:
            token = super().execute(force_refresh)
            return TokenData(token.access_token.upper() + self.mark)

    assert text(Shouting("!").for_tenant("acme")) == "APP-1!"


def test_a_manager_refreshes_the_token_of_its_tenant_alone() -> None:
    """A rejected token is replaced for one tenant, and named steps are left alone."""
    pipeline = chain(InMemoryTokenStorage())
    views = [pipeline.for_tenant(name, username=name) for name in ("a", "b")]
    managers = [TokenManager(PipelineTokenProvider(view, "s", "user")) for view in views]
    first, second = [manager.get_token() for manager in managers]
    assert managers[0].refresh(first).access_token == "user-a-3"
    assert managers[1].get_token() is second
    assert managers[1].refresh(first).access_token == "user-b-4"  # none of this tenant's tokens
    assert managers[0].get_token().access_token == "user-a-3"
    app = pipeline.get_step("app")
    assert isinstance(app, UserStep)
    assert app.fetches == 2


def test_options_of_the_pipeline_hold_for_its_views() -> None:
    """A lazy pipeline has lazy views."""
    app, user = UserStep("app", ttl=timedelta(minutes=1)), UserStep("user", ["app"], ttl=HOUR)
    pipeline = TokenFetchPipeline([app, user], InMemoryTokenStorage(), lazy=True)
    view = pipeline.for_tenant("acme", username="bob")
    view.execute()
    pipeline.for_tenant("acme", username="bob").invalidate_step("user")
    view.execute()
    assert (app.fetches, user.fetches) == (1, 2)


def test_a_view_is_light() -> None:
    """It shares the graph, however large that is: its size grows by its keys alone."""
    steps = [CountingStep(f"s{number}", [f"s{number - 1}"] * (number > 0)) for number in range(50)]
    pipeline = TokenFetchPipeline(steps, InMemoryTokenStorage(), "app")
    view = pipeline.for_tenant("acme")
    assert sys.getsizeof(view) <= sys.getsizeof(pipeline)
    view.execute()
    view.invalidate_step("s40")
    view.execute()
    assert [step.fetches for step in steps] == [1] * 40 + [2] * 10
