"""Whatever happens, and in whatever order: a dead token is given to nobody."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from renewing import settle

from doubles import Clock, CountingStep, JsonStorage, RecordingStorage
from requestforge import InMemoryTokenStorage, TokenFetchPipeline
from requestforge.exceptions import AuthenticationException
from requestforge.instrumentation import use_clock
from requestforge.tokens import TokenData

pytestmark = pytest.mark.compat

ACTIONS = st.one_of(
    st.tuples(st.just("pass"), st.sampled_from([0.2, 1, 7, 30, 55, 120])),
    st.tuples(st.sampled_from(["execute", "force", "refresh", "fail", "work", "settle"])),
    st.tuples(st.just("invalidate"), st.sampled_from(["app", "user"])),
    st.tuples(st.just("set back"), st.sampled_from([1, 90])),
)
LIVES = st.tuples(st.sampled_from([1, 20, 60]), st.sampled_from([1, 20, 60]))
OPTIONS = st.fixed_dictionaries(
    {
        "refresh_ahead": st.sampled_from([None, timedelta(seconds=10), timedelta(hours=1)]),
        "failure_backoff": st.booleans(),
        "lazy": st.booleans(),
    }
)


class TimedStep(CountingStep):
    """A step that knows when each of its tokens ends, in monotonic seconds."""

    def __init__(self, name: str, depends_on: list[str], life: int, clock: Clock) -> None:
        super().__init__(name, depends_on, timedelta(seconds=life))
        self._clock, self._life = clock, life
        self.ends: dict[str, float] = {}

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        end = self._clock.monotonic() + self._life
        token = super().fetch(context)
        self.ends[token.access_token] = end
        return token


@pytest.mark.parametrize(
    "make_storage",
    [InMemoryTokenStorage, RecordingStorage, JsonStorage],
    ids=["in memory", "shared", "json"],
)
@given(actions=st.lists(ACTIONS, max_size=30), options=OPTIONS, lives=LIVES)
def test_no_token_is_served_past_its_end(
    make_storage: Callable[[], object],
    actions: list[tuple[object, ...]],
    options: dict[str, object],
    lives: tuple[int, int],
) -> None:
    """Beside renewals, failures, invalidations and clocks that are set back."""
    clock = Clock()
    app = TimedStep("app", [], lives[0], clock)
    user = TimedStep("user", ["app"], lives[1], clock)
    pipeline = TokenFetchPipeline([app, user], make_storage(), **options)
    with use_clock(clock):
        for action, *details in actions:
            match action:
                case "pass":
                    clock.advance(seconds=details[0])
                case "set back":
                    clock.set_back(seconds=details[0])
                case "fail" | "work":
                    user.failure = OSError("down") if action == "fail" else None
                case "settle":
                    settle()
                case "invalidate":
                    pipeline.invalidate_step(details[0])
                case "refresh":
                    check(user, clock, pipeline.refresh)
                case _:
                    forced = action == "force"
                    check(user, clock, lambda: pipeline.execute(force_refresh=forced))  # noqa: B023 - called at once
        settle()


def check(user: TimedStep, clock: Clock, call: Callable[[], TokenData]) -> None:
    """Make a call that may fail while the step does, and gives no dead token."""
    try:
        token = call()
    except AuthenticationException:
        assert user.errors
    else:
        assert clock.monotonic() < user.ends[token.access_token]
