"""Numbers that a caller sets: read, or refused with a ValueError that names the argument."""

import math


def whole(name: str, value: object, least: int = 0) -> int:
    """The value, if it is a whole number that is not too small.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number, {least} or more, not {value!r}.")
    return value


def finite(name: str, value: object) -> float:
    """The value, if it is a finite number that is not negative.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a finite number, 0 or more, not {value!r}.")
    return float(value)


def positive(name: str, value: object) -> float:
    """The value, if it is a finite number above 0.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a finite number above 0, not {value!r}.")
    return float(value)
