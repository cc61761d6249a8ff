"""Large and random graphs: cascades take each step once, ancestors first, in linear time."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles import CountingStep, RecordingStorage
from requestforge import PipelineTokenProvider, TokenFetchPipeline

LONG = 3000
LAYERS = 55

Graph = list[tuple[str, list[str]]]


def chain(length: int) -> Graph:
    """Steps that each depend on the one before."""
    return [(f"s{number}", [f"s{number - 1}"] if number else []) for number in range(length)]


def layers(count: int, width: int) -> Graph:
    """Layers whose steps all depend on each step of the layer before: width**count paths."""
    return [
        (f"s{layer}.{place}", [f"s{layer - 1}.{other}" for other in range(width)] if layer else [])
        for layer in range(count)
        for place in range(width)
    ]


def diamonds(steps: int) -> Graph:
    """Two steps on one, one on those two, and so on."""
    graph: Graph = [("s0", [])]
    while len(graph) < steps:
        tip, number = graph[-1][0], len(graph)
        left, right = f"s{number}", f"s{number + 1}"
        graph += [(left, [tip]), (right, [tip]), (f"s{number + 2}", [left, right])]
    return graph


def made(graph: Sequence[tuple[str, list[str]]], storage: RecordingStorage) -> TokenFetchPipeline:
    """A pipeline of that graph."""
    return TokenFetchPipeline([CountingStep(name, needed) for name, needed in graph], storage)


def affected_by(start: str, graph: Sequence[tuple[str, list[str]]]) -> set[str]:
    """What hangs on a step; found by going round until nothing changes."""
    found: set[str] = set()
    more = {start}
    while more:
        found |= more
        more = set()
        for name, needed in graph:
            if name not in found and not found.isdisjoint(needed):
                found.add(name)
                more.add(name)
    return found


def ancestors_come_first(order: Sequence[str], graph: Sequence[tuple[str, list[str]]]) -> bool:
    """Whether no step comes before one that it depends on."""
    place = {name: number for number, name in enumerate(order)}
    return all(
        place[need] < place[name]
        for name, needed in graph
        for need in needed
        if name in place and need in place
    )


LARGE = pytest.mark.parametrize(
    "graph",
    [
        pytest.param(chain(LONG), id="chain of 3000"),
        pytest.param(layers(LAYERS, 2), id="55 layers of 2"),
        pytest.param(layers(LAYERS, 12), id="55 layers of 12"),
        pytest.param(diamonds(LAYERS), id="55 steps in diamonds"),
    ],
)
SHARED = pytest.mark.parametrize("shared", [True, False], ids=["shared", "unshared"])


@SHARED
@LARGE
def test_a_cascade_deletes_each_key_once_ancestors_first(graph: Graph, shared: bool) -> None:
    """Invalidating the first step deletes each dependent once, after what it depends on."""
    storage = RecordingStorage(shared=shared)
    pipeline = made(graph, storage)
    start = graph[0][0]
    pipeline.invalidate_step(start)
    deleted = storage.made("delete")
    assert sorted(deleted) == sorted(affected_by(start, graph))
    assert ancestors_come_first(deleted, graph)
    # Beside the deletes at most one epoch each: nothing is read, nothing done twice.
    assert len(storage.calls) == len(deleted) * (2 if shared else 1)


@LARGE
def test_invalidate_all_deletes_each_key_once_ancestors_first(graph: Graph) -> None:
    """invalidate_all deletes every key once, after those that it depends on."""
    storage = RecordingStorage()
    made(graph, storage).invalidate_all()
    deleted = storage.made("delete")
    assert sorted(deleted) == sorted(name for name, _ in graph)
    assert ancestors_come_first(deleted, graph)


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@LARGE
def test_large_graphs_execute(graph: Graph, lazy: bool) -> None:
    """A large graph is fetched and cached without recursion."""
    steps = [CountingStep(name, needed) for name, needed in graph]
    pipeline = TokenFetchPipeline(steps, RecordingStorage(), lazy=lazy)
    assert pipeline.execute() == pipeline.execute()
    tips = {graph[-1][0]}
    for name, needed in reversed(graph):
        tips |= set(needed) if name in tips else set()
    assert [step.fetches for step in steps] == [
        int(not lazy or step.name in tips) for step in steps
    ]


class CountedName(str):
    """A name that counts how often it is compared with another."""

    __slots__ = ()
    comparisons = 0

    def __eq__(self, other: object) -> bool:
        CountedName.comparisons += 1
        return super().__eq__(other)

    __hash__ = str.__hash__


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda pipeline: pipeline.invalidate_step("s0"), id="invalidate_step"),
        pytest.param(lambda pipeline: pipeline.invalidate_all(), id="invalidate_all"),
        pytest.param(lambda pipeline: pipeline.execute(force_refresh=True), id="force_refresh"),
        pytest.param(
            lambda pipeline: PipelineTokenProvider(pipeline, "shop").refresh(), id="refresh"
        ),
    ],
)
@pytest.mark.parametrize("shape", [chain, diamonds], ids=["chain", "diamonds"])
def test_the_work_grows_with_the_steps(
    shape: Callable[[int], Graph], work: Callable[[TokenFetchPipeline], object]
) -> None:
    """Twice the steps take about twice the storage calls and comparisons, not four times."""
    counts = []
    for length in (100, 200, 400):
        storage = RecordingStorage()
        graph = [(CountedName(name), [*map(CountedName, needed)]) for name, needed in shape(length)]
        pipeline = made(graph, storage)
        pipeline.execute()
        CountedName.comparisons = 0
        storage.calls.clear()
        work(pipeline)
        counts.append((len(storage.calls), CountedName.comparisons))
    assert all(
        second < 2.5 * max(first, 100)
        for smaller, larger in pairwise(counts)
        for first, second in zip(smaller, larger, strict=True)
    ), counts


def test_a_long_circle_is_refused() -> None:
    """A circle of 3,000 steps is a ValueError, not a recursion."""
    graph = chain(LONG)
    graph[0][1].append(f"s{LONG - 1}")
    with pytest.raises(ValueError, match="circle"):
        made(graph, RecordingStorage())


@st.composite
def dags(draw: st.DrawFn) -> Graph:
    """A graph without circles, listed in an order that serves every dependency."""
    count = draw(st.integers(1, 12))
    return [
        (
            f"s{number}",
            draw(st.lists(st.integers(0, number - 1), unique=False, max_size=4).map(named))
            if number
            else [],
        )
        for number in range(count)
    ]


def named(numbers: list[int]) -> list[str]:
    """Names of steps."""
    return [f"s{number}" for number in numbers]


@given(st.data(), dags(), st.booleans())
def test_a_cascade_takes_exactly_the_dependents(
    data: st.DataObject, graph: Graph, shuffled: bool
) -> None:
    """Whatever the graph and its order, a cascade takes the step and what hangs on it, in order."""
    listed = data.draw(st.permutations(graph)) if shuffled else graph
    storage = RecordingStorage()
    steps = [CountingStep(name, needed) for name, needed in listed]
    pipeline = TokenFetchPipeline(steps, storage, "", not shuffled)
    start = data.draw(st.sampled_from(graph))[0]
    pipeline.invalidate_step(start)
    deleted = storage.made("delete")
    assert sorted(deleted) == sorted(affected_by(start, graph))
    assert ancestors_come_first(deleted, graph)


@given(dags(), st.data())
def test_only_what_was_invalidated_is_fetched_again(graph: Graph, data: st.DataObject) -> None:
    """After an invalidation the next execution fetches the affected steps, each once."""
    storage = RecordingStorage()
    steps = [CountingStep(name, needed) for name, needed in graph]
    pipeline = TokenFetchPipeline(steps, storage)
    pipeline.execute()
    start = data.draw(st.sampled_from(graph))[0]
    pipeline.invalidate_step(start)
    pipeline.execute()
    affected = affected_by(start, graph)
    assert {step.name: step.fetches for step in steps} == {
        name: 2 if name in affected else 1 for name, _ in graph
    }


@given(
    st.integers(1, 7).flatmap(
        lambda count: st.lists(
            st.lists(st.integers(0, count), max_size=3).map(named), min_size=count, max_size=count
        )
    )
)
def test_circles_alone_are_refused_without_validation(needs: list[list[str]]) -> None:
    """A graph is refused exactly if steps depend on each other in a circle."""
    graph = [(f"s{number}", needed) for number, needed in enumerate(needs)]
    circular = any(
        name in affected_by(dependent, graph)
        for name, _ in graph
        for dependent, needed in graph
        if name in needed
    )
    steps = [CountingStep(name, needed) for name, needed in graph]
    if circular:
        with pytest.raises(ValueError, match=r"circle|itself"):
            TokenFetchPipeline(steps, RecordingStorage(), validate_dependencies=False)
    else:
        pipeline = TokenFetchPipeline(steps, RecordingStorage(), validate_dependencies=False)
        assert pipeline.step_names == [name for name, _ in graph]
