"""Secrets that are told wherever they turn up, and the search for them."""

import base64
import binascii
import dataclasses
import logging
import pickle
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from requestforge.events import Event
from requestforge.instrumentation import observe

CANARY_ACCESS_TOKEN = "canary-access-token-81d3"
CANARY_REFRESH_TOKEN = "canary-refresh-token-f2c9"
CANARY_CLIENT_SECRET = "canary-client-secret-07ab"
CANARY_PASSWORD = "canary-password-5e64"
CANARY_EXTRA = "canary-extra-b930"

# Any value that starts so counts as a secret, the constants of other files included.
_SECRET = re.compile(r"canary-[\w-]+", re.IGNORECASE)
_BASIC = re.compile(r"basic\s+([\w+/-]+=*)", re.IGNORECASE)
_DEEPEST = 12


def traces(value: object) -> list[str]:
    """Where secrets show in a value, each with the way there.

    An exception is searched with its chain (causes, contexts, groups, what it wraps), attributes,
    notes, traceback and pickle; a log record with its arguments; an event with its fields;
    containers with what they hold. Of all else the `repr` and the `str` count.
    """
    return list(dict.fromkeys(_traces(value, type(value).__name__, [], 0)))


def assert_clean(*values: object) -> None:
    """Fail where a secret shows in one of the values."""
    found = [trace for value in values for trace in traces(value)]
    assert not found, "A secret shows:\n" + "\n".join(found)


class Overheard(logging.Handler):
    """An observer and a log handler in one: it notes where secrets show."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.found: list[str] = []
        self.records = 0
        self.events = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Search a log record."""
        self.records += 1
        self.found += traces(record)

    def __call__(self, event: Event) -> None:
        """Search an event."""
        self.events += 1
        self.found += traces(event)

    def assert_clean(self) -> None:
        """Fail where a secret has shown."""
        assert not self.found, "A secret shows:\n" + "\n".join(self.found[:20])


@contextmanager
def overheard(*, events: bool = True) -> Iterator[Overheard]:
    """All that the block logs, at DEBUG, and the events that it tells observers.

    Args:
        events: False: nobody observes, so that what is done only then is not done.
    """
    heard, root = Overheard(), logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in ("requestforge", "urllib3")}
    with ExitStack() as stack:
        if events:
            stack.enter_context(observe(heard))
        root.addHandler(heard)
        for name in levels:
            logging.getLogger(name).setLevel(logging.DEBUG)
        try:
            yield heard
        finally:
            root.removeHandler(heard)
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def _traces(value: object, way: str, seen: list[object], depth: int) -> Iterator[str]:
    if depth > _DEEPEST or any(value is other for other in seen):
        return
    if isinstance(value, str | bytes):
        yield from _in_text(value, way)
        return
    seen.append(value)
    for kind in ("repr", "str"):
        yield from _in_text(_text(value, kind), f"{kind} of {way}")
    for name, part in _parts(value):
        yield from _traces(part, f"{way}{name}", seen, depth + 1)


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """What a value is made of, with how to reach it."""
    if isinstance(value, BaseException):
        yield from _parts_of_exception(value)
    elif isinstance(value, logging.LogRecord):
        yield ".message", value.getMessage()
        yield ".args", value.args
        yield ".exc_info", value.exc_info[1] if value.exc_info else None
        yield ".exc_text", value.exc_text
        yield ".stack_info", value.stack_info
    elif isinstance(value, Event):
        for each in dataclasses.fields(value):
            yield f".{each.name}", getattr(value, each.name)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield " key", key
            yield f"[{key!r}]", item
    elif isinstance(value, list | tuple | set | frozenset):
        for number, item in enumerate(value):
            yield f"[{number}]", item


def _parts_of_exception(error: BaseException) -> Iterator[tuple[str, object]]:
    yield ".args", error.args
    yield ".__cause__", error.__cause__
    yield ".__context__", error.__context__
    for name, item in vars(error).items():  # __notes__ among them
        yield f".{name}", item
    if isinstance(error, BaseExceptionGroup):
        yield ".exceptions", error.exceptions
    yield " traceback", "".join(traceback.format_exception(error))
    with suppress(TypeError, AttributeError, pickle.PicklingError):  # not every one can be pickled
        yield " pickle", pickle.dumps(error)


def _text(value: object, kind: str) -> str:
    return repr(value) if kind == "repr" else str(value)


def _in_text(value: str | bytes, way: str) -> Iterator[str]:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    for secret in _SECRET.findall(text):
        yield f"{way}: {secret}"
    for encoded in _BASIC.findall(text):
        with suppress(binascii.Error):
            decoded = base64.b64decode(encoded, altchars=b"-_" if "-" in encoded else None)
            for secret in _SECRET.findall(decoded.decode("latin-1")):
                yield f"{way}, encoded: {secret}"
