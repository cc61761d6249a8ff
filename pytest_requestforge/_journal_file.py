"""`--rf-journal`: every request of every test as a line of JSON."""

import json
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from pytest_requestforge._outcomes import watched_in

__all__ = ["JournalFile"]


class JournalFile:
    """Writes the requests of each test when it ends.

    The processes of xdist write to one file, each test at one go, so that its lines stay together.

    Args:
        path: of the file.
        is_new: whether a file that is there already is emptied.
    """

    def __init__(self, path: Path, *, is_new: bool) -> None:
        self._path = path
        if is_new:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Write what has come by the end of the test."""
        result = yield
        content = "".join(f"{json.dumps(line)}\n" for line in _lines(item))
        if content:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            file = os.open(self._path, flags, 0o600)
            try:
                os.write(file, content.encode())
            finally:
                os.close(file)
        return result


def _lines(item: pytest.Item) -> Iterator[dict[str, object]]:
    for place, each in enumerate(watched_in(item)):
        for entry in each.auth.journal.since(each.began):
            yield {
                "test": item.nodeid,
                "server": place,
                "transport": each.auth.transport,
                "seed": each.auth.seed,
                **entry.facts(),
            }
