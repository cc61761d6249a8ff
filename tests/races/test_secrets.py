"""Secrets stay where they belong: no text, event, log record, pickle or key shows one."""

import json
import logging
import pickle
from collections.abc import Callable
from datetime import timedelta

import pytest
from racing import Gate, Task, watched

from canary import (
    CANARY_ACCESS_TOKEN,
    CANARY_CLIENT_SECRET,
    CANARY_EXTRA,
    CANARY_PASSWORD,
    CANARY_REFRESH_TOKEN,
    assert_clean,
    overheard,
)
from doubles import FlakyStorage, JsonStorage, RecordingStorage
from requestforge import (
    AuthenticationException,
    InMemoryTokenStorage,
    PipelineTokenProvider,
    TokenData,
    TokenFetchPipeline,
    TokenManager,
)
from requestforge.events import LockUnavailable, StepFailed, StepMissed, StorageFailed
from requestforge.exceptions import (
    TokenRefreshException,
    TokenStorageException,
    UnauthorizedException,
)
from requestforge.interfaces import TokenFetcherInterface


class SecretStep(TokenFetcherInterface):
    """A step whose tokens are secrets, and that raises what it is told to.

    Its failure gets the token of the step before it, and its own old one.
    """

    def __init__(self, name: str, depends_on: list[str] | None = None) -> None:
        self._name = name
        self._depends_on = depends_on or []
        self.failure: Callable[[str, str], Exception] | None = None
        self.fetches = 0

    @property
    def name(self) -> str:
        return self._name

    @property
    def depends_on(self) -> list[str]:
        return self._depends_on

    @property
    def ttl(self) -> timedelta:
        return timedelta(hours=1)

    def fetch(self, context: dict[str, TokenData] | None = None) -> TokenData:
        return self._make(context, "")

    def refresh(self, expired: TokenData, context: dict[str, TokenData] | None = None) -> TokenData:
        return self._make(context, expired.refresh_token or "")

    def _make(self, context: dict[str, TokenData] | None, old: str) -> TokenData:
        self.fetches += 1
        upstream = next((token.access_token for token in (context or {}).values()), "")
        if self.failure is not None:
            raise self.failure(upstream, old)
        return TokenData(
            f"{CANARY_ACCESS_TOKEN}-{self._name}-{self.fetches}",
            refresh_token=f"{CANARY_REFRESH_TOKEN}-{self._name}-{self.fetches}",
            extra={"id_token": CANARY_EXTRA, "nested": {"session": CANARY_EXTRA}},
        )


def chained(message: str) -> Exception:
    """An error that shows the message in its cause, its context, a note and its arguments."""
    error = RuntimeError(f"Context of {message}")
    error.add_note(message)
    error.__context__ = _caused(LookupError(message, {"detail": message}), OSError(message))
    return error


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


# What a fetcher may raise, given the upstream token and the old refresh token.
FAILURES: dict[str, Callable[[str, str], Exception]] = {
    "upstream token": lambda upstream, _: OSError(f"refused {upstream}"),
    "upstream token in an argument": lambda upstream, _: LookupError(f"refused {upstream}", 42),
    "upstream token in the chain": lambda upstream, _: chained(f"refused {upstream}"),
    "refresh token": lambda _, old: OSError(f"refused {old or CANARY_REFRESH_TOKEN[:0]}"),
    "refresh token in the chain": lambda _, old: chained(f"refused {old}"),
    "authorization header": lambda *_: OSError(f"Authorization: Bearer {CANARY_ACCESS_TOKEN}"),
    "form": lambda *_: OSError(f"sent client_secret={CANARY_CLIENT_SECRET}&scope=a"),
    "json": lambda *_: OSError(json.dumps({"password": CANARY_PASSWORD, "user": "me"})),
    "url": lambda *_: OSError(f"https://me:{CANARY_PASSWORD}@host/?access_token={CANARY_EXTRA}"),
    "form in the chain": lambda *_: chained(f"password={CANARY_PASSWORD}"),
    "status": lambda *_: UnauthorizedException(f"token={CANARY_ACCESS_TOKEN}"),
    "library error": lambda *_: TokenRefreshException(f"Bearer {CANARY_ACCESS_TOKEN}"),
    "upstream token in a library error": lambda upstream, _: AuthenticationException(
        f"refused {upstream}", context={"sent": ["app", upstream], "status": 401}
    ),
    "upstream token below a library error": lambda upstream, _: TokenRefreshException(
        "refused", OSError(f"refused {upstream}")
    ),
    "upstream token in a library error below": lambda upstream, _: _caused(
        RuntimeError("refused"), AuthenticationException(f"refused {upstream}")
    ),
    "upstream token below a library error below": lambda upstream, _: _caused(
        AuthenticationException("refused"), chained(f"refused {upstream}")
    ),
}


def pipeline_of(
    storage: object, *, failing: Callable[[str, str], Exception] | None = None
) -> tuple[TokenFetchPipeline, SecretStep]:
    """Two steps with secret tokens; the second fails so."""
    app, user = SecretStep("app"), SecretStep("user", ["app"])
    user.failure = failing
    return TokenFetchPipeline([app, user], storage, "shop"), user


@pytest.mark.parametrize("make_storage", [InMemoryTokenStorage, RecordingStorage, JsonStorage])
def test_a_pipeline_at_work_shows_no_secret(make_storage: Callable[[], object]) -> None:
    """Neither its events and logs nor the text of any object on the way."""
    storage = make_storage()
    pipeline, user = pipeline_of(storage)
    provider = PipelineTokenProvider(pipeline, "api")
    manager = TokenManager(provider)
    with overheard() as heard, watched() as watch:
        token = manager.get_token()
        manager.get_token()
        pipeline.execute(force_refresh=True)
        manager.refresh(token)
        manager.force_refresh()
        pipeline.invalidate_step("app")
        pipeline.execute()
        manager.invalidate_token()
    heard.assert_clean()
    assert heard.events == len(watch.events) > 10
    assert_clean(token, pipeline, provider, manager, storage, user, watch.events)
    assert token.access_token.startswith(CANARY_ACCESS_TOKEN)


@pytest.mark.parametrize("make_storage", [RecordingStorage, JsonStorage])
def test_storage_keys_hold_no_secret(make_storage: Callable[[], RecordingStorage]) -> None:
    """Keys are made of prefix and step alone, those of epochs included."""
    storage = make_storage()
    pipeline, _ = pipeline_of(storage)
    pipeline.execute()
    pipeline.invalidate_all()
    pipeline.execute()
    assert {key for _, keys in storage.calls for key in keys.split(",")} == {
        "shop:app",
        "shop:app#epoch",
        "shop:user",
        "shop:user#epoch",
    }


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_a_failed_fetch_shows_no_secret(failure: Callable[[str, str], Exception]) -> None:
    """The error, its whole chain and its pickle, what is logged and what observers are told."""
    pipeline, user = pipeline_of(InMemoryTokenStorage())
    pipeline.execute()
    user.failure = failure
    with overheard() as heard, watched() as watch:
        error = Task(lambda: pipeline.execute(force_refresh=True)).error()
    assert type(error) in {AuthenticationException, TokenRefreshException}
    assert error.service_name == "user"
    assert_clean(error, watch.events)
    heard.assert_clean()
    assert len(watch.of(StepFailed)) == 1
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert_clean(again)


def test_the_errors_of_all_waiters_show_no_secret() -> None:
    """Each waiter's own error is as clean as the first one."""
    pipeline, user = pipeline_of(InMemoryTokenStorage())
    gate = Gate()

    def fail(upstream: str, _: str) -> Exception:
        gate()
        return chained(f"refused {upstream}")

    user.failure = fail
    with watched() as watch:
        tasks = [Task(pipeline.execute) for _ in range(4)]
        watch.until(4, StepMissed, "user")
        gate.open()
        assert_clean([task.error() for task in tasks], watch.events)


def test_a_step_that_only_logs_its_failure_logs_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The inherited on_fetch_error names the type of the error alone."""
    pipeline, user = pipeline_of(InMemoryTokenStorage())
    user.failure = lambda upstream, _: OSError(f"refused {upstream}")
    with caplog.at_level(logging.DEBUG), overheard() as heard:
        assert Task(pipeline.execute).error() is not None
    heard.assert_clean()
    assert heard.records == len(caplog.records) == 1
    assert caplog.messages == ["Step 'user' failed: OSError."]


def test_a_listener_that_fails_gives_no_secret_away() -> None:
    """What on_fetch_error raises is logged by its type alone."""
    pipeline, user = pipeline_of(InMemoryTokenStorage())
    user.failure = lambda upstream, _: OSError(f"refused {upstream}")

    def listen(error: Exception, _: object = None) -> None:
        raise LookupError(str(error))

    user.on_fetch_error = listen
    with overheard() as heard:
        assert_clean(Task(pipeline.execute).error())
    heard.assert_clean()


SECRET_ADDRESS = f"redis://me:{CANARY_PASSWORD}@cache:6379/0?password={CANARY_PASSWORD}"


@pytest.mark.parametrize(
    "broken",
    [{"get"}, {"set"}, {"delete"}, {"get", "set", "delete"}],
    ids=lambda broken: " ".join(sorted(broken)),
)
@pytest.mark.parametrize(
    "failure",
    [OSError(f"No route to {SECRET_ADDRESS}"), chained(SECRET_ADDRESS), ValueError(SECRET_ADDRESS)],
    ids=["address", "chain", "unreadable"],
)
def test_a_failing_storage_shows_no_secret(broken: set[str], failure: Exception) -> None:
    """Neither the address of its server nor the tokens that it was given."""
    storage = FlakyStorage()
    storage.error = failure
    pipeline, _ = pipeline_of(storage)
    errors: list[BaseException] = []
    with overheard() as heard, watched() as watch:
        pipeline.execute()
        storage.broken = broken
        pipeline.execute(force_refresh=True)
        try:
            pipeline.invalidate_all()
        except TokenStorageException as error:
            errors.append(error)
        pipeline.execute()
    heard.assert_clean()
    assert_clean(errors, watch.events)
    assert watch.of(StorageFailed)
    assert len(errors) == (broken != {"get"})


def test_a_lock_service_that_fails_shows_no_secret() -> None:
    """Its address may hold a password."""

    class Locked(RecordingStorage):
        def lock(self, *_: object) -> None:
            raise OSError(SECRET_ADDRESS)

    pipeline, _ = pipeline_of(Locked())
    with overheard() as heard, watched() as watch:
        pipeline.execute()
    heard.assert_clean()
    assert_clean(watch.events)
    assert len(watch.of(LockUnavailable)) == 2
