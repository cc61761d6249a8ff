"""Numbers that a caller sets: read, or refused with a ValueError that names the argument."""

import math
import sys


def whole(name: str, value: object, least: int = 0) -> int:
    """The value, if it is a whole number that is not too small, nor above 2**63 - 1.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= sys.maxsize:
        raise ValueError(f"{name} must be a whole number, {least} or more, not {_shown(value)}.")
    return value


def finite(name: str, value: object) -> float:
    """The value, if it is a finite number that is not negative.

    Raises:
        ValueError: it is not.
    """
    number = _number(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} must be a finite number, 0 or more, not {_shown(value)}.")
    return number


def positive(name: str, value: object) -> float:
    """The value, if it is a finite number above 0.

    Raises:
        ValueError: it is not.
    """
    number = _number(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be a finite number above 0, not {_shown(value)}.")
    return number


def _number(value: object) -> float:
    """The value as a float; NaN for what is no number, infinity for what no float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _shown(value: object) -> str:
    # A number of thousands of digits is refused by `repr` itself.
    is_huge = isinstance(value, int) and abs(value) > sys.maxsize
    return "one that is too large" if is_huge else repr(value)
