"""The faults of endpoints: what each kind makes of an answer, and when one strikes."""

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Literal, Protocol, Self, get_args

from pytest_requestforge.fake_auth.answers import NO_STATUS, Answer, final_status
from pytest_requestforge.fake_auth.delivery import (
    Delivery,
    after,
    at_rate,
    broken,
    half,
    nothing,
    whole,
)
from pytest_requestforge.fake_auth.incoming import Incoming

FaultKind = Literal[
    "fail", "reset", "hang", "slow", "drip", "truncate",
    "garbage", "html", "empty", "redirect", "echo_secrets",
]  # fmt: skip
KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
"""Every kind of fault."""

CHAOS: tuple[FaultKind, ...] = ("fail", "reset", "truncate", "garbage", "html", "empty")
"""The kinds of chaos, unless told otherwise: those that take no time, and that may pass."""

_ERRORS = {401: "invalid_token", 429: "slow_down", 503: "temporarily_unavailable"}
_SERVER_ERRORS = 500
_FAILURES = range(400, 600)
_REDIRECTS = range(300, 400)
# RFC 6749 section 5.2
_CODE = re.compile(r"[ !#-\[\]-~]+")
_HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in</body></html>"
_GARBAGE = b"\x80\x81{\xff\xfe not JSON \x00\xc3("

_Spoil = Callable[[Incoming, Callable[[], Answer]], Answer]


class Fault:
    """Something that goes wrong with an answer of an endpoint: once, unless told otherwise.

    Attributes:
        kind: the name of the method that calls for it.
        used: how many times it has struck.
    """

    def __init__(self, kind: FaultKind, spoil: _Spoil, *said: str) -> None:
        self.kind = kind
        self.used: int = 0
        self._spoil = spoil
        self._said = f"{kind}({', '.join(said)})"
        self._times = 1

    def times(self, count: int) -> Self:
        """Let it strike so many times: `app.fail(503).times(2)`.

        Raises:
            ValueError: the count is no whole number from 1.
        """
        if count < 1 or count % 1:
            raise ValueError(f"A fault strikes 1 or more times, not {count}.")
        self._times = count
        return self

    @property
    def left(self) -> int:
        """How many times it has still to strike."""
        return max(0, self._times - self.used)

    def told(self) -> str:
        """What became of it, such as `fail(503) used 1 of 2 times`."""
        if self.used == 0:
            return f"{self._said} never used"
        return f"{self._said} used {self.used} of {self._times} times"

    def drop(self) -> None:
        """Let it strike no more."""
        self._times = self.used

    def strike(self, incoming: Incoming, service: Callable[[], Answer]) -> Answer:
        """The answer that it leaves.

        Args:
            incoming: the request.
            service: gives the answer without a fault; each call is one more service.
        """
        self.used += 1
        answer = self._spoil(incoming, service)
        said = f"fault: {self._said}"
        reason = f"{answer.reason}, {said}" if answer.reason else said
        delivery = answer.delivery or whole
        return replace(answer, reason=reason, delivery=delivery, fault=self.kind)

    def __repr__(self) -> str:
        return f"<Fault {self.told()}>"


def fail(
    status: int = 503,
    *,
    retry_after: float | timedelta | None = None,
    error: str | None = None,
) -> Fault:
    """An error answer.

    Raises:
        ValueError: the status is none of an error, `retry_after` is negative, or no header could
            hold the code.
    """
    status = final_status("fail()", status, _FAILURES)
    otherwise = "server_error" if status >= _SERVER_ERRORS else "invalid_request"
    code = error or _ERRORS.get(status, otherwise)
    headers = {"Cache-Control": "no-store"}
    said = [str(status)]
    if retry_after is not None:
        seconds = _number("retry_after", retry_after)
        if seconds < 0:
            raise ValueError(f"retry_after must not be negative, but is {retry_after!r}.")
        # RFC 9110 section 10.2.3: whole seconds
        headers["Retry-After"] = str(-int(-seconds // 1))
        said.append(f"retry_after={seconds:g}")
    if status == 401:  # noqa: PLR2004 - Unauthorized
        headers["WWW-Authenticate"] = f'Bearer realm="fake auth", error="{code}"'
    if error is not None:
        if not _CODE.fullmatch(error):
            raise ValueError(f"error is a code such as 'invalid_grant', not {error!r}.")
        said.append(f"error={error!r}")
    content = {"error": code, "error_description": "a fault of the test"}
    return Fault("fail", lambda *_: Answer(status, content, headers), *said)


def reset() -> Fault:
    """A connection that the server resets instead of answering."""
    return Fault("reset", lambda *_: _unanswered(broken))


def hang() -> Fault:
    """A connection on which nothing comes until the client gives up."""
    return Fault("hang", lambda *_: _unanswered(nothing))


def slow(seconds: float = 0.5) -> Fault:
    """The right answer, after so many seconds.

    Raises:
        ValueError: the number is not above 0.
    """
    pause = _seconds("seconds", seconds)
    return Fault("slow", _delivered(after(pause)), f"{pause:g}")


def drip(bytes_per_second: float = 50) -> Fault:
    """The right answer, its body byte by byte.

    Raises:
        ValueError: the rate is not above 0.
    """
    rate = _seconds("bytes_per_second", bytes_per_second)
    return Fault("drip", _delivered(at_rate(rate)), f"bytes_per_second={rate:g}")


def truncate() -> Fault:
    """The right answer, broken off in the middle of its body."""
    return Fault("truncate", _delivered(half))


def garbage() -> Fault:
    """Bytes that are called JSON and are not."""
    return Fault("garbage", lambda *_: Answer(200, _GARBAGE))


def html(status: int = 200) -> Fault:
    """A page for people, as a proxy or portal puts it in the place of the answer.

    Raises:
        ValueError: the status is none of an answer.
    """
    answer = Answer(final_status("html()", status), _HTML, media_type="text/html; charset=utf-8")
    return Fault("html", lambda *_: answer, *([] if status == 200 else [str(status)]))  # noqa: PLR2004


def empty(status: int = 200) -> Fault:
    """An answer without a body.

    Raises:
        ValueError: the status is none of an answer.
    """
    answer = Answer(final_status("empty()", status), b"")
    return Fault("empty", lambda *_: answer, *([] if status == 200 else [str(status)]))  # noqa: PLR2004


def redirect(url: str | None = None, status: int = 307) -> Fault:
    """A redirect to `url`; None: to where the request was sent.

    Raises:
        ValueError: the status is none of a redirect, or no header could hold the URL.
    """
    status = final_status("redirect()", status, _REDIRECTS)
    if url is not None and not (url.isascii() and url.isprintable()):
        raise ValueError(f"redirect() leads to a URL, not to {url!r}.")

    def spoil(incoming: Incoming, _: Callable[[], Answer]) -> Answer:
        return Answer(status, b"", {"Location": url or incoming.url})

    return Fault("redirect", spoil, *([] if url is None else [repr(url)]))


def echo_secrets(status: int = 400) -> Fault:
    """An error answer that repeats the whole request, its secrets included.

    Raises:
        ValueError: the status is none of an error.
    """
    status = final_status("echo_secrets()", status, _FAILURES)

    def spoil(incoming: Incoming, _: Callable[[], Answer]) -> Answer:
        said = f"cannot take {' '.join(incoming.raw.split(chr(10))[::-1])}"
        return Answer(status, {"error": "invalid_request", "error_description": said})

    return Fault("echo_secrets", spoil)


_MAKERS: dict[FaultKind, Callable[[], Fault]] = {
    "fail": fail,
    "reset": reset,
    "hang": hang,
    "slow": slow,
    "drip": drip,
    "truncate": truncate,
    "garbage": garbage,
    "html": html,
    "empty": empty,
    "redirect": redirect,
    "echo_secrets": echo_secrets,
}


def make_fault(kind: str) -> Fault:
    """A fault of that kind with its defaults.

    Raises:
        ValueError: there is no such kind.
    """
    for known, maker in _MAKERS.items():
        if known == kind:
            return maker()
    raise ValueError(f"There is no fault {kind!r}; the kinds are {', '.join(KINDS)}.")


class Named(Protocol):
    """What chaos asks of an endpoint."""

    @property
    def name(self) -> str:
        """That of its step."""


class Chaos:
    """Strikes some requests; which ones follows from the seed and their number at the endpoint.

    Args:
        rate: share of the requests that it strikes, from 0 to 1.
        seed: of the dice.
        kinds: of its faults.

    Raises:
        ValueError: the rate is outside 0 to 1, or a kind is unknown, or there is none.
    """

    def __init__(self, rate: float, seed: int, kinds: Sequence[str]) -> None:
        if not 0 <= rate <= 1:
            raise ValueError(f"rate is a share of the requests, from 0 to 1, not {rate!r}.")
        if not kinds:
            raise ValueError("Chaos needs at least one kind of fault.")
        for kind in kinds:
            make_fault(kind)
        self._rate = rate
        self._seed = seed
        self._kinds = tuple(kinds)
        self._counts: Counter[str] = Counter()

    def fault(self, endpoint: Named) -> Fault | None:
        """That of the endpoint's next request; None: it is served."""
        self._counts[endpoint.name] += 1
        dice = random.Random(f"{self._seed}/{endpoint.name}/{self._counts[endpoint.name]}")  # noqa: S311 - to be had again
        return make_fault(dice.choice(self._kinds)) if dice.random() < self._rate else None


def _unanswered(delivery: Delivery) -> Answer:
    return Answer(NO_STATUS, b"", delivery=delivery)


def _delivered(delivery: Delivery) -> _Spoil:
    return lambda _, service: replace(service(), delivery=delivery)


def _number(name: str, given: object) -> float:
    if isinstance(given, timedelta):
        return given.total_seconds()
    if not isinstance(given, int | float):
        raise TypeError(f"{name} is a number or a timedelta, not {type(given).__name__}.")
    if not math.isfinite(given):
        raise ValueError(f"{name} is a finite number, not {given!r}.")
    return given


def _seconds(name: str, given: float | timedelta) -> float:
    seconds = _number(name, given)
    if seconds <= 0:
        raise ValueError(f"{name} is a number above 0, not {given!r}.")
    return seconds
