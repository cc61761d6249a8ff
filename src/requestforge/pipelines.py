"""TokenFetchPipeline, which runs steps in order, and the provider that offers its token."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import NoReturn, Self

from requestforge._execution.arguments import check_durations, check_storage, check_switches
from requestforge._execution.cache import TokenCache
from requestforge._execution.inspection import StepState, step_states
from requestforge._execution.plan import Plan
from requestforge._execution.refresh import refreshed
from requestforge._execution.renewal import look_ahead
from requestforge._execution.reports import Reports
from requestforge._execution.run import Run
from requestforge._execution.snapshot import Origin, Snapshot, take_snapshot
from requestforge._execution.steps import make_steps
from requestforge._execution.tenants import check_tenant, check_values, plan_for
from requestforge.exceptions import AuthenticationException
from requestforge.instrumentation import before, observers
from requestforge.interfaces import (
    TokenFetcherInterface,
    TokenProviderInterface,
    TokenStorageInterface,
)
from requestforge.tokens import TokenData

__all__ = ["PipelineTokenProvider", "StepState", "TokenFetchPipeline"]


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
        refresh_ahead: how long before its end a token is renewed in the background, by one
            process at a time, while callers are served the old one. It counts for at most three
            quarters of a token's life, and is spread by a tenth; None: a token that has ended is
            fetched while its callers wait.
        failure_backoff: after a failed fetch, answer callers from its error for up to 0.5
            seconds, and up to 30 seconds after further ones, or for as long as the server asks
            (Retry-After).
        lock_lease: how long a lock between processes outlives its dead holder; None: the
            step's `fetch_timeout` and 5 seconds.
        wait_timeout: how long a caller waits for a fetch under way elsewhere; None: the step's
            `fetch_timeout` and 5 seconds, and the lease where the storage can lock.

    Raises:
        TypeError: no storage, a step without `name` or `fetch`, or an argument or `ttl` of another
            type.
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
        refresh_ahead: timedelta | None = None,
        failure_backoff: bool = False,
        lock_lease: timedelta | None = None,
        wait_timeout: timedelta | None = None,
    ) -> None:
        check_storage(storage)
        check_durations(
            refresh_ahead=refresh_ahead, lock_lease=lock_lease, wait_timeout=wait_timeout
        )
        check_switches(failure_backoff=failure_backoff)
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
            refresh_ahead=refresh_ahead,
            failure_backoff=failure_backoff,
        )
        self._storage = cache.storage
        self._home = cache.home
        self._snapshot: Snapshot | None = None
        self._tenant: str | None = None

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
            and snapshot.changes is self._home.changes
            and not force_refresh
            and before(snapshot.wall_end, snapshot.monotonic_end, snapshot.source)
        ):
            if observers:
                self._plan.reports.hits(snapshot.served)
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
            self._plan.check_name(from_step)
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
        self._plan.check_name(step_name)
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

    @property
    def storage(self) -> TokenStorageInterface:
        """The storage that the tokens live in."""
        return self._storage

    def inspect(self, tenant: str | None = None) -> list[StepState]:
        """What the storage holds for each step, in the order of execution, read at once.

        Nothing is fetched, written, deleted or told to observers, and no secret is in it.

        Args:
            tenant: look at the tokens of this tenant, without its values.

        Raises:
            ValueError: an empty name, or this is itself the view of a tenant.
            TypeError: the tenant is no string.
            TokenStorageException: the storage could not be read.
        """
        return step_states(self._plan) if tenant is None else self._view(tenant, {}).inspect()

    def for_tenant(self, /, tenant: str, **values: str) -> Self:
        """A view of this pipeline for one tenant, with tokens of its own.

        The view has the members of the pipeline, and shares its steps and storage. It is light:
        make one when it is needed. Its keys begin with `<prefix>@<tenant>`, the tenant
        percent-encoded, and so says the `pipeline` of its events. Closing it does nothing.

        Args:
            tenant: its name, which is no secret: storages and events show it.
            values: what takes the place of each StepValue among the steps, by name; more may be
                given. StepValue("tenant") is the tenant's name.

        Raises:
            ValueError: an empty name, a missing value, or this is itself the view of a tenant.
            TypeError: the tenant or a value is no string.
        """
        check_values(self._plan.steps, values)
        return self._view(tenant, values)

    def invalidate_tenant(self, tenant: str, step_name: str | None = None) -> None:
        """Give up the tokens of all steps for one tenant, without its values.

        Args:
            tenant: its name.
            step_name: give up that step, and those that depend on it, alone.

        Raises:
            ValueError: an empty name, no such step, or this is itself the view of a tenant.
            TypeError: the tenant is no string.
            TokenStorageException: the storage failed; the tokens are invalid in this process.
        """
        view = self._view(tenant, {})
        if step_name is None:
            view.invalidate_all()
        else:
            view.invalidate_step(step_name)

    def close(self) -> None:
        """Close the steps that can be closed; the pipeline stays usable."""
        if self._tenant is None:  # else they are others', too
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
        plan, last = self._plan, self._snapshot
        # Both counts first: a change after this makes the snapshot void from the start.
        version, changes = self._storage.content_version, self._home.changes
        batch = plan.cache.batch(plan.entries, () if last is None else last.batch.keys)
        if last is not None and not force_refresh and last.holds_for(batch, changes):
            if version is not None:
                last.version = version
            plan.reports.hits(last.served)
            return last.token
        forced = self.step_names if force_refresh else ()
        run = Run(plan, forced=forced, view=plan.view(batch))
        token = run.execute()
        looks = look_ahead(plan, run.served)
        if run.all_served and (version is not None or plan.cache.tells_content):
            self._snapshot = take_snapshot(run.served, Origin(version, changes, batch), looks)
        return token

    def _view(self, tenant: str, values: Mapping[str, str]) -> Self:
        check_tenant(tenant, within=self._tenant)
        # Of the same class, without its constructor: a subclass may have one of its own.
        view = object.__new__(type(self))
        for name, value in list(vars(self).items()):
            setattr(view, name, value)
        view._plan = plan_for(self._plan, tenant, values)
        view._snapshot = None
        view._tenant = tenant
        return view


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
