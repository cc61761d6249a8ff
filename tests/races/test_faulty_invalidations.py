"""Invalidations that come while a storage fails now and then."""

from collections.abc import Callable, Iterable
from datetime import timedelta

import pytest

from doubles import CountingStep, FlakyStorage
from requestforge import TokenData, TokenFetchPipeline
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

    storage.meanwhile = invalidate
    pipeline.execute()
    storage.broken = set()

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
