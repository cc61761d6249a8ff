"""TokenFetchPipeline, which runs steps in order, and the provider that offers its token."""

from collections.abc import Iterable
from datetime import timedelta
from types import TracebackType
from typing import NoReturn, Self

from requestforge._execution.cache import TokenCache
from requestforge._execution.plan import Plan
from requestforge._execution.refresh import refreshed
from requestforge._execution.reports import Reports
from requestforge._execution.run import Run
from requestforge._execution.snapshot import Snapshot, take_snapshot
from requestforge._execution.steps import make_steps
from requestforge.exceptions import AuthenticationException
from requestforge.instrumentation import before, observers
from requestforge.interfaces import (
    TokenFetcherInterface,
    TokenProviderInterface,
    TokenStorageInterface,
)
from requestforge.tokens import TokenData

__all__ = ["PipelineTokenProvider", "TokenFetchPipeline"]


class TokenFetchPipeline:
    """Steps that buy tokens of one another, each cached with its own lifetime.

    Threads may share a pipeline, and pipelines a storage: each step is fetched once for all of
    them.

    Args:
        steps: what fetches the tokens, in the order of execution; each has a `name` and `fetch`.
        storage: where the tokens live; it belongs to the caller.
        cache_key_prefix: prefix of the storage keys; pipelines that act for different users
            need different ones.
        validate_dependencies: False: an unknown dependency, or one that is listed too late,
            fails only the step that misses it, when that step has to be fetched.
        lazy: start at the last step and look at an earlier one only if a step that has to be
            fetched depends on it.
        lock_lease: how long a lock between processes outlives its dead holder; None: the
            step's `fetch_timeout` and 5 seconds.
        wait_timeout: how long a caller waits for a fetch under way elsewhere; None: the step's
            `fetch_timeout` and 5 seconds, and the lease where the storage can lock.

    Raises:
        TypeError: no storage, or a step without `name` or `fetch` or with a `ttl` of another type.
        ValueError: no steps, names or dependencies that cannot be served, or a negative duration.
    """

    def __init__(
        self,
        steps: Iterable[TokenFetcherInterface],
        storage: TokenStorageInterface,
        cache_key_prefix: str = "",
        validate_dependencies: bool = True,
        *,
        lazy: bool = False,
        lock_lease: timedelta | None = None,
        wait_timeout: timedelta | None = None,
    ) -> None:
        _check_storage(storage)
        _check_durations(lock_lease=lock_lease, wait_timeout=wait_timeout)
        reports = Reports(cache_key_prefix)
        cache = TokenCache(storage, cache_key_prefix, reports)
        self._plan = Plan(
            prefix=cache_key_prefix,
            steps=make_steps(steps, cache_key_prefix, strict=validate_dependencies),
            cache=cache,
            reports=reports,
            lazy=lazy,
            lock_lease=lock_lease,
            wait_timeout=wait_timeout,
        )
        self._storage = cache.storage
        self._snapshot: Snapshot | None = None
        cache.home.tell_changes(self)

    def execute(self, force_refresh: bool = False) -> TokenData:
        """The token of the last step; whatever is usable comes from the cache.

        Args:
            force_refresh: fetch every step, by fetches that begin after this call.

        Raises:
            AuthenticationException: a step failed; `service_name` is its name.
            DependencyException: a step lacks the token of a step that it depends on.
        """
        snapshot = self._snapshot
        if (
            snapshot is not None
            and snapshot.version == self._storage.content_version
            and not (force_refresh or observers)
            and before(snapshot.wall_end, snapshot.monotonic_end, snapshot.source)
        ):
            return snapshot.token
        return self._execute(force_refresh=force_refresh)

    def refresh(
        self,
        rejected: TokenData | None = None,
        *,
        from_step: str | None = None,
        by_value: bool = False,
    ) -> TokenData:
        """A token of the last step other than the rejected one.

        If the rejected token is not the current one any more, the current one is given without
        a fetch. Else the steps from `from_step` on are fetched anew, once for all callers; their
        old tokens are given up when the first new one arrives, and stay if that fetch fails.

        Args:
            rejected: a token of this pipeline that a server has refused; None, or a token of
                other origin: fetch in any case, by fetches that begin after this call.
            from_step: the first step to fetch; its dependents follow. None: every step.
            by_value: any token is one of this pipeline, and is the current one if their access
                tokens are equal.

        Raises:
            AuthenticationException: a step failed; `service_name` is its name.
            ValueError: there is no step `from_step`.
        """
        plan = self._plan
        if from_step is None:
            names = plan.all_names()
        else:
            self._check_name(from_step)
            names = plan.cascade(from_step)
        try:
            token = refreshed(plan, names, rejected, by_value=by_value)
        except AuthenticationException as error:
            plan.reports.refresh_failed(error.service_name or "", error)
            raise
        return token

    def invalidate_step(self, step_name: str) -> None:
        """Give up the token of a step, and those of all steps that depend on it.

        A fetch under way may still answer its own callers, but is not cached.

        Raises:
            ValueError: there is no such step.
            TokenStorageException: the storage failed; the tokens are invalid in this process.
        """
        self._check_name(step_name)
        self._plan.invalidate([step_name], "call")

    def invalidate_all(self) -> None:
        """Give up the tokens of all steps.

        Raises:
            TokenStorageException: the storage failed; the tokens are invalid in this process.
        """
        self._plan.invalidate(self.step_names, "call")

    def get_step(self, name: str) -> TokenFetcherInterface | None:
        """The step of that name, or None."""
        step = self._plan.by_name.get(name)
        return None if step is None else step.source

    @property
    def step_names(self) -> list[str]:
        """The names of the steps, in the order of execution."""
        return [step.name for step in self._plan.steps]

    def close(self) -> None:
        """Close the steps that can be closed; the pipeline stays usable."""
        for step in self._plan.steps:
            step.close()

    def __enter__(self) -> Self:
        """Give the pipeline."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        """Prefix and step names."""
        return f"TokenFetchPipeline({self._plan.prefix!r}, steps={self.step_names})"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: flights and locks belong to one process."""
        msg = "A TokenFetchPipeline cannot be pickled; make one in each process."
        raise TypeError(msg)

    def _execute(self, *, force_refresh: bool) -> TokenData:
        # Both counts first: a change after this makes the snapshot void from the start.
        version, changes = self._storage.content_version, self._plan.cache.home.changes
        run = Run(self._plan, forced=self.step_names if force_refresh else ())
        token = run.execute()
        if version is not None and run.all_served:
            self._snapshot = take_snapshot(token, run.served.values(), version)
            if changes != self._plan.cache.home.changes:  # told before there was this to forget
                self._snapshot = None
        return token

    def forget(self) -> None:
        """Read the storage at the next call, even if it says that it has not changed."""
        self._snapshot = None

    def _check_name(self, name: str) -> None:
        if name not in self._plan.by_name:
            msg = f"There is no step {name!r}; the steps are {', '.join(self.step_names)}."
            raise ValueError(msg)


class PipelineTokenProvider(TokenProviderInterface):
    """Offers the token of a pipeline to a TokenManager.

    Args:
        pipeline: what gives the tokens, and keeps them.
        service_name: name of the service that they are for.
        refresh_from_step: the step that a refresh begins with; None: every step is refreshed.

    Raises:
        ValueError: the pipeline has no step of that name.
    """

    caches_tokens = True

    def __init__(
        self,
        pipeline: TokenFetchPipeline,
        service_name: str,
        refresh_from_step: str | None = None,
    ) -> None:
        if refresh_from_step is not None and pipeline.get_step(refresh_from_step) is None:
            msg = (
                f"refresh_from_step names no step of the pipeline: {refresh_from_step!r}; "
                f"the steps are {', '.join(pipeline.step_names)}."
            )
            raise ValueError(msg)
        self._pipeline = pipeline
        self._service_name = service_name
        self._refresh_from_step = refresh_from_step

    @property
    def service_name(self) -> str:
        """Name of the service that the tokens are for."""
        return self._service_name

    @property
    def pipeline(self) -> TokenFetchPipeline:
        """The pipeline that gives the tokens."""
        return self._pipeline

    def fetch_token(self) -> TokenData:
        """The token of the pipeline's last step, cached if possible.

        Raises:
            AuthenticationException: a step failed; `service_name` is its name.
        """
        return self._pipeline.execute()

    def refresh_token(self, current_token: TokenData) -> TokenData:  # noqa: ARG002 - fixed
        """Invalidate the step to refresh from, with its dependents, and execute the pipeline.

        Raises:
            AuthenticationException: a step failed; `service_name` is its name.
            TokenStorageException: the storage could not delete the old tokens.
        """
        self.invalidate()
        return self._pipeline.execute()

    def refresh(self, rejected: TokenData | None = None) -> TokenData:
        """A token other than the rejected one, fetched once for all callers; None: a new one.

        Raises:
            AuthenticationException: a step failed; `service_name` is its name.
        """
        return self._pipeline.refresh(rejected, from_step=self._refresh_from_step)

    def invalidate(self) -> None:
        """Give up the token of the step to refresh from, and those of its dependents.

        Raises:
            TokenStorageException: the storage could not delete them.
        """
        if self._refresh_from_step is None:
            self._pipeline.invalidate_all()
        else:
            self._pipeline.invalidate_step(self._refresh_from_step)

    def close(self) -> None:
        """Close the pipeline's steps; it stays usable."""
        self._pipeline.close()


def _check_storage(storage: object) -> None:
    if storage is None:
        msg = "A pipeline needs a storage; InMemoryTokenStorage() is one."
        raise TypeError(msg)


def _check_durations(**durations: object) -> None:
    for name, duration in durations.items():
        if duration is None:
            continue
        if not isinstance(duration, timedelta):
            msg = f"{name} must be a timedelta or None, not {type(duration).__name__}."
            raise TypeError(msg)
        if duration <= timedelta(0):
            msg = f"{name} must be positive, but is {duration}."
            raise ValueError(msg)
