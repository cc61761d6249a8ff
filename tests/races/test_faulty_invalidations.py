"""Invalidations that come while a storage fails now and then."""

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import count

import pytest
from racing import together, values

from doubles import BasicStorage, CountingStep, FlakyStorage, FlakyTellingStorage
from requestforge import AuthenticationException, TokenData, TokenFetchPipeline
from requestforge.exceptions import TokenStorageException

pytestmark = pytest.mark.compat

HOUR = timedelta(hours=1)


class LateStorage(FlakyStorage):
    """A FlakyStorage, one of whose batched reads is held up after it was answered.

    Attributes:
        meanwhile: what happens then, once.
    """

    meanwhile: Callable[[], object] | None = None

    def get_many(self, keys: Iterable[str]) -> dict[str, TokenData]:
        found = super().get_many(keys)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return found


def test_nothing_old_is_built_on_in_an_epoch_that_only_this_process_knows() -> None:
    """A reader that was held up takes an upstream and the epoch of its dependent as of one time."""
    storage = LateStorage()
    app, user = CountingStep("app", ttl=HOUR), CountingStep("user", ["app"], ttl=HOUR)
    pipeline = TokenFetchPipeline([app, user], storage)
    pipeline.execute()

    def invalidate() -> None:
        storage.broken, storage.broken_keys = {"set"}, {"user#epoch"}
        with pytest.raises(TokenStorageException):
            pipeline.invalidate_step("app")
        storage.broken = set()

    storage.meanwhile = invalidate
    pipeline.execute()

    pipeline.execute()
    assert user.contexts[-1] is not None
    assert user.contexts[-1]["app"].access_token == "app-2"


def test_a_late_reader_does_not_bring_back_an_epoch_that_has_ended() -> None:
    """What a storage said before an invalidation is not gone by when it fails after it."""
    storage = LateStorage()
    app = CountingStep("app", ttl=HOUR)
    pipeline = TokenFetchPipeline([app], storage)
    pipeline.execute()

    def invalidate_and_fail() -> None:
        app.during = None
        storage.meanwhile = pipeline.invalidate_all
        assert pipeline.execute().access_token == "app-1"  # as it was read before
        storage.broken = {"get", "set", "delete"}

    app.during = invalidate_and_fail
    assert pipeline.execute(force_refresh=True).access_token == "app-2"

    assert pipeline.execute().access_token == "app-3"


class Timed(CountingStep):
    """A step whose token is the moment at which the first fetch that it stands on began."""

    moments = count(1)

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        began = next(self.moments)
        return TokenData(str(min([began, *(int(each.access_token) for each in given(context))])))


class Unreliable:
    """Mixed into a storage: one operation of eight fails."""

    def _check(self, *_: str) -> None:
        if random.random() < 0.125:  # noqa: S311 - no secret
            raise OSError


class UnreliableStorage(Unreliable, FlakyTellingStorage):
    """One with the whole interface."""


class UnreliableBasicStorage(Unreliable, BasicStorage):
    """One with the four methods."""

    def get(self, key: str) -> TokenData | None:
        self._check()
        return super().get(key)

    def set(self, key: str, token: TokenData) -> None:
        self._check()
        super().set(key, token)

    def delete(self, key: str) -> None:
        self._check()
        super().delete(key)


def given(context: dict[str, TokenData] | None) -> Iterable[TokenData]:
    """The tokens of a context."""
    return (context or {}).values()


@pytest.fixture
def _switching() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switching")
@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(UnreliableStorage, id="shared"),
        pytest.param(lambda: UnreliableStorage(shared=False), id="unshared"),
        pytest.param(UnreliableBasicStorage, id="four-methods"),
    ],
)
def test_no_fault_brings_back_what_was_invalidated(make: Callable[[], object], lazy: bool) -> None:
    """Whatever fails, nobody in this process gets a token from before an invalidation."""
    storage = make()
    steps = [Timed("app", ttl=HOUR), Timed("user", ["app"], ttl=HOUR)]
    returned: list[int] = [0]

    def use() -> None:
        pipeline = TokenFetchPipeline(steps, storage, lazy=lazy)
        for call in range(600):
            if call % 30 == 0:
                began = next(Timed.moments)
                with suppress(TokenStorageException):
                    pipeline.invalidate_step("app")
                returned.append(began)
            else:
                limit = max(returned)
                with suppress(AuthenticationException):
                    assert int(pipeline.execute(call % 10 == 0).access_token) >= limit

    values(together(4, use))
