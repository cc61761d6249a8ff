"""StepToken, which stands for the token of an earlier step, and how its place is filled."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from requestforge.exceptions import DependencyException
from requestforge.tokens import TokenData

_PLACE = "{}"


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
        for name, value in (("step", self.step), ("format", self.format)):
            if not isinstance(value, str):
                raise TypeError(
                    f"{name} of a StepToken must be a string, not {type(value).__name__}."
                )
        if not self.step:
            raise ValueError("A StepToken needs the name of a step.")
        before, place, after = self.format.partition(_PLACE)
        if not place or any(brace in before + after for brace in _PLACE):
            raise ValueError(
                f"The format of StepToken({self.step!r}) is {self.format!r}; it must hold {_PLACE} "
                "once, where the token goes, and no other braces."
            )

    def filled(self, access_token: str) -> str:
        """The format with the token in its place."""
        return self.format.replace(_PLACE, access_token)


def steps_in(value: object) -> Iterator[str]:
    """The names of the steps whose tokens the value refers to, at any depth."""
    if isinstance(value, StepToken):
        yield value.step
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from steps_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from steps_in(item)


def fill(value: Any, context: Mapping[str, TokenData] | None, step: str) -> Any:  # noqa: ANN401 - JSON
    """A copy of the value with access tokens in place of the references, at any depth.

    Args:
        value: mappings and lists of anything.
        context: the tokens of earlier steps by name.
        step: name of the step that the value belongs to.

    Raises:
        DependencyException: the context lacks the token of a step.
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
    if isinstance(value, Mapping):
        return {key: fill(item, context, step) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [fill(item, context, step) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value
