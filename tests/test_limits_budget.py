"""The retry budget: what an origin may still get, and what an outage then costs it."""

import math
from collections.abc import Iterator

import pytest

from doubles import Clock
from requestforge import instrumentation
from requestforge._limits.budget import RetryBudget

SHOP = "https://shop.example.com"
BANK = "https://bank.example.com"


@pytest.fixture(autouse=True)
def clock() -> Iterator[Clock]:
    """A clock that stands still until it is moved."""
    with instrumentation.use_clock(Clock()) as clock:
        yield clock


def left(budget: RetryBudget, origin: str = SHOP) -> int:
    """How many retries the origin gets at once, up to a thousand."""
    return next((made for made in range(1000) if not budget.withdraw(origin)), 1000)


@pytest.mark.parametrize(
    ("per_second", "retries"),
    [
        pytest.param(10, 100, id="default"),
        pytest.param(0.3, 3, id="slow"),
        pytest.param(0.05, 0, id="next to nothing"),
        pytest.param(0, 0, id="nothing"),
    ],
)
def test_an_origin_begins_with_ten_seconds(per_second: float, retries: int) -> None:
    """Before anything was paid in, there is what ten seconds would have paid in."""
    assert left(RetryBudget(0.2, per_second)) == retries


def test_requests_pay_in() -> None:
    """With a ratio of 0.25, four requests pay for one retry."""
    budget = RetryBudget(0.25, 0)
    gained = []
    for _ in range(8):
        budget.deposit(SHOP)
        gained.append(budget.withdraw(SHOP))
    assert gained == [False, False, False, True] * 2


def test_time_pays_in(clock: Clock) -> None:
    """Each second pays in `per_second` retries."""
    budget = RetryBudget(0, 4)
    left(budget)
    clock.advance(seconds=1)
    assert left(budget) == 4
    clock.advance(seconds=0.125)
    assert left(budget) == 0
    clock.advance(seconds=0.125)
    assert left(budget) == 1


@pytest.mark.parametrize(("per_second", "most"), [(10, 100), (2, 20), (0.3, 10), (0, 10)])
def test_no_more_than_so_much_is_saved(clock: Clock, per_second: float, most: int) -> None:
    """The balance ends at ten seconds' worth, or at 10 retries, whoever pays in."""
    budget = RetryBudget(0.2, per_second)
    for _ in range(1000):
        budget.deposit(SHOP)
    assert left(budget) == most
    clock.advance(hours=1)
    assert left(budget) == (most if per_second else 0)


def test_each_origin_has_its_account() -> None:
    """What is spent on one origin, another still has."""
    budget = RetryBudget(0.2, 1)
    assert (left(budget, SHOP), left(budget, BANK), left(budget, SHOP)) == (10, 10, 0)


def test_another_clock_pays_nothing_in(clock: Clock) -> None:
    """A clock that reads less than the one before takes nothing away, and pays in from then on."""
    budget = RetryBudget(0, 1)
    assert budget.withdraw(SHOP)
    with instrumentation.use_clock(Clock(monotonic=0.0)) as other:
        assert left(budget) == 9
        other.advance(seconds=2)
        assert left(budget) == 2
    clock.advance(hours=1)


def test_origins_beyond_a_thousand_are_forgotten() -> None:
    """The origin that was longest not asked for is forgotten, and begins anew."""
    budget = RetryBudget(0, 1)
    assert left(budget, SHOP) == left(budget, BANK) == 10
    for number in range(999):
        budget.deposit(f"https://{number}.example.com")
        assert not budget.withdraw(BANK)
    assert left(budget, SHOP) == 10


@pytest.mark.parametrize("name", ["ratio", "per_second"])
@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan, 10**400, "1", True, None])
def test_impossible_settings_are_refused(name: str, value: object) -> None:
    """A ValueError at construction names the argument."""
    with pytest.raises(ValueError, match=f"{name} must be"):
        RetryBudget(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("per_second", [100, 500])
def test_an_outage_gets_little_more_than_the_usual_load(clock: Clock, per_second: int) -> None:
    """A minute without one answer, each request retried up to three times: 1.35 times the load."""
    budget = RetryBudget()
    seconds, waiting, sent = 60, [per_second, 0, 0, 0], 0
    for _ in range(10 * seconds):
        # A tenth of a second: new requests, and those of the tenth before that may be retried.
        new = per_second // 10
        for _ in range(new):
            budget.deposit(SHOP)
        waiting = [new, *(sum(budget.withdraw(SHOP) for _ in range(n)) for n in waiting[:3])]
        sent += sum(waiting)
        clock.advance(seconds=0.1)
    assert sent > 1.2 * per_second * seconds
    assert sent <= 1.35 * per_second * seconds
