"""Hand-written stand-ins that several test files share: a clock, steps and storages."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from requestforge import instrumentation
from requestforge.events import StorageFailed
from requestforge.interfaces import (
    TokenFetcherInterface,
    TokenProviderInterface,
    TokenStorageInterface,
)
from requestforge.tokens import TokenData

START = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is moved; sleeping moves it."""

    def __init__(self, start: datetime = START, monotonic: float = 1000.0) -> None:
        self._now = start
        self._monotonic = monotonic
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds=seconds)

    def advance(self, **duration: float) -> None:
        """Let time pass on both clocks; takes the arguments of timedelta."""
        passed = timedelta(**duration)
        self._now += passed
        self._monotonic += passed.total_seconds()

    def set_back(self, **duration: float) -> None:
        """Set the wall clock back, as an administrator does; the monotonic one goes on."""
        self._now -= timedelta(**duration)

    def suspend(self, **duration: float) -> None:
        """Let the wall clock alone go on, as while a laptop sleeps."""
        self._now += timedelta(**duration)


class CountingStep(TokenFetcherInterface):
    """A step whose n-th fetch gives the token `<name>-<n>`.

    Args:
        name: of the step.
        depends_on: names of earlier steps.
        ttl: of the step.
        expires_in: seconds of life that its "server" grants, from the instant of sending.
        takes: seconds of the active clock that a fetch takes.
        refresh_token: that comes with each token.
    """

    def __init__(
        self,
        name: str,
        depends_on: Sequence[str] = (),
        ttl: timedelta | None = None,
        expires_in: float | None = None,
        *,
        takes: float = 0.0,
        refresh_token: str | None = None,
    ) -> None:
        self._name = name
        self._depends_on = depends_on
        self._ttl = ttl
        self._lock = threading.Lock()
        self.expires_in = expires_in
        self.takes = takes
        self.refresh_token = refresh_token
        self.fetches = 0
        self.contexts: list[dict[str, TokenData] | None] = []
        self.errors: list[Exception] = []
        self.error_contexts: list[dict[str, TokenData] | None] = []
        self.closed = 0
        # Raised by each fetch while set.
        self.failure: BaseException | None = None
        # Raised by the next fetches, one each.
        self.failures: list[BaseException] = []
        # Called within each fetch, before it ends.
        self.during: Callable[[], object] | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def depends_on(self) -> list[str]:
        return list(self._depends_on)

    @property
    def ttl(self) -> timedelta | None:
        return self._ttl

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        with self._lock:
            self.fetches += 1
            number = self.fetches
            self.contexts.append(context)
            failure = self.failures.pop(0) if self.failures else self.failure
        issued_at = instrumentation.now()
        if self.takes:
            instrumentation.sleep(self.takes)
        if self.during is not None:
            self.during()
        if failure is not None:
            raise failure
        if self.expires_in is None:
            return TokenData(f"{self._name}-{number}", refresh_token=self.refresh_token)
        return TokenData(
            f"{self._name}-{number}",
            expires_at=issued_at + timedelta(seconds=self.expires_in),
            issued_at=issued_at,
            refresh_token=self.refresh_token,
        )

    def on_fetch_error(self, error: Exception, context: dict[str, TokenData] | None = None) -> None:
        self.errors.append(error)
        self.error_contexts.append(context)

    def close(self) -> None:
        self.closed += 1


class RecordingStorage(TokenStorageInterface):
    """Tokens in a dict, with a list of the calls made: `("set", "app")`.

    Args:
        shared: what the storage says of itself.
    """

    def __init__(self, *, shared: bool = True) -> None:
        self.shared = shared
        self.tokens: dict[str, TokenData] = {}
        self.calls: list[tuple[str, str]] = []

    def get(self, key: str) -> TokenData | None:
        self.calls.append(("get", key))
        return self.tokens.get(key)

    def set(self, key: str, token: TokenData) -> None:
        self.calls.append(("set", key))
        self.tokens[key] = token

    def delete(self, key: str) -> None:
        self.calls.append(("delete", key))
        self.tokens.pop(key, None)

    def exists(self, key: str) -> bool:
        self.calls.append(("exists", key))
        return key in self.tokens

    def get_many(self, keys: Iterable[str]) -> dict[str, TokenData]:
        keys = list(keys)
        self.calls.append(("get_many", ",".join(keys)))
        return {key: self.tokens[key] for key in keys if key in self.tokens}

    def made(self, operation: str) -> list[str]:
        """The keys of the calls of that operation, in order."""
        return [key for name, key in self.calls if name == operation]


class FlakyStorage(RecordingStorage):
    """A RecordingStorage that fails on the operations in `broken`: "get", "set", "delete".

    What fails has no effect. `broken_keys` narrows it to some keys; empty: all.
    """

    def __init__(self, *broken: str, shared: bool = True) -> None:
        super().__init__(shared=shared)
        self.broken = set(broken)
        self.broken_keys: set[str] = set()
        self.error: Exception = OSError("The storage is down.")

    def get(self, key: str) -> TokenData | None:
        self._check("get", key)
        return super().get(key)

    def set(self, key: str, token: TokenData) -> None:
        self._check("set", key)
        super().set(key, token)

    def delete(self, key: str) -> None:
        self._check("delete", key)
        super().delete(key)

    def exists(self, key: str) -> bool:
        self._check("get", key)
        return super().exists(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, TokenData]:
        keys = list(keys)
        for key in keys:
            self._check("get", key)
        return super().get_many(keys)

    def _check(self, operation: str, key: str) -> None:
        if operation in self.broken and (not self.broken_keys or key in self.broken_keys):
            self.calls.append((f"failed {operation}", key))
            raise self.error


class FlakyTellingStorage(FlakyStorage):
    """A FlakyStorage that has the same object for the same content, as all of ours do."""

    def __init__(self, *, shared: bool = True) -> None:
        super().__init__(shared=shared)
        self._last: dict[tuple[str, ...], dict[str, TokenData]] = {}

    def content_of(self, keys: tuple[str, ...]) -> dict[str, TokenData]:
        found = self.get_many(keys)
        last = self._last.get(keys)
        if last is None or {k: id(v) for k, v in last.items()} != {
            k: id(v) for k, v in found.items()
        }:
            self._last[keys] = found
        return self._last[keys]


class BasicStorage:
    """The four methods of a storage, and no base class."""

    def __init__(self) -> None:
        self.tokens: dict[str, TokenData] = {}

    def get(self, key: str) -> TokenData | None:
        return self.tokens.get(key)

    def set(self, key: str, token: TokenData) -> None:
        self.tokens[key] = token

    def delete(self, key: str) -> None:
        self.tokens.pop(key, None)

    def exists(self, key: str) -> bool:
        return key in self.tokens


class JsonStorage(RecordingStorage):
    """A storage that keeps the JSON text of its tokens, as one on a disk or a server does."""

    def __init__(self, *, shared: bool = True) -> None:
        super().__init__(shared=shared)
        self.texts: dict[str, str] = {}

    def get(self, key: str) -> TokenData | None:
        self.calls.append(("get", key))
        text = self.texts.get(key)
        return None if text is None else TokenData.from_dict(json.loads(text))

    def set(self, key: str, token: TokenData) -> None:
        self.calls.append(("set", key))
        self.texts[key] = json.dumps(self.record(token))

    def delete(self, key: str) -> None:
        self.calls.append(("delete", key))
        self.texts.pop(key, None)

    def exists(self, key: str) -> bool:
        self.calls.append(("exists", key))
        return key in self.texts

    def get_many(self, keys: Iterable[str]) -> dict[str, TokenData]:
        keys = list(keys)
        self.calls.append(("get_many", ",".join(keys)))
        return {
            key: TokenData.from_dict(json.loads(self.texts[key]))
            for key in keys
            if key in self.texts
        }

    def record(self, token: TokenData) -> dict[str, object]:
        """What is kept of a token."""
        return token.to_dict()


class TellingStorage(JsonStorage):
    """A storage of JSON text that has the same object for the same content, as all of ours do."""

    def __init__(self, *, shared: bool = True) -> None:
        super().__init__(shared=shared)
        self._last: dict[tuple[str, ...], tuple[list[str | None], dict[str, TokenData]]] = {}

    def content_of(self, keys: tuple[str, ...]) -> dict[str, TokenData]:
        found = self.get_many(keys)
        texts = [self.texts.get(key) for key in keys]
        if keys not in self._last or self._last[keys][0] != texts:
            self._last[keys] = (texts, found)
        return self._last[keys][1]


class SixFieldStorage(JsonStorage):
    """A storage written for release 1.0.0: it keeps six fields, so it loses the generation."""

    def record(self, token: TokenData) -> dict[str, object]:
        return {
            name: value
            for name, value in token.to_dict().items()
            if name not in {"issued_at", "leeway", "generation"}
        }


class CountingProvider(TokenProviderInterface):
    """A provider that keeps nothing: its n-th token is `token-<n>`, a refreshed one `again-<n>`.

    Args:
        expires_in: seconds that its tokens live.
        refresh_token: that comes with them.
    """

    def __init__(
        self, expires_in: float | None = 3600, refresh_token: str | None = None, name: str = "shop"
    ) -> None:
        self.expires_in = expires_in
        self.refresh_token_text = refresh_token
        self.name = name
        self.calls: list[str] = []
        self.failures: list[BaseException] = []
        self.text: str | None = None
        self.closed = 0

    @property
    def service_name(self) -> str:
        return self.name

    def fetch_token(self) -> TokenData:
        return self._token("token")

    def refresh_token(self, current_token: TokenData) -> TokenData:
        assert current_token.refresh_token == self.refresh_token_text
        return self._token("again")

    def close(self) -> None:
        self.closed += 1

    def _token(self, kind: str) -> TokenData:
        self.calls.append(kind)
        if self.failures:
            raise self.failures.pop(0)
        answer = {"access_token": self.text or f"{kind}-{len(self.calls)}"}
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        if self.refresh_token_text is not None:
            answer["refresh_token"] = self.refresh_token_text
        return TokenData.from_response(answer)


@contextmanager
def recorded() -> Iterator[list[object]]:
    """The events that are emitted within the block, in order."""
    events: list[object] = []
    with instrumentation.observe(events.append):
        yield events


def faults(events: list[object]) -> list[tuple[str, str]]:
    """Operation and step of each fault of a storage among the events."""
    return [(e.operation, e.step) for e in events if isinstance(e, StorageFailed)]
