"""What a token endpoint's answer may say, field by field (RFC 6749 section 5.1)."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

LONGEST_LIFETIME = 315_360_000.0
"""Ten years in seconds; a longer lifetime is taken for this one."""

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+", re.ASCII)
_PRINTABLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2


def parse_answer(content: bytes) -> dict[str, Any]:
    """The JSON object in `content`.

    Raises:
        ValueError: it is not one JSON object, or names a key twice; the text is not quoted.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        msg = "The token answer is not UTF-8 text."
        raise ValueError(msg) from None
    try:
        answer = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except _RefusedAnswer as error:
        raise ValueError(str(error)) from None
    except (ValueError, RecursionError):
        # The decoder's own error holds the whole document: not even as a cause may it go on.
        msg = "The token answer is not readable JSON."
        raise ValueError(msg) from None
    return check_object(answer)


def check_object(answer: object) -> dict[str, Any]:
    """`answer` itself, if it is a JSON object."""
    if not isinstance(answer, dict):
        msg = f"The token answer is {_kind(answer)}, not a JSON object."
        raise ValueError(msg)  # noqa: TRY004 - a value from outside, documented as ValueError
    return answer


def read_access_token(value: object, field: str) -> str:
    """A non-empty printable ASCII string, so that nothing harmful can reach a header."""
    if isinstance(value, str) and _PRINTABLE.fullmatch(value):
        return value
    raise _refused(field, value, "a non-empty string of printable ASCII without outer blanks")


def read_token_type(value: object, field: str | None, default: str) -> str:
    """The scheme of the Authorization header; `default` where the answer has none."""
    if value is None:
        return default
    if isinstance(value, str) and (not value or _TOKEN.fullmatch(value)):
        return value
    raise _refused(field, value, "a string of token characters (RFC 9110)")


def read_refresh_token(value: object, field: str | None) -> str | None:
    """The refresh token, None if absent or empty."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    raise _refused(field, value, "a string")


def read_scope(value: object, field: str) -> str | None:
    """Scopes separated by blanks; an array of strings is joined."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join(value)
    raise _refused(field, value, "a string or an array of strings")


def read_lifetime(value: object, field: str | None) -> float | None:
    """Seconds of life, at most ten years; None where the answer gives none."""
    if value is None:
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip(" \t\r\n")):
        return min(float(value), LONGEST_LIFETIME)
    # Clamped before it becomes a float, which a larger integer may not fit.
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
        return float(min(value, LONGEST_LIFETIME))
    raise _refused(field, value, "a number of seconds, 0 or more")


def take(answer: Mapping[str, Any], path: str | None, used: set[str]) -> tuple[bool, Any]:
    """Whether the answer has `path`, and its value; the top-level key it uses joins `used`.

    A path is a key, or keys joined by points; a key that is literally the path wins. None: no
    field of the answer.
    """
    if path is None:
        return False, None
    if path in answer:
        used.add(path)
        return True, answer[path]
    first, *rest = path.split(".")
    value: Any = answer
    for key in (first, *rest):
        if not isinstance(value, dict) or key not in value:
            return False, None
        value = value[key]
    used.add(first)
    return True, value


class _RefusedAnswer(ValueError):
    """A refusal of ours from within the decoder."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        msg = "The token answer names a key twice."
        raise _RefusedAnswer(msg)
    return result


def _refuse_constant(_name: str) -> None:
    msg = "The token answer holds NaN or Infinity, which are not JSON."
    raise _RefusedAnswer(msg)


def _refused(field: str | None, value: object, expected: str) -> ValueError:
    return ValueError(f"Field {field!r} of the token answer is {_kind(value)}, not {expected}.")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    kinds: dict[type, str] = {
        str: "another string",
        int: "another number",
        float: "another number",
        list: "an array",
        dict: "an object",
    }
    return kinds.get(type(value), "of another type")
