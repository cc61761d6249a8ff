"""The plan of a pipeline for one of its tenants, which has its own keys and values."""

from collections.abc import Mapping, Sequence
from copy import copy

from requestforge._execution.keys import Entry, tenant_prefix
from requestforge._execution.plan import Plan
from requestforge._execution.reports import Reports
from requestforge._execution.steps import Step
from requestforge._references import TENANT


def check_tenant(tenant: object, *, within: str | None) -> None:
    """Refuse what cannot name a tenant.

    Args:
        tenant: the name.
        within: the tenant whose view is asked for it; None: the pipeline is.

    Raises:
        TypeError: it is no string.
        ValueError: it is empty, or asked of a view.
    """
    if within is not None:
        msg = f"This is the view of tenant {within!r}, which has no tenants; ask the pipeline."
        raise ValueError(msg)
    if not isinstance(tenant, str):
        msg = f"A tenant is named by a string, not by {type(tenant).__name__}; str() makes one."
        raise TypeError(msg)
    if not tenant:
        msg = "The name of a tenant must not be empty: all who lack one would share their tokens."
        raise ValueError(msg)


def check_values(steps: Sequence[Step], values: Mapping[str, object]) -> None:
    """Refuse values that do not do for a fetch of the steps. They are not shown.

    Raises:
        TypeError: one is no string.
        ValueError: one is missing.
    """
    for name, value in values.items():
        if not isinstance(value, str):
            kind = type(value).__name__
            msg = f"The value {name!r} of a tenant must be a string, not {kind}; str() makes one."
            raise TypeError(msg)
    for step in steps:
        for name in sorted(step.needed_values - values.keys() - {TENANT}):
            msg = (
                f"Step {step.name!r} needs the value {name!r} of the tenant; give it: "
                f"for_tenant(..., {name}=...)."
            )
            raise ValueError(msg)


def plan_for(plan: Plan, tenant: str, values: Mapping[str, str]) -> Plan:
    """The same plan with the keys of that tenant and with those values.

    Args:
        plan: that of the pipeline.
        tenant: its name.
        values: those for the steps, by name.
    """
    filled = {**values, TENANT: tenant}
    prefix = tenant_prefix(plan.prefix, tenant)
    reports = Reports(prefix)
    steps = tuple(
        step.for_tenant(Entry.of_tenant(plan.prefix, tenant, step.name), filled)
        for step in plan.steps
    )
    # Everything else, its graph above all, is shared.
    view = copy(plan)
    changed = {
        "prefix": prefix,
        "steps": steps,
        "entries": tuple(step.entry for step in steps),
        "by_name": {step.name: step for step in steps},
        "reports": reports,
        "cache": plan.cache.beside(prefix, reports),
    }
    for name, value in changed.items():
        object.__setattr__(view, name, value)
    return view
