"""StepToken and StepValue, which stand for tokens and values, and how their places are filled."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from requestforge._redaction import is_sensitive
from requestforge.exceptions import DependencyException
from requestforge.tokens import TokenData

TENANT = "tenant"
"""Name of the value that is the tenant itself."""

_PLACE = "{}"
_SHORTEST_SECRET = 8

_values: ContextVar[Mapping[str, str] | None] = ContextVar("tenant_values", default=None)


@dataclass(frozen=True, slots=True)
class StepToken:
    """Stands, among the headers or data of a step's request, for the token of an earlier step.

    At each fetch the access token of that step takes its place. The step joins `depends_on`.

    Example:
        `request_headers={"Authorization": StepToken("app_token", "Bearer {}")}`

    Args:
        step: name of the earlier step.
        format: a text with one `{}`, where the access token goes.

    Raises:
        ValueError: an empty name, or a format with other braces than one `{}`.
        TypeError: the name or the format is no string.
    """

    step: str
    format: str = _PLACE

    def __post_init__(self) -> None:
        _check("StepToken", "step", self.step, self.format)

    def filled(self, access_token: str) -> str:
        """The format with the token in its place."""
        return self.format.replace(_PLACE, access_token)


@dataclass(frozen=True, slots=True)
class StepValue:
    """Stands, in a step's request or its URL, for a value of the tenant that it is made for.

    At each fetch a value that `pipeline.for_tenant` was given takes its place. The value named
    `tenant` is the name of the tenant itself.

    Example:
        `request_data={"username": StepValue("username"), "password": StepValue("password")}`

    Args:
        name: name of the value.
        format: a text with one `{}`, where the value goes.

    Raises:
        ValueError: an empty name, or a format with other braces than one `{}`.
        TypeError: the name or the format is no string.
    """

    name: str
    format: str = _PLACE

    def __post_init__(self) -> None:
        _check("StepValue", "name", self.name, self.format)

    def filled(self) -> str:
        """The format with the value of the tenant that this thread fetches for.

        For the `fetch` of a step of your own. A thread or executor that it starts is not within
        that fetch.

        Raises:
            DependencyException: this thread fetches for no tenant, or for one without that value.
        """
        return self.format.replace(_PLACE, value_of(self))

    @staticmethod
    def given(**values: str) -> AbstractContextManager[None]:
        """A block within which this thread fetches for a tenant with those values.

        For a fetcher without a pipeline, in a test of it for instance; a pipeline sees to that by
        itself.
        """
        return filling(values)


def value_of(reference: StepValue, step: str | None = None) -> str:
    """The value that a reference stands for in this thread, without its format.

    Args:
        reference: it.
        step: name of the step that it belongs to, if it is known.

    Raises:
        DependencyException: there is no such value.
    """
    values = _values.get()
    if values is not None and reference.name in values:
        return values[reference.name]
    who = "A step" if step is None else f"Step {step!r}"
    how = "no tenant" if values is None else "a tenant without it"
    raise DependencyException(
        f"{who} needs the value {reference.name!r} of a tenant, but is fetched for {how}: execute "
        "what `pipeline.for_tenant` gives.",
        service_name=step,
    )


@contextmanager
def filling(values: Mapping[str, str] | None) -> Iterator[None]:
    """Fill references with those values, of one tenant, within the block and this thread.

    None: there is no tenant, also where the block is within the fetch for one.
    """
    before = _values.set(values)
    try:
        yield
    finally:
        _values.reset(before)


def secret_values(values: Mapping[str, str] | None = None) -> frozenset[str]:
    """Those of a tenant's values that no message may repeat: the long, and the secret by name.

    Args:
        values: by name; None: those that references are being filled with.
    """
    values = _values.get() if values is None else values
    return frozenset(
        value
        for name, value in (values or {}).items()
        if value and name != TENANT and (len(value) >= _SHORTEST_SECRET or is_sensitive(name))
    )


def steps_in(value: object) -> Iterator[str]:
    """The names of the steps whose tokens the value refers to, at any depth."""
    return (each.step for each in _references_in(value) if isinstance(each, StepToken))


def values_in(value: object) -> Iterator[str]:
    """The names of the values that the value refers to, at any depth."""
    return (each.name for each in _references_in(value) if isinstance(each, StepValue))


def fill(value: Any, context: Mapping[str, TokenData] | None, step: str) -> Any:  # noqa: ANN401 - JSON
    """A copy of the value with tokens and values in place of the references, at any depth.

    Args:
        value: mappings and lists of anything.
        context: the tokens of earlier steps by name.
        step: name of the step that the value belongs to.

    Raises:
        DependencyException: the context lacks the token of a step, or the tenant a value.
    """
    if isinstance(value, StepToken):
        token = (context or {}).get(value.step)
        if token is None:
            raise DependencyException(
                f"Step {step!r} needs the token of step {value.step!r}, which it was not given: "
                "fetch it by a pipeline that has that step before this one.",
                service_name=step,
            )
        return value.filled(token.access_token)
    if isinstance(value, StepValue):
        return value.format.replace(_PLACE, value_of(value, step))
    if isinstance(value, Mapping):
        return {key: fill(item, context, step) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [fill(item, context, step) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


def _references_in(value: object) -> Iterator[StepToken | StepValue]:
    if isinstance(value, StepToken | StepValue):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _references_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _references_in(item)


def _check(kind: str, argument: str, name: object, text: object) -> None:
    for each, value in ((argument, name), ("format", text)):
        if not isinstance(value, str):
            raise TypeError(f"{each} of a {kind} must be a string, not {type(value).__name__}.")
    if not name:
        article = "the name of a step" if kind == "StepToken" else "a name"
        raise ValueError(f"A {kind} needs {article}.")
    before, place, after = str(text).partition(_PLACE)
    if not place or any(brace in before + after for brace in _PLACE):
        goes = "token" if kind == "StepToken" else "value"
        raise ValueError(
            f"The format of {kind}({name!r}) is {text!r}; it must hold {_PLACE} once, where the "
            f"{goes} goes, and no other braces."
        )
