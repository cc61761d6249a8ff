"""What a stored token record may say, field by field."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any


def read_record(data: object) -> tuple[dict[str, Any], str | None]:
    """The fields of a token by name, and its generation, out of a record; unknown keys are ignored.

    Raises:
        ValueError: a field is missing or malformed; it names the field only.
    """
    if not isinstance(data, Mapping):
        msg = "A token record must be a mapping."
        raise ValueError(msg)  # noqa: TRY004 - a stored value, documented as ValueError
    token_type = _typed(data, "token_type", str)
    fields = {
        "access_token": _typed(data, "access_token", str, required=True),
        "token_type": "Bearer" if token_type is None else token_type,
        "expires_at": _moment(data, "expires_at"),
        "refresh_token": _typed(data, "refresh_token", str),
        "scope": _typed(data, "scope", str),
        "extra": _typed(data, "extra", dict) or {},
        "issued_at": _moment(data, "issued_at"),
        "leeway": _seconds(data, "leeway"),
    }
    return fields, _typed(data, "generation", str)


def _typed(data: Mapping[str, Any], key: str, kind: type, *, required: bool = False) -> Any:  # noqa: ANN401
    value = data.get(key)
    if isinstance(value, kind) or (value is None and not required):
        return value
    raise _malformed(key)


def _moment(data: Mapping[str, Any], key: str) -> datetime | None:
    value = data.get(key)
    if value is None or isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _malformed(key) from None


def _seconds(data: Mapping[str, Any], key: str) -> timedelta | None:
    value = data.get(key)
    if value is None:
        return None
    try:
        return timedelta(seconds=value)
    except (TypeError, ValueError, OverflowError):
        raise _malformed(key) from None


def _malformed(key: str) -> ValueError:
    return ValueError(f"Field {key!r} of the token record is missing or malformed.")
