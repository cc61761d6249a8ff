"""Exceptions that can be copied and pickled with their causes, and foreign ones without secrets."""

import sys
from collections.abc import Iterable
from copy import copy
from datetime import date, time, timedelta
from typing import Any, Self

from requestforge._redaction import (
    NO_NAMES,
    also_sensitive,
    error_text,
    is_sensitive,
    mask_json,
    mask_text,
    masks_itself,
    scrub,
)


class PortableException(Exception):
    """An exception that keeps its attributes and its cause when it is copied or pickled."""

    original_exception: BaseException | None = None
    # Sensitive names beyond the built-in ones, where it was made.
    _names: frozenset[str] = NO_NAMES

    def __copy__(self) -> Self:
        """An exception of its own with the same attributes and cause, but no traceback."""
        twin = type(self).__new__(type(self), *self.args)
        twin.__dict__.update(self.__dict__)
        twin.__cause__ = self.__cause__
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        """Its attributes, masked, and its cause, which pickle alone would drop."""
        with also_sensitive(self._names):
            state = {name: plain(value) for name, value in self._masked_state().items()}
            cause = self.__cause__
            if cause is None or cause is self.original_exception:
                state["__cause__"] = state.get("original_exception")
            else:
                state["__cause__"] = plain(cause)
            args = [plain(mask_json(arg)) for arg in self.args]
        return _blank, (type(self), *args), state

    def _masked_state(self) -> dict[str, object]:
        return {name: mask_json(value) for name, value in vars(self).items() if name != "_names"}


class LostException(Exception):
    """Stands for an exception that cannot be rebuilt: the name of its type, and its text."""

    def __init__(self, type_name: str, text: str) -> None:
        super().__init__(type_name, text)
        self.type_name = type_name

    def __str__(self) -> str:
        return str(self.args[1])


def describe(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """Type and text of an exception, without credentials."""
    name = error.type_name if isinstance(error, LostException) else type(error).__name__
    return f"{name}: {error_text(error, secrets)}"


def without_secrets(error: BaseException, secrets: Iterable[str] = ()) -> BaseException:
    """The error itself if nothing in its chain shows a credential, else a copy that does not.

    The copy keeps the causes, not the tracebacks. Errors of the library are searched for `secrets`
    alone, since they mask what else can be told.

    Args:
        error: an exception of any kind.
        secrets: credentials that may appear in its text.
    """
    known = tuple(secrets)
    if any(_shows_secret(link, known) for link in _links(error, own=bool(known))):
        return _cleaned(error, known, ())
    return error


def plain(value: object) -> object:
    """A masked value with opaque objects, which may hold anything, replaced by their text.

    What is left can be pickled: numbers, texts, dates, containers, errors, and masked requests and
    answers.
    """
    if isinstance(value, PortableException):
        return value
    if isinstance(value, BaseException):
        return _Remains(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value)(plain(item) for item in value)
    return value if _is_plain(value) or masks_itself(value) else error_text(value)


class _Remains:
    """What is left of a foreign exception in a pickle: type, plain arguments, masked, and cause."""

    __slots__ = ("args", "attributes", "cause", "kind")

    def __init__(
        self,
        error: BaseException,
        secrets: tuple[str, ...] = (),
        above: tuple[BaseException, ...] = (),
    ) -> None:
        self.kind: type[BaseException] = type(error)
        self.args = tuple(_plain(arg, secrets) for arg in error.args)
        self.attributes = {
            name: _plain(value, secrets)
            for name, value in vars(error).items()
            if isinstance(value, str | int | float) and not is_sensitive(name)
        }
        text = error_text(error, secrets)
        if not _can_be_rebuilt(self.kind, self.args, text):
            self.args = (self.kind.__name__, text)
            self.kind = LostException
            self.attributes = {}
        cause = error.__cause__
        links = (*above, error)
        self.cause: BaseException | _Remains | None
        if cause is None or any(cause is link for link in links):
            self.cause = None
        elif isinstance(cause, PortableException):
            self.cause = _cleaned(cause, secrets, links) if secrets else cause
        else:
            self.cause = _Remains(cause, secrets, links)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.kind, self.args, self.attributes, self.cause)

    def rebuilt(self) -> BaseException:
        cause = self.cause.rebuilt() if isinstance(self.cause, _Remains) else self.cause
        return _rebuild(self.kind, self.args, self.attributes, cause)


def _blank(kind: type[PortableException], *args: object) -> PortableException:
    return kind.__new__(kind, *args)


def _rebuild(
    kind: type[BaseException],
    args: tuple[object, ...],
    attributes: dict[str, object],
    cause: BaseException | None,
) -> BaseException:
    error = kind(*args)
    error.__dict__.update(attributes)
    error.__cause__ = cause
    return error


def _can_be_rebuilt(kind: type[BaseException], args: tuple[object, ...], text: str) -> bool:
    try:
        return _is_importable(kind) and error_text(kind(*args)) == text
    except Exception:  # noqa: BLE001 - a foreign constructor may raise anything
        return False


def _plain(value: object, secrets: tuple[str, ...]) -> object:
    return value if value is None or isinstance(value, int | float) else error_text(value, secrets)


def _cleaned(
    error: BaseException, secrets: tuple[str, ...], above: tuple[BaseException, ...]
) -> BaseException:
    """A copy that shows no secret, of an error below those others in its chain."""
    if not isinstance(error, PortableException):
        return _Remains(error, secrets, above).rebuilt()
    links = (*above, error)
    clean = copy(error)
    clean.args = tuple(_scrubbed(arg, secrets, links) for arg in error.args)
    for name, value in vars(error).items():
        clean.__dict__[name] = _scrubbed(value, secrets, links)
    if error.__cause__ is error.original_exception:
        clean.__cause__ = clean.original_exception
    else:
        clean.__cause__ = _scrubbed(error.__cause__, secrets, links)
    return clean


def _scrubbed(value: Any, secrets: tuple[str, ...], above: tuple[BaseException, ...]) -> Any:  # noqa: ANN401
    """A value of an error's attributes without the secrets."""
    if isinstance(value, str):
        return scrub(value, secrets)
    if isinstance(value, dict):
        return {key: _scrubbed(item, secrets, above) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_scrubbed(item, secrets, above) for item in value)
    if isinstance(value, BaseException):
        seen = any(value is link for link in above)
        return None if seen else _cleaned(value, secrets, above)
    return value


def _links(error: BaseException, *, own: bool) -> list[BaseException]:
    """The error and what its chain holds; errors of the library and theirs only with `own`."""
    found: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        link = todo.pop()
        if link is None or (isinstance(link, PortableException) and not own):
            continue
        if any(link is other for other in found):
            continue
        found.append(link)
        if isinstance(link, PortableException):
            todo += (link.__cause__, link.original_exception)
        else:
            todo += (link.__cause__, link.__context__)
    return found


def _shows_secret(error: BaseException, secrets: tuple[str, ...]) -> bool:
    if isinstance(error, PortableException):
        text = f"{error} {error!r} {vars(error)!r}"
        return scrub(text, secrets) != text
    try:
        texts = (str(error), repr(error))
    except Exception:  # noqa: BLE001 - a foreign __str__ may raise anything
        return True
    return any(mask_text(scrub(text, secrets)) != text for text in texts)


def _is_plain(value: object) -> bool:
    return value is None or (
        isinstance(value, str | bytes | int | float | date | time | timedelta)
        and _is_importable(type(value))
    )


def _is_importable(kind: type) -> bool:
    return getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind
