"""A pipeline with 100,000 tenants: what each costs to keep, and what their number costs a get."""

import gc
import sys
import tracemalloc
from datetime import UTC, datetime, timedelta

from ratios import Result, ratio_of

from requestforge import InMemoryTokenStorage, StepValue, TokenData, TokenFetchPipeline
from requestforge.interfaces import TokenFetcherInterface

TENANTS = 100_000
FEW = 100
# What a token is as soon as it has an end: two aware datetimes, as its server says or its ttl.
INSTANTS = 2 * sys.getsizeof(datetime.now(UTC))

USER = StepValue("username")


class Login(TokenFetcherInterface):
    """Gives each tenant a token for an hour."""

    name = "login"
    ttl = timedelta(hours=1)

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:  # noqa: ARG002
        """A token that is named after the user."""
        return TokenData(f"token of {USER.filled()}")


def served(tenants: int) -> tuple[TokenFetchPipeline, InMemoryTokenStorage]:
    """A pipeline that has fetched for so many tenants, and its storage."""
    storage = InMemoryTokenStorage()
    pipeline = TokenFetchPipeline([Login()], storage, "bench")
    for number in range(tenants):
        pipeline.for_tenant(f"t{number}", username="user").execute()
    return pipeline, storage


def measure() -> list[Result]:
    """All lines on tenants."""
    tracemalloc.start()
    many, storage = served(TENANTS)
    kept = _traced() / TENANTS - _texts(storage)
    for number in range(TENANTS):
        many.invalidate_tenant(f"t{number}")
    storage.clear()
    left = _traced() / TENANTS
    tracemalloc.stop()
    return [
        Result("bytes a token of 100,000 tenants, beyond its texts", "one byte", kept, None),
        Result("the same, beyond its two instants as well", "one byte", kept - INSTANTS, 220.0),
        Result("bytes a tenant that is left, once all are invalidated", "one byte", left, 40.0),
        *gets(),
    ]


def gets() -> list[Result]:
    """A get among many, by a view that is kept, and by one that is made for it."""
    few, many = served(FEW)[0], served(TENANTS)[0]
    one = few.for_tenant("t50", username="user")
    other = many.for_tenant("t50000", username="user")
    kept = ratio_of(other.execute, one.execute, number=20_000)
    made = ratio_of(
        lambda: many.for_tenant("t50000", username="user").execute(),
        lambda: few.for_tenant("t50", username="user").execute(),
        number=2_000,
    )
    return [
        Result("a cached get of one of 100,000 tenants", "one of 100", kept, 1.2),
        Result("the same by a view made for it", "one of 100", made, 1.2),
    ]


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _texts(storage: InMemoryTokenStorage) -> float:
    """Bytes of a token's own texts: its key, the token itself, and the id of its fetch."""
    key = f"bench@t{TENANTS - 1}:{Login.name}"
    token = storage.get(key)
    texts = [key] if token is None else [key, token.access_token, token.generation]
    return sum(map(sys.getsizeof, texts))
