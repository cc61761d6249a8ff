"""A thread that is torn down in the middle of the library, as by Ctrl-C, harms no other."""

import itertools
from collections.abc import Callable

import pytest
from racing import STORAGE_IDS, STORAGES, Task, interrupted

from doubles import CountingStep
from requestforge import PipelineTokenProvider, TokenData, TokenFetchPipeline
from requestforge.interfaces import TokenStorageInterface

pytestmark = pytest.mark.compat


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"  # an interrupt may hit a finaliser, too
)
@pytest.mark.parametrize("make_storage", STORAGES, ids=STORAGE_IDS)
@pytest.mark.parametrize(
    "act",
    [
        lambda pipeline: pipeline.execute(),
        lambda pipeline: pipeline.execute(force_refresh=True),
        lambda pipeline: PipelineTokenProvider(pipeline, "api").refresh(),
        lambda pipeline: pipeline.invalidate_all(),
    ],
    ids=["execute", "force", "refresh", "invalidate"],
)
def test_an_interrupt_at_any_moment_leaves_nobody_waiting(
    make_storage: Callable[[], TokenStorageInterface], act: Callable[[TokenFetchPipeline], object]
) -> None:
    """Wherever a signal's exception hits a thread, it and the others still get tokens."""
    for moment in itertools.count(1):
        pipeline = TokenFetchPipeline([CountingStep("app")], make_storage())

        def use(pipeline: TokenFetchPipeline = pipeline) -> list[type]:
            tokens = [pipeline.execute(), pipeline.execute(force_refresh=True)]
            pipeline.invalidate_all()
            return [type(token) for token in (*tokens, pipeline.execute())]

        def tear(
            pipeline: TokenFetchPipeline = pipeline,
            moment: int = moment,
            use: Callable[[], list[type]] = use,
        ) -> list[type]:
            return use() if interrupted(moment, lambda: act(pipeline)) else []

        same_thread = Task(tear).result()
        if not same_thread:
            break
        assert same_thread == [TokenData] * 3, moment
        assert Task(use).result() == [TokenData] * 3, moment
    assert moment > 10
