"""The graph of steps: validation, order and cascades, each in linear time."""

from collections.abc import Iterable, Mapping, Sequence


def check_graph(depends_on: Mapping[str, Sequence[str]], *, strict: bool) -> None:
    """Raise ValueError for a graph that can never be executed, naming the step.

    Args:
        depends_on: each step's dependencies; the mapping's order is the order of execution.
        strict: also refuse a dependency that is unknown or listed after its dependent.
    """
    for step, needed in depends_on.items():
        for name in needed:
            if name == step:
                msg = f"Step {step!r} depends on itself; remove it from its depends_on."
                raise ValueError(msg)
            if strict and name not in depends_on:
                msg = (
                    f"Step {step!r} depends on {name!r}, which is no step of this pipeline "
                    f"(steps: {_listed(list(depends_on))})."
                )
                raise ValueError(msg)
    order = topological_order(depends_on)
    if len(order) < len(depends_on):
        placed = set(order)
        stuck = [step for step in depends_on if step not in placed]
        msg = f"Steps {_listed(stuck)} depend on each other in a circle; no order can serve them."
        raise ValueError(msg)
    if strict:
        _check_listed_order(depends_on)


def topological_order(depends_on: Mapping[str, Sequence[str]]) -> list[str]:
    """The steps, dependencies first and else as listed; those on or behind a circle are left out.

    Kahn's algorithm (Kahn 1962, "Topological sorting of large networks").
    """
    dependents = invert(depends_on)
    waiting = {
        step: sum(1 for name in set(needed) if name in depends_on)
        for step, needed in depends_on.items()
    }
    order = [step for step, count in waiting.items() if count == 0]
    for step in order:  # grows while it is walked
        for dependent in dependents[step]:
            waiting[dependent] -= 1
            if waiting[dependent] == 0:
                order.append(dependent)
    return order


def invert(depends_on: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Each step's direct dependents, in order."""
    dependents: dict[str, list[str]] = {step: [] for step in depends_on}
    for step, needed in depends_on.items():
        for name in dict.fromkeys(needed):
            if name in dependents:
                dependents[name].append(step)
    return dependents


def reachable(starts: Iterable[str], edges: Mapping[str, Iterable[str]]) -> set[str]:
    """`starts` and everything that their edges lead to."""
    found = set(starts)
    stack = list(found)
    while stack:
        for name in edges[stack.pop()]:
            if name not in found:
                found.add(name)
                stack.append(name)
    return found


def _check_listed_order(depends_on: Mapping[str, Sequence[str]]) -> None:
    listed: set[str] = set()
    for step, needed in depends_on.items():
        for name in needed:
            if name not in listed:
                msg = (
                    f"Step {step!r} depends on {name!r}, which is listed after it; "
                    f"list {name!r} before {step!r}."
                )
                raise ValueError(msg)
        listed.add(step)


def _listed(names: Sequence[str], limit: int = 5) -> str:
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
