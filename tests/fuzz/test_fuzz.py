"""A few thousand changed records and answers; `python tests/fuzz` runs a million."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis
from answers import answer_targets
from fuzzing import Finds, fuzz
from mutations import mutated
from records import record_targets

from doubles import Clock
from requestforge.instrumentation import use_clock

CASES = 500


@pytest.fixture(autouse=True)
def _clock() -> Iterator[None]:
    """Time stands still."""
    with use_clock(Clock()):
        yield


@pytest.mark.parametrize("name", ["files", "django", "sealed"])
def test_a_changed_record_is_a_token_or_a_miss(
    name: str, tmp_path: Path, django_cache: Callable[[str], Any]
) -> None:
    """Whatever a record holds, reading gives a token or nothing, and a pipeline goes on."""
    target = record_targets(tmp_path, django_cache("locmem"), None)[name]

    finds = fuzz({name: target}, CASES, "records")

    assert told(finds) == ""


def test_a_changed_record_in_redis_is_a_token_or_a_miss(
    tmp_path: Path, django_cache: Callable[[str], Any], connect: Callable[..., redis.Redis]
) -> None:
    """So it is with what Redis holds."""
    target = record_targets(tmp_path, django_cache("locmem"), connect())["redis"]

    finds = fuzz({"redis": target}, CASES, "records")

    assert told(finds) == ""


@pytest.mark.parametrize(
    "name",
    [
        *("body", "nested", "header", "pipeline", "client credentials", "password", "refresh"),
        *("manager", "line"),
    ],
)
def test_a_changed_answer_is_a_token_or_an_error(name: str) -> None:
    """Whatever a server sends ends in a token, or in an error that names the step and no secret."""
    with ExitStack() as stack:
        finds = fuzz({name: answer_targets(stack)[name]}, CASES, "answers")

    assert told(finds) == ""


def test_a_find_is_told_with_its_case() -> None:
    """What a target raises is noted once for each place, with what makes the case again."""

    class Failing:
        def run(self, random: Random) -> None:
            if random.random() < 0.5:
                raise RuntimeError

    finds = fuzz({"failing": Failing()}, 100, "seed")
    [case] = finds.cases.values()
    number = int(case.partition("\n")[0].removeprefix("failing:"))
    again = fuzz({"failing": Failing()}, 1, "seed", first=number)

    assert 20 < finds.kinds.total() < 80
    assert finds.counts == {"failing": 100}
    assert again.kinds.total() == 1


def test_changes_are_made_again_from_a_seed() -> None:
    """Two runs with one seed change alike, and hardly ever leave a record as it was."""
    record = {"access_token": "a", "expires_in": 5, "extra": {"b": [1]}}
    changed = [mutated(record, Random(seed)) for seed in range(200)]  # noqa: S311 - made again

    assert changed == [mutated(record, Random(seed)) for seed in range(200)]  # noqa: S311
    assert len(set(changed)) > 150


def told(finds: Finds) -> str:
    """The finds, one after the other."""
    return "\n".join(finds.cases.values())
