"""TokenData, the value that every fetch gives, and when its use ends."""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, NoReturn, Self, TypeVar

from requestforge import instrumentation
from requestforge._answers import (
    check_object,
    read_access_token,
    read_lifetime,
    read_refresh_token,
    read_scope,
    read_token_type,
    take,
)
from requestforge._redaction import fingerprint
from requestforge._token_records import read_record

__all__ = ["TokenData"]

_LONGEST_MARGIN = timedelta(seconds=30)
_NO_MARGIN = timedelta(0)


class _Provenance:
    """What a pipeline notes on a token: how it was fetched, and its monotonic end of use."""

    # Of a hundred thousand tokens each byte counts: most ends have but a source beside them.
    __slots__ = ("_counted_by", "_generation", "_monotonic_end")
    _counted_by: object  # the source of the monotonic end, or a _Forced
    _generation: str | None
    _monotonic_end: float


class _Forced(NamedTuple):
    """The source that a monotonic end counts by, and the forced fetch of the token.

    `place`: where it began in this process's order; `steps`: those that were forced with it.
    """

    source: object
    place: int
    steps: frozenset[str]


class _ReadOnlyDict(dict[str, Any]):
    """A dict that refuses every change."""

    __slots__ = ()

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        msg = "TokenData.extra is read-only; make a new token with dataclasses.replace."
        raise TypeError(msg)

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, Any]]]:
        return type(self), (dict(self),)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(deepcopy(dict(self), memo))


_NO_EXTRA = _ReadOnlyDict()


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TokenData(_Provenance):
    """One token and what its server said of it.

    Args:
        access_token: the token itself.
        token_type: scheme of the Authorization header; empty for none.
        expires_at: end of life; a naive datetime is local time; None: no end.
        refresh_token: buys the next token (RFC 6749 section 6).
        scope: granted scopes, separated by blanks.
        extra: further fields of the answer; kept as a read-only copy.
        issued_at: when the token was requested; a naive datetime is local time.
        leeway: how long before `expires_at` its use ends; None: 10 % of the life from
            `issued_at`, at most 30 seconds, and 30 seconds where `issued_at` is unknown.

    Raises:
        ValueError: negative leeway.
    """

    access_token: str
    token_type: str = "Bearer"
    expires_at: datetime | None = None
    refresh_token: str | None = None
    scope: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    issued_at: datetime | None = None
    leeway: timedelta | None = None

    def __post_init__(self) -> None:
        """Copy `extra` and check `leeway`."""
        if self.leeway is not None and self.leeway < timedelta(0):
            msg = f"leeway must not be negative, but is {self.leeway}."
            raise ValueError(msg)
        extra = self.extra
        if not isinstance(extra, _ReadOnlyDict):
            object.__setattr__(self, "extra", _ReadOnlyDict(extra) if extra else _NO_EXTRA)
        object.__setattr__(self, "_generation", None)
        object.__setattr__(self, "_monotonic_end", math.inf)
        object.__setattr__(self, "_counted_by", None)

    @property
    def is_expired(self) -> bool:
        """Whether the use of this token has ended: `expires_at` less its margin has passed."""
        return not instrumentation.wall() < wall_end(self)

    @property
    def authorization_header(self) -> str:
        """Value of the Authorization header: type and token, or the token alone without a type."""
        return f"{self.token_type} {self.access_token}" if self.token_type else self.access_token

    @property
    def generation(self) -> str | None:
        """Opaque id of the fetch that a pipeline got this token from; None for other tokens."""
        return self._generation

    @classmethod
    def from_response(
        cls,
        data: dict[str, Any],
        expires_in_key: str = "expires_in",
        access_token_key: str = "access_token",
        refresh_token_key: str = "refresh_token",
        token_type_key: str = "token_type",
    ) -> Self:
        """The token in a token endpoint's answer (RFC 6749 section 5.1), as of now.

        A key may be a path of keys joined by points. What no key names goes into `extra`.

        Raises:
            KeyError: the answer has no access token.
            ValueError: a field has a value that no token can have; it names the field only.
        """
        keys = AnswerKeys(access_token_key, token_type_key, expires_in_key, refresh_token_key)
        return read_token(cls, data, keys, issued_at=instrumentation.now())

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict: instants in ISO 8601, leeway in seconds. It holds the secrets."""
        return {
            "access_token": self.access_token,
            "token_type": self.token_type,
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
            "refresh_token": self.refresh_token,
            "scope": self.scope,
            "extra": dict(self.extra),
            "issued_at": self.issued_at.isoformat() if self.issued_at else None,
            "leeway": None if self.leeway is None else self.leeway.total_seconds(),
            "generation": self._generation,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The token that `to_dict` wrote, here or in release 1.0.0; unknown keys are ignored.

        Raises:
            ValueError: a field is missing or malformed; it names the field only.
        """
        return _from_record(cls, data)

    def __eq__(self, other: object) -> bool:
        """Equal in what the server said; when it was issued only says how to read the expiry."""
        if not isinstance(other, TokenData):
            return NotImplemented
        return _identity(self) == _identity(other) and self.extra == other.extra

    def __hash__(self) -> int:
        """By the same fields but `extra`, which may hold unhashable values."""
        return hash(_identity(self))

    def __repr__(self) -> str:
        """The fields, with secrets masked to a fingerprint that tells equal ones."""
        refresh = None if self.refresh_token is None else f"***{fingerprint(self.refresh_token)}"
        return (
            f"{type(self).__name__}(access_token='***{fingerprint(self.access_token)}', "
            f"token_type={self.token_type!r}, expires_at={self.expires_at!r}, "
            f"refresh_token={refresh!r}, scope={self.scope!r}, "
            f"extra={dict.fromkeys(self.extra, '***')!r}, issued_at={self.issued_at!r}, "
            f"leeway={self.leeway!r}, generation={self._generation!r})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its fields and generation; a monotonic end means nothing elsewhere."""
        fields = (
            self.access_token,
            self.token_type,
            self.expires_at,
            self.refresh_token,
            self.scope,
            dict(self.extra),
            self.issued_at,
            self.leeway,
        )
        return _rebuild, (type(self), fields, self._generation)


TokenT = TypeVar("TokenT", bound=TokenData)


@dataclass(frozen=True, slots=True)
class AnswerKeys:
    """Which field of an answer holds what; each a key or a path of keys joined by points."""

    access_token: str = "access_token"
    token_type: str | None = "token_type"
    expires_in: str | None = "expires_in"
    refresh_token: str | None = "refresh_token"
    scope: str = "scope"


def read_token(
    cls: type[TokenT],
    answer: object,
    keys: AnswerKeys,
    *,
    issued_at: datetime,
    default_type: str = "Bearer",
) -> TokenT:
    """The token in a parsed answer; its lifetime counts from `issued_at`.

    Raises:
        KeyError: the answer has no access token.
        ValueError: a field has a value that no token can have.
    """
    data = check_object(answer)
    used: set[str] = set()
    found, access_token = take(data, keys.access_token, used)
    if not found:
        raise KeyError(keys.access_token)
    seconds = read_lifetime(take(data, keys.expires_in, used)[1], keys.expires_in)
    fields: dict[str, Any] = {
        "access_token": read_access_token(access_token, keys.access_token),
        "token_type": read_token_type(
            take(data, keys.token_type, used)[1], keys.token_type, default_type
        ),
        "expires_at": None if seconds is None else issued_at + timedelta(seconds=seconds),
        "refresh_token": read_refresh_token(
            take(data, keys.refresh_token, used)[1], keys.refresh_token
        ),
        "scope": read_scope(take(data, keys.scope, used)[1], keys.scope),
    }
    extra = {key: value for key, value in data.items() if key not in used}
    return cls(**fields, extra=extra, issued_at=issued_at)


def end_of_use(token: TokenData) -> datetime | None:
    """The instant (aware UTC) from which the token is not used any more; None: no end."""
    if token.expires_at is None:
        return None
    expires_at = _aware(token.expires_at)
    try:
        return expires_at - _margin(token, expires_at)
    except OverflowError:  # before the year 1
        return datetime.min.replace(tzinfo=UTC)


def wall_end(token: TokenData) -> float:
    """The end of use in seconds since 1970; infinite without one."""
    end = end_of_use(token)
    return math.inf if end is None else end.timestamp()


def monotonic_end(token: TokenData) -> tuple[float, object]:
    """The end of use in monotonic seconds and the source they count by; infinite if unknown."""
    counted_by = token._counted_by  # noqa: SLF001 - the one reader
    source = counted_by.source if type(counted_by) is _Forced else counted_by
    return token._monotonic_end, source  # noqa: SLF001 - the one reader


def forced_fetch(token: TokenData) -> tuple[int, frozenset[str]]:
    """Where a forced fetch began in this process's order, and the steps that were forced with it.

    0 and none for any other token.
    """
    counted_by = token._counted_by  # noqa: SLF001 - the one reader
    return counted_by[1:] if type(counted_by) is _Forced else (0, frozenset())


def is_usable(token: TokenData, reading: tuple[float, float, object]) -> bool:
    """Whether, at that `instrumentation.reading()`, neither of its two ends has passed."""
    wall, monotonic, source = reading
    last, counted_by = monotonic_end(token)
    return wall < wall_end(token) and (counted_by is not source or monotonic < last)


def with_effective_expiry(token: TokenData, ttl: timedelta | None, t0: datetime) -> TokenData:
    """The token with the earlier of its own end and `t0 + ttl`, t0 being the instant of sending.

    A ttl is exact (no leeway); a lifetime that the server gave keeps its margin.
    """
    if token.expires_at is not None and token.issued_at is None:
        token = replace(token, issued_at=t0)
    if ttl is None:
        return token
    try:
        ttl_end = t0 + ttl
    except OverflowError:  # a ttl beyond the year 9999 never ends
        return token
    end = end_of_use(token)
    if ttl and end is not None and end <= ttl_end:
        return token
    issued_at = t0 if end is None else token.issued_at
    return replace(token, expires_at=ttl_end, issued_at=issued_at, leeway=_NO_MARGIN)


def stamped(
    token: TokenData,
    generation: str | None,
    monotonic_end: tuple[float, object] | None = None,
    forced: tuple[int, frozenset[str]] | None = None,
) -> TokenData:
    """A copy of the token that carries what a pipeline notes on it."""
    copy = replace(token)
    object.__setattr__(copy, "_generation", generation)
    end, source = (math.inf, None) if monotonic_end is None else monotonic_end
    object.__setattr__(copy, "_monotonic_end", end)
    object.__setattr__(copy, "_counted_by", source if forced is None else _Forced(source, *forced))
    return copy


def _margin(token: TokenData, expires_at: datetime) -> timedelta:
    if token.leeway is not None:
        return token.leeway
    if token.issued_at is None:
        return _LONGEST_MARGIN
    lifetime = expires_at - _aware(token.issued_at)
    return max(timedelta(0), min(_LONGEST_MARGIN, lifetime / 10))


def _aware(moment: datetime) -> datetime:
    # Away from a zone that changes its offset: arithmetic within it ignores the change.
    try:
        return moment.astimezone(UTC)
    except (OverflowError, ValueError, OSError):  # the first and last day that datetime knows
        return moment.replace(tzinfo=UTC)


def _identity(token: TokenData) -> tuple[object, ...]:
    return (
        token.access_token,
        token.token_type,
        token.expires_at,
        token.refresh_token,
        token.scope,
    )


def _rebuild(cls: type[TokenData], fields: tuple[Any, ...], generation: str | None) -> TokenData:
    token = cls(*fields)
    object.__setattr__(token, "_generation", generation)
    return token


def _from_record(cls: type[TokenT], data: object) -> TokenT:
    fields, generation = read_record(data)
    token = cls(**fields)
    object.__setattr__(token, "_generation", generation)
    return token
