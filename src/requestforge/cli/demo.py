"""The demo: a three-step authentication over loopback, from a cold cache to a revoked token."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from pytest_requestforge import FakeAuth
from requestforge import (
    BodyTokenFetcher,
    HeaderTokenFetcher,
    HttpClient,
    HttpClientConfigBuilder,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    StepToken,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.cli.clock import LaterClock
from requestforge.events import Event, StepCached, StepFetched, StepMissed
from requestforge.instrumentation import observe, use_clock

_THREADS = 64
_STEPS = ("device_token", "app_token", "user_token")


@dataclass(frozen=True, slots=True)
class Row:
    """What one step did in one phase, and whether that was expected.

    `misses` counts by reason; `milliseconds` is what its fetches took together.
    """

    phase: str
    step: str
    hits: int
    misses: dict[str, int]
    fetches: int
    milliseconds: float
    expected: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All rows, their sums, and where the server was."""

    server: str
    rows: list[Row] = field(default_factory=list)
    sums: dict[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every expectation holds."""
        return all(row.passed for row in self.rows)


def run_demo() -> Report:
    """Run all phases against a server of its own, and report what happened."""
    clock, storage = LaterClock(), InMemoryTokenStorage()
    with use_clock(clock), FakeAuth(transport="loopback") as auth:
        pipeline = three_steps(auth.url, storage)
        manager = TokenManager(PipelineTokenProvider(pipeline, "demo", "user_token"))
        config = HttpClientConfigBuilder().with_base_url(auth.url).with_token_auth(manager).build()
        with HttpClient(config) as client, pipeline:
            return _Demo(auth, pipeline, client, clock, storage).run()


def three_steps(url: str, storage: InMemoryTokenStorage) -> TokenFetchPipeline:
    """A device token in a header buys an app token, and that a user token."""
    device = HeaderTokenFetcher(
        name="device_token",
        base_url=url,
        endpoint="/v1/device/register",
        request_headers={"X-Device-ID": "device-123"},
        token_header="X-Device-Token",
        token_type="Device",
        ttl=timedelta(days=30),
    )
    app = BodyTokenFetcher(
        name="app_token",
        base_url=url,
        endpoint="/v1/app/token",
        request_headers={"X-Device-Token": StepToken("device_token")},
        request_data={"client_id": "app-id"},
        ttl=timedelta(hours=1),
    )
    user = BodyTokenFetcher(
        name="user_token",
        base_url=url,
        endpoint="/v1/user/token",
        request_headers={"X-App-Token": StepToken("app_token")},
        request_data={"username": "user", "password": "pass"},
        ttl=timedelta(minutes=15),
    )
    return TokenFetchPipeline([device, app, user], storage, "demo")


class _Demo:
    """The phases, each of which acts and then compares with what it expects."""

    def __init__(
        self,
        auth: FakeAuth,
        pipeline: TokenFetchPipeline,
        client: HttpClient,
        clock: LaterClock,
        storage: InMemoryTokenStorage,
    ) -> None:
        self._auth = auth
        self._pipeline = pipeline
        self._client = client
        self._clock = clock
        self._storage = storage
        self._report = Report(auth.url)
        self._device = auth.token(
            "device_token", "POST /v1/device/register", in_header="X-Device-Token", expires_in=None
        )
        self._app = auth.token(
            "app_token",
            "POST /v1/app/token",
            body={"client_id": "app-id"},
            requires={"X-Device-Token": self._device},
            expires_in=timedelta(hours=1),
        )
        self._user = auth.token(
            "user_token",
            "POST /v1/user/token",
            body={"username": "user", "password": "pass"},
            requires={"X-App-Token": self._app},
            expires_in=timedelta(minutes=15),
        )
        auth.resource("GET /user/profile", needs=self._user, json={"id": 1})

    def run(self) -> Report:
        """All phases in turn."""
        execute = self._pipeline.execute
        self._phase("cold run", execute, fetched=_STEPS)
        self._phase("cached run", execute)
        self._clock.advance(timedelta(minutes=16))
        self._phase("16 minutes later", execute, fetched=("user_token",))
        self._clock.advance(timedelta(minutes=66))
        self._phase("66 minutes later", execute, fetched=("app_token", "user_token"))
        self._pipeline.invalidate_step("app_token")
        self._phase("invalidate_step('app_token')", execute, fetched=("app_token", "user_token"))
        self._revoked()
        self._storage.clear()
        self._phase(
            f"{_THREADS} threads, empty cache", self._threads, fetched=_STEPS, calls=_THREADS
        )
        rows = self._report.rows
        self._report.sums.update(
            hits=sum(row.hits for row in rows),
            misses=sum(sum(row.misses.values()) for row in rows),
            fetches=sum(row.fetches for row in rows),
            requests=len(self._auth.journal),
        )
        return self._report

    def _revoked(self) -> None:
        """The API refuses a token that looks good here; the client mends that by itself."""
        self._user.revoke()
        answers: list[int] = []
        before = self._auth.journal.mark()

        def get() -> None:
            answers.append(self._client.get("/user/profile").status_code)

        phase = "token revoked at the server"
        self._phase(phase, get, fetched=("user_token",))
        seen = [e.status for e in self._auth.journal.since(before) if e.kind == "resource"]
        passed = answers == [200] and seen == [401, 200]
        said = ", ".join(map(str, seen))
        self._report.rows.append(
            Row(phase, "GET /user/profile", 0, {}, 0, 0.0, "401, 200", passed, f"answered {said}")
        )

    def _threads(self) -> None:
        start = threading.Barrier(_THREADS)

        def run() -> None:
            start.wait()
            self._pipeline.execute()

        workers = [threading.Thread(target=run) for _ in range(_THREADS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _phase(
        self,
        phase: str,
        act: Callable[[], object],
        *,
        fetched: tuple[str, ...] = (),
        calls: int = 1,
    ) -> None:
        """Act, and note for each step what it did beside what it should have done."""
        arrived = Counter(self._auth.fetch_counts)
        with _collected() as events:
            act()
        arrived = Counter(self._auth.fetch_counts) - arrived
        for step in _STEPS:
            hits = sum(isinstance(e, StepCached) and e.step == step for e in events)
            misses: Counter[str] = Counter(
                e.reason for e in events if isinstance(e, StepMissed) and e.step == step
            )
            fetches = [e for e in events if isinstance(e, StepFetched) and e.step == step]
            wanted = int(step in fetched)
            looked = hits + misses.total() >= calls
            self._report.rows.append(
                Row(
                    phase=phase,
                    step=step,
                    hits=hits,
                    misses=dict(misses),
                    fetches=len(fetches),
                    milliseconds=sum(e.seconds for e in fetches) * 1000,
                    expected="1 fetch" if wanted else "no fetch",
                    passed=looked and len(fetches) == arrived[step] == wanted,
                )
            )


@contextmanager
def _collected() -> Iterator[list[Event]]:
    events: list[Event] = []
    with observe(events.append):
        yield events
