"""Reads from a pipeline what its HTTP steps send, so that a FakeAuth can demand just that."""

import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import permutations, zip_longest
from typing import Any, Protocol
from urllib.parse import unquote

from pytest_requestforge.fake_auth.checks import ANYTHING, Carries
from pytest_requestforge.fake_auth.definitions import LONGEST, http_url
from pytest_requestforge.fake_auth.endpoints import Demands, Server, TokenEndpoint, TokenPlace
from pytest_requestforge.fake_auth.incoming import FORM, JSON, origin_of
from requestforge import StepValue
from requestforge.config import TokenData

_HOUR = timedelta(hours=1)


class Pipeline(Protocol):
    """What is asked of a pipeline."""

    @property
    def step_names(self) -> list[str]:
        """The names of its steps, in order."""
        ...

    def get_step(self, name: str) -> Any:  # noqa: ANN401 - steps may be duck-typed
        """The step of that name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The endpoint that one step asks for its token.

    Attributes:
        name: of the step.
        method: in upper case.
        url: in full.
        demands: what the step sends.
        place: where it looks for the token.
        lifetime: of the tokens.
        tells_lifetime: whether the answer has it.
    """

    name: str
    method: str
    url: str
    demands: Demands
    place: TokenPlace
    lifetime: timedelta
    tells_lifetime: bool

    def endpoint(self, server: Server) -> TokenEndpoint:
        """The endpoint itself, of that server."""
        url = http_url(self.url)
        return TokenEndpoint(
            self.name, self.method, origin_of(url), unquote(url.path), self.demands,
            server=server, place=self.place, lifetime=self.lifetime,
            tells_lifetime=self.tells_lifetime, by_hand=False,
        )  # fmt: skip


def refuse_other_origins(pipeline: Pipeline, origin: str) -> None:
    """See to it that every HTTP step asks that origin.

    Raises:
        ValueError: one asks another.
    """
    for step in map(pipeline.get_step, pipeline.step_names):
        is_fixed = _is_http(step) and not isinstance(step.describe().get("base_url"), StepValue)
        asked = origin_of(http_url(step.describe()["url"])) if is_fixed else origin
        if asked != origin:
            raise ValueError(
                f"Step {step.name!r} asks {asked}, which this FakeAuth on loopback does not answer "
                f"for: its credentials would go out. Build the pipeline with auth.url "
                f"({origin}), or use transport='inprocess', which answers for every host."
            )


def endpoints_of(pipeline: Pipeline, known: Collection[str] = ()) -> Iterator[Served]:
    """The endpoint of each HTTP step, in the order of the steps; other steps have none.

    Args:
        pipeline: whose steps.
        known: names of steps that have an endpoint already; these are left out.

    Raises:
        ValueError: a step cannot build its request with tokens that stand in for real ones, or
            looks for two things at one place of the answer.
    """
    steps = [pipeline.get_step(name) for name in pipeline.step_names]
    served = {step.name for step in steps if step.name in known or _is_http(step)}
    # Random, so that a probe is told from whatever else a request holds.
    probes = {step.name: f"probe{secrets.token_hex(16)}" for step in steps}
    earlier: dict[str, TokenData] = {}
    for step in steps:
        is_http = _is_http(step)
        if is_http and step.name not in known:
            carried = {probes[name]: name if name in served else None for name in earlier}
            yield _served(step, dict(earlier), _Demanded(carried))
        token_type = _place(step.describe()).token_type if is_http else "Bearer"
        earlier[step.name] = TokenData(probes[step.name], token_type)


def _is_http(step: Any) -> bool:  # noqa: ANN401
    facts = step.describe() if hasattr(step, "describe") else {}
    return "token_field" in facts or "token_header" in facts


def _served(step: Any, context: dict[str, TokenData], demanded: "_Demanded") -> Served:  # noqa: ANN401
    facts = step.describe()
    if any(isinstance(facts.get(part), StepValue) for part in ("base_url", "endpoint")):
        raise ValueError(
            f"Step {step.name!r} asks another URL for each tenant, so its endpoints cannot be read "
            f"from it. Define them with token() before you serve the pipeline."
        )
    try:
        with StepValue.given(**dict.fromkeys(_values_in(facts), "value")):
            headers = step._build_request_headers(context or None)  # noqa: SLF001 - to be overridden
            data = step._build_request_data(context or None)  # noqa: SLF001 - to be overridden
    except Exception as error:
        raise ValueError(
            f"Step {step.name!r} cannot build its request with tokens that stand in for those of "
            f"the earlier steps ({type(error).__name__}), so its endpoint cannot be read from it. "
            f"Define that endpoint with token() before you serve the pipeline."
        ) from error
    place = _place(facts)
    _refuse_conflicts(step, place)
    return Served(
        name=step.name,
        method=str(getattr(facts["method"], "value", facts["method"])).upper(),
        url=facts["url"],
        demands=Demands(
            headers=demanded.fields(headers, facts["request_headers"]),
            body=demanded.fields(data or {}, facts["request_data"]),
            media_types=(_media_type(headers, facts),),
        ),
        place=place,
        # A ttl of 0 says that the token is not cached, not that it is dead when it arrives.
        lifetime=min(step.ttl or _HOUR, LONGEST),
        tells_lifetime=step.ttl is None,
    )


def _values_in(given: object) -> Iterator[str]:
    """The names of a tenant's values that a step refers to, at any depth."""
    if isinstance(given, StepValue):
        yield given.name
    elif isinstance(given, Mapping | list | tuple):
        for item in given.values() if isinstance(given, Mapping) else given:
            yield from _values_in(item)


@dataclass(frozen=True, slots=True)
class _Demanded:
    """Turns what a step sends into what its endpoint demands.

    A value that the step was given is demanded as it is, a probe becomes the token that it stands
    for, and what else an override has added must be there, whatever it is then.

    Attributes:
        steps: by probe, the step whose token it stands for; None where no endpoint issues it.
    """

    steps: Mapping[str, str | None]

    def fields(self, sent: Mapping[str, Any], given: object) -> dict[str, object]:
        known = given if isinstance(given, Mapping) else {}
        return {name: self._value(value, known.get(name)) for name, value in sent.items()}

    def _value(self, sent: object, given: object) -> object:
        if isinstance(sent, Mapping):
            return self.fields(sent, given)
        if isinstance(sent, list | tuple):
            known = given if isinstance(given, list | tuple) else ()
            return [self._value(*pair) for pair in zip_longest(sent, known[: len(sent)])]
        probes = [probe for probe in self.steps for _ in range(str(sent).count(probe))]
        step = self.steps[probes[0]] if len(probes) == 1 else None
        if step is not None:
            before, _, after = str(sent).partition(probes[0])
            return Carries(step, (before,), after)
        is_given = sent == given and isinstance(sent, str | int | float | None)
        return sent if is_given and not probes else ANYTHING


def _media_type(headers: Mapping[str, str], facts: Mapping[str, Any]) -> str:
    own = next((headers[name] for name in headers if name.casefold() == "content-type"), None)
    if own is not None:
        return own.partition(";")[0].strip().lower()
    return JSON if "json" in facts.get("content_type", "form") else FORM


def _place(facts: Mapping[str, Any]) -> TokenPlace:
    if "token_header" in facts:
        header, token_type = facts["token_header"], facts["token_type"]
        with_scheme = token_type and header.casefold() == "authorization"
        scheme = f"{token_type} " if with_scheme else ""
        return TokenPlace(header=header, scheme=scheme, token_type=token_type)
    return TokenPlace(
        field=facts["token_field"],
        token_type=facts["default_token_type"],
        type_field=facts["token_type_field"],
        expires_in_field=facts["expires_in_field"],
    )


def _refuse_conflicts(step: Any, place: TokenPlace) -> None:  # noqa: ANN401
    """No path may lead to, or through, the value at another one."""
    paths = [place.type_field]
    if place.header is None:
        paths.append(place.field)
    if step.ttl is None:
        paths.append(place.expires_in_field)
    for one, other in permutations(paths, 2):
        if f"{other}.".startswith(f"{one}."):
            raise ValueError(
                f"Step {step.name!r} looks for one thing at {one!r} of the answer and for another "
                f"at {other!r}, and no answer has both; change one of these fields."
            )
