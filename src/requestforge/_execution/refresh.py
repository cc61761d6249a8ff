"""Refreshing a pipeline's token: compare it with the rejected one, then fetch what is to be new."""

from collections.abc import Sequence

from requestforge._execution.plan import Plan
from requestforge._execution.run import Run
from requestforge.tokens import TokenData, end_of_use


def refreshed(
    plan: Plan, names: Sequence[str], rejected: TokenData | None, *, by_value: bool
) -> TokenData:
    """A token other than the rejected one, by fetching those steps, ancestors first.

    See `TokenFetchPipeline.refresh`.

    Raises:
        AuthenticationException: a step failed; `service_name` is its name.
    """
    last = plan.steps[-1]
    view = plan.view()
    records = view.records
    reason: str | None = None
    if rejected is not None and (by_value or last.entry.owns(rejected.generation)):
        current = records[last.name].usable
        if current is None:
            first = records[names[0]].usable
            if first is None or not _bought_uncached(rejected, first):
                return Run(plan, view=view).execute()
            stale = {names[0]: first.generation or ""}
            return Run(plan, stale=stale, refreshes=names, view=view).execute()
        same = current.generation == rejected.generation
        if by_value:
            same = current.access_token == rejected.access_token
        if not same:
            plan.reports.cached(last.name, current)
            return current
        reason = current.generation
    stale = {
        name: token.generation
        for name in names
        if (token := records[name].token) is not None and token.generation is not None
    }
    if reason is not None:
        return Run(plan, stale=stale, refreshes=names, rejected=reason, view=view).execute()
    return Run(plan, forced=names, stale=stale, refreshes=names, view=view).execute()


def _bought_uncached(rejected: TokenData, first: TokenData) -> bool:
    """Whether the rejected token was never cached, and may have been bought with this one."""
    end, issued_at = end_of_use(rejected), rejected.issued_at
    if end is None or issued_at is None or end > issued_at:
        return False
    return first.issued_at is not None and first.issued_at <= issued_at
