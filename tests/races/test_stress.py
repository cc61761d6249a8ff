"""Processes under load, in which one after another invalidates what all of them use."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from stress_worker import Numbers, pipeline_of
from test_processes import Worker, cache_settings

from requestforge import DjangoCacheTokenStorage, FileTokenStorage, RedisTokenStorage
from requestforge.interfaces import TokenStorageInterface

Shared = tuple[TokenStorageInterface, dict[str, object]]


@pytest.fixture
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Shared]:
    """Gives the storage of that kind in this process, and what another process makes it from."""

    def of_kind(kind: str) -> Shared:
        if kind == "redis":
            told = {"url": request.getfixturevalue("redis_url"), "key_prefix": uuid4().hex}
            return RedisTokenStorage(**told), {"kind": kind, **told}
        if kind == "files":
            directory = str(tmp_path / "tokens")
            return FileTokenStorage(directory), {"kind": kind, "directory": directory}
        django_cache: Callable[[str], Any] = request.getfixturevalue("django_cache")
        django_cache(kind)
        return DjangoCacheTokenStorage(), {"kind": "django", **cache_settings()}

    return of_kind


@pytest.mark.parametrize("kind", ["redis", "files", "database", "memcached"])
def test_nothing_outdated_is_served_under_load(
    shared: Callable[[str], Shared], kind: str, tmp_path: Path
) -> None:
    """After each of 25 invalidations had returned, no thread of 3 processes got an older token."""
    storage, told = shared(kind)
    numbers = Numbers(str(tmp_path / "numbers"))
    numbers.write(0, 0)
    numbers.write(1, 0)
    pipeline = pipeline_of(storage, numbers)
    given = {"storage": told, "numbers": str(tmp_path / "numbers"), "threads": 2}
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(given, "stress_worker.py")) for _ in range(3)]
        assert [worker.answer() for worker in workers] == ["ready"] * 3
        for number in range(1, 26):
            numbers.write(0, number)
            pipeline.invalidate_step("app")
            numbers.write(1, number)
            assert int(pipeline.execute().access_token) == number
        for worker in workers:
            worker.tell("end")
        answers = [worker.answer() for worker in workers]
    assert [outdated for _, outdated in answers] == [[]] * 3
    assert min(count for count, _ in answers) > 25
