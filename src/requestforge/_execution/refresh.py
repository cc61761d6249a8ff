"""Refreshing a pipeline's token: compare it with the rejected one, then fetch what is to be new."""

from collections.abc import Sequence

from requestforge._execution.plan import Plan
from requestforge._execution.run import Run
from requestforge.tokens import TokenData


def refreshed(
    plan: Plan, names: Sequence[str], rejected: TokenData | None, *, by_value: bool
) -> TokenData:
    """A token other than the rejected one, by fetching those steps, ancestors first.

    See `TokenFetchPipeline.refresh`.

    Raises:
        AuthenticationException: a step failed; `service_name` is its name.
    """
    last = plan.steps[-1]
    view = plan.cache.read(plan.entries)
    known = rejected is not None and (by_value or last.entry.owns(rejected.generation))
    if rejected is not None and known:
        current = view[last.name].usable
        if current is None:
            return Run(plan).execute()
        same = current.generation == rejected.generation
        if by_value:
            same = current.access_token == rejected.access_token
        if not same:
            plan.reports.cached(last.name, current)
            return current
    stale = {
        name: token.generation
        for name in names
        if (token := view[name].token) is not None and token.generation is not None
    }
    if rejected is not None and known:
        reason = rejected.generation
        return Run(plan, stale=stale, refreshes=names, rejected=reason).execute()
    return Run(plan, forced=names, stale=stale, refreshes=names).execute()
