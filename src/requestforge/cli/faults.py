"""Faults that are called for by name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from pytest_requestforge.fake_auth import Fault
from requestforge.cli.tables import (
    NEEDED,
    NUMBER,
    TEXT,
    WHOLE,
    Key,
    WrongTable,
    check_name,
    checked,
    told_of,
)

_STATUS = {"status": WHOLE}
KINDS: Mapping[str, Mapping[str, Key]] = {
    "fail": {**_STATUS, "retry_after": NUMBER, "error": TEXT},
    "reset": {},
    "hang": {},
    "slow": {"seconds": NUMBER},
    "drip": {"bytes_per_second": NUMBER},
    "truncate": {},
    "garbage": {},
    "html": _STATUS,
    "empty": _STATUS,
    "redirect": {"url": TEXT, **_STATUS},
    "echo_secrets": _STATUS,
}
"""The keys of each kind of fault."""

_ALWAYS = {"on": NEEDED, "kind": NEEDED, "times": WHOLE}
_ANY = {**_ALWAYS, **{name: key for keys in KINDS.values() for name, key in keys.items()}}


class Endpoint(Protocol):
    """What can fail."""

    @property
    def method(self) -> str:
        """In upper case."""

    @property
    def url(self) -> str:
        """Where clients find it."""

    @property
    def faults(self) -> Sequence[Fault]:
        """Those that were called for."""


def call_for(table: object, endpoints: Mapping[str, Endpoint], where: str) -> Fault:
    """The fault that the table describes, called for at its endpoint.

    Args:
        table: the name of the endpoint (`on`), the kind, and what else the kind takes.
        endpoints: by name.
        where: the table stands, for the error.

    Raises:
        WrongTable: the table describes none.
    """
    # A key of another kind is told from one that there is not by the second look.
    given = checked(table, _ANY, where)
    check_name(given["kind"], KINDS, where=where, what="fault")
    given = checked(table, {**_ALWAYS, **KINDS[given["kind"]]}, where)
    name, kind, times = given.pop("on"), given.pop("kind"), given.pop("times", 1)
    check_name(name, endpoints, where=where, what="endpoint")
    if times < 1:
        raise WrongTable(f"{where}: times must be 1 or more.")
    with told_of(where):
        make: Callable[..., Fault] = getattr(endpoints[name], kind)
        return make(**given).times(times)
