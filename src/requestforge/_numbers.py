"""Numbers that a caller sets: read, or refused with a ValueError that names the argument."""

import math
import sys

_MOST = sys.maxsize


def whole(name: str, value: object, least: int = 0) -> int:
    """The value, if it is a whole number that is not too small, and at most `sys.maxsize`.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number, {least} or more, not {_shown(value)}.")
    if value > _MOST:
        raise ValueError(f"{name} must be a whole number up to {_MOST}, not {_shown(value)}.")
    return value


def finite(name: str, value: object) -> float:
    """The value, if it is a finite number that is not negative.

    Raises:
        ValueError: it is not.
    """
    number = _float(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} must be a finite number, 0 or more, not {_shown(value)}.")
    return number


def positive(name: str, value: object) -> float:
    """The value, if it is a finite number above 0.

    Raises:
        ValueError: it is not.
    """
    number = _float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be a finite number above 0, not {_shown(value)}.")
    return number


def _float(value: object) -> float:
    """The number; NaN in place of what is none, infinity in place of one too large."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _shown(value: object) -> str:
    # A number of thousands of digits has no text, see `sys.set_int_max_str_digits`.
    if isinstance(value, int) and abs(value) > _MOST:
        return f"one of {value.bit_length()} bits"
    return repr(value)
