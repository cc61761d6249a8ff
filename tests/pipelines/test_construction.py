"""What a pipeline is made of, and what is refused at once."""

import copy
import pickle
from datetime import timedelta
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from doubles import BasicStorage, CountingStep, RecordingStorage
from requestforge import (
    DependencyException,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
)
from requestforge.interfaces import TokenStorageInterface

pytestmark = pytest.mark.compat

EITHER = pytest.mark.parametrize("strict", [True, False], ids=["validated", "not validated"])


def duck(**members: object) -> object:
    """A step with a name and a fetch and no base class."""
    return SimpleNamespace(**{"name": "duck", "fetch": lambda _: TokenData("duck-1"), **members})


@EITHER
@pytest.mark.parametrize(
    ("steps", "named"),
    [
        pytest.param([], "at least one step", id="no steps"),
        pytest.param([CountingStep("")], "empty name", id="empty name"),
        pytest.param([CountingStep("app"), CountingStep("app")], "'app'", id="duplicate name"),
        pytest.param(
            [CountingStep("app"), duck(name="user", depends_on="app")],
            r"'user'.*\['app'\]",
            id="depends_on is a string",
        ),
        pytest.param([CountingStep("app", ["app"])], "'app' depends on itself", id="itself"),
        pytest.param(
            [CountingStep("a", ["b"]), CountingStep("b", ["a"])], "'a', 'b'", id="circle of two"
        ),
        pytest.param(
            [
                CountingStep("free"),
                CountingStep("a", ["c"]),
                CountingStep("b", ["a"]),
                CountingStep("c", ["b", "free"]),
            ],
            "'a', 'b', 'c'",
            id="circle of three",
        ),
        pytest.param([duck(ttl=timedelta(seconds=-1))], "'duck'.*negative", id="negative ttl"),
    ],
)
def test_pipelines_that_can_never_run_are_refused(
    steps: list[object], named: str, strict: bool
) -> None:
    """An impossible pipeline is a ValueError that names the step, validated or not."""
    with pytest.raises(ValueError, match=named):
        TokenFetchPipeline(steps, InMemoryTokenStorage(), validate_dependencies=strict)


@EITHER
@pytest.mark.parametrize(
    ("step", "named"),
    [
        pytest.param(SimpleNamespace(fetch=print), "name", id="no name"),
        pytest.param(SimpleNamespace(name="app"), "fetch", id="no fetch"),
        pytest.param(SimpleNamespace(name="app", fetch="x"), "fetch", id="fetch is no method"),
        pytest.param(duck(name=7), "string, not int", id="name is no string"),
        pytest.param(duck(ttl=3600), "'duck'.*timedelta, not int", id="ttl is a number"),
    ],
)
def test_what_is_no_step_is_refused(step: object, named: str, strict: bool) -> None:
    """An object that cannot be a step is a TypeError, validated or not."""
    with pytest.raises(TypeError, match=named):
        TokenFetchPipeline([step], InMemoryTokenStorage(), validate_dependencies=strict)


@EITHER
def test_a_pipeline_needs_a_storage(strict: bool) -> None:
    """A pipeline without a storage is a TypeError."""
    with pytest.raises(TypeError, match="storage"):
        TokenFetchPipeline([CountingStep("app")], None, validate_dependencies=strict)


UNSERVED = pytest.mark.parametrize(
    ("steps", "named"),
    [
        pytest.param(
            lambda: [CountingStep("user", ["app"]), CountingStep("last", ["user"])],
            "'user'.*'app'.*no step",
            id="unknown",
        ),
        pytest.param(
            lambda: [
                CountingStep("user", ["app"]),
                CountingStep("app"),
                CountingStep("last", ["user"]),
            ],
            "'user'.*'app'.*listed after",
            id="listed later",
        ),
    ],
)


@UNSERVED
def test_dependencies_out_of_order_are_refused(steps: object, named: str) -> None:
    """An unknown dependency, or one listed later, is a ValueError by default."""
    with pytest.raises(ValueError, match=named):
        TokenFetchPipeline(steps(), InMemoryTokenStorage())


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@UNSERVED
def test_unvalidated_dependencies_fail_the_step_that_misses_them(
    steps: object, named: str, lazy: bool
) -> None:
    """Without validation the step fails when it has to be fetched, and is not fetched."""
    del named
    made = steps()
    pipeline = TokenFetchPipeline(
        made, InMemoryTokenStorage(), validate_dependencies=False, lazy=lazy
    )
    with pytest.raises(DependencyException, match=r"'user'.*'app'") as caught:
        pipeline.execute()
    assert isinstance(caught.value, ValueError)
    assert caught.value.service_name == "user"
    assert made[0].fetches == 0


@UNSERVED
def test_unvalidated_dependencies_do_not_matter_to_a_cached_step(steps: object, named: str) -> None:
    """A step whose token is cached needs no dependency."""
    del named
    storage = InMemoryTokenStorage()
    storage.set("user", TokenData("cached"))
    made = steps()[:1]
    pipeline = TokenFetchPipeline(made, storage, "", validate_dependencies=False)
    assert pipeline.execute().access_token == "cached"


def test_many_stuck_steps_are_named_in_part() -> None:
    """The error about a large circle names a few steps and counts the others."""
    steps = [CountingStep(f"s{number}", [f"s{(number + 1) % 9}"]) for number in range(9)]
    with pytest.raises(ValueError, match="'s0', 's1', 's2', 's3', 's4' and 4 more"):
        TokenFetchPipeline(steps, InMemoryTokenStorage(), validate_dependencies=False)


@pytest.mark.parametrize("name", ["lock_lease", "wait_timeout"])
def test_durations_are_checked(name: str) -> None:
    """A duration is a positive timedelta or None."""
    steps, storage = [CountingStep("app")], InMemoryTokenStorage()
    TokenFetchPipeline(steps, storage, **{name: None})
    TokenFetchPipeline(steps, storage, **{name: timedelta(seconds=1)})
    with pytest.raises(TypeError, match=f"{name} must be a timedelta or None, not int"):
        TokenFetchPipeline(steps, storage, **{name: 5})
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        TokenFetchPipeline(steps, storage, **{name: timedelta(0)})


def test_steps_may_be_any_iterable() -> None:
    """Steps given by an iterator are all there."""
    steps = (CountingStep(name) for name in ("a", "b"))
    assert TokenFetchPipeline(steps, InMemoryTokenStorage()).step_names == ["a", "b"]


def test_steps_are_copied() -> None:
    """Changes of the caller's list do not change the pipeline."""
    steps = [CountingStep("a")]
    pipeline = TokenFetchPipeline(steps, InMemoryTokenStorage())
    steps.append(CountingStep("b"))
    assert pipeline.step_names == ["a"]


def test_step_names_is_a_new_list_each_time() -> None:
    """What a caller does to the list of names does not reach the pipeline."""
    pipeline = TokenFetchPipeline([CountingStep("a")], InMemoryTokenStorage())
    pipeline.step_names.clear()
    assert pipeline.step_names == ["a"]


def test_get_step_gives_the_object_itself() -> None:
    """get_step gives the step as it was passed in, or None."""
    step = duck()
    pipeline = TokenFetchPipeline([step], InMemoryTokenStorage())
    assert pipeline.get_step("duck") is step
    assert pipeline.get_step("app") is None


def test_a_step_needs_only_name_and_fetch() -> None:
    """A step without base class, ttl and depends_on is executed and cached."""
    calls: list[object] = []
    step = SimpleNamespace(
        name="duck", fetch=lambda context: calls.append(context) or TokenData("d")
    )
    pipeline = TokenFetchPipeline([step], BasicStorage())
    assert pipeline.execute().access_token == "d"
    assert pipeline.execute().access_token == "d"
    assert calls == [None]
    pipeline.close()


def test_the_members_of_the_first_interface_count_on_any_step() -> None:
    """depends_on, ttl and on_fetch_error of a step without base class are used."""
    heard: list[object] = []

    def fail(context: object) -> TokenData:
        raise LookupError(str(context))

    steps = [
        duck(name="app", ttl=timedelta(0)),
        duck(
            name="user", depends_on=("app",), fetch=fail, on_fetch_error=lambda *a: heard.append(a)
        ),
    ]
    storage = RecordingStorage()
    pipeline = TokenFetchPipeline(steps, storage)
    with pytest.raises(Exception, match="user"):
        pipeline.execute()
    [(error, tokens)] = heard
    assert isinstance(error, LookupError)
    assert list(tokens) == ["app"]
    assert storage.made("set") == []


def test_closing_closes_the_steps_that_can_be_closed() -> None:
    """close() and the end of a with block close the steps, and the pipeline stays usable."""
    step = CountingStep("app")
    with TokenFetchPipeline([step, duck()], InMemoryTokenStorage()) as pipeline:
        assert step.closed == 0
    assert step.closed == 1
    pipeline.close()
    assert step.closed == 2
    assert pipeline.execute().access_token == "duck-1"


def test_a_step_may_have_a_close_that_is_no_method() -> None:
    """A member `close` that cannot be called is left alone."""
    with TokenFetchPipeline([duck(close=None)], InMemoryTokenStorage()) as pipeline:
        assert pipeline.execute().access_token == "duck-1"


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_pipeline_is_not_pickled(duplicate: object) -> None:
    """Pickling or copying a pipeline is a TypeError."""
    pipeline = TokenFetchPipeline([CountingStep("app")], InMemoryTokenStorage())
    with pytest.raises(TypeError, match="pickled"):
        duplicate(pipeline)


def test_the_repr_names_prefix_and_steps() -> None:
    """The repr tells pipelines apart."""
    pipeline = TokenFetchPipeline([CountingStep("app")], InMemoryTokenStorage(), "shop")
    assert "shop" in repr(pipeline)
    assert "app" in repr(pipeline)


def test_refresh_from_step_must_be_a_step() -> None:
    """An unknown refresh_from_step is a ValueError that names the known ones."""
    pipeline = TokenFetchPipeline([CountingStep("a"), CountingStep("b")], InMemoryTokenStorage())
    with pytest.raises(ValueError, match=r"'c'.*a, b"):
        PipelineTokenProvider(pipeline, "shop", "c")


def test_a_provider_shows_its_pipeline_and_service() -> None:
    """A provider gives back what it was made of."""
    pipeline = TokenFetchPipeline([CountingStep("a")], InMemoryTokenStorage())
    provider = PipelineTokenProvider(pipeline=pipeline, service_name="shop", refresh_from_step="a")
    assert provider.pipeline is pipeline
    assert provider.service_name == "shop"
    assert provider.caches_tokens is True


def test_closing_a_provider_closes_the_steps() -> None:
    """close() of a provider reaches the steps of its pipeline."""
    step = CountingStep("a")
    PipelineTokenProvider(TokenFetchPipeline([step], InMemoryTokenStorage()), "shop").close()
    assert step.closed == 1


def test_a_name_that_marks_epochs_is_refused() -> None:
    """On a shared storage such a step's record would stand where an epoch does."""
    with pytest.raises(ValueError, match="app#epoch"):
        TokenFetchPipeline([CountingStep("app#epoch")], RecordingStorage())


@pytest.mark.parametrize("argument", ["wait_timeout", "lock_lease"])
def test_the_longest_duration_is_taken(argument: str) -> None:
    """A wait or lease beyond what locks can take is cut."""
    durations = {argument: timedelta.max}
    pipeline = TokenFetchPipeline([CountingStep("app")], RecordingStorage(), **durations)
    assert pipeline.execute().access_token == "app-1"


def test_a_stand_in_for_a_storage_is_enough() -> None:
    """A mock that claims to be a storage has no lock of its own."""
    storage = MagicMock(spec=TokenStorageInterface)
    storage.get_many.return_value = {}
    storage.get.return_value = None
    storage.lock.return_value = None
    pipeline = TokenFetchPipeline([CountingStep("app")], storage)
    assert pipeline.execute().access_token == "app-1"
