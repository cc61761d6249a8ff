"""Tables that people write, in a file or a request: their keys, and what is wrong with them."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

_WORDS: dict[tuple[type, ...], str] = {
    (str,): "a text",
    (int,): "a whole number",
    (int, float): "a number",
    (bool,): "true or false",
    (dict,): "a table",
    (list,): "a list of texts",
    (str, bool): "a text, or false",
    (str, dict): "a text or a table",
}


class WrongTable(ValueError):
    """Says what is wrong with a table, where, and what to do; it holds no value of the table."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key that a table may have.

    Attributes:
        kinds: types of its value; empty: any.
        needed: whether the table must have it.
    """

    kinds: tuple[type, ...] = ()
    needed: bool = False


TEXT = Key((str,))
NEEDED = Key((str,), needed=True)
WHOLE = Key((int,))
NUMBER = Key((int, float))
FLAG = Key((bool,))
TABLE = Key((dict,))
TEXTS = Key((list,))
ANYTHING = Key()


def checked(table: object, keys: Mapping[str, Key], where: str) -> dict[str, Any]:
    """The table, which has these keys alone.

    Args:
        table: as it was written.
        keys: by name.
        where: it stands, for the error.

    Raises:
        WrongTable: it is no table, a key is unknown or missing, or a value is of another type.
    """
    if not isinstance(table, dict):
        raise WrongTable(f"{where}: this must be {_WORDS[dict,]}.")
    for name, value in table.items():
        check_name(name, keys, where=where, what="key")
        check_value(value, keys[name].kinds, f"{where}: {name}")
    for name, key in keys.items():
        if key.needed and name not in table:
            raise WrongTable(f"{where}: the key {name!r} is missing.")
    return dict(table)


def check_name(name: str, known: Collection[str], *, where: str, what: str) -> None:
    """See that the name is one of those that are known.

    Raises:
        WrongTable: it is not; the error names the nearest one, and all.
    """
    if name in known:
        return
    near = get_close_matches(name, known, 1)
    meant = f"; did you mean {near[0]!r}?" if near else "."
    there = ", ".join(known) or "none"
    raise WrongTable(f"{where}: there is no {what} {name!r}{meant} There is: {there}.")


def check_value(value: object, kinds: tuple[type, ...], where: str) -> None:
    """See that the value has one of these types; without types, any will do.

    Raises:
        WrongTable: it has none of them.
    """
    # type() and not isinstance(): true and false are no numbers.
    fits = not kinds or type(value) in kinds
    if fits and isinstance(value, list) and kinds:
        fits = all(isinstance(item, str) for item in value)
    if not fits:
        raise WrongTable(f"{where} must be {_WORDS[kinds]}.")


def check_values(table: Mapping[str, object], kinds: tuple[type, ...], where: str) -> None:
    """The same for each value of a table.

    Raises:
        WrongTable: one has none of the types.
    """
    for name, value in table.items():
        check_value(value, kinds, f"{where}.{name}")


@contextmanager
def told_of(where: str) -> Iterator[None]:
    """Within the block an error of the fake auth server says where it comes from.

    Raises:
        WrongTable: in the place of that error.
    """
    try:
        yield
    except WrongTable:
        raise
    except (ImportError, LookupError, TypeError, ValueError) as error:
        raise WrongTable(f"{where}: {error}") from error
