"""The pytest toolkit of requestforge: a fake auth server, a clock, and assertions on tokens."""

from importlib import import_module
from typing import TYPE_CHECKING

from pytest_requestforge._extras import needed_by

if TYPE_CHECKING:
    from pytest_requestforge.assertions import (
        assert_cache_hits,
        assert_cache_misses,
        assert_cascade,
        assert_expires_in,
        assert_fetch_counts,
        assert_fetch_order,
        assert_header_sent,
        assert_no_fetches,
        assert_no_secrets,
        assert_single_flight,
        expect_fetches,
    )
    from pytest_requestforge.clock import Clock
    from pytest_requestforge.contracts import TokenStorageContract
    from pytest_requestforge.fake_auth import FakeAuth
    from pytest_requestforge.recorder import Recorder

__all__ = [
    "Clock",
    "FakeAuth",
    "Recorder",
    "TokenStorageContract",
    "assert_cache_hits",
    "assert_cache_misses",
    "assert_cascade",
    "assert_expires_in",
    "assert_fetch_counts",
    "assert_fetch_order",
    "assert_header_sent",
    "assert_no_fetches",
    "assert_no_secrets",
    "assert_single_flight",
    "expect_fetches",
]

_HOMES = {
    "Clock": "clock",
    "FakeAuth": "fake_auth",
    "Recorder": "recorder",
    "TokenStorageContract": "contracts",
}


def __getattr__(name: str) -> object:
    # pytest loads this package in every run, so that each name is imported at its first use.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with needed_by(f"{__name__}.{name}"):
        home = import_module(f"{__name__}.{_HOMES.get(name, 'assertions')}")
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
