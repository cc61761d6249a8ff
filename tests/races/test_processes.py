"""Processes that share a cache: one fetch for all of them."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import pytest
from racing import LIMIT, Task, chain, fetches, together, values, watched

from doubles import CountingStep
from requestforge import DjangoCacheTokenStorage, TokenFetchPipeline
from requestforge.events import LockUnavailable


class Worker:
    """A process that runs worker.py, or another program next to it."""

    def __init__(self, told: dict[str, object], program: str = "worker.py") -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name(program)), json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        """Send it a line."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(line + "\n")
        stdin.flush()

    def answer(self) -> Any:  # noqa: ANN401 - the JSON boundary
        """Its next answer."""
        stdout = self._process.stdout
        assert stdout is not None
        return json.loads(Task(stdout.readline).result())

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as the kernel does when memory runs out."""
        self._process.kill()
        self._process.wait(LIMIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            process.kill()


class Farm:
    """Workers on one cache, the pipeline of this process on the same, and the fetches of all."""

    def __init__(self, told: dict[str, object], counts: Path, stack: ExitStack) -> None:
        self._told = told
        self._counts = counts
        self._stack = stack
        self.steps = chain()

    def workers(
        self, count: int, threads: int = 1, lease: float = 35, prefix: str = ""
    ) -> list[Worker]:
        """So many processes, ready; a lock of theirs ends after `lease` seconds."""
        told = {**self._told, "threads": threads, "lease": lease}
        told["prefix"] = str(told["prefix"]) + prefix
        workers = [self._stack.enter_context(Worker(told)) for _ in range(count)]
        assert [worker.answer() for worker in workers] == ["ready"] * count
        return workers

    def halted(self, moment: str, lease: float = 35, prefix: str = "") -> Worker:
        """A worker that has come to that moment of a fetch."""
        [worker] = self.workers(1, lease=lease, prefix=prefix)
        worker.tell(f"halt {moment}")
        assert worker.answer() == moment
        return worker

    def pipeline(
        self, steps: list[CountingStep] | None = None, prefix: str = "", **options: timedelta
    ) -> TokenFetchPipeline:
        """The same pipeline in this process, with steps that count for themselves."""
        storage, prefix = DjangoCacheTokenStorage(), str(self._told["prefix"]) + prefix
        return TokenFetchPipeline(steps or self.steps, storage, prefix, **options)

    def fetches(self) -> list[int]:
        """How often the workers have fetched each step."""
        made = self._counts.read_text().split() if self._counts.exists() else []
        return [made.count(step.name) for step in self.steps]


def cache_settings() -> dict[str, Any]:
    """Settings with which another process uses the same cache as this one."""
    from django.conf import settings  # noqa: PLC0415 - configured by the fixture

    cache = dict(settings.CACHES["default"])
    if cache["BACKEND"] == "cache_backends.Memcached":  # not on the path of a worker
        cache["BACKEND"] = "django.core.cache.backends.memcached.PyMemcacheCache"
    database = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(settings.DATABASES["default"]["NAME"]),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    }
    return {"CACHES": {"default": cache}, "DATABASES": {"default": database}, "USE_TZ": True}


@pytest.fixture(params=["database", "memcached", "redis"])
def farm(
    request: pytest.FixtureRequest, django_cache: Callable[[str], Any], tmp_path: Path
) -> Iterator[Farm]:
    """Processes that share a database, or a Redis, through Django."""
    django_cache(request.param)
    settings = cache_settings()
    told = {
        "cache": settings["CACHES"]["default"],
        "databases": settings["DATABASES"],
        "prefix": uuid4().hex,
        "counts": str(tmp_path / "counts"),
    }
    with ExitStack() as stack:
        yield Farm(told, tmp_path / "counts", stack)


def test_processes_fetch_each_step_once(farm: Farm) -> None:
    """4 processes of 16 threads each on an empty cache: one fetch a step between them."""
    workers = farm.workers(4, threads=16)
    for worker in workers:
        worker.tell("execute")
    assert [worker.answer() for worker in workers] == [["user-1"] * 16] * 4
    assert farm.fetches() == [1, 1, 1]


def test_processes_refresh_a_revoked_token_once(farm: Farm) -> None:
    """The threads of 3 processes that hold the same rejected token get one new one between them."""
    workers = farm.workers(3, threads=8)
    for worker in workers:
        worker.tell("refresh")
        assert worker.answer() == "rejected"
    for worker in workers:
        worker.tell("now")
    assert [worker.answer() for worker in workers] == [["user-2"] * 8] * 3
    assert farm.fetches() == [2, 2, 2]


def test_an_invalidation_reaches_the_fetch_of_another_process(farm: Farm) -> None:
    """A fetch in one process is not cached after another process has invalidated its step."""
    worker = farm.halted("fetching")
    pipeline = farm.pipeline()
    pipeline.invalidate_step("app")
    worker.tell("go on")
    assert worker.answer() == "user-1"
    token = pipeline.execute()
    assert fetches(farm.steps) == [0, 1, 1]
    assert pipeline.execute() == token
    assert farm.fetches() == [1, 1, 1]


def test_a_process_waits_for_the_fetch_of_another(farm: Farm) -> None:
    """A caller here gets the token that a process elsewhere was about to fetch."""
    worker = farm.halted("fetching")
    pipeline = farm.pipeline()
    caller = Task(pipeline.execute)
    worker.tell("go on")
    assert caller.result().access_token == "user-1"
    assert worker.answer() == "user-1"
    assert fetches(farm.steps) == [0, 0, 0]


def test_a_refused_server_is_told_of_and_done_without(
    django_cache: Callable[[str], Any], tmp_path: Path
) -> None:
    """With Redis out of reach the threads of a process still share one fetch of each step."""
    from django.test import override_settings  # noqa: PLC0415

    django_cache("locmem")
    nowhere = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": f"unix://{tmp_path / 'nobody.sock'}",
    }
    steps = chain()
    pipeline = TokenFetchPipeline(steps, DjangoCacheTokenStorage())
    with override_settings(CACHES={"default": nowhere}), watched() as watch:
        assert values(together(16, pipeline.execute)) == {"user-1"}
        assert pipeline.execute().access_token == "user-1"
    assert fetches(steps) == [1, 1, 1]
    assert {event.step for event in watch.of(LockUnavailable)} == {"device", "app", "user"}
