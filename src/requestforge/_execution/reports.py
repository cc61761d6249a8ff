"""What a pipeline tells observers: each event made only when somebody listens."""

from collections.abc import Mapping

from requestforge._redaction import error_text
from requestforge.events import (
    InvalidationCause,
    LockUnavailable,
    MissReason,
    RefreshFailed,
    StepCached,
    StepFailed,
    StepFetched,
    StepInvalidated,
    StepMissed,
    StorageFailed,
    StorageOperation,
    TokenReplaced,
)
from requestforge.instrumentation import emit, now, observers
from requestforge.tokens import TokenData, end_of_use

__all__ = ["Reports"]


class Reports:
    """The events of the pipeline whose keys have that prefix."""

    __slots__ = ("_pipeline",)

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline

    def cached(self, step: str, token: TokenData) -> None:
        """The token was served from the cache."""
        if observers:
            emit(
                StepCached(
                    at=now(),
                    pipeline=self._pipeline,
                    step=step,
                    generation=token.generation,
                    ends_at=end_of_use(token),
                )
            )

    def hits(self, tokens: Mapping[str, TokenData]) -> None:
        """Those tokens, by step, were served from the cache."""
        if observers:
            for step, token in tokens.items():
                self.cached(step, token)

    def missed(
        self, step: str, reason: MissReason, token: TokenData | None, generation: str | None
    ) -> None:
        """There was nothing usable; `token` is what there was, `generation` its id."""
        if observers:
            emit(
                StepMissed(
                    at=now(),
                    pipeline=self._pipeline,
                    step=step,
                    generation=generation,
                    ends_at=None if token is None else end_of_use(token),
                    reason=reason,
                )
            )

    def fetched(
        self, step: str, token: TokenData, replaced: TokenData | None, seconds: float
    ) -> None:
        """A fetch gave the token, in place of one that was still usable, if any."""
        if not observers:
            return
        at, ends_at = now(), end_of_use(token)
        emit(
            StepFetched(
                at=at,
                pipeline=self._pipeline,
                step=step,
                generation=token.generation,
                ends_at=ends_at,
                seconds=seconds,
            )
        )
        if replaced is not None:
            emit(
                TokenReplaced(
                    at=at,
                    pipeline=self._pipeline,
                    step=step,
                    generation=token.generation,
                    ends_at=ends_at,
                    replaced=replaced.generation,
                )
            )

    def failed(self, step: str, error: Exception) -> None:
        """A fetch failed."""
        if observers:
            emit(StepFailed(at=now(), pipeline=self._pipeline, step=step, error=error_text(error)))

    def refresh_failed(self, step: str, error: BaseException) -> None:
        """A refresh or renewal failed at that step."""
        if observers:
            emit(
                RefreshFailed(at=now(), pipeline=self._pipeline, step=step, error=error_text(error))
            )

    def invalidated(self, step: str, generation: str | None, cause: InvalidationCause) -> None:
        """The step's token was given up."""
        if observers:
            emit(
                StepInvalidated(
                    at=now(),
                    pipeline=self._pipeline,
                    step=step,
                    generation=generation,
                    cause=cause,
                )
            )

    def storage_failed(self, step: str, operation: StorageOperation, error: Exception) -> None:
        """The storage failed, or held what cannot be read."""
        if observers:
            emit(
                StorageFailed(
                    at=now(),
                    pipeline=self._pipeline,
                    step=step,
                    operation=operation,
                    error=error_text(error),
                )
            )

    def lock_failed(self, step: str, error: Exception) -> None:
        """The storage's lock service failed."""
        if observers:
            emit(
                LockUnavailable(
                    at=now(), pipeline=self._pipeline, step=step, error=error_text(error)
                )
            )
