"""A configuration out of plain values: of a mapping, or of a table in a TOML file."""

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

from requestforge._fork import importing
from requestforge.config.checks import check_type
from requestforge.config.groups import retry_strategy

_Made = TypeVar("_Made")

_DEEPEST = 64
# Of a shorter value a text may hold as much by chance.
_LONG_VALUE = 6

_VARIABLE = re.compile(r"(?P<escaped>\$\$\{)|\$\{(?P<name>[^{}]+)\}|(?P<broken>\$\{)")

# The fields that hold objects, each with what its objects can do.
_OBJECTS = {
    "retry_strategy": "should_retry",
    "auth_hook": "before_request",
    "request_hooks": "before_request",
    "response_hooks": "after_response",
    "error_hooks": "on_error",
}


def read_mapping(
    make: Callable[..., _Made], names: Collection[str], mapping: Mapping[str, Any], where: str = ""
) -> _Made:
    """What `make` gives of the values.

    Args:
        make: takes fields by their names.
        names: of all fields.
        mapping: values by field, variables of the environment not filled in yet.
        where: what stands before the text of an error.

    Raises:
        ValueError: a key is unknown, a variable is not set, or a value is refused.
    """
    variables = _Variables()
    try:
        return make(**_fields(mapping, names, variables))
    except (ValueError, TypeError) as error:
        problem = variables.hidden_in(str(error))
    # Not from that error, whose text may show what is in a variable.
    raise ValueError(where + problem)


def read_toml(
    make: Callable[..., _Made], names: Collection[str], path: str | os.PathLike[str], table: str
) -> _Made:
    """What `make` gives of the values in a table of a TOML file.

    Raises:
        ValueError: the file is no TOML or lacks the table; otherwise as `read_mapping`.
        OSError: the file cannot be read.
        TypeError: the name of the table is no text.
    """
    check_type("table", table, str)
    values: object = _parsed(path)
    for name in table.split("."):
        if not isinstance(values, Mapping) or name not in values:
            raise ValueError(f"{path}: there is no table [{table}]{_meant(name, values)}")
        values = values[name]
    where = f"{path} [{table}]: "
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}it must be a table, not a {type(values).__name__}.")  # noqa: TRY004 - a fault of the file
    return read_mapping(make, names, values, where)


class _Variables:
    """The environment variables that a configuration was given, by the texts they were put into."""

    def __init__(self) -> None:
        self._written: dict[str, str] = {}

    def fill(self, value: object, at: str, depth: int = 0) -> Any:  # noqa: ANN401 - values of any type
        """The value with its variables filled in, at any depth.

        Raises:
            ValueError: one is not set, or has no name; or the value is nested too deep.
        """
        if isinstance(value, str):
            filled = _VARIABLE.sub(lambda found: self._text(found, at), value)
            if filled != value:
                self._written[filled] = value
            return filled
        if not isinstance(value, Mapping | list | tuple):
            return value
        if depth == _DEEPEST:
            raise ValueError(f"{at.partition('.')[0]} is nested too deep, or holds itself.")
        if isinstance(value, Mapping):
            return {key: self.fill(item, f"{at}.{key}", depth + 1) for key, item in value.items()}
        return [self.fill(item, at, depth + 1) for item in value]

    def hidden_in(self, text: str) -> str:
        """The text with what was written in the place of what was filled in.

        Short values are told by the quotation marks around the text that they are in.
        """
        forms: dict[str, str] = {}
        for filled, written in self._written.items():
            if len(filled) < _LONG_VALUE:
                forms[repr(filled)] = repr(written)
            else:
                forms |= dict.fromkeys(_forms(filled), written)
        if not forms:
            return text
        longest_first = sorted(forms, key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, longest_first)))
        return pattern.sub(lambda found: forms[found[0]], text)

    def _text(self, found: re.Match[str], at: str) -> str:
        if found["escaped"]:
            return "${"
        if found["broken"]:
            raise ValueError(
                f"{at}: a '${{' is not followed by a name and '}}'; '$${{' stands for '${{'."
            )
        name = found["name"]
        if name not in os.environ:
            raise ValueError(f"{at}: the environment variable {name!r} is not set.")
        value = os.environ[name]
        self._written[value] = found[0]
        return value


def _forms(text: str) -> Iterable[str]:
    return text, repr(text)[1:-1], quote(text, safe=""), quote_plus(text)


def _fields(
    mapping: Mapping[str, Any], names: Collection[str], variables: _Variables
) -> dict[str, Any]:
    known = (*names, "retry")
    for key in mapping:
        if key not in known:
            raise ValueError(f"There is no field {key!r}{_meant(key, known)}")
    fields = {key: variables.fill(value, key) for key, value in mapping.items()}
    for name in _OBJECTS.keys() & fields.keys():
        _check_objects(name, fields[name])
    if "retry" in fields:
        if fields.get("retry_strategy") is not None:
            raise ValueError("retry and retry_strategy exclude each other: leave one of them out.")
        fields["retry_strategy"] = retry_strategy(fields.pop("retry"))
    if isinstance(fields.get("default_headers"), Mapping):
        _check_headers(fields["default_headers"])
        _note_credentials(fields, mapping["default_headers"])
    return fields


def _check_objects(name: str, value: object) -> None:
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(hasattr(each, _OBJECTS[name]) for each in values):
        raise ValueError(
            f"{name} cannot be written as text: pass objects, or use HttpClientConfigBuilder"
            + (", or write the key 'retry'." if name == "retry_strategy" else ".")
        )


def _check_headers(headers: Mapping[str, object]) -> None:
    for name, value in headers.items():
        if not isinstance(value, str):
            raise ValueError(  # noqa: TRY004 - a value of a file
                f"default_headers.{name} must be a text, not a {type(value).__name__}."
            )


def _note_credentials(fields: dict[str, Any], headers: Mapping[str, str]) -> None:
    """Count the headers whose values come from the environment among the credentials."""
    secret = [
        name
        for name, value in headers.items()
        if any(found["name"] for found in _VARIABLE.finditer(value))
    ]
    given = fields.get("credential_headers", ())
    if secret and isinstance(given, list | tuple):
        fields["credential_headers"] = [*given, *secret]


def _parsed(path: str | os.PathLike[str]) -> Mapping[str, object]:
    # Here, since most processes read no such file.
    with importing:
        import tomllib  # noqa: PLC0415

    data = Path(path).read_bytes()
    try:
        # With the byte order mark that some editors put before it.
        return tomllib.loads(data.decode().removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        problem = f"byte {error.start} is not UTF-8"
    except RecursionError:
        problem = "a value is nested too deep"
    except tomllib.TOMLDecodeError as error:
        problem = str(error).rstrip(".")
    # Not from that error, which has the whole text of the file.
    raise ValueError(f"{path}: it is no TOML: {problem}.")


def _meant(name: object, known: object) -> str:
    """The end of a sentence on a wrong name: a question that names the nearest, if any is near."""
    # Here, since only an error needs it.
    with importing:
        from difflib import get_close_matches  # noqa: PLC0415

    names = [str(each) for each in known] if isinstance(known, Iterable) else []
    near = get_close_matches(str(name), names, 1)
    return f"; did you mean {near[0]!r}?" if near else "."
